//! Colours by meaning. Every colour on the screen goes through [`Theme`], which may answer "no colour".

use std::{path::PathBuf, sync::Arc};

use ratatui::style::{Color, Modifier, Style};

pub mod builtin;
pub mod custom;
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

/// Every role, its name in a theme file, and what it colours.
pub const ROLES: [(Role, &str, &str); 18] = [
    (Role::Text, "text", "ordinary text"),
    (Role::Dim, "dim", "less important text"),
    (Role::Title, "title", "headings"),
    (Role::Border, "border", "frames"),
    (Role::Focus, "focus", "the frame of what has the focus"),
    (Role::Accent, "accent", "values worth a glance"),
    (Role::Key, "key", "keys in hints and help"),
    (Role::Good, "good", "success"),
    (Role::Warn, "warn", "warnings"),
    (Role::Error, "error", "errors"),
    (Role::TrueClass, "true-class", "the true class"),
    (Role::TargetClass, "target-class", "the target class"),
    (Role::OtherClass, "other-class", "the best other class"),
    (Role::Promotion, "promotion", "promoting cells and units, in words and curves"),
    (Role::Suppression, "suppression", "suppressing ones"),
    (Role::Balanced, "balanced", "balanced ones"),
    (Role::Selected, "selected", "the chosen row"),
    (Role::Tab, "tab", "the open tab"),
];

/// Colours and attributes of all roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Name.
    pub name: String,
    /// File it was read from; none for a built-in one.
    pub file: Option<PathBuf>,
    roles: [(Color, Modifier); ROLES.len()],
    /// Behind everything; the terminal's own when it is [`Color::Reset`].
    background: Color,
}

impl Look {
    /// A built-in look.
    pub fn builtin(name: &str) -> Option<Self> {
        let name = builtin::NAMES.iter().find(|n| **n == name)?;
        Some(Self {
            name: (*name).to_owned(),
            file: None,
            roles: ROLES.map(|(role, ..)| builtin::look(name, role)),
            background: builtin::background(name),
        })
    }

    /// Where it comes from, in words.
    pub fn origin(&self) -> String {
        self.file.as_ref().map_or_else(|| "built in".to_owned(), |f| f.display().to_string())
    }

    fn of(&self, role: Role) -> (Color, Modifier) {
        ROLES.iter().position(|(r, ..)| *r == role).map_or((Color::Reset, Modifier::empty()), |i| self.roles[i])
    }
}

/// Theme, colour depth and glyph set: everything about looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Theme {
    /// Colours by meaning.
    pub look: Arc<Look>,
    /// Colour depth.
    pub depth: Depth,
    /// Only ASCII characters.
    pub ascii: bool,
}

impl Theme {
    /// A built-in theme; an unknown name is an error that lists the known ones.
    pub fn new(name: &str, depth: Depth, ascii: bool) -> Result<Self, String> {
        match Look::builtin(name) {
            Some(look) => Ok(Self { look: Arc::new(look), depth, ascii }),
            None => Err(format!("there is no theme '{name}'; choose one of {}", builtin::NAMES.join(", "))),
        }
    }

    /// The name of its look.
    pub fn name(&self) -> &str {
        &self.look.name
    }

    /// Style of a role.
    pub fn style(&self, role: Role) -> Style {
        let (colour, attributes) = self.look.of(role);
        let style = Style::default().add_modifier(attributes);
        match (self.depth, colour) {
            (Depth::None, _) | (_, Color::Reset) => style,
            // What sixteen colours cannot show is left to the person's palette.
            (Depth::Ansi16, Color::Rgb(..) | Color::Indexed(16..)) => match builtin::look("terminal", role).0 {
                Color::Reset => style,
                named => style.fg(named),
            },
            (Depth::Ansi256, Color::Rgb(r, g, b)) => style.fg(Color::Indexed(depth::xterm256([r, g, b]))),
            (_, colour) => style.fg(colour),
        }
    }

    /// What is painted where nothing else is: text and background colours of the theme, when it has a background of its own that
    /// this terminal can show.
    pub fn ground(&self) -> Option<(Color, Color)> {
        let background = match (self.depth, self.look.background) {
            (Depth::None, _) | (_, Color::Reset) | (Depth::Ansi16, Color::Rgb(..) | Color::Indexed(16..)) => return None,
            (Depth::Ansi256, Color::Rgb(r, g, b)) => Color::Indexed(depth::xterm256([r, g, b])),
            (_, colour) => colour,
        };
        Some((self.style(Role::Text).fg.unwrap_or(Color::Reset), background))
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
