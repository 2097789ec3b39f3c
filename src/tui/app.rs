//! The loop: gathers messages, updates the model, carries out effects, draws at most every 33 ms.

use std::{
    io::{IsTerminal as _, Write as _},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use crossbeam_channel::{Receiver, Sender, never, select, unbounded};
use crossterm::event::{Event as TermEvent, KeyEventKind, MouseButton, MouseEventKind};
use ndarray::Axis;
use ratatui::Frame;

use super::{
    effect::Effect,
    graphics::{
        self, Surroundings, Wish,
        encode::{Done, Encoder},
        probe, typed,
    },
    input::{Input, Late},
    kept,
    keymap::{Key, Keymap},
    logging,
    model::{Attacks, HINTS, Model},
    msg::Msg,
    notice::Severity,
    outside,
    terminal::Guard,
    theme::{Depth, Theme, custom},
    update::update,
    view::{ViewCache, view},
};
use crate::{
    core::{attack, error::Error},
    engine::{
        Handle,
        command::{AttackRequest, Command, Target},
        event::Event,
        files,
        findings::Findings,
        keep,
        recorded::Recorded,
        remember,
    },
    report::{self, Format},
};

/// Called with the last state when the interface is left, after the terminal was given back.
pub type OnExit = Box<dyn FnOnce(&Model) + Send>;

/// How the interface starts.
pub struct Options {
    /// ONNX file.
    pub model: PathBuf,
    /// Image file.
    pub image: PathBuf,
    /// Colour depth from a flag.
    pub color: Option<Depth>,
    /// Colour depth from the configuration.
    pub configured_color: Option<Depth>,
    /// Only ASCII characters.
    pub ascii: bool,
    /// How pictures are shown.
    pub graphics: Wish,
    /// Theme: a built-in one, one of the folder, or a file.
    pub theme: String,
    /// Folder of the person's own themes.
    pub themes: Option<PathBuf>,
    /// Flags about model and engine, for commands that do the same as the interface.
    pub flags: Vec<String>,
    /// Rebound keys: name of the action, keys.
    pub keys: Vec<(String, String)>,
    /// Listen to the mouse; takes text selection away from the terminal.
    pub mouse: bool,
    /// Folder to be worked through in the background.
    pub folder: Option<PathBuf>,
    /// A recorded run to show instead of opening model and image.
    pub recorded: Option<Arc<Recorded>>,
    /// The first attack's settings.
    pub attack: AttackRequest,
    /// How much goes into the log file: see [`logging::init`].
    pub verbosity: u8,
    /// Called when the interface is left.
    pub on_exit: Option<OnExit>,
}

impl Options {
    /// The usual settings for a model and an image.
    pub fn new(model: PathBuf, image: PathBuf) -> Self {
        Self {
            model,
            image,
            color: None,
            configured_color: None,
            ascii: false,
            graphics: Wish::Auto,
            theme: "terminal".into(),
            themes: None,
            flags: Vec::new(),
            keys: Vec::new(),
            mouse: false,
            folder: None,
            recorded: None,
            attack: default_attack(),
            verbosity: 0,
            on_exit: None,
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("model", &self.model)
            .field("image", &self.image)
            .field("attack", &self.attack)
            .finish_non_exhaustive()
    }
}

/// Untargeted ifgsm with eps 8/255.
pub fn default_attack() -> AttackRequest {
    AttackRequest {
        attack: "ifgsm".into(),
        params: vec![("eps".into(), "8/255".into())],
        target: Target::Untargeted,
        label: None,
        seed: 0,
        within: None,
    }
}

/// Least time between frames.
const FRAME: Duration = Duration::from_millis(33);
/// How often the clock is told while something moves, and while nothing does.
const TICKS: (Duration, Duration) = (Duration::from_millis(60), Duration::from_millis(1000));

/// How long leaving waits for an attack to notice that it was stopped.
const FAREWELL: Duration = Duration::from_millis(500);

/// Runs the interface until the person leaves. The worker is told to end and hardly waited for.
///
/// However it is left (by a key, by SIGTERM, SIGINT or SIGHUP, by a terminal that went away, by a panic), the terminal is given back first, then
/// the run on the screen is saved as the last one in the state folder, and one line on stderr says where. A run that was saved by name
/// after it ended is not saved again. After a signal the result is [`Error::Stopped`].
pub fn run(engine: Handle, options: Options) -> anyhow::Result<()> {
    run_with(engine, options, Attacks(attack::REGISTRY))
}

/// [`run`] with another list of attacks.
pub fn run_with(engine: Handle, options: Options, attacks: Attacks) -> anyhow::Result<()> {
    let depth = Depth::detect(options.color, options.configured_color, |name| std::env::var(name).ok());
    let look = custom::find(&options.theme, options.themes.as_deref()).map_err(|e| anyhow!(Error::Parameter(e)))?;
    let theme = Theme { look: Arc::new(look), depth, ascii: options.ascii };
    let keymap = Keymap::new(&options.keys).map_err(|e| anyhow!(e))?;
    // The depth is decided here; crossterm must not decide again.
    crossterm::style::force_color_output(depth != Depth::None);
    let mut model = Model::new(options.model.clone(), options.image.clone(), theme, keymap, attacks, options.attack);
    model.themes = outside::all_themes(options.themes.as_deref());
    model.flags = options.flags;
    let remembered = remember::load();
    model.recent = remembered.recent;
    model.learned = HINTS.into_iter().filter(|h| remembered.learned.iter().any(|l| l == h)).collect();
    if options.folder.is_some() {
        model.screen = super::screen::Screen::Triage;
        model.triage.folder = options.folder;
    }
    let first = match options.recorded {
        Some(recorded) => Command::View(recorded),
        None => Command::Open { model: options.model, image: options.image },
    };
    engine.commands.send(first).context("the worker has ended; start again")?;
    let _log = logging::init(options.verbosity, &model.log);
    let signals = signals()?;
    let mut guard = Guard::enter(options.mouse)?;
    model.size = guard.size();
    let input = listen(&mut model, options.graphics, depth)?;
    // A terminal that does not understand the questions may have printed them.
    guard.clear()?;
    let encoder = Encoder::start()?;
    let app = App {
        model: &mut model,
        guard: &mut guard,
        input,
        engine: &engine,
        signals,
        told: unbounded(),
        encoder,
        resend: false,
        begun: Instant::now(),
        themes: options.themes,
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| app.main()));
    drop(guard);
    end(&engine, &model);
    save(&model);
    remember::add(&[], &model.learned.iter().copied().collect::<Vec<_>>());
    if let Some(hook) = options.on_exit {
        hook(&model);
    }
    match outcome {
        Ok(Ok(Leaving::Signal)) => Err(anyhow!(Error::Stopped)),
        Ok(Ok(Leaving::Person)) => match model.open_error {
            // What could not be opened stays readable after the screen is gone.
            Some(why) if model.opened.is_none() => Err(anyhow!(Error::Input(why))),
            _ => Ok(()),
        },
        Ok(Err(error)) => Err(error),
        Err(panic) => resume_unwind(panic),
    }
}

/// Finds out how pictures are shown, asking the terminal where that may help, and then starts to read keys.
fn listen(model: &mut Model, wish: Wish, depth: Depth) -> anyhow::Result<Input> {
    let around = Surroundings::of(|name| std::env::var(name).ok());
    let asked = graphics::unasked(wish, depth, &around).is_none().then(|| {
        probe::ask(&around).unwrap_or_else(|error| {
            tracing::warn!("the terminal could not be asked for graphics: {error}");
            Default::default()
        })
    });
    let answers = asked.as_ref().map(|(answers, _)| answers);
    model.graphics = graphics::choose(wish, depth, &around, answers, graphics::window_cell());
    tracing::info!("pictures: {}", model.graphics.line());
    let late = match answers {
        Some(answers) if !answers.complete => Late::expect(probe::LATE),
        _ => Late::default(),
    };
    let typed = asked.map(|(_, rest)| typed::events(&rest)).unwrap_or_default();
    Ok(Input::start(typed, late)?)
}

/// Ends the attack and the worker, and waits a moment for them.
fn end(engine: &Handle, model: &Model) {
    if let Some(run) = &model.run {
        run.control.stop();
    }
    let _ = engine.commands.send(Command::Shutdown);
    let patience = Instant::now() + FAREWELL;
    while engine.events.recv_timeout(patience.saturating_duration_since(Instant::now())).is_ok() {}
}

/// Saves what would be lost, and says where. Nobody may be left to read it, so that failing to say it is no error.
fn save(model: &Model) {
    let unsaved = model.run.as_ref().is_some_and(|run| model.saved != Some(run.id));
    let Some((meta, maps, trace)) = kept::kept(model).filter(|(_, _, trace)| unsaved && trace.len() > 1) else { return };
    let line = match keep::save_last(&meta, &trace, &maps) {
        Ok(path) => format!("psescope: the last run is kept: psescope view {}", path.display()),
        Err(error) => format!("psescope: the last run could not be kept: {error}"),
    };
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes what the worker says about itself into the log.
fn note(event: &Event) {
    match event {
        Event::Opened(o) => {
            let (model, image) = (o.model.display(), o.image_path.display());
            tracing::info!("opened {model} ({}) and {image} on {}, {}; {}", o.model_sha256, o.engine, o.provider, o.preprocessing);
        }
        Event::Started { run, request, label, target, .. } => tracing::info!("run {} from {label} to {target:?}: {request:?}", run.0),
        Event::Ended { run, ending, best } => tracing::info!("run {} ended: {ending:?}, result at step {best:?}", run.0),
        Event::Failed(why) => tracing::warn!("{why}"),
        Event::Notice(text) => tracing::info!("{text}"),
        Event::Runtime(engine, provider) => tracing::info!("now on {engine}, {provider}"),
        Event::Psr { run, step, done: true, map } => {
            tracing::debug!("map of step {step} of run {}: {} forward runs, {} s", run.0, map.forwards, map.seconds);
        }
        _ => {}
    }
}

/// Writes a report; says what to tell about it.
fn report(format: &Format, path: &Path, findings: &Findings) -> Result<String, String> {
    if path.exists() {
        return Err(format!("{} exists already; choose another name", path.display()));
    }
    // A defect in drawing must not leave the dialog waiting for ever.
    let drawn = catch_unwind(AssertUnwindSafe(|| (format.bytes)(findings, &report::Options::default())));
    let bytes = drawn.map_err(|_| "an internal error ended the report; nothing was written".to_owned())?.map_err(|e| e.to_string())?;
    files::save(path, &bytes).map_err(|e| e.to_string())?;
    let lacks = if findings.missing.is_empty() { String::new() } else { format!(" ({})", findings.missing.join(" ")) };
    Ok(format!("wrote {}{lacks}", path.display()))
}

/// What a signal means to the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// SIGTERM, SIGINT, SIGHUP.
    End,
    /// SIGCONT: somebody else may have written to the terminal meanwhile.
    Continue,
}

#[cfg(unix)]
fn signals() -> anyhow::Result<Receiver<Asked>> {
    use signal_hook::{
        consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM},
        iterator::Signals,
    };
    let (sender, receiver) = unbounded();
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGCONT]).context("signals cannot be watched")?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in &mut signals {
            let said = if signal == SIGCONT { Asked::Continue } else { Asked::End };
            if sender.send(said).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

#[cfg(not(unix))]
fn signals() -> anyhow::Result<Receiver<Asked>> {
    Ok(never())
}

struct App<'a> {
    model: &'a mut Model,
    guard: &'a mut Guard,
    input: Input,
    engine: &'a Handle,
    signals: Receiver<Asked>,
    /// Answers of work done beside the interface.
    told: (Sender<Msg>, Receiver<Msg>),
    /// Makes pictures for the terminal's graphics.
    encoder: Encoder,
    /// Whether the terminal may have lost its pictures.
    resend: bool,
    begun: Instant,
    /// Folder of the person's own themes.
    themes: Option<PathBuf>,
}

/// Why the interface is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    /// A key, or the terminal went away.
    Person,
    /// The system asked.
    Signal,
}

enum Incoming {
    Terminal(TermEvent),
    Engine(Event),
    EngineGone,
    InputGone,
    Signal(Asked),
    Told(Msg),
    Encoded(Done),
    Nothing,
}

impl App<'_> {
    fn main(mut self) -> anyhow::Result<Leaving> {
        let mut cache = ViewCache::default();
        let mut events = self.engine.events.clone();
        let mut drawn = Instant::now();
        self.draw(&mut cache)?;
        let mut dirty = false;
        let mut leaving = None;
        while leaving.is_none() {
            let moving = self.moving() || cache.gallery.settling();
            let tick = if moving { TICKS.0 } else { TICKS.1 };
            let wait = if dirty { FRAME.saturating_sub(drawn.elapsed()) } else { tick };
            let mut incoming = self.next(&events, wait);
            leaving = self.message(Msg::Tick(self.begun.elapsed()))?;
            dirty |= moving || !matches!(incoming, Incoming::Nothing);
            // Everything queued is taken in before a frame is drawn, but never for longer than a frame.
            let patience = Instant::now() + FRAME;
            loop {
                leaving = leaving.or(match incoming {
                    Incoming::Nothing => break,
                    Incoming::EngineGone => {
                        events = never();
                        self.message(Msg::EngineGone)?
                    }
                    Incoming::InputGone => self.message(Msg::Terminate)?,
                    Incoming::Signal(Asked::Continue) => {
                        self.resend = true;
                        self.guard.clear()?;
                        None
                    }
                    Incoming::Signal(Asked::End) => self.message(Msg::Terminate)?.map(|_| Leaving::Signal),
                    Incoming::Engine(event) => {
                        note(&event);
                        self.message(Msg::Engine(event))?
                    }
                    Incoming::Terminal(event) => self.terminal(event)?,
                    Incoming::Told(msg) => self.message(msg)?,
                    Incoming::Encoded(done) => match cache.gallery.keep(done) {
                        Some(why) => self.message(Msg::Told(Severity::Error, format!("a picture cannot be sent: {why}")))?,
                        None => None,
                    },
                });
                if leaving.is_some() || Instant::now() > patience {
                    break;
                }
                incoming = self.next(&events, Duration::ZERO);
            }
            if dirty && leaving.is_none() && drawn.elapsed() >= FRAME {
                self.draw(&mut cache)?;
                drawn = Instant::now();
                dirty = false;
            }
        }
        cache.gallery.forget();
        self.guard.send(&cache.gallery.sequences())?;
        Ok(leaving.unwrap_or(Leaving::Person))
    }

    fn next(&self, engine: &Receiver<Event>, wait: Duration) -> Incoming {
        select! {
            recv(self.input.events) -> event => event.map_or(Incoming::InputGone, Incoming::Terminal),
            recv(engine) -> event => event.map_or(Incoming::EngineGone, Incoming::Engine),
            recv(self.signals) -> told => Incoming::Signal(told.unwrap_or(Asked::End)),
            recv(self.encoder.done) -> done => done.map_or(Incoming::Nothing, Incoming::Encoded),
            recv(self.told.1) -> msg => msg.map_or(Incoming::Nothing, Incoming::Told),
            // A terminal that went away without a signal only shows like this: the thread that reads it may never hear.
            default(wait) => if wait.is_zero() || std::io::stdout().is_terminal() { Incoming::Nothing } else { Incoming::InputGone },
        }
    }

    /// Whether the screen changes by itself.
    fn moving(&self) -> bool {
        let m = &self.model;
        m.running()
            || m.busy.is_some()
            || m.psr.pending().is_some()
            || m.psr.waiting()
            || m.notices.shown().is_some()
            || matches!(m.dialogs.last(), Some(super::dialog::Dialog::Log(log)) if log.follows())
            || m.network.waiting()
            || self.cam_waits()
            || super::screen::pixels::blinking(m)
            || super::screen::cam::blinking(m)
    }

    fn cam_waits(&self) -> bool {
        self.model.screen == super::screen::Screen::Cam && self.model.opened.is_some() && super::screen::cam::waiting(self.model)
    }

    fn draw(&mut self, cache: &mut ViewCache) -> anyhow::Result<()> {
        if std::mem::take(&mut self.resend) {
            cache.gallery.forget();
        }
        let model = &*self.model;
        let render = |frame: &mut Frame| {
            view(model, cache, frame);
            cache.gallery.sequences()
        };
        self.guard.draw(render).context("the terminal cannot be written to")?;
        let wanted = cache.gallery.wanted();
        if !wanted.is_empty() {
            self.encoder.jobs.send(wanted).context("the thread for pictures has ended")?;
        }
        Ok(())
    }

    fn terminal(&mut self, event: TermEvent) -> anyhow::Result<Option<Leaving>> {
        let msg = match event {
            TermEvent::Key(key) if key.kind != KeyEventKind::Release => Msg::Key(Key::from_event(key)),
            TermEvent::Paste(text) => Msg::Paste(text),
            TermEvent::Resize(columns, rows) => {
                self.resend = true;
                Msg::Resize(columns, rows)
            }
            TermEvent::Mouse(mouse) => match mouse.kind {
                MouseEventKind::ScrollDown => Msg::Wheel(1),
                MouseEventKind::ScrollUp => Msg::Wheel(-1),
                MouseEventKind::Down(MouseButton::Left) => Msg::Click(mouse.column, mouse.row),
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        self.message(msg)
    }

    fn message(&mut self, msg: Msg) -> anyhow::Result<Option<Leaving>> {
        for effect in update(self.model, msg) {
            if matches!(effect, Effect::Quit) {
                return Ok(Some(Leaving::Person));
            }
            self.effect(effect)?;
        }
        Ok(None)
    }

    fn effect(&mut self, effect: Effect) -> anyhow::Result<()> {
        let Some(effect) = outside::perform(effect, self.themes.as_deref(), &self.told.0)? else { return Ok(()) };
        match effect {
            Effect::Engine(command) => {
                if self.engine.commands.send(command).is_err() {
                    update(self.model, Msg::EngineGone);
                }
            }
            Effect::Stop(control) => control.stop(),
            Effect::Pause(control, paused) => control.set_paused(paused),
            Effect::Copy(text) => self.guard.copy(&text)?,
            Effect::Save(path, frame) => {
                let image = frame.image.view().insert_axis(Axis(0));
                let (severity, text) = match ndarray_npy::write_npy(&path, &image) {
                    Ok(()) => (Severity::Info, format!("wrote {}", path.display())),
                    Err(error) => (Severity::Error, format!("{} cannot be written: {error}", path.display())),
                };
                update(self.model, Msg::Told(severity, text));
            }
            Effect::Suspend => {
                self.resend = true;
                self.input.pause();
                let back = self.guard.suspend();
                self.input.resume();
                back.context("the terminal cannot be taken back")?;
                self.model.size = self.guard.size();
            }
            Effect::Redraw => {
                self.resend = true;
                self.guard.clear()?;
            }
            Effect::Report(format, path, findings) => {
                let tell = self.told.0.clone();
                std::thread::Builder::new().name("report".into()).spawn(move || {
                    drop(tell.send(Msg::Reported(report(format, &path, &findings))));
                })?;
            }
            Effect::Keep(path, kept, trace) => {
                let tell = self.told.0.clone();
                std::thread::Builder::new().name("save".into()).spawn(move || {
                    let answer = match keep::save_new(&path, &kept.0, &trace, &kept.1) {
                        Ok(()) => Msg::Told(Severity::Info, format!("wrote {}", path.display())),
                        Err(error) => Msg::NotKept(error.to_string()),
                    };
                    drop(tell.send(answer));
                })?;
            }
            Effect::Table(stem, rows, metadata) => {
                let tell = self.told.0.clone();
                std::thread::Builder::new().name("export".into()).spawn(move || {
                    let answer = match super::screen::triage::export(&stem, &rows, &metadata) {
                        Ok(text) => Msg::Told(Severity::Info, text),
                        Err(error) => Msg::Told(Severity::Error, error.to_string()),
                    };
                    drop(tell.send(answer));
                })?;
            }
            // Carried out before, or by whoever called.
            Effect::Quit | Effect::List(_) | Effect::Find(..) | Effect::Load(_) | Effect::Themes | Effect::Remember(_) => {}
        }
        Ok(())
    }
}
