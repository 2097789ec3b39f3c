//! `psescope runtime install`: fetches ONNX Runtime with the person's own pip or uv, so that mirrors, proxies and
//! credentials are theirs, and unpacks only its libraries into the cache.
//!
//! The wheel's Python version does not matter (nothing of it is run), so any pip can fetch it, for any system.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use zip::ZipArchive;

use super::{
    backend::Backend,
    discover::{Disk, Environment, Os, library_in},
    options::{Device, RuntimeOptions},
    ort_backend::{OrtBackend, check_graph, check_run},
    paths,
};
use crate::core::error::{Error, Result};

/// Largest single file taken out of a wheel.
const MAX_ENTRY: u64 = 2 << 30;

/// Fetches, unpacks and verifies; returns the library. `progress` is told each step in a line.
pub fn install(gpu: bool, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let cache = paths::runtime_dir().ok_or_else(|| engine("there is no home directory to keep the library in; set XDG_CACHE_HOME"))?;
    install_into(&cache, gpu, progress, &mut verify_in_child)
}

/// The same into a given folder, verified as given.
pub fn install_into(
    cache: &Path,
    gpu: bool,
    progress: &mut dyn FnMut(&str),
    verify: &mut dyn FnMut(&Path) -> Result<String>,
) -> Result<PathBuf> {
    let platforms = platforms(std::env::consts::OS, std::env::consts::ARCH, gpu)?;
    let package = if gpu { "onnxruntime-gpu" } else { "onnxruntime" };
    let downloads = Temporary::new(cache.join(format!(".download-{}", std::process::id())))?;
    let fetcher = fetcher()?;
    progress(&format!("fetching {package} with {}", fetcher.name));
    fetcher.download(package, &platforms, &downloads.0, progress)?;
    let wheel = std::fs::read_dir(&downloads.0)
        .ok()
        .and_then(|d| d.flatten().map(|e| e.path()).find(|p| p.extension().is_some_and(|e| e == "whl")));
    let wheel =
        wheel.ok_or_else(|| engine(format!("{} fetched no wheel of {package}; try again, or install it with pip", fetcher.name)))?;
    unpack(&wheel, cache, gpu, progress, verify)
}

/// Unpacks a wheel's libraries into `cache/VERSION[-gpu]`, by way of a folder `.part` that only a verified library leaves.
pub fn unpack(
    wheel: &Path,
    cache: &Path,
    gpu: bool,
    progress: &mut dyn FnMut(&str),
    verify: &mut dyn FnMut(&Path) -> Result<String>,
) -> Result<PathBuf> {
    let version = wheel_version(wheel).ok_or_else(|| engine(format!("{} does not look like a wheel of ONNX Runtime", wheel.display())))?;
    let folder = cache.join(format!("{version}{}", if gpu { "-gpu" } else { "" }));
    let part = Temporary::new(cache.join(format!("{version}{}.part", if gpu { "-gpu" } else { "" })))?;
    progress(&format!("unpacking ONNX Runtime {version}"));
    extract(wheel, &part.0)?;
    let library =
        find_library(&part.0).ok_or_else(|| engine(format!("the wheel of ONNX Runtime {version} holds no library for this system")))?;
    progress("loading it to verify");
    let said = verify(&library)?;
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|e| engine(format!("{} cannot be replaced ({e})", folder.display())))?;
    }
    std::fs::rename(&part.0, &folder).map_err(|e| engine(format!("{} cannot be put in place ({e})", folder.display())))?;
    progress(&format!("{said} is ready in {}", folder.display()));
    find_library(&folder).ok_or_else(|| engine(format!("{} holds no library", folder.display())))
}

/// Loads a library and runs a small graph with it: what the hidden `runtime verify PATH` prints. Meant for a process of its
/// own, because the library stays loaded.
pub fn verify(path: &Path) -> Result<String> {
    let backend = OrtBackend::open(path, &RuntimeOptions { device: Device::Cpu, threads: 1, ..RuntimeOptions::default() })?;
    check_run(&mut *backend.load(&check_graph())?)?;
    Ok(backend.describe())
}

/// Verifies in a child process, so that a library that crashes takes only the child with it.
fn verify_in_child(library: &Path) -> Result<String> {
    let failed = |why: String| engine(format!("the fetched library does not work on this machine ({why}); it was removed"));
    let me = std::env::current_exe().map_err(|e| failed(e.to_string()))?;
    let output =
        Command::new(me).args(["runtime", "verify"]).arg(library).stdin(Stdio::null()).output().map_err(|e| failed(e.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = super::quiet::one_line(&said);
        return Err(failed(if said.is_empty() { output.status.to_string() } else { said }));
    }
    Ok(super::quiet::one_line(&String::from_utf8_lossy(&output.stdout)))
}

fn engine(text: impl Into<String>) -> Error {
    Error::Engine(text.into())
}

fn find_library(folder: &Path) -> Option<PathBuf> {
    let vars = std::collections::HashMap::new();
    let env = Environment {
        vars: &vars,
        cwd: folder,
        cache: None,
        flag: None,
        config: None,
        prefer_gpu: false,
        ask_python: false,
        os: Os::current(),
        files: &Disk,
    };
    library_in(&env, folder)
}

/// Wheel platform tags to accept, for pip's `--platform`.
fn platforms(os: &str, arch: &str, gpu: bool) -> Result<Vec<&'static str>> {
    if cfg!(target_env = "musl") {
        return Err(engine("this build of psescope is linked with musl and cannot load libraries; use a glibc build"));
    }
    let tags: &[&str] = match (os, arch) {
        ("linux", "x86_64") => &["manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64"],
        ("linux", "aarch64") => &["manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64"],
        ("macos", "aarch64") => &["macosx_14_0_arm64", "macosx_13_0_arm64", "macosx_13_0_universal2", "macosx_11_0_universal2"],
        ("macos", "x86_64") => &["macosx_13_0_x86_64", "macosx_13_0_universal2", "macosx_11_0_universal2"],
        ("windows", "x86_64") => &["win_amd64"],
        ("windows", "aarch64") => &["win_arm64"],
        _ => {
            return Err(engine(format!(
                "there are no ready-made libraries for {os} on {arch}; build ONNX Runtime and name it with --ort-lib"
            )));
        }
    };
    if gpu && !matches!((os, arch), ("linux" | "windows", "x86_64")) {
        return Err(engine(format!("there is no GPU build for {os} on {arch}; leave --gpu out")));
    }
    Ok(tags.to_vec())
}

/// A program that downloads wheels.
struct Fetcher {
    name: &'static str,
    program: &'static str,
    before: &'static [&'static str],
}

/// Python with pip first (nothing else to fetch), then uv, which runs pip in a throw-away environment.
const FETCHERS: &[Fetcher] = &[
    Fetcher { name: "pip", program: "python3", before: &["-m", "pip"] },
    Fetcher { name: "pip", program: "python", before: &["-m", "pip"] },
    Fetcher { name: "uv", program: "uv", before: &["tool", "run", "--from", "pip", "python", "-m", "pip"] },
];

fn fetcher() -> Result<&'static Fetcher> {
    let works = |f: &&Fetcher| {
        let mut command = Command::new(f.program);
        // For uv only its presence: the first run of a tool already goes to the network.
        if f.name == "uv" {
            command.arg("--version")
        } else {
            command.args(f.before).arg("--version")
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    };
    FETCHERS.iter().find(works).ok_or_else(|| {
        engine("neither pip nor uv was found; install one of them (for instance the package python3-pip, or uv), or name a library with --ort-lib")
    })
}

impl Fetcher {
    fn download(&self, package: &str, platforms: &[&str], folder: &Path, progress: &mut dyn FnMut(&str)) -> Result<()> {
        let mut command = Command::new(self.program);
        command.args(self.before).args([
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--implementation",
            "cp",
            "--python-version",
            "3.12",
        ]);
        command.args(["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]);
        for platform in platforms {
            command.args(["--platform", platform]);
        }
        command.arg("-d").arg(folder).arg(package);
        let failed = |why: String| engine(format!("{} could not fetch {package} ({why}); check the network and try again", self.name));
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.map_err(|e| failed(e.to_string()))?;
        let stderr = child.stderr.take();
        let errors = std::thread::spawn(move || last_line(stderr));
        for line in child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines).map_while(std::result::Result::ok) {
            progress(&super::quiet::one_line(&line));
        }
        let status = child.wait().map_err(|e| failed(e.to_string()))?;
        let said = errors.join().unwrap_or_default();
        if status.success() { Ok(()) } else { Err(failed(if said.is_empty() { status.to_string() } else { said })) }
    }
}

/// The last error line a program printed; all of it is read so that the program never waits.
fn last_line(stream: Option<impl Read>) -> String {
    let lines = stream.map(BufReader::new).into_iter().flat_map(BufRead::lines).map_while(std::result::Result::ok);
    let last = lines.filter(|l| !l.trim().is_empty() && !l.contains("[notice]")).last();
    super::quiet::one_line(last.as_deref().unwrap_or_default().trim_start_matches("ERROR: "))
}

/// `1.32.0` of `onnxruntime-1.32.0-cp312-cp312-….whl`.
fn wheel_version(wheel: &Path) -> Option<String> {
    let mut parts = wheel.file_name()?.to_str()?.split('-');
    let name = parts.next()?;
    let version = parts.next()?;
    let plain = version.starts_with(|c: char| c.is_ascii_digit()) && version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    (name.starts_with("onnxruntime") && plain).then(|| version.to_owned())
}

/// Takes the libraries of `capi/` out of a wheel; nothing else, and nowhere else.
fn extract(wheel: &Path, folder: &Path) -> Result<()> {
    let bad = |e: String| engine(format!("the fetched wheel is damaged ({e}); try again"));
    let file = File::open(wheel).map_err(|e| bad(e.to_string()))?;
    let mut archive = ZipArchive::new(file).map_err(|e| bad(e.to_string()))?;
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).map_err(|e| bad(e.to_string()))?;
        let whole = entry.name().to_owned();
        let Some((dir, name)) = whole.rsplit_once('/') else { continue };
        let library =
            name.starts_with("libonnxruntime") || (name.starts_with("onnxruntime") || name == "DirectML.dll") && name.ends_with(".dll");
        if !library || !(dir == "capi" || dir.ends_with("/capi")) || !entry.is_file() || name.contains(['\\', ':']) {
            continue;
        }
        if entry.size() > MAX_ENTRY {
            return Err(bad(format!("{name} is too large")));
        }
        let path = folder.join(name);
        let mut out = File::create_new(&path).map_err(|e| engine(format!("{} cannot be written ({e})", path.display())))?;
        let expected = entry.size();
        let copied = std::io::copy(&mut (&mut entry).take(MAX_ENTRY), &mut out);
        let copied = copied.map_err(|e| engine(format!("{} cannot be written ({e}); is the disk full?", path.display())))?;
        if copied != expected {
            return Err(bad(format!("{name} is cut off")));
        }
    }
    Ok(())
}

/// A new folder that is removed again, unless it was renamed.
struct Temporary(PathBuf);

impl Temporary {
    fn new(path: PathBuf) -> Result<Self> {
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).map_err(|e| engine(format!("{} cannot be made ({e})", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn wheel(folder: &Path, entries: &[(&str, &[u8])]) -> PathBuf {
        let path = folder.join("onnxruntime-1.99.0-cp312-cp312-manylinux_2_28_x86_64.whl");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        for (name, bytes) in entries {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
        path
    }

    #[cfg(target_os = "linux")]
    const LIBRARY: &str = "libonnxruntime.so.1.99.0";
    #[cfg(target_os = "macos")]
    const LIBRARY: &str = "libonnxruntime.1.99.0.dylib";
    #[cfg(windows)]
    const LIBRARY: &str = "onnxruntime.dll";

    #[test]
    fn only_libraries_leave_the_wheel_and_only_when_verified() {
        let temp = tempfile::tempdir().unwrap();
        let inside = format!("onnxruntime/capi/{LIBRARY}");
        let entries: [(&str, &[u8]); 4] = [
            (&inside, b"library"),
            ("onnxruntime/capi/libonnxruntime_providers_shared.so", b"shared"),
            ("onnxruntime/__init__.py", b"print()"),
            ("../capi/libonnxruntime_evil.so", b"evil"),
        ];
        let wheel = wheel(temp.path(), &entries);
        let cache = temp.path().join("cache");
        let mut lines = Vec::new();
        let refused = unpack(&wheel, &cache, false, &mut |l| lines.push(l.to_owned()), &mut |_| Err(engine("broken")));
        assert_eq!(refused.unwrap_err().to_string(), "broken");
        assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 0, "nothing is left behind");
        for _ in 0..2 {
            let library = unpack(&wheel, &cache, true, &mut |_| (), &mut |_| Ok("fine".into())).unwrap();
            assert_eq!(library, cache.join("1.99.0-gpu").join(LIBRARY));
            assert_eq!(std::fs::read(&library).unwrap(), b"library");
        }
        assert!(!temp.path().join("libonnxruntime_evil.so").exists() && !cache.join("1.99.0-gpu/__init__.py").exists());
        assert!(lines.iter().any(|l| l.contains("1.99.0")));
    }

    #[test]
    fn damaged_wheels_and_odd_names_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("onnxruntime-1.0.0-x.whl");
        std::fs::write(&path, b"not a zip").unwrap();
        let error = unpack(&path, temp.path(), false, &mut |_| (), &mut |_| Ok(String::new())).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
        assert_eq!(wheel_version(Path::new("onnxruntime_gpu-1.31.1-cp312-x.whl")).as_deref(), Some("1.31.1"));
        assert_eq!(wheel_version(Path::new("onnxruntime-..-cp312.whl")), None);
        assert_eq!(wheel_version(Path::new("numpy-1.0-cp312.whl")), None);
    }

    #[test]
    fn platforms_are_known_or_explained() {
        assert_eq!(platforms("linux", "x86_64", true).unwrap()[0], "manylinux_2_28_x86_64");
        assert!(platforms("macos", "aarch64", true).unwrap_err().to_string().contains("leave --gpu out"));
        assert!(platforms("freebsd", "x86_64", false).unwrap_err().to_string().contains("--ort-lib"));
    }
}
