//! The real program in a pseudo-terminal, for the tests that type at it.
#![allow(dead_code, missing_docs, reason = "every test file uses a part of it")]

use std::{
    io::{Read as _, Write},
    num::NonZero,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};

/// Far longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(180);

type Keyboard = Arc<Mutex<Box<dyn Write + Send>>>;

/// What a terminal answers to a question: bytes in the program's output, and the reply.
pub type Replies = &'static [(&'static [u8], &'static [u8])];

/// A terminal and the program in it.
pub struct Terminal {
    pub screen: Arc<Mutex<vt100::Parser>>,
    keyboard: Keyboard,
    /// Every byte the program wrote.
    written: Arc<Mutex<Vec<u8>>>,
    frames: Arc<AtomicUsize>,
    /// Nothing once the terminal is gone.
    master: Option<Box<dyn MasterPty + Send>>,
    pub child: Box<dyn Child + Send + Sync>,
    reader: Option<thread::JoinHandle<()>>,
    /// Whether somebody still looks.
    watched: Arc<AtomicBool>,
    pub state: tempfile::TempDir,
}

/// Begins every frame.
const FRAME: &[u8] = b"\x1b[?2026h";

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

fn size(columns: u16, rows: u16) -> PtySize {
    PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }
}

fn some(cells: u16) -> NonZero<u16> {
    NonZero::new(cells).expect("a terminal has cells")
}

impl Terminal {
    pub fn start(columns: u16, rows: u16) -> Self {
        Self::run(CommandBuilder::new(env!("CARGO_BIN_EXE_psescope")), columns, rows)
    }

    pub fn run(command: CommandBuilder, columns: u16, rows: u16) -> Self {
        Self::answering(command, columns, rows, &[])
    }

    pub fn answering(command: CommandBuilder, columns: u16, rows: u16, replies: Replies) -> Self {
        Self::within(tempfile::tempdir().expect("a folder"), command, columns, rows, replies)
    }

    /// With what an earlier program kept in this folder.
    pub fn within(state: tempfile::TempDir, mut command: CommandBuilder, columns: u16, rows: u16, replies: Replies) -> Self {
        let pair = native_pty_system().openpty(size(columns, rows)).expect("a pseudo-terminal");
        for name in ["NO_COLOR", "TMUX", "STY", "ZELLIJ", "ORT_DYLIB_PATH"] {
            command.env_remove(name);
        }
        command.env("PSESCOPE_ENGINE", "embedded");
        command.env("RUST_BACKTRACE", "0");
        command.env("TERM", "xterm-256color");
        command.env("COLORTERM", "truecolor");
        command.env("XDG_STATE_HOME", state.path());
        command.cwd(state.path());
        let child = pair.slave.spawn_command(command).expect("it starts");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(some(rows), some(columns), 0)));
        let keyboard: Keyboard = Arc::new(Mutex::new(pair.master.take_writer().expect("a writer")));
        let (written, frames) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let watched = Arc::new(AtomicBool::new(true));
        let watching = Arc::clone(&watched);
        let mut reader = pair.master.try_clone_reader().expect("a reader");
        let (shared, log, count, answer) = (Arc::clone(&screen), Arc::clone(&written), Arc::clone(&frames), Arc::clone(&keyboard));
        let reader = thread::spawn(move || {
            let mut bytes = [0; 65_536];
            let mut told = vec![false; replies.len()];
            while let (true, Ok(n @ 1..)) = (watching.load(Ordering::SeqCst), reader.read(&mut bytes)) {
                let mut log = log.lock().expect("no panic while held");
                let before = log.len().saturating_sub(64);
                log.extend_from_slice(&bytes[..n]);
                for (i, (question, reply)) in replies.iter().enumerate() {
                    if !told[i] && find(&log[before..], question).is_some() {
                        told[i] = true;
                        let mut keyboard = answer.lock().expect("no panic while held");
                        keyboard.write_all(reply).and_then(|()| keyboard.flush()).expect("it listens");
                    }
                }
                drop(log);
                count.fetch_add(bytes[..n].windows(FRAME.len()).filter(|w| *w == FRAME).count(), Ordering::SeqCst);
                shared.lock().expect("no panic while held").process(&bytes[..n]);
            }
        });
        Self { screen, keyboard, written, frames, master: Some(pair.master), child, reader: Some(reader), watched, state }
    }

    fn master(&self) -> &dyn MasterPty {
        &**self.master.as_ref().expect("the terminal is there")
    }

    pub fn look<T>(&self, at: impl FnOnce(&vt100::Screen) -> T) -> T {
        at(self.screen.lock().expect("no panic while held").screen())
    }

    pub fn text(&self) -> String {
        self.look(vt100::Screen::contents)
    }

    pub fn until(&self, what: &str, is: impl Fn(&str) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is(&self.text()) {
            assert!(Instant::now() < end, "never: {what}; the screen:\n{}", self.text());
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn shows(&self, text: &str) {
        self.until(text, |screen| screen.contains(text));
    }

    pub fn hides(&self, text: &str) {
        self.until(&format!("without {text}"), |screen| !screen.contains(text));
    }

    pub fn types(&mut self, keys: &str) {
        self.reply(keys.as_bytes());
    }

    /// Bytes from the terminal.
    pub fn reply(&self, bytes: &[u8]) {
        let mut keyboard = self.keyboard.lock().expect("no panic while held");
        keyboard.write_all(bytes).and_then(|()| keyboard.flush()).expect("it listens");
    }

    /// Whether the program has written this, from some byte on; the place after it.
    pub fn wrote_since(&self, from: usize, what: &[u8]) -> Option<usize> {
        let written = self.written.lock().expect("no panic while held");
        find(&written[from.min(written.len())..], what).map(|at| from + at + what.len())
    }

    /// Waits until the program has written this; the place after it.
    pub fn writes_since(&self, from: usize, what: &[u8]) -> usize {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.wrote_since(from, what) {
                return at;
            }
            assert!(Instant::now() < end, "never written: {}; the screen:\n{}", String::from_utf8_lossy(what), self.text());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> usize {
        self.written.lock().expect("no panic while held").len()
    }

    /// Frames drawn so far.
    pub fn frames(&self) -> usize {
        self.frames.load(Ordering::SeqCst)
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        self.screen.lock().expect("no panic while held").screen_mut().set_size(some(rows), some(columns));
        self.master().resize(size(columns, rows)).expect("it resizes");
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.process_id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill").args([signal, &pid]).status().expect("kill is there");
        assert!(sent.success());
    }

    /// Ends the terminal as a lost connection does: every descriptor of this side is closed.
    pub fn hang_up(&mut self) {
        self.watched.store(false, Ordering::SeqCst);
        // The key for help, so that something is drawn, and the reader wakes up and leaves.
        self.types("?");
        self.reader.take().expect("it reads").join().expect("it read to the end");
        // What it drew is done; if nothing else happens, the program now writes nothing that could fail.
        thread::sleep(Duration::from_secs(1));
        *self.keyboard.lock().expect("no panic while held") = Box::new(std::io::sink());
        self.master = None;
    }

    /// Waits for the program to end by itself and for its last words.
    pub fn ends(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                // Nobody writes any more: the reader comes to the end by itself.
                if let Some(reader) = self.reader.take() {
                    reader.join().expect("it read to the end");
                }
                return status;
            }
            assert!(Instant::now() < end, "it does not end; the screen:\n{}", self.text());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What leaving must have put back.
    pub fn is_given_back(&self) {
        self.look(|screen| {
            assert!(!screen.alternate_screen(), "still on the alternate screen");
            assert!(!screen.hide_cursor(), "the cursor is hidden");
            assert!(!screen.bracketed_paste(), "paste is still bracketed");
        });
        #[cfg(target_os = "linux")]
        {
            let modes = self.master().get_termios().expect("modes").local_flags;
            assert!(format!("{modes:?}").contains("ECHO"), "keys are not echoed: {modes:?}");
        }
    }

    pub fn opens(&self) {
        self.shows("giant panda");
        self.shows("starts the default attack");
    }

    /// Waits until the running attack has recorded something worth keeping.
    pub fn has_steps(&self) {
        self.until("steps", |screen| (2..1000).any(|n| screen.contains(&format!("step {n} "))));
    }

    /// An attack that goes on for long, and shows that it does.
    pub fn attacks_for_long(&mut self) {
        self.types("a");
        self.shows("random-start");
        // The field after eps and alpha: emptied and filled.
        self.types("\x1b[B\x1b[B\x15\x31\x30\x30\x30\r");
        self.shows("of 1000");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
