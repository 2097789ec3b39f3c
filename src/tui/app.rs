//! The loop: gathers messages, updates the model, carries out effects, draws at most every 33 ms.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use crossbeam_channel::{Receiver, never, select, unbounded};
use crossterm::event::{Event as TermEvent, KeyEventKind, MouseButton, MouseEventKind};
use ndarray::Axis;

use super::{
    effect::Effect,
    input::Input,
    keymap::{Key, Keymap},
    model::{Attacks, Model},
    msg::Msg,
    notice::Severity,
    terminal::Guard,
    theme::{Depth, Theme},
    update::update,
    view::{ViewCache, view},
};
use crate::{
    core::attack,
    engine::{
        Handle,
        command::{AttackRequest, Command, Target},
        event::Event,
    },
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
    /// Theme; one of [`super::theme::builtin::NAMES`].
    pub theme: String,
    /// Rebound keys: name of the action, keys.
    pub keys: Vec<(String, String)>,
    /// Listen to the mouse; takes text selection away from the terminal.
    pub mouse: bool,
    /// The first attack's settings.
    pub attack: AttackRequest,
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
            theme: "terminal".into(),
            keys: Vec::new(),
            mouse: false,
            attack: default_attack(),
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
    AttackRequest { attack: "ifgsm".into(), params: vec![("eps".into(), "8/255".into())], target: Target::Untargeted, label: None, seed: 0 }
}

/// Least time between frames.
const FRAME: Duration = Duration::from_millis(33);
/// How often the clock is told while something moves, and while nothing does.
const TICKS: (Duration, Duration) = (Duration::from_millis(60), Duration::from_millis(1000));

/// Runs the interface until the person leaves. The worker is told to end, not waited for.
pub fn run(engine: Handle, options: Options) -> anyhow::Result<()> {
    run_with(engine, options, Attacks(attack::REGISTRY))
}

/// [`run`] with another list of attacks.
pub fn run_with(engine: Handle, options: Options, attacks: Attacks) -> anyhow::Result<()> {
    let depth = Depth::detect(options.color, options.configured_color, |name| std::env::var(name).ok());
    let theme = Theme::new(&options.theme, depth, options.ascii).map_err(|e| anyhow!(e))?;
    let keymap = Keymap::new(&options.keys).map_err(|e| anyhow!(e))?;
    // The depth is decided here; crossterm must not decide again.
    crossterm::style::force_color_output(depth != Depth::None);
    let mut model = Model::new(options.model.clone(), options.image.clone(), theme, keymap, attacks, options.attack);
    engine.commands.send(Command::Open { model: options.model, image: options.image }).context("the worker has ended; start again")?;
    let signals = signals()?;
    let mut guard = Guard::enter(options.mouse)?;
    model.size = guard.size();
    let input = Input::start()?;
    let outcome =
        App { model: &mut model, guard: &mut guard, input, engine: &engine, signals, begun: Instant::now(), leaving: false }.main();
    drop(guard);
    if let Some(run) = &model.run {
        run.control.stop();
    }
    let _ = engine.commands.send(Command::Shutdown);
    if let Some(hook) = options.on_exit {
        hook(&model);
    }
    outcome
}

#[cfg(unix)]
fn signals() -> anyhow::Result<Receiver<i32>> {
    use signal_hook::{
        consts::{SIGHUP, SIGTERM},
        iterator::Signals,
    };
    let (sender, receiver) = unbounded();
    let mut signals = Signals::new([SIGTERM, SIGHUP]).context("signals cannot be watched")?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in &mut signals {
            if sender.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

#[cfg(not(unix))]
fn signals() -> anyhow::Result<Receiver<i32>> {
    Ok(never())
}

struct App<'a> {
    model: &'a mut Model,
    guard: &'a mut Guard,
    input: Input,
    engine: &'a Handle,
    signals: Receiver<i32>,
    begun: Instant,
    leaving: bool,
}

enum Incoming {
    Terminal(TermEvent),
    Engine(Event),
    EngineGone,
    InputGone,
    Signal,
    Nothing,
}

impl App<'_> {
    fn main(mut self) -> anyhow::Result<()> {
        let mut cache = ViewCache::default();
        let mut events = self.engine.events.clone();
        let mut drawn = Instant::now();
        self.draw(&mut cache)?;
        let mut dirty = false;
        while !self.leaving {
            let tick = if self.moving() { TICKS.0 } else { TICKS.1 };
            let wait = if dirty { FRAME.saturating_sub(drawn.elapsed()) } else { tick };
            let mut incoming = next(&self.input.events, &events, &self.signals, wait);
            self.message(Msg::Tick(self.begun.elapsed()))?;
            dirty |= self.moving() || !matches!(incoming, Incoming::Nothing);
            // Everything queued is taken in before a frame is drawn, but never for longer than a frame.
            let patience = Instant::now() + FRAME;
            loop {
                match incoming {
                    Incoming::Nothing => break,
                    Incoming::EngineGone => {
                        events = never();
                        self.message(Msg::EngineGone)?;
                    }
                    Incoming::InputGone | Incoming::Signal => self.message(Msg::Terminate)?,
                    Incoming::Engine(event) => self.message(Msg::Engine(event))?,
                    Incoming::Terminal(event) => self.terminal(event)?,
                }
                if self.leaving || Instant::now() > patience {
                    break;
                }
                incoming = next(&self.input.events, &events, &self.signals, Duration::ZERO);
            }
            if dirty && !self.leaving && drawn.elapsed() >= FRAME {
                self.draw(&mut cache)?;
                drawn = Instant::now();
                dirty = false;
            }
        }
        Ok(())
    }

    /// Whether the screen changes by itself.
    fn moving(&self) -> bool {
        let m = &self.model;
        m.running() || m.busy.is_some() || m.psr.pending().is_some() || m.psr.waiting() || m.notices.shown().is_some() || self.cam_waits()
    }

    fn cam_waits(&self) -> bool {
        self.model.screen == super::screen::Screen::Cam && self.model.opened.is_some() && super::screen::cam::waiting(self.model)
    }

    fn draw(&mut self, cache: &mut ViewCache) -> anyhow::Result<()> {
        let model = &*self.model;
        self.guard.draw(|frame| view(model, cache, frame)).context("the terminal cannot be written to")
    }

    fn terminal(&mut self, event: TermEvent) -> anyhow::Result<()> {
        let msg = match event {
            TermEvent::Key(key) if key.kind != KeyEventKind::Release => Msg::Key(Key::from_event(key)),
            TermEvent::Paste(text) => Msg::Paste(text),
            TermEvent::Resize(columns, rows) => Msg::Resize(columns, rows),
            TermEvent::Mouse(mouse) => match mouse.kind {
                MouseEventKind::ScrollDown => Msg::Wheel(1),
                MouseEventKind::ScrollUp => Msg::Wheel(-1),
                MouseEventKind::Down(MouseButton::Left) => Msg::Click(mouse.column, mouse.row),
                _ => return Ok(()),
            },
            _ => return Ok(()),
        };
        self.message(msg)
    }

    fn message(&mut self, msg: Msg) -> anyhow::Result<()> {
        for effect in update(self.model, msg) {
            self.effect(effect)?;
        }
        Ok(())
    }

    fn effect(&mut self, effect: Effect) -> anyhow::Result<()> {
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
                self.input.pause();
                let back = self.guard.suspend();
                self.input.resume();
                back.context("the terminal cannot be taken back")?;
                self.model.size = self.guard.size();
            }
            Effect::Redraw => self.guard.clear()?,
            Effect::Quit => self.leaving = true,
        }
        Ok(())
    }
}

fn next(input: &Receiver<TermEvent>, engine: &Receiver<Event>, signals: &Receiver<i32>, wait: Duration) -> Incoming {
    select! {
        recv(input) -> event => event.map_or(Incoming::InputGone, Incoming::Terminal),
        recv(engine) -> event => event.map_or(Incoming::EngineGone, Incoming::Engine),
        recv(signals) -> _ => Incoming::Signal,
        default(wait) => Incoming::Nothing,
    }
}
