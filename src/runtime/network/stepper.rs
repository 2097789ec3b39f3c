//! An attack's loop whose images stay where the graph runs.
//!
//! The images of a step run in parts, as many together as the device's memory holds: a part that does not fit is halved. When one image
//! alone does not fit, or the engine fails in another way, the states from before the step come back and the caller goes on.

mod open;

use std::{collections::BTreeMap, ops::Range};

use ndarray::{Array2, Array3, Array4, ArrayD, ArrayView1, ArrayView4, Axis, Ix4, concatenate};

use open::{Stage, role_name};

use super::{Network, part, recover, typed};
use crate::{
    core::{
        error::{Error, Result},
        oracle::{Evaluation, Objective, Oracle, UnitGate, Units as _},
        stepper::{Reading, Rule, States, Stepper},
        tensor::norm::Norms,
    },
    runtime::backend::{Array, Feed, Resident},
};

/// Inputs that measuring an image shares with the graph that makes it.
const SHARED: &[&str] = &["clean", "scale", "offset"];

/// What a rule's graph is given and gives.
struct Plan {
    /// States that a run takes.
    states: &'static [&'static str],
    /// Next states (and the image, where it is no state) that a run makes.
    makes: &'static [&'static str],
    /// Whether a step describes the image that it made, not the one that it was given.
    after: bool,
    /// Whether that takes a graph of its own.
    measured: bool,
    /// Further numbers that a run tells, one row per image.
    tells: &'static [&'static str],
}

impl Plan {
    fn of(rule: Rule) -> Self {
        let plain = |states| Self { states, makes: states, after: false, measured: false, tells: &[] };
        match rule {
            Rule::Sign { momentum: true, .. } | Rule::Normal { momentum: true } => plain(&["pixels", "momentum"]),
            Rule::Sign { .. } | Rule::Normal { .. } => plain(&["pixels"]),
            Rule::Adam => plain(&["pixels", "moved", "first", "second"]),
            Rule::Shrink => Self { after: true, measured: true, ..plain(&["pixels", "point"]) },
            Rule::Auto { .. } => Self { makes: &["pixels", "gradient"], after: true, ..plain(&["pixels", "previous", "gradient"]) },
            Rule::Admm { .. } => Self {
                makes: &["z", "u", "s", "v", "pixels"],
                after: true,
                measured: true,
                tells: &["windows", "residuals"],
                ..plain(&["z", "u", "s", "v"])
            },
            Rule::Refine { .. } => Self { makes: &["z", "u", "pixels"], after: true, tells: &["windows"], ..plain(&["z", "u"]) },
        }
    }
}

/// Images that run together.
struct Part {
    /// Which of the loop's images.
    range: Range<usize>,
    /// What belongs to them alone, by input: of the update, and of what measures.
    own: Vec<(String, Resident)>,
    measured: Vec<(String, Resident)>,
    states: BTreeMap<&'static str, Resident>,
    /// The states before the step in progress.
    before: Option<BTreeMap<&'static str, Resident>>,
    /// Images that the last step described.
    shown: Option<Resident>,
    /// The copy of them, once somebody asked.
    copy: Option<Array4<f32>>,
}

/// A loop on a network's engine.
pub(super) struct Loop<'a> {
    network: &'a mut Network,
    plan: Plan,
    update: Stage,
    /// What measures images when the update's graph does not do so itself.
    measure: Option<Stage>,
    /// What never changes and serves all images, by the update's inputs.
    shared: Vec<(String, Resident)>,
    parts: Vec<Part>,
    /// How many numbers a step takes.
    scalars: usize,
    /// What the network is seen through.
    gates: Vec<UnitGate>,
}

fn held<'a>(values: &'a [(String, Resident)]) -> impl Iterator<Item = (&'a str, Feed<'a>)> {
    values.iter().map(|(name, value)| (name.as_str(), Feed::Held(value)))
}

impl Loop<'_> {
    /// A step of one part: its states change only when everything worked.
    fn advance(&mut self, index: usize, scalars: &[f32]) -> Result<Vec<Reading>> {
        let (plan, own) = (&self.plan, &mut self.parts[index]);
        // What nobody holds is free for the engine to write.
        (own.shown, own.copy) = (None, None);
        let loaded = &mut self.network.loaded[self.update.at];
        let names = &loaded.names;
        let role = |role: &str| role_name(&names.update, role);
        let outputs = plan.makes.iter().map(|r| role(&format!("next_{r}"))).collect::<Result<Vec<_>>>()?;
        let mut read = plan.tells.iter().map(|r| role(r)).collect::<Result<Vec<_>>>()?;
        if !plan.measured {
            read.extend([names.logits.clone(), role("norms")?, part(&names.loss, "loss output")?]);
        }
        let states = plan.states.iter().map(|r| Ok((role(r)?, &own.states[r]))).collect::<Result<Vec<_>>>()?;
        let packed = ArrayD::from_shape_vec(vec![scalars.len()], scalars.to_vec()).map_err(|e| Error::Engine(e.to_string()))?;
        let packed_name = role("scalars")?;
        let mut inputs: Vec<(&str, Feed)> = held(&self.shared).chain(held(&own.own)).collect();
        inputs.extend(states.iter().map(|(name, value)| (name.as_str(), Feed::Held(value))));
        inputs.push((&packed_name, Feed::Sent(Array::F32(packed))));
        let keep: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let read: Vec<&str> = read.iter().map(String::as_str).collect();
        let (made, read) = loaded.executor.advance(&inputs, &keep, &read)?;
        loaded.worked = true;
        let mut made: BTreeMap<&'static str, Resident> = plan.makes.iter().copied().zip(made).collect();
        let missing = || Error::Engine("the update graph made no image".into());
        let old = own.states.get("pixels").cloned();
        let shown = if plan.after { made.get("pixels").cloned() } else { old.clone() }.ok_or_else(missing)?;
        let mut read = read.into_iter();
        let tells: Vec<Array2<f32>> = plan.tells.iter().map(|_| typed(read.next(), Some(2))).collect::<Result<_>>()?;
        let measured = match &self.measure {
            Some(_) => self.measured(index, &shown)?,
            None => read.collect(),
        };
        let own = &mut self.parts[index];
        let mut next = own.states.clone();
        if next.contains_key("previous") {
            next.insert("previous", old.ok_or_else(missing)?);
        }
        for role in self.plan.states {
            if let Some(value) = made.remove(role) {
                next.insert(role, value);
            }
        }
        own.before = Some(std::mem::replace(&mut own.states, next));
        own.shown = Some(shown);
        readings(measured, self.plan.tells, &tells)
    }

    /// Logits and norms of images, by the graph that only measures.
    fn measured(&mut self, index: usize, images: &Resident) -> Result<Vec<ArrayD<f32>>> {
        let Some(stage) = &self.measure else { return Ok(Vec::new()) };
        let roles = self.network.loaded[self.update.at].names.update.clone();
        let loaded = &mut self.network.loaded[stage.at];
        let own = loaded.names.update.clone();
        let mut inputs: Vec<(String, &Resident)> = vec![(role_name(&own, "pixels")?, images)];
        for role in SHARED {
            let name = role_name(&roles, role)?;
            let value = self.shared.iter().find(|f| f.0 == name).ok_or_else(|| Error::Engine(format!("'{role}' is missing")))?;
            inputs.push((role_name(&own, role)?, &value.1));
        }
        let mut feeds: Vec<(&str, Feed)> = inputs.iter().map(|(name, value)| (name.as_str(), Feed::Held(value))).collect();
        feeds.extend(held(&self.parts[index].measured));
        let (logits, norms) = (loaded.names.logits.clone(), role_name(&own, "norms")?);
        let (_, read) = loaded.executor.advance(&feeds, &[], &[&logits, &norms])?;
        loaded.worked = true;
        Ok(read)
    }

    fn fetch(&mut self, value: &Resident) -> Result<ArrayD<f32>> {
        self.network.loaded[self.update.at].executor.fetch(value)
    }

    /// Gives back what the engine keeps for later runs: memory is short.
    fn relax(&mut self) {
        for at in [Some(self.update.at), self.measure.as_ref().map(|m| m.at)].into_iter().flatten() {
            self.network.loaded[at].executor.relax();
        }
    }

    /// Cuts a part in two, with the states it has.
    fn halve(&mut self, index: usize) -> Result<()> {
        self.relax();
        let own = &self.parts[index];
        let (range, states) = (own.range.clone(), own.states.clone());
        let (count, less) = (range.len(), range.len().div_ceil(2));
        let mut copies = BTreeMap::new();
        for (role, value) in &states {
            // As long as all images: parts are cut out by their places among them.
            let copy = self.fetch(value)?;
            let mut shape = copy.shape().to_vec();
            shape[0] = range.end;
            let mut all = ArrayD::zeros(shape);
            all.slice_axis_mut(Axis(0), ndarray::Slice::from(range.clone())).assign(&copy);
            copies.insert(*role, all);
        }
        let middle = range.start + less;
        let halves = [range.start..middle, middle..range.end];
        let (update, measure) = (&self.update, self.measure.as_ref());
        let halves = halves.map(|half| self.network.part(update, measure, &copies, half));
        let [a, b] = halves;
        self.parts.splice(index..=index, [a?, b?]);
        // Of several parts of one size only the first is news.
        if self.network.limit.is_none_or(|limit| less < limit) {
            self.network.limit = Some(less);
            self.network.say(recover::halved(count, less));
        }
        Ok(())
    }

    /// Every state of every image; what an engine that broke no longer gives is an error.
    fn collect(&mut self) -> Result<States> {
        let mut columns: BTreeMap<&'static str, Vec<ArrayD<f32>>> = BTreeMap::new();
        let held: Vec<(&'static str, Resident)> = self.parts.iter().flat_map(|p| p.states.iter().map(|(r, v)| (*r, v.clone()))).collect();
        for (role, value) in held {
            columns.entry(role).or_default().push(self.fetch(&value)?);
        }
        let join = |parts: Vec<ArrayD<f32>>| {
            let views: Vec<_> = parts.iter().map(|p| p.view()).collect();
            concatenate(Axis(0), &views).map_err(|e| Error::Engine(format!("the parts of a loop do not fit together ({e})")))
        };
        Ok(States(columns.into_iter().map(|(role, parts)| Ok((role, join(parts)?))).collect::<Result<_>>()?))
    }

    /// The part with an image, and the image's place in it.
    fn place(&self, index: usize) -> Result<(usize, usize)> {
        let at = self.parts.iter().position(|p| p.range.contains(&index));
        let at = at.ok_or_else(|| Error::Engine(format!("there is no image {index} in the loop; run the attack again")))?;
        Ok((at, index - self.parts[at].range.start))
    }
}

/// Logits, norms and (third, if any) losses, image by image, with what else the rule tells.
fn readings(read: Vec<ArrayD<f32>>, told: &[&str], tells: &[Array2<f32>]) -> Result<Vec<Reading>> {
    let mut read = read.into_iter();
    let logits: Array2<f32> = typed(read.next(), Some(2))?;
    let norms: Array2<f32> = typed(read.next(), Some(2))?;
    let losses = read.next();
    let pair = |role: &str, i: usize| {
        let row = told.iter().position(|t| *t == role).and_then(|at| tells.get(at)).map(|t| t.row(i));
        row.map_or([0.0; 2], |r| [r[0], r[1]])
    };
    let of = |(i, row): (usize, ArrayView1<f32>)| {
        let n = norms.row(i);
        Reading {
            logits: row.to_owned(),
            loss: losses.as_ref().and_then(|l| l.iter().nth(i).copied()),
            norms: Norms { l0: n[0] as usize, l1: n[1].into(), l2: f64::from(n[2]).sqrt(), linf: n[3].into() },
            windows: pair("windows", i),
            residuals: pair("residuals", i),
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
        let (mut all, mut index) = (Vec::new(), 0);
        while index < self.parts.len() {
            let failure = match self.advance(index, scalars) {
                Ok(readings) => {
                    all.extend(readings);
                    index += 1;
                    continue;
                }
                Err(failure) => failure,
            };
            let short = matches!(&failure, Error::Engine(why) if recover::is_memory(why));
            if !(short && self.parts[index].range.len() > 1 && self.halve(index).is_ok()) {
                for part in &mut self.parts {
                    part.states = part.before.take().unwrap_or_else(|| std::mem::take(&mut part.states));
                }
                return Err(failure);
            }
        }
        self.parts.iter_mut().for_each(|part| part.before = None);
        Ok(all)
    }

    fn mark(&mut self) {
        for states in self.parts.iter_mut().map(|p| &mut p.states) {
            for (from, to) in [("pixels", "best_pixels"), ("gradient", "best_gradient")] {
                if let Some(value) = states.get(from).cloned() {
                    states.insert(to, value);
                }
            }
        }
    }

    fn back(&mut self) {
        for states in self.parts.iter_mut().map(|p| &mut p.states) {
            for (from, to) in [("best_pixels", "pixels"), ("best_gradient", "gradient")] {
                if let Some(value) = states.get(from).cloned() {
                    states.insert(to, value);
                }
            }
        }
    }

    fn leave(&mut self, failure: Error) -> Result<States> {
        let Error::Engine(why) = failure else { return Err(failure) };
        let states = match self.collect() {
            Ok(states) => states,
            Err(error) => return Err(Error::Engine(format!("{why}; what was on the device is lost too ({error}), so use --update host"))),
        };
        self.parts.clear();
        self.shared.clear();
        // Their memory goes back to the device.
        let mut places: Vec<usize> = [Some(self.update.at), self.measure.as_ref().map(|m| m.at)].into_iter().flatten().collect();
        places.sort_unstable();
        for at in places.into_iter().rev() {
            self.network.loaded.remove(at);
        }
        self.network.resident = false;
        let what = if recover::is_memory(&why) { "the device ran out of memory".to_owned() } else { format!("the engine failed ({why})") };
        self.network.say(format!(
            "{what} in the middle of an attack; it goes on from the same step, and every step carries its image here and back"
        ));
        Ok(states)
    }

    fn oracle(&mut self) -> &mut dyn Oracle {
        self
    }

    fn image(&mut self, index: usize) -> Result<Array3<f32>> {
        let (at, place) = self.place(index)?;
        if self.parts[at].copy.is_none() {
            let own = &self.parts[at];
            let shown = own.shown.as_ref().or_else(|| own.states.get("pixels")).cloned();
            let shown = shown.ok_or_else(|| Error::Engine("the loop has described no image yet".into()))?;
            self.parts[at].copy = Some(images(self.fetch(&shown)?)?);
        }
        row(self.parts[at].copy.as_ref(), place)
    }

    fn current(&mut self, index: usize) -> Result<Array3<f32>> {
        let (at, place) = self.place(index)?;
        let Some(value) = self.parts[at].states.get("pixels").cloned() else { return self.image(index) };
        row(Some(&images(self.fetch(&value)?)?), place)
    }
}

fn images(array: ArrayD<f32>) -> Result<Array4<f32>> {
    array.into_dimensionality::<Ix4>().map_err(|e| Error::Engine(format!("an image came back in another shape ({e})")))
}

fn row(images: Option<&Array4<f32>>, index: usize) -> Result<Array3<f32>> {
    let images = images.filter(|i| index < i.len_of(Axis(0)));
    let images = images.ok_or_else(|| Error::Engine("an image is missing on the device; run the attack again".into()))?;
    Ok(images.index_axis(Axis(0), index).to_owned())
}

/// The network that a loop ran on, seen through the same gates.
impl Oracle for Loop<'_> {
    fn classes(&self) -> usize {
        self.network.classes()
    }

    fn image_shape(&self) -> [usize; 3] {
        self.network.image_shape()
    }

    fn logits(&mut self, images: ArrayView4<f32>) -> Result<Array2<f32>> {
        if self.gates.is_empty() { self.network.logits(images) } else { self.network.gated_logits(images, &self.gates) }
    }

    fn gradient(&mut self, images: ArrayView4<f32>, objective: Objective) -> Result<Evaluation> {
        if self.gates.is_empty() {
            self.network.gradient(images, objective)
        } else {
            self.network.gated_gradient(images, objective, &self.gates)
        }
    }

    fn batch(&self) -> usize {
        self.network.batch()
    }

    fn neutral(&self) -> Vec<f32> {
        self.network.neutral()
    }
}
