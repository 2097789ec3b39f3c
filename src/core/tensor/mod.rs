//! Images, preprocessing, labels and norms.
//!
//! Pixel space everywhere: `[C, H, W]`, f32, 0..1, RGB. What a network wants instead (mean, std, BGR, 0..255) is
//! described by [`Preprocess`] and made part of the differentiated function elsewhere.

pub mod configs;
pub mod image;
pub mod labels;
pub mod norm;
pub mod preprocess;
pub mod resize;

pub use labels::Labels;
pub use norm::Norms;
pub use preprocess::Preprocess;
pub use resize::{Fit, Interpolation, Resize};
