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
        backend::{Array, Backend, Executor, Interrupt},
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
}

/// The embedded engine with a fault.
pub struct Faulty {
    inner: Arc<dyn Backend>,
    fault: Fault,
    runs: Arc<AtomicUsize>,
    gradients: Arc<AtomicUsize>,
    /// Sessions opened.
    pub loads: AtomicUsize,
}

impl Faulty {
    /// This engine with a fault.
    pub fn new(inner: Arc<dyn Backend>, fault: Fault) -> Self {
        Self { inner, fault, runs: Arc::default(), gradients: Arc::default(), loads: AtomicUsize::new(0) }
    }

    /// A runtime on the faulty engine.
    pub fn runtime(fault: Fault) -> Runtime {
        let options = RuntimeOptions { engine: EngineChoice::Embedded, threads: 1, ..RuntimeOptions::default() };
        let inner = Runtime::open(&options).expect("the embedded engine opens").backend();
        Runtime::on(Arc::new(Self::new(inner, fault)))
    }
}

impl Backend for Faulty {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn load(&self, model: &[u8]) -> Result<Box<dyn Executor>> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let (runs, gradients) = (Arc::clone(&self.runs), Arc::clone(&self.gradients));
        Ok(Box::new(Session { inner: self.inner.load(model)?, fault: self.fault, runs, gradients, dead: false }))
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
    /// A session that failed never works again.
    dead: bool,
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
            Fault::Memory(most) if images.is_some_and(|n| n > most) => {
                return Err(Error::Engine("CUDA failure 2: out of memory".into()));
            }
            Fault::Memory(_) => {}
        }
        if self.dead {
            return Err(Error::Engine("CUDA failure 700: an illegal memory access was encountered".into()));
        }
        self.inner.run(inputs, outputs)
    }

    fn interrupt(&self) -> Arc<dyn Interrupt> {
        self.inner.interrupt()
    }

    fn provider(&self) -> String {
        self.inner.provider()
    }
}
