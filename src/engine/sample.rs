//! The bundled model and photo, inside the program, so that an installed copy needs no files.

use std::path::Path;

/// Stands for the bundled model.
pub const MODEL: &str = "sample:squeezenet1_1.onnx";

/// Stands for the bundled photo.
pub const IMAGE: &str = "sample:panda.jpg";

/// Bytes of a bundled file, when the path stands for one.
pub fn bytes(path: &Path) -> Option<&'static [u8]> {
    match path.to_str()? {
        MODEL => Some(include_bytes!("../../onnx/squeezenet1_1.onnx")),
        IMAGE => Some(include_bytes!("../../samples/panda.jpg")),
        _ => None,
    }
}
