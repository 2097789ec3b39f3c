//! Built-in themes. `terminal` uses named colours only, so that the person's own palette rules.

use ratatui::style::{Color, Modifier};

use super::Role;

/// Names of the built-in themes, the default first.
pub const NAMES: [&str; 4] = ["terminal", "dark", "light", "high-contrast"];

/// Colour and attributes of a role. The attributes alone must tell roles apart when there is no colour.
pub(super) fn look(theme: &str, role: Role) -> (Color, Modifier) {
    let colour = match theme {
        "dark" => dark(role),
        "light" => light(role),
        "high-contrast" => high_contrast(role),
        _ => terminal(role),
    };
    (colour, attributes(role))
}

/// Background. Light text on a light terminal would be unreadable, so only `terminal` leaves it as it is.
pub(super) fn background(theme: &str) -> Color {
    match theme {
        "dark" => Color::Rgb(22, 25, 31),
        "light" => Color::Rgb(250, 250, 247),
        "high-contrast" => Color::Black,
        _ => Color::Reset,
    }
}

fn attributes(role: Role) -> Modifier {
    match role {
        Role::Title | Role::Key | Role::Warn | Role::Error | Role::Focus => Modifier::BOLD,
        Role::Selected | Role::Tab => Modifier::REVERSED,
        _ => Modifier::empty(),
    }
}

fn terminal(role: Role) -> Color {
    match role {
        Role::Text | Role::Selected | Role::Title => Color::Reset,
        Role::Dim | Role::Border => Color::DarkGray,
        Role::Focus | Role::Accent | Role::Key | Role::Tab => Color::Cyan,
        Role::Good => Color::Green,
        Role::Warn => Color::Yellow,
        Role::Error => Color::Red,
        Role::TrueClass | Role::Suppression => Color::LightBlue,
        Role::TargetClass | Role::Promotion => Color::Yellow,
        Role::OtherClass | Role::Balanced => Color::Gray,
    }
}

fn dark(role: Role) -> Color {
    match role {
        Role::Text | Role::Selected => Color::Rgb(214, 219, 226),
        Role::Title => Color::Rgb(245, 247, 250),
        Role::Dim => Color::Rgb(128, 138, 152),
        Role::Border => Color::Rgb(76, 86, 102),
        Role::Focus | Role::Accent | Role::Key | Role::Tab => Color::Rgb(110, 200, 210),
        Role::Good => Color::Rgb(120, 200, 130),
        Role::Warn => Color::Rgb(240, 200, 90),
        Role::Error => Color::Rgb(255, 110, 110),
        Role::TrueClass | Role::Suppression => Color::Rgb(100, 165, 255),
        Role::TargetClass | Role::Promotion => Color::Rgb(255, 160, 50),
        Role::OtherClass | Role::Balanced => Color::Rgb(180, 184, 190),
    }
}

fn light(role: Role) -> Color {
    match role {
        Role::Text | Role::Selected | Role::Title => Color::Rgb(30, 34, 40),
        Role::Dim => Color::Rgb(100, 108, 118),
        Role::Border => Color::Rgb(165, 172, 182),
        Role::Focus | Role::Accent | Role::Key | Role::Tab => Color::Rgb(0, 105, 120),
        Role::Good => Color::Rgb(20, 120, 40),
        Role::Warn => Color::Rgb(150, 90, 0),
        Role::Error => Color::Rgb(185, 20, 30),
        Role::TrueClass | Role::Suppression => Color::Rgb(20, 80, 190),
        Role::TargetClass | Role::Promotion => Color::Rgb(180, 80, 0),
        Role::OtherClass | Role::Balanced => Color::Rgb(90, 95, 105),
    }
}

fn high_contrast(role: Role) -> Color {
    match role {
        Role::Text | Role::Selected | Role::Title | Role::Dim | Role::Border | Role::OtherClass | Role::Balanced => Color::White,
        Role::Focus | Role::Accent | Role::Key | Role::Tab => Color::LightCyan,
        Role::Good => Color::LightGreen,
        Role::Warn | Role::TargetClass | Role::Promotion => Color::LightYellow,
        Role::Error => Color::LightRed,
        Role::TrueClass | Role::Suppression => Color::LightBlue,
    }
}
