//! Running one graph sample by sample.

use std::{collections::HashMap, sync::Arc};

use ndarray::{ArrayD, Axis, Slice};
use rayon::{ThreadPool, prelude::*};
use tract_onnx::{
    prelude::*,
    tract_core::plan::{self, SimpleState},
};

use super::{
    failed,
    signature::{Batching, Port, Signature},
};
use crate::{
    core::error::{Error, Result},
    runtime::{
        backend::{Array, Executor, Interrupt},
        interrupt::Flag,
        quiet::guarded,
    },
};

/// Input shapes of one sample and the wanted outputs: what a plan is made for.
type Key = (Vec<Vec<usize>>, Vec<usize>);

/// Plans kept; the least recently made is dropped first.
const KEPT: usize = 8;

/// A loaded graph and the plans made from it so far.
pub struct Plans {
    model: InferenceModel,
    signature: Signature,
    plans: HashMap<Key, (u64, Arc<TypedRunnableModel>)>,
    made: u64,
    pool: Arc<ThreadPool>,
    stop: Arc<Flag>,
}

impl Plans {
    /// Parses a serialised model.
    pub fn new(model: &[u8], signature: Signature, pool: Arc<ThreadPool>) -> Result<Self> {
        let parsed = guarded(|| {
            let framework = onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
            framework.model_for_read(&mut std::io::Cursor::new(model)).map_err(|e| reason(&e))
        });
        let model = parsed.and_then(|r| r).map_err(|e| failed("read this graph", &e))?;
        Ok(Self { model, signature, plans: HashMap::new(), made: 0, pool, stop: Arc::default() })
    }

    fn plan(&mut self, key: Key) -> Result<Arc<TypedRunnableModel>> {
        if let Some((_, plan)) = self.plans.get(&key) {
            return Ok(plan.clone());
        }
        let (model, ports) = (&self.model, &self.signature.inputs);
        let built = |optimised| guarded(|| build(model, ports, &key, optimised).map_err(|e| reason(&e))).and_then(|r| r);
        // tract's optimiser refuses some right graphs (a broadcast that meets an einsum); unoptimised they run, only slower.
        let plan = built(true).or_else(|_| built(false)).map_err(|e| failed("prepare this graph", &e))?;
        if self.plans.len() >= KEPT {
            let oldest = self.plans.iter().min_by_key(|(_, (made, _))| *made).map(|(k, _)| k.clone());
            oldest.map(|k| self.plans.remove(&k));
        }
        self.made += 1;
        self.plans.insert(key, (self.made, plan.clone()));
        Ok(plan)
    }

    /// The inputs in the graph's order, and the number of samples.
    fn arrange<'a>(&self, inputs: &'a [(&str, Array)]) -> Result<(Vec<&'a Array>, usize)> {
        let mut samples: Option<usize> = None;
        let mut arranged = Vec::with_capacity(self.signature.inputs.len());
        for port in &self.signature.inputs {
            let found = inputs.iter().find(|(name, _)| *name == port.name);
            let (_, array) = found.ok_or_else(|| Error::Engine(format!("the graph needs an input '{}' that was not given", port.name)))?;
            if matches!(array, Array::I64(_)) != port.integer {
                return Err(Error::Engine(format!("input '{}' has the wrong element type", port.name)));
            }
            if let (Batching::Rows(k), Some(rows)) = (port.batching, shape(array).first()) {
                let n = rows / k.max(1);
                if rows % k.max(1) != 0 || samples.is_some_and(|s| s != n) {
                    return Err(Error::Engine(format!("input '{}' has {rows} rows, which does not fit the other inputs", port.name)));
                }
                samples = Some(n);
            }
            arranged.push(array);
        }
        Ok((arranged, samples.unwrap_or(1)))
    }
}

impl Executor for Plans {
    fn run(&mut self, inputs: &[(&str, Array)], outputs: &[&str]) -> Result<Vec<ArrayD<f32>>> {
        if self.stop.is_set() {
            return Err(Error::Stopped);
        }
        let (arranged, samples) = self.arrange(inputs)?;
        if samples == 0 {
            return Err(Error::Engine("the batch is empty".into()));
        }
        let position = |name: &&str| self.signature.outputs.iter().position(|p| p.name == *name);
        let wanted: Option<Vec<usize>> = outputs.iter().map(position).collect();
        let wanted = wanted.ok_or_else(|| Error::Engine(format!("the graph lacks one of the outputs {}", outputs.join(", "))))?;
        let rows = |port: &Port, array: &Array| match port.batching {
            Batching::Rows(k) => (k, shape(array).iter().enumerate().map(|(i, &d)| if i == 0 { k } else { d }).collect()),
            _ => (0, shape(array).to_vec()),
        };
        let (per_sample, shapes): (Vec<usize>, Vec<Vec<usize>>) =
            self.signature.inputs.iter().zip(&arranged).map(|(port, array)| rows(port, array)).unzip();
        let plan = self.plan((shapes, wanted.clone()))?;
        let stop = &*self.stop;
        let one = |n: usize| {
            let values = arranged.iter().zip(&per_sample).map(|(array, &k)| tensor(array, n, k).into_tvalue()).collect();
            guarded(|| execute(&plan, values, stop)).unwrap_or_else(|e| Err(failed("run this graph", &e)))
        };
        let results: Vec<Result<Vec<ArrayD<f32>>>> =
            if samples == 1 { vec![one(0)] } else { self.pool.install(|| (0..samples).into_par_iter().map(one).collect()) };
        let results = results.into_iter().collect::<Result<Vec<_>>>();
        if stop.is_set() {
            return Err(Error::Stopped);
        }
        let ports: Vec<&Port> = wanted.iter().map(|&i| &self.signature.outputs[i]).collect();
        join(results?, &ports)
    }

    fn interrupt(&self) -> Arc<dyn Interrupt> {
        self.stop.clone()
    }

    fn provider(&self) -> String {
        "CPU".into()
    }
}

fn build(model: &InferenceModel, ports: &[Port], key: &Key, optimised: bool) -> TractResult<Arc<TypedRunnableModel>> {
    let (shapes, wanted) = key;
    let mut model = model.clone();
    for (i, (port, shape)) in ports.iter().zip(shapes).enumerate() {
        let dtype = if port.integer { i64::datum_type() } else { f32::datum_type() };
        model.set_input_fact(i, InferenceFact::dt_shape(dtype, shape))?;
    }
    let all = model.output_outlets()?.to_vec();
    let outlets: Vec<_> = wanted.iter().map(|&i| all[i]).collect();
    model.select_output_outlets(&outlets)?;
    if optimised { model.into_optimized()?.into_runnable() } else { model.into_typed()?.into_runnable() }
}

/// Runs a plan on one sample; the flag is looked at before every node.
fn execute(plan: &Arc<TypedRunnableModel>, inputs: TVec<TValue>, stop: &Flag) -> Result<Vec<ArrayD<f32>>> {
    let mut state = SimpleState::new(plan).map_err(|e| failed("run this graph", &reason(&e)))?;
    let outputs = state.run_plan_with_eval(inputs, |context, op_state, node, values| {
        if stop.is_set() { Err(TractError::msg("stopped")) } else { plan::eval(context, op_state, node, values) }
    });
    let outputs = match outputs {
        _ if stop.is_set() => return Err(Error::Stopped),
        Ok(outputs) => outputs,
        Err(e) => return Err(failed("run this graph", &reason(&e))),
    };
    let floats = |value: &TValue| -> TractResult<ArrayD<f32>> {
        let cast = value.cast_to::<f32>()?;
        Ok(cast.to_plain_array_view::<f32>()?.to_owned())
    };
    outputs.iter().map(|v| floats(v).map_err(|e| failed("return an output", &reason(&e)))).collect()
}

/// One sample's outputs after another's, along the first axis.
fn join(samples: Vec<Vec<ArrayD<f32>>>, ports: &[&Port]) -> Result<Vec<ArrayD<f32>>> {
    let mut columns: Vec<Vec<ArrayD<f32>>> = ports.iter().map(|_| Vec::with_capacity(samples.len())).collect();
    for sample in samples {
        for (column, value) in columns.iter_mut().zip(sample) {
            column.push(value);
        }
    }
    let together = |(port, mut column): (&&Port, Vec<ArrayD<f32>>)| {
        let whole = port.batching == Batching::Whole || column.first().is_none_or(|v| v.ndim() == 0);
        if whole && column.iter().any(|v| *v != column[0]) {
            return Err(Error::Engine(format!("output '{}' is declared without a batch but differs between samples", port.name)));
        }
        if whole || column.len() == 1 {
            return Ok(column.swap_remove(0));
        }
        let views: Vec<_> = column.iter().map(|v| v.view()).collect();
        ndarray::concatenate(Axis(0), &views).map_err(|e| failed("join a batch", &e.to_string()))
    };
    ports.iter().zip(columns).map(together).collect()
}

/// Rows `n*k .. (n+1)*k` of an input, or all of it when `k` is 0.
fn tensor(array: &Array, n: usize, k: usize) -> Tensor {
    match array {
        Array::F32(a) if k == 0 => a.clone().into(),
        Array::I64(a) if k == 0 => a.clone().into(),
        Array::F32(a) => a.slice_axis(Axis(0), Slice::from(n * k..(n + 1) * k)).to_owned().into(),
        Array::I64(a) => a.slice_axis(Axis(0), Slice::from(n * k..(n + 1) * k)).to_owned().into(),
    }
}

fn shape(array: &Array) -> &[usize] {
    match array {
        Array::F32(a) => a.shape(),
        Array::I64(a) => a.shape(),
    }
}

/// The innermost cause first: it names the operator.
fn reason(error: &TractError) -> String {
    let outer = error.to_string();
    let root = error.root_cause().to_string();
    if root == outer { outer } else { format!("{root} ({outer})") }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
