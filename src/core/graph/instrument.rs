//! Composes the passes: gates, loss head, backward pass, taps; names, metadata, and nothing that is not needed.

use std::collections::{BTreeMap, HashSet};

use super::{
    Instrumentation, Instrumented, Loss, Prepared, TapKind, gate,
    grad::{builder::Builder, differentiate, prune::prune},
    loss::{self, Head},
    tap, units, update,
};
use crate::core::{
    error::{Error, Result},
    onnx::{DType, Graph},
};

/// Adds what `spec` asks for to a prepared model. Deterministic: the same request gives the same graph.
pub fn instrument(prepared: &Prepared, spec: &Instrumentation) -> Result<Instrumented> {
    let mut graph = prepared.graph.clone();
    let gates = spec.gates.iter().map(|g| gate::apply(&mut graph, g)).collect::<Result<Vec<_>>>()?;
    let (image, logits) = (prepared.image.clone(), prepared.logits.clone());
    graph.outputs.retain(|o| o.name == logits);
    let b = Builder::new(graph);
    tap::output(&b, &logits);
    for (tensor, kind) in &spec.taps {
        let dtype = b.dtype(tensor);
        if dtype == DType::Other(0) {
            return Err(Error::Model(format!("the model has no tensor '{tensor}'; pick a layer from `inspect`")));
        }
        if !dtype.is_float() && *kind != TapKind::Value {
            return Err(Error::Model(format!("'{tensor}' holds integers, which have no gradient; pick a layer from `inspect`")));
        }
    }
    let wanted = wanted(&image, spec);
    let backward = !wanted.is_empty();
    let head = loss::head(&b, spec.loss, &logits, prepared.classes, backward)?;
    let mut cotangent = None;
    let mut gradients = BTreeMap::new();
    if backward {
        let seed = match head.as_ref().and_then(|h| h.cotangent.clone()) {
            Some(seed) => seed,
            None => cotangent.insert(loss::input(&b, "cotangent", b.dtype(&logits), b.ty(&logits).shape.unwrap_or_default())).clone(),
        };
        let sweep = differentiate(&b, &[(logits.clone(), seed)], &wanted)?;
        if !sweep.missing.is_empty() {
            return Err(Error::MissingRules(sweep.missing));
        }
        gradients = sweep.gradients;
    }
    let loss = head.as_ref().map(|h| tap::output_as(&b, &h.loss, "loss"));
    // Two tensors may share one gradient (the branches of a sum): the second becomes a copy of the first one's output.
    let (mut named, mut renamed) = (BTreeMap::new(), BTreeMap::<String, String>::new());
    let mut gradient = |tensor: &str, wish: &str| -> String {
        let name = named.entry(tensor.to_owned()).or_insert_with(|| {
            let value = gradients.get(tensor).cloned().unwrap_or_else(|| b.zeros_like(tensor, b.dtype(tensor)));
            let name = tap::output_as(&b, renamed.get(&value).unwrap_or(&value), wish);
            renamed.entry(value).or_insert_with(|| name.clone());
            name
        });
        name.clone()
    };
    let grad_image = spec.image_gradient.then(|| gradient(&image, "grad_image"));
    let mut taps = Vec::new();
    let last = if spec.taps.is_empty() { HashSet::new() } else { units::channels_last(prepared) };
    for (tensor, kind) in &spec.taps {
        let value = tap::value(&b, tensor, *kind, last.contains(tensor))?;
        taps.push((value, (*kind == TapKind::ValueAndGradient).then(|| gradient(tensor, &format!("grad_{tensor}")))));
    }
    let mut graph = b.finish();
    if spec.cut && !taps.is_empty() && !backward && spec.loss == Loss::None && spec.update.is_none() {
        graph.outputs.retain(|o| taps.iter().any(|(value, _)| *value == o.name));
    }
    prune(&mut graph);
    graph.ir_version = ir_version(graph.opset);
    let done = Instrumented {
        graph,
        image,
        logits,
        cotangent,
        labels: head.as_ref().map(|h| (h.labels.clone(), h.weights.clone())),
        loss,
        grad_image,
        taps,
        gates,
        update: BTreeMap::new(),
    };
    let done = match &spec.update {
        Some(update) => update::attach(done, prepared, update)?,
        None => done,
    };
    Ok(with_metadata(done, head.as_ref(), backward))
}

/// The tensors whose gradient is an output, the image first.
fn wanted(image: &str, spec: &Instrumentation) -> Vec<String> {
    let mut wanted: Vec<String> = if spec.image_gradient { vec![image.to_owned()] } else { Vec::new() };
    for (tensor, _) in spec.taps.iter().filter(|(_, k)| *k == TapKind::ValueAndGradient) {
        if !wanted.contains(tensor) {
            wanted.push(tensor.clone());
        }
    }
    wanted
}

/// The oldest file format version that carries the operator set: old engines read it.
fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        23 => 11,
        24 => 12,
        _ => 13,
    }
}

/// Writes the names into the file, so that a reader needs no convention.
fn with_metadata(mut done: Instrumented, head: Option<&Head>, backward: bool) -> Instrumented {
    let mut entries: Vec<(String, Option<&str>)> = vec![
        ("kind".into(), Some(if backward { "gradient" } else { "inference" })),
        ("image".into(), Some(&done.image)),
        ("logits".into(), Some(&done.logits)),
        ("cotangent".into(), done.cotangent.as_deref()),
        ("grad_image".into(), done.grad_image.as_deref()),
        ("loss".into(), done.loss.as_deref()),
        ("labels".into(), head.map(|h| h.labels.as_str())),
        ("weights".into(), head.map(|h| h.weights.as_str())),
        ("kappa".into(), head.and_then(|h| h.kappa.as_deref())),
        ("direction".into(), head.and_then(|h| h.direction.as_deref())),
        ("targets".into(), head.and_then(|h| h.targets.as_deref())),
    ];
    for (i, (value, gradient)) in done.taps.iter().enumerate() {
        entries.push((format!("tap.{i}"), Some(value)));
        entries.push((format!("tap.{i}.grad"), gradient.as_deref()));
    }
    for (i, (mask, replacement)) in done.gates.iter().enumerate() {
        entries.push((format!("gate.{i}.mask"), Some(mask)));
        entries.push((format!("gate.{i}.replacement"), Some(replacement)));
    }
    entries.extend(done.update.iter().map(|(role, name)| (format!("update.{role}"), Some(name.as_str()))));
    let entries: Vec<(String, String)> = entries.into_iter().filter_map(|(k, v)| Some((format!("psescope.{k}"), v?.to_owned()))).collect();
    let Graph { metadata, .. } = &mut done.graph;
    metadata.extend(entries);
    done
}
