//! Single NumPy arrays.

use std::path::Path;

use ndarray::{ArrayBase, Data, Dimension};
use ndarray_npy::WriteNpyExt as _;

use crate::{core::error::Result, engine::files};

/// Writes one array as `.npy` (float32, row-major).
pub fn write<S: Data<Elem = f32>, D: Dimension>(path: &Path, array: &ArrayBase<S, D>) -> Result<()> {
    files::save_with(path, |out| array.as_standard_layout().write_npy(out).map_err(std::io::Error::other))
}
