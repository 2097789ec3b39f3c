//! Pausing and cancelling, shared between the person's thread and the worker's.

use std::sync::{
    Arc, Condvar, Mutex,
    atomic::{AtomicBool, Ordering},
};

use crate::core::error::{Error, Result};

/// Shared switch: paused, stopped. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Control {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    stopped: AtomicBool,
    paused: Mutex<bool>,
    changed: Condvar,
}

impl Control {
    /// Asks the job to end at its next step. A paused job wakes up to do so.
    pub fn stop(&self) {
        self.inner.stopped.store(true, Ordering::SeqCst);
        self.set_paused(false);
    }

    /// Whether [`Control::stop`] was called.
    pub fn stopped(&self) -> bool {
        self.inner.stopped.load(Ordering::SeqCst)
    }

    /// Pauses or resumes the job at its next step.
    pub fn set_paused(&self, paused: bool) {
        *self.inner.paused.lock().unwrap_or_else(|e| e.into_inner()) = paused;
        self.inner.changed.notify_all();
    }

    /// Whether the job is (or will be, at its next step) paused.
    pub fn paused(&self) -> bool {
        *self.inner.paused.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Called by the job at every step: blocks while paused, fails once stopped.
    pub fn checkpoint(&self) -> Result<()> {
        let mut paused = self.inner.paused.lock().unwrap_or_else(|e| e.into_inner());
        while *paused && !self.stopped() {
            paused = self.inner.changed.wait(paused).unwrap_or_else(|e| e.into_inner());
        }
        if self.stopped() { Err(Error::Stopped) } else { Ok(()) }
    }
}
