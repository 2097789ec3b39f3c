//! What the worker can be asked to do.

use std::{path::PathBuf, sync::Arc};

use super::{control::Control, findings::Findings, inspect::Ask, recorded::Recorded};
use crate::core::{
    attack::{self, Attack, Params},
    error::{Error, Result},
    explain::{
        cam::{CamMap, Method},
        psr::{self, PsrMap},
    },
};

/// Number of a run; events of an older run are ignored by whoever shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct RunId(pub u64);

/// How the target class is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Target {
    /// No target: leave the true class.
    #[default]
    Untargeted,
    /// This class.
    Class(usize),
    /// Drawn with the seed, not the true class.
    Random,
    /// The runner-up on the clean image.
    Second,
    /// The class with the lowest logit on the clean image.
    LeastLikely,
}

/// Everything an attack needs besides model and image.
#[derive(Debug, Clone, PartialEq)]
pub struct AttackRequest {
    /// Name in the registry.
    pub attack: String,
    /// Parameters as typed: name, text. Missing ones take their defaults.
    pub params: Vec<(String, String)>,
    /// Target.
    pub target: Target,
    /// True class; the clean prediction when `None`.
    pub label: Option<usize>,
    /// Seed of everything random.
    pub seed: u64,
    /// Region outside of which nothing may change: see [`super::region::resolve`].
    pub within: Option<String>,
}

impl AttackRequest {
    /// The attack, and its parameters with defaults filled in; refuses unknown names and values out of range.
    pub fn checked(&self) -> Result<(&'static dyn Attack, Params)> {
        let attack = attack::find(&self.attack).ok_or_else(|| {
            let known = attack::REGISTRY.iter().map(|a| a.name()).collect::<Vec<_>>().join(", ");
            Error::Parameter(format!("there is no attack '{}'; choose one of {known}", self.attack))
        })?;
        Ok((attack, Params::check(attack.params(), self.params.iter().map(|(n, v)| (n.as_str(), v.as_str())))?))
    }
}

/// Which image of a run is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    /// The clean image.
    Clean,
    /// The image of this step of this run.
    Step(RunId, usize),
}

/// A message to the worker. Long jobs carry a [`Control`] so that they can be paused or stopped from outside.
#[derive(Debug, Clone)]
pub enum Command {
    /// Opens a model and an image; replaces what was open.
    Open {
        /// ONNX file.
        model: PathBuf,
        /// Image file.
        image: PathBuf,
    },
    /// Opens another image with the same model.
    OpenImage(PathBuf),
    /// Opens an image of a folder with the run that its triage kept. Answered by [`super::event::Event::Kept`] once the image is open.
    OpenKept {
        /// Number of the run, given by the asker, larger than any before.
        run: RunId,
        /// Model of the triage; opened unless it is open.
        model: PathBuf,
        /// Image file.
        image: PathBuf,
        /// File of the run.
        kept: PathBuf,
    },
    /// Runs an attack.
    Attack {
        /// Number given by the asker, larger than any before.
        run: RunId,
        /// What to run.
        request: AttackRequest,
        /// Pauses and stops it.
        control: Control,
    },
    /// Evaluates the promotion-suppression map of a step. The clean prediction and the run's target give the classes.
    Psr {
        /// Run and step.
        run: RunId,
        /// Step of the run.
        step: usize,
        /// Height and width of a cell in pixels.
        cell: [usize; 2],
        /// Floor, threshold, mode.
        settings: psr::Settings,
        /// Exact maps of the same step, finished or not: what they know is not evaluated again.
        known: Vec<Arc<PsrMap>>,
        /// An estimate on the same grid: an exact evaluation takes its most influential cells first.
        estimate: Option<Arc<PsrMap>>,
        /// Stops it; a newer request makes the older one stop.
        control: Control,
    },
    /// Computes a class activation map.
    Cam {
        /// Image.
        at: At,
        /// Method.
        method: Method,
        /// Layer; `None` takes the last spatial one (the head's for CAM).
        layer: Option<String>,
        /// Class.
        class: usize,
        /// Stops it: some methods take long.
        control: Control,
    },
    /// Measures whether a map can be believed. Answered by [`super::event::Event::Faithfulness`].
    Faithfulness {
        /// Image.
        at: At,
        /// The map.
        map: Arc<CamMap>,
        /// Stops it; a newer request makes the older one stop.
        control: Control,
    },
    /// Follows promotion and suppression over the steps of a finished run. Answered by [`super::event::Event::Timeline`].
    Timeline {
        /// Run.
        run: RunId,
        /// Height and width of a cell in pixels.
        cell: [usize; 2],
        /// Floor, threshold; the mode is linear.
        settings: psr::Settings,
        /// Target class; of an untargeted attack the class it reached.
        target: usize,
        /// Stops it.
        control: Control,
    },
    /// Asks about layers or units at a step. Answered by [`super::event::Event::Network`].
    Network {
        /// Run.
        run: RunId,
        /// Step of the run.
        step: usize,
        /// The question.
        ask: Ask,
        /// Stops it; a newer question makes the older one stop.
        control: Control,
    },
    /// Works through a folder in the background: every image predicted, attacked and explained. Replaces the one before.
    Triage {
        /// Folder of images, or a list.
        folder: PathBuf,
        /// A second model: the same attack runs on it too, and it sees the images made for the first.
        rival: Option<PathBuf>,
        /// The attack.
        request: AttackRequest,
        /// Pauses and stops it.
        control: Control,
    },
    /// Reads an image of the folder, to be shown small.
    Thumbnail(PathBuf),
    /// Shows a recorded run, without its model.
    View(Arc<Recorded>),
    /// Opens the model of the recorded run that is shown, which then can be explained and attacked again.
    Revive,
    /// Computes what a report of a run lacks.
    Complete {
        /// The run, its step, and what is there already.
        findings: Box<Findings>,
        /// Stops it.
        control: Control,
    },
    /// A map that somebody may want next: answered like the command inside, which any other command overtakes and drops. Its control says
    /// that it is stopped once it is over, however it ended; what fails is not told.
    Ahead(Box<Command>),
    /// Looks for ONNX Runtime again and reopens the model on it, keeping everything recorded.
    RescanRuntime,
    /// Ends the worker.
    Shutdown,
}

impl Command {
    /// What stops a job that is asked for with one.
    pub fn control(&self) -> Option<&Control> {
        match self {
            Self::Ahead(inner) => inner.control(),
            Self::Attack { control, .. }
            | Self::Psr { control, .. }
            | Self::Cam { control, .. }
            | Self::Faithfulness { control, .. }
            | Self::Timeline { control, .. }
            | Self::Network { control, .. }
            | Self::Triage { control, .. }
            | Self::Complete { control, .. } => Some(control),
            Self::Open { .. }
            | Self::OpenImage(_)
            | Self::OpenKept { .. }
            | Self::Thumbnail(_)
            | Self::View(_)
            | Self::Revive
            | Self::RescanRuntime
            | Self::Shutdown => None,
        }
    }
}
