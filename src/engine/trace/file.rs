//! `RUN.pse`: a safetensors file with the arrays of a run, and one JSON document in its metadata.
//!
//! Tensors: `clean` `[C,H,W]`, `adversarial` `[C,H,W]`, `frames` `[F,C,H,W]` (perturbations), `frame_steps` `[F]` (int64). All pixel space.
//! Optional: the maps of [`Maps`]. Whatever came after the first release is optional, so that the layout is still version 1.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use ndarray::{Array3, ArrayView3, Axis};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Frame, StepRecord, Trace,
    maps::{self, Maps},
    store::numbers,
};
use crate::{
    core::{
        error::{Error, Result},
        tensor::labels,
    },
    runtime::files,
};

/// Version of the layout; files with a larger one are refused.
pub const VERSION: u32 = 1;

const META: &str = "psescope";
const MAX_FILE: u64 = 4 << 30;
/// More classes than any classifier has.
const MAX_CLASSES: usize = 1 << 24;

/// Everything about a run that is not an array.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RunMeta {
    /// Layout version.
    pub format: u32,
    /// Version of the program that wrote it.
    pub version: String,
    /// Model path as given, and the SHA-256 of the file.
    pub model: String,
    /// SHA-256 of the model file, hexadecimal.
    pub model_sha256: String,
    /// Image path as given.
    pub image: String,
    /// Preprocessing in words.
    pub preprocessing: String,
    /// Engine and provider that ran it.
    pub provider: String,
    /// Attack name.
    pub attack: String,
    /// Parameters as text, defaults included.
    pub params: Vec<(String, String)>,
    /// Seed.
    pub seed: u64,
    /// True class.
    pub label: usize,
    /// Target class.
    pub target: Option<usize>,
    /// Region outside of which nothing was allowed to change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// Whether the goal was reached.
    pub success: bool,
    /// Step that holds the result.
    pub best: Option<usize>,
    /// Names of the classes that occur, by index.
    pub names: Vec<(usize, String)>,
    /// Logits of the clean image; empty in files of the first release.
    #[serde(default, with = "numbers::list")]
    pub clean_logits: Vec<f32>,
    /// Bookmarked steps.
    #[serde(default)]
    pub marks: Vec<usize>,
    /// The command that recorded it, word by word; empty when not known.
    #[serde(default)]
    pub command: Vec<String>,
    /// When it was written, seconds since 1970 (UTC).
    #[serde(default)]
    pub written: Option<u64>,
    /// Operating system, processor family and number of hardware threads.
    #[serde(default)]
    pub system: String,
    /// Scalars of every step.
    pub steps: Vec<StepRecord>,
}

impl RunMeta {
    /// Name of a class, as far as the run knows it.
    pub fn name(&self, class: usize) -> String {
        self.names.iter().find(|(c, _)| *c == class).map_or_else(|| format!("class {class}"), |(_, name)| name.clone())
    }
}

impl RunMeta {
    /// Whether the numbers fit each other; texts lose what a terminal would obey.
    fn checked(mut self) -> std::result::Result<Self, String> {
        let steps = &self.steps;
        if steps.is_empty() || self.marks.iter().chain(&self.best).any(|&i| i >= steps.len()) {
            return Err("its steps do not fit each other".into());
        }
        let classes = if self.clean_logits.is_empty() { MAX_CLASSES } else { self.clean_logits.len().min(MAX_CLASSES) };
        let named = self.names.iter().map(|(class, _)| *class).chain([self.label]).chain(self.target);
        if named.chain(steps.iter().flat_map(|s| s.top.iter().map(|t| t.0).chain([s.predicted]))).any(|class| class >= classes) {
            return Err("its class numbers are out of range".into());
        }
        let texts = [&mut self.version, &mut self.attack];
        let pairs = self.params.iter_mut().flat_map(|(name, value)| [name, value]);
        for text in texts.into_iter().chain(pairs).chain(self.names.iter_mut().map(|(_, name)| name)) {
            *text = labels::clean(text);
        }
        // Paths keep their spelling otherwise: they are opened. Descriptions are longer than names.
        let long = [&mut self.model, &mut self.image, &mut self.preprocessing, &mut self.provider, &mut self.system];
        for text in long.into_iter().chain(&mut self.command) {
            text.retain(|c| !c.is_control());
        }
        for text in self.steps.iter_mut().flat_map(|s| s.terms.iter_mut().map(|(name, _)| name)) {
            *text = labels::clean(text);
        }
        Ok(self)
    }
}

/// A run read back.
#[derive(Debug)]
pub struct Run {
    /// Metadata.
    pub meta: RunMeta,
    /// The record, ready to be stepped through.
    pub trace: Arc<Trace>,
    /// Explanations computed when it was recorded, or since.
    pub maps: Maps,
}

impl Run {
    /// The frame of the result: the best step's, or the nearest one kept.
    pub fn result(&self) -> Option<Arc<Frame>> {
        let step = self.trace.best().or_else(|| self.trace.len().checked_sub(1))?;
        self.trace.frame(self.trace.nearest_frame(step)?)
    }
}

/// Writes a run atomically.
pub fn save(path: &Path, meta: &RunMeta, trace: &Trace) -> Result<()> {
    save_with(path, meta, trace, &Maps::default())
}

/// Writes a run and its explanations atomically.
pub fn save_with(path: &Path, meta: &RunMeta, trace: &Trace, maps: &Maps) -> Result<()> {
    files::save_with(path, |out| stream(out, meta, trace, maps))
}

/// The safetensors format, written piece by piece: the library would hold all recorded pictures twice over, and its metadata come in
/// another order every time.
fn stream(out: &mut dyn Write, meta: &RunMeta, trace: &Trace, maps: &Maps) -> io::Result<()> {
    // A run that is still going on may have recorded more since the metadata was made.
    let frames: Vec<_> = trace.frames().into_iter().filter(|&i| i < meta.steps.len()).filter_map(|i| trace.frame(i)).collect();
    let best = trace.best().and_then(|i| trace.frame(i)).or_else(|| frames.last().cloned());
    let adversarial = best.as_ref().map_or_else(|| trace.clean.view(), |f| f.image.view());
    let (index, arrays) = maps::encode(maps);
    let (shape, pixels) = (trace.clean.shape(), trace.clean.len());
    let mut stack = vec![frames.len()];
    stack.extend(shape);
    // Eight-byte numbers first, so that everything is aligned.
    let mut header = Header::default();
    header.tensor("frame_steps", "I64", &[frames.len()], 8 * frames.len());
    header.tensor("adversarial", "F32", shape, 4 * pixels);
    header.tensor("clean", "F32", shape, 4 * pixels);
    header.tensor("frames", "F32", &stack, 4 * pixels * frames.len());
    for array in &arrays {
        header.tensor(&array.name, "F32", &array.shape, array.bytes.len());
    }
    let mut metadata = BTreeMap::from([(META, serde_json::to_string(meta)?)]);
    if !arrays.is_empty() {
        metadata.insert(maps::META, serde_json::to_string(&index)?);
    }
    header.write(out, &metadata)?;
    for frame in &frames {
        out.write_all(&(frame.index as i64).to_le_bytes())?;
    }
    write_array(out, adversarial)?;
    write_array(out, trace.clean.view())?;
    for frame in &frames {
        write_array(out, frame.delta.view())?;
    }
    arrays.iter().try_for_each(|array| out.write_all(&array.bytes))
}

/// Names, types, shapes and places of the arrays, in the order in which they follow.
#[derive(Default)]
struct Header {
    tensors: serde_json::Map<String, Value>,
    end: usize,
}

impl Header {
    fn tensor(&mut self, name: &str, dtype: &str, shape: &[usize], bytes: usize) {
        let place = [self.end, self.end + bytes];
        self.end += bytes;
        self.tensors.insert(name.to_owned(), json!({"dtype": dtype, "shape": shape, "data_offsets": place}));
    }

    fn write(self, out: &mut dyn Write, metadata: &BTreeMap<&str, String>) -> io::Result<()> {
        let mut all = serde_json::Map::from_iter([("__metadata__".to_owned(), json!(metadata))]);
        all.extend(self.tensors);
        let mut text = serde_json::to_vec(&all)?;
        // Blanks at the end align the arrays.
        text.resize(text.len().next_multiple_of(8), b' ');
        out.write_all(&(text.len() as u64).to_le_bytes())?;
        out.write_all(&text)
    }
}

fn write_array(out: &mut dyn Write, array: ArrayView3<f32>) -> io::Result<()> {
    let mut row = Vec::with_capacity(4 * array.len_of(Axis(2)));
    for values in array.rows() {
        row.clear();
        row.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        out.write_all(&row)?;
    }
    Ok(())
}

/// Reads a run. Files written by a newer version and damaged files are refused with a sentence.
pub fn load(path: &Path) -> Result<Run> {
    let damaged =
        |why: &str| Error::Input(format!("{} is not a usable run ({why}); record it again with `psescope attack --out`", path.display()));
    let size = fs::metadata(path)
        .map_err(|e| Error::Input(format!("cannot read {}: {e}; give a run written by `psescope attack --out`", path.display())))?
        .len();
    if size > MAX_FILE {
        return Err(damaged("it is larger than 4 GiB"));
    }
    let raw = fs::read(path)
        .map_err(|e| Error::Input(format!("cannot read {}: {e}; give a run written by `psescope attack --out`", path.display())))?;
    parse(&raw).map_err(|why| damaged(&why))
}

/// The part of [`load`] that sees bytes only; the error says what is wrong with them.
pub fn parse(raw: &[u8]) -> std::result::Result<Run, String> {
    let (_, header) = SafeTensors::read_metadata(raw).map_err(|e| e.to_string())?;
    let text = header.metadata().as_ref().and_then(|m| m.get(META)).ok_or("it holds no psescope metadata")?;
    let version = serde_json::from_str::<Value>(text).map_err(|e| e.to_string())?["format"].as_u64().unwrap_or(0);
    if version > u64::from(VERSION) {
        return Err(format!("it has format {version}, newer than the {VERSION} this program reads; update psescope"));
    }
    let meta = serde_json::from_str::<RunMeta>(text).map_err(|e| e.to_string())?.checked()?;
    let tensors = SafeTensors::deserialize(raw).map_err(|e| e.to_string())?;
    let clean = array3(&tensors, "clean")?;
    let shape = clean.dim();
    let adversarial = array3(&tensors, "adversarial")?;
    let frames = tensors.tensor("frames").map_err(|e| e.to_string())?;
    let indices = tensors.tensor("frame_steps").map_err(|e| e.to_string())?;
    let numbers: Vec<usize> =
        indices.data().chunks_exact(8).map(|c| i64::from_le_bytes(c.try_into().expect("chunks of eight")) as usize).collect();
    let [count, c, h, w] = *frames.shape() else { return Err("its frames have the wrong shape".into()) };
    let ordered = numbers.windows(2).all(|p| p[0] < p[1]) && numbers.iter().all(|&i| i < meta.steps.len());
    if (c, h, w) != shape || adversarial.dim() != shape || numbers.len() != count || !ordered || frames.dtype() != Dtype::F32 {
        return Err("its arrays do not fit each other".into());
    }
    let stacked = floats(frames.data());
    let stacked = ndarray::Array4::from_shape_vec((count, c, h, w), stacked).map_err(|e| e.to_string())?;
    let deltas = numbers.into_iter().zip(stacked.axis_iter(Axis(0)).map(|d| d.to_owned()));
    let trace = Trace::restore(Arc::new(clean), meta.label, meta.target, meta.steps.clone(), deltas, meta.best);
    let index = header.metadata().as_ref().and_then(|m| m.get(maps::META));
    let maps = index.map(|text| maps::decode(text, &tensors, [h, w], trace.len())).transpose()?.unwrap_or_default();
    Ok(Run { meta, trace: Arc::new(trace), maps })
}

fn array3(tensors: &SafeTensors, name: &str) -> std::result::Result<Array3<f32>, String> {
    let tensor = tensors.tensor(name).map_err(|e| e.to_string())?;
    let [c, h, w] = *tensor.shape() else { return Err(format!("its tensor '{name}' has the wrong shape")) };
    if tensor.dtype() != Dtype::F32 {
        return Err(format!("its tensor '{name}' is not float32"));
    }
    Array3::from_shape_vec((c, h, w), floats(tensor.data())).map_err(|e| e.to_string())
}

pub(super) fn floats(data: &[u8]) -> Vec<f32> {
    data.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().expect("chunks of four"))).collect()
}
