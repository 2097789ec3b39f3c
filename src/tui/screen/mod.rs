//! Screens: one file each, with its state, messages, update, view and keys.

pub mod attack;
pub mod cam;
pub mod cam_charts;
pub mod cam_view;
mod charts;
pub mod pixel_views;
pub mod pixels;
pub mod triage;
pub mod versus;

/// A screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Screen {
    /// Pictures, curves, scores.
    Attack,
    /// The promotion-suppression map.
    Pixels,
    /// Class activation maps.
    Cam,
    /// A folder.
    Triage,
}

/// All screens in the order of their tabs.
pub const SCREENS: [Screen; 4] = [Screen::Attack, Screen::Pixels, Screen::Cam, Screen::Triage];

impl Screen {
    /// Name on the tab.
    pub fn title(self) -> &'static str {
        match self {
            Self::Attack => "Attack",
            Self::Pixels => "Pixels",
            Self::Cam => "CAM",
            Self::Triage => "Triage",
        }
    }

    /// Key of the tab.
    pub fn key(self) -> char {
        match self {
            Self::Attack => '1',
            Self::Pixels => '2',
            Self::Cam => '3',
            Self::Triage => 'T',
        }
    }
}
