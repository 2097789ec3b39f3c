//! Shape and type inference by evaluation at two batch sizes.
//!
//! Every node is propagated twice, at batch sizes [`POINTS`]: concrete shapes, and concrete values wherever they do not
//! depend on the image's elements (Shape, Gather, Concat, Reshape targets, …), computed by the evaluator. A dimension
//! that is equal at both points is fixed; one that is proportional to the batch size is [`Dim::Batch`]. A value that is
//! equal at both points is a constant.

mod dtype;
mod join;
mod reduce;
mod same;
mod shape;
mod state;
mod window;

use std::{collections::HashMap, sync::OnceLock};

use super::eval::{Args, Fail, Res};
use crate::core::{
    error::Result,
    onnx::{Dim, Graph, TensorType},
};

pub use state::{Depth, Fact, Facts, Walk, propagate};

/// The two batch sizes. Primes that do not occur as factors of common sizes.
pub const POINTS: [usize; 2] = [11, 13];

/// What a shape function sees: the node with known values, and the shapes of its inputs.
pub struct Shapes<'a> {
    /// Node and values.
    pub args: Args<'a>,
    /// Shapes of the inputs; `None` when omitted or not known.
    pub shapes: &'a [Option<&'a [usize]>],
}

impl<'a> Shapes<'a> {
    /// Shape of input `i`.
    pub fn at(&self, i: usize) -> Res<&'a [usize]> {
        self.shapes.get(i).copied().flatten().ok_or(Fail::Unknown)
    }
}

/// Shapes of a node's outputs.
pub type ShapeRule = fn(&Shapes) -> Res<Vec<Vec<usize>>>;

const FAMILIES: &[&[(&str, ShapeRule)]] = &[join::RULES, reduce::RULES, same::RULES, shape::RULES, window::RULES];

fn rule(op: &str) -> Option<ShapeRule> {
    static TABLE: OnceLock<HashMap<&str, ShapeRule>> = OnceLock::new();
    TABLE.get_or_init(|| FAMILIES.iter().flat_map(|f| f.iter().copied()).collect()).get(op).copied()
}

/// Fills `graph.types` for every value (inputs and outputs included) from the types of the inputs. Values whose shape
/// cannot be known before running keep `shape: None`. A node whose shapes contradict each other is an error.
pub fn infer(graph: &mut Graph) -> Result<()> {
    let facts = propagate(graph, Depth::Shapes, POINTS)?;
    store(graph, &facts);
    Ok(())
}

/// Writes what was found into `graph.types` and the outputs.
pub fn store(graph: &mut Graph, facts: &Facts) {
    graph.types = facts.iter().map(|(name, fact)| (name.clone(), fact.ty(POINTS))).collect();
    for output in &mut graph.outputs {
        if let Some(ty) = graph.types.get(&output.name) {
            output.ty = ty.clone();
        }
    }
}

impl Fact {
    /// The type at symbolic batch size.
    pub fn ty(&self, points: [usize; 2]) -> TensorType {
        let shape = match &self.shapes {
            [Some(a), Some(b)] if a.len() == b.len() => Some(a.iter().zip(b).map(|(&a, &b)| dim(a, b, points)).collect()),
            _ => None,
        };
        TensorType { dtype: self.dtype, shape }
    }
}

fn dim(a: usize, b: usize, points: [usize; 2]) -> Dim {
    if a == b {
        Dim::Fixed(a)
    } else if a.is_multiple_of(points[0]) && a / points[0] * points[1] == b {
        Dim::Batch(a / points[0])
    } else {
        Dim::Unknown
    }
}

#[cfg(test)]
mod tests;
