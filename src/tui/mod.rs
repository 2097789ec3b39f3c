//! The terminal inspector: a model of plain data, an update without input or output, a view that only reads.
//!
//! ```text
//! key -> keymap -> Msg ---------+
//! worker Event -> Msg ----------+--> update(&mut Model, Msg) -> Vec<Effect> --> app carries them out
//! clock, resize, signal -> Msg -+            |
//!                                            +--> view(&Model, &mut ViewCache, &mut Frame)
//! ```

pub mod ahead;
mod app;
pub mod app_keys;
pub mod commands;
pub mod copy;
pub mod dialog;
pub mod doctor;
pub mod effect;
mod engine_events;
pub mod graphics;
mod input;
pub mod kept;
pub mod keymap;
pub mod layout;
pub mod logging;
pub mod model;
pub mod msg;
pub mod network;
pub mod notice;
pub mod open;
mod outside;
pub mod psr;
pub mod run;
pub mod screen;
mod terminal;
pub mod text;
pub mod theme;
pub mod time;
mod update;
pub mod view;
pub mod widget;

pub use app::{OnExit, Options, default_attack, run, run_with};
pub use keymap::keys_markdown;
pub use update::update;
