//! Triage: which images of a folder deserve a look. Every image is predicted, attacked and explained; one row each.
//!
//! ```text
//! listing -> shard -> drive (lanes: one network each, or one network fed in batches) -> assess -> Row
//!                                                                    journal <- rows -> table (Parquet)
//! ```
//!
//! A row depends on its image, the model and the settings only: not on the shard, not on how many images run side by side.

pub mod assess;
pub mod background;
pub mod difference;
pub mod drive;
mod footer;
pub mod gather;
pub mod journal;
pub mod listing;
pub mod part;
pub mod row;
pub mod runs;
pub mod setup;
pub mod shard;
pub mod summary;
pub mod table;
mod thrift;

pub use assess::Settings;
pub use listing::Item;
pub use row::{COLUMNS, Cell, Column, Row};
pub use shard::Shard;

/// Name and version of the rows' layout, in the metadata of every file.
pub const SCHEMA: &str = "psescope.triage/1";
