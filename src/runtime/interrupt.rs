//! One handle that stops whatever a network is running, however many sessions it has loaded.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, Weak,
    atomic::{AtomicBool, Ordering},
};

use super::backend::Interrupt;

/// Forwards to the interrupts of every live session. Sessions added while stopped are stopped at once.
#[derive(Default)]
pub struct Group {
    stopped: AtomicBool,
    members: Mutex<Vec<Weak<dyn Interrupt>>>,
}

impl Group {
    /// Adds a session's handle. Kept weakly: a dropped session leaves by itself.
    pub fn add(&self, member: &Arc<dyn Interrupt>) {
        let mut members = self.lock();
        members.retain(|m| m.strong_count() > 0);
        members.push(Arc::downgrade(member));
        if self.is_stopped() {
            member.stop();
        }
    }

    /// Whether runs are to end.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<dyn Interrupt>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interrupt for Group {
    fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.lock().iter().filter_map(Weak::upgrade).for_each(|m| m.stop());
    }

    fn reset(&self) {
        self.stopped.store(false, Ordering::SeqCst);
        self.lock().iter().filter_map(Weak::upgrade).for_each(|m| m.reset());
    }
}

/// A flag that is looked at between pieces of work.
#[derive(Default)]
pub struct Flag(AtomicBool);

impl Flag {
    /// Whether work is to end.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Interrupt for Flag {
    fn stop(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn reset(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_group_stops_those_who_join_later() {
        let group = Group::default();
        let (first, second) = (Arc::new(Flag::default()), Arc::new(Flag::default()));
        let as_dyn = |f: &Arc<Flag>| -> Arc<dyn Interrupt> { f.clone() };
        group.add(&as_dyn(&first));
        group.stop();
        group.add(&as_dyn(&second));
        assert!(first.is_set() && second.is_set());
        group.reset();
        assert!(!first.is_set() && !second.is_set() && !group.is_stopped());
    }
}
