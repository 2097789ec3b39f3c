//! Everything the interface knows. Plain data; no terminal, no worker.

use std::{
    collections::{BTreeSet, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use super::{
    ahead,
    dialog::Dialog,
    graphics::Setup,
    keymap::{Context, Keymap},
    logging::Ring,
    network,
    notice::{Notices, Severity},
    psr,
    screen::{Screen, attack, cam, insight, layers, pixels, triage, units, versus},
    text,
    theme::{Look, Theme},
};
use crate::{
    core::attack::Attack,
    engine::{
        command::{AttackRequest, RunId},
        control::Control,
        event::{Ending, Opened, Scored},
        recorded::Recorded,
        remember::Recent,
        trace::{Frame, StepRecord, Trace},
    },
};

/// Where the person looks in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Cursor {
    /// The newest step.
    #[default]
    Live,
    /// This step.
    At(usize),
}

/// The attacks on offer.
#[derive(Clone, Copy)]
pub struct Attacks(pub &'static [&'static dyn Attack]);

impl std::fmt::Debug for Attacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|a| a.name())).finish()
    }
}

impl Attacks {
    /// The attack with this name.
    pub fn find(&self, name: &str) -> Option<&'static dyn Attack> {
        self.0.iter().copied().find(|a| a.name() == name)
    }
}

/// The current run.
#[derive(Debug, Clone)]
pub struct Run {
    /// Number.
    pub id: RunId,
    /// As asked.
    pub request: AttackRequest,
    /// Pauses and stops it.
    pub control: Control,
    /// True class, once known.
    pub label: usize,
    /// Target class, when there is one.
    pub target: Option<usize>,
    /// The record, once the worker has begun.
    pub trace: Option<Arc<Trace>>,
    /// Newest step the worker told of.
    pub newest: Option<usize>,
    /// Upper bound on the number of steps.
    pub total: Option<usize>,
    /// Whether the person paused it.
    pub paused: bool,
    /// How it ended.
    pub ending: Option<Ending>,
    /// Step whose image is the result.
    pub best: Option<usize>,
}

impl Run {
    /// Whether the worker is still at it (or paused in it).
    pub fn running(&self) -> bool {
        self.ending.is_none()
    }
}

/// A recorded run on the screen.
#[derive(Debug, Clone)]
pub struct Replay {
    /// Number it got.
    pub run: RunId,
    /// The run and where it came from.
    pub recorded: Arc<Recorded>,
    /// Whether its model is open by now.
    pub open: bool,
}

/// Work that blocks the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Busy {
    /// What.
    pub what: String,
    /// Since when.
    pub since: Duration,
    /// Parts done and parts in all, where that is known.
    pub parts: Option<(usize, usize)>,
}

/// Themes by name; one that cannot be read says why.
pub type Themes = Vec<(String, Result<Arc<Look>, String>)>;

/// The whole state of the interface.
#[derive(Debug, Clone)]
pub struct Model {
    /// Time since the start.
    pub now: Duration,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    /// Looks.
    pub theme: Theme,
    /// How pictures reach the terminal.
    pub graphics: Setup,
    /// Keys.
    pub keymap: Arc<Keymap>,
    /// Attacks on offer.
    pub attacks: Attacks,
    /// Model file asked for.
    pub model_path: PathBuf,
    /// Image file asked for.
    pub image_path: PathBuf,
    /// What is open.
    pub opened: Option<Arc<Opened>>,
    /// Counts what was opened; identifies the clean picture.
    pub generation: u64,
    /// Why nothing is open.
    pub open_error: Option<String>,
    /// Engine and version that really run.
    pub engine: String,
    /// Provider that really runs.
    pub provider: String,
    /// Blocking work.
    pub busy: Option<Busy>,
    /// The current run.
    pub run: Option<Run>,
    /// Results of earlier runs of this image, oldest first.
    pub earlier: Vec<versus::Earlier>,
    /// Attacks that follow when the current one is done.
    pub queue: VecDeque<AttackRequest>,
    /// Largest run number given.
    pub last_run: u64,
    /// Position in time.
    pub cursor: Cursor,
    /// What the next run will do.
    pub request: AttackRequest,
    /// Open screen.
    pub screen: Screen,
    /// What is asked for before anybody wants it.
    pub ahead: ahead::State,
    /// Screen 1.
    pub attack: attack::State,
    /// Screen 2.
    pub pixels: pixels::State,
    /// Screen 3.
    pub cam: cam::State,
    /// Screen 4.
    pub layers: layers::State,
    /// Screen 5.
    pub units: units::State,
    /// Screen 6.
    pub insight: insight::State,
    /// Questions and answers of screens 4 to 6.
    pub network: network::State,
    /// The folder.
    pub triage: triage::State,
    /// The map shared by screens 1 and 2.
    pub psr: psr::State,
    /// Open dialogs, the topmost last.
    pub dialogs: Vec<Dialog>,
    /// Messages.
    pub notices: Notices,
    /// Bookmarked steps of the current run.
    pub marks: BTreeSet<usize>,
    /// The finished run that was saved by name, if one was.
    pub saved: Option<RunId>,
    /// The recorded run that was opened, when one was.
    pub replay: Option<Replay>,
    /// First-run hints that have been followed, in this or an earlier session.
    pub learned: BTreeSet<&'static str>,
    /// What was opened lately, the newest first.
    pub recent: Vec<Recent>,
    /// Themes on offer; those that cannot be read say why.
    pub themes: Themes,
    /// The newest lines of the log.
    pub log: Ring,
    /// Flags about the model and the engine that the program was started with, for commands that do the same.
    pub flags: Vec<String>,
}

/// Names of first-run hints.
pub const HINTS: [&str; 8] = ["screens", "help", "step", "target", "attack", "versus", "palette", "open"];

impl Model {
    /// The state before the worker has said anything.
    pub fn new(model_path: PathBuf, image_path: PathBuf, theme: Theme, keymap: Keymap, attacks: Attacks, request: AttackRequest) -> Self {
        Self {
            now: Duration::ZERO,
            size: (80, 24),
            theme,
            graphics: Setup::default(),
            keymap: Arc::new(keymap),
            attacks,
            model_path,
            image_path,
            opened: None,
            generation: 0,
            open_error: None,
            engine: String::new(),
            provider: String::new(),
            busy: Some(Busy { what: "opening".into(), since: Duration::ZERO, parts: None }),
            run: None,
            earlier: Vec::new(),
            queue: VecDeque::new(),
            last_run: 0,
            cursor: Cursor::Live,
            request,
            screen: Screen::Attack,
            attack: attack::State::default(),
            ahead: ahead::State::default(),
            pixels: pixels::State::default(),
            cam: cam::State::default(),
            layers: layers::State::default(),
            units: units::State::default(),
            insight: insight::State::default(),
            network: network::State::default(),
            triage: triage::State::default(),
            psr: psr::State::default(),
            dialogs: Vec::new(),
            notices: Notices::default(),
            marks: BTreeSet::new(),
            saved: None,
            replay: None,
            learned: BTreeSet::new(),
            recent: Vec::new(),
            themes: Vec::new(),
            log: Ring::default(),
            flags: Vec::new(),
        }
    }

    /// Contexts in which keys are looked up, nearest first.
    pub fn contexts(&self) -> Vec<Context> {
        use Context::{
            Always, App, Attack, Cam, Cells, Closer, Confirm, Export, Files, Filter, Form, Help, Insight, Layers, Line, Log, Palette,
            Picker, PixelCursor, Pixels, Prompt, Psr, Run, Time, Triage, Units,
        };
        match self.dialogs.last() {
            Some(Dialog::Form(_)) => vec![Form, Always],
            Some(Dialog::Picker(_)) => vec![Picker, Always],
            Some(Dialog::Help(_)) => vec![Help, Always],
            Some(Dialog::Confirm(_)) => vec![Confirm, Always],
            Some(Dialog::Prompt(_)) => vec![Prompt, Always],
            Some(Dialog::Export(_)) => vec![Export, Always],
            Some(Dialog::Palette(_)) => vec![Palette, Always],
            Some(Dialog::Files(_)) => vec![Files, Always],
            Some(Dialog::Log(_)) => vec![Log, Always],
            None => match self.screen {
                Screen::Attack => vec![Attack, Run, Time, Psr, App, Always],
                Screen::Pixels if self.pixels.in_pixels => vec![PixelCursor, Pixels, Closer, Psr, Time, Run, App, Always],
                Screen::Pixels if self.pixels.in_cells => vec![Cells, Pixels, Closer, Psr, Time, Run, App, Always],
                Screen::Pixels => vec![Pixels, Closer, Psr, Time, Run, App, Always],
                Screen::Cam if self.pixels.in_pixels => vec![PixelCursor, Cam, Closer, Time, Run, App, Always],
                Screen::Cam => vec![Cam, Closer, Time, Run, App, Always],
                Screen::Layers | Screen::Units if self.network.typing.is_some() => vec![Line, Always],
                Screen::Layers => vec![Layers, Time, Run, App, Always],
                Screen::Units => vec![Units, Time, Run, App, Always],
                Screen::Insight => vec![Insight, Time, Run, App, Always],
                Screen::Triage if self.triage.typing => vec![Filter, Always],
                Screen::Triage => vec![Triage, Run, App, Always],
            },
        }
    }

    /// Why nothing can be computed: a recorded run is shown and its model is not open.
    pub fn without_model(&self) -> Option<String> {
        self.replay.as_ref().filter(|r| !r.open).map(|r| r.recorded.without_model())
    }

    /// Name of a class.
    pub fn label(&self, class: usize) -> String {
        match self.opened.as_ref().and_then(|o| o.labels.get(class)) {
            Some(label) => label.clone(),
            None => format!("class {class}"),
        }
    }

    /// Name of a class up to the first comma.
    pub fn short_label(&self, class: usize) -> String {
        text::short_label(&self.label(class)).to_owned()
    }

    /// The record of the current run.
    pub fn trace(&self) -> Option<&Arc<Trace>> {
        self.run.as_ref()?.trace.as_ref()
    }

    /// Newest recorded step.
    pub fn newest(&self) -> Option<usize> {
        self.run.as_ref()?.newest
    }

    /// Step being looked at.
    pub fn position(&self) -> Option<usize> {
        let newest = self.newest()?;
        Some(match self.cursor {
            Cursor::Live => newest,
            Cursor::At(i) => i.min(newest),
        })
    }

    /// Scalars of the step being looked at.
    pub fn record(&self) -> Option<StepRecord> {
        self.trace()?.step(self.position()?)
    }

    /// Frame closest to the step being looked at.
    pub fn frame(&self) -> Option<Arc<Frame>> {
        let trace = self.trace()?;
        trace.frame(trace.nearest_frame(self.position()?)?)
    }

    /// Whether an attack is running (or paused).
    pub fn running(&self) -> bool {
        self.run.as_ref().is_some_and(Run::running)
    }

    /// Whether an attack is advancing under the cursor.
    pub fn flowing(&self) -> bool {
        self.run.as_ref().is_some_and(|r| r.running() && !r.paused) && self.cursor == Cursor::Live
    }

    /// True class: the run's, else the clean prediction.
    pub fn true_class(&self) -> Option<usize> {
        match &self.run {
            Some(run) if run.trace.is_some() => Some(run.label),
            _ => Some(self.clean_scores(1).first()?.class),
        }
    }

    /// Best classes of the clean image.
    pub fn clean_scores(&self, count: usize) -> Vec<Scored> {
        let Some(opened) = &self.opened else { return Vec::new() };
        let mut scores = softmax(&opened.logits);
        scores.sort_by(|a, b| b.logit.total_cmp(&a.logit));
        scores.truncate(count);
        scores
    }

    /// Best classes at the step being looked at; the clean image's before any step.
    pub fn current_scores(&self, count: usize) -> Vec<Scored> {
        match self.record() {
            Some(r) => r.top.iter().take(count).map(|&(class, logit)| Scored { class, logit, prob: r.prob(logit) }).collect(),
            None => self.clean_scores(count),
        }
    }

    /// Shows and logs a message.
    pub fn tell(&mut self, severity: Severity, text: impl Into<String>) {
        self.notices.push(severity, text, self.now);
    }
}

fn softmax(logits: &[f32]) -> Vec<Scored> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|l| (l - max).exp()).sum();
    logits.iter().enumerate().map(|(class, &logit)| Scored { class, logit, prob: (logit - max).exp() / sum }).collect()
}
