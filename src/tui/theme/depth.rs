//! How many colours the terminal gets: a pure function of the flag and the environment.

/// Colour depth, poorest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Depth {
    /// No colour: pictures and maps are drawn with glyphs.
    None,
    /// The sixteen named colours; pictures are drawn with glyphs.
    Ansi16,
    /// The 256-colour palette.
    Ansi256,
    /// 24 bits.
    True,
}

impl Depth {
    /// Reads `never`, `16`, `256` or `true`.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "never" | "none" => Ok(Self::None),
            "16" => Ok(Self::Ansi16),
            "256" => Ok(Self::Ansi256),
            "true" | "24bit" => Ok(Self::True),
            other => Err(format!("colour accepts never, 16, 256 or true, not '{other}'")),
        }
    }

    /// First that answers: what was asked for (flag or configuration, in that order by the caller), `NO_COLOR`,
    /// `COLORTERM`, `TERM`, else sixteen colours.
    pub fn detect(flag: Option<Self>, config: Option<Self>, env: impl Fn(&str) -> Option<String>) -> Self {
        if let Some(depth) = flag {
            return depth;
        }
        if env("NO_COLOR").is_some_and(|v| !v.is_empty()) {
            return Self::None;
        }
        if let Some(depth) = config {
            return depth;
        }
        if env("COLORTERM").is_some_and(|v| v.contains("truecolor") || v.contains("24bit")) {
            return Self::True;
        }
        match env("TERM").as_deref() {
            Some(term) if term.ends_with("-direct") => Self::True,
            Some(term) if term.contains("256color") => Self::Ansi256,
            Some("dumb" | "") => Self::None,
            _ => Self::Ansi16,
        }
    }
}

/// The closest entry of the xterm 256-colour palette (cube or grey ramp).
pub fn xterm256([r, g, b]: [u8; 3]) -> u8 {
    const LEVELS: [i32; 6] = [0, 95, 135, 175, 215, 255];
    let nearest = |v: u8| {
        let v = i32::from(v);
        (0..6).min_by_key(|&i| (LEVELS[i] - v).abs()).unwrap_or(0)
    };
    let distance = |c: [i32; 3]| {
        let d = [i32::from(r) - c[0], i32::from(g) - c[1], i32::from(b) - c[2]];
        d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    };
    let (i, j, k) = (nearest(r), nearest(g), nearest(b));
    let cube = distance([LEVELS[i], LEVELS[j], LEVELS[k]]);
    let mean = (i32::from(r) + i32::from(g) + i32::from(b)) / 3;
    let step = ((mean - 8 + 5).max(0) / 10).min(23);
    let grey = 8 + 10 * step;
    if distance([grey; 3]) < cube { 232 + step as u8 } else { 16 + 36 * i as u8 + 6 * j as u8 + k as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
        move |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
    }

    #[test]
    fn precedence_is_flag_then_no_color_then_config_then_terminal() {
        let rich = env(&[("NO_COLOR", "1"), ("COLORTERM", "truecolor"), ("TERM", "xterm-256color")]);
        assert_eq!(Depth::detect(Some(Depth::Ansi256), Some(Depth::True), &rich), Depth::Ansi256);
        assert_eq!(Depth::detect(None, Some(Depth::True), &rich), Depth::None);
        assert_eq!(Depth::detect(None, Some(Depth::Ansi16), env(&[("COLORTERM", "truecolor")])), Depth::Ansi16);
        assert_eq!(Depth::detect(None, None, env(&[("COLORTERM", "24bit"), ("TERM", "dumb")])), Depth::True);
        assert_eq!(Depth::detect(None, None, env(&[("NO_COLOR", ""), ("TERM", "tmux-256color")])), Depth::Ansi256);
        assert_eq!(Depth::detect(None, None, env(&[("TERM", "dumb")])), Depth::None);
        assert_eq!(Depth::detect(None, None, env(&[("TERM", "xterm")])), Depth::Ansi16);
        assert_eq!(Depth::detect(None, None, env(&[])), Depth::Ansi16);
    }

    #[test]
    fn palette_entries_map_to_themselves() {
        assert_eq!(xterm256([255, 0, 0]), 196);
        assert_eq!(xterm256([0, 0, 0]), 16);
        assert_eq!(xterm256([255, 255, 255]), 231);
        assert_eq!(xterm256([118, 118, 118]), 243);
        assert_eq!(xterm256([95, 135, 175]), 67);
    }
}
