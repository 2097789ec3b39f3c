//! Makes a baked-in batch size dynamic.
//!
//! The graph is walked once with two states side by side: the static shapes the exporter saw, and two dynamic batch
//! sizes. Wherever a constant repeats the static batch (Reshape and Expand targets, operands of Concat and of
//! elementwise operators, Slice ends, Resize sizes, recurrent states), the node is rewritten before the dynamic walk
//! goes on. For every value the row-major position of the batch is tracked: the number of elements a sample index
//! jumps over from outside, i.e. the product of the dimensions before it. Reshapes keep that number, which tells where
//! the batch ends up however dimensions are merged and split, in batch-first and in `[T, N, C]` layouts alike.

use std::collections::HashMap;

use super::Names;
use crate::core::{
    error::{Error, Result},
    graph::{
        eval::{Value, geometry::axes::axis},
        infer::{Depth, Fact, Facts, POINTS, Walk, propagate},
    },
    onnx::{Graph, Node, TensorData},
};

/// Rewrites the graph for any batch size; `size` is the one the file fixes.
pub fn make_dynamic(graph: &mut Graph, image: &str, size: usize, names: &mut Names) -> Result<()> {
    if size == 0 {
        return Err(Error::Model("the model's batch size is 0; export it again".into()));
    }
    let fixed = propagate(graph, Depth::Constants, POINTS)?;
    super::set_batch(graph, image);
    let walk = Walk::new(graph, Depth::Constants, POINTS);
    let mut pass = Pass {
        size,
        image: image.to_owned(),
        fixed,
        walk,
        before: HashMap::from([(image.to_owned(), 1)]),
        names,
        nodes: Vec::new(),
        constants: Vec::new(),
        runtime: None,
    };
    for node in std::mem::take(&mut graph.nodes) {
        pass.node(node).map_err(|e| Error::Model(format!("the file fixes the batch size at {size} and no other size fits it: {e}")))?;
    }
    graph.nodes = pass.nodes;
    graph.initializers.extend(pass.constants);
    Ok(())
}

struct Pass<'a> {
    /// Static batch size.
    size: usize,
    image: String,
    /// Facts at the static size.
    fixed: Facts,
    /// Facts at the two dynamic sizes, as far as the walk has come.
    walk: Walk,
    /// Product of the static dimensions before the batch, for every value that carries it.
    before: HashMap<String, usize>,
    names: &'a mut Names,
    nodes: Vec<Node>,
    constants: Vec<(String, TensorData)>,
    /// Name of the runtime batch size, an i64 `[1]`, once it is needed.
    runtime: Option<String>,
}

/// The axis along which a value varies with the batch, when it is exactly one.
fn batch_axis(fact: &Fact) -> Option<usize> {
    let [Some(a), Some(b)] = &fact.shapes else { return None };
    let mut varying = (0..a.len().min(b.len())).filter(|&i| a[i] != b[i]);
    varying.next().filter(|_| a.len() == b.len() && varying.next().is_none())
}

fn product(dims: &[usize]) -> usize {
    dims.iter().product()
}

impl Pass<'_> {
    fn node(&mut self, mut node: Node) -> Result<()> {
        if node.domain.is_empty() {
            match node.op.as_str() {
                "Reshape" | "Flatten" => self.reshape(&mut node),
                "Gather" => self.gather(&mut node),
                "Squeeze" => self.squeeze(&mut node),
                "Expand" => self.expand(&mut node)?,
                "Slice" => self.slice(&mut node),
                "Resize" => self.resize(&mut node)?,
                "LSTM" | "GRU" | "RNN" => self.states(&mut node)?,
                "Concat" | "Add" | "Sub" | "Mul" | "Div" | "Where" | "Max" | "Min" | "Sum" | "Pow" | "MatMul" | "And" | "Or" | "Equal" => {
                    self.operands(&mut node)?
                }
                _ => {}
            }
        }
        self.push(node)
    }

    /// Appends a node and tracks where its outputs carry the batch.
    fn push(&mut self, node: Node) -> Result<()> {
        self.walk.step(&node)?;
        let source = node
            .inputs
            .iter()
            .find_map(|i| Some((self.before.get(i).copied()?, batch_axis(self.walk.facts.get(i)?)?, self.shape(i)?.to_vec())));
        for output in &node.outputs {
            let (Some((before, from, input)), Some(to), Some(shape)) =
                (&source, self.walk.facts.get(output).and_then(batch_axis), self.shape(output))
            else {
                continue;
            };
            let position = match node.op.as_str() {
                "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => *before,
                _ => product(&shape[..to]) * (before / product(&input[..*from]).max(1)).max(1),
            };
            self.before.insert(output.clone(), position);
        }
        self.nodes.push(node);
        Ok(())
    }

    /// Shape at the static batch size.
    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.fixed.get(name)?.shapes[0].as_deref()
    }

    fn dynamic_axis(&self, name: &str) -> Option<usize> {
        self.walk.facts.get(name).and_then(batch_axis)
    }

    /// A value that is known and does not depend on the batch.
    fn known(&self, name: &str) -> Option<&Value> {
        self.walk.facts.get(name).filter(|f| f.constant)?.values[0].as_deref()
    }

    fn constant(&mut self, what: &str, tensor: TensorData) -> String {
        let name = self.names.fresh(what);
        self.walk.constant(&name, &tensor);
        self.constants.push((name.clone(), tensor));
        name
    }

    fn ints(&mut self, what: &str, values: &[i64]) -> String {
        self.constant(what, TensorData::i64(&[values.len()], values))
    }

    /// The axis of a value reshaped from `input` to `shape` that holds the batch, which has `before` elements outside it
    /// and is axis `from` of the input.
    ///
    /// With a static batch of 1 several axes may qualify. An axis of exactly that size is the batch itself; without one, a
    /// batch that stood between other dimensions and has vanished was merged into the rows before it; else it was merged
    /// into what follows it.
    fn place(&self, input: &[usize], from: usize, shape: &[usize], before: usize) -> Option<usize> {
        let exact = |j: usize| product(&shape[..j]) == before && shape[j].is_multiple_of(self.size);
        let fitting: Vec<usize> = (0..shape.len()).filter(|&j| exact(j)).collect();
        let same: Vec<usize> = fitting.iter().copied().filter(|&j| shape[j] == self.size && input[from] == self.size).collect();
        if let Some(&first) = same.first() {
            return Some(if same.contains(&from) { from } else { first });
        }
        let rest = &input[from + 1..];
        let dropped = |j: usize| (j + 1 == shape.len() && self.size == 1) || (input[from] == 1 && shape[j..] == *rest);
        if before > 1
            && let Some(rows) = fitting.iter().copied().find(|&j| j > 0 && dropped(j))
        {
            return Some(rows - 1);
        }
        let inside = |j: &usize| {
            let outer = product(&shape[..*j]);
            outer < before && before < outer * shape[*j]
        };
        fitting.first().copied().or_else(|| (0..shape.len()).find(inside))
    }

    fn reshape(&mut self, node: &mut Node) {
        let (Some(input), Some(output)) = (node.input(0).map(str::to_owned), node.outputs.first().cloned()) else { return };
        let (Some(from), Some(&before)) = (self.dynamic_axis(&input), self.before.get(&input)) else { return };
        let Some(shape) = self.shape(&output).map(<[usize]>::to_vec) else { return };
        let Some(to) = self.shape(&input).and_then(|s| self.place(s, from, &shape, before)) else { return };
        let wanted =
            |point: usize| shape.iter().enumerate().map(|(i, &d)| if i == to { d / self.size * point } else { d }).collect::<Vec<_>>();
        // The exporter's own target is kept where it already follows the batch.
        let follows = |f: &Fact| (0..2).all(|p| f.shapes[p].as_ref().is_some_and(|s| *s == wanted(POINTS[p])));
        if self.walk.probe(node).is_ok_and(|facts| facts.first().is_some_and(follows)) {
            return;
        }
        if node.op == "Reshape" && node.input(1).is_none_or(|t| self.known(t).is_none()) {
            return;
        }
        let target: Vec<i64> = shape.iter().enumerate().map(|(i, &d)| if i == to { -1 } else { d as i64 }).collect();
        let target = self.ints("shape", &target);
        *node = Node { name: node.name.clone(), ..Node::new("Reshape", &[&input, &target], &[&output]) };
    }

    /// A Gather that takes the whole batch in order is a Reshape.
    fn gather(&mut self, node: &mut Node) {
        let (Some(input), Some(indices), Some(output)) = (node.input(0).map(str::to_owned), node.input(1), node.outputs.first().cloned())
        else {
            return;
        };
        let (Some(batch), Some(shape), Some(to)) =
            (self.dynamic_axis(&input), self.shape(&input), self.shape(&output).map(<[usize]>::to_vec))
        else {
            return;
        };
        let along = axis(node.int("axis", 0), shape.len()).ok() == Some(batch);
        if along && self.known(indices).is_some_and(|v| v.to_ints().into_iter().eq(0..shape[batch] as i64)) {
            let target = self.ints("shape", &to.iter().map(|&d| d as i64).collect::<Vec<_>>());
            *node = Node { name: node.name.clone(), ..Node::new("Reshape", &[&input, &target], &[&output]) };
            self.reshape(node);
        }
    }

    /// A batch of 1 must not be squeezed away.
    fn squeeze(&mut self, node: &mut Node) {
        let Some(input) = node.input(0).map(str::to_owned) else { return };
        let (Some(batch), Some(shape)) = (self.dynamic_axis(&input), self.shape(&input).map(<[usize]>::to_vec)) else { return };
        let listed = match (node.ints("axes").map(<[i64]>::to_vec), node.input(1)) {
            (Some(list), _) => list,
            (None, Some(name)) => match self.known(name) {
                Some(v) => v.to_ints(),
                None => return,
            },
            (None, None) => (0..shape.len() as i64).filter(|&i| shape[i as usize] == 1).collect(),
        };
        let axes: Vec<i64> = listed.iter().filter_map(|&a| axis(a, shape.len()).ok()).filter(|&a| a != batch).map(|a| a as i64).collect();
        let name = self.ints("axes", &axes);
        node.attrs.remove("axes");
        node.inputs = vec![input, name];
        if axes.is_empty() {
            node.op = "Identity".into();
            node.inputs.truncate(1);
        }
    }

    /// An Expand that repeats the batch size broadcasts along it instead.
    fn expand(&mut self, node: &mut Node) -> Result<()> {
        let (Some(input), Some(target)) = (node.input(0).map(str::to_owned), node.input(1).map(str::to_owned)) else { return Ok(()) };
        let Some(shape) = self.shape(&input).map(<[usize]>::to_vec) else { return Ok(()) };
        let Some(batch) = self.dynamic_axis(&input) else { return self.expand_constant(node, &input, &target, &shape) };
        let Some(mut list) = self.known(&target).map(Value::to_ints) else { return Ok(()) };
        let Some(at) = (batch + list.len()).checked_sub(shape.len()) else { return Ok(()) };
        if list[at] == shape[batch] as i64 {
            list[at] = 1;
            node.inputs[1] = self.ints("shape", &list);
        }
        Ok(())
    }

    /// What holds one static batch and is expanded to a size that follows the batch: states of recurrent layers.
    fn expand_constant(&mut self, node: &mut Node, input: &str, target: &str, shape: &[usize]) -> Result<()> {
        let at_static = self.fixed.get(target).and_then(|f| f.values[0].as_deref()).map(Value::to_ints);
        let varying = self.walk.facts.get(target).map(|f| f.values.each_ref().map(|v| v.as_deref().map(Value::to_ints)));
        let (Some(list), Some([Some(a), Some(b)])) = (at_static, varying) else { return Ok(()) };
        let Some(offset) = list.len().checked_sub(shape.len()).filter(|_| a.len() == list.len() && b.len() == list.len()) else {
            return Ok(());
        };
        let follows = |at: &usize| shape[*at] > 1 && shape[*at] as i64 == list[at + offset] && a[at + offset] != b[at + offset];
        if let Some(at) = (0..shape.len()).find(follows) {
            node.inputs[0] = self.repeat(input, at, shape[at])?;
        }
        Ok(())
    }

    /// A Slice that takes the whole batch takes it to the end.
    fn slice(&mut self, node: &mut Node) {
        let Some(input) = node.input(0).map(str::to_owned) else { return };
        let (Some(batch), Some(shape)) = (self.dynamic_axis(&input), self.shape(&input).map(<[usize]>::to_vec)) else { return };
        let list = |i: usize| node.input(i).and_then(|n| self.known(n)).map(Value::to_ints);
        let (Some(starts), Some(mut ends)) = (list(1), list(2)) else { return };
        let axes = list(3).unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = list(4).unwrap_or_else(|| vec![1; starts.len()]);
        let Some(k) = axes.iter().position(|&a| axis(a, shape.len()).ok() == Some(batch)) else { return };
        if starts[k] == 0 && steps[k] == 1 && ends[k] >= shape[batch] as i64 {
            ends[k] = i64::MAX;
            node.inputs[2] = self.ints("ends", &ends);
        }
    }

    /// Sizes of a Resize that repeat the batch size follow the runtime batch.
    fn resize(&mut self, node: &mut Node) -> Result<()> {
        let (Some(input), Some(sizes)) = (node.input(0).map(str::to_owned), node.input(3).map(str::to_owned)) else { return Ok(()) };
        let (Some(0), Some(list)) = (self.dynamic_axis(&input), self.known(&sizes).map(Value::to_ints)) else { return Ok(()) };
        if node.attrs.contains_key("axes") || list.first() != Some(&(self.size as i64)) {
            return Ok(());
        }
        let (batch, rest, joined) = (self.runtime()?, self.ints("sizes", &list[1..]), self.names.fresh("sizes"));
        self.push(Node::new("Concat", &[&batch, &rest], &[&joined]).with("axis", 0))?;
        node.inputs[3] = joined;
        Ok(())
    }

    /// Initial states of recurrent layers repeat along their second dimension.
    fn states(&mut self, node: &mut Node) -> Result<()> {
        for i in 5..node.inputs.len().min(7) {
            if let Some(name) = node.input(i).map(str::to_owned).filter(|n| self.dynamic_axis(n).is_none()) {
                let at = usize::from(node.int("layout", 0) == 0);
                node.inputs[i] = self.repeat(&name, at, self.size)?;
            }
        }
        Ok(())
    }

    /// Repeats operands that hold one static batch next to operands that follow the batch.
    fn operands(&mut self, node: &mut Node) -> Result<()> {
        let lead = node.inputs.iter().find_map(|i| Some((self.dynamic_axis(i)?, self.shape(i)?.to_vec())));
        let Some((batch, shape)) = lead else { return Ok(()) };
        let joins = node.op == "Concat";
        if joins && axis(node.int("axis", 1), shape.len()).ok() == Some(batch) {
            return Ok(());
        }
        let from_end = shape.len() - batch;
        if node.op == "MatMul" && from_end <= 2 {
            return Ok(());
        }
        for i in 0..node.inputs.len() {
            let name = node.inputs[i].clone();
            let Some(own) = self.shape(&name).map(<[usize]>::to_vec) else { continue };
            if self.dynamic_axis(&name).is_some() || own.len() < from_end {
                continue;
            }
            let at = own.len() - from_end;
            if own[at] == shape[batch] && (joins || own[at] > 1) {
                node.inputs[i] = self.repeat(&name, at, shape[batch])?;
            }
        }
        Ok(())
    }

    /// A value with `dim` (a multiple of the static batch) entries along `at`, repeated for the runtime batch.
    fn repeat(&mut self, name: &str, at: usize, dim: usize) -> Result<String> {
        let Some(shape) = self.shape(name).map(<[usize]>::to_vec) else { return Ok(name.to_owned()) };
        let mut source = name.to_owned();
        if self.size > 1 {
            let (start, end, axes) =
                (self.ints("starts", &[0]), self.ints("ends", &[(dim / self.size) as i64]), self.ints("axes", &[at as i64]));
            let first = self.names.fresh("first");
            self.push(Node::new("Slice", &[name, &start, &end, &axes], &[&first]))?;
            source = first;
        }
        let batch = self.runtime()?;
        let ones = |n: usize| vec![1; n];
        let (outer, inner) = (self.ints("ones", &ones(at)), self.ints("ones", &ones(shape.len() - at - 1)));
        let (repeats, result) = (self.names.fresh("repeats"), self.names.fresh("repeated"));
        self.push(Node::new("Concat", &[&outer, &batch, &inner], &[&repeats]).with("axis", 0))?;
        self.push(Node::new(if dim == self.size { "Expand" } else { "Tile" }, &[&source, &repeats], &[&result]))?;
        Ok(result)
    }

    /// The batch size of the image at run time, `[1]`.
    fn runtime(&mut self) -> Result<String> {
        if let Some(name) = &self.runtime {
            return Ok(name.clone());
        }
        let (shape, batch) = (self.names.fresh("image_shape"), self.names.fresh("batch"));
        let (start, end) = (self.ints("starts", &[0]), self.ints("ends", &[1]));
        let image = self.image.clone();
        self.push(Node::new("Shape", &[&image], &[&shape]))?;
        self.push(Node::new("Slice", &[&shape, &start, &end], &[&batch]))?;
        self.runtime = Some(batch.clone());
        Ok(batch)
    }
}
