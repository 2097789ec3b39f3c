//! Asks the terminal what it can show, once, before anybody else reads from it. Whatever is typed meanwhile is kept.

use std::time::Duration;

use super::Surroundings;

/// What a terminal told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answers {
    /// It takes kitty's pictures.
    pub kitty: bool,
    /// It unpacks compressed ones.
    pub compressed: bool,
    /// It shows sixels.
    pub sixel: bool,
    /// Width and height of a cell in pixels.
    pub cell: Option<(u16, u16)>,
    /// It answered to the end.
    pub complete: bool,
}

/// Kitty's query for a one-pixel picture, plain and compressed; device attributes (4 is sixel); pixels of a cell; and a question
/// that every terminal answers, so that the end is known.
const QUERY: &str =
    "\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b_Gi=32,s=1,v=1,a=q,t=d,f=24,o=z;eJxjYGAAAAADAAE=\x1b\\\x1b[c\x1b[16t\x1b[5n";

/// Separates answers from what was typed; the rest is in order, and may end in the middle of a key.
pub fn separate(bytes: &[u8]) -> (Answers, Vec<u8>) {
    let (mut answers, mut rest) = (Answers::default(), Vec::new());
    let mut at = 0;
    while at < bytes.len() {
        let here = &bytes[at..];
        let length = match here {
            [0x1b, b'_', b'G', ..] => here.windows(2).position(|w| w == b"\x1b\\").map(|end| {
                picture(&here[3..end], &mut answers);
                end + 2
            }),
            [0x1b, b'[', ..] => here[2..].iter().position(|b| (0x40..=0x7e).contains(b)).and_then(|end| {
                let (inner, last) = (&here[2..2 + end], here[2 + end]);
                report(inner, last, &mut answers).then_some(end + 3)
            }),
            _ => None,
        };
        match length {
            Some(length) => at += length,
            None => {
                rest.push(bytes[at]);
                at += 1;
            }
        }
    }
    (answers, rest)
}

fn picture(text: &[u8], answers: &mut Answers) {
    let text = String::from_utf8_lossy(text);
    let Some((keys, "OK")) = text.split_once(';') else { return };
    answers.kitty |= keys.split(',').any(|k| k == "i=31");
    answers.compressed |= keys.split(',').any(|k| k == "i=32");
}

/// Whether a control sequence is one of the answers.
fn report(inner: &[u8], last: u8, answers: &mut Answers) -> bool {
    let text = String::from_utf8_lossy(inner);
    let numbers: Vec<u16> = text.trim_start_matches('?').split(';').filter_map(|n| n.parse().ok()).collect();
    match (last, text.starts_with('?'), numbers.as_slice()) {
        (b'c', true, attributes) => answers.sixel |= attributes.iter().skip(1).any(|a| *a == 4),
        (b't', false, [6, height, width]) => answers.cell = (*width > 0 && *height > 0).then_some((*width, *height)),
        (b'n', false, [0 | 3]) => answers.complete = true,
        _ => return false,
    }
    true
}

/// Asks; returns the answers and what was typed meanwhile. Raw mode must be on, and nobody else may read.
#[cfg(unix)]
pub fn ask(around: &Surroundings) -> std::io::Result<(Answers, Vec<u8>)> {
    use std::{
        fs::OpenOptions,
        io::{Read as _, Write as _},
        time::Instant,
    };

    use rustix::termios::{OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};

    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    let before = tcgetattr(&terminal)?;
    // Reading returns after a tenth of a second without a byte.
    let mut timed = before.clone();
    timed.special_codes[SpecialCodeIndex::VMIN] = 0;
    timed.special_codes[SpecialCodeIndex::VTIME] = 1;
    tcsetattr(&terminal, OptionalActions::Now, &timed)?;
    let (query, _) = wrapped(around, QUERY);
    let mut bytes = Vec::new();
    let mut listen = || -> std::io::Result<()> {
        terminal.write_all(query.as_bytes())?;
        terminal.flush()?;
        let end = Instant::now() + around.patience();
        let mut chunk = [0; 1024];
        // A key or an answer that has begun is read to its end.
        while (Instant::now() < end || (begun(&bytes) && Instant::now() < end + GRACE)) && bytes.len() < 1 << 16 {
            let read = terminal.read(&mut chunk)?;
            bytes.extend_from_slice(&chunk[..read]);
            if separate(&bytes).0.complete {
                break;
            }
        }
        Ok(())
    };
    let outcome = listen();
    tcsetattr(&terminal, OptionalActions::Now, &before)?;
    outcome?;
    Ok(separate(&bytes))
}

/// How much longer a sequence that has begun may take.
#[cfg(unix)]
const GRACE: Duration = Duration::from_millis(200);

/// Whether the last thing that came is the beginning of something.
fn begun(bytes: &[u8]) -> bool {
    let Some(at) = bytes.iter().rposition(|b| *b == 0x1b) else { return false };
    match &bytes[at + 1..] {
        [b'_', ..] | [] => true,
        [b'[', inside @ ..] => !inside.iter().any(|b| (0x40..=0x7e).contains(b)),
        _ => false,
    }
}

/// Elsewhere the terminal is not asked.
#[cfg(not(unix))]
pub fn ask(_: &Surroundings) -> std::io::Result<(Answers, Vec<u8>)> {
    Ok((Answers::default(), Vec::new()))
}

/// A sequence as tmux hands it on to the terminal around it (where its user allows that), and what it is outside.
fn wrapped(around: &Surroundings, sequence: &str) -> (String, bool) {
    match around.multiplexer {
        Some("tmux") => (passthrough(sequence), true),
        _ => (sequence.to_owned(), false),
    }
}

/// Wraps a sequence for tmux.
pub fn passthrough(sequence: &str) -> String {
    format!("\x1bPtmux;{}\x1b\\", sequence.replace('\x1b', "\x1b\x1b"))
}

/// How long a terminal that did not answer in time may still do so.
pub const LATE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_keys_are_told_apart() {
        let (answers, rest) = separate(b"a\x1b_Gi=31;OK\x1b\\b\x1b[?62;4;22c\x1b[A\x1b[6;18;9t\x1b_Gi=32;EINVAL\x1b\\\x1b[0nc");
        assert_eq!(answers, Answers { kitty: true, compressed: false, sixel: true, cell: Some((9, 18)), complete: true });
        assert_eq!(rest, b"ab\x1b[Ac");
    }

    #[test]
    fn a_terminal_without_graphics_answers_too() {
        let (answers, rest) = separate(b"\x1b[?1;2c\x1b[0n");
        assert_eq!(answers, Answers { complete: true, ..Answers::default() });
        assert!(rest.is_empty());
        // 4 as the kind of terminal is no attribute.
        assert!(!separate(b"\x1b[?4c").0.sixel);
    }

    #[test]
    fn what_is_cut_stays() {
        assert!(begun(b"a\x1b[1;") && begun(b"\x1b_Gi=31") && begun(b"q\x1b") && !begun(b"\x1b[A") && !begun(b"abc"));
        for cut in [&b"x\x1b"[..], b"x\x1b[", b"x\x1b[1;", b"\x1b_Gi=31;O", b"\xe7\x86"] {
            assert_eq!(separate(cut), (Answers::default(), cut.to_vec()));
        }
    }

    #[test]
    fn every_beginning_of_a_reply_is_harmless() {
        let reply = b"q\x1b_Gi=31;OK\x1b\\\x1b[?62;4c\x1b[6;20;10t\x1b[0n\x1b[1;5Cz";
        for end in 0..reply.len() {
            let (_, rest) = separate(&reply[..end]);
            assert!(rest.len() <= end);
        }
        assert_eq!(separate(reply).1, b"q\x1b[1;5Cz");
    }

    #[test]
    fn tmux_gets_its_escapes_doubled() {
        assert_eq!(passthrough("\x1b[c"), "\x1bPtmux;\x1b\x1b[c\x1b\\");
    }
}
