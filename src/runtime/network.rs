//! A model on an engine: implements what attacks and explanations may ask of a network.
//!
//! Instrumented graphs are built and loaded when they are first needed and kept; those with taps or gates only while they are among
//! the last few used. Pixels enter as `[N, C, H, W]` in 0..1; [`Affine`] turns them into what the model takes, and gradients
//! back. Batches larger than [`Oracle::batch`] run in pieces.

mod finite;
mod measure;
mod objective;
mod placement;
mod recover;
mod stepper;
mod units;

use std::{ops::Range, sync::Arc, time::Instant};

use ndarray::{Array1, Array2, Array4, ArrayD, ArrayView4, ArrayViewD, Axis, Dimension, Ix1, Ix2, Ix4, Slice};

use objective::{check_objective, objective_inputs, objective_spec};

use super::{
    affine::Affine,
    backend::{Array, Backend, Executor, Interrupt, Reduce, Shapes},
    cache::GraphCache,
    grad_model::{self, GradModel},
    interrupt::Group,
};
use crate::core::{
    error::{Error, Result},
    graph::{self, Instrumentation, Instrumented, Layout, Loss, Prepared, TapKind, UnitLayer},
    onnx::write,
    oracle::{Evaluation, LayerGradient, LayerInfo, Layers, LinearHead, Objective, Oracle},
    stepper::{Job, Stepper},
};

/// Graphs with taps or gates kept loaded.
const KEPT_TAPS: usize = 4;
/// Bytes of activations that one piece of a gradient batch may take, per image of the engine's preferred batch.
const BYTES_PER_IMAGE: usize = 128 << 20;

/// Images at once in an attack on a GPU, where several constants are tried abreast.
const USUAL: usize = 8;

/// Named inputs of one piece of a batch.
type Inputs = Vec<(String, Array)>;

/// A loaded instrumented graph.
struct Loaded {
    spec: Instrumentation,
    /// Names; its graph's constants are dropped once loaded.
    names: Instrumented,
    executor: Box<dyn Executor>,
    /// Order of the dimensions of its image input.
    layout: Layout,
    used: u64,
    /// Whether it ever ran to the end.
    worked: bool,
}

/// A prepared model on an engine.
pub struct Network {
    /// Told of what was done to go on after a failure of the engine.
    listener: Option<recover::Listener>,
    /// Most images per piece, since the device ran out of memory.
    limit: Option<usize>,
    prepared: Arc<Prepared>,
    backend: Arc<dyn Backend>,
    affine: Affine,
    loaded: Vec<Loaded>,
    clock: u64,
    interrupt: Arc<Group>,
    gradient_batch: usize,
    layers: Vec<LayerInfo>,
    units: Vec<UnitLayer>,
    head: Option<LinearHead>,
    /// Where gradients come from when they are not compiled here.
    exported: Option<Arc<GradModel>>,
    /// Whether the exported graph's logits were compared with the model's.
    agreed: bool,
    /// Where graphs that take long to build are kept.
    cache: Option<GraphCache>,
    /// Whether images stay where the graph runs while an attack goes on.
    resident: bool,
    /// The last input, whose memory serves the next one of its shape.
    input: Option<ArrayD<f32>>,
    /// Whether statistics of units are reduced by the graph rather than from the values.
    reduces_in_graph: bool,
    /// The image that others were last compared with.
    reference: Option<units::Reference>,
}

/// Whether a graph belongs to one layer that is looked at, rather than to the whole session.
fn passing(spec: &Instrumentation) -> bool {
    !spec.taps.is_empty() || !spec.gates.is_empty()
}

/// The request for the gradient of a linear combination of logits: what an exported graph answers too.
fn linear() -> Instrumentation {
    Instrumentation { image_gradient: true, ..Instrumentation::default() }
}

impl Network {
    /// The value of a layer as `[N, C, H, W]`: networks such as Swin and ConvNeXt keep channels last inside, and transformers have
    /// tokens, of which those in front of the patches (class tokens) are dropped.
    fn channels_first(&self, layer: &str, value: ArrayD<f32>) -> ArrayD<f32> {
        let Some(info) = self.layers.iter().find(|l| l.name == layer) else { return value };
        let [h, w] = info.spatial;
        match *value.shape() {
            [_, a, b, c] if [a, b, c] == [h, w, info.units] && [a, b, c] != [info.units, h, w] => {
                value.permuted_axes(vec![0, 3, 1, 2]).as_standard_layout().into_owned()
            }
            [n, t, c] if c == info.units && t >= h * w => {
                let patches = value.slice_axis(Axis(1), Slice::from(t - h * w..)).to_owned();
                match patches.into_shape_with_order((n, h, w, c)) {
                    Ok(map) => map.permuted_axes([0, 3, 1, 2]).as_standard_layout().into_owned().into_dyn(),
                    Err(_) => value,
                }
            }
            _ => value,
        }
    }

    /// Loads the forward graph; the others follow when they are needed.
    pub fn new(prepared: Arc<Prepared>, backend: Arc<dyn Backend>, affine: Affine) -> Result<Self> {
        affine.check(prepared.shape[0])?;
        let mut network = Self::unloaded(prepared, backend, affine);
        network.session(&Instrumentation::default())?;
        Ok(network)
    }

    fn unloaded(prepared: Arc<Prepared>, backend: Arc<dyn Backend>, affine: Affine) -> Self {
        let gradient_batch = gradient_batch(&prepared, backend.preferred_batch());
        let (layers, units, head) = (graph::spatial_layers(&prepared), graph::unit_layers(&prepared), graph::linear_head(&prepared));
        let interrupt = Arc::new(Group::default());
        let mut network = Self {
            listener: None,
            limit: None,
            prepared,
            backend,
            affine,
            loaded: Vec::new(),
            clock: 0,
            interrupt,
            gradient_batch,
            layers,
            units,
            head,
            exported: None,
            agreed: false,
            cache: None,
            resident: false,
            input: None,
            reduces_in_graph: false,
            reference: None,
        };
        network.resident = network.backend.prefers_resident();
        network.reduces_in_graph = network.backend.reduces_in_graph();
        network
    }

    /// Networks of the same model on engines that part this one's threads between them ([`Backend::lanes`]), stopped together with this one.
    pub fn lanes(&self) -> Vec<Self> {
        let lane = |backend| {
            let lane = Self::unloaded(self.prepared.clone(), backend, self.affine.clone());
            Self {
                interrupt: self.interrupt.clone(),
                listener: self.listener.clone(),
                limit: self.limit,
                cache: self.cache.clone(),
                ..lane
            }
        };
        self.backend.lanes().into_iter().map(lane).collect()
    }

    /// Keeps graphs that take long to build here.
    pub fn with_cache(mut self, cache: Option<GraphCache>) -> Self {
        self.cache = cache;
        self
    }

    /// Leaves an attack's update to the graph, or not, whatever the engine prefers.
    pub fn with_resident(mut self, resident: bool) -> Self {
        self.resident = resident;
        self
    }

    /// Has statistics of units reduced by the graph, or from the values, whatever the engine prefers.
    pub fn with_statistics_in_graph(mut self, in_graph: bool) -> Self {
        self.reduces_in_graph = in_graph;
        self
    }

    /// Takes gradients from this graph instead of compiling one.
    pub fn with_gradients(mut self, exported: Arc<GradModel>) -> Self {
        self.gradient_batch = exported.batch().unwrap_or(self.gradient_batch);
        self.exported = Some(exported);
        self
    }

    /// Execution provider that really runs the forward graph.
    pub fn provider(&self) -> String {
        let forward = self.loaded.iter().find(|l| l.spec == Instrumentation::default());
        forward.map_or_else(|| "CPU".into(), |l| l.executor.provider())
    }

    /// Handle that ends runs in progress from another thread with `Error::Stopped`, whatever graph is running.
    pub fn interrupt(&self) -> Arc<dyn Interrupt> {
        self.interrupt.clone()
    }

    /// Forgets the loaded graphs: what a panic left half-done in one of them must not answer the next question.
    pub fn close_sessions(&mut self) {
        self.loaded.clear();
    }

    /// The model.
    pub fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// Values of several layers for a batch, from one run; spatial ones as `[N, C, H, W]`.
    pub fn activations(&mut self, images: ArrayView4<f32>, layers: &[String]) -> Result<Vec<ArrayD<f32>>> {
        let taps = layers.iter().map(|l| (l.clone(), TapKind::Value)).collect();
        let spec = Instrumentation { taps, cut: true, ..Instrumentation::default() };
        let outputs = |g: &Instrumented| Ok(g.taps.iter().map(|t| t.0.clone()).collect());
        let results = self.run(&spec, images, self.gradient_batch, &|_, _| Ok(Vec::new()), &outputs, None)?;
        Ok(results.into_iter().zip(layers).map(|(value, layer)| self.channels_first(layer, value)).collect())
    }

    fn session(&mut self, spec: &Instrumentation) -> Result<usize> {
        self.clock += 1;
        if let Some(at) = self.loaded.iter().position(|l| l.spec == *spec) {
            self.loaded[at].used = self.clock;
            return Ok(at);
        }
        if self.interrupt.is_stopped() {
            return Err(Error::Stopped);
        }
        let (names, executor, layout) = match &self.exported {
            Some(exported) if *spec == linear() => (exported.names().clone(), self.backend.load(exported.bytes())?, exported.layout()),
            _ => {
                let (names, executor) = self.compile(spec)?;
                (names, executor, self.prepared.layout)
            }
        };
        self.interrupt.add(&executor.interrupt());
        if passing(spec) {
            self.make_room();
        }
        self.loaded.push(Loaded { spec: spec.clone(), names, executor, layout, used: self.clock, worked: false });
        Ok(self.loaded.len() - 1)
    }

    /// Builds a graph, or finds it in the cache, and loads it.
    fn compile(&self, spec: &Instrumentation) -> Result<(Instrumented, Box<dyn Executor>)> {
        if let Some(cache) = &self.cache
            && let Some((names, bytes)) = cache.read(spec)
        {
            match self.backend.load_for(&bytes, &self.shapes(spec, &names)) {
                Ok(executor) => {
                    tracing::info!("graph read from the cache: {spec:?}");
                    return Ok((names, executor));
                }
                Err(_) => cache.forget(spec),
            }
        }
        let begun = Instant::now();
        let mut names = graph::instrument(&self.prepared, spec)?;
        let bytes = write::to_bytes(&names.graph);
        let built = begun.elapsed();
        let executor = self.backend.load_for(&bytes, &self.shapes(spec, &names))?;
        let (nodes, loaded) = (names.graph.nodes.len(), begun.elapsed() - built);
        tracing::info!("graph of {nodes} nodes built in {built:.1?} and loaded in {loaded:.1?}: {spec:?}");
        if let Some(cache) = &self.cache {
            cache.write(spec, &bytes, built);
        }
        names.graph.initializers.clear();
        names.graph.nodes.clear();
        names.graph.types.clear();
        Ok((names, executor))
    }

    /// The batches a graph will be given.
    fn shapes<'a>(&self, spec: &Instrumentation, names: &'a Instrumented) -> Shapes<'a> {
        let backward = spec.image_gradient || spec.taps.iter().any(|(_, kind)| *kind == TapKind::ValueAndGradient);
        let inputs = &names.graph.inputs;
        let most = if backward { self.gradient_batch } else { self.backend.preferred_batch() };
        // Attacks run one image or a few constants at once; maps of cells fill whole batches.
        Shapes { inputs, usual: if backward { most.min(USUAL) } else { most }, most, resident: spec.update.is_some() }
    }

    /// Drops the tapped or gated graph that was not used for the longest time when there are too many.
    fn make_room(&mut self) {
        let tapped = || self.loaded.iter().enumerate().filter(|(_, l)| passing(&l.spec));
        if tapped().count() >= KEPT_TAPS
            && let Some((oldest, _)) = tapped().min_by_key(|(_, l)| l.used)
        {
            self.loaded.remove(oldest);
        }
    }

    /// Runs a graph piece by piece and joins the outputs along the batch, or the arrays that `reduce` makes of them. `extra` makes the
    /// inputs of a piece besides the image.
    fn run(
        &mut self,
        spec: &Instrumentation,
        images: ArrayView4<f32>,
        piece: usize,
        extra: &dyn Fn(&Instrumented, Range<usize>) -> Result<Inputs>,
        outputs: &dyn Fn(&Instrumented) -> Result<Vec<String>>,
        mut reduce: Option<Reduce>,
    ) -> Result<Vec<ArrayD<f32>>> {
        let n = images.len_of(Axis(0));
        if n == 0 || images.shape()[1..] != self.prepared.shape {
            let text =
                format!("the images have shape {:?} and the model takes [N, C, H, W] with {:?}", images.shape(), self.prepared.shape);
            return Err(Error::Parameter(text));
        }
        let mut columns: Vec<Vec<ArrayD<f32>>> = Vec::new();
        let (mut start, mut reopened) = (0, false);
        while start < n {
            if self.interrupt.is_stopped() {
                return Err(Error::Stopped);
            }
            let end = n.min(start + piece.min(self.limit.unwrap_or(piece)).max(1));
            let pixels = images.slice_axis(Axis(0), Slice::from(start..end));
            match self.run_piece(spec, pixels, start..end, extra, outputs, &mut reduce) {
                Ok(values) => {
                    columns.resize_with(values.len(), Vec::new);
                    columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
                    start = end;
                }
                Err(Error::Engine(why)) => self.recover(spec, end - start, why, &mut reopened)?,
                Err(other) => return Err(other),
            }
        }
        columns.into_iter().map(join).collect()
    }

    fn run_piece(
        &mut self,
        spec: &Instrumentation,
        pixels: ArrayView4<f32>,
        range: Range<usize>,
        extra: &dyn Fn(&Instrumented, Range<usize>) -> Result<Inputs>,
        outputs: &dyn Fn(&Instrumented) -> Result<Vec<String>>,
        reduce: &mut Option<Reduce>,
    ) -> Result<Vec<ArrayD<f32>>> {
        let at = self.session(spec)?;
        let loaded = &mut self.loaded[at];
        let outputs = outputs(&loaded.names)?;
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let more = extra(&loaded.names, range)?;
        let image = Array::F32(self.affine.forward_into(pixels, loaded.layout, self.input.take()));
        let mut inputs = vec![(loaded.names.image.as_str(), image)];
        inputs.extend(more.iter().map(|(name, array)| (name.as_str(), array.clone())));
        let values = match reduce {
            Some(reduce) => loaded.executor.reduce(&inputs, &outputs, *reduce)?,
            None => loaded.executor.run(&inputs, &outputs)?,
        };
        if let (_, Array::F32(image)) = inputs.swap_remove(0) {
            self.input = Some(image);
        }
        loaded.worked = true;
        Ok(values)
    }

    /// Logits, and per sample the objective and the gradient with respect to the model's input.
    fn differentiate(&mut self, images: ArrayView4<f32>, objective: Objective) -> Result<Evaluation> {
        let spec = objective_spec(&objective);
        self.evaluate(&spec, images, objective, &|g, range| objective_inputs(g, &objective, range))
    }

    /// Runs a graph with a loss head (or a cotangent) and an image gradient.
    fn evaluate(
        &mut self,
        spec: &Instrumentation,
        images: ArrayView4<f32>,
        objective: Objective,
        extra: &dyn Fn(&Instrumented, Range<usize>) -> Result<Inputs>,
    ) -> Result<Evaluation> {
        check_objective(&objective, images.len_of(Axis(0)), self.prepared.classes)?;
        let has_loss = spec.loss != Loss::None;
        let outputs = move |g: &Instrumented| -> Result<Vec<String>> {
            let mut names = vec![g.logits.clone(), part(&g.grad_image, "gradient output")?];
            if has_loss {
                names.push(part(&g.loss, "loss output")?);
            }
            Ok(names)
        };
        let layout = match &self.exported {
            Some(exported) if *spec == linear() => exported.layout(),
            _ => self.prepared.layout,
        };
        // The gradient is brought to the pixels on its way out of the engine's memory.
        let (affine, mut misfit) = (self.affine.clone(), None);
        let mut reduce = |values: &[ArrayViewD<f32>]| -> Vec<ArrayD<f32>> {
            let each = values.iter().enumerate().map(|(i, value)| match i {
                1 => affine.backward(value.view(), layout).map_or_else(
                    |error| {
                        misfit = Some(error);
                        value.to_owned()
                    },
                    Array4::into_dyn,
                ),
                _ => value.to_owned(),
            });
            each.collect()
        };
        let results = self.run(spec, images, self.gradient_batch, extra, &outputs, Some(&mut reduce))?;
        if let Some(error) = misfit {
            return Err(error);
        }
        let mut results = results.into_iter();
        let logits: Array2<f32> = typed(results.next(), Ix2::NDIM)?;
        let grad = typed::<Ix4>(results.next(), Ix4::NDIM)?;
        let loss: Array1<f32> = match objective {
            Objective::Linear { cotangent } => (&logits * &cotangent).sum_axis(Axis(1)),
            _ => typed::<Ix1>(results.next(), Ix1::NDIM)?,
        };
        Ok(Evaluation { logits, loss, grad })
    }

    /// The same through an exported graph: the objective's slope comes from the logits of the forward graph.
    fn differentiate_exported(&mut self, images: ArrayView4<f32>, objective: Objective, exported: &GradModel) -> Result<Evaluation> {
        check_objective(&objective, images.len_of(Axis(0)), self.prepared.classes)?;
        let linear = matches!(objective, Objective::Linear { .. });
        if linear && self.agreed {
            return self.differentiate(images, objective);
        }
        let logits = self.logits(images)?;
        let (loss, cotangent) = grad_model::slope(&objective, logits.view());
        let evaluation = self.differentiate(images, Objective::Linear { cotangent: cotangent.view() })?;
        if !self.agreed {
            exported.agree(&logits, &evaluation.logits)?;
            self.agreed = true;
        }
        Ok(Evaluation { logits, loss, grad: evaluation.grad })
    }
}

impl Oracle for Network {
    fn classes(&self) -> usize {
        self.prepared.classes
    }

    fn image_shape(&self) -> [usize; 3] {
        self.prepared.shape
    }

    fn logits(&mut self, images: ArrayView4<f32>) -> Result<Array2<f32>> {
        let piece = self.backend.preferred_batch();
        let outputs = |g: &Instrumented| Ok(vec![g.logits.clone()]);
        let results = self.run(&Instrumentation::default(), images, piece, &|_, _| Ok(Vec::new()), &outputs, None)?;
        typed(results.into_iter().next(), Ix2::NDIM)
    }

    fn gradient(&mut self, images: ArrayView4<f32>, objective: Objective) -> Result<Evaluation> {
        match self.exported.clone() {
            Some(exported) => self.differentiate_exported(images, objective, &exported),
            None => self.differentiate(images, objective),
        }
    }

    fn batch(&self) -> usize {
        self.backend.preferred_batch()
    }

    fn stepper<'a>(&'a mut self, job: &Job) -> Result<Option<Box<dyn Stepper + 'a>>> {
        Ok(self.open_loop(job, &[])?.map(|l| Box::new(l) as Box<dyn Stepper + 'a>))
    }

    fn neutral(&self) -> Vec<f32> {
        self.affine.neutral()
    }
}

impl Layers for Network {
    fn spatial_layers(&self) -> Vec<LayerInfo> {
        self.layers.clone()
    }

    fn linear_head(&self) -> Option<LinearHead> {
        self.head.clone()
    }

    fn activation(&mut self, images: ArrayView4<f32>, layer: &str) -> Result<ArrayD<f32>> {
        let value = self.activations(images, &[layer.to_owned()])?.pop();
        value.ok_or_else(|| Error::Engine(format!("the value of layer '{layer}' is missing")))
    }

    fn layer_gradient(&mut self, images: ArrayView4<f32>, layer: &str, class: usize) -> Result<LayerGradient> {
        let (logits, activation, gradient) = self.tapped_gradient(images, layer, class)?;
        let map = |value| -> Result<Array4<f32>> {
            typed::<Ix4>(Some(value), Ix4::NDIM).map_err(|_| {
                Error::Parameter(format!(
                    "'{layer}' is not a map of height and width; choose a spatial layer (psescope inspect lists them)"
                ))
            })
        };
        Ok(LayerGradient { logits, activation: map(activation)?, gradient: map(gradient)? })
    }
}

impl Network {
    /// Logits, the value of a layer and the gradient there of one logit, channels of maps first.
    fn tapped_gradient(&mut self, images: ArrayView4<f32>, layer: &str, class: usize) -> Result<(Array2<f32>, ArrayD<f32>, ArrayD<f32>)> {
        let classes = self.prepared.classes;
        if class >= classes {
            return Err(Error::Parameter(format!(
                "class {class} does not exist; the model has classes 0 to {}",
                classes.saturating_sub(1)
            )));
        }
        let exported = self.exported.as_ref().and_then(|e| e.tap(layer)).map(|(value, gradient)| (value, Some(gradient)));
        let spec = match exported {
            Some(_) => linear(),
            None => Instrumentation { taps: vec![(layer.to_owned(), TapKind::ValueAndGradient)], ..Instrumentation::default() },
        };
        let extra = |g: &Instrumented, range: Range<usize>| {
            let mut cotangent = Array2::zeros((range.len(), classes));
            cotangent.column_mut(class).fill(1.0);
            Ok(vec![(part(&g.cotangent, "cotangent input")?, Array::F32(cotangent.into_dyn()))])
        };
        let outputs = |g: &Instrumented| {
            let (value, gradient) = exported.as_ref().map_or_else(|| tap(g), Ok)?;
            Ok(vec![g.logits.clone(), value.clone(), part(gradient, "gradient output")?])
        };
        let mut results = self.run(&spec, images, self.gradient_batch, &extra, &outputs, None)?.into_iter();
        let logits = typed(results.next(), Ix2::NDIM)?;
        let mut next =
            || results.next().map(|v| self.channels_first(layer, v)).ok_or_else(|| Error::Engine("a gradient is missing".into()));
        Ok((logits, next()?, next()?))
    }
}

fn part<T: Clone>(part: &Option<T>, what: &str) -> Result<T> {
    part.clone().ok_or_else(|| Error::Engine(format!("the instrumented graph has no {what}")))
}

fn tap(g: &Instrumented) -> Result<&(String, Option<String>)> {
    g.taps.first().ok_or_else(|| Error::Engine("the instrumented graph has no tap".into()))
}

/// An output with the rank it must have.
fn typed<D: Dimension>(value: Option<ArrayD<f32>>, rank: Option<usize>) -> Result<ndarray::Array<f32, D>> {
    let value = value.ok_or_else(|| Error::Engine("the engine returned too few outputs".into()))?;
    let shape = value.shape().to_vec();
    value.into_dimensionality().map_err(|_| {
        Error::Engine(format!("the engine returned an output of shape {shape:?} where rank {} was expected", rank.unwrap_or(0)))
    })
}

fn join(mut pieces: Vec<ArrayD<f32>>) -> Result<ArrayD<f32>> {
    if pieces.len() == 1 {
        return Ok(pieces.swap_remove(0));
    }
    let views: Vec<_> = pieces.iter().map(|p| p.view()).collect();
    ndarray::concatenate(Axis(0), &views).map_err(|e| Error::Engine(format!("the pieces of a batch do not fit together ({e})")))
}

/// Images per piece of a gradient batch: a backward pass keeps every activation, so memory limits it.
fn gradient_batch(prepared: &Prepared, preferred: usize) -> usize {
    let size = |name: &String| -> Option<usize> {
        let shape = prepared.graph.types.get(name)?.shape.as_ref()?;
        shape.iter().try_fold(4usize, |a, d| Some(a.saturating_mul(d.at(1)?)))
    };
    let activations: usize = prepared.graph.nodes.iter().flat_map(|n| &n.outputs).filter_map(size).fold(0, usize::saturating_add);
    // Activations, their gradients, and what lives between.
    let per_image = activations.saturating_mul(3).max(1);
    (BYTES_PER_IMAGE.saturating_mul(preferred) / per_image).clamp(1, preferred.max(1))
}

#[cfg(test)]
#[cfg(feature = "embedded")]
#[path = "network_tests.rs"]
mod tests;
