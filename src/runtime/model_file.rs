//! Reading a model and the tensors it keeps in other files.
//!
//! A model file is not trusted: the other files it names must lie in its own folder, also after links are followed. One
//! arrangement is allowed besides: in a download cache, `snapshots/REVISION/model.onnx` and the data beside it are both
//! links into one folder `blobs`; data that lies in the very folder `blobs` in which the model itself lies is read.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Component, Path, PathBuf},
};

use prost::bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::core::{
    error::{Error, Result},
    onnx::{
        Graph,
        read::{self, External},
    },
};

/// Largest model file: protobuf cannot hold more.
const MAX_FILE: u64 = 2 << 30;
/// Most bytes read from other files for one model.
const MAX_EXTERNAL: u64 = 8 << 30;

/// A model in memory.
#[derive(Debug, Clone)]
pub struct LoadedModel {
    /// The graph as it is in the file.
    pub graph: Graph,
    /// SHA-256 of the model file, in hexadecimal.
    pub sha256: String,
    /// SHA-256 over the model file and everything it keeps in other files; equal to `sha256` when there is nothing. Names
    /// computed things in the cache.
    pub fingerprint: String,
}

/// Reads and parses a model.
pub fn load(path: &Path) -> Result<LoadedModel> {
    let bytes = Bytes::from(read_model(path)?);
    let sha256 = hex(&Sha256::digest(&bytes));
    refuse_lookalikes(path, &bytes)?;
    let mut external = ExternalData::new(path, &bytes)?;
    let graph = read::parse(bytes, &mut |wanted| external.fetch(wanted)).map_err(|e| match e {
        Error::Model(text) => Error::Model(format!("{}: {text}", path.display())),
        other => other,
    })?;
    let fingerprint = external.fingerprint().unwrap_or_else(|| sha256.clone());
    Ok(LoadedModel { graph, sha256, fingerprint })
}

/// Parses a model that is in memory already and keeps nothing in other files.
pub fn from_bytes(bytes: &'static [u8]) -> Result<LoadedModel> {
    let sha256 = hex(&Sha256::digest(bytes));
    let outside = |e: &External| Err(Error::Model(format!("'{}' is outside this model, which must be complete", clean(&e.location))));
    let graph = read::parse(Bytes::from_static(bytes), &mut |e| outside(e))?;
    Ok(LoadedModel { graph, fingerprint: sha256.clone(), sha256 })
}

/// SHA-256 of a file, in hexadecimal: what tells whether it is the model that something was recorded on.
pub fn sha256_of(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path).map_err(|e| input(path, format!("cannot be opened ({e})")))?;
    std::io::copy(&mut file, &mut hasher).map_err(|e| input(path, format!("cannot be read ({e})")))?;
    Ok(hex(&hasher.finalize()))
}

/// SHA-256 of bytes in memory, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn input(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::Input(format!("{}: {what}", path.display()))
}

fn read_model(path: &Path) -> Result<Vec<u8>> {
    let meta = std::fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => input(path, "there is no such file; check the path of the model"),
        _ => input(path, format!("cannot be read ({e})")),
    })?;
    if meta.is_dir() {
        return Err(input(path, "is a folder; give the .onnx file in it"));
    }
    if !meta.is_file() {
        return Err(input(path, "is not a regular file; give an .onnx file"));
    }
    if meta.len() == 0 {
        return Err(input(path, "is empty; download or export the model again"));
    }
    if meta.len() > MAX_FILE {
        return Err(input(path, "is larger than 2 GiB, which an .onnx file cannot be; keep the weights in external data"));
    }
    let file = File::open(path).map_err(|e| input(path, format!("cannot be opened ({e})")))?;
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    // One byte more than allowed tells a file that grew from one that fits.
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| input(path, format!("cannot be read ({e})")))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(input(path, "grew beyond 2 GiB while it was read"));
    }
    Ok(bytes)
}

/// Files that people give instead of a model.
fn refuse_lookalikes(path: &Path, bytes: &[u8]) -> Result<()> {
    let head = &bytes[..bytes.len().min(256)];
    let start = |magic: &[u8]| head.starts_with(magic);
    let text = String::from_utf8_lossy(head).trim_start().to_ascii_lowercase();
    let what = if start(b"version https://git-lfs") {
        "is a Git LFS pointer, not the model; run git lfs pull"
    } else if start(b"PK\x03\x04") || start(b"\x80\x02") || start(b"\x80\x04") {
        "looks like a PyTorch file; export it with torch.onnx.export and give the .onnx file"
    } else if start(b"\x89HDF") {
        "looks like a Keras file; convert it with tf2onnx and give the .onnx file"
    } else if head.get(4..8) == Some(b"TFL3") {
        "is a TensorFlow Lite file; convert it with tf2onnx and give the .onnx file"
    } else if start(b"\x89PNG") || start(b"\xff\xd8\xff") || start(b"GIF8") || head.get(8..12) == Some(b"WEBP") {
        "is a picture; the model comes first, then the image"
    } else if text.starts_with("<!doctype") || text.starts_with("<html") {
        "is a web page, not a model; download the file itself"
    } else {
        return Ok(());
    };
    Err(Error::Model(format!("{}: {what}", path.display())))
}

/// Reads external tensors and remembers what was read.
struct ExternalData<'a> {
    model: &'a Path,
    /// The model's folder, links followed.
    folder: PathBuf,
    /// Folder `blobs` of a download cache, when the model is a link into one.
    blobs: Option<PathBuf>,
    open: Option<(PathBuf, File, u64)>,
    total: u64,
    digest: Sha256,
}

impl<'a> ExternalData<'a> {
    fn new(model: &'a Path, bytes: &[u8]) -> Result<Self> {
        let parent = model.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = parent.canonicalize().map_err(|e| input(model, format!("its folder cannot be read ({e})")))?;
        let target = model.canonicalize().ok();
        let target_folder = target.as_deref().and_then(Path::parent).filter(|p| *p != folder);
        let blobs = target_folder.filter(|p| p.file_name().is_some_and(|n| n == "blobs")).map(Path::to_path_buf);
        let mut digest = Sha256::new();
        digest.update(Sha256::digest(bytes));
        Ok(Self { model, folder, blobs, open: None, total: 0, digest })
    }

    fn fetch(&mut self, wanted: &External) -> Result<Bytes> {
        self.total = self.total.saturating_add(wanted.length);
        if self.total > MAX_EXTERNAL {
            return Err(Error::Model("the external data adds up to more than 8 GiB, which is more than psescope reads".into()));
        }
        let path = self.resolve(&wanted.location)?;
        let shown = clean(&wanted.location);
        let broken = |e: std::io::Error| Error::Model(format!("external data '{shown}' cannot be read ({e})"));
        if self.open.as_ref().is_none_or(|(p, _, _)| *p != path) {
            let file = File::open(&path).map_err(broken)?;
            let meta = file.metadata().map_err(broken)?;
            if !meta.is_file() {
                return Err(Error::Model(format!("external data '{shown}' is not a regular file; download or export the model again")));
            }
            self.open = Some((path, file, meta.len()));
        }
        let Some((_, file, size)) = self.open.as_mut() else { return Err(broken(std::io::ErrorKind::NotFound.into())) };
        if wanted.offset.checked_add(wanted.length).is_none_or(|end| end > *size) {
            return Err(Error::Model(format!("external data '{shown}' is too short; download or export the model again")));
        }
        file.seek(SeekFrom::Start(wanted.offset)).map_err(broken)?;
        let mut bytes = vec![0; wanted.length as usize];
        file.read_exact(&mut bytes).map_err(broken)?;
        self.digest.update(&bytes);
        Ok(bytes.into())
    }

    /// The file that a location names, if it may be read.
    fn resolve(&self, location: &str) -> Result<PathBuf> {
        let shown = clean(location);
        let escapes = || Error::Model(format!("the model asks for '{shown}', which is outside its own folder; psescope does not read it"));
        let relative = Path::new(location);
        let plain = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if location.is_empty() || !plain || location.contains(['\\', '\0']) {
            return Err(escapes());
        }
        let path = self.folder.join(relative).canonicalize();
        let path =
            path.map_err(|_| Error::Model(format!("the model's data '{shown}' is not beside {}; download it too", self.model.display())))?;
        let allowed = path.starts_with(&self.folder) || self.blobs.as_deref().is_some_and(|b| path.parent() == Some(b));
        if allowed { Ok(path) } else { Err(escapes()) }
    }

    fn fingerprint(self) -> Option<String> {
        (self.total > 0).then(|| hex(&self.digest.finalize()))
    }
}

/// Text from a file, fit to be shown.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
#[path = "model_file_tests.rs"]
mod tests;
