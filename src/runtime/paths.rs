//! Where psescope keeps its files: XDG folders on every Unix, macOS included, and on Windows too.

use std::path::PathBuf;

use etcetera::BaseStrategy;

const APP: &str = "psescope";

/// Folder for what can be fetched or computed again; `None` when there is no home directory.
pub fn cache_dir() -> Option<PathBuf> {
    etcetera::base_strategy::Xdg::new().ok().map(|b| b.cache_dir().join(APP))
}

/// Folder of the configuration file.
pub fn config_dir() -> Option<PathBuf> {
    etcetera::base_strategy::Xdg::new().ok().map(|b| b.config_dir().join(APP))
}

/// Folder of the log.
pub fn state_dir() -> Option<PathBuf> {
    etcetera::base_strategy::Xdg::new().ok().and_then(|b| b.state_dir()).map(|d| d.join(APP))
}

/// Folder of the ONNX Runtime libraries that `runtime install` fetched, one folder per version.
pub fn runtime_dir() -> Option<PathBuf> {
    cache_dir().map(|d| d.join("onnxruntime"))
}
