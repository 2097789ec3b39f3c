//! Unit responses and gated runs: one graph per request, kept like every other instrumented graph.

use std::{ops::Range, sync::Arc};

use ndarray::{Array2, Array4, ArrayD, ArrayView3, ArrayView4, Axis, Dimension as _, Ix2, Ix4, IxDyn, Slice, concatenate};
use rayon::prelude::*;

use super::{Inputs, Network, join, objective_inputs, objective_spec, typed};
use crate::{
    core::{
        error::{Error, Result},
        graph::{self, Gate, Instrumentation, Instrumented, TapKind, UnitLayer},
        onnx::Graph,
        oracle::{Evaluation, LayerGradient, LayerInfo, Layers as _, Objective, Replacement, Responses, UnitGate, UnitResponses, Units},
    },
    runtime::backend::Array,
};

impl Units for Network {
    fn unit_layers(&self) -> Vec<LayerInfo> {
        self.units.iter().map(|u| u.info.clone()).collect()
    }

    fn main_layers(&self) -> Vec<String> {
        let passages = graph::passages(&self.prepared);
        let main: Vec<String> = self.units.iter().map(|u| u.info.name.clone()).filter(|n| passages.contains(n)).collect();
        if main.is_empty() { self.units.iter().map(|u| u.info.name.clone()).collect() } else { main }
    }

    fn unit_maps(&mut self, images: ArrayView4<f32>, layer: &str) -> Result<Array4<f32>> {
        let unit = self.unit_layer(layer)?;
        let value = self.activation(images, layer)?;
        as_maps(&unit, value)
    }

    fn unit_gradient(&mut self, images: ArrayView4<f32>, layer: &str, class: usize) -> Result<LayerGradient> {
        let unit = self.unit_layer(layer)?;
        let (logits, value, gradient) = self.tapped_gradient(images, layer, class)?;
        Ok(LayerGradient { logits, activation: as_maps(&unit, value)?, gradient: as_maps(&unit, gradient)? })
    }

    fn responses(&mut self, images: ArrayView4<f32>, layers: &[&str], reference: Option<ArrayView3<f32>>) -> Result<Responses> {
        let layers: Vec<UnitLayer> = layers.iter().map(|l| self.unit_layer(l)).collect::<Result<_>>()?;
        let Some(reference) = reference else { return self.reduced(images, &layers, false, self.backend.preferred_batch()) };
        let reference = reference.insert_axis(Axis(0));
        if self.backend.relates_samples() {
            self.shifts_in_graph(images, reference, &layers)
        } else {
            self.shifts_from_values(images, reference, &layers)
        }
    }

    fn gated_logits(&mut self, images: ArrayView4<f32>, gates: &[UnitGate]) -> Result<Array2<f32>> {
        let (gates, n) = self.gate_inputs(images, gates)?;
        let (_, c, h, w) = images.dim();
        let images = images.broadcast((n, c, h, w)).ok_or_else(mismatch)?;
        let spec = Instrumentation { gates: specs(&gates), ..Instrumentation::default() };
        let extra = |g: &Instrumented, range: Range<usize>| feed(g, &gates, &range);
        let results = self.run(&spec, images, self.backend.preferred_batch(), &extra, &|g| Ok(vec![g.logits.clone()]))?;
        typed(results.into_iter().next(), Ix2::NDIM)
    }

    fn gated_gradient(&mut self, images: ArrayView4<f32>, objective: Objective, gates: &[UnitGate]) -> Result<Evaluation> {
        let (gates, n) = self.gate_inputs(images, gates)?;
        if n != images.dim().0 {
            return Err(mismatch());
        }
        let spec = Instrumentation { gates: specs(&gates), ..objective_spec(&objective) };
        let extra = |g: &Instrumented, range: Range<usize>| -> Result<Inputs> {
            let mut inputs = objective_inputs(g, &objective, range.clone())?;
            inputs.extend(feed(g, &gates, &range)?);
            Ok(inputs)
        };
        self.evaluate(&spec, images, objective, &extra)
    }
}

impl Network {
    /// The units of a tensor; any computed tensor with a batch and a unit dimension will do.
    fn unit_layer(&self, name: &str) -> Result<UnitLayer> {
        if let Some(known) = self.units.iter().find(|u| u.info.name == name) {
            return Ok(known.clone());
        }
        graph::unit_layer(&self.prepared, name).ok_or_else(|| {
            let some = self.units.iter().rev().take(5).map(|u| u.info.name.as_str()).collect::<Vec<_>>().join(", ");
            Error::Parameter(format!("there is no layer '{name}' with units; the last ones are {some} (psescope layers lists them)"))
        })
    }

    /// The model with units of one layer replaced for good, as a plain graph with the model's own input and logits. The gate has
    /// one row.
    pub fn masked_model(&self, gate: &UnitGate) -> Result<Graph> {
        let input = gate_input(&self.unit_layer(&gate.layer)?, gate)?;
        if input.mask.len_of(Axis(0)) != 1 || input.replacement.len_of(Axis(0)) != 1 {
            return Err(Error::Parameter("a model can be saved with one mask, not with one per image".into()));
        }
        let patch = (!matches!(gate.replacement, Replacement::Zero)).then(|| (1.0 - &input.mask) * &input.replacement);
        graph::masked(&self.prepared, &gate.layer, &input.mask, patch.as_ref())
    }

    /// A network of another file with this one's preprocessing and engine, for instance of what [`Network::masked_model`] wrote.
    pub fn sibling(&self, graph: Graph) -> Result<Network> {
        let prepared = graph::normalise(graph, &graph::Options { layout: Some(self.prepared.layout), ..graph::Options::default() })?;
        Network::new(Arc::new(prepared), self.backend.clone(), self.affine.clone())
    }

    /// Statistics reduced in the graph; with shifts they are against the first image.
    fn reduced(&mut self, images: ArrayView4<f32>, layers: &[UnitLayer], shifts: bool, piece: usize) -> Result<Responses> {
        let mut kinds = vec![TapKind::UnitMean, TapKind::UnitMax, TapKind::UnitL2];
        kinds.extend(shifts.then_some(TapKind::UnitShift));
        let taps = layers.iter().flat_map(|l| kinds.iter().map(|k| (l.info.name.clone(), *k))).collect();
        let spec = Instrumentation { taps, ..Instrumentation::default() };
        let outputs =
            |g: &Instrumented| Ok(std::iter::once(g.logits.clone()).chain(g.taps.iter().map(|(value, _)| value.clone())).collect());
        let mut results = self.run(&spec, images, piece, &|_, _| Ok(Vec::new()), &outputs)?.into_iter();
        let mut next = || typed::<Ix2>(results.next(), Ix2::NDIM);
        let logits = next()?;
        let mut layer = || -> Result<UnitResponses> {
            let (mean, max, l2) = (next()?, next()?, next()?);
            Ok(UnitResponses { mean, max, l2, shift: if shifts { Some(next()?) } else { None } })
        };
        Ok(Responses { logits, layers: layers.iter().map(|_| layer()).collect::<Result<_>>()? })
    }

    /// The reference leads every piece of the batch.
    fn shifts_in_graph(&mut self, images: ArrayView4<f32>, reference: ArrayView4<f32>, layers: &[UnitLayer]) -> Result<Responses> {
        let piece = self.backend.preferred_batch().max(2) - 1;
        let mut parts: Vec<Responses> = Vec::new();
        for chunk in images.axis_chunks_iter(Axis(0), piece) {
            let batch = concatenate(Axis(0), &[reference, chunk]).map_err(|_| mismatch())?;
            let part = self.reduced(batch.view(), layers, true, batch.dim().0)?;
            parts.push(if parts.is_empty() { part } else { without_first(&part) });
        }
        together(parts)
    }

    /// For engines that run samples one by one: the maps stay in this process anyway and are reduced here, one pass each.
    fn shifts_from_values(&mut self, images: ArrayView4<f32>, reference: ArrayView4<f32>, layers: &[UnitLayer]) -> Result<Responses> {
        let spec =
            Instrumentation { taps: layers.iter().map(|l| (l.info.name.clone(), TapKind::Value)).collect(), ..Instrumentation::default() };
        let outputs =
            |g: &Instrumented| Ok(std::iter::once(g.logits.clone()).chain(g.taps.iter().map(|(value, _)| value.clone())).collect());
        let piece = self.backend.preferred_batch().max(1);
        let (mut parts, mut base) = (Vec::new(), None::<Vec<ArrayD<f32>>>);
        for chunk in std::iter::once(reference).chain(images.axis_chunks_iter(Axis(0), piece)) {
            let mut results = self.run(&spec, chunk, piece, &|_, _| Ok(Vec::new()), &outputs)?.into_iter();
            let logits = typed(results.next(), Ix2::NDIM)?;
            let values: Vec<ArrayD<f32>> = results.collect();
            let base = base.get_or_insert_with(|| values.clone());
            let layers = layers.iter().zip(&values).zip(base.iter()).map(|((l, v), b)| measure(l, v, b)).collect();
            parts.push(Responses { logits, layers });
        }
        together(parts)
    }

    /// Gates in the shapes of their layers, and how many samples they and the images make.
    fn gate_inputs(&self, images: ArrayView4<f32>, gates: &[UnitGate]) -> Result<(Vec<GateInput>, usize)> {
        let inputs: Vec<GateInput> = gates.iter().map(|g| gate_input(&self.unit_layer(&g.layer)?, g)).collect::<Result<_>>()?;
        let lengths = || inputs.iter().flat_map(|g| [&g.mask, &g.replacement]).map(|a| a.len_of(Axis(0)));
        let n = lengths().chain([images.dim().0]).max().unwrap_or(1);
        if lengths().chain([images.dim().0]).any(|l| l != 1 && l != n) {
            return Err(mismatch());
        }
        Ok((inputs, n))
    }
}

fn mismatch() -> Error {
    Error::Parameter("images, masks and replacements must be as many as each other, or one for all".into())
}

/// A gate whose mask and replacement have the shape the graph takes: rows, then ones or the layer's own dimensions.
struct GateInput {
    layer: String,
    mask: ArrayD<f32>,
    replacement: ArrayD<f32>,
}

fn specs(gates: &[GateInput]) -> Vec<Gate> {
    gates.iter().map(|g| Gate { tensor: g.layer.clone() }).collect()
}

/// Rows of a piece of a batch; one row serves all.
fn rows_of(array: &ArrayD<f32>, range: &Range<usize>) -> Result<Array> {
    if array.len_of(Axis(0)) != 1 {
        return Ok(Array::F32(array.slice_axis(Axis(0), Slice::from(range.clone())).to_owned()));
    }
    let mut shape = array.shape().to_vec();
    shape[0] = range.len();
    let wide = array.broadcast(IxDyn(&shape)).ok_or_else(|| Error::Engine("a mask cannot be repeated over the batch".into()))?;
    Ok(Array::F32(wide.to_owned()))
}

fn feed(g: &Instrumented, gates: &[GateInput], range: &Range<usize>) -> Result<Inputs> {
    let mut inputs = Vec::with_capacity(2 * gates.len());
    for ((mask, replacement), gate) in g.gates.iter().zip(gates) {
        inputs.push((mask.clone(), rows_of(&gate.mask, range)?));
        inputs.push((replacement.clone(), rows_of(&gate.replacement, range)?));
    }
    Ok(inputs)
}

/// A value as it is handed out (channels of maps first) in the one form `[N, C, H, W]`.
fn as_maps(layer: &UnitLayer, value: ArrayD<f32>) -> Result<Array4<f32>> {
    let value = match layer.rank {
        3 => value.permuted_axes(vec![0, 2, 1]).insert_axis(Axis(3)),
        2 => value.insert_axis(Axis(2)).insert_axis(Axis(3)),
        _ => value,
    };
    Ok(typed::<Ix4>(Some(value), Ix4::NDIM)?.as_standard_layout().into_owned())
}

/// Reshapes a gate's arrays to broadcast against the layer, wherever its units are.
fn gate_input(layer: &UnitLayer, gate: &UnitGate) -> Result<GateInput> {
    let units = layer.info.units;
    let per_unit = |a: &Array2<f32>| -> Result<ArrayD<f32>> {
        if a.ncols() != units {
            return Err(Error::Parameter(format!("the mask has {} units and '{}' has {units}", a.ncols(), layer.info.name)));
        }
        let mut shape = vec![1; layer.rank];
        (shape[0], shape[layer.axis]) = (a.nrows(), units);
        let flat = a.as_standard_layout().into_owned().into_dyn();
        flat.into_shape_with_order(shape).map_err(|e| Error::Engine(format!("a mask does not fit its layer ({e})")))
    };
    let mask = per_unit(&gate.mask)?;
    let replacement = match &gate.replacement {
        Replacement::Zero => ArrayD::zeros(vec![1; layer.rank]),
        Replacement::Units(values) => per_unit(values)?,
        Replacement::Activation(value) => {
            let fits = value.ndim() == layer.rank && value.len_of(Axis(if layer.rank == 3 { 2 } else { 1 })) == units;
            if !fits {
                return Err(Error::Parameter(format!(
                    "the activation has shape {:?}, which is not that of '{}'",
                    value.shape(),
                    layer.info.name
                )));
            }
            // Activations are handed out with channels first.
            if layer.rank == 4 && layer.axis == 3 {
                value.view().permuted_axes(vec![0, 2, 3, 1]).as_standard_layout().into_owned()
            } else {
                value.clone()
            }
        }
    };
    Ok(GateInput { layer: layer.info.name.clone(), mask, replacement })
}

/// All statistics of one layer's values in one pass; `base` is the reference's value.
fn measure(layer: &UnitLayer, value: &ArrayD<f32>, base: &ArrayD<f32>) -> UnitResponses {
    let (n, units) = (value.len_of(Axis(0)), layer.info.units);
    let zeros = || Array2::<f32>::zeros((n, units));
    let (mut mean, mut max, mut l2, mut shift) = (zeros(), zeros(), zeros(), zeros());
    let (value, base) = (value.as_standard_layout(), base.as_standard_layout());
    let base: &[f32] = base.as_slice().unwrap_or_default();
    for (i, sample) in value.outer_iter().enumerate() {
        let sample = sample.as_slice().unwrap_or_default();
        let positions = sample.len() / units.max(1);
        // Unit u at position p: units are either outermost or innermost.
        let (by_unit, by_position) = if layer.axis == 1 { (positions, 1) } else { (1, units) };
        let one = |u: usize| {
            let (mut sum, mut top, mut square, mut distance) = (0.0f64, f32::NEG_INFINITY, 0.0f64, 0.0f64);
            for p in 0..positions {
                let at = u * by_unit + p * by_position;
                let (v, r) = (sample[at], base[at]);
                sum += f64::from(v);
                top = top.max(v);
                square += f64::from(v) * f64::from(v);
                distance += f64::from(v - r) * f64::from(v - r);
            }
            [(sum / positions.max(1) as f64) as f32, top, square.sqrt() as f32, distance.sqrt() as f32]
        };
        let all: Vec<[f32; 4]> = (0..units).into_par_iter().with_min_len(8).map(one).collect();
        for (u, [a, b, c, d]) in all.into_iter().enumerate() {
            (mean[(i, u)], max[(i, u)], l2[(i, u)], shift[(i, u)]) = (a, b, c, d);
        }
    }
    UnitResponses { mean, max, l2, shift: Some(shift) }
}

fn without_first(r: &Responses) -> Responses {
    let rest = |a: &Array2<f32>| a.slice_axis(Axis(0), Slice::from(1..)).to_owned();
    let layer =
        |l: &UnitResponses| UnitResponses { mean: rest(&l.mean), max: rest(&l.max), l2: rest(&l.l2), shift: l.shift.as_ref().map(rest) };
    Responses { logits: rest(&r.logits), layers: r.layers.iter().map(layer).collect() }
}

fn together(parts: Vec<Responses>) -> Result<Responses> {
    let stack = |pick: &dyn Fn(&Responses) -> Option<&Array2<f32>>| -> Result<Array2<f32>> {
        typed(Some(join(parts.iter().filter_map(pick).map(|a| a.clone().into_dyn()).collect())?), Ix2::NDIM)
    };
    let logits = stack(&|r| Some(&r.logits))?;
    let layers = parts.first().map_or(0, |r| r.layers.len());
    let layer = |i: usize| -> Result<UnitResponses> {
        Ok(UnitResponses {
            mean: stack(&|r| Some(&r.layers[i].mean))?,
            max: stack(&|r| Some(&r.layers[i].max))?,
            l2: stack(&|r| Some(&r.layers[i].l2))?,
            shift: Some(stack(&|r| r.layers[i].shift.as_ref())?),
        })
    };
    Ok(Responses { logits, layers: (0..layers).map(layer).collect::<Result<_>>()? })
}
