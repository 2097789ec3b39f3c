//! Folds BatchNormalization into the convolution or matrix product before it.

use std::collections::HashMap;

use super::{Names, prune::prune};
use crate::core::onnx::{Graph, Node, TensorData};

/// Folds wherever the product's output has no other use and is not in `keep`; elsewhere the node stays.
pub fn fold(graph: &mut Graph, names: &mut Names, keep: &[String]) {
    let mut uses: HashMap<String, usize> = HashMap::new();
    for name in graph.nodes.iter().flat_map(|n| &n.inputs).chain(graph.outputs.iter().map(|o| &o.name)) {
        *uses.entry(name.clone()).or_default() += 1;
    }
    let producers: HashMap<String, usize> =
        graph.nodes.iter().enumerate().filter_map(|(i, n)| Some((n.outputs.first()?.clone(), i))).collect();
    let mut gone = Vec::new();
    for i in 0..graph.nodes.len() {
        let norm = &graph.nodes[i];
        if norm.op != "BatchNormalization" || !norm.domain.is_empty() || norm.int("training_mode", 0) != 0 {
            continue;
        }
        let free = |x: &&str| uses.get(*x) == Some(&1) && !keep.iter().any(|k| k == x);
        let Some(&p) = norm.input(0).filter(free).and_then(|x| producers.get(x)) else { continue };
        let Some((weights, bias)) = folded(graph, &graph.nodes[p], norm) else { continue };
        let output = norm.outputs[0].clone();
        let (w, b) = (names.fresh("weight"), names.fresh("bias"));
        graph.initializers.insert(w.clone(), weights);
        graph.initializers.insert(b.clone(), bias);
        let product = &mut graph.nodes[p];
        product.inputs.truncate(1);
        product.inputs.extend([w, b]);
        product.outputs = vec![output];
        gone.push(i);
    }
    let mut index = 0;
    graph.nodes.retain(|_| {
        index += 1;
        !gone.contains(&(index - 1))
    });
    prune(graph);
}

/// New weights and bias of the product.
fn folded(graph: &Graph, product: &Node, norm: &Node) -> Option<(TensorData, TensorData)> {
    let constant = |node: &Node, i: usize| graph.initializers.get(node.input(i)?)?.to_f64();
    if !product.domain.is_empty() {
        return None;
    }
    let dims = &graph.initializers.get(product.input(1)?)?.dims;
    let weights = constant(product, 1)?;
    let (scale, shift, mean, var) = (constant(norm, 1)?, constant(norm, 2)?, constant(norm, 3)?, constant(norm, 4)?);
    let eps = f64::from(norm.float("epsilon", 1e-5));
    let factor: Vec<f64> = scale.iter().zip(&var).map(|(s, v)| s / (v + eps).sqrt()).collect();
    let channels = factor.len();
    let groups = product.int("group", 1).max(1) as usize;
    let inner: usize = dims.get(2..)?.iter().product();
    let channel: Box<dyn Fn(usize) -> usize> = match product.op.as_str() {
        "Conv" => Box::new(move |i| i / (dims[1] * inner)),
        "ConvTranspose" => {
            let (cin, per) = (dims[0], dims[1]);
            Box::new(move |i| (i / (per * inner)) / (cin / groups).max(1) * per + i / inner % per)
        }
        "Gemm" if product.float("alpha", 1.0) == 1.0 && product.float("beta", 1.0) == 1.0 => {
            let (columns, transposed) = (dims[1], product.int("transB", 0) != 0);
            Box::new(move |i| if transposed { i / columns } else { i % columns })
        }
        _ => return None,
    };
    let bias = match product.input(2) {
        Some(_) => constant(product, 2)?,
        None => vec![0.0; channels],
    };
    let bias = if bias.len() == 1 { vec![bias[0]; channels] } else { bias };
    if bias.len() != channels || shift.len() != channels || weights.is_empty() || channel(weights.len() - 1) != channels - 1 {
        return None;
    }
    let weights: Vec<f32> = weights.iter().enumerate().map(|(i, w)| (w * factor[channel(i)]) as f32).collect();
    let bias: Vec<f32> = (0..channels).map(|c| ((bias[c] - mean[c]) * factor[c] + shift[c]) as f32).collect();
    Some((TensorData::f32(dims, &weights), TensorData::f32(&[channels], &bias)))
}
