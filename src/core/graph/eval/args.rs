//! What an evaluation rule or a shape function sees of its node.

use ndarray::ArrayD;

use super::Value;
use crate::core::{error::Error, onnx::Node};

/// Why a node could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fail {
    /// A value that is needed is not known yet. Never happens when every input is given.
    Unknown,
    /// The node contradicts its operator's definition, or uses a part of it that is not supported.
    Bad(String),
}

/// Result of rules and shape functions.
pub type Res<T> = Result<T, Fail>;

/// A [`Fail::Bad`] with this message.
pub fn bad<T>(message: impl Into<String>) -> Res<T> {
    Err(Fail::Bad(message.into()))
}

impl Fail {
    /// As an error that names the node.
    pub fn at(self, node: &Node) -> Error {
        let why = match self {
            Self::Unknown => "needs a value that is only known when the model runs".to_owned(),
            Self::Bad(why) => why,
        };
        Error::Model(format!("node '{}' ({}) {why}; export the model again or simplify it first", node.label(), node.op))
    }
}

/// A node, its operator-set version and what is known of its inputs' values.
#[derive(Debug, Clone, Copy)]
pub struct Args<'a> {
    /// The node.
    pub node: &'a Node,
    /// Version of the standard operator set.
    pub opset: i64,
    /// Values of the inputs: `None` when omitted, or (in shape inference only) when not known.
    pub values: &'a [Option<&'a Value>],
}

impl<'a> Args<'a> {
    /// Whether input `i` is connected.
    pub fn given(&self, i: usize) -> bool {
        self.node.input(i).is_some()
    }

    /// Value of input `i` when it is connected.
    pub fn optional(&self, i: usize) -> Res<Option<&'a Value>> {
        match self.values.get(i).copied().flatten() {
            Some(v) => Ok(Some(v)),
            None if self.given(i) => Err(Fail::Unknown),
            None => Ok(None),
        }
    }

    /// Value of input `i`.
    pub fn value(&self, i: usize) -> Res<&'a Value> {
        self.optional(i)?.ok_or_else(|| Fail::Bad(format!("lacks input {i}")))
    }

    /// Input `i`, a float tensor.
    pub fn f(&self, i: usize) -> Res<&'a ArrayD<f64>> {
        match self.value(i)? {
            Value::F(a) => Ok(a),
            _ => bad(format!("needs floats at input {i}")),
        }
    }

    /// Input `i`, a float tensor, when it is connected.
    pub fn optional_f(&self, i: usize) -> Res<Option<&'a ArrayD<f64>>> {
        if self.given(i) { self.f(i).map(Some) } else { Ok(None) }
    }

    /// Elements of input `i` as integers, when it is connected.
    pub fn ints(&self, i: usize) -> Res<Option<Vec<i64>>> {
        Ok(self.optional(i)?.map(Value::to_ints))
    }

    /// First element of input `i` as a float, when it is connected and not empty.
    pub fn scalar(&self, i: usize) -> Res<Option<f64>> {
        Ok(self.optional(i)?.and_then(|v| v.to_floats().first().copied()))
    }

    /// Integer attribute, or the default.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.node.int(name, default)
    }

    /// Float attribute as f64, or the default.
    pub fn float(&self, name: &str, default: f64) -> f64 {
        match self.node.attrs.get(name) {
            Some(crate::core::onnx::Attr::Float(v)) => f64::from(*v),
            _ => default,
        }
    }

    /// Non-negative integers of an attribute, or the default.
    pub fn sizes(&self, name: &str, default: &[usize]) -> Res<Vec<usize>> {
        let Some(list) = self.node.ints(name) else { return Ok(default.to_vec()) };
        list.iter().map(|&v| usize::try_from(v).map_err(|_| Fail::Bad(format!("has a negative {name}")))).collect()
    }
}
