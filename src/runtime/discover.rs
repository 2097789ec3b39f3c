//! Where ONNX Runtime libraries may be, in the order in which they are tried.
//!
//! `--ort-lib`, `ORT_DYLIB_PATH`, configuration; `$VIRTUAL_ENV`, `$CONDA_PREFIX`, `./.venv` (file system only); the
//! per-user cache; `python3` (asked, last of the Python ways); system folders and the loader's own search. With an
//! NVIDIA driver present, builds with the CUDA provider come first among those that nobody named.
//!
//! Everything here is a function of [`Environment`], so the order is tested without touching the process.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use serde::Serialize;

/// How a library came to be considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// `--ort-lib`.
    Flag,
    /// `ORT_DYLIB_PATH`.
    Variable,
    /// Configuration file.
    Config,
    /// `$VIRTUAL_ENV`.
    VirtualEnv,
    /// `$CONDA_PREFIX`.
    Conda,
    /// `./.venv`.
    DotVenv,
    /// Fetched by `psescope runtime install`.
    Cache,
    /// Reported by `python3`.
    Python,
    /// A library folder of the system.
    System,
    /// Left to the loader.
    Loader,
    /// Built into psescope.
    Embedded,
}

impl Source {
    /// What people read.
    pub fn label(self) -> &'static str {
        match self {
            Self::Flag => "--ort-lib",
            Self::Variable => "ORT_DYLIB_PATH",
            Self::Config => "configuration",
            Self::VirtualEnv => "$VIRTUAL_ENV",
            Self::Conda => "$CONDA_PREFIX",
            Self::DotVenv => "./.venv",
            Self::Cache => "psescope's cache",
            Self::Python => "python3",
            Self::System => "system folder",
            Self::Loader => "loader path",
            Self::Embedded => "built in",
        }
    }

    /// Whether a person named this very library.
    pub fn is_explicit(self) -> bool {
        matches!(self, Self::Flag | Self::Variable | Self::Config)
    }
}

/// A library that may be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// How it was found.
    pub source: Source,
    /// Where it is. For [`Source::Loader`] a bare name; for [`Source::Python`] empty until asked.
    pub path: PathBuf,
    /// Whether the CUDA provider lies beside it.
    pub gpu_build: bool,
}

/// The part of a file system that is looked at.
pub trait Files {
    /// Whether a file is there.
    fn is_file(&self, path: &Path) -> bool;
    /// Paths of a folder's entries; empty when there is no such folder.
    fn entries(&self, dir: &Path) -> Vec<PathBuf>;
}

/// The real file system.
#[derive(Debug, Clone, Copy)]
pub struct Disk;

impl Files for Disk {
    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn entries(&self, dir: &Path) -> Vec<PathBuf> {
        std::fs::read_dir(dir).map(|d| d.flatten().map(|e| e.path()).collect()).unwrap_or_default()
    }
}

impl Files for BTreeSet<PathBuf> {
    fn is_file(&self, path: &Path) -> bool {
        self.contains(path)
    }

    fn entries(&self, dir: &Path) -> Vec<PathBuf> {
        let inside = self.iter().filter_map(|p| Some(dir.join(p.strip_prefix(dir).ok()?.components().next()?)));
        inside.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// Families of systems that name libraries differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Os {
    /// `.so`.
    Linux,
    /// `.dylib`.
    MacOs,
    /// `.dll`.
    Windows,
}

impl Os {
    /// The system this was built for.
    pub fn current() -> Self {
        if cfg!(windows) {
            Self::Windows
        } else if cfg!(target_os = "macos") {
            Self::MacOs
        } else {
            Self::Linux
        }
    }
}

/// Everything discovery depends on.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// Environment variables.
    pub vars: &'a HashMap<String, PathBuf>,
    /// Working directory.
    pub cwd: &'a Path,
    /// Folder of the fetched libraries.
    pub cache: Option<&'a Path>,
    /// `--ort-lib`.
    pub flag: Option<&'a Path>,
    /// Library named in the configuration.
    pub config: Option<&'a Path>,
    /// Whether builds with the CUDA provider come first: a driver is present, or a GPU was named.
    pub prefer_gpu: bool,
    /// Whether `python3` may be asked.
    pub ask_python: bool,
    /// Naming of libraries.
    pub os: Os,
    /// File system.
    pub files: &'a dyn Files,
}

/// Candidates in the order in which they are to be tried. An explicit one is listed even when it does not exist.
pub fn candidates(env: &Environment) -> Vec<Candidate> {
    let var = |name: &str| env.vars.get(name).filter(|v| !v.as_os_str().is_empty());
    let mut explicit = Vec::new();
    let mut found = Vec::new();
    for (source, path) in
        [(Source::Flag, env.flag), (Source::Variable, var("ORT_DYLIB_PATH").map(PathBuf::as_path)), (Source::Config, env.config)]
    {
        if let Some(path) = path {
            explicit.push(candidate(env, source, named_file(env, path)));
        }
    }
    let venv = env.cwd.join(".venv");
    let roots = [(Source::VirtualEnv, var("VIRTUAL_ENV")), (Source::Conda, var("CONDA_PREFIX")), (Source::DotVenv, Some(&venv))];
    for (source, root) in roots {
        let Some(root) = root else { continue };
        for site in site_packages(env, &env.cwd.join(root)) {
            found.extend(library_in(env, &site.join("onnxruntime/capi")).map(|p| candidate(env, source, p)));
        }
    }
    for dir in cached(env) {
        found.extend(library_in(env, &dir).map(|p| candidate(env, Source::Cache, p)));
    }
    if env.ask_python {
        found.push(Candidate { source: Source::Python, path: PathBuf::new(), gpu_build: false });
    }
    for dir in system_dirs(env) {
        found.extend(library_in(env, &dir).map(|p| candidate(env, Source::System, p)));
    }
    found.extend(loader_names(env.os).iter().map(|n| Candidate { source: Source::Loader, path: n.into(), gpu_build: false }));
    if env.prefer_gpu {
        found.sort_by_key(|c| !c.gpu_build);
    }
    let mut seen = BTreeSet::new();
    explicit.into_iter().chain(found).filter(|c| c.source == Source::Python || seen.insert(c.path.clone())).collect()
}

/// A candidate for a library file, looking beside it for the CUDA provider.
pub fn candidate(env: &Environment, source: Source, path: PathBuf) -> Candidate {
    let provider = match env.os {
        Os::Linux => "libonnxruntime_providers_cuda.so",
        Os::MacOs => "libonnxruntime_providers_cuda.dylib",
        Os::Windows => "onnxruntime_providers_cuda.dll",
    };
    let gpu_build = path.parent().is_some_and(|dir| env.files.is_file(&dir.join(provider)));
    Candidate { source, path, gpu_build }
}

/// The library inside a folder: the longest name, which carries the version, wins over its short links.
pub fn library_in(env: &Environment, dir: &Path) -> Option<PathBuf> {
    let files = env.files.entries(dir);
    files.into_iter().filter(|p| is_library(env.os, p) && env.files.is_file(p)).max_by_key(|p| (p.as_os_str().len(), p.clone()))
}

fn is_library(os: Os, path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|n| n.to_str()) else { return false };
    match os {
        Os::Linux => name == "libonnxruntime.so" || name.strip_prefix("libonnxruntime.so.").is_some_and(is_version),
        Os::MacOs => {
            let stem = name.strip_prefix("libonnxruntime").and_then(|s| s.strip_suffix(".dylib"));
            stem.is_some_and(|s| s.is_empty() || s.strip_prefix('.').is_some_and(is_version))
        }
        Os::Windows => name.eq_ignore_ascii_case("onnxruntime.dll"),
    }
}

fn is_version(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// A path a person gave: made absolute, and a folder stands for the library in it.
fn named_file(env: &Environment, path: &Path) -> PathBuf {
    let path = env.cwd.join(path);
    if env.files.is_file(&path) {
        return path;
    }
    [path.clone(), path.join("lib"), path.join("onnxruntime/capi")].iter().find_map(|d| library_in(env, d)).unwrap_or(path)
}

fn site_packages(env: &Environment, root: &Path) -> Vec<PathBuf> {
    if env.os == Os::Windows {
        return vec![root.join("Lib").join("site-packages")];
    }
    // `lib64` is usually a link to `lib`: looked at only when that holds no Python.
    for lib in ["lib", "lib64"] {
        let mut pythons = env.files.entries(&root.join(lib));
        pythons.retain(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("python3")));
        if !pythons.is_empty() {
            pythons.sort_by_key(|p| std::cmp::Reverse(numbers(p)));
            return pythons.into_iter().map(|p| p.join("site-packages")).collect();
        }
    }
    Vec::new()
}

/// Folders of the cache, newest version first; unfinished ones (`.part`) are left out.
fn cached(env: &Environment) -> Vec<PathBuf> {
    let Some(cache) = env.cache else { return Vec::new() };
    let whole = |p: &PathBuf| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| is_version(n.strip_suffix("-gpu").unwrap_or(n)));
    let mut dirs: Vec<_> = env.files.entries(cache).into_iter().filter(whole).collect();
    dirs.sort_by_key(|p| (std::cmp::Reverse(numbers(p)), p.clone()));
    dirs
}

/// The numbers in a file name, to compare versions with.
fn numbers(path: &Path) -> Vec<u64> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|s| s.parse().ok()).collect()
}

fn system_dirs(env: &Environment) -> Vec<PathBuf> {
    let (variable, fixed): (&str, &[&str]) = match env.os {
        Os::Linux => (
            "LD_LIBRARY_PATH",
            &["/usr/local/lib", "/usr/local/lib64", "/usr/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"],
        ),
        Os::MacOs => ("DYLD_LIBRARY_PATH", &["/opt/homebrew/lib", "/usr/local/lib"]),
        // Not PATH and not the system folder: Windows ships an old onnxruntime.dll of its own there.
        Os::Windows => ("ORT_LIB_PATH", &[]),
    };
    let listed =
        env.vars.get(variable).map(|v| std::env::split_paths(v).filter(|p| p.is_absolute()).collect::<Vec<_>>()).unwrap_or_default();
    listed.into_iter().chain(fixed.iter().map(PathBuf::from)).collect()
}

fn loader_names(os: Os) -> &'static [&'static str] {
    match os {
        Os::Linux => &["libonnxruntime.so.1", "libonnxruntime.so"],
        Os::MacOs => &["libonnxruntime.dylib"],
        Os::Windows => &[],
    }
}

#[cfg(test)]
#[path = "discover_tests.rs"]
mod tests;
