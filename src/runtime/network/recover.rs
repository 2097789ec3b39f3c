//! Going on after the engine failed: fewer images at once when the device is out of memory, else a new session, once.

use std::sync::Arc;

use super::Network;
use crate::core::{
    error::{Error, Result},
    graph::{Instrumentation, TapKind},
};

/// Hears what was done, one sentence at a time.
pub type Listener = Arc<dyn Fn(String) + Send + Sync>;

/// How engines and their providers say that memory is short, in lower case.
const MEMORY: &[&str] =
    &["out of memory", "out_of_memory", "outofmemory", "failed to allocate memory", "bad_alloc", "bad allocation", "memoryallocation"];

pub(super) fn is_memory(why: &str) -> bool {
    let lower = why.to_ascii_lowercase();
    MEMORY.iter().any(|m| lower.contains(m))
}

/// What is said when a batch is halved.
pub(super) fn halved(images: usize, less: usize) -> String {
    let these = if less == 1 { "they are run one by one".to_owned() } else { format!("{less} are run together") };
    format!("the device ran out of memory with {images} images at once; from now on {these}")
}

impl Network {
    /// Says what is done about failures to this listener instead of the log.
    pub fn with_listener(mut self, listener: Listener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Makes another attempt possible, or gives the failure back. `images` is what failed, `reopened` whether the session is new.
    pub(super) fn recover(&mut self, spec: &Instrumentation, images: usize, why: String, reopened: &mut bool) -> Result<()> {
        // Statistics against the first image of a batch need the batch as a whole.
        let divisible = spec.taps.iter().all(|(_, kind)| *kind != TapKind::UnitShift);
        if is_memory(&why) {
            if images < 2 || !divisible {
                return Err(Error::Engine(format!("{why}; the device's memory does not suffice, so run on another with --device")));
            }
            let less = images.div_ceil(2);
            self.limit = Some(less);
            self.say(halved(images, less));
            return Ok(());
        }
        // What never worked will not work the second time.
        let failed = self.loaded.iter().position(|l| l.spec == *spec && l.worked).filter(|_| !*reopened);
        let Some(at) = failed else { return Err(Error::Engine(why)) };
        self.loaded.remove(at);
        *reopened = true;
        self.say(format!("the engine failed ({why}); its session was opened again"));
        Ok(())
    }

    pub(super) fn say(&self, text: String) {
        match &self.listener {
            Some(listener) => listener(text),
            None => tracing::warn!("{text}"),
        }
    }
}
