//! The one seam between psescope and whatever executes graphs.

use std::{any::Any, sync::Arc};

use ndarray::{ArrayD, ArrayViewD};

use super::placement::Placed;
use crate::core::{
    error::{Error, Result},
    onnx::ValueInfo,
};

/// A tensor that crosses the seam.
#[derive(Debug, Clone)]
pub enum Array {
    /// 32-bit floats.
    F32(ArrayD<f32>),
    /// 64-bit integers.
    I64(ArrayD<i64>),
}

/// A tensor that stays where graphs run. Only executors of the engine that made it can read it; a copy is the same tensor.
#[derive(Clone)]
pub struct Resident(Arc<dyn Any + Send + Sync>);

impl Resident {
    /// Wraps what an engine keeps.
    pub fn new(value: impl Any + Send + Sync) -> Self {
        Self(Arc::new(value))
    }

    /// What the engine keeps, when it is of this type.
    pub fn get<T: Any>(&self) -> Result<&T> {
        self.0.downcast_ref().ok_or_else(|| Error::Engine("a tensor of another engine was given; run the attack again".into()))
    }
}

/// One input of [`Executor::advance`].
pub enum Feed<'a> {
    /// Stays where graphs run.
    Held(&'a Resident),
    /// Comes from this program.
    Sent(Array),
}

/// What [`Executor::advance`] gives: values that stay, and values that were read.
pub type Advanced = (Vec<Resident>, Vec<ArrayD<f32>>);

/// What a graph will be given.
#[derive(Debug, Clone, Copy)]
pub struct Shapes<'a> {
    /// Its inputs.
    pub inputs: &'a [ValueInfo],
    /// Batch it should be fastest at.
    pub usual: usize,
    /// Largest batch.
    pub most: usize,
    /// Whether its tensors stay where it runs, and it is only run by [`Executor::advance`].
    pub resident: bool,
}

/// Stops a run from another thread.
pub trait Interrupt: Send + Sync {
    /// Makes the run in progress (and later ones, until [`Interrupt::reset`]) end with `Error::Stopped`.
    fn stop(&self);
    /// Allows runs again.
    fn reset(&self);
}

/// What is made of a run's outputs, seen where they lie.
pub type Reduce<'a> = &'a mut dyn FnMut(&[ArrayViewD<f32>]) -> Vec<ArrayD<f32>>;

/// A loaded graph.
pub trait Executor: Send {
    /// Runs the graph: named inputs, wanted outputs in order.
    fn run(&mut self, inputs: &[(&str, Array)], outputs: &[&str]) -> Result<Vec<ArrayD<f32>>>;

    /// Runs the graph and shows the outputs to `with`, without copying them where they lie in this process's memory; returns what it made of them.
    fn reduce(&mut self, inputs: &[(&str, Array)], outputs: &[&str], with: Reduce) -> Result<Vec<ArrayD<f32>>> {
        let values = self.run(inputs, outputs)?;
        Ok(with(&values.iter().map(|v| v.view()).collect::<Vec<_>>()))
    }

    /// Handle that stops a run.
    fn interrupt(&self) -> Arc<dyn Interrupt>;

    /// Execution provider that really runs it, as shown to people: `CPU`, `CUDA:0`, `TensorRT:0`.
    fn provider(&self) -> String;

    /// Puts a tensor where graphs run.
    fn hold(&mut self, array: Array) -> Result<Resident> {
        Ok(Resident::new(array))
    }

    /// Runs the graph on tensors that stay where they are: the outputs in `keep` stay too, those in `read` come here. Every resident
    /// that is still held keeps its value.
    fn advance(&mut self, inputs: &[(&str, Feed)], keep: &[&str], read: &[&str]) -> Result<Advanced> {
        let array = |feed: &Feed| match feed {
            Feed::Held(resident) => resident.get::<Array>().cloned(),
            Feed::Sent(array) => Ok(array.clone()),
        };
        let inputs = inputs.iter().map(|(name, feed)| Ok((*name, array(feed)?))).collect::<Result<Vec<_>>>()?;
        let wanted: Vec<&str> = keep.iter().chain(read).copied().collect();
        let mut values = self.run(&inputs, &wanted)?;
        let read = values.split_off(keep.len());
        Ok((values.into_iter().map(|v| Resident::new(Array::F32(v))).collect(), read))
    }

    /// Gives back memory that it keeps for later runs of [`Executor::advance`].
    fn relax(&mut self) {}

    /// Copies a tensor of floats here.
    fn fetch(&mut self, resident: &Resident) -> Result<ArrayD<f32>> {
        match resident.get::<Array>()? {
            Array::F32(a) => Ok(a.clone()),
            Array::I64(a) => Ok(a.mapv(|v| v as f32)),
        }
    }
}

/// An engine that loads graphs.
pub trait Backend: Send + Sync {
    /// Name and version, as shown to people: `onnxruntime 1.32`, `embedded (tract 0.23)`.
    fn describe(&self) -> String;

    /// Loads a serialised ONNX model.
    fn load(&self, model: &[u8]) -> Result<Box<dyn Executor>>;

    /// The same for a graph whose batches are known: engines that are built for shapes need them.
    fn load_for(&self, model: &[u8], _shapes: &Shapes) -> Result<Box<dyn Executor>> {
        self.load(model)
    }

    /// Runs a graph and says which operators ran where; `None` when the engine does not tell.
    fn placement(&self, _model: &[u8], _shapes: &Shapes, _inputs: &[(&str, Array)]) -> Result<Option<Vec<Placed>>> {
        Ok(None)
    }

    /// Whether images stay where graphs run while an attack goes on.
    fn prefers_resident(&self) -> bool {
        false
    }

    /// Batch size with the best throughput per image for one forward run.
    fn preferred_batch(&self) -> usize;

    /// Whether statistics of units should be reduced by the graph, because its values are far away. A graph must then run once for a whole
    /// batch: it compares the samples of the batch with each other.
    fn reduces_in_graph(&self) -> bool {
        false
    }

    /// Engines that part this one's threads between them, for jobs of many runs that do not wait for each other: together they are done sooner
    /// than one engine that brings all its threads to every run. Empty where that is not so.
    fn lanes(&self) -> Vec<Arc<dyn Backend>> {
        Vec::new()
    }
}
