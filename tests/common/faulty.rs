//! An engine that fails on purpose: in the middle of a run, for good, by panicking, or for want of memory.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use ndarray::ArrayD;
use psescope::{
    core::error::{Error, Result},
    runtime::{
        EngineChoice, Runtime, RuntimeOptions,
        backend::{Advanced, Array, Backend, Executor, Feed, Interrupt, Resident, Shapes},
    },
};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This run of any graph fails, and the session with it; a new session works.
    Run(usize),
    /// The same, counting gradient runs only.
    Once(usize),
    /// This gradient run and every later one fail.
    ForGood(usize),
    /// This gradient run panics.
    Panic(usize),
    /// More images than this at once do not fit.
    Memory(usize),
    /// From this run of a loop on the device (from 1) so many have no memory.
    Short { at: usize, times: usize },
    /// No memory in this run of a loop, and in every run from the second one on.
    Twice(usize, usize),
    /// This run of a loop and every later one fail; what is on the device can be read.
    Broken(usize),
    /// The same, and nothing can be read any more.
    Lost(usize),
}

impl Fault {
    /// Whether it happens while images stay on the device.
    fn on_device(self) -> bool {
        matches!(self, Self::Short { .. } | Self::Twice(..) | Self::Broken(_) | Self::Lost(_))
    }
}

/// The embedded engine with a fault.
pub struct Faulty {
    inner: Arc<dyn Backend>,
    fault: Fault,
    runs: Arc<AtomicUsize>,
    gradients: Arc<AtomicUsize>,
    /// Runs of loops on the device.
    pub loops: Arc<AtomicUsize>,
    /// Sessions opened.
    pub loads: AtomicUsize,
}

impl Faulty {
    /// This engine with a fault.
    pub fn new(inner: Arc<dyn Backend>, fault: Fault) -> Self {
        Self { inner, fault, runs: Arc::default(), gradients: Arc::default(), loops: Arc::default(), loads: AtomicUsize::new(0) }
    }

    /// A runtime on the faulty engine.
    pub fn runtime(fault: Fault) -> Runtime {
        let options = RuntimeOptions { engine: EngineChoice::Embedded, threads: 1, ..RuntimeOptions::default() };
        let inner = Runtime::open(&options).expect("the embedded engine opens").backend();
        Runtime::on(Arc::new(Self::new(inner, fault)))
    }
}

impl Faulty {
    fn wrap(&self, inner: Box<dyn Executor>) -> Box<dyn Executor> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let (runs, gradients, loops) = (Arc::clone(&self.runs), Arc::clone(&self.gradients), Arc::clone(&self.loops));
        Box::new(Session { inner, fault: self.fault, runs, gradients, loops, dead: false })
    }
}

impl Backend for Faulty {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn load(&self, model: &[u8]) -> Result<Box<dyn Executor>> {
        Ok(self.wrap(self.inner.load(model)?))
    }

    fn load_for(&self, model: &[u8], shapes: &Shapes) -> Result<Box<dyn Executor>> {
        Ok(self.wrap(self.inner.load_for(model, shapes)?))
    }

    fn prefers_resident(&self) -> bool {
        self.fault.on_device()
    }

    fn preferred_batch(&self) -> usize {
        8
    }
}

struct Session {
    inner: Box<dyn Executor>,
    fault: Fault,
    runs: Arc<AtomicUsize>,
    gradients: Arc<AtomicUsize>,
    loops: Arc<AtomicUsize>,
    /// A session that failed never works again.
    dead: bool,
}

fn short() -> Error {
    Error::Engine("CUDA failure 2: out of memory".into())
}

fn broken() -> Error {
    Error::Engine("CUDA failure 700: an illegal memory access was encountered".into())
}

impl Executor for Session {
    fn run(&mut self, inputs: &[(&str, Array)], outputs: &[&str]) -> Result<Vec<ArrayD<f32>>> {
        let images = inputs.iter().find_map(|(_, a)| if let Array::F32(a) = a { a.shape().first().copied() } else { None });
        // Logits alone are a forward run; an attack asks for the loss and the gradient too.
        let count = if outputs.len() > 2 { self.gradients.fetch_add(1, Ordering::SeqCst) + 1 } else { 0 };
        match self.fault {
            Fault::Run(at) => self.dead |= self.runs.fetch_add(1, Ordering::SeqCst) + 1 == at,
            Fault::Once(at) => self.dead |= count == at,
            Fault::ForGood(at) => self.dead |= count >= at,
            Fault::Panic(at) => assert!(count != at, "the engine broke on purpose"),
            Fault::Memory(most) if images.is_some_and(|n| n > most) => return Err(short()),
            Fault::Memory(_) | Fault::Short { .. } | Fault::Twice(..) | Fault::Broken(_) | Fault::Lost(_) => {}
        }
        if self.dead {
            return Err(broken());
        }
        self.inner.run(inputs, outputs)
    }

    fn hold(&mut self, array: Array) -> Result<Resident> {
        self.inner.hold(array)
    }

    /// Fails after the run: whatever that wrote must not have harmed what is held.
    fn advance(&mut self, inputs: &[(&str, Feed)], keep: &[&str], read: &[&str]) -> Result<Advanced> {
        let run = self.loops.fetch_add(1, Ordering::SeqCst) + 1;
        let done = self.inner.advance(inputs, keep, read)?;
        let rows = done.1.iter().filter_map(|a| a.shape().first().copied()).max();
        match self.fault {
            Fault::Short { at, times } if (at..at.saturating_add(times)).contains(&run) => Err(short()),
            Fault::Twice(at, again) if run == at || run >= again => Err(short()),
            Fault::Broken(at) | Fault::Lost(at) if run >= at => Err(broken()),
            Fault::Memory(most) if rows.is_some_and(|n| n > most) => Err(short()),
            _ => Ok(done),
        }
    }

    fn relax(&mut self) {
        self.inner.relax();
    }

    fn fetch(&mut self, resident: &Resident) -> Result<ArrayD<f32>> {
        match self.fault {
            Fault::Lost(at) if self.loops.load(Ordering::SeqCst) >= at => Err(broken()),
            _ => self.inner.fetch(resident),
        }
    }

    fn interrupt(&self) -> Arc<dyn Interrupt> {
        self.inner.interrupt()
    }

    fn provider(&self) -> String {
        self.inner.provider()
    }
}
