//! Unit responses and gated runs: one graph per request, kept like every other instrumented graph.

use std::{ops::Range, sync::Arc};

use ndarray::{Array2, Array4, ArrayD, ArrayView3, ArrayView4, ArrayViewD, Axis, Dimension as _, Ix2, Ix4, IxDyn, Slice, concatenate};

use super::{Inputs, Network, join, measure, objective_inputs, objective_spec, typed};
use crate::{
    core::{
        error::{Error, Result},
        graph::{self, Gate, Instrumentation, Instrumented, TapKind, UnitLayer},
        onnx::Graph,
        oracle::{Evaluation, LayerGradient, LayerInfo, Layers as _, Objective, Replacement, Responses, UnitGate, UnitResponses, Units},
        stepper::{Job, Stepper},
    },
    runtime::backend::Array,
};

/// Bytes of a reference's maps that are kept for the next question.
const KEPT_BYTES: usize = 64 << 20;

/// A reference image whose maps are known.
pub(super) struct Reference {
    pixels: Array4<f32>,
    layers: Vec<UnitLayer>,
    /// Values of the layers as the engine gives them.
    maps: Vec<ArrayD<f32>>,
    own: Responses,
}

/// What shifts are measured against.
enum Base<'a> {
    /// The image itself, whose maps are kept.
    Keep(&'a mut Vec<ArrayD<f32>>),
    /// Maps of an earlier run.
    Known(&'a [ArrayD<f32>]),
}

impl Units for Network {
    fn unit_layers(&self) -> Vec<LayerInfo> {
        self.units.iter().map(|u| u.info.clone()).collect()
    }

    fn main_layers(&self) -> Vec<String> {
        let main = graph::block_ends(&self.prepared, &self.units);
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
        let piece = self.backend.preferred_batch().max(1);
        match reference.map(|r| r.insert_axis(Axis(0))) {
            None if self.reduces_in_graph => self.reduced(images, &layers, false, piece),
            Some(reference) if self.reduces_in_graph => self.shifts_in_graph(images, reference, &layers),
            None => self.statistics_of(images, &layers, None, piece),
            Some(reference) => self.shifts_from_values(images, reference, &layers, piece),
        }
    }

    fn gated_logits(&mut self, images: ArrayView4<f32>, gates: &[UnitGate]) -> Result<Array2<f32>> {
        let (gates, n) = self.gate_inputs(images, gates)?;
        let (_, c, h, w) = images.dim();
        let images = images.broadcast((n, c, h, w)).ok_or_else(mismatch)?;
        let spec = Instrumentation { gates: specs(&gates), ..Instrumentation::default() };
        let extra = |g: &Instrumented, range: Range<usize>| feed(g, &gates, &range);
        let results = self.run(&spec, images, self.backend.preferred_batch(), &extra, &|g| Ok(vec![g.logits.clone()]), None)?;
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

    fn gated_stepper<'a>(&'a mut self, job: &Job, gates: &[UnitGate]) -> Result<Option<Box<dyn Stepper + 'a>>> {
        Ok(self.open_loop(job, gates)?.map(|l| Box::new(l) as Box<dyn Stepper + 'a>))
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
        let mut results = self.run(&spec, images, piece, &|_, _| Ok(Vec::new()), &outputs, None)?.into_iter();
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

    /// For engines whose results lie in this process's memory: copying nothing, one pass over the maps is cheaper than several in the graph.
    /// The reference's maps are kept for the next question about the same layers.
    fn shifts_from_values(
        &mut self,
        images: ArrayView4<f32>,
        reference: ArrayView4<f32>,
        layers: &[UnitLayer],
        piece: usize,
    ) -> Result<Responses> {
        let kept = match self.reference.take() {
            Some(kept) if kept.layers == layers && kept.pixels == reference => kept,
            last => {
                // The memory of the last reference's maps serves this one's.
                let mut maps = last.map_or_else(Vec::new, |l| l.maps);
                let own = self.statistics_of(reference, layers, Some(&mut Base::Keep(&mut maps)), piece)?;
                Reference { pixels: reference.to_owned(), layers: layers.to_vec(), maps, own }
            }
        };
        let rest = self.statistics_of(images, layers, Some(&mut Base::Known(&kept.maps)), piece);
        let own = kept.own.clone();
        if kept.maps.iter().map(|m| m.len() * size_of::<f32>()).sum::<usize>() <= KEPT_BYTES {
            self.reference = Some(kept);
        }
        together(vec![own, rest?])
    }

    /// Statistics of the layers' values, one pass each.
    fn statistics_of(
        &mut self,
        images: ArrayView4<f32>,
        layers: &[UnitLayer],
        mut base: Option<&mut Base>,
        piece: usize,
    ) -> Result<Responses> {
        let taps = layers.iter().map(|l| (l.info.name.clone(), TapKind::Value)).collect();
        let spec = Instrumentation { taps, ..Instrumentation::default() };
        let outputs =
            |g: &Instrumented| Ok(std::iter::once(g.logits.clone()).chain(g.taps.iter().map(|(value, _)| value.clone())).collect());
        let shifts = base.is_some();
        let mut reduce = |values: &[ArrayViewD<f32>]| -> Vec<ArrayD<f32>> {
            let (logits, values) = values.split_at(1.min(values.len()));
            let mut reduced: Vec<ArrayD<f32>> = logits.iter().map(|v| v.to_owned()).collect();
            if let Some(Base::Keep(maps)) = &mut base {
                keep(maps, values);
            }
            // An image is at no distance from itself.
            let maps = if let Some(Base::Known(maps)) = &base { Some(*maps) } else { None };
            for (i, (layer, value)) in layers.iter().zip(values).enumerate() {
                let statistics = measure::measure(value, layer.axis == 1, layer.info.units, maps.and_then(|m| m.get(i)));
                reduced.extend(statistics.into_iter().map(Array2::into_dyn));
            }
            reduced
        };
        let mut results = self.run(&spec, images, piece, &|_, _| Ok(Vec::new()), &outputs, Some(&mut reduce))?.into_iter();
        let mut next = || typed::<Ix2>(results.next(), Ix2::NDIM);
        let logits = next()?;
        let mut layer = || -> Result<UnitResponses> {
            let (mean, max, l2, shift) = (next()?, next()?, next()?, next()?);
            Ok(UnitResponses { mean, max, l2, shift: shifts.then_some(shift) })
        };
        Ok(Responses { logits, layers: layers.iter().map(|_| layer()).collect::<Result<_>>()? })
    }

    /// Gates in the shapes of their layers, and how many samples they and the images make.
    pub(super) fn gate_inputs(&self, images: ArrayView4<f32>, gates: &[UnitGate]) -> Result<(Vec<GateInput>, usize)> {
        let inputs: Vec<GateInput> = gates.iter().map(|g| gate_input(&self.unit_layer(&g.layer)?, g)).collect::<Result<_>>()?;
        let lengths = || inputs.iter().flat_map(|g| [&g.mask, &g.replacement]).map(|a| a.len_of(Axis(0)));
        let n = lengths().chain([images.dim().0]).max().unwrap_or(1);
        if lengths().chain([images.dim().0]).any(|l| l != 1 && l != n) {
            return Err(mismatch());
        }
        Ok((inputs, n))
    }
}

/// Copies values, where they fit into what is there already.
fn keep(maps: &mut Vec<ArrayD<f32>>, values: &[ArrayViewD<f32>]) {
    maps.truncate(values.len());
    for (i, value) in values.iter().enumerate() {
        match maps.get_mut(i) {
            Some(map) if map.shape() == value.shape() => map.assign(value),
            Some(map) => *map = value.as_standard_layout().into_owned(),
            None => maps.push(value.as_standard_layout().into_owned()),
        }
    }
}

fn mismatch() -> Error {
    Error::Parameter("images, masks and replacements must be as many as each other, or one for all".into())
}

/// A gate whose mask and replacement have the shape the graph takes: rows, then ones or the layer's own dimensions.
pub(super) struct GateInput {
    layer: String,
    mask: ArrayD<f32>,
    replacement: ArrayD<f32>,
}

pub(super) fn specs(gates: &[GateInput]) -> Vec<Gate> {
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

pub(super) fn feed(g: &Instrumented, gates: &[GateInput], range: &Range<usize>) -> Result<Inputs> {
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
