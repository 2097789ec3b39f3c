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

const PREFIX: &str = "sample:";

/// File name for people: `squeezenet1_1.onnx (sample)` for a bundled file.
pub fn title(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    match name.strip_prefix(PREFIX) {
        Some(bundled) => format!("{bundled} (sample)"),
        None => name.into_owned(),
    }
}

/// File name without its ending, fit for a new file's name.
pub fn stem(path: &Path) -> String {
    let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
    name.strip_prefix(PREFIX).unwrap_or(&name).to_owned()
}
