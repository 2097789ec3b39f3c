//! The inspector without a terminal, on a real worker: keys in, frames out. Used by the gallery and the frame benchmark.
#![allow(dead_code, reason = "each of them uses a part")]

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use psescope::{
    core::attack::REGISTRY,
    engine::{Handle, command::Command, worker},
    runtime::{EngineChoice, RuntimeOptions},
    tui::{
        default_attack,
        effect::Effect,
        keymap::{Key, Keymap},
        model::{Attacks, Model},
        msg::Msg,
        theme::{Depth, Theme},
        update,
        view::{ViewCache, render},
    },
};
use ratatui::{buffer::Buffer, layout::Rect};

/// An open inspector.
pub struct Inspector {
    /// Its state.
    pub model: Model,
    engine: Handle,
    begun: Instant,
}

impl Inspector {
    /// Opens a model and an image on the embedded engine; `folder` goes to the triage screen.
    pub fn open(theme: &str, depth: Depth, size: (u16, u16), model: &str, image: &str, folder: Option<PathBuf>) -> Self {
        let runtime = RuntimeOptions { engine: EngineChoice::Embedded, ..RuntimeOptions::default() };
        let engine = worker::spawn(worker::Options { runtime, ..worker::Options::default() });
        let theme = Theme::new(theme, depth, false).expect("a built-in theme");
        let keymap = Keymap::new(&[]).expect("the default keys");
        let mut model = Model::new(model.into(), image.into(), theme, keymap, Attacks(REGISTRY), default_attack());
        model.size = size;
        model.triage.folder = folder;
        let open = Command::Open { model: model.model_path.clone(), image: model.image_path.clone() };
        engine.commands.send(open).expect("the worker listens");
        let mut inspector = Self { model, engine, begun: Instant::now() };
        inspector.settle();
        inspector
    }

    fn send(&mut self, msg: Msg) {
        for effect in update(&mut self.model, msg) {
            match effect {
                Effect::Engine(command) => self.engine.commands.send(command).expect("the worker listens"),
                Effect::Stop(control) => control.stop(),
                Effect::Pause(control, paused) => control.set_paused(paused),
                _ => {}
            }
        }
    }

    /// Types keys, written as in the key table.
    pub fn keys(&mut self, keys: &str) -> &mut Self {
        for key in Key::parse_all(keys).expect("keys") {
            self.send(Msg::Key(key));
        }
        self
    }

    /// Waits until the worker has had nothing to say for a while and nothing is asked of it.
    pub fn settle(&mut self) -> &mut Self {
        let mut quiet = Instant::now();
        while quiet.elapsed() < Duration::from_millis(1500) || self.busy() {
            self.send(Msg::Tick(self.begun.elapsed()));
            if let Ok(event) = self.engine.events.recv_timeout(Duration::from_millis(40)) {
                self.send(Msg::Engine(event));
                quiet = Instant::now();
            }
            assert!(quiet.elapsed() < Duration::from_secs(300), "the worker does not come to an end");
        }
        self.model.notices = Default::default();
        self
    }

    /// Waits until something is so.
    pub fn until(&mut self, is: impl Fn(&Model) -> bool) -> &mut Self {
        let begun = Instant::now();
        while !is(&self.model) {
            self.send(Msg::Tick(self.begun.elapsed()));
            if let Ok(event) = self.engine.events.recv_timeout(Duration::from_millis(40)) {
                self.send(Msg::Engine(event));
            }
            assert!(begun.elapsed() < Duration::from_secs(600), "the worker does not come to an end");
        }
        self
    }

    fn busy(&self) -> bool {
        self.model.running() || self.model.busy.is_some() || self.model.psr.pending().is_some() || self.model.network.waiting()
    }

    /// A frame.
    pub fn frame(&self, cache: &mut ViewCache, size: (u16, u16)) -> Buffer {
        let mut model = self.model.clone();
        model.size = size;
        let area = Rect::new(0, 0, size.0, size.1);
        let mut buffer = Buffer::empty(area);
        render(&model, cache, area, &mut buffer);
        buffer
    }
}
