//! Gradient graphs that were exported elsewhere: read, compared with the model, and turned into the objectives that attacks use.
//!
//! The contract is in `onnx/README.md`: metadata names the image, the logits, the cotangent of the logits, and the gradient of
//! `sum(cotangent * logits)` with respect to the image. Such a graph has no loss head, so cross-entropy and margin take two
//! runs: the model's own forward graph gives the logits, the cotangent is computed from them here, and the gradient graph runs
//! with that cotangent. A linear objective takes one run. No step uses the logits of another image: the gradient is exact.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
};

use ndarray::{Array1, Array2, ArrayView1, ArrayView2};

use super::model_file;
use crate::core::{
    error::{Error, Result},
    graph::{Instrumented, Layout, Prepared},
    onnx::{Attr, DType, Dim, Graph, Node, ValueInfo, write},
    oracle::Objective,
    scalars,
};

/// Largest difference of the logits of the two graphs, over the range of an image's logits. Half precision stays far below; another
/// model, other weights or another preprocessing far above.
const AGREEMENT: f32 = 0.05;

/// A gradient graph from a file, checked against the model that it belongs to.
#[derive(Debug)]
pub struct GradModel {
    path: PathBuf,
    bytes: Vec<u8>,
    names: Instrumented,
    layout: Layout,
    batch: Option<usize>,
}

impl GradModel {
    /// Reads a gradient graph and checks that it has the parts of the contract, in the shapes of the model.
    pub fn open(path: &Path, prepared: &Prepared) -> Result<Self> {
        let loaded = model_file::load(path)?;
        let graph = loaded.graph;
        let fail = |text: String| Error::Model(format!("{}: {text}", path.display()));
        let names = names(&graph).and_then(|n| only_these_inputs(&graph, &n).map(|()| n)).map_err(fail)?;
        let (layout, batch) = shapes(&graph, &names, prepared).map_err(fail)?;
        // Weights in other files were read into the graph; without any, the file itself is what the engine gets.
        let bytes = if loaded.sha256 == loaded.fingerprint {
            std::fs::read(path).map_err(|e| Error::Input(format!("{}: cannot be read ({e})", path.display())))?
        } else {
            write::to_bytes(&graph)
        };
        Ok(Self { path: path.to_owned(), bytes, names, layout, batch })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The graph, serialised.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Names of its inputs and outputs; the graph in it is empty.
    pub(super) fn names(&self) -> &Instrumented {
        &self.names
    }

    /// Order of the dimensions of its image input.
    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// Its batch, when that is fixed.
    pub(super) fn batch(&self) -> Option<usize> {
        self.batch
    }

    /// Outputs with the value and the gradient of a tensor of the model, when it has them.
    pub(super) fn tap(&self, tensor: &str) -> Option<(String, String)> {
        self.names.taps.iter().find(|(value, _)| value == tensor).and_then(|(value, gradient)| Some((value.clone(), gradient.clone()?)))
    }

    /// Refuses a graph whose logits are not the model's.
    pub(super) fn agree(&self, model: &Array2<f32>, own: &Array2<f32>) -> Result<()> {
        for (a, b) in model.rows().into_iter().zip(own.rows()) {
            let (low, high) = a.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
            let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0f32, |m, d| if d.is_nan() { d } else { m.max(d) });
            let range = high - low;
            // A model that gives NaN says so elsewhere.
            if range.is_finite() && (worst.is_nan() || worst > AGREEMENT * range.max(1e-3)) {
                return Err(Error::Model(format!(
                    "{}: its logits differ from the model's by up to {worst:.3}; export it from the same network and weights, without mean \
                     and std and without a final softmax",
                    self.path.display()
                )));
            }
        }
        Ok(())
    }
}

/// Turns a gradient graph into the forward graph that is in it; false, and nothing changes, when it is none.
pub fn forward_part(graph: &mut Graph) -> bool {
    let Ok(names) = names(graph) else { return false };
    // What the body of an If or a Loop uses from outside is not visible here.
    if graph.nodes.iter().flat_map(|n| n.attrs.values()).any(|a| matches!(a, Attr::Opaque(_))) {
        return false;
    }
    // An exporter may read the batch size from either input.
    for node in graph.nodes.iter_mut().filter(|n| n.op == "Shape" && n.int("start", 0) == 0 && n.int("end", i64::MAX) == 1) {
        if node.inputs.first() == names.cotangent.as_ref() {
            node.inputs[0].clone_from(&names.image);
        }
    }
    let mut needed: HashSet<String> = HashSet::from([names.logits.clone()]);
    // Nodes come in topological order.
    let mut kept: Vec<_> = std::mem::take(&mut graph.nodes).into_iter().rev().filter(|n| keep(n, &mut needed)).collect();
    kept.reverse();
    graph.nodes = kept;
    graph.inputs.retain(|v| v.name == names.image);
    graph.outputs.retain(|v| v.name == names.logits);
    graph.initializers.retain(|name, _| needed.contains(name));
    graph.metadata.retain(|key, _| !key.starts_with("psescope."));
    true
}

/// Whether something needed comes out of a node; what goes in is needed then.
fn keep(node: &Node, needed: &mut HashSet<String>) -> bool {
    let wanted = node.outputs.iter().any(|o| needed.contains(o));
    if wanted {
        needed.extend(node.inputs.iter().cloned());
    }
    wanted
}

/// The tensors that the metadata names.
fn names(graph: &Graph) -> Result<Instrumented, String> {
    let entry = |role: &str| graph.metadata.get(&format!("psescope.{role}")).cloned();
    match entry("kind").as_deref() {
        Some("gradient") => {}
        Some(other) => return Err(format!("it is marked as '{other}', not as a gradient graph; export one with onnx/export_gradient.py")),
        None => return Err("it is no gradient graph (metadata psescope.kind is missing); export one with onnx/export_gradient.py".into()),
    }
    if entry("loss").is_some() {
        return Err("it has a loss head, which fixes the objective; write it without one (psescope grad --loss none)".into());
    }
    let named = |role: &str, list: &[ValueInfo], what: &str| -> Result<String, String> {
        let name = entry(role).ok_or_else(|| format!("its metadata does not name psescope.{role}; export it again with all four names"))?;
        let found = list.iter().any(|v| v.name == name);
        found
            .then_some(name.clone())
            .ok_or_else(|| format!("its metadata names {what} '{name}' as psescope.{role}, which it does not have"))
    };
    let mut taps = Vec::new();
    let output = |name: &str| graph.outputs.iter().any(|o| o.name == name);
    for value in &graph.outputs {
        let gradient = format!("grad_{}", value.name);
        if output(&gradient) {
            taps.push((value.name.clone(), Some(gradient)));
        }
    }
    for i in 0.. {
        let Some(value) = entry(&format!("tap.{i}")) else { break };
        let Some(gradient) = entry(&format!("tap.{i}.grad")) else { continue };
        if output(&value) && output(&gradient) && !taps.iter().any(|(v, _)| *v == value) {
            taps.push((value, Some(gradient)));
        }
    }
    Ok(Instrumented {
        image: named("image", &graph.inputs, "an input")?,
        cotangent: Some(named("cotangent", &graph.inputs, "an input")?),
        logits: named("logits", &graph.outputs, "an output")?,
        grad_image: Some(named("grad_image", &graph.outputs, "an output")?),
        graph: Graph::default(),
        labels: None,
        loss: None,
        taps,
        gates: Vec::new(),
        update: BTreeMap::new(),
    })
}

fn only_these_inputs(graph: &Graph, names: &Instrumented) -> Result<(), String> {
    let known = |v: &&ValueInfo| v.name == names.image || names.cotangent.as_ref() == Some(&v.name);
    match graph.inputs.iter().find(|v| !known(v)) {
        Some(other) => Err(format!("it has another input '{}'; a gradient graph takes only the image and the cotangent", other.name)),
        None => match graph.inputs.iter().find(|v| v.ty.dtype != DType::F32) {
            Some(odd) => Err(format!("its input '{}' is not float32; export it with float32 inputs", odd.name)),
            None => Ok(()),
        },
    }
}

/// The declared size of a dimension, when it is fixed.
fn fixed(dim: &Dim) -> Option<usize> {
    if let Dim::Fixed(n) = dim { Some(*n) } else { None }
}

fn show(shape: &[Dim]) -> String {
    let dims: Vec<String> = shape.iter().map(|d| fixed(d).map_or_else(|| "?".into(), |n| n.to_string())).collect();
    format!("[{}]", dims.join(", "))
}

/// Compares declared shapes with the model's; undeclared ones pass. Gives the layout, and the batch when it is fixed.
fn shapes(graph: &Graph, names: &Instrumented, prepared: &Prepared) -> Result<(Layout, Option<usize>), String> {
    let declared = |list: &[ValueInfo], name: &str| list.iter().find(|v| v.name == name).and_then(|v| v.ty.shape.clone());
    let agrees = |shape: &[Dim], wanted: &[usize]| {
        shape.len() == wanted.len() + 1 && shape[1..].iter().zip(wanted).all(|(d, w)| fixed(d).is_none_or(|n| n == *w))
    };
    let [c, h, w] = prepared.shape;
    let of = |layout| if layout == Layout::Nchw { [c, h, w] } else { [h, w, c] };
    let other = if prepared.layout == Layout::Nchw { Layout::Nhwc } else { Layout::Nchw };
    let image = declared(&graph.inputs, &names.image);
    let layout = match &image {
        None => prepared.layout,
        Some(shape) => [prepared.layout, other].into_iter().find(|l| agrees(shape, &of(*l))).ok_or_else(|| {
            format!("its image has shape {} and the model takes [N, {c}, {h}, {w}]; export it for the same input size", show(shape))
        })?,
    };
    let gradient = names.grad_image.as_deref().and_then(|name| declared(&graph.outputs, name));
    if let Some(shape) = gradient.filter(|s| !agrees(s, &of(layout))) {
        return Err(format!("its image gradient has shape {} and its image is {:?}; both must be the same", show(&shape), of(layout)));
    }
    let cotangent = names.cotangent.as_deref().and_then(|name| declared(&graph.inputs, name));
    for (what, shape) in [("logits have", declared(&graph.outputs, &names.logits)), ("cotangent has", cotangent)] {
        if let Some(shape) = shape.filter(|s| !agrees(s, &[prepared.classes])) {
            let classes = prepared.classes;
            return Err(format!("its {what} shape {} and the model has {classes} classes; export it from the same network", show(&shape)));
        }
    }
    let batch = image.as_deref().and_then(<[Dim]>::first).and_then(fixed);
    match batch {
        Some(n) if n > 1 => Err(format!("its batch is fixed to {n}; export it with a dynamic batch, or with a batch of 1")),
        batch => Ok((layout, batch)),
    }
}

/// Value per sample and derivative with respect to the logits `[N, K]`, as the loss heads of the compiler compute them.
pub(super) fn slope(objective: &Objective, logits: ArrayView2<f32>) -> (Array1<f32>, Array2<f32>) {
    let mut loss = Array1::zeros(logits.nrows());
    let mut cotangent = Array2::zeros(logits.raw_dim());
    for (n, (row, mut out)) in logits.rows().into_iter().zip(cotangent.rows_mut()).enumerate() {
        loss[n] = match objective {
            Objective::Linear { cotangent } => {
                out.assign(&cotangent.row(n));
                row.dot(&out)
            }
            Objective::CrossEntropy { labels } => {
                let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f64 = row.iter().map(|v| f64::from(v - top).exp()).sum();
                out.zip_mut_with(&row, |o, v| *o = (f64::from(v - top).exp() / sum) as f32);
                out[labels[n]] -= 1.0;
                (sum.ln() - f64::from(row[labels[n]] - top)) as f32
            }
            Objective::Ratio { labels, targets } => {
                let (value, slope) = scalars::ratio(row, labels[n], targets.map(|t| t[n]));
                out.assign(&slope);
                value
            }
            Objective::Margin { labels, targeted, kappa } => {
                let direction = if *targeted { 1.0 } else { -1.0 };
                let rival = rival(row, labels[n]);
                let margin = direction * (rival.map_or(-1e30, |r| row[r]) - row[labels[n]]);
                if margin > -kappa {
                    out[labels[n]] -= direction;
                    rival.into_iter().for_each(|r| out[r] += direction);
                }
                margin.max(-kappa)
            }
        };
    }
    (loss, cotangent)
}

/// The class with the largest logit besides `label`; the first of equals.
fn rival(row: ArrayView1<f32>, label: usize) -> Option<usize> {
    (0..row.len()).filter(|j| *j != label).reduce(|a, b| if row[b] > row[a] { b } else { a })
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn slopes_are_the_derivatives_of_the_values() {
        let z = array![[1.0f32, 3.0, -2.0], [0.5, 0.25, 0.75]];
        let labels = [0usize, 2];
        let objectives = [
            Objective::CrossEntropy { labels: &labels },
            Objective::Margin { labels: &labels, targeted: true, kappa: 0.1 },
            Objective::Margin { labels: &labels, targeted: false, kappa: 0.1 },
        ];
        for objective in objectives {
            let (_, slopes) = slope(&objective, z.view());
            for ((n, k), s) in slopes.indexed_iter() {
                let at = |step: f32| {
                    let mut z = z.clone();
                    z[[n, k]] += step;
                    slope(&objective, z.view()).0[n]
                };
                let difference = (at(0.01) - at(-0.01)) / 0.02;
                assert!((difference - s).abs() < 1e-3, "{objective:?} [{n}, {k}]: {difference} {s}");
            }
        }
        let huge = array![[1000.0f32, -1000.0]];
        let (loss, slopes) = slope(&Objective::CrossEntropy { labels: &[1] }, huge.view());
        assert_eq!((loss[0], slopes), (2000.0, array![[1.0, -1.0]]));
    }

    #[test]
    fn the_hinge_rests_at_kappa() {
        let z = array![[5.0f32, 1.0]];
        let (loss, slopes) = slope(&Objective::Margin { labels: &[0], targeted: true, kappa: 2.0 }, z.view());
        assert_eq!((loss[0], slopes), (-2.0, array![[0.0, 0.0]]));
    }
}
