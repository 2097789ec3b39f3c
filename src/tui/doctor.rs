//! What the inspector would do on this terminal, for `psescope doctor`.

use std::{io::IsTerminal as _, path::Path};

use super::{
    graphics::{self, Protocol, Surroundings, Wish, probe},
    theme::{Depth, custom},
};

/// What the configuration says about the terminal.
#[derive(Debug, Clone, Copy)]
pub struct Wishes<'a> {
    /// Colours.
    pub color: Option<Depth>,
    /// Pictures.
    pub graphics: Wish,
    /// Name of the theme.
    pub theme: &'a str,
    /// Folder of the person's own themes.
    pub themes: Option<&'a Path>,
}

/// Name and value of everything that decides how the inspector looks here. The terminal is asked for graphics where the inspector
/// would ask it.
pub fn report(wishes: &Wishes) -> Vec<(&'static str, String)> {
    let &Wishes { color, graphics: wish, theme, themes } = wishes;
    let env = |name: &str| std::env::var(name).ok();
    let set = |name: &str| env(name).map_or_else(|| "not set".to_owned(), |v| v.chars().filter(|c| !c.is_control()).collect());
    let detected = Depth::detect(None, color, env);
    let depth = match detected {
        Depth::None => "none: pictures are drawn with glyphs",
        Depth::Ansi16 => "16: pictures are drawn with glyphs",
        Depth::Ansi256 => "256",
        Depth::True => "true colour",
    };
    let multiplexer = ["TMUX", "STY", "ZELLIJ"].into_iter().find(|v| std::env::var_os(v).is_some()).unwrap_or("none");
    let size = crossterm::terminal::size().map_or_else(|_| "unknown".to_owned(), |(w, h)| format!("{w}x{h}"));
    let own = match (themes, custom::names(themes)) {
        (None, _) => "there is no home folder".to_owned(),
        (Some(folder), names) if names.is_empty() => format!("none of your own in {}", folder.display()),
        (Some(folder), names) => format!("{} in {}", names.join(", "), folder.display()),
    };
    let mut lines = vec![
        ("stdout", if std::io::stdout().is_terminal() { "a terminal" } else { "not a terminal" }.to_owned()),
        ("size", size),
        ("colours", depth.to_owned()),
        ("theme", custom::find(theme, themes).map_or_else(|why| why, |look| format!("{} ({})", look.name, look.origin()))),
        ("themes", own),
        ("TERM", set("TERM")),
        ("COLORTERM", set("COLORTERM")),
        ("NO_COLOR", set("NO_COLOR")),
        ("multiplexer", multiplexer.to_owned()),
    ];
    let around = Surroundings::of(env);
    lines.push(("pictures", pictures(wish, detected, &around)));
    if around.multiplexer == Some("tmux") {
        // Said, never done: the options belong to the person.
        let how =
            "pictures need `tmux set -p allow-passthrough on`, then psescope --graphics kitty or iterm2, as the terminal outside speaks";
        lines.push(("in tmux", how.into()));
    }
    lines
}

/// What would be used for pictures, and why.
fn pictures(wish: Wish, depth: Depth, around: &Surroundings) -> String {
    let interactive = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if !interactive {
        return format!("{} (not a terminal)", Protocol::Blocks.name());
    }
    let answers = graphics::unasked(wish, depth, around).is_none().then(|| ask(around).unwrap_or_default());
    let setup = graphics::choose(wish, depth, around, answers.as_ref(), graphics::window_cell());
    let yes = |b: bool| if b { "yes" } else { "no" };
    let told = match &answers {
        None => String::new(),
        Some(a) if !a.complete => format!("; asked, no answer within {} ms", around.patience().as_millis()),
        Some(a) => format!("; asked: kitty {}, sixel {}", yes(a.kitty), yes(a.sixel)),
    };
    format!("{}{told}", setup.line())
}

/// Asks on the alternate screen, where a terminal that does not understand may print what it likes.
fn ask(around: &Surroundings) -> std::io::Result<probe::Answers> {
    use crossterm::{execute, terminal};
    terminal::enable_raw_mode()?;
    let asked = execute!(std::io::stdout(), terminal::EnterAlternateScreen).and_then(|()| probe::ask(around));
    let back = execute!(std::io::stdout(), terminal::LeaveAlternateScreen);
    terminal::disable_raw_mode()?;
    back?;
    Ok(asked?.0)
}
