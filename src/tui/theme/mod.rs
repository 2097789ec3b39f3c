//! Colours by meaning. Every colour on the screen goes through [`Theme`], which may answer "no colour".

use ratatui::style::{Color, Style};

pub mod builtin;
pub mod depth;

pub use depth::Depth;

/// What a colour means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Ordinary text.
    Text,
    /// Less important text.
    Dim,
    /// Headings.
    Title,
    /// Frames.
    Border,
    /// The frame of what has the focus.
    Focus,
    /// Values worth a glance.
    Accent,
    /// Keys in hints and help.
    Key,
    /// Success.
    Good,
    /// Warnings.
    Warn,
    /// Errors.
    Error,
    /// The true class.
    TrueClass,
    /// The target class.
    TargetClass,
    /// The best other class.
    OtherClass,
    /// Promotion.
    Promotion,
    /// Suppression.
    Suppression,
    /// Balanced.
    Balanced,
    /// The chosen row.
    Selected,
    /// The open tab.
    Tab,
}

/// Theme, colour depth and glyph set: everything about looks that is decided once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Theme {
    /// One of [`builtin::NAMES`].
    pub name: &'static str,
    /// Colour depth.
    pub depth: Depth,
    /// Only ASCII characters.
    pub ascii: bool,
}

impl Theme {
    /// A built-in theme; an unknown name is an error that lists the known ones.
    pub fn new(name: &str, depth: Depth, ascii: bool) -> Result<Self, String> {
        match builtin::NAMES.iter().find(|n| **n == name) {
            Some(name) => Ok(Self { name, depth, ascii }),
            None => Err(format!("there is no theme '{name}'; choose one of {}", builtin::NAMES.join(", "))),
        }
    }

    /// Style of a role.
    pub fn style(&self, role: Role) -> Style {
        let (colour, attributes) = builtin::look(self.name, role);
        let style = Style::default().add_modifier(attributes);
        match (self.depth, colour) {
            (Depth::None, _) | (_, Color::Reset) => style,
            (Depth::Ansi16, Color::Rgb(..)) => style.fg(builtin::look("terminal", role).0),
            (Depth::Ansi256, Color::Rgb(r, g, b)) => style.fg(Color::Indexed(depth::xterm256([r, g, b]))),
            (_, colour) => style.fg(colour),
        }
    }

    /// A picture's colour in this depth; `None` when pictures are drawn with glyphs.
    pub fn pixel(&self, rgb: [u8; 3]) -> Option<Color> {
        match self.depth {
            Depth::True => Some(Color::Rgb(rgb[0], rgb[1], rgb[2])),
            Depth::Ansi256 => Some(Color::Indexed(depth::xterm256(rgb))),
            Depth::Ansi16 | Depth::None => None,
        }
    }

    /// Whether pictures have colours at all.
    pub fn coloured_pictures(&self) -> bool {
        self.depth >= Depth::Ansi256
    }

    /// The first text, or the second where only ASCII is wanted.
    pub fn glyph(&self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.ascii { ascii } else { unicode }
    }

    /// What stands for cut text.
    pub fn ellipsis(&self) -> &'static str {
        self.glyph("…", "~")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colour_no_role_has_one() {
        let theme = Theme::new("dark", Depth::None, false).expect("built in");
        for role in [Role::Text, Role::Error, Role::Promotion, Role::Tab, Role::Focus] {
            assert_eq!(theme.style(role).fg, None);
            assert_eq!(theme.style(role).bg, None);
        }
        assert!(Theme::new("neon", Depth::True, false).unwrap_err().contains("high-contrast"));
    }
}
