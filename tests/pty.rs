//! The real program in a real pseudo-terminal, on the embedded engine: what the screen shows, and how the terminal is left.
#![cfg(unix)]

mod common;

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use portable_pty::CommandBuilder;
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
use terminal::{PATIENCE, Terminal};

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
    terminal.has_steps();
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
        terminal.has_steps();
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
            terminal.has_steps();
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
        let now = terminal.bytes();
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
