//! Pictures by graphics protocols and the rate of frames, in a pseudo-terminal that answers like a graphical one, or not at all.
#![cfg(unix)]

use std::time::{Duration, Instant};

use portable_pty::CommandBuilder;

mod terminal;

use terminal::{Replies, Terminal};

/// The last question of the probe; everything is answered then.
const END: &[u8] = b"\x1b[5n";
const KITTY: Replies = &[(END, b"\x1b_Gi=31;OK\x1b\\\x1b_Gi=32;OK\x1b\\\x1b[?62;c\x1b[6;20;10t\x1b[0n")];
const SIXEL: Replies = &[(END, b"\x1b[?62;4;22c\x1b[6;20;10t\x1b[0n")];
const PLAIN: Replies = &[(END, b"\x1b[?1;2c\x1b[0n")];
const PLACEHOLDER: char = '\u{10EEEE}';
/// Gives the terminal a picture, shows it, takes it away (kitty).
const SENT: &[u8] = b"\x1b_Ga=t,";
const SHOWN: &[u8] = b"\x1b_Ga=p,";
const TAKEN: &[u8] = b"\x1b_Ga=d,d=i,";

/// Whether the line through the middle of the pictures is made of half blocks; curves further down may be, too.
fn half_blocks(screen: &str) -> bool {
    screen.lines().nth(6).is_some_and(|line| line.contains('▀'))
}

fn program(arguments: &[&str]) -> CommandBuilder {
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_psescope"));
    command.args(arguments);
    for name in ["SSH_CONNECTION", "SSH_TTY", "TERM_PROGRAM", "LC_TERMINAL", "WEZTERM_EXECUTABLE", "KONSOLE_VERSION"] {
        command.env_remove(name);
    }
    command
}

#[test]
fn kitty_pictures_at_rest_and_text_while_stepping() {
    let mut t = Terminal::answering(program(&[]), 120, 40, KITTY);
    t.opens();
    let sent = t.writes_since(0, SENT);
    t.writes_since(sent, SHOWN);
    // Blank cells under it; the half blocks are gone.
    t.until("pictures over blank cells", |screen| !half_blocks(screen));
    let before = t.bytes();
    t.types(" ");
    t.shows("step 10/10");
    // While the attack ran nothing was sent; then the adversarial image, the perturbation and the map.
    let away = t.writes_since(before, TAKEN);
    let mut at = away;
    for _ in 0..3 {
        at = t.writes_since(at, SENT);
    }
    t.until("pictures over blank cells", |screen| !half_blocks(screen));
    // A dialog lies over text, and nothing of the pictures stays.
    let before = t.bytes();
    t.types("?");
    t.shows("Attack screen");
    (0..4).fold(before, |at, _| t.writes_since(at, TAKEN));
    let before = t.bytes();
    t.types("\x1b");
    t.hides("Attack screen");
    (0..4).fold(before, |at, _| t.writes_since(at, SHOWN));
    t.until("pictures over blank cells", |screen| !half_blocks(screen));
    assert!(t.wrote_since(before, SENT).is_none(), "the terminal has the pictures already");
    // Another step is another picture; the first frame of it is text.
    let before = t.bytes();
    t.types("\x1b[D");
    t.writes_since(before, "▀".as_bytes());
    t.shows("step 9/10");
    t.writes_since(before, SENT);
    // A smaller terminal: text first, then pictures of another size.
    let before = t.bytes();
    t.resize(80, 24);
    t.writes_since(before, b"a=d,d=I");
    let sent = t.writes_since(before, SENT);
    t.writes_since(sent, SHOWN);
    t.until("pictures over blank cells", |screen| !half_blocks(screen));
    // The key goes back to text for good.
    t.types("\x07");
    t.shows("half blocks");
    t.until("half blocks", half_blocks);
    let before = t.bytes();
    t.types("\x07");
    t.shows("kitty graphics");
    t.writes_since(before, SHOWN);
    assert!(!t.text().contains(PLACEHOLDER), "not every terminal knows placeholders");
    let before = t.bytes();
    t.types("q");
    assert!(t.ends().success());
    t.is_given_back();
    assert!(t.wrote_since(before, b"a=d,d=I").is_some(), "the terminal's memory is given back");
}

#[test]
fn pictures_over_the_text_go_before_the_terminal_is_given_back() {
    let mut t = Terminal::answering(program(&[]), 120, 40, KITTY);
    t.opens();
    t.writes_since(0, SHOWN);
    let before = t.bytes();
    t.signal("-TERM");
    t.ends();
    t.is_given_back();
    let (all, left) = (t.wrote_since(before, b"a=d,d=A"), t.wrote_since(before, b"\x1b[?1049l"));
    assert!(all.is_some() && all < left, "pictures stay on the shell's screen");
}

#[test]
fn sixel_where_the_terminal_says_so_and_iterm2_where_it_is_asked_for() {
    for (arguments, replies, sent) in [(&[][..], SIXEL, &b"\x1bP"[..]), (&["--graphics", "iterm2"], PLAIN, b"\x1b]1337;File=inline=1")] {
        let mut t = Terminal::answering(program(arguments), 100, 30, replies);
        t.opens();
        let first = t.writes_since(0, sent);
        t.types("?");
        t.shows("Attack screen");
        t.types("\x1b");
        t.hides("Attack screen");
        t.writes_since(first, sent);
        t.types("q");
        assert!(t.ends().success());
    }
}

#[test]
fn a_terminal_without_pictures_is_asked_once_and_gets_text() {
    for (arguments, asked) in [(&[][..], true), (&["--graphics", "blocks"], false), (&["--color", "never"], false)] {
        let mut t = Terminal::answering(program(arguments), 80, 24, PLAIN);
        t.opens();
        t.types(" ");
        t.shows("step 10/10");
        assert_eq!(t.wrote_since(0, END).is_some(), asked, "{arguments:?}");
        assert!(t.wrote_since(0, b"\x1bP").is_none() && t.wrote_since(0, b"\x1b]1337").is_none() && t.wrote_since(0, SENT).is_none());
        t.types("q");
        assert!(t.ends().success());
    }
}

#[test]
fn a_silent_terminal_loses_no_key_and_a_late_answer_is_none() {
    let mut t = Terminal::start(120, 40);
    t.writes_since(0, END);
    // Typed while nobody but the probe reads.
    t.types("2");
    t.shows("2 Pixels");
    t.reply(b"\x1b_Gi=31;OK\x1b\\\x1b[?62;4c\x1b[6;20;10t\x1b[0n");
    t.shows("whole map");
    t.types("1");
    t.opens();
    // 'O' of the answer would have said that this is no recorded run, 'i' and 'G' would have changed the map.
    t.types("M");
    t.shows("messages, newest first");
    assert!(!t.text().contains("recorded run"), "{}", t.text());
    assert!(!t.text().contains(PLACEHOLDER));
    t.types("\x03");
    assert!(t.ends().success());
    t.is_given_back();
}

#[test]
fn doctor_says_what_was_chosen_and_why() {
    for (replies, line) in [(KITTY, "kitty (the terminal's answer)"), (PLAIN, "blocks (the terminal"), (&[], "no answer within 300 ms")] {
        let mut t = Terminal::answering(program(&["doctor"]), 120, 40, replies);
        assert!(t.ends().success());
        t.is_given_back();
        t.shows(line);
    }
}

#[test]
fn at_most_thirty_frames_a_second_and_only_changed_cells() {
    // A model so small that thousands of steps a second are possible.
    let root = env!("CARGO_MANIFEST_DIR");
    let model = [root, "/tests/corpus/good/tiny.onnx"].concat();
    let image = [root, "/samples/panda.jpg"].concat();
    let mut t = Terminal::answering(program(&[&model, &image]), 200, 60, PLAIN);
    t.shows("starts the default attack");
    t.types("a");
    t.shows("random-start");
    t.types("\x1b[B\x1b[B\x15500000\r");
    t.shows("of 500000");
    let (frames, bytes, begun) = (t.frames(), t.bytes(), Instant::now());
    let end = begun + Duration::from_secs(4);
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
    let (frames, bytes, seconds) = (t.frames() - frames, t.bytes() - bytes, begun.elapsed().as_secs_f64());
    t.types("\x1b");
    t.shows("stopped at step");
    let before = t.bytes();
    t.types("\x0c");
    t.writes_since(before, b"\x1b[?2026l");
    t.hides("estimating");
    let whole = t.bytes() - before;
    let step: usize = {
        let text = t.text();
        let after = text.split("stopped at step ").nth(1).expect("shown").to_owned();
        after.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number")
    };
    // What was drawn before and only read after the beginning is allowed for.
    assert!(frames as f64 <= 30.5 * seconds + 20.0, "{frames} frames in {seconds} s");
    assert!(frames >= 2, "it was drawn while it ran");
    assert!(step > 3 * frames, "{step} steps, {frames} frames: the attack was not at full speed");
    assert!(bytes / frames < whole / 3, "{bytes} bytes in {frames} frames, {whole} for a whole one");
    eprintln!("{frames} frames and {bytes} bytes in {seconds:.1} s, {whole} for a whole one; {step} steps");
    t.types("\x03");
    assert!(t.ends().success());
}
