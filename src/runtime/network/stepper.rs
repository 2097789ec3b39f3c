//! An attack's loop whose images stay where the graph runs.

use std::collections::BTreeMap;

use ndarray::{Array2, Array3, Array4, ArrayD, ArrayView3, Axis, Ix4};

use super::{Network, check_objective, objective_inputs, objective_spec, part, recover, typed};
use crate::{
    core::{
        error::{Error, Result},
        graph::{Instrumentation, Update, UpdateRule},
        stepper::{Job, Reading, Rule, Stepper, base},
        tensor::norm::Norms,
    },
    runtime::backend::{Advanced, Array, Feed, Resident},
};

/// Inputs that measuring an image shares with the graph that makes it.
const SHARED: &[&str] = &["clean", "scale", "offset"];

fn graph_rule(rule: Rule) -> UpdateRule {
    match rule {
        Rule::Sign { momentum, .. } => UpdateRule::Sign { momentum },
        Rule::Normal { momentum } => UpdateRule::Normal { momentum },
        Rule::Adam => UpdateRule::Adam,
        Rule::Shrink => UpdateRule::Shrink,
    }
}

/// The states of a rule besides the images themselves.
fn further_states(rule: Rule) -> &'static [&'static str] {
    match rule {
        Rule::Sign { momentum: true, .. } | Rule::Normal { momentum: true } => &["momentum"],
        Rule::Sign { .. } | Rule::Normal { .. } => &[],
        Rule::Adam => &["moved", "first", "second"],
        Rule::Shrink => &["point"],
    }
}

fn batch(array: ArrayView3<f32>) -> Array {
    Array::F32(array.insert_axis(Axis(0)).to_owned().into_dyn())
}

/// A loop on a network's engine.
struct Loop<'a> {
    network: &'a mut Network,
    /// Positions of the loaded graphs: the update, and what measures its images when it does not do so itself.
    update: usize,
    measure: Option<usize>,
    /// What never changes, by role or by the name of an input of the loss head.
    fixed: Vec<(String, Resident)>,
    states: BTreeMap<&'static str, Resident>,
    /// Images that the last step described, when they are not the current ones.
    shown: Option<Resident>,
    /// The copy of them, once somebody asked.
    copy: Option<Array4<f32>>,
    images: usize,
    /// How many numbers a step takes.
    scalars: usize,
}

impl Network {
    /// Opens a loop, when updates belong into the graph here. What stands in the way is said, and the caller does it all himself.
    pub(super) fn open_loop<'a>(&'a mut self, job: &Job) -> Result<Option<Box<dyn Stepper + 'a>>> {
        let n = job.starts.len_of(Axis(0));
        if !self.resident {
            return Ok(None);
        }
        if self.exported.is_some() {
            self.say("gradients from a file have no update behind them: every step carries its image here and back".into());
            return Ok(None);
        }
        if n > self.limit.unwrap_or(usize::MAX).min(self.gradient_batch) {
            return Ok(None);
        }
        check_objective(&job.objective, n, self.prepared.classes)?;
        let scalars = job.rule.scalars();
        match self.prepare_loop(job) {
            Ok((update, measure, fixed, states)) => {
                Ok(Some(Box::new(Loop { network: self, update, measure, fixed, states, shown: None, copy: None, images: n, scalars })))
            }
            Err(Error::Engine(why)) => {
                self.say(format!("the update cannot run on the device ({why}): every step carries its image here and back"));
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    #[allow(clippy::type_complexity)] // taken apart at once by its one caller
    fn prepare_loop(&mut self, job: &Job) -> Result<(usize, Option<usize>, Vec<(String, Resident)>, BTreeMap<&'static str, Resident>)> {
        let (masked, bgr) = (job.mask.is_some(), self.affine.bgr);
        let update = Some(Update { rule: graph_rule(job.rule), masked, bgr });
        let spec = Instrumentation { update, ..objective_spec(&job.objective) };
        let at = self.session(&spec)?;
        let measure = (job.rule == Rule::Shrink).then_some(Update { rule: UpdateRule::Measure, masked: false, bgr });
        let measure = measure.map(|m| self.session(&Instrumentation { update: Some(m), ..Instrumentation::default() })).transpose()?;
        let n = job.starts.len_of(Axis(0));
        let per_channel = |values: &[f32]| -> Result<Array> {
            let array = ArrayD::from_shape_vec(vec![1, values.len(), 1, 1], values.to_vec());
            Ok(Array::F32(array.map_err(|e| Error::Engine(e.to_string()))?))
        };
        let mut given =
            vec![("clean", batch(job.clean)), ("scale", per_channel(&self.affine.scale)?), ("offset", per_channel(&self.affine.offset)?)];
        if let Some(mask) = job.mask {
            given.push(("mask", batch(mask.insert_axis(Axis(0)))));
        }
        match job.rule {
            Rule::Sign { eps, .. } => {
                given.push(("low", batch(job.clean.mapv(|c| (c - eps).max(0.0)).view())));
                given.push(("high", batch(job.clean.mapv(|c| (c + eps).min(1.0)).view())));
            }
            Rule::Adam => given.push(("base", batch(job.clean.mapv(base).view()))),
            Rule::Normal { .. } | Rule::Shrink => {}
        }
        if matches!(job.rule, Rule::Adam | Rule::Shrink) {
            let constants = ArrayD::from_shape_vec(vec![n, 1, 1, 1], job.constants.to_vec());
            given.push(("constants", Array::F32(constants.map_err(|_| Error::Parameter("a constant for each image is needed".into()))?)));
        }
        let loaded = &mut self.loaded[at];
        let mut fixed = Vec::new();
        for (role, array) in given {
            fixed.push((role_name(&loaded.names.update, role)?, loaded.executor.hold(array)?));
        }
        for (name, array) in objective_inputs(&loaded.names, &job.objective, 0..n)? {
            fixed.push((name, loaded.executor.hold(array)?));
        }
        let mut states = BTreeMap::new();
        let starts = job.starts.to_owned().into_dyn();
        for role in further_states(job.rule) {
            let value = if *role == "point" { starts.clone() } else { ArrayD::zeros(starts.raw_dim()) };
            states.insert(*role, loaded.executor.hold(Array::F32(value))?);
        }
        states.insert("pixels", loaded.executor.hold(Array::F32(starts))?);
        Ok((at, measure, fixed, states))
    }
}

fn role_name(roles: &BTreeMap<String, String>, role: &str) -> Result<String> {
    roles.get(role).cloned().ok_or_else(|| Error::Engine(format!("the update graph has no '{role}'")))
}

impl Loop<'_> {
    /// One run of the update: the new states, and what was read.
    fn advance(&mut self, scalars: &[f32], outputs: &[String], read: &[String]) -> Result<Advanced> {
        let loaded = &mut self.network.loaded[self.update];
        let roles = loaded.names.update.clone();
        let mut inputs: Vec<(&str, Feed)> = self.fixed.iter().map(|(name, value)| (name.as_str(), Feed::Held(value))).collect();
        let names: Vec<(String, &Resident)> =
            self.states.iter().map(|(role, value)| Ok((role_name(&roles, role)?, value))).collect::<Result<_>>()?;
        inputs.extend(names.iter().map(|(name, value)| (name.as_str(), Feed::Held(value))));
        let name = role_name(&roles, "scalars")?;
        let packed = ArrayD::from_shape_vec(vec![scalars.len()], scalars.to_vec()).map_err(|e| Error::Engine(e.to_string()))?;
        inputs.push((&name, Feed::Sent(Array::F32(packed))));
        let keep: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let read: Vec<&str> = read.iter().map(String::as_str).collect();
        let done = loaded.executor.advance(&inputs, &keep, &read).map_err(hint)?;
        loaded.worked = true;
        Ok(done)
    }

    /// Logits and norms of the current images, by the graph that only measures.
    fn measured(&mut self, at: usize) -> Result<Vec<Reading>> {
        let roles = self.network.loaded[self.update].names.update.clone();
        let loaded = &mut self.network.loaded[at];
        let own = loaded.names.update.clone();
        let mut inputs: Vec<(String, &Resident)> = vec![(role_name(&own, "pixels")?, &self.states["pixels"])];
        for role in SHARED {
            let name = role_name(&roles, role)?;
            let value = self.fixed.iter().find(|f| f.0 == name).ok_or_else(|| Error::Engine(format!("'{role}' is missing")))?;
            inputs.push((role_name(&own, role)?, &value.1));
        }
        let feeds: Vec<(&str, Feed)> = inputs.iter().map(|(name, value)| (name.as_str(), Feed::Held(value))).collect();
        let (logits, norms) = (loaded.names.logits.clone(), role_name(&own, "norms")?);
        let (_, read) = loaded.executor.advance(&feeds, &[], &[&logits, &norms]).map_err(hint)?;
        loaded.worked = true;
        readings(read)
    }

    /// Copies the images as they are, or as the last step described them.
    fn fetch(&mut self, described: bool) -> Result<Array4<f32>> {
        let value = self.shown.as_ref().filter(|_| described).unwrap_or(&self.states["pixels"]);
        let array = self.network.loaded[self.update].executor.fetch(value)?;
        array.into_dimensionality::<Ix4>().map_err(|e| Error::Engine(format!("an image came back in another shape ({e})")))
    }
}

/// What to do when memory is short: the loop cannot shrink its batch by itself.
fn hint(error: Error) -> Error {
    match error {
        Error::Engine(why) if recover::is_memory(&why) => {
            Error::Engine(format!("{why}; the device's memory does not suffice: use --search sequential, or --update host"))
        }
        other => other,
    }
}

/// Logits, norms and (third, if any) losses, image by image.
fn readings(read: Vec<ArrayD<f32>>) -> Result<Vec<Reading>> {
    let mut read = read.into_iter();
    let logits: Array2<f32> = typed(read.next(), Some(2))?;
    let norms: Array2<f32> = typed(read.next(), Some(2))?;
    let losses = read.next();
    let of = |(i, row): (usize, ndarray::ArrayView1<f32>)| {
        let n = norms.row(i);
        Reading {
            logits: row.to_owned(),
            loss: losses.as_ref().and_then(|l| l.iter().nth(i).copied()),
            norms: Norms { l0: n[0] as usize, l1: n[1].into(), l2: f64::from(n[2]).sqrt(), linf: n[3].into() },
        }
    };
    Ok(logits.outer_iter().enumerate().map(of).collect())
}

impl Stepper for Loop<'_> {
    fn step(&mut self, scalars: &[f32]) -> Result<Vec<Reading>> {
        if self.network.interrupt.is_stopped() {
            return Err(Error::Stopped);
        }
        if scalars.len() != self.scalars {
            return Err(Error::Parameter(format!("a step of this update takes {} numbers, not {}", self.scalars, scalars.len())));
        }
        let names = &self.network.loaded[self.update].names;
        let roles: Vec<&'static str> = self.states.keys().copied().collect();
        let outputs = roles.iter().map(|r| role_name(&names.update, &format!("next_{r}"))).collect::<Result<Vec<_>>>()?;
        let read = match self.measure {
            Some(_) => Vec::new(),
            None => vec![names.logits.clone(), role_name(&names.update, "norms")?, part(&names.loss, "loss output")?],
        };
        // What nobody holds is free for the engine to write.
        self.shown = None;
        let (next, read) = self.advance(scalars, &outputs, &read)?;
        let mut before = std::mem::replace(&mut self.states, roles.into_iter().zip(next).collect());
        self.copy = None;
        match self.measure {
            Some(at) => self.measured(at),
            None => {
                self.shown = before.remove("pixels");
                readings(read)
            }
        }
    }

    fn image(&mut self, index: usize) -> Result<Array3<f32>> {
        if self.copy.is_none() {
            self.copy = Some(self.fetch(true)?);
        }
        row(self.copy.as_ref(), index, self.images)
    }

    fn current(&mut self, index: usize) -> Result<Array3<f32>> {
        let images = self.fetch(false)?;
        row(Some(&images), index, self.images)
    }
}

fn row(images: Option<&Array4<f32>>, index: usize, count: usize) -> Result<Array3<f32>> {
    let images = images.filter(|i| index < count && i.len_of(Axis(0)) == count);
    let images = images.ok_or_else(|| Error::Engine(format!("there is no image {index} among {count}")))?;
    Ok(images.index_axis(Axis(0), index).to_owned())
}
