//! Keys that were typed while the terminal was being asked: bytes become the events that the reader of keys would have made of them.

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

/// The events of some bytes. Sequences that are no keys are passed over.
pub fn events(bytes: &[u8]) -> Vec<Event> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        let (event, used) = match (first, after) {
            (0x1b, [b'[', ..]) => control(&rest[2..]),
            (0x1b, [b'O', last, ..]) => (special(*last, KeyModifiers::NONE), 3),
            // The beginning of an answer whose end never came.
            (0x1b, [b'_', b'G', ..]) => (None, rest.len()),
            (0x1b, [0x1b, ..] | []) => (Some(plain(KeyCode::Esc)), 1),
            (0x1b, _) => {
                let (key, used) = character(after);
                (key.map(|k| KeyEvent { modifiers: k.modifiers | KeyModifiers::ALT, ..k }), used + 1)
            }
            _ => character(rest),
        };
        out.extend(event.map(Event::Key));
        rest = &rest[used.min(rest.len())..];
    }
    out
}

fn plain(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

/// What follows `ESC [`; the length counts these two.
fn control(after: &[u8]) -> (Option<KeyEvent>, usize) {
    let Some(end) = after.iter().position(|b| (0x40..=0x7e).contains(b)) else { return (None, after.len() + 2) };
    let text = String::from_utf8_lossy(&after[..end]);
    let mut numbers = text.split(';').map(|n| n.parse::<u8>().unwrap_or(1));
    let (first, bits) = (numbers.next().unwrap_or(1), numbers.next().unwrap_or(1).saturating_sub(1));
    let mut modifiers = KeyModifiers::NONE;
    modifiers.set(KeyModifiers::SHIFT, bits & 1 != 0);
    modifiers.set(KeyModifiers::ALT, bits & 2 != 0);
    modifiers.set(KeyModifiers::CONTROL, bits & 4 != 0);
    let key = match after[end] {
        b'~' => match first {
            1 | 7 => Some(KeyCode::Home),
            2 => Some(KeyCode::Insert),
            3 => Some(KeyCode::Delete),
            4 | 8 => Some(KeyCode::End),
            5 => Some(KeyCode::PageUp),
            6 => Some(KeyCode::PageDown),
            11..=15 => Some(KeyCode::F(first - 10)),
            17..=21 => Some(KeyCode::F(first - 11)),
            23 | 24 => Some(KeyCode::F(first - 12)),
            _ => None,
        }
        .map(|code| KeyEvent::new(code, modifiers)),
        last => special(last, modifiers),
    };
    (key, end + 3)
}

fn special(last: u8, modifiers: KeyModifiers) -> Option<KeyEvent> {
    let code = match last {
        b'A' => KeyCode::Up,
        b'B' => KeyCode::Down,
        b'C' => KeyCode::Right,
        b'D' => KeyCode::Left,
        b'H' => KeyCode::Home,
        b'F' => KeyCode::End,
        b'Z' => return Some(KeyEvent::new(KeyCode::BackTab, KeyModifiers::SHIFT)),
        b'P'..=b'S' => KeyCode::F(last - b'P' + 1),
        _ => return None,
    };
    Some(KeyEvent::new(code, modifiers))
}

/// One character at the start, and its bytes.
fn character(bytes: &[u8]) -> (Option<KeyEvent>, usize) {
    let control = |c: u8| KeyEvent::new(KeyCode::Char(char::from(c)), KeyModifiers::CONTROL);
    match bytes[0] {
        b'\r' => (Some(plain(KeyCode::Enter)), 1),
        b'\t' => (Some(plain(KeyCode::Tab)), 1),
        0x7f => (Some(plain(KeyCode::Backspace)), 1),
        0 => (Some(control(b' ')), 1),
        c @ 0x01..=0x1a => (Some(control(c - 1 + b'a')), 1),
        c @ 0x1c..=0x1f => (Some(control(c - 0x1c + b'4')), 1),
        _ => {
            let length = (1..=bytes.len().min(4)).find(|n| std::str::from_utf8(&bytes[..*n]).is_ok());
            let text = length.and_then(|n| std::str::from_utf8(&bytes[..n]).ok());
            let key = text.and_then(|t| t.chars().next()).map(|c| {
                let shift = if c.is_uppercase() { KeyModifiers::SHIFT } else { KeyModifiers::NONE };
                KeyEvent::new(KeyCode::Char(c), shift)
            });
            (key, length.unwrap_or(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::keymap::Key;

    #[test]
    fn bytes_become_keys() {
        let keys = |bytes: &[u8]| -> Vec<Key> {
            events(bytes).into_iter().filter_map(|e| if let Event::Key(k) = e { Some(Key::from_event(k)) } else { None }).collect()
        };
        let named = |text: &str| Key::parse_all(text).expect("keys");
        assert_eq!(keys(b"a T\r\t\x7f"), named("a<space>T<enter><tab><backspace>"));
        assert_eq!(keys(b"\x1b[A\x1b[D\x1bOC\x1b[H\x1b[1;2D\x1b[5~\x1b[Z"), named("<up><left><right><home><S-left><pgup><backtab>"));
        assert_eq!(keys(b"\x03\x0c\x1b"), named("<C-c><C-l><esc>"));
        assert_eq!(keys("\u{718a}é".as_bytes()).len(), 2);
        // Halves and sequences that mean no key.
        assert!(keys(b"\x1b[").is_empty() && keys(b"\xe7\x86").is_empty() && keys(b"\x1b[200~").is_empty());
    }
}
