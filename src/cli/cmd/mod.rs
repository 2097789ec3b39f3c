//! One file per subcommand.

pub mod attack;
pub mod cam;
pub mod dissect;
pub mod doctor;
pub mod export;
pub mod generate;
pub mod grad;
pub mod insight;
pub mod inspect;
pub mod layers;
pub mod man;
pub mod mask;
pub mod pse;
pub mod recovery;
pub mod runtime;
pub mod sensitivity;
pub mod show;
pub mod triage;
pub mod tui;
pub mod units;
pub mod view;
