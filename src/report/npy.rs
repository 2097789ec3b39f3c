//! NumPy files.

use std::path::Path;

use ndarray::{ArrayBase, ArrayD, Data, Dimension};

use crate::core::error::{Error, Result};

/// Writes one array as `.npy` (float32, row-major).
pub fn write<S: Data<Elem = f32>, D: Dimension>(path: &Path, array: &ArrayBase<S, D>) -> Result<()> {
    ndarray_npy::write_npy(path, &array.as_standard_layout())
        .map_err(|e| Error::Input(format!("cannot write {}: {e}; give a folder you may write to", path.display())))
}

/// Reads a float32 or float64 `.npy` array of any rank.
pub fn read(path: &Path) -> Result<ArrayD<f32>> {
    if let Ok(array) = ndarray_npy::read_npy::<_, ArrayD<f32>>(path) {
        return Ok(array);
    }
    let array: ArrayD<f64> = ndarray_npy::read_npy(path)
        .map_err(|e| Error::Input(format!("cannot read {} as a float array: {e}; save it with numpy.save as float32", path.display())))?;
    Ok(array.mapv(|v| v as f32))
}
