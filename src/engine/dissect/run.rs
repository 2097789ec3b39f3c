//! One dissection: activations of all layers in one pass over the images (`probe`), counts layer by layer (`count`), results.

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{count, data::Data, probe};
use crate::{
    core::{
        dissect::{field, mask::Upsampling, result::ResultTable, tally::Rule},
        error::{Error, Result},
        oracle::LayerInfo,
    },
    engine::{
        concepts::{self, Origin},
        control::Control,
        subject::Subject,
    },
    runtime::{Network, files},
};

const STATE: &str = "dissection.json";

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Layers to dissect.
    pub layers: Vec<LayerInfo>,
    /// Share of the values above the threshold.
    pub quantile: f64,
    /// How unions are counted.
    pub rule: Rule,
    /// Receptive fields where they can be computed, or always plain.
    pub by_field: bool,
    /// Whether label 0 of whole images counts.
    pub compat_label0: bool,
    /// Only the first images of the index; all when `None`.
    pub limit: Option<usize>,
    /// Images per run of the network; 0 chooses.
    pub batch: usize,
    /// Where files go.
    pub out: PathBuf,
    /// Best images kept per unit.
    pub tops: usize,
    /// Whether the raw activations stay.
    pub keep_activations: bool,
    /// Whether results are kept where the interface finds them too.
    pub keep_results: bool,
    /// Whether results and activations already in `out` are thrown away.
    pub force: bool,
}

/// What every step of a dissection needs.
pub(super) struct Job<'a> {
    pub(super) subject: &'a Subject,
    pub(super) data: &'a Data,
    pub(super) plan: &'a Plan,
    pub(super) control: &'a Control,
    /// Number of images.
    pub(super) images: usize,
}

/// Where a dissection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage<'a> {
    /// Running the network; the number of images done before this run began is the second value.
    Probe(usize, usize),
    /// Counting pixels of this layer.
    Count(&'a str, usize),
}

/// The result of one layer.
#[derive(Debug, Clone)]
pub struct Dissected {
    /// The layer.
    pub layer: LayerInfo,
    /// Best labels of its units.
    pub table: ResultTable,
    /// What else is known of it.
    pub details: Details,
    /// Whether it was computed by an earlier run.
    pub cached: bool,
    /// Result file.
    pub csv: PathBuf,
}

/// What stands in the state file beside the results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// What these numbers depend on.
    pub key: String,
    /// Threshold per unit.
    pub thresholds: Vec<f64>,
    /// Standard error of their rank as a fraction of the values; 0 when exact.
    pub rank_error: f64,
    /// Best images per unit: largest value and number in the index.
    pub tops: Vec<Vec<(f32, usize)>>,
    /// `field` or `plain`.
    pub upsampling: String,
}

/// The state file of a folder.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    /// What the activations depend on.
    probe: String,
    /// Layers that are done, by name.
    done: std::collections::BTreeMap<String, Details>,
}

/// Upsampling of a layer under a plan.
pub fn upsampling(subject: &Subject, plan: &Plan, layer: &LayerInfo) -> Upsampling {
    let found = plan.by_field.then(|| field::of(&subject.prepared, &layer.name)).flatten();
    found.map_or(Upsampling::Plain, Upsampling::Field)
}

/// File name of a layer: letters, digits, `-`, `_`, `.`; a short hash where anything had to be replaced.
pub fn file_stem(layer: &str) -> String {
    let plain: String = layer.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).take(80).collect();
    let plain = plain.trim_start_matches('.').to_owned();
    if plain == layer { plain } else { format!("{plain}-{}", &hash(&[layer])[..8]) }
}

fn hash(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().iter().take(16).map(|b| format!("{b:02x}")).collect()
}

/// What the numbers of a layer depend on, besides model and layer.
fn key(subject: &Subject, data: &Data, plan: &Plan, images: usize) -> (String, String) {
    let affine = format!("{:?} {:?}", subject.affine(), subject.preprocess.resize.interpolation);
    let probe = hash(&[&subject.sha256, &affine, &data.key, &images.to_string()]);
    let rest = format!("{} {} {} {} {}", plan.quantile, plan.rule.name(), plan.by_field, plan.compat_label0, plan.tops);
    let all = hash(&[&probe, &rest]);
    (probe, all)
}

/// Dissects the layers of a plan. Killed or stopped, it goes on where it was when it is called again with the same plan.
pub fn run(
    subject: &Subject,
    network: &mut Network,
    data: &Data,
    plan: &Plan,
    control: &Control,
    progress: &mut dyn FnMut(Stage),
) -> Result<Vec<Dissected>> {
    let images = plan.limit.unwrap_or(usize::MAX).min(data.broden.images.len());
    let (probe, key) = key(subject, data, plan, images);
    let mut state = state(plan, &probe)?;
    let is_done = |state: &State, layer: &LayerInfo| {
        state.done.get(&layer.name).is_some_and(|d| d.key == key)
            && [csv_path(plan, &layer.name), levels_path(plan, &layer.name)].iter().all(|p| p.is_file())
    };
    let todo: Vec<&LayerInfo> = plan.layers.iter().filter(|l| !is_done(&state, l)).collect();
    // What an earlier run kept is used again, and stays.
    let again = |l: &&LayerInfo| fs::rename(kept_path(plan, &l.name), store_path(plan, &l.name)).is_ok();
    let kept: Vec<bool> = todo.iter().map(again).collect();
    let job = Job { subject, data, plan, control, images };
    let probed = probe::run(&job, network, &todo, progress)?;
    let mut cached: Vec<bool> = plan.layers.iter().map(|l| is_done(&state, l)).collect();
    for (layer, probed) in todo.iter().zip(probed) {
        let counted = count::run(&job, layer, probed, &key, progress)?;
        let (csv, levels) = (counted.table.to_csv(), counted.levels.to_csv());
        write(&csv_path(plan, &layer.name), csv.as_bytes())?;
        write(&levels_path(plan, &layer.name), levels.as_bytes())?;
        let text = describe(data, plan, images);
        let origin = Origin { layer: layer.name.clone(), data: format!("{} ({images} images)", data.origin), key: key.clone(), text };
        if plan.keep_results {
            concepts::keep(&subject.sha256, &origin, &csv, &levels);
        }
        state.done.insert(layer.name.clone(), counted.details);
        save(plan, &state)?;
    }
    for (layer, kept) in todo.iter().zip(kept) {
        let store = store_path(plan, &layer.name);
        if kept || plan.keep_activations {
            let failed = |e| Error::Input(format!("cannot rename {}: {e}; give another --out", store.display()));
            fs::rename(&store, kept_path(plan, &layer.name)).map_err(failed)?;
        } else {
            drop(fs::remove_file(store));
        }
    }
    plan.layers
        .iter()
        .zip(cached.drain(..))
        .map(|(layer, cached)| {
            let csv = csv_path(plan, &layer.name);
            let bytes = fs::read(&csv).map_err(|e| Error::Input(format!("cannot read {}: {e}; run again with --force", csv.display())))?;
            let details = state.done.get(&layer.name).cloned();
            let details = details.ok_or_else(|| Error::Input(format!("{} lost its state; run again with --force", plan.out.display())))?;
            Ok(Dissected { layer: layer.clone(), table: ResultTable::parse(&bytes)?, details, cached, csv })
        })
        .collect()
}

/// One line that says where labels come from.
fn describe(data: &Data, plan: &Plan, images: usize) -> String {
    format!("dissection on {} ({images} images), rule {}, quantile {}", data.origin, plan.rule.name(), plan.quantile)
}

fn csv_path(plan: &Plan, layer: &str) -> PathBuf {
    plan.out.join(format!("{}-result.csv", file_stem(layer)))
}

fn levels_path(plan: &Plan, layer: &str) -> PathBuf {
    plan.out.join(format!("{}-units.csv", file_stem(layer)))
}

/// Activations while a run needs them.
pub(super) fn store_path(plan: &Plan, layer: &str) -> PathBuf {
    plan.out.join(format!("{}.mmap-inc", file_stem(layer)))
}

/// Complete activations that were asked for.
fn kept_path(plan: &Plan, layer: &str) -> PathBuf {
    plan.out.join(format!("{}.mmap", file_stem(layer)))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    files::replace(path, bytes).map_err(|e| Error::Input(format!("cannot write {}: {e}; give another --out", path.display())))
}

fn save(plan: &Plan, state: &State) -> Result<()> {
    let bytes = serde_json::to_vec(state).map_err(|e| Error::Engine(format!("the state cannot be written ({e})")))?;
    write(&plan.out.join(STATE), &bytes)
}

/// The state of the folder, fresh when there is none; an error when it belongs to something else.
fn state(plan: &Plan, probe: &str) -> Result<State> {
    let out = &plan.out;
    fs::create_dir_all(out).map_err(|e| Error::Input(format!("cannot create {}: {e}; give a folder you may write to", out.display())))?;
    let found = fs::read(out.join(STATE)).ok().map(|b| serde_json::from_slice::<State>(&b));
    match found {
        Some(Ok(state)) if state.probe == probe && !plan.force => Ok(state),
        Some(_) if !plan.force => {
            let text = "holds a dissection of another model, other data or another number of images; give another --out, or --force";
            Err(Error::Parameter(format!("{} {text}", out.display())))
        }
        _ => {
            for layer in &plan.layers {
                drop(fs::remove_file(store_path(plan, &layer.name)));
                drop(fs::remove_file(kept_path(plan, &layer.name)));
            }
            let state = State { probe: probe.to_owned(), ..State::default() };
            save(plan, &state)?;
            Ok(state)
        }
    }
}

pub(super) fn pieces(range: Range<usize>, piece: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(piece).map(move |start| start..(start + piece).min(end))
}
