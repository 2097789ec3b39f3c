//! Network dissection of a model on concept data in a folder: reading, running, continuing, keeping.

mod count;
pub mod data;
pub mod made;
mod probe;
pub mod run;
pub mod store;

pub use data::Data;
pub use run::{Dissected, Plan, Stage, run};
