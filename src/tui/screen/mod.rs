//! Screens: one file each, with its state, messages, update, view and keys.

pub mod attack;
pub mod cam;
pub mod cam_charts;
pub mod cam_view;
mod charts;
pub mod closer;
pub mod insight;
pub mod layers;
pub mod masked;
pub mod pixel_views;
pub mod pixels;
pub mod triage;
pub mod units;
pub mod units_view;
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
    /// Layer by layer.
    Layers,
    /// Unit by unit.
    Units,
    /// What is known, in sentences.
    Insight,
    /// A folder.
    Triage,
}

/// All screens in the order of their tabs.
pub const SCREENS: [Screen; 7] =
    [Screen::Attack, Screen::Pixels, Screen::Cam, Screen::Layers, Screen::Units, Screen::Insight, Screen::Triage];

impl Screen {
    /// Name on the tab.
    pub fn title(self) -> &'static str {
        match self {
            Self::Attack => "Attack",
            Self::Pixels => "Pixels",
            Self::Cam => "CAM",
            Self::Layers => "Layers",
            Self::Units => "Units",
            Self::Insight => "Insight",
            Self::Triage => "Triage",
        }
    }

    /// Key of the tab.
    pub fn key(self) -> char {
        match self {
            Self::Attack => '1',
            Self::Pixels => '2',
            Self::Cam => '3',
            Self::Layers => '4',
            Self::Units => '5',
            Self::Insight => '6',
            Self::Triage => 'T',
        }
    }
}
