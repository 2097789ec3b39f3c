//! Everything `psescope doctor` says about execution. Data only; the command line prints it.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{
    open::{Record, Report, Runtime, nvidia_driver_present, survey},
    options::RuntimeOptions,
    paths,
};

/// State of the execution side of an installation.
#[derive(Debug, Clone, Serialize)]
pub struct Doctor {
    /// psescope's version.
    pub version: &'static str,
    /// Engine in use, or why there is none.
    pub engine: Result<String, String>,
    /// Library in use; `None` for the embedded engine.
    pub library: Option<PathBuf>,
    /// Device in use.
    pub device: Option<String>,
    /// Providers the library was built with.
    pub providers: Vec<&'static str>,
    /// Every library that was considered, in order.
    pub libraries: Vec<Record>,
    /// NVIDIA device nodes that are present.
    pub nvidia_devices: Vec<PathBuf>,
    /// Names of the cards, from the driver.
    pub cards: Vec<String>,
    /// Whether the NVIDIA driver is present.
    pub nvidia_driver: bool,
    /// Whether the embedded engine is part of this build.
    pub embedded: bool,
    /// Threads of one run.
    pub threads: usize,
    /// Folder of the fetched libraries and computed graphs.
    pub cache: Option<PathBuf>,
    /// Folder of the configuration file.
    pub config: Option<PathBuf>,
    /// Folder of the log.
    pub state: Option<PathBuf>,
    /// What people should know, one sentence each.
    pub notices: Vec<String>,
}

/// Looks at everything; an engine that cannot be opened is part of the answer.
pub fn gather(options: &RuntimeOptions) -> Doctor {
    let opened = Runtime::open(options).map(|r| r.report().clone()).map_err(|e| e.to_string());
    from_report(options, opened)
}

/// The same from a report that exists already.
pub fn from_report(options: &RuntimeOptions, opened: Result<Report, String>) -> Doctor {
    let (engine, report) = match opened {
        Ok(report) => (Ok(report.engine.clone()), Some(report)),
        Err(e) => (Err(e), None),
    };
    Doctor {
        version: env!("CARGO_PKG_VERSION"),
        engine,
        library: report.as_ref().and_then(|r| r.library.clone()),
        device: report.as_ref().map(|r| r.device.clone()),
        providers: report.as_ref().map(|r| r.providers.clone()).unwrap_or_default(),
        libraries: report.as_ref().map_or_else(|| survey(options).records, |r| r.records.clone()),
        nvidia_devices: nvidia_devices(),
        cards: cards(Path::new("/proc/driver/nvidia/gpus")),
        nvidia_driver: nvidia_driver_present(),
        embedded: cfg!(feature = "embedded"),
        threads: options.thread_count(),
        cache: paths::cache_dir(),
        config: paths::config_dir(),
        state: paths::state_dir(),
        notices: report.map(|r| r.notices).unwrap_or_default(),
    }
}

fn nvidia_devices() -> Vec<PathBuf> {
    let numbered = |p: &PathBuf| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.strip_prefix("nvidia").is_some_and(is_number));
    let mut found: Vec<PathBuf> =
        std::fs::read_dir("/dev").map(|d| d.flatten().map(|e| e.path()).filter(numbered).collect()).unwrap_or_default();
    found.sort();
    found
}

/// Names of the NVIDIA cards, from the driver's own files; none without a driver, and in containers that hide them.
pub fn cards(folder: &Path) -> Vec<String> {
    let model = |text: String| text.lines().find_map(|l| Some(l.strip_prefix("Model:")?.trim().to_owned()));
    let mut folders: Vec<PathBuf> = std::fs::read_dir(folder).map(|d| d.flatten().map(|e| e.path()).collect()).unwrap_or_default();
    folders.sort();
    folders.into_iter().filter_map(|f| model(std::fs::read_to_string(f.join("information")).ok()?)).collect()
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_read_from_the_drivers_files() {
        let dir = tempfile::tempdir().unwrap();
        for (bus, name) in [("0000:02:00.0", "Second"), ("0000:01:00.0", "NVIDIA H100 80GB HBM3")] {
            std::fs::create_dir(dir.path().join(bus)).unwrap();
            std::fs::write(dir.path().join(bus).join("information"), format!("Model: \t\t {name}\nIRQ:   1\n")).unwrap();
        }
        assert_eq!(cards(dir.path()), ["NVIDIA H100 80GB HBM3", "Second"]);
        assert!(cards(Path::new("/nonexistent")).is_empty());
    }

    #[test]
    fn an_engine_that_cannot_open_is_part_of_the_answer() {
        let doctor = from_report(&RuntimeOptions::default(), Err("--ort-lib /x does not exist".into()));
        assert_eq!(serde_json::to_value(&doctor).unwrap()["engine"]["Err"], "--ort-lib /x does not exist");
        assert!(doctor.library.is_none() && doctor.notices.is_empty());
    }
}
