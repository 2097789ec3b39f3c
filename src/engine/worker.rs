//! The worker: one thread opens models and computes explanations, another runs attacks, so that looking at a step never waits for a
//! long attack. Each has its own sessions. A third, in front of both, stops what a newer command makes useless, however long the
//! engine call in progress would take.

mod network;
mod replay;
mod thumbs;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use crossbeam_channel::{Receiver, Sender, unbounded};
use ndarray::{Array1, Array3, ArrayView1, Axis};

use super::{
    Handle,
    analysis::{self, PsrRequest},
    command::{At, AttackRequest, Command, RunId},
    control::Control,
    event::{Ending, Event, Opened},
    recorded::Recorded,
    reference::{self, Reference},
    region, run, sample,
    subject::{Subject, SubjectOptions},
    trace::Trace,
    triage::background::{self, News},
};
use crate::{
    core::{
        error::{Error, Result},
        explain::{
            cam::{self, CamMap, Method},
            faithfulness, psr,
        },
        oracle::{Layers as _, Oracle as _},
    },
    runtime::{Network, Runtime, RuntimeOptions, backend::Backend, options::Listener, quiet},
};

/// How the worker opens runtimes, models and images.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Engine, device, threads.
    pub runtime: RuntimeOptions,
    /// Preprocessing, labels, sizes.
    pub subject: SubjectOptions,
    /// Folder or list of images against which changes of units are measured.
    pub reference: Option<PathBuf>,
    /// Bytes of runs that a triage keeps, so that its images can be looked at without attacking them again; 0 keeps none.
    pub keep_runs: u64,
}

/// Starts the worker and gives the two ends to talk to it. Its threads end when the commands' end is dropped or says so.
pub fn spawn(options: Options) -> Handle {
    begin(options, None)
}

/// [`spawn`] on an engine that is open already.
pub fn spawn_on(options: Options, runtime: Runtime) -> Handle {
    begin(options, Some(runtime))
}

fn begin(mut options: Options, runtime: Option<Runtime>) -> Handle {
    let (commands, inbox) = unbounded();
    let (queue, work) = unbounded();
    let (events, outbox) = unbounded();
    let slow: Sender<Event> = events.clone();
    options.runtime.listener = Listener::new(move |text| drop(slow.send(Event::Busy(text))));
    let worker = Worker {
        options,
        thumbs: thumbs::serve(events.clone()),
        events,
        runtime,
        open: None,
        wanted: None,
        recorded: None,
        runs: Vec::new(),
        running: None,
        triage: None,
        triages: 0,
    };
    start("psescope-inbox", move || forward(&inbox, &queue));
    start("psescope-engine", move || worker.serve(&work));
    Handle { commands, events: outbox }
}

fn start(name: &str, job: impl FnOnce() + Send + 'static) {
    // Without its thread the channels close, and the interface says that the worker is gone.
    if let Err(error) = thread::Builder::new().name(name.into()).spawn(job) {
        tracing::error!("the thread {name} did not start: {error}");
    }
}

/// Passes commands on, and stops at once what each of them replaces.
fn forward(inbox: &Receiver<Command>, queue: &Sender<Command>) {
    let (mut map, mut attack, mut network): (Option<Control>, Option<Control>, Option<Control>) = (None, None, None);
    let stop = |job: &mut Option<Control>| {
        if let Some(control) = job.take() {
            control.stop();
        }
    };
    let mut ahead: Vec<Control> = Vec::new();
    for command in inbox {
        match &command {
            Command::Ahead(inner) => ahead.extend(inner.control().cloned()),
            _ => ahead.drain(..).for_each(|control| control.stop()),
        }
        match &command {
            Command::Psr { control, .. } => {
                stop(&mut map);
                map = Some(control.clone());
            }
            Command::Network { control, .. } => {
                stop(&mut network);
                network = Some(control.clone());
            }
            Command::Attack { control, .. } => {
                stop(&mut map);
                stop(&mut network);
                stop(&mut attack);
                attack = Some(control.clone());
            }
            Command::Complete { control, .. } => {
                stop(&mut map);
                map = Some(control.clone());
            }
            Command::Open { .. } | Command::OpenImage(_) | Command::OpenKept { .. } | Command::View(_) | Command::Revive => {
                stop(&mut map);
                stop(&mut network);
            }
            Command::Shutdown => {
                stop(&mut map);
                stop(&mut network);
                stop(&mut attack);
            }
            Command::Faithfulness { control, .. } | Command::Timeline { control, .. } => {
                stop(&mut map);
                map = Some(control.clone());
            }
            Command::Cam { .. } | Command::Ahead(_) | Command::RescanRuntime | Command::Triage { .. } | Command::Thumbnail(_) => {}
        }
        if queue.send(command).is_err() {
            return;
        }
    }
    stop(&mut map);
    stop(&mut network);
    stop(&mut attack);
}

/// Steps that a timeline looks at.
const MOMENTS: usize = 40;

/// A model and an image, ready to be attacked and explained.
struct Open {
    subject: Arc<Subject>,
    analyst: Network,
    attacker: Arc<Mutex<Network>>,
    image: Arc<Array3<f32>>,
    logits: Array1<f32>,
    reference: Option<Reference>,
}

struct Worker {
    options: Options,
    events: Sender<Event>,
    thumbs: Sender<thumbs::Wanted>,
    runtime: Option<Runtime>,
    open: Option<Open>,
    /// What was asked to be opened last, for another try.
    wanted: Option<(PathBuf, PathBuf)>,
    /// The recorded run that is shown.
    recorded: Option<Arc<Recorded>>,
    /// The latest runs of the image that is open, newest last.
    runs: Vec<(RunId, Arc<Trace>)>,
    running: Option<(Control, thread::JoinHandle<()>)>,
    /// The triage in the background, and how many there were.
    triage: Option<(Control, thread::JoinHandle<()>)>,
    triages: u64,
}

impl Worker {
    fn serve(mut self, inbox: &Receiver<Command>) {
        while let Ok(command) = inbox.recv() {
            if matches!(command, Command::Shutdown) {
                break;
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| self.obey(command)));
            match outcome {
                Ok(Ok(())) | Ok(Err(Error::Stopped)) => {}
                Ok(Err(error)) => self.tell(Event::Failed(error.to_string())),
                Err(panic) => {
                    if let Some(open) = &mut self.open {
                        open.analyst.close_sessions();
                    }
                    self.tell(Event::Failed(format!(
                        "an internal error ended this job ({}); nothing recorded was lost",
                        quiet::said(panic)
                    )));
                }
            }
            if inbox.is_empty() {
                self.tell(Event::Idle);
            }
        }
        self.stop_running();
        if let Some((control, _)) = self.triage.take() {
            control.stop();
        }
    }

    fn tell(&self, event: Event) {
        // Nobody listening means the interface is gone; the worker ends with its inbox.
        let _ = self.events.send(event);
    }

    fn obey(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Open { model, image } => self.open(&model, &image),
            Command::OpenImage(image) => self.open_image(&image),
            Command::OpenKept { run, model, image, kept } => self.open_kept(run, &model, &image, &kept),
            Command::Attack { run, request, control } => self.attack(run, request, control),
            Command::Triage { folder, rival, request, control } => self.triage(folder, rival, request, control),
            Command::Thumbnail(path) => {
                let _ = self.thumbs.send((self.open.as_ref().map(|open| Arc::clone(&open.subject)), path));
                Ok(())
            }
            Command::View(recorded) => self.view(recorded),
            Command::Revive => self.revive(),
            Command::Complete { findings, control } => self.complete(findings, &control),
            Command::Psr { run, step, cell, settings, known, estimate, control } => {
                let request = PsrRequest { step, cell, settings, known: &known, estimate: estimate.as_deref() };
                self.psr(run, &request, &control)
            }
            Command::Cam { at, method, layer, class, control } => self.cam(at, method, layer, class, &control),
            Command::Faithfulness { at, map, control } => self.faithfulness(at, map, &control),
            Command::Timeline { run, cell, settings, target, control } => self.timeline(run, cell, settings, target, &control),
            Command::Network { run, step, ask, control } => self.inspect(run, step, ask, &control),
            Command::Ahead(wish) => self.ahead(*wish),
            Command::RescanRuntime => self.rescan(),
            Command::Shutdown => Ok(()),
        }
    }

    /// Does what nobody waits for.
    fn ahead(&mut self, wish: Command) -> Result<()> {
        let control = wish.control().cloned();
        if let Err(error) = self.obey(wish) {
            tracing::debug!("not computed ahead: {error}");
        }
        if let Some(control) = control {
            control.stop();
        }
        Ok(())
    }

    fn open(&mut self, model: &Path, image: &Path) -> Result<()> {
        self.tell(Event::Busy(format!("opening {}", sample::title(model))));
        self.wanted = Some((model.to_owned(), image.to_owned()));
        let subject = self.subject(model)?;
        self.install(subject, image)
    }

    /// Reads a model, the engine being open.
    fn subject(&mut self, model: &Path) -> Result<Arc<Subject>> {
        if self.runtime.is_none() {
            self.runtime = Some(Runtime::open(&self.options.runtime)?);
        }
        Subject::open(model, &self.options.subject).map(Arc::new)
    }

    fn open_image(&mut self, image: &Path) -> Result<()> {
        let Some(open) = &self.open else { return Err(Error::Input("open a model first".into())) };
        let subject = Arc::clone(&open.subject);
        self.install(subject, image)
    }

    /// Opens the image and predicts it; what was open stays open, and running, when that fails.
    fn install(&mut self, subject: Arc<Subject>, image_path: &Path) -> Result<()> {
        let image = Arc::new(subject.image(image_path)?);
        let opened = self.settle(subject, image, image_path, &|_| Ok(()))?;
        self.tell(Event::Opened(Box::new(opened)));
        Ok(())
    }

    /// Puts a model and an image in the place of what was open, once the image's logits pass. Sessions of the same model are used again.
    fn settle(
        &mut self,
        subject: Arc<Subject>,
        image: Arc<Array3<f32>>,
        image_path: &Path,
        check: &dyn Fn(ArrayView1<f32>) -> Result<()>,
    ) -> Result<Opened> {
        let opened = match &mut self.open {
            Some(open) if Arc::ptr_eq(&open.subject, &subject) => {
                let logits = predict(&mut open.analyst, &image)?;
                check(logits.view())?;
                self.stop_running();
                let Some(open) = &mut self.open else { return Err(Error::Stopped) };
                (open.image, open.logits) = (image, logits);
                let engine = self.backend()?.describe();
                self.open.as_ref().map(|open| self.about(open, image_path, engine)).ok_or(Error::Stopped)?
            }
            _ => {
                let (open, opened) = self.ready(subject, image, image_path)?;
                check(open.logits.view())?;
                self.stop_running();
                self.open = Some(open);
                opened
            }
        };
        self.recorded = None;
        self.runs.clear();
        Ok(opened)
    }

    /// Sessions for a model and an image, and what there is to say about them.
    fn ready(&self, subject: Arc<Subject>, image: Arc<Array3<f32>>, image_path: &Path) -> Result<(Open, Opened)> {
        let backend = self.backend()?;
        let mut analyst = self.sessions(&subject, &backend)?;
        let logits = predict(&mut analyst, &image)?;
        let attacker = Arc::new(Mutex::new(self.sessions(&subject, &backend)?));
        let reference = self.options.reference.as_deref().map(|path| Reference::open(path, reference::LIMIT)).transpose()?;
        let open = Open { subject, analyst, attacker, image, logits, reference };
        let opened = self.about(&open, image_path, backend.describe());
        Ok((open, opened))
    }

    /// What there is to say about a model and an image that are open.
    fn about(&self, open: &Open, image_path: &Path, engine: String) -> Opened {
        let Open { subject, analyst, image, logits, .. } = open;
        Opened {
            model: subject.path.clone(),
            model_sha256: subject.sha256.clone(),
            image_path: image_path.to_owned(),
            provider: analyst.provider(),
            engine,
            preprocessing: subject.preprocess.describe(),
            notices: subject.notices.iter().chain(self.runtime.iter().flat_map(|r| &r.report().notices)).cloned().collect(),
            labels: Arc::clone(&subject.names),
            image: Arc::clone(image),
            logits: logits.to_vec(),
            layers: analyst.spatial_layers(),
            has_linear_head: analyst.linear_head().is_some(),
            no_gradient: subject.no_gradient(),
        }
    }

    /// A network that says in the interface what it did to go on after a failure.
    fn sessions(&self, subject: &Subject, backend: &Arc<dyn Backend>) -> Result<Network> {
        let events = self.events.clone();
        Ok(subject.network(backend)?.with_listener(Arc::new(move |text| drop(events.send(Event::Notice(text))))))
    }

    fn backend(&self) -> Result<Arc<dyn Backend>> {
        self.runtime.as_ref().map(Runtime::backend).ok_or_else(|| Error::Engine("no engine is open; start again".into()))
    }

    fn rescan(&mut self) -> Result<()> {
        self.tell(Event::Busy("looking for ONNX Runtime".into()));
        if self.open.is_none()
            && let Some((model, image)) = self.wanted.clone()
        {
            self.runtime = None;
            return self.open(&model, &image);
        }
        let Some(runtime) = &mut self.runtime else { return Ok(()) };
        if !runtime.rescan(&self.options.runtime)? {
            let engine = runtime.report().engine.clone();
            self.tell(Event::Notice(format!("nothing better than {engine} was found; psescope doctor says what was looked at")));
            return Ok(());
        }
        let backend = runtime.backend();
        let Some(subject) = self.open.as_ref().map(|open| Arc::clone(&open.subject)) else { return Ok(()) };
        let (analyst, attacker) = (self.sessions(&subject, &backend)?, self.sessions(&subject, &backend)?);
        let Some(open) = &mut self.open else { return Ok(()) };
        // New sessions on the new engine; runs, frames and maps stay.
        open.analyst = analyst;
        open.analyst.logits(open.image.view().insert_axis(Axis(0)))?;
        open.attacker = Arc::new(Mutex::new(attacker));
        let provider = open.analyst.provider();
        self.tell(Event::Runtime(backend.describe(), provider));
        Ok(())
    }

    fn attack(&mut self, run: RunId, request: AttackRequest, control: Control) -> Result<()> {
        self.stop_running();
        let prepared = match self.prepare(&request, &control) {
            Ok(prepared) => prepared,
            Err(error) => {
                self.tell(Event::Ended { run, ending: Ending::Failed(error.to_string()), best: None });
                return Ok(());
            }
        };
        let open = self.open.as_ref().ok_or_else(|| Error::Input("open a model and an image first".into()))?;
        let trace = Arc::clone(&prepared.trace);
        // The interface shows one run; the one before may still be asked about by what is on its way.
        self.runs.drain(..self.runs.len().saturating_sub(1));
        self.runs.push((run, Arc::clone(&trace)));
        self.tell(Event::Started { run, label: trace.label, target: trace.target, request, trace: Arc::clone(&trace) });
        let (events, attacker, stop) = (self.events.clone(), Arc::clone(&open.attacker), control.clone());
        let job = move || {
            let mut network = attacker.lock().unwrap_or_else(|e| e.into_inner());
            let _bound = control.bind(network.interrupt());
            let notify = |index| drop(events.send(Event::Step { run, index }));
            let ending = match catch_unwind(AssertUnwindSafe(|| prepared.run(&mut *network, &control, notify))) {
                Ok(Ok(success)) => Ending::Done { success },
                Ok(Err(Error::Stopped)) => Ending::Stopped,
                Ok(Err(error)) => Ending::Failed(error.to_string()),
                Err(panic) => {
                    network.close_sessions();
                    prepared.cut_short();
                    Ending::Failed(format!("an internal error ended the attack ({}); its steps are kept", quiet::said(panic)))
                }
            };
            drop(events.send(Event::Ended { run, ending, best: trace.best() }));
        };
        let thread = thread::Builder::new()
            .name("psescope-attack".into())
            .spawn(job)
            .map_err(|e| Error::Engine(format!("cannot start a thread: {e}")))?;
        self.running = Some((stop, thread));
        Ok(())
    }

    /// Starts a triage on a thread and networks of its own, after the one before has let go of its journal; it is not waited for, because
    /// a journal may end at any line.
    fn triage(&mut self, folder: PathBuf, rival: Option<PathBuf>, request: AttackRequest, control: Control) -> Result<()> {
        self.triages += 1;
        let before = self.triage.take();
        if let Some((control, _)) = &before {
            control.stop();
        }
        let open = self.open.as_ref().ok_or_else(|| Error::Input("open a model first".into()))?;
        let work = background::Work { subject: Arc::clone(&open.subject), rival, folder, request };
        let (number, events, options, stop) = (self.triages, self.events.clone(), self.options.clone(), control.clone());
        let job = move || {
            if let Some((_, thread)) = before {
                let _ = thread.join();
            }
            let mut tell = |news| drop(events.send(Event::Triage(number, Box::new(news))));
            let done = catch_unwind(AssertUnwindSafe(|| background::run(work, &options, &control, &mut tell)));
            tell(News::Ended(match done {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(panic) => Some(format!("an internal error ended the triage ({}); its rows are kept", quiet::said(panic))),
            }));
        };
        let started = thread::Builder::new().name("psescope-triage".into()).spawn(job);
        let thread = started.map_err(|e| Error::Engine(format!("cannot start a thread: {e}")))?;
        self.triage = Some((stop, thread));
        Ok(())
    }

    /// Checks a request, and cuts out the region it is restricted to.
    fn prepare(&mut self, request: &AttackRequest, control: &Control) -> Result<run::Prepared> {
        let (open, events) = self.analyst(control)?;
        let mut prepared = run::prepare(request, Arc::clone(&open.image), open.logits.view(), None)?;
        if let Some(text) = &request.within {
            let _bound = control.bind(open.analyst.interrupt());
            let classes = (prepared.problem.label, prepared.problem.target);
            let mut progress = |done, all| {
                drop(events.send(progress("region", done, all)));
                control.checkpoint()
            };
            let found = region::resolve(&mut open.analyst, &open.subject.labels, open.image.view(), classes, text, &mut progress)?;
            prepared.problem.mask = Some(found.weights());
        }
        Ok(prepared)
    }

    fn stop_running(&mut self) {
        if let Some((control, thread)) = self.running.take() {
            control.stop();
            drop(thread.join());
        }
    }

    fn psr(&mut self, run: RunId, request: &PsrRequest, control: &Control) -> Result<()> {
        let trace = self.trace(run)?;
        let (open, events) = self.analyst(control)?;
        let _bound = control.bind(open.analyst.interrupt());
        let step = request.step;
        analysis::psr(&mut open.analyst, &trace, request, &mut |map, done| {
            drop(events.send(Event::Psr { run, step, map: Arc::new(map.clone()), done }));
            control.checkpoint()
        })
    }

    fn cam(&mut self, at: At, method: Method, layer: Option<String>, class: usize, control: &Control) -> Result<()> {
        let image = self.image(at)?;
        let (open, events) = self.analyst(control)?;
        let _bound = control.bind(open.analyst.interrupt());
        let title = method.info().title;
        let map = cam::compute_with(&mut open.analyst, image.view(), method, layer.as_deref(), class, &mut |done, all| {
            drop(events.send(progress(title, done, all)));
            control.checkpoint()
        })?;
        self.tell(Event::Cam { at, map: Arc::new(map) });
        Ok(())
    }

    fn faithfulness(&mut self, at: At, map: Arc<CamMap>, control: &Control) -> Result<()> {
        let image = self.image(at)?;
        let (open, events) = self.analyst(control)?;
        let _bound = control.bind(open.analyst.interrupt());
        let result = faithfulness::evaluate(&mut open.analyst, image.view(), map.defined().view(), map.class, 0, &mut |done, all| {
            drop(events.send(progress("faithfulness", done, all)));
            control.checkpoint()
        })?;
        self.tell(Event::Faithfulness { at, map, result: Arc::new(result) });
        Ok(())
    }

    fn timeline(&mut self, run: RunId, cell: [usize; 2], settings: psr::Settings, target: usize, control: &Control) -> Result<()> {
        let trace = self.trace(run)?;
        let (open, events) = self.analyst(control)?;
        let _bound = control.bind(open.analyst.interrupt());
        let (_, height, width) = trace.clean.dim();
        let grid = psr::Grid::rectangular(height, width, cell)?;
        let question =
            psr::Question { clean: trace.clean.view(), adversarial: trace.clean.view(), classes: (trace.label, target), grid, settings };
        let tell =
            |moments: &[psr::Moment], done| drop(events.send(Event::Timeline { run, cell, moments: Arc::new(moments.to_vec()), done }));
        let all = trace.frames().len().min(MOMENTS);
        let moments = analysis::timeline(&mut open.analyst, &trace, &question, open.logits.view(), MOMENTS, &mut |moments| {
            tell(moments, false);
            drop(events.send(progress("map over the steps", moments.len(), all)));
            control.checkpoint()
        })?;
        tell(&moments, true);
        Ok(())
    }

    /// What is open, and the channel to tell about it; nothing for a job that was stopped before it began.
    fn analyst(&mut self, control: &Control) -> Result<(&mut Open, Sender<Event>)> {
        control.checkpoint()?;
        let events = self.events.clone();
        let open = self.open.as_mut().ok_or_else(|| Error::Input("open a model and an image first".into()))?;
        Ok((open, events))
    }

    fn image(&self, at: At) -> Result<Arc<Array3<f32>>> {
        let open = self.open.as_ref().ok_or_else(|| Error::Input("open a model and an image first".into()))?;
        Ok(match at {
            At::Clean => Arc::clone(&open.image),
            At::Step(run, step) => Arc::new(analysis::frame(&*self.trace(run)?, step)?.image.clone()),
        })
    }

    fn trace(&self, run: RunId) -> Result<Arc<Trace>> {
        self.runs.iter().find(|(id, _)| *id == run).map(|(_, t)| Arc::clone(t)).ok_or(Error::Stopped)
    }
}

/// Logits of an image; refuses what is not a number.
fn predict(network: &mut Network, image: &Array3<f32>) -> Result<Array1<f32>> {
    let logits = network.logits(image.view().insert_axis(Axis(0)))?.row(0).to_owned();
    network.check_finite(image.view(), &logits.to_vec())?;
    Ok(logits)
}

fn progress(what: &str, done: usize, all: usize) -> Event {
    Event::Progress { what: what.to_owned(), done, all }
}
