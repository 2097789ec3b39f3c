//! Network dissection (Bau, Zhou, Khosla, Oliva, Torralba, CVPR 2017): which human concept the pixels that excite a unit agree with.
//!
//! ```text
//! broden   the concept data: index.csv, label.csv, category.csv, c_*.csv, label pictures
//! quantile the unit's threshold: a level of its values over all images and positions
//! field    where a layer's samples lie in the image       mask  upsample, compare, as bits
//! tally    pixels of masks, labels and both               result  NetDissect's result file
//! levels   its threshold and the spread of its mean response, as a file
//! survey   one pass over the maps that feeds quantile, levels and tops
//! tops     the images that excite a unit most             labels  what others ask: the concept of a unit
//! make     a small data set of our own
//! ```
//!
//! Nothing here opens a file: bytes come in, text and numbers go out.

pub mod broden;
pub mod field;
pub mod labels;
pub mod levels;
pub mod make;
pub mod mask;
mod number;
pub mod quantile;
pub mod result;
pub mod survey;
mod tables;
pub mod tally;
pub mod tops;

pub use labels::{Concept, ConceptLabels};
pub use levels::Levels;
pub use result::{CategoryScore, ResultTable, UnitRow};

/// IoU from which a unit counts as interpretable: a convention of the paper.
pub const IOU_THRESHOLD: f64 = 0.04;
/// Share of a unit's values that lie above its threshold: a convention of the paper.
pub const QUANTILE: f64 = 0.005;
