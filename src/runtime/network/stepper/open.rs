//! Opening a loop: graphs, what never changes, and where the images begin.

use std::{collections::BTreeMap, ops::Range};

use ndarray::{Array3, ArrayD, ArrayView3, Axis, Slice};

use super::{Loop, Part, Plan};
use crate::{
    core::{
        error::{Error, Result},
        graph::{Instrumentation, Instrumented, Update, UpdateRule, WindowSizes},
        oracle::UnitGate,
        stepper::{Job, Rule, Windows, base},
    },
    runtime::{
        backend::{Array, Executor, Resident},
        network::{Inputs, Network, check_objective, objective_inputs, objective_spec, units},
    },
};

/// A graph of the loop, and what it is given for each image by itself, one row per image.
pub(super) struct Stage {
    /// Its place among the loaded graphs.
    pub at: usize,
    pub rows: Inputs,
}

fn graph_rule(rule: Rule, windows: Option<&Windows>) -> Result<UpdateRule> {
    let sizes = || {
        let windows = windows.ok_or_else(|| Error::Parameter("this update needs windows".into()))?;
        let (classes, rows, _) = windows.rows.dim();
        Ok(WindowSizes { classes, rows, columns: windows.columns.dim().1 })
    };
    Ok(match rule {
        Rule::Sign { momentum, .. } => UpdateRule::Sign { momentum },
        Rule::Normal { momentum } => UpdateRule::Normal { momentum },
        Rule::Adam => UpdateRule::Adam,
        Rule::Shrink => UpdateRule::Shrink,
        Rule::Auto { l2, .. } => UpdateRule::Auto { l2 },
        Rule::Admm { .. } => UpdateRule::Admm(sizes()?),
        Rule::Refine { .. } => UpdateRule::Refine(sizes()?),
    })
}

fn batch(array: ArrayView3<f32>) -> Array {
    Array::F32(array.insert_axis(Axis(0)).to_owned().into_dyn())
}

/// Rows of what belongs to single images.
pub(super) fn slice(array: &Array, range: &Range<usize>) -> Array {
    let rows = Slice::from(range.clone());
    match array {
        Array::F32(a) => Array::F32(a.slice_axis(Axis(0), rows).to_owned()),
        Array::I64(a) => Array::I64(a.slice_axis(Axis(0), rows).to_owned()),
    }
}

pub(super) fn role_name(roles: &BTreeMap<String, String>, role: &str) -> Result<String> {
    roles.get(role).cloned().ok_or_else(|| Error::Engine(format!("the update graph has no '{role}'")))
}

pub(super) fn hold(executor: &mut dyn Executor, inputs: &Inputs, range: &Range<usize>) -> Result<Vec<(String, Resident)>> {
    inputs.iter().map(|(name, array)| Ok((name.clone(), executor.hold(slice(array, range))?))).collect()
}

impl Network {
    /// Opens a loop of the network as it is or seen through gates, when updates belong into the graph here. What stands in the way is
    /// said, and the caller does it all himself.
    pub(in crate::runtime::network) fn open_loop<'a>(&'a mut self, job: &Job, gates: &[UnitGate]) -> Result<Option<Loop<'a>>> {
        if !self.resident {
            return Ok(None);
        }
        if self.exported.is_some() {
            self.say("gradients from a file have no update behind them: every step carries its image here and back".into());
            return Ok(None);
        }
        check_objective(&job.objective, job.starts.len_of(Axis(0)), self.prepared.classes)?;
        match self.prepare_loop(job, gates) {
            Ok((update, measure, shared, parts)) => {
                let plan = Plan::of(job.rule);
                let (scalars, gates) = (job.rule.scalars(), gates.to_vec());
                Ok(Some(Loop { network: self, plan, update, measure, shared, parts, scalars, gates }))
            }
            Err(Error::Engine(why)) => {
                self.say(format!("the update cannot run on the device ({why}): every step carries its image here and back"));
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    #[allow(clippy::type_complexity)] // taken apart at once by its one caller
    fn prepare_loop(&mut self, job: &Job, gates: &[UnitGate]) -> Result<(Stage, Option<Stage>, Vec<(String, Resident)>, Vec<Part>)> {
        let n = job.starts.len_of(Axis(0));
        let bgr = self.affine.bgr;
        let update = Some(Update { rule: graph_rule(job.rule, job.windows)?, masked: job.mask.is_some(), bgr });
        let (gates, most) = self.gate_inputs(job.starts, gates)?;
        if most != n {
            return Err(Error::Parameter("there are more masks than images in the loop; give one mask for all".into()));
        }
        let spec = Instrumentation { update, gates: units::specs(&gates), ..objective_spec(&job.objective) };
        let mut stage = |spec: &Instrumentation| -> Result<Stage> {
            let at = self.session(spec)?;
            let rows = units::feed(&self.loaded[at].names, &gates, &(0..n))?;
            Ok(Stage { at, rows })
        };
        stage(&spec)?;
        let measure = Update { rule: UpdateRule::Measure, masked: false, bgr };
        let measure = Instrumentation { update: Some(measure), gates: units::specs(&gates), ..Instrumentation::default() };
        let measure = Plan::of(job.rule).measured.then(|| stage(&measure)).transpose()?;
        // Asked for again: loading the second may have moved it.
        let mut update = stage(&spec)?;
        let mut given = self.given(job)?;
        if matches!(job.rule, Rule::Adam | Rule::Shrink | Rule::Admm { .. } | Rule::Refine { .. }) {
            let constants = ArrayD::from_shape_vec(vec![n, 1, 1, 1], job.constants.to_vec());
            let constants = constants.map_err(|_| Error::Parameter("a constant for each image is needed".into()))?;
            update.rows.push((role_name(&self.loaded[update.at].names.update, "constants")?, Array::F32(constants)));
        }
        let loaded = &mut self.loaded[update.at];
        let mut shared = Vec::new();
        for (role, array) in given.drain(..) {
            shared.push((role_name(&loaded.names.update, role)?, loaded.executor.hold(array)?));
        }
        for (name, array) in objective_inputs(&loaded.names, &job.objective, 0..n)? {
            let alone = matches!(&array, Array::F32(a) if a.ndim() == 0);
            match alone {
                true => shared.push((name, loaded.executor.hold(array)?)),
                false => update.rows.push((name, array)),
            }
        }
        let states = starts(job, &loaded.names)?;
        let piece = self.limit.unwrap_or(usize::MAX).min(self.gradient_batch).max(1);
        let mut parts = Vec::new();
        for first in (0..n).step_by(piece) {
            parts.push(self.part(&update, measure.as_ref(), &states, first..n.min(first + piece))?);
        }
        Ok((update, measure, shared, parts))
    }

    /// What all images share, by role.
    fn given(&self, job: &Job) -> Result<Vec<(&'static str, Array)>> {
        let per_channel = |values: &[f32]| -> Result<Array> {
            let array = ArrayD::from_shape_vec(vec![1, values.len(), 1, 1], values.to_vec());
            Ok(Array::F32(array.map_err(|e| Error::Engine(e.to_string()))?))
        };
        let mut given =
            vec![("clean", batch(job.clean)), ("scale", per_channel(&self.affine.scale)?), ("offset", per_channel(&self.affine.offset)?)];
        if let Some(mask) = job.mask {
            given.push(("mask", batch(mask.insert_axis(Axis(0)))));
        }
        let mut bounds = |low: Array3<f32>, high: Array3<f32>| given.extend([("low", batch(low.view())), ("high", batch(high.view()))]);
        match job.rule {
            Rule::Sign { eps, .. } | Rule::Auto { eps, l2: false } => {
                bounds(job.clean.mapv(|c| (c - eps).max(0.0)), job.clean.mapv(|c| (c + eps).min(1.0)));
            }
            Rule::Admm { eps } | Rule::Refine { eps } => {
                bounds(job.clean.mapv(|c| (-c).max(-eps)), job.clean.mapv(|c| (1.0 - c).min(eps)));
            }
            Rule::Adam => given.push(("base", batch(job.clean.mapv(base).view()))),
            Rule::Normal { .. } | Rule::Shrink | Rule::Auto { .. } => {}
        }
        if let Some(windows) = job.windows {
            let Windows { rows, columns, row_spread, column_spread } = windows;
            let all = [("rows", rows), ("columns", columns), ("row_spread", row_spread), ("column_spread", column_spread)];
            // The refinement shrinks nothing: it only measures.
            let used = |role: &str| !matches!(job.rule, Rule::Refine { .. }) || !role.ends_with("spread");
            given.extend(all.into_iter().filter(|(role, _)| used(role)).map(|(role, matrix)| (role, batch(matrix.view()))));
        }
        if let Some(support) = job.support {
            given.push(("support", batch(support)));
        }
        Ok(given)
    }

    /// Puts some of the images where the graph runs.
    pub(super) fn part(
        &mut self,
        update: &Stage,
        measure: Option<&Stage>,
        states: &BTreeMap<&'static str, ArrayD<f32>>,
        range: Range<usize>,
    ) -> Result<Part> {
        let held = measure.map(|m| hold(self.loaded[m.at].executor.as_mut(), &m.rows, &range)).transpose()?;
        let executor = &mut self.loaded[update.at].executor;
        let own = hold(executor.as_mut(), &update.rows, &range)?;
        let rows = Slice::from(range.clone());
        let mut resident = BTreeMap::new();
        for (role, state) in states {
            resident.insert(*role, executor.hold(Array::F32(state.slice_axis(Axis(0), rows).to_owned()))?);
        }
        Ok(Part { range, own, measured: held.unwrap_or_default(), states: resident, before: None, shown: None, copy: None })
    }
}

/// Where the states of a rule begin.
fn starts(job: &Job, names: &Instrumented) -> Result<BTreeMap<&'static str, ArrayD<f32>>> {
    let starts = job.starts.to_owned().into_dyn();
    let one = |role: &'static str| -> Result<(&'static str, ArrayD<f32>)> {
        let value = match role {
            "pixels" | "point" | "previous" | "z" => starts.clone(),
            // Rank 5: one dual for each class of windows.
            "v" => {
                let name = role_name(&names.update, role)?;
                let input = names.graph.inputs.iter().find(|i| i.name == name).and_then(|i| i.ty.shape.clone());
                let shape: Option<Vec<usize>> = input.unwrap_or_default().iter().map(|d| d.at(starts.shape()[0])).collect();
                ArrayD::zeros(shape.ok_or_else(|| Error::Engine("the update graph has a state of no known shape".into()))?)
            }
            _ => ArrayD::zeros(starts.raw_dim()),
        };
        Ok((role, value))
    };
    Plan::of(job.rule).states.iter().map(|role| one(role)).collect()
}
