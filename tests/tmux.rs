//! Inside a real tmux: attack, step, detach and attach, resize, leave; and no option of tmux changes.
#![cfg(unix)]

use std::{
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use portable_pty::CommandBuilder;

mod terminal;

use terminal::{PATIENCE, Terminal};

/// A tmux of its own, ended with the test.
struct Tmux {
    socket: String,
    state: tempfile::TempDir,
}

impl Tmux {
    /// A shell in a window of this size; `None` where there is no tmux.
    fn start(name: &str, columns: u16, rows: u16) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            eprintln!("skipped: there is no tmux here");
            return None;
        }
        let tmux = Self { socket: format!("psescope-{name}-{}", std::process::id()), state: tempfile::tempdir().expect("a folder") };
        let (w, h) = (columns.to_string(), rows.to_string());
        let begun = tmux.call(&["-f", "/dev/null", "new-session", "-d", "-x", &w, "-y", &h, "env PS1='prompt> ' ENV= sh"]);
        assert!(begun.status.success(), "{begun:?}");
        tmux.until("a prompt", |screen| screen.contains("prompt>"));
        Some(tmux)
    }

    fn call(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        command.args(["-L", &self.socket]).args(arguments).current_dir(self.state.path());
        for (name, value) in [("PSESCOPE_ENGINE", "embedded"), ("COLORTERM", "truecolor"), ("TERM", "xterm-256color")] {
            command.env(name, value);
        }
        command.env("XDG_STATE_HOME", self.state.path()).env_remove("TMUX").env_remove("NO_COLOR");
        command.output().expect("tmux runs")
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.call(&["capture-pane", "-p"]).stdout).into_owned()
    }

    fn until(&self, what: &str, is: impl Fn(&str) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if is(&screen) {
                return;
            }
            assert!(Instant::now() < end, "never: {what}; the screen:\n{screen}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn shows(&self, text: &str) {
        self.until(text, |screen| screen.contains(text));
    }

    fn types(&self, keys: &[&str]) {
        assert!(self.call(&[&["send-keys"], keys].concat()).status.success());
    }

    /// Every option there is.
    fn options(&self) -> String {
        let show = |arguments: &[&str]| String::from_utf8_lossy(&self.call(arguments).stdout).into_owned();
        let all: Vec<String> =
            [&["show", "-g"][..], &["show", "-s"], &["show", "-g", "-w"], &["show"], &["show", "-w"], &["show", "-p", "-A"]]
                .map(show)
                .into();
        assert!(all[0].contains("status") && all[5].contains("allow-passthrough"), "{all:?}");
        all.concat()
    }

    fn attached(&self, columns: u16, rows: u16) -> Terminal {
        let mut command = CommandBuilder::new("tmux");
        command.args(["-L", &self.socket, "attach"]);
        Terminal::run(command, columns, rows)
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.call(&["kill-server"]);
    }
}

#[test]
fn attack_detach_attach_resize_and_leave() {
    let Some(tmux) = Tmux::start("journey", 100, 30) else { return };
    let before = tmux.options();
    tmux.types(&["-l", "echo before; "]);
    tmux.types(&["-l", env!("CARGO_BIN_EXE_psescope")]);
    tmux.types(&["Enter"]);
    tmux.shows("starts the default attack");
    tmux.types(&["Space"]);
    tmux.shows("flipped at");
    tmux.shows("step 10/10");
    tmux.types(&["Left"]);
    tmux.shows("step 9/10");
    // Somebody looks, goes away and comes back with another terminal: the same program at its size.
    let mut first = tmux.attached(100, 31);
    first.shows("step 9/10");
    first.types("h");
    first.shows("step 8/10");
    assert!(tmux.call(&["detach-client"]).status.success());
    first.ends();
    tmux.types(&["h"]);
    tmux.shows("step 7/10");
    let mut second = tmux.attached(160, 51);
    second.shows("step 7/10");
    second.until("the wider screen", |screen| screen.lines().any(|l| l.trim_end().chars().count() > 150));
    assert!(tmux.call(&["detach-client"]).status.success());
    second.ends();
    // A pane of half the width.
    assert!(tmux.call(&["split-window", "-h", "-d", "sleep 1000"]).status.success());
    tmux.until("the narrow screen", |screen| screen.contains("step 7/10") && screen.lines().all(|l| l.chars().count() <= 80));
    assert_eq!(tmux.options(), before, "options of tmux changed");
    let written = tmux.screen();
    assert!(!written.contains("Gi=31") && !written.contains("[?62"), "{written}");
    tmux.types(&["q"]);
    tmux.until("the shell's screen", |screen| screen.contains("before") && screen.contains("last.pse") && !screen.contains("1 Attack"));
    tmux.until("a prompt", |screen| screen.trim_end().ends_with("prompt>"));
    assert_eq!(tmux.options(), before);
}

#[test]
fn pictures_asked_for_inside_tmux_change_no_option() {
    let Some(tmux) = Tmux::start("graphics", 100, 30) else { return };
    let before = tmux.options();
    for protocol in ["kitty", "sixel"] {
        tmux.types(&["-l", &format!("{} --graphics {protocol}", env!("CARGO_BIN_EXE_psescope"))]);
        tmux.types(&["Enter"]);
        tmux.shows("starts the default attack");
        // Nobody is attached and nothing may pass through: the probe stays without an answer, and every key arrives.
        tmux.types(&["2"]);
        tmux.shows("whole map");
        tmux.types(&["C-g"]);
        tmux.until("a notice about pictures", |screen| screen.contains("pictures"));
        tmux.types(&["q"]);
        tmux.until("a prompt", |screen| screen.trim_end().ends_with("prompt>"));
        assert_eq!(tmux.options(), before, "options of tmux changed by {protocol}");
        assert!(tmux.call(&["send-keys", "-R"]).status.success());
        tmux.types(&["-l", "clear"]);
        tmux.types(&["Enter"]);
        tmux.until("an empty screen", |screen| !screen.contains("--graphics"));
    }
}
