//! Sequences of tokens that are grids of patches: what vision transformers keep instead of maps.
//!
//! A map `[N, C, h, w]` flattened to `[N, h*w, C]` stays a grid through everything that treats tokens one by one. Class
//! tokens put in front of it are counted, so that they can be dropped again. Tokens whose patches no longer reach the logits
//! (behind the last attention of a network that reads only the class token) are no use to a map: their gradient is zero.

use std::collections::{HashMap, HashSet};

use super::Prepared;
use crate::core::onnx::{Dim, Graph, Node};

/// How the tokens of a sequence lie on the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenGrid {
    /// Patches along the height.
    pub height: usize,
    /// Patches along the width.
    pub width: usize,
    /// Other tokens in front of the patches.
    pub extra: usize,
}

/// Operators that treat every token alike and keep `[N, T, _]`.
const TOKENWISE: &[&str] = &[
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Sum",
    "Pow",
    "Sqrt",
    "Erf",
    "Gelu",
    "Relu",
    "Sigmoid",
    "Tanh",
    "HardSwish",
    "Swish",
    "Identity",
    "Cast",
    "Clip",
    "Where",
    "LayerNormalization",
    "Neg",
    "Dropout",
];

/// Batch, tokens, channels.
fn sequence(graph: &Graph, name: &str) -> Option<[usize; 2]> {
    match graph.types.get(name)?.shape.as_deref()? {
        [Dim::Batch(1), t, c] => Some([t.fixed()?, c.fixed()?]),
        _ => None,
    }
}

/// Every value that is a grid of patches still reaching the logits. `maps` says which values are maps, and whether their channels are last.
pub(super) fn grids<'a>(prepared: &'a Prepared, maps: &HashMap<&'a str, bool>) -> HashMap<&'a str, TokenGrid> {
    let graph = &prepared.graph;
    let mut flat: HashMap<&str, [usize; 2]> = HashMap::new();
    let mut grids: HashMap<&str, TokenGrid> = HashMap::new();
    for node in &graph.nodes {
        let Some(output) = node.outputs.first().map(String::as_str) else { continue };
        let Some([tokens, channels]) = sequence(graph, output) else { continue };
        let input = node.input(0).unwrap_or_default();
        let map = maps.get(input).and_then(|last| super::layers::map_shape(graph, input, *last).map(|s| (*last, s)));
        let grid = match (node.op.as_str(), map) {
            ("Reshape" | "Flatten", Some((false, [c, h, w]))) if [tokens, channels] == [c, h * w] && h * w > 1 => {
                flat.insert(output, [h, w]);
                None
            }
            ("Reshape", Some((true, [c, h, w]))) if [tokens, channels] == [h * w, c] => Some(TokenGrid { height: h, width: w, extra: 0 }),
            ("Transpose", _) if node.ints("perm") == Some(&[0, 2, 1]) => {
                flat.get(input).map(|&[height, width]| TokenGrid { height, width, extra: 0 })
            }
            _ => inherited(graph, node, &grids, tokens),
        };
        if let Some(grid) = grid.filter(|g| g.height > 1 && g.width > 1) {
            grids.insert(output, grid);
        }
    }
    let alive = reaching(graph, &grids);
    grids.retain(|name, _| alive.contains(name));
    grids
}

/// The grid a node hands on from its inputs.
fn inherited(graph: &Graph, node: &Node, grids: &HashMap<&str, TokenGrid>, tokens: usize) -> Option<TokenGrid> {
    let of = |name: &String| grids.get(name.as_str()).copied();
    match node.op.as_str() {
        "Concat" if matches!(node.int("axis", 0), 1 | -2) => {
            // Only tokens in front: the grid is the last input.
            let grid = node.inputs.last().and_then(of)?;
            Some(TokenGrid { extra: tokens.checked_sub(grid.height * grid.width)?, ..grid })
        }
        "Slice" => node.inputs.first().and_then(of).filter(|g| g.height * g.width == tokens).map(|g| TokenGrid { extra: 0, ..g }),
        "MatMul" if graph.initializers.contains_key(node.input(1)?) => node.inputs.first().and_then(of),
        op if TOKENWISE.contains(&op) => node.inputs.iter().find_map(of),
        _ => None,
    }
    .filter(|g| g.height * g.width + g.extra == tokens)
}

/// Grids from which some patch still influences the logits.
fn reaching<'a>(graph: &'a Graph, grids: &HashMap<&'a str, TokenGrid>) -> HashSet<&'a str> {
    let mut alive: HashSet<&str> = HashSet::new();
    for node in graph.nodes.iter().rev() {
        let Some(output) = node.outputs.first().map(String::as_str) else { continue };
        let handed_on = grids.contains_key(output);
        if handed_on && !alive.contains(output) && graph.outputs.iter().all(|o| o.name != output) {
            continue;
        }
        for input in &node.inputs {
            if let Some((name, grid)) = grids.get_key_value(input.as_str())
                && (handed_on || !only_extra(graph, node, *grid))
            {
                alive.insert(name);
            }
        }
    }
    alive
}

/// Whether a node picks nothing but tokens in front of the patches.
fn only_extra(graph: &Graph, node: &Node, grid: TokenGrid) -> bool {
    let constant = |at: usize| graph.initializers.get(node.input(at)?)?.to_i64();
    let front = |v: i64| usize::try_from(v).is_ok_and(|v| v < grid.extra);
    match node.op.as_str() {
        "Gather" => node.int("axis", 0) == 1 && constant(1).is_some_and(|indices| indices.iter().all(|v| front(*v))),
        "Slice" => {
            let axis = constant(3).or_else(|| node.ints("axes").map(<[i64]>::to_vec));
            let ends = constant(2).or_else(|| node.ints("ends").map(<[i64]>::to_vec));
            axis.as_deref() == Some(&[1]) && ends.is_some_and(|e| e.iter().all(|v| *v > 0 && front(*v - 1)))
        }
        _ => false,
    }
}
