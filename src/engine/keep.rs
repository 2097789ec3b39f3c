//! Keeping runs: what is written about one, and where it is saved when the inspector is left.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    command::AttackRequest,
    event::Opened,
    trace::{
        Trace,
        file::{self, RunMeta},
        maps::Maps,
    },
};
use crate::{
    core::{
        attack::{self, Params, scalars},
        error::{Error, Result},
    },
    runtime::paths,
};

/// Folder of the log and of the run saved last.
pub fn state_dir() -> Option<PathBuf> {
    paths::state_dir()
}

/// What was attacked, and on what.
#[derive(Debug, Clone)]
pub struct About<'a> {
    /// Model path as given.
    pub model: String,
    /// SHA-256 of the model file, hexadecimal.
    pub model_sha256: &'a str,
    /// Image path as given.
    pub image: String,
    /// Preprocessing in words.
    pub preprocessing: String,
    /// Provider and engine that ran it.
    pub provider: String,
    /// Class names.
    pub labels: &'a [String],
    /// Logits of the clean image.
    pub clean_logits: &'a [f32],
}

impl<'a> From<&'a Opened> for About<'a> {
    fn from(opened: &'a Opened) -> Self {
        Self {
            model: opened.model.display().to_string(),
            model_sha256: &opened.model_sha256,
            image: opened.image_path.display().to_string(),
            preprocessing: opened.preprocessing.clone(),
            provider: format!("{} ({})", opened.provider, opened.engine),
            labels: &opened.labels,
            clean_logits: &opened.logits,
        }
    }
}

/// What is known about a run, finished or not.
pub fn meta(about: About, request: &AttackRequest, trace: &Trace) -> RunMeta {
    let steps = trace.with_steps(<[_]>::to_vec);
    let best = trace.best().filter(|&b| b < steps.len()).or(steps.len().checked_sub(1));
    let reached = |class: usize| trace.target.map_or(class != trace.label, |target| class == target);
    let success = best.is_some_and(|b| reached(steps[b].predicted));
    let occurring = steps.iter().flat_map(|s| s.top.iter().map(|t| t.0));
    let clean = scalars::top(about.clean_logits.into(), 10).into_iter().map(|t| t.0);
    let mut classes: Vec<usize> = occurring.chain(clean).chain([trace.label]).chain(trace.target).collect();
    classes.sort_unstable();
    classes.dedup();
    RunMeta {
        format: file::VERSION,
        version: env!("CARGO_PKG_VERSION").into(),
        model: about.model,
        model_sha256: about.model_sha256.to_owned(),
        image: about.image,
        preprocessing: about.preprocessing,
        provider: about.provider,
        attack: request.attack.clone(),
        params: params(request),
        seed: request.seed,
        label: trace.label,
        target: trace.target,
        within: request.within.clone(),
        success,
        best,
        names: classes.into_iter().filter_map(|c| about.labels.get(c).map(|n| (c, n.clone()))).collect(),
        clean_logits: about.clean_logits.to_vec(),
        marks: Vec::new(),
        command: command_line(),
        written: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok().map(|d| d.as_secs()),
        system: system(),
        steps,
    }
}

/// The words this process was started with.
pub fn command_line() -> Vec<String> {
    std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect()
}

/// Operating system, processor family and number of hardware threads, in words.
pub fn system() -> String {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{} {}, {threads} hardware threads", std::env::consts::OS, std::env::consts::ARCH)
}

/// Parameters with the defaults filled in.
fn params(request: &AttackRequest) -> Vec<(String, String)> {
    let given = request.params.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    attack::find(&request.attack)
        .and_then(|a| Params::check(a.params(), given).ok())
        .map_or_else(|| request.params.clone(), |p| p.iter().map(|(n, _, text)| (n.to_owned(), text.to_owned())).collect())
}

/// Saves a run under a name that is not taken.
pub fn save_new(path: &Path, meta: &RunMeta, trace: &Trace, maps: &Maps) -> Result<()> {
    if path.exists() {
        return Err(Error::Input(format!("{} exists already; choose another name", path.display())));
    }
    file::save_with(path, meta, trace, maps)
}

/// Saves a run as the last one in the state folder, replacing the one before. Returns where.
pub fn save_last(meta: &RunMeta, trace: &Trace, maps: &Maps) -> Result<PathBuf> {
    let folder = state_dir().ok_or_else(|| Error::Input("there is no home folder to keep the run in; set XDG_STATE_HOME".into()))?;
    fs::create_dir_all(&folder).map_err(|e| Error::Input(format!("cannot make {}: {e}; set XDG_STATE_HOME", folder.display())))?;
    let path = folder.join("last.pse");
    file::save_with(&path, meta, trace, maps)?;
    Ok(path)
}
