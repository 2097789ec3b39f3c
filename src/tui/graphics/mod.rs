//! Pictures in the terminal's own pixels. While anything moves, pictures are half blocks; one that has been still for
//! [`rest::REST`] is sent again through a graphics protocol, where the terminal has one.
//!
//! Which protocol is decided once at the start ([`choose`]): by the flag, by the environment, else by asking the terminal
//! ([`probe`]). Nothing outside this program is changed for it, in particular no option of tmux.

pub mod drawn;
pub mod encode;
pub mod placed;
pub mod probe;
pub mod rest;
pub mod typed;

use std::time::Duration;

use super::theme::Depth;
use probe::Answers;

/// How pictures reach the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Half blocks (or what the colour depth allows): text.
    Blocks,
    /// Kitty's: pictures that are put over the text by number; inside tmux with placeholder characters.
    Kitty,
    /// iTerm2's inline images.
    Iterm2,
    /// Sixel.
    Sixel,
}

/// Every protocol, in the order in which a key goes through them.
pub const PROTOCOLS: [Protocol; 4] = [Protocol::Blocks, Protocol::Kitty, Protocol::Iterm2, Protocol::Sixel];

impl Protocol {
    /// Name in flags and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocks => "blocks",
            Self::Kitty => "kitty",
            Self::Iterm2 => "iterm2",
            Self::Sixel => "sixel",
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wish {
    /// Find out.
    #[default]
    Auto,
    /// This one.
    Use(Protocol),
}

impl Wish {
    /// Reads `auto`, `blocks`, `kitty`, `iterm2` or `sixel`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        PROTOCOLS
            .into_iter()
            .find(|p| p.name() == text)
            .map(Self::Use)
            .ok_or_else(|| format!("graphics accepts auto, blocks, kitty, iterm2 or sixel, not '{text}'"))
    }
}

/// What is used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// In use.
    pub protocol: Protocol,
    /// What the key goes through: blocks and what the terminal is known to speak, or everything when nothing is known.
    pub offered: Vec<Protocol>,
    /// Width and height of a cell in pixels.
    pub cell: (u16, u16),
    /// Whether `cell` was told by the terminal.
    pub cell_known: bool,
    /// Whether escape sequences must be wrapped for tmux.
    pub tmux: bool,
    /// Whether the terminal unpacks compressed pictures (kitty's protocol).
    pub compress: bool,
    /// Largest side of a picture in pixels.
    pub limit: u32,
    /// The reason, as half a sentence.
    pub why: String,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            protocol: Protocol::Blocks,
            offered: vec![Protocol::Blocks],
            cell: (10, 20),
            cell_known: false,
            tmux: false,
            compress: false,
            limit: NEAR,
            why: "nothing else was asked for".into(),
        }
    }
}

/// Largest side of a picture in pixels, here and over SSH.
const NEAR: u32 = 1280;
const FAR: u32 = 640;

/// What the environment says about pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surroundings {
    /// Name of the multiplexer around us.
    pub multiplexer: Option<&'static str>,
    /// Over SSH.
    pub ssh: bool,
    /// A terminal that speaks iTerm2's protocol, by what it says of itself.
    pub iterm2: bool,
    /// A terminal whose own protocol is better than its kitty's.
    pub half_kitty: bool,
    /// Nothing graphical can be there.
    pub plain: bool,
}

impl Surroundings {
    /// Reads the environment.
    pub fn of(env: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| env(name).is_some_and(|v| !v.is_empty());
        let (term, program) = (env("TERM").unwrap_or_default(), env("TERM_PROGRAM").unwrap_or_default());
        let multiplexer = if set("TMUX") || term.starts_with("tmux") {
            Some("tmux")
        } else if set("STY") || term.starts_with("screen") {
            Some("screen")
        } else {
            set("ZELLIJ").then_some("zellij")
        };
        let wezterm = program == "WezTerm" || set("WEZTERM_EXECUTABLE");
        let named = ["iTerm.app", "mintty", "rio"].contains(&program.as_str());
        Self {
            multiplexer,
            ssh: set("SSH_CONNECTION") || set("SSH_TTY"),
            iterm2: wezterm || named || env("LC_TERMINAL").is_some_and(|v| v.starts_with("iTerm")),
            half_kitty: wezterm,
            plain: matches!(term.as_str(), "" | "dumb" | "linux"),
        }
    }

    /// How long the terminal may take to answer.
    pub fn patience(&self) -> Duration {
        Duration::from_millis(if self.ssh { 600 } else { 300 })
    }
}

/// Size of a cell in pixels by the operating system, where the terminal told it.
pub fn window_cell() -> Option<(u16, u16)> {
    let size = crossterm::terminal::window_size().ok()?;
    let cell = (size.width.checked_div(size.columns)?, size.height.checked_div(size.rows)?);
    (cell.0 > 0 && cell.1 > 0).then_some(cell)
}

/// Why the terminal is not asked; `None` when it is to be asked.
pub fn unasked(wish: Wish, depth: Depth, around: &Surroundings) -> Option<String> {
    if depth < Depth::Ansi256 {
        return Some("pictures are glyphs without colours".into());
    }
    match (wish, around.multiplexer) {
        (Wish::Use(Protocol::Blocks), _) => Some("asked for".into()),
        (Wish::Use(_), _) => None,
        (Wish::Auto, Some(name)) => Some(format!("inside {name} pictures are only sent when --graphics names a protocol")),
        (Wish::Auto, None) if around.plain => Some("this kind of terminal has no pictures".into()),
        (Wish::Auto, None) => None,
    }
}

/// Decides. `answers` is `None` when the terminal was not asked; `window` is the size of a cell by the operating system.
pub fn choose(wish: Wish, depth: Depth, around: &Surroundings, answers: Option<&Answers>, window: Option<(u16, u16)>) -> Setup {
    let silent = Answers::default();
    let told = answers.unwrap_or(&silent);
    let cell = told.cell.or(window);
    let kitty = told.kitty && !around.half_kitty;
    let known: Vec<Protocol> = [(Protocol::Kitty, kitty), (Protocol::Iterm2, around.iterm2), (Protocol::Sixel, told.sixel)]
        .into_iter()
        .filter_map(|(p, yes)| yes.then_some(p))
        .collect();
    let (protocol, why) = match (unasked(wish, depth, around), wish) {
        (Some(why), _) => (Protocol::Blocks, why),
        (None, Wish::Use(protocol)) => (protocol, "asked for".into()),
        (None, Wish::Auto) if cell.is_none() => (Protocol::Blocks, "the terminal does not tell how large a cell is".into()),
        (None, Wish::Auto) => match known.first() {
            Some(Protocol::Iterm2) => (Protocol::Iterm2, "the terminal's name".into()),
            Some(protocol) => (*protocol, "the terminal's answer".into()),
            None if told.complete => (Protocol::Blocks, "the terminal's answer names no graphics".into()),
            None => (Protocol::Blocks, "the terminal did not answer".into()),
        },
    };
    let mut offered = vec![Protocol::Blocks];
    if depth >= Depth::Ansi256 {
        offered.extend(if known.is_empty() { PROTOCOLS[1..].to_vec() } else { known });
        if !offered.contains(&protocol) {
            offered.push(protocol);
        }
    }
    Setup {
        protocol,
        offered,
        cell: cell.unwrap_or((10, 20)),
        cell_known: cell.is_some(),
        tmux: around.multiplexer == Some("tmux"),
        compress: told.compressed,
        limit: if around.ssh { FAR } else { NEAR },
        why,
    }
}

impl Setup {
    /// Whether pictures are sent once and then put over the cells by number. Every terminal with kitty's protocol does that; placeholder
    /// characters, which lie in the cells, came later and not everywhere, but are the only way through tmux.
    pub fn placed(&self) -> bool {
        self.protocol == Protocol::Kitty && !self.tmux
    }

    /// The next protocol; what to say about it.
    pub fn cycle(&mut self) -> String {
        if self.offered.len() < 2 {
            return "pictures stay glyphs without colours".into();
        }
        let at = self.offered.iter().position(|p| *p == self.protocol).unwrap_or(0);
        self.protocol = self.offered[(at + 1) % self.offered.len()];
        self.why = "chosen by a key".into();
        match self.protocol {
            Protocol::Blocks => "pictures: half blocks".into(),
            other => format!("pictures at rest: {} graphics", other.name()),
        }
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let cell = match (self.protocol, self.cell_known) {
            (Protocol::Blocks, _) => String::new(),
            (_, true) => format!("; a cell is {}x{} pixels", self.cell.0, self.cell.1),
            (_, false) => "; the size of a cell is not known: 10x20 pixels assumed".into(),
        };
        format!("{} ({}){cell}", self.protocol.name(), self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(set: &'static [(&'static str, &'static str)]) -> Surroundings {
        Surroundings::of(|n| set.iter().find(|(k, _)| *k == n).map(|(_, v)| (*v).to_owned()))
    }

    fn answers(kitty: bool, sixel: bool) -> Answers {
        Answers { kitty, sixel, cell: Some((9, 18)), complete: true, ..Answers::default() }
    }

    #[test]
    fn the_answer_decides_outside_multiplexers() {
        let plain = around(&[("TERM", "xterm-256color")]);
        let auto = |a: Option<&Answers>, s: &Surroundings| choose(Wish::Auto, Depth::True, s, a, None).protocol;
        assert_eq!(auto(Some(&answers(true, true)), &plain), Protocol::Kitty);
        assert_eq!(auto(Some(&answers(false, true)), &plain), Protocol::Sixel);
        assert_eq!(auto(Some(&answers(false, false)), &plain), Protocol::Blocks);
        assert_eq!(auto(Some(&Answers::default()), &plain), Protocol::Blocks);
        let wezterm = around(&[("TERM", "xterm-256color"), ("TERM_PROGRAM", "WezTerm")]);
        assert_eq!(auto(Some(&answers(true, true)), &wezterm), Protocol::Iterm2);
        let konsole = around(&[("TERM", "xterm-256color"), ("KONSOLE_VERSION", "240800")]);
        assert_eq!(auto(Some(&answers(true, true)), &konsole), Protocol::Kitty, "its sixels stay when text comes over them");
        let unsized_cells = Answers { cell: None, ..answers(true, true) };
        assert_eq!(auto(Some(&unsized_cells), &plain), Protocol::Blocks);
        assert_eq!(choose(Wish::Auto, Depth::True, &plain, Some(&unsized_cells), Some((8, 16))).protocol, Protocol::Kitty);
    }

    #[test]
    fn multiplexers_and_plain_terminals_are_not_asked() {
        for (set, word) in [
            (&[("TERM", "tmux-256color")] as &'static [_], "tmux"),
            (&[("TERM", "xterm-kitty"), ("TMUX", "/tmp/x,1,0")], "tmux"),
            (&[("TERM", "screen-256color"), ("STY", "1.x")], "screen"),
            (&[("TERM", "xterm"), ("ZELLIJ", "0")], "zellij"),
            (&[("TERM", "linux")], "no pictures"),
            (&[("TERM", "dumb")], "no pictures"),
        ] {
            let s = around(set);
            let why = unasked(Wish::Auto, Depth::True, &s).expect("a reason");
            assert!(why.contains(word), "{why}");
            assert_eq!(choose(Wish::Auto, Depth::True, &s, None, Some((9, 18))).protocol, Protocol::Blocks);
        }
        let tmux = around(&[("TERM", "tmux-256color"), ("TMUX", "x")]);
        assert!(unasked(Wish::Use(Protocol::Kitty), Depth::True, &tmux).is_none());
        let chosen = choose(Wish::Use(Protocol::Kitty), Depth::True, &tmux, None, None);
        assert!(chosen.tmux && chosen.protocol == Protocol::Kitty && chosen.line().contains("10x20 pixels assumed"));
    }

    #[test]
    fn without_colours_there_are_no_pictures() {
        let s = around(&[("TERM", "xterm-256color")]);
        let mut setup = choose(Wish::Use(Protocol::Kitty), Depth::None, &s, None, Some((9, 18)));
        assert_eq!(setup.protocol, Protocol::Blocks);
        assert!(setup.cycle().contains("stay") && setup.protocol == Protocol::Blocks);
    }

    #[test]
    fn the_key_goes_through_what_the_terminal_speaks_or_through_everything() {
        let s = around(&[("TERM", "xterm-256color")]);
        let mut setup = choose(Wish::Auto, Depth::True, &s, Some(&answers(false, true)), None);
        assert_eq!(setup.offered, [Protocol::Blocks, Protocol::Sixel]);
        assert!(setup.cycle().contains("half blocks"));
        assert!(setup.cycle().contains("sixel"));
        let unknown = choose(Wish::Auto, Depth::True, &s, Some(&Answers::default()), None);
        assert_eq!(unknown.offered, PROTOCOLS);
    }

    #[test]
    fn wishes_are_read() {
        assert_eq!(Wish::parse("auto"), Ok(Wish::Auto));
        assert_eq!(Wish::parse("sixel"), Ok(Wish::Use(Protocol::Sixel)));
        assert!(Wish::parse("chafa").is_err_and(|e| e.contains("kitty")));
    }
}
