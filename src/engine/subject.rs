//! A model with everything needed to use it: preprocessing, labels, and what was guessed.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use ndarray::Array3;

use super::sample;
use crate::{
    core::{
        error::{Error, Result},
        graph::{self, Layout, Prepared},
        tensor::{configs, image as pixels, labels::Labels, preprocess::Preprocess},
    },
    runtime::{Affine, GradModel, GraphCache, Network, backend::Backend, grad_model, model_file},
};

/// What the person said about the model; everything unsaid is read from files beside it, its metadata, or guessed with a notice.
#[derive(Debug, Clone, Default)]
pub struct SubjectOptions {
    /// Preset name, or a preprocessor_config.json / config.json.
    pub preprocess: Option<String>,
    /// Mean on the 0..1 scale.
    pub mean: Option<Vec<f32>>,
    /// Standard deviation on the 0..1 scale.
    pub std: Option<Vec<f32>>,
    /// Height and width.
    pub size: Option<[usize; 2]>,
    /// Input layout.
    pub layout: Option<Layout>,
    /// Class names.
    pub labels: Option<PathBuf>,
    /// Gradient graph exported elsewhere, used instead of compiling one.
    pub grad_model: Option<PathBuf>,
    /// Tensors that must keep their names.
    pub keep: Vec<String>,
    /// Whether graphs that take long to build are kept in the person's cache.
    pub cache: bool,
}

/// An opened model.
pub struct Subject {
    /// Path as given.
    pub path: PathBuf,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// The graph, ready to be instrumented.
    pub prepared: Arc<Prepared>,
    /// Preprocessing in use.
    pub preprocess: Preprocess,
    /// Class names.
    pub labels: Labels,
    /// The names alone, shared with whoever shows them.
    pub names: Arc<Vec<String>>,
    /// What was guessed or changed, one sentence each.
    pub notices: Vec<String>,
    /// Where gradients come from when they are not compiled here.
    pub gradients: Option<Arc<GradModel>>,
    /// Where graphs that take long to build are kept.
    cache: Option<GraphCache>,
}

/// What helps when operators have no rule.
pub const GRAD_MODEL_HINT: &str = "give a gradient graph exported from the framework with --grad-model";

const IMAGE_LIMIT: u64 = 256 << 20;

impl Subject {
    /// Reads and prepares a model.
    pub fn open(path: &Path, options: &SubjectOptions) -> Result<Self> {
        let mut loaded = match sample::bytes(path) {
            Some(bytes) => model_file::from_bytes(bytes)?,
            None => model_file::load(path)?,
        };
        // A gradient graph given as the model holds its own forward graph.
        let both = grad_model::forward_part(&mut loaded.graph);
        let prepared =
            graph::normalise(loaded.graph, &graph::Options { layout: options.layout, size: options.size, keep: options.keep.clone() })?;
        let mut notices = prepared.notices.clone();
        notices.extend(graph::bad_weights(&prepared));
        let channels = prepared.shape[0];
        let preprocess = preprocessing(path, &loaded.sha256, &prepared, options, &mut notices)?
            .with_mean_std(options.mean.as_deref(), options.std.as_deref())?
            .with_channels(channels)?;
        let labels = labels(path, &prepared, options)?;
        let names = Arc::new(labels.names().to_vec());
        let exported = options.grad_model.as_deref().or(both.then_some(path));
        let gradients = exported.map(|file| GradModel::open(file, &prepared)).transpose()?.map(Arc::new);
        if let Some(gradients) = &gradients {
            notices.push(format!("gradients come from {}", gradients.path().display()));
        }
        tracing::info!(
            "{}: {} nodes, {} classes, input {:?}",
            path.display(),
            prepared.graph.nodes.len(),
            prepared.classes,
            prepared.shape
        );
        tracing::info!("preprocessing {}, labels {}", preprocess.describe(), labels.source());
        let cache = options.cache.then(|| GraphCache::of_user(&loaded.fingerprint, &prepared)).flatten();
        let (path, sha256, prepared) = (path.to_owned(), loaded.sha256, Arc::new(prepared));
        Ok(Self { path, sha256, prepared, preprocess, labels, names, notices, gradients, cache })
    }

    /// The network on an engine, with sessions of its own.
    pub fn network(&self, backend: &Arc<dyn Backend>) -> Result<Network> {
        let network = Network::new(Arc::clone(&self.prepared), Arc::clone(backend), self.affine())?.with_cache(self.cache.clone());
        Ok(match &self.gradients {
            Some(gradients) => network.with_gradients(Arc::clone(gradients)),
            None => network,
        })
    }

    /// The preprocessing as the differentiated function sees it.
    pub fn affine(&self) -> Affine {
        let (scale, offset) = self.preprocess.affine();
        Affine { scale, offset, bgr: self.preprocess.bgr }
    }

    /// Reads an image and brings it to the model's input size: `[C, H, W]`, 0..1.
    pub fn image(&self, path: &Path) -> Result<Array3<f32>> {
        self.decode(path, &image_bytes(path)?)
    }

    /// The image in these bytes, read from `path`, at the model's input size.
    pub fn decode(&self, path: &Path, bytes: &[u8]) -> Result<Array3<f32>> {
        let named = |e: Error| match e {
            Error::Input(text) => Error::Input(format!("{}: {text}", path.display())),
            other => other,
        };
        if pixels::is_npy(bytes) {
            return pixels::from_npy(bytes, self.prepared.shape).map_err(named);
        }
        pixels::load(bytes, &self.preprocess).map_err(named)
    }

    /// Why attacks are impossible, when they are.
    pub fn no_gradient(&self) -> Option<String> {
        if self.gradients.is_some() {
            return None;
        }
        let missing = graph::coverage(&self.prepared).missing;
        (!missing.is_empty()).then(|| format!("{}; {GRAD_MODEL_HINT}", Error::MissingRules(missing)))
    }
}

/// Bytes of an image file, or of a bundled one.
pub fn image_bytes(path: &Path) -> Result<Vec<u8>> {
    match sample::bytes(path) {
        Some(bytes) => Ok(bytes.to_vec()),
        None => read(path),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let fail = |why: String| Error::Input(format!("cannot read {}: {why}; give an image file", path.display()));
    let meta = fs::metadata(path).map_err(|e| fail(e.to_string()))?;
    if !meta.is_file() {
        return Err(fail("it is not a file".into()));
    }
    if meta.len() > IMAGE_LIMIT {
        return Err(fail("it is larger than 256 MiB".into()));
    }
    fs::read(path).map_err(|e| fail(e.to_string()))
}

/// Flags, then files beside the model, then metadata, then known files, then `imagenet` with a notice.
fn preprocessing(
    path: &Path,
    sha256: &str,
    prepared: &Prepared,
    options: &SubjectOptions,
    notices: &mut Vec<String>,
) -> Result<Preprocess> {
    let size = [prepared.shape[1], prepared.shape[2]];
    if let Some(given) = &options.preprocess {
        let file = Path::new(given);
        if !file.is_file() {
            return Preprocess::preset(given, size);
        }
        let found = configs::parse(&text(file)?, given, Some(size))?;
        return found
            .ok_or_else(|| Error::Input(format!("{given} says nothing about preprocessing; give a preprocessor_config.json or a preset")));
    }
    if options.mean.is_some() || options.std.is_some() {
        return Preprocess::preset("unit", size).map(|p| Preprocess { source: "--mean and --std".into(), ..p });
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    for name in ["preprocessor_config.json", "config.json"] {
        let file = folder.join(name);
        if file.is_file()
            && let Ok(Some(found)) = configs::parse(&text(&file)?, name, Some(size))
        {
            return Ok(found);
        }
    }
    if let Some(found) = configs::from_metadata(&prepared.graph.metadata, size)? {
        return Ok(found);
    }
    if let Some(found) = Preprocess::known(sha256, size) {
        return Ok(found);
    }
    notices.push("preprocessing is a guess: imagenet mean and std; say --preprocess if the model was trained with another".into());
    Preprocess::preset("imagenet", size)
}

/// Flags, then config.json, then metadata, then ImageNet when there are 1000 classes, then numbers.
fn labels(path: &Path, prepared: &Prepared, options: &SubjectOptions) -> Result<Labels> {
    let classes = prepared.classes;
    if let Some(file) = &options.labels {
        return Ok(Labels::parse(&text(file)?, &file.display().to_string())?.fit(classes));
    }
    let config = path.parent().unwrap_or(Path::new(".")).join("config.json");
    if config.is_file()
        && let Some(found) = Labels::from_config(&text(&config)?, "config.json")
    {
        return Ok(found.fit(classes));
    }
    if let Some(found) = Labels::from_metadata(&prepared.graph.metadata) {
        return Ok(found.fit(classes));
    }
    Ok(Labels::fallback(classes))
}

fn text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|_| Error::Input(format!("{} is not a text file; give a text or JSON file", path.display())))
}
