//! One file per subcommand.

pub mod attack;
pub mod cam;
pub mod check;
pub mod doctor;
pub mod export;
pub mod generate;
pub mod grad;
pub mod inspect;
pub mod layers;
pub mod mask;
pub mod pse;
pub mod runtime;
pub mod show;
pub mod triage;
pub mod tui;
pub mod units;
pub mod view;
