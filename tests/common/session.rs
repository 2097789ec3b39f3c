//! A worker as the interface sees it: commands in, events out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use psescope::{
    core::explain::psr::{Mode, Settings},
    engine::{
        Handle,
        command::{AttackRequest, Command, RunId, Target},
        control::Control,
        event::{Ending, Event, Opened},
        sample,
        trace::Trace,
        worker::{self, Options},
    },
    runtime::{EngineChoice, RuntimeOptions},
};

use super::faulty::{Fault, Faulty};

/// Far longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// The ends of a worker, and what it told.
pub struct Session {
    pub handle: Handle,
    log: Vec<String>,
}

impl Session {
    pub fn start() -> Self {
        let runtime = RuntimeOptions { engine: EngineChoice::Embedded, ..RuntimeOptions::default() };
        Self { handle: worker::spawn(Options { runtime, ..Options::default() }), log: Vec::new() }
    }

    /// The bundled sample on an engine that fails.
    pub fn faulty(fault: Fault) -> Self {
        let handle = worker::spawn_on(Options::default(), Faulty::runtime(fault));
        let mut session = Self { handle, log: Vec::new() };
        session.sample();
        session
    }

    pub fn open() -> (Self, Box<Opened>) {
        let mut session = Self::start();
        let opened = session.sample();
        (session, opened)
    }

    fn sample(&mut self) -> Box<Opened> {
        self.send(Command::Open { model: sample::MODEL.into(), image: sample::IMAGE.into() });
        self.until("Opened", |e| if let Event::Opened(o) = e { Some(o) } else { None })
    }

    pub fn send(&self, command: Command) {
        self.handle.commands.send(command).expect("the worker lives");
    }

    /// The first event that `pick` takes; those before it are dropped.
    pub fn until<T>(&mut self, what: &str, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let event = self.handle.events.recv_timeout(left).unwrap_or_else(|e| panic!("no {what} ({e}); before it: {:#?}", self.log));
            let line = format!("{event:?}").chars().take(160).collect();
            if let Some(found) = pick(event) {
                return found;
            }
            self.log.push(line);
        }
    }

    pub fn attack(&self, run: u64, params: &[(&str, &str)], target: Target) -> Control {
        let control = Control::default();
        let params = params.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let request = AttackRequest { attack: "ifgsm".into(), params, target, label: None, seed: 0, within: None };
        self.send(Command::Attack { run: RunId(run), request, control: control.clone() });
        control
    }

    pub fn started(&mut self, wanted: u64) -> Arc<Trace> {
        self.until("Started", |e| match e {
            Event::Started { run, trace, .. } if run == RunId(wanted) => Some(trace),
            _ => None,
        })
    }

    pub fn stepped(&mut self, wanted: u64, at_least: usize) {
        self.until("Step", |e| matches!(e, Event::Step { run, index } if run == RunId(wanted) && index >= at_least).then_some(()));
    }

    pub fn ended(&mut self, wanted: u64) -> Ending {
        self.until("Ended", |e| match e {
            Event::Ended { run, ending, .. } if run == RunId(wanted) => Some(ending),
            _ => None,
        })
    }

    pub fn failed(&mut self) -> String {
        self.until("Failed", |e| if let Event::Failed(why) = e { Some(why) } else { None })
    }

    pub fn map(&self, run: u64, step: usize, cell: usize, mode: Mode) -> Control {
        let control = Control::default();
        let settings = Settings { floor: 0.1, threshold: 1.0, mode };
        self.send(Command::Psr {
            run: RunId(run),
            step,
            cell: [cell, cell],
            settings,
            known: vec![],
            estimate: None,
            control: control.clone(),
        });
        control
    }
}
