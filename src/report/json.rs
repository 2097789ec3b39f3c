//! JSON reports. Names and keys are a contract: scripts rely on them. Add, never rename.

use ndarray::ArrayView1;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    core::{
        attack::{self, Params, scalars},
        explain::{
            cam::CamMap,
            psr::{self, Cell, PsrMap},
        },
    },
    engine::trace::Trace,
};

/// A class by index and name.
#[derive(Debug, Clone, Serialize)]
pub struct Class {
    /// Index.
    pub index: usize,
    /// Name, safe to print.
    pub name: String,
}

/// What every report of a run names.
#[derive(Debug, Clone)]
pub struct Context<'a> {
    /// Model path.
    pub model: &'a str,
    /// Image path.
    pub image: &'a str,
    /// Device asked for.
    pub device: &'a str,
    /// Engine and provider that ran.
    pub provider: &'a str,
    /// Class names.
    pub labels: &'a [String],
}

impl Context<'_> {
    /// A class with its name.
    pub fn class(&self, index: usize) -> Class {
        Class { index, name: self.labels.get(index).cloned().unwrap_or_else(|| format!("class {index}")) }
    }

    /// The best `n` classes with logit and softmax probability.
    pub fn top(&self, logits: ArrayView1<f32>, n: usize) -> Value {
        let lse = scalars::log_sum_exp(logits);
        let entry = |(index, logit): (usize, f32)| json!({"index": index, "name": self.class(index).name, "logit": logit, "prob": (f64::from(logit) - lse).exp()});
        Value::Array(scalars::top(logits, n).into_iter().map(entry).collect())
    }
}

/// An attack's result.
pub struct AttackReport<'a> {
    /// Names.
    pub context: Context<'a>,
    /// Attack name.
    pub attack: &'a str,
    /// Checked parameters.
    pub params: &'a Params,
    /// Seed.
    pub seed: u64,
    /// The record; its best step is the result.
    pub trace: &'a Trace,
    /// Clean logits.
    pub clean: ArrayView1<'a, f32>,
    /// Logits of the result.
    pub adversarial: ArrayView1<'a, f32>,
    /// Whether the goal was reached.
    pub success: bool,
    /// Wall seconds of the attack alone.
    pub seconds: f64,
}

impl AttackReport<'_> {
    /// The report as one JSON object.
    pub fn to_json(&self) -> Value {
        let steps = self.trace.len().saturating_sub(1);
        let best = self.trace.best().and_then(|i| self.trace.step(i));
        json!({
            "schema": "psescope.attack/1",
            "version": env!("CARGO_PKG_VERSION"),
            "model": self.context.model,
            "image": self.context.image,
            "device": self.context.device,
            "provider": self.context.provider,
            "attack": self.attack,
            "params": params(self.params),
            "seed": self.seed,
            "true": self.context.class(self.trace.label),
            "target": self.trace.target.map(|t| self.context.class(t)),
            "success": self.success,
            "steps": steps,
            "flipped_at": self.trace.flipped_at(),
            "clean": {"top": self.context.top(self.clean, 5)},
            "adversarial": {"top": self.context.top(self.adversarial, 5)},
            "norms": best.map(|b| json!({"l0": b.l0, "l1": b.l1, "l2": b.l2, "linf": b.linf})),
            "seconds": self.seconds,
            "steps_per_second": steps as f64 / self.seconds.max(1e-9),
        })
    }
}

/// Several attacks on one image. `closest` is the place of the successful one with the smallest norm.
pub fn attacks(runs: Vec<Value>, closest: Option<usize>, norm: &str) -> Value {
    json!({
        "schema": "psescope.attacks/1",
        "version": env!("CARGO_PKG_VERSION"),
        "closest": closest,
        "closest_by": norm,
        "runs": runs,
    })
}

/// Checked parameters by name.
pub fn params(params: &Params) -> Value {
    let value = |v: &attack::Value| match v {
        attack::Value::Float(x) => json!(x),
        attack::Value::Int(x) => json!(x),
        attack::Value::Flag(x) => json!(x),
        attack::Value::Choice(x) => json!(x),
    };
    Value::Object(params.iter().map(|(name, v, _)| (name.to_owned(), value(v))).collect::<Map<_, _>>())
}

/// A promotion-suppression map as one JSON object.
pub fn pse(map: &PsrMap, whole: &Cell) -> Value {
    let cell = |c: &Cell| json!({"row": c.row, "col": c.col, "s_raw": c.s_raw, "b_raw": c.b_raw, "s": c.s, "b": c.b, "r": c.r, "type": c.kind.name()});
    let share = map.shares();
    let (totals, gap) = (map.totals(), map.additivity_gap(whole));
    json!({
        "schema": "psescope.pse/1",
        "version": env!("CARGO_PKG_VERSION"),
        "grid": {"rows": map.grid.rows(), "cols": map.grid.cols(), "cell_h": map.grid.cell_h, "cell_w": map.grid.cell_w},
        "floor": map.settings.floor,
        "threshold": map.settings.threshold,
        "mode": map.settings.mode.name(),
        "estimate": map.settings.mode != psr::Mode::Exact,
        "true": map.classes.0,
        "target": map.classes.1,
        "cells": map.cells.iter().flatten().map(cell).collect::<Vec<_>>(),
        "share": {"suppression": share.suppression, "promotion": share.promotion, "balanced": share.balanced, "inert": share.inert},
        "type": whole.kind.name(),
        "whole": {"s_raw": whole.s_raw, "b_raw": whole.b_raw},
        "totals": {"s_raw": totals.0, "b_raw": totals.1},
        "additivity_gap": {"s": gap.0, "b": gap.1},
        "forwards": map.forwards,
        "seconds": map.seconds,
    })
}

/// A class activation map as one JSON object; `raw` is row-major, before any normalisation; `signed` is the same before the ReLU that some methods end in.
pub fn cam(map: &CamMap, context: &Context) -> Value {
    let (h, w) = map.raw.dim();
    json!({
        "schema": "psescope.cam/1",
        "version": env!("CARGO_PKG_VERSION"),
        "method": map.method.info().name,
        "layer": map.layer,
        "class": context.class(map.class),
        "shape": [h, w],
        "raw": map.defined().iter().copied().collect::<Vec<f32>>(),
        "signed": map.raw.iter().copied().collect::<Vec<f32>>(),
    })
}
