//! A triage beside the inspector: rows of earlier sessions first, then the rest of the folder, told as they come.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Row, Settings, Shard, assess,
    drive::{Job, Pace, Rival, Setup},
    journal::Journal,
    listing,
    part::Metadata,
    runs::{self, Runs},
    setup,
};
use crate::{
    core::error::{Error, Result},
    engine::{command::AttackRequest, control::Control, keep, subject::Subject, worker::Options},
};

/// What a triage in the background tells.
#[derive(Debug, Clone)]
pub enum News {
    /// The folder was listed: settings, number of images, and the rows of earlier sessions.
    Begun {
        /// Settings, for exported files.
        metadata: Metadata,
        /// Images in the folder.
        total: usize,
        /// Rows that were there already.
        rows: Vec<Row>,
        /// Folder of kept runs; nothing when none are kept.
        runs: Option<PathBuf>,
    },
    /// An image was finished.
    Row(Box<Row>),
    /// No more runs are kept; why.
    Unkept(String),
    /// It came to its end; why, when not because everything was done.
    Ended(Option<String>),
}

/// What a triage in the background works on.
pub struct Work {
    /// The model.
    pub subject: Arc<Subject>,
    /// A second model to compare with.
    pub rival: Option<PathBuf>,
    /// Folder of images, or a list.
    pub folder: PathBuf,
    /// The attack.
    pub request: AttackRequest,
}

/// Works through a folder. The journal lies in the state folder under a name made of the settings and the folder, so that the same
/// triage is found again; without a state folder nothing is kept.
pub fn run(work: Work, options: &Options, control: &Control, tell: &mut dyn FnMut(News)) -> Result<()> {
    let Work { subject, rival, folder, request } = work;
    let (keep_runs, runtime) = (options.keep_runs, &options.runtime);
    let items = listing::of_path(&folder)?;
    let total = items.len();
    let second = |path: &PathBuf| {
        let opened = Subject::open(path, &options.subject).map_err(of_second)?;
        Rival::of(Arc::new(opened), &subject, &request)
    };
    let rival = rival.as_ref().map(second).transpose()?;
    let mut job = Job { subject, rival, settings: Settings::new(request), runs: None };
    let metadata = setup::metadata(&job, Shard::default())?;
    let name = name(&metadata, &folder);
    let mut kept = journal(&name, &metadata);
    let mut unkept = None;
    // Without a journal nobody would know of a run.
    if kept.is_some() && keep_runs > 0 {
        match runs(&name, keep_runs) {
            Ok(runs) => job.runs = runs.map(Arc::new),
            Err(error) => unkept = Some(error.to_string()),
        }
    }
    let old = kept.as_mut().map(|(_, rows)| std::mem::take(rows)).unwrap_or_default();
    let (rows, left) = setup::left(old, items);
    tell(News::Begun { metadata, total, rows, runs: job.runs.as_ref().map(|r| r.folder().to_owned()) });
    if let Some(why) = unkept {
        tell(News::Unkept(why));
    }
    if left.is_empty() {
        return Ok(());
    }
    // One core is left to the inspector.
    let jobs = runtime.thread_count().saturating_sub(1).clamp(1, 16);
    let mut full = false;
    let setup = Setup::open(&job, runtime, Pace::default(), left.len().min(jobs))?;
    setup.run(&job, &left, control, &mut |row| {
        if let Some((journal, _)) = &mut kept {
            journal.append(&row)?;
        }
        tell(News::Row(Box::new(row)));
        if let Some(why) = job.runs.as_ref().filter(|_| !full).and_then(|r| r.ended()) {
            full = true;
            tell(News::Unkept(why.to_owned()));
        }
        Ok(())
    })
}

/// What is wrong with the second model says that it is the second.
fn of_second(error: Error) -> Error {
    let second = |text: String| format!("the second model: {text}");
    match error {
        Error::Input(text) => Error::Input(second(text)),
        Error::Model(text) => Error::Model(second(text)),
        Error::Parameter(text) => Error::Parameter(second(text)),
        other => other,
    }
}

/// What these settings and this folder are called in the state folder.
fn name(metadata: &Metadata, folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let depends = ["model_sha256", "preprocessing", "attack", "params", "target", "true", "seed", "explain", "schema"];
    let text = depends
        .iter()
        .map(|k| metadata.get(*k).map_or("", String::as_str))
        .chain(["compare_sha256", "within"].into_iter().filter_map(|k| metadata.get(k)).map(String::as_str))
        .chain([&*whole.to_string_lossy()])
        .collect::<Vec<_>>()
        .join("\n");
    assess::hash(text.as_bytes())[..24].to_owned()
}

/// The folder of kept runs, after folders of long ago have made room; nothing without a state folder.
fn runs(name: &str, limit: u64) -> Result<Option<Runs>> {
    let Some(all) = keep::state_dir().map(|d| d.join("runs")) else { return Ok(None) };
    let own = all.join(name);
    runs::make_room(&all, &own, limit);
    Runs::open(own, limit).map(Some)
}

/// The journal of these settings, with its rows. A second inspector on the same folder works without one.
fn journal(name: &str, metadata: &Metadata) -> Option<(Journal, Vec<Row>)> {
    let place = keep::state_dir()?.join("triage");
    fs::create_dir_all(&place).ok()?;
    match Journal::open(&place.join(format!("{name}.journal")), metadata) {
        Ok(open) => Some(open),
        Err(error) => {
            tracing::warn!("this triage is not kept: {error}");
            None
        }
    }
}
