//! The thread that reads the terminal. It can be paused, so that nobody else's keys are eaten while the program is in
//! the background.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, unbounded};
use crossterm::event::{self, Event, KeyCode, KeyModifiers};

/// The reading thread, seen from outside.
#[derive(Debug)]
pub struct Input {
    /// What was read.
    pub events: Receiver<Event>,
    wanted: Arc<AtomicBool>,
    stopped: Arc<AtomicBool>,
}

const POLL: Duration = Duration::from_millis(50);

impl Input {
    /// Starts reading. What was `typed` before comes first; what a terminal says too late does not come at all.
    pub fn start(typed: Vec<Event>, late: Late) -> io::Result<Self> {
        let (sender, events) = unbounded();
        for event in typed {
            drop(sender.send(event));
        }
        let (wanted, stopped) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let (want, stop) = (Arc::clone(&wanted), Arc::clone(&stopped));
        thread::Builder::new().name("input".into()).spawn(move || read(&sender, late, &want, &stop))?;
        Ok(Self { events, wanted, stopped })
    }

    /// Stops reading; returns once the thread has really stopped.
    pub fn pause(&self) {
        self.wanted.store(false, Ordering::SeqCst);
        let patience = Instant::now() + POLL * 10;
        while !self.stopped.load(Ordering::SeqCst) && Instant::now() < patience {
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Reads again.
    pub fn resume(&self) {
        self.wanted.store(true, Ordering::SeqCst);
    }
}

fn read(sender: &Sender<Event>, mut late: Late, wanted: &AtomicBool, stopped: &AtomicBool) {
    loop {
        if !wanted.load(Ordering::SeqCst) {
            stopped.store(true, Ordering::SeqCst);
            thread::sleep(POLL / 5);
            continue;
        }
        stopped.store(false, Ordering::SeqCst);
        match event::poll(POLL) {
            Ok(false) => {}
            Ok(true) => {
                let Ok(event) = event::read() else { return };
                for event in late.pass(event) {
                    if sender.send(event).is_err() {
                        return;
                    }
                }
            }
            Err(_) => return,
        }
    }
}

/// Takes out of the keys what a terminal says after it was no longer listened to: the answer to a question about its graphics, which
/// reads as Alt-_, `G`, some letters, Alt-\.
#[derive(Debug, Default)]
pub struct Late {
    until: Option<Instant>,
    held: Option<Event>,
    inside: usize,
}

/// An answer is shorter than this.
const LONGEST: usize = 64;

impl Late {
    /// Listens for late answers for so long.
    pub fn expect(patience: Duration) -> Self {
        Self { until: Some(Instant::now() + patience), ..Self::default() }
    }

    /// What is left of an event.
    pub fn pass(&mut self, event: Event) -> Vec<Event> {
        if self.until.is_none_or(|end| Instant::now() > end) && self.inside == 0 && self.held.is_none() {
            return vec![event];
        }
        let alt = |c: char| matches!(&event, Event::Key(k) if k.modifiers.contains(KeyModifiers::ALT) && k.code == KeyCode::Char(c));
        if self.inside > 0 {
            self.inside = if alt('\\') || self.inside > LONGEST { 0 } else { self.inside + 1 };
            return Vec::new();
        }
        match self.held.take() {
            Some(_) if matches!(&event, Event::Key(k) if k.code == KeyCode::Char('G')) => {
                self.inside = 1;
                Vec::new()
            }
            Some(held) => vec![held, event],
            None if alt('_') => {
                self.held = Some(event);
                Vec::new()
            }
            None => vec![event],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::graphics::typed;

    fn passed(late: &mut Late, bytes: &[u8]) -> Vec<Event> {
        typed::events(bytes).into_iter().flat_map(|e| late.pass(e)).collect()
    }

    #[test]
    fn late_answers_are_no_keys() {
        // As crossterm reads it: the bytes between are single keys.
        let answer: Vec<Event> = [&b"\x1b_"[..], b"Gi=31;OK", b"\x1b\\"].into_iter().flat_map(typed::events).collect();
        let mut late = Late::expect(Duration::from_secs(60));
        let mut left = passed(&mut late, b"q");
        left.extend(answer.iter().cloned().flat_map(|e| late.pass(e)));
        left.extend(passed(&mut late, b"w"));
        assert_eq!(left, typed::events(b"qw"));
        assert_eq!(passed(&mut late, b"\x1b_a"), typed::events(b"\x1b_a"), "another Alt-_ goes through");
        let mut not = Late::default();
        assert_eq!(answer.iter().cloned().flat_map(|e| not.pass(e)).count(), answer.len());
    }
}
