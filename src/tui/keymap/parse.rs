//! Keys as text: `q`, `<left>`, `<S-left>`, `<C-c>`, `<space>`.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// A key with its modifiers, in one canonical form (a capital letter carries its own shift).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Which key.
    pub code: KeyCode,
    /// With which modifiers.
    pub mods: KeyModifiers,
}

const NAMES: [(&str, KeyCode, &str); 15] = [
    ("left", KeyCode::Left, "←"),
    ("right", KeyCode::Right, "→"),
    ("up", KeyCode::Up, "↑"),
    ("down", KeyCode::Down, "↓"),
    ("home", KeyCode::Home, "Home"),
    ("end", KeyCode::End, "End"),
    ("pgup", KeyCode::PageUp, "PgUp"),
    ("pgdn", KeyCode::PageDown, "PgDn"),
    ("enter", KeyCode::Enter, "Enter"),
    ("esc", KeyCode::Esc, "Esc"),
    ("tab", KeyCode::Tab, "Tab"),
    ("backtab", KeyCode::BackTab, "Shift-Tab"),
    ("space", KeyCode::Char(' '), "Space"),
    ("backspace", KeyCode::Backspace, "Backspace"),
    ("del", KeyCode::Delete, "Del"),
];

impl Key {
    /// A key without modifiers.
    pub fn plain(code: KeyCode) -> Self {
        Self { code, mods: KeyModifiers::NONE }
    }

    /// What the terminal reported.
    pub fn from_event(event: KeyEvent) -> Self {
        let mut mods = event.modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SHIFT);
        let mut code = event.code;
        if let KeyCode::Char(c) = code {
            if mods.contains(KeyModifiers::CONTROL) {
                code = KeyCode::Char(c.to_ascii_lowercase());
            }
            mods.remove(KeyModifiers::SHIFT);
        }
        if code == KeyCode::Tab && mods.contains(KeyModifiers::SHIFT) {
            code = KeyCode::BackTab;
        }
        if code == KeyCode::BackTab {
            mods.remove(KeyModifiers::SHIFT);
        }
        Self { code, mods }
    }

    /// The character this key types, if it types one.
    pub fn typed(&self) -> Option<char> {
        match self.code {
            KeyCode::Char(c) if self.mods.is_empty() => Some(c),
            _ => None,
        }
    }

    /// Reads a run of keys: `"h<left><C-c>"`. Blanks between keys are ignored.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        let mut keys = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if c.is_whitespace() {
                rest = &rest[c.len_utf8()..];
            } else if let Some((name, tail)) = rest.strip_prefix('<').and_then(|r| r.split_once('>')).filter(|(n, _)| !n.is_empty()) {
                keys.push(Self::named(name)?);
                rest = tail;
            } else {
                keys.push(Self::plain(KeyCode::Char(c)));
                rest = &rest[c.len_utf8()..];
            }
        }
        Ok(keys)
    }

    fn named(text: &str) -> Result<Self, String> {
        let mut mods = KeyModifiers::NONE;
        let mut name = text;
        loop {
            let (flag, rest) = match name.split_at_checked(2) {
                Some(("C-", rest)) => (KeyModifiers::CONTROL, rest),
                Some(("S-", rest)) => (KeyModifiers::SHIFT, rest),
                Some(("A-", rest)) => (KeyModifiers::ALT, rest),
                _ => break,
            };
            mods |= flag;
            name = rest;
        }
        let lower = name.to_ascii_lowercase();
        let mut chars = name.chars();
        let code = match (NAMES.iter().find(|(n, ..)| *n == lower), chars.next(), chars.next()) {
            (Some((_, code, _)), ..) => *code,
            (None, Some(c), None) => KeyCode::Char(c),
            _ if lower == "lt" => KeyCode::Char('<'),
            _ if function(&lower).is_some() => KeyCode::F(function(&lower).unwrap_or(1)),
            _ => return Err(format!("'<{text}>' is no key; write for instance q, <left>, <S-left>, <C-c>, <space>")),
        };
        Ok(Self { code, mods })
    }

    /// For people: `←`, `Shift-←`, `Ctrl-C`, `q`.
    pub fn show(&self, ascii: bool) -> String {
        let mut out = String::new();
        for (flag, name) in [(KeyModifiers::CONTROL, "Ctrl-"), (KeyModifiers::ALT, "Alt-"), (KeyModifiers::SHIFT, "Shift-")] {
            if self.mods.contains(flag) {
                out.push_str(name);
            }
        }
        match NAMES.iter().find(|(_, code, _)| *code == self.code) {
            Some((name, _, pretty)) if ascii && !pretty.is_ascii() => {
                let mut chars = name.chars();
                out.extend(chars.next().map(|c| c.to_ascii_uppercase()));
                out.push_str(chars.as_str());
            }
            Some((.., pretty)) => out.push_str(pretty),
            None => match self.code {
                KeyCode::Char(c) if self.mods.contains(KeyModifiers::CONTROL) => out.push(c.to_ascii_uppercase()),
                KeyCode::Char(c) => out.push(c),
                KeyCode::F(n) => out.push_str(&format!("F{n}")),
                other => out.push_str(&format!("{other}")),
            },
        }
        out
    }
}

/// Number of a function key: `f5`.
fn function(name: &str) -> Option<u8> {
    name.strip_prefix('f')?.parse().ok().filter(|n| (1..=24).contains(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_shown() {
        let keys = Key::parse_all("hH <left><S-left><C-c><space><lt>").expect("keys");
        let shown: Vec<String> = keys.iter().map(|k| k.show(false)).collect();
        assert_eq!(shown, ["h", "H", "←", "Shift-←", "Ctrl-C", "Space", "<"]);
        assert_eq!(keys[2].show(true), "Left");
        assert!(Key::parse_all("<nothing>").is_err());
    }

    #[test]
    fn shift_is_folded_into_letters() {
        let event = KeyEvent::new(KeyCode::Char('G'), KeyModifiers::SHIFT);
        assert_eq!(Key::from_event(event), Key::plain(KeyCode::Char('G')));
        let event = KeyEvent::new(KeyCode::BackTab, KeyModifiers::SHIFT);
        assert_eq!(Key::from_event(event), Key::plain(KeyCode::BackTab));
        let event = KeyEvent::new(KeyCode::Left, KeyModifiers::SHIFT);
        assert_eq!(Key::from_event(event).mods, KeyModifiers::SHIFT);
    }
}
