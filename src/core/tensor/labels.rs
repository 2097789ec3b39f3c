//! Class names: where they come from, made safe to print, and looking one up as a person types it.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::Value;

use crate::core::error::{Error, Result};

/// Longest name kept, in characters.
pub const MAX_NAME: usize = 80;

/// Most names read from one file.
pub const MAX_CLASSES: usize = 1_000_000;

/// The thousand ImageNet names, in class order.
const IMAGENET: &str = include_str!("imagenet_labels.json");

/// Names of the classes, one per logit, safe to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    names: Vec<String>,
    source: String,
}

impl Labels {
    /// The built-in ImageNet-1k names.
    pub fn imagenet() -> Self {
        let names: Vec<String> = serde_json::from_str(IMAGENET).unwrap_or_default();
        Self { names, source: "built-in ImageNet names".into() }
    }

    /// What is used when nothing else is known: ImageNet's names for 1000 classes (and for 1001, after a background
    /// class, as TensorFlow counts), else `class 17`.
    pub fn fallback(classes: usize) -> Self {
        match classes {
            1000 => Self::imagenet(),
            1001 => {
                let mut labels = Self::imagenet();
                labels.names.insert(0, "background".into());
                labels
            }
            _ => Self { names: Vec::new(), source: "class numbers".into() }.fit(classes),
        }
    }

    /// Reads a labels file: one name a line, a JSON array, a JSON object from number to name, Keras' object from number
    /// to `[id, name]`, or a Hugging Face configuration with `id2label`. `source` is shown to people.
    pub fn parse(text: &str, source: &str) -> Result<Self> {
        let text = text.trim_start_matches('\u{feff}');
        let names = match text.trim_start().chars().next() {
            None => return Err(Error::Input(format!("{source} is empty; give one class name a line"))),
            Some('[' | '{') => {
                let json: Value = serde_json::from_str(text).map_err(|e| Error::Input(format!("{source} is not valid JSON: {e}")))?;
                from_json(&json).ok_or_else(|| {
                    Error::Input(format!("{source} holds no class names; give a list, or an object from class number to name"))
                })?
            }
            _ => text.lines().map(clean).collect::<Vec<_>>(),
        };
        let names = trim_trailing_empty(names);
        if names.is_empty() || names.len() > MAX_CLASSES {
            return Err(Error::Input(format!(
                "{source} holds {} class names; at least one and at most {MAX_CLASSES} are accepted",
                names.len()
            )));
        }
        Ok(Self { names, source: source.to_owned() })
    }

    /// Names in a configuration beside the model (`id2label`, timm's `label_names`), if it has any real ones.
    pub fn from_config(text: &str, source: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(text).ok()?;
        let table = json.get("id2label").or_else(|| json.get("label_names")).or_else(|| json.get("pretrained_cfg")?.get("label_names"))?;
        let names = from_json(table)?;
        let real = names.iter().any(|n| !n.is_empty() && !n.starts_with("LABEL_"));
        real.then(|| Self { names, source: source.to_owned() })
    }

    /// Names in ONNX metadata: `names` (as Ultralytics writes them, a Python dictionary or list, or JSON), `labels`,
    /// `classes` or `id2label`.
    pub fn from_metadata(metadata: &BTreeMap<String, String>) -> Option<Self> {
        ["names", "id2label", "labels", "classes"].into_iter().find_map(|key| {
            let text = metadata.get(key)?;
            let names = serde_json::from_str::<Value>(text)
                .ok()
                .and_then(|j| from_json(&j))
                .or_else(|| python_names(text))
                .or_else(|| comma_names(text))?;
            (!names.is_empty()).then(|| Self { names, source: format!("ONNX metadata {key}") })
        })
    }

    /// Exactly one name per logit: missing ones become `class 17`, surplus ones are dropped.
    pub fn fit(mut self, classes: usize) -> Self {
        self.names.truncate(classes);
        for (i, name) in self.names.iter_mut().enumerate() {
            if name.is_empty() {
                *name = format!("class {i}");
            }
        }
        for i in self.names.len()..classes {
            self.names.push(format!("class {i}"));
        }
        self
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no name at all.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Where they came from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// All names in class order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Name of a class.
    pub fn name(&self, class: usize) -> String {
        self.names.get(class).cloned().unwrap_or_else(|| format!("class {class}"))
    }

    /// The class a person means: its number, its exact name, the name in other case, or an unambiguous beginning or
    /// part of it. Otherwise an error that suggests names.
    pub fn find(&self, text: &str) -> Result<usize> {
        find(&self.names, text)
    }
}

/// [`Labels::find`] on a list of names.
pub fn find(names: &[String], text: &str) -> Result<usize> {
    let text = text.trim();
    let shown = clean(text);
    let classes = names.len();
    if text.is_empty() {
        return Err(Error::Parameter("a class is missing; give its number or name".into()));
    }
    let number = text.strip_prefix("class ").unwrap_or(text).parse::<usize>().ok();
    if let Some(class) = number.filter(|c| *c < classes) {
        return Ok(class);
    }
    if let Some(class) = names.iter().position(|n| n == text) {
        return Ok(class);
    }
    if let Some(number) = number {
        return Err(Error::Parameter(format!("class {number} does not exist; this model has classes 0 to {}", classes.saturating_sub(1))));
    }
    let wanted = fold(text);
    let folded: Vec<String> = names.iter().map(|n| fold(n)).collect();
    let tests: [&dyn Fn(&str) -> bool; 3] = [&|n| n == wanted, &|n| n.starts_with(&wanted), &|n| n.contains(&wanted)];
    for test in tests {
        let hits: Vec<usize> = (0..classes).filter(|c| test(&folded[*c])).collect();
        match hits.as_slice() {
            [] => {}
            [one] => return Ok(*one),
            several => {
                let list = several.iter().take(5).map(|c| format!("{c} {}", names[*c])).collect::<Vec<_>>().join(", ");
                let more = if several.len() > 5 { ", …" } else { "" };
                return Err(Error::Parameter(format!("'{shown}' fits {} classes: {list}{more}; give the number", several.len())));
            }
        }
    }
    // A slip of the finger is often in one word of a longer name: 'tabyy' is meant to be a tabby cat.
    let near = |name: &str| name.split(' ').map(|word| distance(&wanted, word)).chain([distance(&wanted, name)]).min();
    let nearest = (0..classes).min_by_key(|c| near(&folded[*c]));
    Err(Error::Parameter(match nearest {
        Some(c) => format!("no class is called '{shown}'; did you mean '{}' ({c})?", names[c]),
        None => "this model has no classes".into(),
    }))
}

/// A name without control characters, escape sequences, bidirectional overrides or line breaks, at most
/// [`MAX_NAME`] characters, single spaces.
pub fn clean(name: &str) -> String {
    clean_to(name, MAX_NAME)
}

/// The same for a description: at most `most` characters.
pub fn clean_to(name: &str, most: usize) -> String {
    let mut out = String::new();
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' | '\u{9b}' => skip_escape(c, &mut chars),
            '\t' | '\n' | '\r' | '\u{a0}' => out.push(' '),
            c if is_harmful(c) => {}
            c => out.push(c),
        }
    }
    let joined = out.split_whitespace().collect::<Vec<_>>().join(" ");
    match joined.char_indices().nth(most) {
        Some(_) => joined.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
        None => joined,
    }
}

/// Whether a terminal would obey this character, hide it, or show others in another order because of it.
pub fn is_harmful(c: char) -> bool {
    // Zero-width, bidirectional and other invisible format characters; tags; byte-order mark; separators.
    let hidden = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{fffc}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || hidden
}

/// Lines for a terminal in which a `?` stands for every character that could do more than be seen: what a path or an error message
/// brings along from a hostile name.
pub fn harmless(text: &str) -> Cow<'_, str> {
    let bad = |c: char| is_harmful(c) && c != '\n' && c != '\t';
    if text.contains(bad) { text.chars().map(|c| if bad(c) { '?' } else { c }).collect() } else { text.into() }
}

/// Drops the rest of an escape sequence: CSI up to its final byte, OSC and other strings up to BEL or ST.
fn skip_escape(first: char, chars: &mut std::iter::Peekable<std::str::Chars>) {
    let kind = if first == '\u{9b}' { Some('[') } else { chars.next() };
    match kind {
        Some('[') => while chars.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {},
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = chars.next() {
                if c == '\u{7}' || c == '\u{9c}' {
                    break;
                }
                if c == '\u{1b}' && chars.peek() == Some(&'\\') {
                    chars.next();
                    break;
                }
            }
        }
        _ => {}
    }
}

fn fold(name: &str) -> String {
    name.to_lowercase().replace(['_', '-'], " ")
}

fn from_json(json: &Value) -> Option<Vec<String>> {
    match json {
        Value::Array(items) if items.len() <= MAX_CLASSES => items.iter().map(json_name).collect(),
        Value::Object(map) => {
            if let Some(table) = map.get("id2label").or_else(|| map.get("names")).or_else(|| map.get("labels")) {
                return from_json(table);
            }
            let mut pairs = BTreeMap::new();
            for (key, value) in map {
                match (key.trim().parse::<usize>(), value.as_u64()) {
                    (Ok(class), _) if class < MAX_CLASSES => pairs.insert(class, json_name(value)?),
                    (Err(_), Some(class)) if (class as usize) < MAX_CLASSES => pairs.insert(class as usize, clean(key)),
                    _ => return None,
                };
            }
            dense(pairs)
        }
        _ => None,
    }
}

/// A name, or the last text of Keras' `[id, name]`.
fn json_name(value: &Value) -> Option<String> {
    match value {
        Value::String(name) => Some(clean(name)),
        Value::Array(parts) => parts.last()?.as_str().map(clean),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

fn dense(pairs: BTreeMap<usize, String>) -> Option<Vec<String>> {
    let (&last, _) = pairs.last_key_value()?;
    // A sparse table of a few entries must not claim a million names.
    if last > pairs.len().saturating_mul(16) + 4096 {
        return None;
    }
    let mut names = vec![String::new(); last + 1];
    for (class, name) in pairs {
        names[class] = name;
    }
    Some(names)
}

/// A Python dictionary or list of quoted names: `{0: 'person', 1: "bird's nest"}`, `['a', 'b']`.
fn python_names(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    let dictionary = text.starts_with('{');
    let mut rest = text.strip_prefix(['{', '['])?.strip_suffix(['}', ']'])?.trim();
    let mut pairs = BTreeMap::new();
    while !rest.is_empty() && pairs.len() < MAX_CLASSES {
        let mut class = pairs.len();
        if dictionary {
            let (key, after) = rest.split_once(':')?;
            class = key.trim().trim_matches(['\'', '"']).parse().ok().filter(|c| *c < MAX_CLASSES)?;
            rest = after.trim_start();
        }
        let quote = rest.chars().next().filter(|c| *c == '\'' || *c == '"')?;
        let mut name = String::new();
        let mut end = None;
        let mut chars = rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => name.push(chars.next()?.1),
                c if c == quote => {
                    end = Some(at + 1);
                    break;
                }
                c => name.push(c),
            }
        }
        pairs.insert(class, clean(&name));
        rest = rest[end?..].trim_start().trim_start_matches(',').trim_start();
    }
    dense(pairs)
}

fn comma_names(text: &str) -> Option<Vec<String>> {
    let names: Vec<String> = text.split([',', '\n']).map(clean).collect();
    (names.len() > 1 && names.len() <= MAX_CLASSES && names.iter().all(|n| !n.is_empty())).then_some(names)
}

fn trim_trailing_empty(mut names: Vec<String>) -> Vec<String> {
    while names.last().is_some_and(String::is_empty) {
        names.pop();
    }
    names
}

/// Edit distance between two names, on at most [`MAX_NAME`] characters each.
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(MAX_NAME).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(MAX_NAME).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
#[path = "labels_tests.rs"]
mod tests;
