//! Instrumented graphs kept on disk, by model, request and version of psescope.
//!
//! Building the gradient graph of ResNet-50 and serialising it takes less than a tenth of a second in a release build, about as long
//! as reading its 100 MB back. So only graphs that took longer than `SLOW` to build are kept: networks with many thousands of
//! nodes, where compiling costs more than the file. Builds with debug assertions keep nothing, because their compiler changes
//! without its version.
//!
//! Any number of processes may use the folder: files appear by renaming, are never changed, and a file that was removed, cut short
//! or damaged only means that the graph is built again. Every file is ordinary ONNX; its last metadata entry is a checksum.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use prost::bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{files, paths};
use crate::core::{
    graph::{Instrumentation, Instrumented, Prepared, TapKind},
    onnx::{Graph, read},
};

/// Graphs that are built faster than this are not kept.
const SLOW: Duration = Duration::from_millis(300);
/// Most bytes in the folder; what was not used for the longest time goes first.
const LIMIT: u64 = 2 << 30;
/// Unfinished files older than this were left by a process that ended.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Protobuf's head of a `metadata_props` entry of `ModelProto` with the key `psescope.checksum` and a value of 16 characters.
const FOOTER: &[u8] = b"\x72\x25\x0a\x11psescope.checksum\x12\x10";
const DIGITS: usize = 16;

/// The graphs of one prepared model.
#[derive(Debug, Clone)]
pub struct GraphCache {
    folder: PathBuf,
    fingerprint: String,
    /// What the graphs depend on besides the model's file and the request.
    prepared: String,
    slow: Duration,
    limit: u64,
}

impl GraphCache {
    /// The person's cache; `None` when `PSESCOPE_NO_CACHE` is set, without a home folder, and in builds for development.
    pub fn of_user(fingerprint: &str, prepared: &Prepared) -> Option<Self> {
        if cfg!(debug_assertions) || std::env::var_os("PSESCOPE_NO_CACHE").is_some_and(|v| !v.is_empty() && v != "0") {
            return None;
        }
        Some(Self::new(paths::cache_dir()?.join("graphs"), fingerprint, prepared, SLOW, LIMIT))
    }

    fn new(folder: PathBuf, fingerprint: &str, prepared: &Prepared, slow: Duration, limit: u64) -> Self {
        let Prepared { image, layout, shape, logits, classes, .. } = prepared;
        let prepared = format!("{image:?} {layout:?} {shape:?} {logits:?} {classes} {}", prepared.graph.opset);
        Self { folder, fingerprint: fingerprint.to_owned(), prepared, slow, limit }
    }

    fn path(&self, spec: &Instrumentation) -> PathBuf {
        let digest = Sha256::digest(format!("{} {spec:?}", self.prepared));
        let request: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
        self.folder.join(format!("{}-{request}-{}.onnx", self.fingerprint, env!("CARGO_PKG_VERSION")))
    }

    /// A graph that was kept: its names, and its bytes for the engine.
    pub(super) fn read(&self, spec: &Instrumentation) -> Option<(Instrumented, Bytes)> {
        let path = self.path(spec);
        let bytes = Bytes::from(fs::read(&path).ok()?);
        let found = intact(&bytes).then(|| read::parse(bytes.clone(), &mut |_| Err(crate::core::error::Error::Stopped)).ok()).flatten();
        let Some(names) = found.and_then(|graph| names(graph, spec)) else {
            tracing::warn!("{} is damaged and is built again", path.display());
            self.forget(spec);
            return None;
        };
        // Used now: what is oldest is removed first.
        drop(File::open(&path).and_then(|f| f.set_modified(SystemTime::now())));
        Some((names, bytes))
    }

    /// Removes a graph, for instance one that the engine refuses.
    pub(super) fn forget(&self, spec: &Instrumentation) {
        drop(fs::remove_file(self.path(spec)));
    }

    /// Keeps a graph when building it took long. A full disk or a missing permission only means that it is built again.
    pub(super) fn write(&self, spec: &Instrumentation, bytes: &[u8], took: Duration) {
        if took < self.slow || bytes.len() as u64 > self.limit {
            return;
        }
        if let Err(error) = self.store(&self.path(spec), bytes) {
            tracing::info!("the graph was not kept in {}: {error}", self.folder.display());
        }
        self.bound();
    }

    fn store(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        files::replace_with(path, |out| {
            out.write_all(bytes)?;
            out.write_all(FOOTER)?;
            out.write_all(format!("{:016x}", checksum(bytes)).as_bytes())
        })
    }

    /// Removes what was not used for the longest time until the folder is small enough, and what was left unfinished.
    fn bound(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut files = Vec::new();
        for entry in entries.flatten() {
            let (path, Ok(meta)) = (entry.path(), entry.metadata()) else { continue };
            let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            match path.extension().and_then(|e| e.to_str()) {
                Some("onnx") => files.push((used, meta.len(), path)),
                Some(files::PART) if used.elapsed().is_ok_and(|age| age > ABANDONED) => drop(fs::remove_file(path)),
                _ => {}
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|f| f.1).sum();
        for (_, size, path) in files {
            if total <= self.limit {
                break;
            }
            // Another process may have removed it already.
            drop(fs::remove_file(path));
            total -= size;
        }
    }
}

/// Whether the file ends in the checksum of what comes before.
fn intact(bytes: &[u8]) -> bool {
    let Some((rest, digits)) = bytes.split_last_chunk::<DIGITS>() else { return false };
    rest.strip_suffix(FOOTER).is_some_and(|body| digits == format!("{:016x}", checksum(body)).as_bytes())
}

/// Eight bytes at a time: against damage, not against malice, and as fast as the disk.
fn checksum(bytes: &[u8]) -> u64 {
    let step = |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(bytes.len() as u64, |sum, word| step(sum, u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| step(sum, u64::from(*byte)))
}

/// Names of the inputs and outputs, from the metadata that the compiler writes; `None` when they are not what was asked for.
fn names(mut graph: Graph, spec: &Instrumentation) -> Option<Instrumented> {
    let entry = |role: &str| graph.metadata.get(&format!("psescope.{role}")).cloned();
    let mut taps = Vec::new();
    for (i, (_, kind)) in spec.taps.iter().enumerate() {
        let gradient = entry(&format!("tap.{i}.grad"));
        if gradient.is_some() != (*kind == TapKind::ValueAndGradient) {
            return None;
        }
        taps.push((entry(&format!("tap.{i}"))?, gradient));
    }
    let gate = |i: usize| Some((entry(&format!("gate.{i}.mask"))?, entry(&format!("gate.{i}.replacement"))?));
    let names = Instrumented {
        image: entry("image")?,
        logits: entry("logits")?,
        cotangent: entry("cotangent"),
        labels: entry("labels").zip(entry("weights")),
        loss: entry("loss"),
        grad_image: entry("grad_image"),
        taps,
        gates: (0..spec.gates.len()).map(gate).collect::<Option<_>>()?,
        update: roles(&graph),
        graph: Graph::default(),
    };
    // An update takes the place of the gradient it uses up.
    let gradient = spec.image_gradient && spec.update.is_none();
    let complete = names.grad_image.is_some() == gradient && names.update.is_empty() == spec.update.is_none();
    graph.nodes.clear();
    graph.initializers.clear();
    graph.types.clear();
    complete.then_some(Instrumented { graph, ..names })
}

fn roles(graph: &Graph) -> BTreeMap<String, String> {
    let role = |(key, name): (&String, &String)| Some((key.strip_prefix("psescope.update.")?.to_owned(), name.clone()));
    graph.metadata.iter().filter_map(role).collect()
}

#[cfg(test)]
#[cfg(feature = "embedded")]
#[path = "cache_tests.rs"]
mod tests;
