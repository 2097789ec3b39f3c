//! The real program in a real pseudo-terminal, on the embedded engine: what the screen shows, and how the terminal is left.
#![cfg(unix)]

mod common;

use std::{
    fs,
    io::{Read as _, Write as _},
    num::NonZero,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};
use psescope::{
    core::{
        attack::{About, Attack, Outcome, Params, Problem, Recorder},
        error::Result,
        oracle::Oracle,
    },
    engine::{sample, worker},
    runtime::{EngineChoice, RuntimeOptions},
    tui::{self, model::Attacks},
};

use common::faulty::{Fault, Faulty};

/// Far longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

struct Terminal {
    screen: Arc<Mutex<vt100::Parser>>,
    keyboard: Box<dyn std::io::Write + Send>,
    /// Nothing once the terminal is gone.
    master: Option<Box<dyn MasterPty + Send>>,
    child: Box<dyn Child + Send + Sync>,
    reader: Option<thread::JoinHandle<()>>,
    /// Bytes that the program wrote.
    written: Arc<AtomicUsize>,
    /// Whether somebody still looks.
    watched: Arc<AtomicBool>,
    state: tempfile::TempDir,
}

fn size(columns: u16, rows: u16) -> PtySize {
    PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }
}

fn some(cells: u16) -> NonZero<u16> {
    NonZero::new(cells).expect("a terminal has cells")
}

impl Terminal {
    fn start(columns: u16, rows: u16) -> Self {
        Self::run(CommandBuilder::new(env!("CARGO_BIN_EXE_psescope")), columns, rows)
    }

    fn run(mut command: CommandBuilder, columns: u16, rows: u16) -> Self {
        let state = tempfile::tempdir().expect("a folder");
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
        let (mut reader, shared) = (pair.master.try_clone_reader().expect("a reader"), Arc::clone(&screen));
        let (written, watched) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
        let (count, watching) = (Arc::clone(&written), Arc::clone(&watched));
        let reader = thread::spawn(move || {
            let mut bytes = [0; 65_536];
            while let (true, Ok(n @ 1..)) = (watching.load(Ordering::SeqCst), reader.read(&mut bytes)) {
                count.fetch_add(n, Ordering::SeqCst);
                shared.lock().expect("no panic while held").process(&bytes[..n]);
            }
        });
        let keyboard = pair.master.take_writer().expect("a writer");
        Self { screen, keyboard, master: Some(pair.master), child, reader: Some(reader), written, watched, state }
    }

    fn master(&self) -> &dyn MasterPty {
        &**self.master.as_ref().expect("the terminal is there")
    }

    fn look<T>(&self, at: impl FnOnce(&vt100::Screen) -> T) -> T {
        at(self.screen.lock().expect("no panic while held").screen())
    }

    fn text(&self) -> String {
        self.look(vt100::Screen::contents)
    }

    fn until(&self, what: &str, is: impl Fn(&str) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is(&self.text()) {
            assert!(Instant::now() < end, "never: {what}; the screen:\n{}", self.text());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn shows(&self, text: &str) {
        self.until(text, |screen| screen.contains(text));
    }

    fn hides(&self, text: &str) {
        self.until(&format!("without {text}"), |screen| !screen.contains(text));
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("it listens");
        self.keyboard.flush().expect("it listens");
    }

    fn resize(&self, columns: u16, rows: u16) {
        self.screen.lock().expect("no panic while held").screen_mut().set_size(some(rows), some(columns));
        self.master().resize(size(columns, rows)).expect("it resizes");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.process_id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill").args([signal, &pid]).status().expect("kill is there");
        assert!(sent.success());
    }

    /// Ends the terminal as a lost connection does: every descriptor of this side is closed.
    fn hang_up(&mut self) {
        self.watched.store(false, Ordering::SeqCst);
        // The key for help, so that something is drawn, and the reader wakes up and leaves.
        self.types("?");
        self.reader.take().expect("it reads").join().expect("it read to the end");
        // What it drew is done; if nothing else happens, the program now writes nothing that could fail.
        thread::sleep(Duration::from_secs(1));
        self.keyboard = Box::new(std::io::sink());
        self.master = None;
    }

    /// Waits for the program to end by itself and for its last words.
    fn ends(&mut self) -> ExitStatus {
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
    fn is_given_back(&self) {
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

    fn opens(&self) {
        self.shows("giant panda");
        self.shows("starts the default attack");
    }

    /// An attack that goes on for long, and shows that it does.
    fn attacks_for_long(&mut self) {
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

#[test]
fn the_sample_is_attacked_stepped_through_and_explained() {
    let mut terminal = Terminal::start(120, 40);
    terminal.opens();
    assert!(terminal.look(vt100::Screen::alternate_screen));
    terminal.types(" ");
    terminal.shows("flipped at");
    terminal.shows("step 10/10");
    terminal.types("\x1b[D");
    terminal.shows("step 9/10");
    terminal.types("\x1b[C");
    terminal.shows("step 10/10");
    terminal.types("m\x1b[H");
    terminal.shows("step 0/10");
    terminal.types("'");
    terminal.shows("step 10/10");
    terminal.types("2");
    terminal.shows("linear estimate");
    terminal.shows("cells by strength");
    terminal.types("3");
    terminal.shows("C(x',t) adversarial");
    terminal.shows("lift");
    terminal.types("?");
    // Not "keys", which the footer shows too: an Esc sent before the help is there could arrive together with the
    // next key, and the two would read as one.
    terminal.shows("CAM screen");
    terminal.types("\x1b");
    terminal.hides("CAM screen");
    // A run saved by name is read by the other commands, and not saved a second time on leaving.
    terminal.types("S");
    terminal.shows("panda-ifgsm.pse");
    terminal.types("\r");
    terminal.shows("wrote panda-ifgsm.pse");
    terminal.types("q");
    assert!(terminal.ends().success());
    terminal.is_given_back();
    let run = psescope::engine::trace::file::load(&terminal.state.path().join("panda-ifgsm.pse")).expect("it can be read");
    assert_eq!((run.trace.len(), run.meta.attack.as_str(), run.meta.success), (11, "ifgsm", true));
    assert!(!terminal.state.path().join("psescope/last.pse").exists());
    assert!(terminal.state.path().join("psescope/psescope.log").exists());
}

#[test]
fn leaving_while_it_runs_asks_once_and_keeps_the_run() {
    let mut terminal = Terminal::start(80, 24);
    terminal.opens();
    terminal.attacks_for_long();
    terminal.types("q");
    terminal.shows("still running");
    terminal.types("\x1b");
    terminal.hides("still running");
    terminal.types(" ");
    terminal.shows("paused");
    terminal.types(" ");
    terminal.hides("paused");
    terminal.types("qq");
    assert!(terminal.ends().success());
    terminal.is_given_back();
    assert!(terminal.text().contains("last.pse"), "{}", terminal.text());
    let run = psescope::engine::trace::file::load(&terminal.state.path().join("psescope/last.pse")).expect("it can be read");
    assert!(run.trace.len() > 1 && run.trace.best().is_some());
    assert!(run.trace.frame(run.trace.len() - 1).is_some());
    assert!(run.meta.params.contains(&("steps".into(), "1000".into())), "{:?}", run.meta.params);
}

#[test]
fn an_attack_is_stopped_and_what_it_recorded_stays() {
    let mut terminal = Terminal::start(120, 40);
    terminal.opens();
    terminal.attacks_for_long();
    terminal.types("\x1b");
    terminal.shows("stopped at step");
    terminal.shows("of 1000");
    terminal.types("\x1b[H");
    terminal.shows("step 0/");
    terminal.types("r");
    terminal.shows("of 1000");
    // The key that leaves at once does.
    terminal.types("\x03");
    assert!(terminal.ends().success());
    terminal.is_given_back();
}

#[test]
fn every_size_has_a_screen() {
    let mut terminal = Terminal::start(80, 24);
    terminal.opens();
    terminal.resize(40, 10);
    terminal.shows("psescope needs 60x16");
    terminal.resize(120, 40);
    terminal.shows("giant panda");
    terminal.shows("logits over steps");
    terminal.types(" ");
    terminal.shows("step 1");
    terminal.resize(2, 2);
    terminal.resize(300, 100);
    terminal.shows("step 10/10");
    terminal.resize(60, 16);
    terminal.until("the small screen", |screen| screen.contains("1 Attack") && screen.contains("flipped"));
    terminal.types("q");
    assert!(terminal.ends().success());
    terminal.is_given_back();
}

/// Waits for the shell to listen: what is typed while the program gives the terminal back is thrown away with it.
fn at_prompt(terminal: &Terminal) {
    terminal.until("a prompt", |screen| screen.trim_end().ends_with("prompt>"));
}

#[test]
fn the_background_and_back() {
    // A shell with job control, as a person has it.
    let mut command = CommandBuilder::new("bash");
    command.args(["--norc", "--noprofile", "-i"]);
    command.env("PS1", "prompt> ");
    let mut terminal = Terminal::run(command, 100, 30);
    terminal.shows("prompt>");
    terminal.types(&format!("{}\n", env!("CARGO_BIN_EXE_psescope")));
    terminal.opens();
    terminal.types("\x1a");
    terminal.shows("Stopped");
    at_prompt(&terminal);
    // The shell edits its line in modes of its own; the screen is what counts here.
    terminal.until("the shell's screen", |screen| !screen.contains("1 Attack"));
    assert!(!terminal.look(vt100::Screen::alternate_screen) && !terminal.look(vt100::Screen::hide_cursor));
    terminal.types("fg\n");
    terminal.opens();
    assert!(terminal.look(vt100::Screen::alternate_screen));
    terminal.types(" ");
    terminal.shows("step 10/10");
    terminal.types("q");
    terminal.shows("last.pse");
    at_prompt(&terminal);
    terminal.types("exit\n");
    terminal.ends();
}

#[test]
fn the_system_ends_it_and_nothing_is_lost() {
    for (signal, code) in [("-TERM", 130), ("-INT", 130), ("-HUP", 130)] {
        let mut terminal = Terminal::start(80, 24);
        terminal.opens();
        terminal.attacks_for_long();
        terminal.until("steps", |screen| ["step 2 ", "step 3 ", "step 4 ", "step 5 ", "step 6 "].iter().any(|s| screen.contains(s)));
        // Stopped and continued from outside: it goes on.
        terminal.signal("-STOP");
        terminal.signal("-CONT");
        terminal.types("2");
        terminal.shows("whole map");
        terminal.signal(signal);
        let status = terminal.ends();
        assert_eq!(status.exit_code(), code, "{signal}");
        terminal.is_given_back();
        let run = psescope::engine::trace::file::load(&terminal.state.path().join("psescope/last.pse")).expect("it can be read");
        assert!(run.trace.len() > 1);
    }
}

#[test]
fn a_bad_model_is_one_sentence_and_no_screen_is_lost() {
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_psescope"));
    command.arg("nowhere.onnx");
    let mut terminal = Terminal::run(command, 80, 24);
    terminal.shows("no such file");
    terminal.types("q");
    assert_eq!(terminal.ends().exit_code(), 3);
    terminal.is_given_back();
    assert!(terminal.text().contains("psescope: nowhere.onnx"), "{}", terminal.text());
}

/// Whether a process is over, whether or not anybody has asked how it ended.
fn is_over(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_that_vanishes_ends_the_program_and_keeps_the_run() {
    // As the leader of its session, told by SIGHUP; and in a session of its own, where only the terminal itself tells: while an attack
    // draws, and while nothing is drawn.
    for (alone, busy) in [(false, true), (true, true), (true, false)] {
        let mut command = CommandBuilder::new(if alone { "setsid" } else { "sh" });
        if alone {
            command.args(["--wait", "sh"]);
        }
        command.args(["-c", "echo $$ > pid; exec \"$0\"", env!("CARGO_BIN_EXE_psescope")]);
        let mut terminal = Terminal::run(command, 100, 30);
        terminal.opens();
        if busy {
            terminal.attacks_for_long();
            terminal.shows("step 2");
        } else {
            terminal.types(" ");
            terminal.shows("step 10/10");
        }
        let pid = fs::read_to_string(terminal.state.path().join("pid")).expect("the shell told").trim().to_owned();
        assert!(!is_over(&pid));
        terminal.hang_up();
        let end = Instant::now() + PATIENCE;
        while !is_over(&pid) {
            // Never an orphan that keeps a processor busy.
            assert!(Instant::now() < end, "alone {alone}, busy {busy}: it goes on without a terminal");
            let _ = terminal.child.try_wait();
            thread::sleep(Duration::from_millis(20));
        }
        let run = psescope::engine::trace::file::load(&terminal.state.path().join("psescope/last.pse")).expect("it can be read");
        assert!(run.trace.len() > 1);
    }
}

#[test]
fn a_thousand_resizes() {
    let mut terminal = Terminal::start(80, 24);
    terminal.opens();
    terminal.types(" ");
    for i in 0..1000u16 {
        terminal.resize(2 + i * 37 % 199, 2 + i * 23 % 61);
        if i % 25 == 0 {
            thread::sleep(Duration::from_millis(5));
        }
    }
    terminal.resize(120, 40);
    terminal.shows("step 10/10");
    terminal.shows("logits over steps");
    terminal.types("2");
    terminal.shows("cells by strength");
    terminal.types("q");
    assert!(terminal.ends().success());
    terminal.is_given_back();
}

#[test]
fn nothing_is_drawn_while_nothing_happens() {
    let mut terminal = Terminal::start(120, 40);
    terminal.opens();
    terminal.types(" ");
    terminal.shows("step 10/10");
    // What was said leaves the screen, estimates come: then it is quiet.
    let (end, mut before) = (Instant::now() + PATIENCE, usize::MAX);
    loop {
        let now = terminal.written.load(Ordering::SeqCst);
        if now == before {
            break;
        }
        assert!(Instant::now() < end, "it never comes to rest");
        before = now;
        thread::sleep(Duration::from_secs(3));
    }
    terminal.types("?");
    terminal.shows("Attack screen");
    terminal.types("q");
    terminal.hides("Attack screen");
    terminal.types("q");
    assert!(terminal.ends().success());
}

/// Not a test by itself: run in a pseudo-terminal by the test below.
#[test]
#[ignore = "needs a terminal of its own"]
fn interface_on_an_engine_that_panics() {
    let engine = worker::spawn_on(worker::Options::default(), Faulty::runtime(Fault::Panic(5)));
    let options = tui::Options::new(sample::MODEL.into(), sample::IMAGE.into());
    tui::run(engine, options).expect("it opens");
}

#[test]
fn a_panic_in_the_worker_leaves_the_screen_whole() {
    let me = std::env::current_exe().expect("this test's program");
    let mut command = CommandBuilder::new(Path::new(&me));
    command.args(["--ignored", "--exact", "interface_on_an_engine_that_panics", "--nocapture"]);
    let mut terminal = Terminal::run(command, 120, 40);
    terminal.opens();
    terminal.types(" ");
    terminal.shows("internal error");
    assert!(terminal.look(vt100::Screen::alternate_screen));
    assert!(!terminal.text().contains("panicked at"), "{}", terminal.text());
    // What was recorded can be stepped through, and another attack runs.
    terminal.types("\x1b[H");
    terminal.shows("step 0/3");
    terminal.types("r");
    terminal.shows("step 10/10");
    terminal.types("q");
    assert!(terminal.ends().success());
    terminal.is_given_back();
    assert!(terminal.state.path().join("psescope/last.pse").exists());
}

/// An attack whose number of steps nobody can tell: the interface panics when it asks.
struct Broken;

impl Attack for Broken {
    fn about(&self) -> About {
        let params = psescope::core::attack::find("ifgsm").expect("it is registered").params();
        About { name: "ifgsm", summary: "Breaks the interface.", params }
    }

    fn steps(&self, _: &Params) -> usize {
        panic!("the interface broke on purpose")
    }

    fn run(&self, _: &mut dyn Oracle, _: &Problem, _: &Params, _: &mut dyn Recorder) -> Result<Outcome> {
        unreachable!("it never starts")
    }
}

/// Not a test by itself: run in a pseudo-terminal by the test below.
#[test]
#[ignore = "needs a terminal of its own"]
fn interface_that_panics() {
    static ATTACKS: &[&dyn Attack] = &[&Broken];
    let runtime = RuntimeOptions { engine: EngineChoice::Embedded, ..RuntimeOptions::default() };
    let engine = worker::spawn(worker::Options { runtime, ..worker::Options::default() });
    let options = tui::Options::new(sample::MODEL.into(), sample::IMAGE.into());
    tui::run_with(engine, options, Attacks(ATTACKS)).expect("it opens");
}

#[test]
fn a_panic_gives_the_terminal_back_before_it_is_reported() {
    let me = std::env::current_exe().expect("this test's program");
    let mut command = CommandBuilder::new(Path::new(&me));
    command.args(["--ignored", "--exact", "interface_that_panics", "--nocapture"]);
    let mut terminal = Terminal::run(command, 100, 30);
    terminal.opens();
    terminal.types(" ");
    assert!(!terminal.ends().success());
    terminal.is_given_back();
    assert!(terminal.text().contains("the interface broke on purpose"), "{}", terminal.text());
}
