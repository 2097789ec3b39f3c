//! The engine that is always there: `tract`, pure Rust, on the processor.
//!
//! Plans are built for one image at a time: a symbolic batch would run several times slower. A batch is split into its
//! samples, which run side by side. Which inputs and outputs are split follows from the graph's declarations: those whose
//! first dimension is a parameter. The rest (a scalar) is given whole to every sample.
//!
//! tract reports some unsupported graphs by panicking; every call into it is guarded and ends in a sentence.

mod plan;
mod signature;

use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuilder};

use self::{plan::Plans, signature::Signature};
use super::{
    backend::{Backend, Executor},
    quiet::one_line,
};
use crate::core::error::{Error, Result};

/// The embedded engine.
pub struct Embedded {
    pool: Arc<ThreadPool>,
    resident: bool,
}

impl Embedded {
    /// An engine that runs up to `threads` samples side by side.
    pub fn new(threads: usize) -> Result<Self> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("embedded-{i}")).build();
        let pool =
            pool.map_err(|e| Error::Engine(format!("the embedded engine cannot start its threads ({e}); use fewer with --threads")))?;
        Ok(Self { pool: Arc::new(pool), resident: false })
    }
}

impl Embedded {
    /// Leaves attacks' updates to the graph.
    pub fn with_resident(self, resident: bool) -> Self {
        Self { resident, ..self }
    }
}

impl Backend for Embedded {
    fn describe(&self) -> String {
        "embedded (tract 0.23)".into()
    }

    fn load(&self, model: &[u8]) -> Result<Box<dyn Executor>> {
        let signature = Signature::read(model)?;
        Ok(Box::new(Plans::new(model, signature, self.pool.clone())?))
    }

    fn prefers_resident(&self) -> bool {
        self.resident
    }

    fn preferred_batch(&self) -> usize {
        self.pool.current_num_threads().clamp(1, 16)
    }
}

/// The engine's complaint with a way out.
fn failed(what: &str, why: &str) -> Error {
    Error::Engine(format!("the embedded engine cannot {what}: {}; ONNX Runtime may (psescope runtime install)", one_line(why)))
}
