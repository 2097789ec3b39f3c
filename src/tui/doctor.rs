//! What the inspector would do on this terminal, for `psescope doctor`.

use std::io::IsTerminal as _;

use super::theme::Depth;

/// Name and value of everything that decides how the inspector looks here.
pub fn report() -> Vec<(&'static str, String)> {
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
    vec![
        ("stdout", if std::io::stdout().is_terminal() { "a terminal" } else { "not a terminal" }.to_owned()),
        ("size", size),
        ("colours", depth.to_owned()),
        ("TERM", set("TERM")),
        ("COLORTERM", set("COLORTERM")),
        ("NO_COLOR", set("NO_COLOR")),
        ("multiplexer", multiplexer.to_owned()),
    ]
}
