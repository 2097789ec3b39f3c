//! The settings of a triage for people: name, value, unit and meaning, out of the metadata of its files.

use serde_json::{Map, Value};

use crate::{
    core::attack::{self, Kind},
    engine::triage::part::Metadata,
};

/// A setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
    /// Unit, or empty.
    pub unit: String,
    /// What it means, or empty.
    pub meaning: String,
}

/// Keys of the metadata in the order of the page, with their names and meanings. What stands in JSON is taken apart elsewhere.
const KNOWN: &[(&str, &str, &str)] = &[
    ("model", "Model", ""),
    ("model_sha256", "SHA-256 of the model", ""),
    ("preprocessing", "Preprocessing", "What is done to an image before the model sees it."),
    ("provider", "Engine", ""),
    ("compare", "Second model", "The same attack ran on it, and it saw the images made for the first."),
    ("compare_sha256", "SHA-256 of the second model", ""),
    ("source", "Images from", ""),
    ("images", "Images listed", "In all parts together."),
    ("shard", "Part", "Number, from 0, and how many parts there are."),
    ("parts", "Parts read together", ""),
    ("attack", "Attack", ""),
    ("params", "", ""),
    ("target", "Target", ""),
    ("true", "True class", ""),
    ("within", "Region", "Nothing may change outside of it."),
    ("seed", "Seed", "Of everything random."),
    ("explain", "", ""),
    ("version", "Written by", ""),
    ("schema", "Layout of the rows", ""),
];

/// Key of the command line in the metadata; it has a place of its own on the page.
pub const COMMAND: &str = "command";

/// Every setting; keys that this program does not know come last, as they are.
pub fn settings(metadata: &Metadata) -> Vec<Setting> {
    let mut out = Vec::new();
    for (key, name, meaning) in KNOWN {
        let Some(text) = metadata.get(*key) else { continue };
        match *key {
            "params" => out.extend(params(metadata.get("attack").map_or("", String::as_str), text)),
            "explain" => out.extend(explanation(text)),
            _ => out.push(Setting {
                name: (*name).into(),
                value: worded(key, text),
                unit: if *key == "images" { "images".into() } else { String::new() },
                meaning: (*meaning).into(),
            }),
        }
    }
    let rest = metadata.iter().filter(|(k, _)| *k != COMMAND && KNOWN.iter().all(|(known, ..)| known != k));
    out.extend(rest.map(|(k, v)| Setting { name: k.clone(), value: v.clone(), unit: String::new(), meaning: String::new() }));
    out
}

fn worded(key: &str, text: &str) -> String {
    match (key, text) {
        ("target", "none") => "none: any other class".into(),
        ("true", "prediction") => "each image's own clean prediction, unless its list gives one".into(),
        ("target" | "true", class) if class.parse::<usize>().is_ok() => format!("class {class}"),
        ("version", version) => format!("psescope {version}"),
        _ => text.to_owned(),
    }
}

/// The attack's parameters in the order of its table, with their units.
fn params(name: &str, text: &str) -> Vec<Setting> {
    let Ok(given) = serde_json::from_str::<Map<String, Value>>(text) else {
        return vec![Setting { name: "Parameters".into(), value: text.into(), unit: String::new(), meaning: String::new() }];
    };
    let specs = attack::find(name).map_or(&[][..], |a| a.params());
    let rank = |key: &str| specs.iter().position(|s| s.name == key).unwrap_or(usize::MAX);
    let mut given: Vec<(String, Value)> = given.into_iter().collect();
    given.sort_by_key(|(key, _)| rank(key));
    let setting = |(key, value): (String, Value)| {
        let spec = specs.iter().find(|s| s.name == key);
        let unit = match spec.map(|s| (s.kind, s.unit)) {
            Some((Kind::Float { .. } | Kind::Int { .. }, unit)) => unit,
            _ => "",
        };
        let meaning = spec.map_or("", |s| s.help).into();
        Setting { name: format!("{name}: {key}"), value: plain(&value), unit: unit.into(), meaning }
    };
    given.into_iter().map(setting).collect()
}

/// How perturbations were explained.
fn explanation(text: &str) -> Vec<Setting> {
    let setting = |name: &str, value: String, unit: &str, meaning: &str| Setting {
        name: name.into(),
        value,
        unit: unit.into(),
        meaning: meaning.into(),
    };
    let Ok(given) = serde_json::from_str::<Map<String, Value>>(text) else {
        let value = if text == "none" { "left out".to_owned() } else { text.to_owned() };
        return vec![setting("Explanation", value, "", "")];
    };
    let one = |(key, value): (String, Value)| match key.as_str() {
        "mode" => {
            let how = match value.as_str() {
                Some("linear") => "A first-order estimate from one gradient.",
                Some("exact") => "One forward run per cell.",
                _ => "",
            };
            setting("Promotion and suppression", plain(&value), "", how)
        }
        "grid" => setting("Map", plain(&value), "cells per side", ""),
        "floor" => setting("Floor", plain(&value), "logits", "Smallest effect counted; a convention recalled from the paper."),
        "threshold" => setting(
            "Threshold",
            plain(&value),
            "octaves (log2 of b/s)",
            "From here on a cell is dominated by one of them; a convention recalled from the paper.",
        ),
        "percentile" => setting(
            "Region of the true class",
            plain(&value),
            "percentile of the activation map",
            "Pixels above it count as discriminative for IS; a convention of ours.",
        ),
        _ => setting(&key, plain(&value), "", ""),
    };
    given.into_iter().map(one).collect()
}

/// A JSON value as a person would write it; numbers were 32-bit floats before they were JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => number.as_f64().map_or_else(String::new, |v| (v as f32).to_string()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_taken_apart_and_ordered() {
        let metadata: Metadata = [
            ("attack", "pgd"),
            ("params", r#"{"alpha":"2/255","eps":"8/255","norm":"linf","steps":"5"}"#),
            ("explain", r#"{"mode":"linear","grid":14,"floor":0.10000000149011612,"threshold":1.0,"percentile":70.0}"#),
            ("target", "none"),
            ("model", "a<b>.onnx"),
            ("zoo", "new"),
            ("command", "psescope triage"),
        ]
        .map(|(k, v)| (k.into(), v.into()))
        .into();
        let all = settings(&metadata);
        let names: Vec<&str> = all.iter().map(|s| s.name.as_str()).collect();
        let first = ["Model", "Attack", "pgd: eps", "pgd: alpha", "pgd: steps"];
        assert_eq!(names[..5], first, "the order of the attack's own table");
        let of = |name: &str| all.iter().find(|s| s.name == name).map(|s| (s.value.as_str(), s.unit.as_str()));
        assert_eq!(of("pgd: eps"), Some(("8/255", "pixel value")));
        assert_eq!(of("Floor"), Some(("0.1", "logits")));
        assert_eq!(of("Threshold").map(|f| f.0), Some("1"));
        assert_eq!(of("Target").map(|f| f.0), Some("none: any other class"));
        assert_eq!(of("zoo"), Some(("new", "")));
        assert!(all.iter().all(|s| !s.value.contains('{')), "no JSON is left: {all:?}");
        assert!(!names.contains(&"command"));
    }

    #[test]
    fn what_is_not_json_is_shown_as_it_is() {
        let metadata: Metadata = [("params", "{broken"), ("explain", "none")].map(|(k, v)| (k.into(), v.into())).into();
        let all = settings(&metadata);
        assert_eq!((all[0].value.as_str(), all[1].value.as_str()), ("{broken", "left out"));
    }
}
