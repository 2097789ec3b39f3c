//! Screens: one file each, with its state, messages, update, view and keys.

pub mod attack;
pub mod cam;
pub mod cam_charts;
pub mod cam_view;
pub mod pixel_views;
pub mod pixels;

/// A screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Screen {
    /// Pictures, curves, scores.
    Attack,
    /// The promotion-suppression map.
    Pixels,
    /// Class activation maps.
    Cam,
}

/// All screens in the order of their tabs.
pub const SCREENS: [Screen; 3] = [Screen::Attack, Screen::Pixels, Screen::Cam];

impl Screen {
    /// Name on the tab.
    pub fn title(self) -> &'static str {
        match self {
            Self::Attack => "Attack",
            Self::Pixels => "Pixels",
            Self::Cam => "CAM",
        }
    }

    /// Key of the tab.
    pub fn number(self) -> usize {
        SCREENS.iter().position(|s| *s == self).map_or(0, |i| i + 1)
    }
}
