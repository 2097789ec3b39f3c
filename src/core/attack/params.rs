//! Parameter tables: what an attack can be told, with units, ranges and defaults, checked before it runs.

use std::collections::BTreeMap;

use crate::core::error::{Error, Result};

/// What a parameter accepts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A number in a closed range. Fractions such as `8/255` are accepted.
    Float {
        /// Smallest accepted value.
        min: f64,
        /// Largest accepted value.
        max: f64,
    },
    /// A whole number in a closed range.
    Int {
        /// Smallest accepted value.
        min: i64,
        /// Largest accepted value.
        max: i64,
    },
    /// `true` or `false` (`yes`/`no`, `on`/`off`, `1`/`0` too).
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// One parameter of an attack.
#[derive(Debug, Clone, Copy)]
pub struct ParamSpec {
    /// Long flag without dashes, for instance `eps`.
    pub name: &'static str,
    /// What it accepts.
    pub kind: Kind,
    /// Default, written as a person would type it.
    pub default: &'static str,
    /// Unit, or empty.
    pub unit: &'static str,
    /// One sentence.
    pub help: &'static str,
}

/// A checked value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number.
    Float(f64),
    /// A whole number.
    Int(i64),
    /// A switch.
    Flag(bool),
    /// A word of the choice.
    Choice(&'static str),
}

/// Checked parameters of one attack: every parameter of its table has a value.
#[derive(Debug, Clone)]
pub struct Params {
    values: BTreeMap<&'static str, (Value, String)>,
}

impl ParamSpec {
    /// Checks one text, saying what would be accepted when it is not.
    pub fn parse(&self, text: &str) -> Result<Value> {
        let text = text.trim();
        let bad = |accepts: String| Error::Parameter(format!("{} accepts {accepts}, not '{text}'", self.name));
        match self.kind {
            Kind::Float { min, max } => match fraction(text) {
                Some(v) if v >= min && v <= max => Ok(Value::Float(v)),
                _ => Err(bad(format!("a number from {min} to {max}{} (fractions such as 8/255 too)", unit(self.unit)))),
            },
            Kind::Int { min, max } => match text.parse::<i64>() {
                Ok(v) if v >= min && v <= max => Ok(Value::Int(v)),
                _ => Err(bad(format!("a whole number from {min} to {max}"))),
            },
            Kind::Flag => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Ok(Value::Flag(true)),
                "false" | "no" | "off" | "0" => Ok(Value::Flag(false)),
                _ => Err(bad("yes or no".into())),
            },
            Kind::Choice(words) => words
                .iter()
                .find(|w| w.eq_ignore_ascii_case(text))
                .map(|w| Value::Choice(w))
                .ok_or_else(|| bad(format!("one of {}", words.join(", ")))),
        }
    }
}

impl Params {
    /// Fills the table from what was given, with defaults for the rest. Unknown names are errors.
    pub fn check<'a>(specs: &'static [ParamSpec], given: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let mut values = BTreeMap::new();
        for spec in specs {
            values.insert(spec.name, (spec.parse(spec.default)?, spec.default.to_owned()));
        }
        for (name, text) in given {
            let Some(spec) = specs.iter().find(|s| s.name == name) else {
                let known = specs.iter().map(|s| s.name).collect::<Vec<_>>().join(", ");
                return Err(Error::Parameter(format!("this attack has no parameter '{name}'; it has {known}")));
            };
            values.insert(spec.name, (spec.parse(text)?, text.trim().to_owned()));
        }
        Ok(Self { values })
    }

    /// Whether the attack's table has this parameter.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// A number. Panics when the attack's own table has no such float: a programming error.
    pub fn float(&self, name: &str) -> f64 {
        match self.get(name) {
            Value::Float(v) => *v,
            Value::Int(v) => *v as f64,
            other => unreachable!("parameter {name} is {other:?}, not a number"),
        }
    }

    /// A whole number.
    pub fn int(&self, name: &str) -> i64 {
        match self.get(name) {
            Value::Int(v) => *v,
            other => unreachable!("parameter {name} is {other:?}, not a whole number"),
        }
    }

    /// A switch.
    pub fn flag(&self, name: &str) -> bool {
        match self.get(name) {
            Value::Flag(v) => *v,
            other => unreachable!("parameter {name} is {other:?}, not a switch"),
        }
    }

    /// A word.
    pub fn choice(&self, name: &str) -> &'static str {
        match self.get(name) {
            Value::Choice(v) => v,
            other => unreachable!("parameter {name} is {other:?}, not a choice"),
        }
    }

    /// Name, checked value and the text it came from, in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value, &str)> {
        self.values.iter().map(|(name, (value, text))| (*name, value, text.as_str()))
    }

    fn get(&self, name: &str) -> &Value {
        &self.values.get(name).unwrap_or_else(|| unreachable!("parameter {name} is not in the attack's table")).0
    }
}

/// A decimal number or a fraction of two, finite.
pub fn fraction(text: &str) -> Option<f64> {
    let number = |t: &str| t.trim().parse::<f64>().ok().filter(|v| v.is_finite());
    match text.split_once('/') {
        Some((a, b)) => Some(number(a)? / number(b)?).filter(|v| v.is_finite()),
        None => number(text),
    }
}

fn unit(unit: &str) -> String {
    if unit.is_empty() { String::new() } else { format!(" {unit}") }
}
