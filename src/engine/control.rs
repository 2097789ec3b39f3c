//! Pausing and cancelling, shared between the person's thread and the worker's.

use std::sync::{
    Arc, Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    core::error::{Error, Result},
    runtime::backend::Interrupt,
};

/// Shared switch: paused, stopped. Cloning shares it.
#[derive(Clone, Default)]
pub struct Control {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    stopped: AtomicBool,
    paused: Mutex<bool>,
    changed: Condvar,
    engine: Mutex<Option<Arc<dyn Interrupt>>>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("stopped", &self.stopped()).field("paused", &self.paused()).finish()
    }
}

/// While this lives, stopping the control also ends the engine call in progress. Dropping it makes the engine usable again.
pub struct Bound {
    control: Control,
    engine: Arc<dyn Interrupt>,
}

impl Drop for Bound {
    fn drop(&mut self) {
        // First out of reach of `stop`, then reset: no late stop can hit the next job.
        *self.control.engine() = None;
        self.engine.reset();
    }
}

impl Control {
    /// Asks the job to end at its next step, or within its engine call when it is bound to one. A paused job wakes up to do so.
    pub fn stop(&self) {
        self.inner.stopped.store(true, Ordering::SeqCst);
        if let Some(engine) = self.engine().as_ref() {
            engine.stop();
        }
        self.set_paused(false);
    }

    /// Lets [`Control::stop`] reach into this engine's calls for as long as the result lives.
    pub fn bind(&self, engine: Arc<dyn Interrupt>) -> Bound {
        let mut slot = self.engine();
        if self.stopped() {
            engine.stop();
        }
        *slot = Some(Arc::clone(&engine));
        drop(slot);
        Bound { control: self.clone(), engine }
    }

    fn engine(&self) -> MutexGuard<'_, Option<Arc<dyn Interrupt>>> {
        self.inner.engine.lock().unwrap_or_else(|e| e.into_inner())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::interrupt::Flag;

    fn flag() -> (Arc<Flag>, Arc<dyn Interrupt>) {
        let flag = Arc::new(Flag::default());
        (Arc::clone(&flag), flag)
    }

    #[test]
    fn stopping_reaches_the_engine_only_while_bound() {
        let (flag, engine) = flag();
        let control = Control::default();
        let bound = control.bind(Arc::clone(&engine));
        assert!(!flag.is_set());
        control.stop();
        assert!(flag.is_set(), "the call in progress ends");
        drop(bound);
        assert!(!flag.is_set(), "the next job can run");
        control.stop();
        assert!(!flag.is_set(), "a late stop hits nobody");
        let _bound = control.bind(engine);
        assert!(flag.is_set(), "a job that was stopped before it began does not run");
    }

    #[test]
    fn a_paused_job_wakes_up_to_stop() {
        let control = Control::default();
        control.set_paused(true);
        let job = std::thread::spawn({
            let control = control.clone();
            move || control.checkpoint()
        });
        control.stop();
        assert!(matches!(job.join().expect("no panic"), Err(Error::Stopped)));
        assert!(!control.paused());
    }
}
