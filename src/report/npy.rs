//! Single NumPy arrays.

use std::path::Path;

use ndarray::{ArrayBase, Data, Dimension};

use crate::core::error::{Error, Result};

/// Writes one array as `.npy` (float32, row-major).
pub fn write<S: Data<Elem = f32>, D: Dimension>(path: &Path, array: &ArrayBase<S, D>) -> Result<()> {
    ndarray_npy::write_npy(path, &array.as_standard_layout())
        .map_err(|e| Error::Input(format!("cannot write {}: {e}; give a folder you may write to", path.display())))
}
