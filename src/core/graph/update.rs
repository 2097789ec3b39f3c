//! An attack's update as ONNX operators behind the gradient: one run turns a state into the next one, and nothing but logits, loss
//! and norms has to leave the device.
//!
//! The formulas, and the order of their operations, are those of `core::attack`, whose loops on the host are the reference.
//! Lengths are summed in double precision, as there.
//!
//! | rule | scalars | further inputs | states |
//! |---|---|---|---|
//! | `Sign` | step, mu | `low`, `high` `[1, C, H, W]` | `pixels`, `momentum` |
//! | `Normal` | step, eps, mu | | `pixels`, `momentum` |
//! | `Adam` | rate, epsilon | `base` `[1, C, H, W]`, `constants` `[N, 1, 1, 1]` | `pixels`, `moved`, `first`, `second` |
//! | `Shrink` | rate, threshold, theta | `constants` | `pixels`, `point` |
//! | `Auto` | step, keep (and eps: L2) | `low`, `high` (L-infinity) | `pixels`, `previous`, `gradient` |
//! | `Admm` | eta, pull, rho, total, share, threshold | `constants`, `low`, `high`, windows | `z`, `u`, `s`, `v` |
//! | `Refine` | eta, rho, total, share | `constants`, `low`, `high`, `support`, windows | `z`, `u` |
//!
//! `mu` and `momentum` only with momentum. The gradient is taken at `pixels`, by `Shrink` at `point`, by `Auto` and `Refine` at the
//! image they make first, by `Admm` at `clean + z`. See `update/auto.rs` and `update/groups.rs` for the last three.

mod auto;
mod groups;

use std::collections::{BTreeMap, HashSet};

use super::{
    Instrumented, Layout, Prepared, Update, UpdateRule,
    grad::{builder::Builder, dims::broadcast, prune::prune},
    loss::input,
    tap,
};
use crate::core::{
    error::{Error, Result},
    onnx::{DType, Dim, Graph},
    tensor::norm::CHANGED,
};

/// A pass at work.
struct Pass<'a> {
    b: &'a Builder,
    /// Channels, height, width.
    shape: [usize; 3],
    update: Update,
    roles: BTreeMap<String, String>,
}

/// Adds the update to a graph with a loss head and an image gradient. Its image input gives way to `pixels`.
pub(super) fn attach(mut done: Instrumented, prepared: &Prepared, update: &Update) -> Result<Instrumented> {
    let measure = update.rule == UpdateRule::Measure;
    if !measure && (done.grad_image.is_none() || done.loss.is_none()) {
        return Err(Error::Model("an update needs a loss head and the image gradient".into()));
    }
    let forward = done.graph.nodes.len();
    let (image, gradient) = (done.image.clone(), done.grad_image.take());
    done.graph.inputs.retain(|i| i.name != image);
    done.graph.outputs.retain(|o| Some(&o.name) != gradient.as_ref());
    let b = Builder::new(std::mem::take(&mut done.graph));
    let mut pass = Pass { b: &b, shape: prepared.shape, update: *update, roles: BTreeMap::new() };
    let clean = pass.images("clean", Dim::Fixed(1));
    let made = pass.before(&clean);
    pass.preprocess(&made.evaluated, &image, prepared.layout);
    if let Some(gradient) = gradient {
        let gradient = pass.gradient(&gradient, prepared.layout);
        pass.after(&made, &clean, &gradient);
    }
    // Norms of what these two evaluate would be those of a point between images: their images are measured on their own.
    if !matches!(update.rule, UpdateRule::Shrink | UpdateRule::Admm(_)) {
        pass.norms(&made.pixels, &clean);
    }
    done.update = pass.roles;
    let mut graph = b.finish();
    // The preprocessing was emitted first and belongs in front of the network.
    let last = graph.nodes.iter().position(|n| n.outputs.contains(&image));
    let last = last.ok_or_else(|| Error::Model(format!("the image '{image}' is not used by the model")))?;
    graph.nodes[..=last].rotate_right(last + 1 - forward);
    prune(&mut graph);
    distinct(&mut graph);
    done.image = first_state(update.rule).and_then(|role| done.update.get(role)).cloned().unwrap_or(image);
    done.graph = graph;
    Ok(done)
}

/// The state that tells the batch.
fn first_state(rule: UpdateRule) -> Option<&'static str> {
    Some(if matches!(rule, UpdateRule::Admm(_) | UpdateRule::Refine(_)) { "z" } else { "pixels" })
}

/// What stands in front of the network.
struct Made {
    /// The image that a step describes.
    pixels: String,
    /// Where the gradient is taken.
    evaluated: String,
    /// What the update needs again.
    split: Option<groups::Split>,
}

/// Gives every node a name of its own: outputs that were renamed left names behind that both passes use.
fn distinct(graph: &mut Graph) {
    let mut seen = HashSet::new();
    for node in graph.nodes.iter_mut().filter(|n| !n.name.is_empty()) {
        while !seen.insert(node.name.clone()) {
            node.name.insert_str(0, "update_");
        }
    }
}

impl Pass<'_> {
    /// Inputs and whatever comes before the network.
    fn before(&mut self, clean: &str) -> Made {
        let rule = self.update.rule;
        match rule {
            UpdateRule::Admm(windows) => self.split(clean, windows),
            UpdateRule::Refine(windows) => self.supported(clean, windows),
            UpdateRule::Auto { l2 } => {
                let pixels = self.auto(clean, l2);
                Made { evaluated: pixels.clone(), pixels, split: None }
            }
            _ => {
                let pixels = self.images("pixels", Dim::Batch(1));
                let evaluated = if rule == UpdateRule::Shrink { self.images("point", Dim::Batch(1)) } else { pixels.clone() };
                Made { pixels, evaluated, split: None }
            }
        }
    }

    /// The update itself, given the gradient.
    fn after(&mut self, made: &Made, clean: &str, gradient: &str) {
        let Made { pixels, evaluated, split } = made;
        match self.update.rule {
            UpdateRule::Measure => {}
            UpdateRule::Sign { momentum } => self.sign(pixels, gradient, momentum),
            UpdateRule::Normal { momentum } => self.normal(pixels, clean, gradient, momentum),
            UpdateRule::Adam => self.adam(clean, gradient),
            UpdateRule::Shrink => self.shrink(pixels, evaluated, clean, gradient),
            UpdateRule::Auto { .. } => self.output("next_gradient", gradient),
            UpdateRule::Admm(_) | UpdateRule::Refine(_) => {
                if let Some(split) = split {
                    self.descend(split, gradient);
                }
            }
        }
    }

    fn input(&mut self, role: &str, shape: Vec<Dim>) -> String {
        let name = input(self.b, role, DType::F32, shape);
        self.roles.insert(role.to_owned(), name.clone());
        name
    }

    fn images(&mut self, role: &str, first: Dim) -> String {
        let [c, h, w] = self.shape.map(Dim::Fixed);
        self.input(role, vec![first, c, h, w])
    }

    fn output(&mut self, role: &str, value: &str) {
        let name = tap::output_as(self.b, value, role);
        self.roles.insert(role.to_owned(), name);
    }

    fn scalars<const N: usize>(&mut self) -> [String; N] {
        let packed = self.input("scalars", vec![Dim::Fixed(N)]);
        let parts = self.b.split(&packed, 0, &[1; N]);
        std::array::from_fn(|i| parts[i].clone())
    }

    /// Channels in reverse order, for models that take blue first.
    fn channels(&self, x: &str) -> String {
        if !self.update.bgr {
            return x.to_owned();
        }
        let order: Vec<i64> = (0..self.shape[0] as i64).rev().collect();
        let shape = self.b.ty(x).shape.unwrap_or_default();
        self.b.emit("Gather", &[x, &self.b.ints(&order)], &[("axis", 1i64.into())], DType::F32, shape)
    }

    /// From pixels to the network's input, under its name. Scale and offset are inputs, so that no engine folds them into the
    /// first layer's weights and rounds differently than the host.
    fn preprocess(&mut self, pixels: &str, image: &str, layout: Layout) {
        let per_channel = || vec![Dim::Fixed(1), Dim::Fixed(self.shape[0]), Dim::Fixed(1), Dim::Fixed(1)];
        let (scales, offsets) = (per_channel(), per_channel());
        let (scale, offset) = (self.input("scale", scales), self.input("offset", offsets));
        let b = self.b;
        let wanted = b.dtype(image);
        let mut value = b.add(&b.mul(&self.channels(pixels), &scale), &offset);
        if layout == Layout::Nhwc {
            value = b.transpose(&value, &[0, 2, 3, 1]);
        }
        let value = b.cast(&value, wanted);
        b.rename(&value, image);
    }

    /// From the gradient at the network's input to that at the pixels, where the mask allows it.
    fn gradient(&mut self, gradient: &str, layout: Layout) -> String {
        let b = self.b;
        let mut value = b.cast(gradient, DType::F32);
        if layout == Layout::Nhwc {
            value = b.transpose(&value, &[0, 3, 1, 2]);
        }
        let value = self.channels(&b.mul(&value, &self.roles["scale"]));
        // Rules that weigh or extend the gradient mask what comes of that.
        let as_it_is = matches!(self.update.rule, UpdateRule::Sign { .. } | UpdateRule::Normal { .. } | UpdateRule::Auto { .. });
        if as_it_is { self.masked(&value) } else { value }
    }

    fn masked(&mut self, value: &str) -> String {
        if !self.update.masked {
            return value.to_owned();
        }
        let [_, h, w] = self.shape.map(Dim::Fixed);
        let mask = self.input("mask", vec![Dim::Fixed(1), Dim::Fixed(1), h, w]);
        self.b.mul(value, &mask)
    }

    fn select(&self, condition: &str, yes: &str, no: &str) -> String {
        let shape = |v: &str| self.b.ty(v).shape.unwrap_or_default();
        let joined = broadcast(&broadcast(&shape(yes), &shape(no)), &shape(condition));
        self.b.emit("Where", &[condition, yes, no], &[], self.b.dtype(yes), joined)
    }

    /// The weight of the objective, per image.
    fn constants(&mut self) -> String {
        self.input("constants", vec![Dim::Batch(1), Dim::Fixed(1), Dim::Fixed(1), Dim::Fixed(1)])
    }

    fn constant(&self, value: f64) -> String {
        self.b.scalar(value, DType::F32)
    }

    /// Above 0 and below infinity; false for NaN.
    fn positive(&self, x: &str) -> String {
        let b = self.b;
        let dtype = b.dtype(x);
        let (zero, infinity) = (b.scalar(0.0, dtype), b.scalar(f64::INFINITY, dtype));
        b.compare("And", &b.compare("Greater", x, &zero), &b.compare("Less", x, &infinity))
    }

    /// Sum over everything but the batch, in double precision: `[N, 1, 1, 1]`.
    fn total(&self, x: &str) -> String {
        self.b.reduce_sum(&self.b.cast(x, DType::F64), &[1, 2, 3], true)
    }

    /// Euclidean length in double precision, `[N, 1, 1, 1]`.
    fn length(&self, x: &str) -> String {
        let wide = self.b.cast(x, DType::F64);
        self.b.unary("Sqrt", &self.b.reduce_sum(&self.b.mul(&wide, &wide), &[1, 2, 3], true))
    }

    fn unit_range(&self, x: &str) -> String {
        let b = self.b;
        b.binary("Min", &b.binary("Max", x, &self.constant(0.0)), &self.constant(1.0))
    }

    /// `m <- mu m + g / ||g||_1`; a zero or non-finite gradient adds nothing.
    fn accumulate(&mut self, gradient: &str, mu: &str) -> String {
        let momentum = self.images("momentum", Dim::Batch(1));
        let b = self.b;
        let length = self.total(&b.unary("Abs", gradient));
        let factor = b.cast(&b.div(&b.scalar(1.0, DType::F64), &length), DType::F32);
        let decayed = b.mul(&momentum, mu);
        let next = self.select(&self.positive(&factor), &b.add(&decayed, &b.mul(gradient, &factor)), &decayed);
        self.output("next_momentum", &next);
        self.roles["next_momentum"].clone()
    }

    fn sign(&mut self, pixels: &str, gradient: &str, momentum: bool) {
        let (step, direction) = if momentum {
            let [step, mu] = self.scalars();
            (step, self.accumulate(gradient, &mu))
        } else {
            let [step] = self.scalars();
            (step, gradient.to_owned())
        };
        let (low, high) = self.bounds();
        let moved = self.b.add(pixels, &self.b.mul(&self.signs(&direction), &step));
        let next = self.between(&moved, &low, &high);
        self.output("next_pixels", &next);
    }

    /// -1, 0 or 1. Not the operator Sign: that of NaN is NaN, and nothing should move there.
    fn signs(&self, direction: &str) -> String {
        let b = self.b;
        b.sub(&b.mask_scalar("Greater", direction, 0.0), &b.mask_scalar("Less", direction, 0.0))
    }

    fn bounds(&mut self) -> (String, String) {
        (self.images("low", Dim::Fixed(1)), self.images("high", Dim::Fixed(1)))
    }

    fn between(&self, x: &str, low: &str, high: &str) -> String {
        self.b.binary("Min", &self.b.binary("Max", x, low), high)
    }

    fn normal(&mut self, pixels: &str, clean: &str, gradient: &str, momentum: bool) {
        let (step, eps, direction) = if momentum {
            let [step, eps, mu] = self.scalars();
            (step, eps, self.accumulate(gradient, &mu))
        } else {
            let [step, eps] = self.scalars();
            (step, eps, gradient.to_owned())
        };
        let moved = self.b.add(pixels, &self.b.mul(&self.unit(&direction), &step));
        let next = self.into_ball(&moved, clean, &eps);
        self.output("next_pixels", &next);
    }

    /// A direction over its length; 0 where that is no number to divide by.
    fn unit(&self, direction: &str) -> String {
        let b = self.b;
        let length = self.length(direction);
        let unit = b.cast(&b.div(&b.cast(direction, DType::F64), &length), DType::F32);
        self.select(&self.positive(&length), &unit, &self.constant(0.0))
    }

    /// Into the L2 ball of radius `eps` around `clean` and into 0..1.
    fn into_ball(&self, x: &str, clean: &str, eps: &str) -> String {
        let b = self.b;
        let offset = b.sub(x, clean);
        let (length, radius) = (self.length(&offset), b.cast(eps, DType::F64));
        let shorter = b.cast(&b.div(&radius, &length), DType::F32);
        let one = b.floats(&[1, 1, 1, 1], &[1.0], DType::F32);
        let factor = self.select(&b.compare("Greater", &length, &radius), &shorter, &one);
        self.unit_range(&b.add(clean, &b.mul(&offset, &factor)))
    }

    fn adam(&mut self, clean: &str, gradient: &str) {
        const B1: f32 = 0.9;
        const B2: f32 = 0.999;
        let [rate, epsilon] = self.scalars();
        let base = self.images("base", Dim::Fixed(1));
        let constants = self.constants();
        let [moved, first, second] = ["moved", "first", "second"].map(|role| self.images(role, Dim::Batch(1)));
        let weighed = self.masked(&self.b.mul(gradient, &constants));
        let b = self.b;
        // The engine's own tanh on both sides: where nothing moved the difference is exactly 0.
        let t0 = b.unary("Tanh", &base);
        let t = b.unary("Tanh", &b.add(&base, &moved));
        let slope = b.sub(&self.constant(1.0), &b.mul(&t, &t));
        let g = b.mul(&b.mul(&b.add(&weighed, &b.sub(&t, &t0)), &slope), &self.constant(0.5));
        let decay = |state: &str, keep: f32| b.mul(state, &self.constant(f64::from(keep)));
        let share = |keep: f32| b.mul(&g, &self.constant(f64::from(1.0 - keep)));
        let first = b.add(&decay(&first, B1), &share(B1));
        let second = b.add(&decay(&second, B2), &b.mul(&share(B2), &g));
        let change = b.div(&b.mul(&first, &rate), &b.add(&b.unary("Sqrt", &second), &epsilon));
        let moved = b.sub(&moved, &change);
        let change = b.sub(&b.unary("Tanh", &b.add(&base, &moved)), &t0);
        let next = self.unit_range(&b.add(clean, &b.mul(&change, &self.constant(0.5))));
        for (role, value) in [("next_moved", &moved), ("next_first", &first), ("next_second", &second), ("next_pixels", &next)] {
            self.output(role, value);
        }
    }

    fn shrink(&mut self, pixels: &str, point: &str, clean: &str, gradient: &str) {
        let [rate, threshold, theta] = self.scalars();
        let constants = self.constants();
        let b = self.b;
        let away = b.mul(&b.sub(point, clean), &self.constant(2.0));
        let g = self.masked(&b.add(&b.mul(gradient, &constants), &away));
        let q = b.sub(point, &b.mul(&g, &rate));
        let change = b.sub(&q, clean);
        let above = b.binary("Min", &b.sub(&q, &threshold), &self.constant(1.0));
        let below = b.binary("Max", &b.add(&q, &threshold), &self.constant(0.0));
        let lower = self.select(&b.compare("Less", &change, &b.neg(&threshold)), &below, clean);
        let next = self.select(&b.compare("Greater", &change, &threshold), &above, &lower);
        let extrapolated = b.add(&next, &b.mul(&b.sub(&next, pixels), &theta));
        self.output("next_point", &extrapolated);
        self.output("next_pixels", &next);
    }

    /// `[N, 4]`: pixels changed, L1, squared L2, L-infinity.
    fn norms(&mut self, pixels: &str, clean: &str) {
        let b = self.b;
        let change = b.sub(pixels, clean);
        let size = b.unary("Abs", &change);
        let changed = b.mask_scalar("Greater", &b.reduce("ReduceMax", &size, &[1], false), f64::from(CHANGED));
        let wide = b.cast(&change, DType::F64);
        let parts = [
            b.reduce_sum(&changed, &[1, 2], false),
            b.cast(&b.reduce_sum(&b.unary("Abs", &wide), &[1, 2, 3], false), DType::F32),
            b.cast(&b.reduce_sum(&b.mul(&wide, &wide), &[1, 2, 3], false), DType::F32),
            b.reduce("ReduceMax", &size, &[1, 2, 3], false),
        ];
        let columns: Vec<String> = parts.iter().map(|p| b.unsqueeze(p, &[1])).collect();
        let norms = b.concat(&columns, 1);
        self.output("norms", &norms);
    }
}
