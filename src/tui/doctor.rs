//! What the inspector would do on this terminal, for `psescope doctor`.

use std::io::IsTerminal as _;

use std::path::Path;

use super::theme::{Depth, custom};

/// Name and value of everything that decides how the inspector looks here; the theme is the configured one.
pub fn report(theme: &str, themes: Option<&Path>) -> Vec<(&'static str, String)> {
    let env = |name: &str| std::env::var(name).ok();
    let set = |name: &str| env(name).map_or_else(|| "not set".to_owned(), |v| v.chars().filter(|c| !c.is_control()).collect());
    let depth = match Depth::detect(None, None, env) {
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
    vec![
        ("stdout", if std::io::stdout().is_terminal() { "a terminal" } else { "not a terminal" }.to_owned()),
        ("size", size),
        ("colours", depth.to_owned()),
        ("theme", custom::find(theme, themes).map_or_else(|why| why, |look| format!("{} ({})", look.name, look.origin()))),
        ("themes", own),
        ("TERM", set("TERM")),
        ("COLORTERM", set("COLORTERM")),
        ("NO_COLOR", set("NO_COLOR")),
        ("multiplexer", multiplexer.to_owned()),
    ]
}
