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
use crossterm::event::{self, Event};

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
    /// Starts reading.
    pub fn start() -> io::Result<Self> {
        let (sender, events) = unbounded();
        let (wanted, stopped) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let (want, stop) = (Arc::clone(&wanted), Arc::clone(&stopped));
        thread::Builder::new().name("input".into()).spawn(move || read(&sender, &want, &stop))?;
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

fn read(sender: &Sender<Event>, wanted: &AtomicBool, stopped: &AtomicBool) {
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
                if sender.send(event).is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}
