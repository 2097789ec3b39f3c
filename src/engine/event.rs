//! What the worker tells.

use std::{path::PathBuf, sync::Arc};

use ndarray::Array3;

use super::{
    command::{At, AttackRequest, RunId},
    findings::Findings,
    inspect::{Answer, Ask},
    recorded::Recorded,
    trace::Trace,
    triage::background::News,
};
use crate::core::{
    explain::{
        cam::CamMap,
        faithfulness::Faithfulness,
        psr::{Moment, PsrMap},
    },
    oracle::LayerInfo,
};

/// A class with its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// Class index.
    pub class: usize,
    /// Logit.
    pub logit: f32,
    /// Softmax probability.
    pub prob: f32,
}

/// What is known once model and image are open.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Model file.
    pub model: PathBuf,
    /// SHA-256 of the model file, hexadecimal.
    pub model_sha256: String,
    /// Image file.
    pub image_path: PathBuf,
    /// Provider that really runs, for instance `CPU`.
    pub provider: String,
    /// Engine and version, for instance `onnxruntime 1.32`.
    pub engine: String,
    /// Preprocessing in use and where it came from, one line.
    pub preprocessing: String,
    /// Things the person should know (guessed preprocessing, missing gradient rules, …), one sentence each.
    pub notices: Vec<String>,
    /// Class names, one per logit, safe to print.
    pub labels: Arc<Vec<String>>,
    /// Image after resize and crop, `[C, H, W]`, 0..1.
    pub image: Arc<Array3<f32>>,
    /// Logits of the clean image.
    pub logits: Vec<f32>,
    /// Layers that can be looked into.
    pub layers: Vec<LayerInfo>,
    /// Whether CAM proper is possible (GAP + linear head).
    pub has_linear_head: bool,
    /// Why attacks are impossible, when they are (operators without a gradient rule).
    pub no_gradient: Option<String>,
}

impl Opened {
    /// The provider of a recorded run whose model is not open.
    pub const RECORDED: &str = "recorded";

    /// Whether this speaks of a recorded run, not of open files.
    pub fn is_recorded(&self) -> bool {
        self.provider == Self::RECORDED
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// The attack finished by itself; whether it reached its goal.
    Done {
        /// Target reached, or true class left.
        success: bool,
    },
    /// The person stopped it.
    Stopped,
    /// It failed.
    Failed(String),
}

/// A message from the worker.
#[derive(Debug, Clone)]
pub enum Event {
    /// Work began that blocks others; one short phrase for the status line.
    Busy(String),
    /// How far the work that blocks others has come.
    Progress {
        /// What is being computed, one short phrase.
        what: String,
        /// Parts done.
        done: usize,
        /// Parts in all.
        all: usize,
    },
    /// Nothing to do.
    Idle,
    /// Model and image are open.
    Opened(Box<Opened>),
    /// Something asked for could not be done; one sentence. Nothing was lost.
    Failed(String),
    /// Something worth knowing; one sentence.
    Notice(String),
    /// A run began; its trace fills from now on.
    Started {
        /// Number.
        run: RunId,
        /// Request with the target resolved: label and target class.
        label: usize,
        /// Resolved target class; `None` when untargeted.
        target: Option<usize>,
        /// As asked.
        request: AttackRequest,
        /// Shared, append-only.
        trace: Arc<Trace>,
    },
    /// Steps were appended; the index of the newest.
    Step {
        /// Run.
        run: RunId,
        /// Newest step.
        index: usize,
    },
    /// A run ended.
    Ended {
        /// Run.
        run: RunId,
        /// How.
        ending: Ending,
        /// Step whose image is the attack's result (for searches the best, not the last).
        best: Option<usize>,
    },
    /// A promotion-suppression map, possibly with cells still missing.
    Psr {
        /// Run.
        run: RunId,
        /// Step.
        step: usize,
        /// The map so far.
        map: Arc<PsrMap>,
        /// Whether it is complete.
        done: bool,
    },
    /// A class activation map.
    Cam {
        /// Image.
        at: At,
        /// The map.
        map: Arc<CamMap>,
    },
    /// A triage in the background has news; its number is counted by the `Triage` commands so far.
    Triage(u64, Box<News>),
    /// An image of the folder at the model's input size; nothing when it cannot be read.
    Thumbnail(PathBuf, Option<Arc<Array3<f32>>>),
    /// A recorded run is shown; follows [`Event::Opened`], which then speaks of the recording.
    Viewing {
        /// Number it got.
        run: RunId,
        /// The run and where it came from.
        recorded: Arc<Recorded>,
    },
    /// An image of a folder is open, as the [`Event::Opened`] before said, and with it the run that its triage kept; or why that cannot be shown.
    Kept {
        /// Number it got.
        run: RunId,
        /// Image file.
        image: PathBuf,
        /// The run.
        recorded: Result<Arc<Recorded>, String>,
    },
    /// The model of the recorded run is open now; the run stays.
    Revived(Box<Opened>),
    /// What a report of a run is made of, as far as it could be computed.
    Completed(Box<Findings>),
    /// How far a map can be believed.
    Faithfulness {
        /// Image.
        at: At,
        /// The map that was measured.
        map: Arc<CamMap>,
        /// Curves.
        result: Arc<Faithfulness>,
    },
    /// Promotion and suppression over the steps of a run, possibly with steps still missing.
    Timeline {
        /// Run.
        run: RunId,
        /// Height and width of a cell in pixels.
        cell: [usize; 2],
        /// The steps so far.
        moments: Arc<Vec<Moment>>,
        /// Whether it is complete.
        done: bool,
    },
    /// What was asked about layers or units at a step.
    Network {
        /// Run.
        run: RunId,
        /// Step.
        step: usize,
        /// The question.
        ask: Ask,
        /// The answer.
        answer: Answer,
    },
    /// The engine changed: (engine and version, provider).
    Runtime(String, String),
}
