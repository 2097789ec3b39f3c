//! What happens inside the network: layers, units and masks, as JSON, CSV and text.

use std::fmt::Write as _;

use ndarray::{Array1, Array2, ArrayView1};
use serde_json::{Value, json};

use super::json::Context;
use crate::core::{
    dissect::ConceptLabels,
    explain::{
        layers::{LayerChange, Settings, turning_point},
        units::{Fill, Response, UnitChange, UnitTable, nothing_passes},
    },
    scalars,
    tensor::norm::Norms,
};

/// The layers of one step.
#[derive(Debug, Clone)]
pub struct LayerReport {
    /// Step of the run; `None` for a stored image.
    pub step: Option<usize>,
    /// First to last.
    pub layers: Vec<LayerChange>,
}

impl LayerReport {
    /// Name of the turning point.
    pub fn turning(&self, settings: Settings) -> Option<&str> {
        turning_point(&self.layers, settings).map(|i| self.layers[i].info.name.as_str())
    }
}

fn layer(c: &LayerChange) -> Value {
    json!({
        "name": c.info.name, "op": c.info.op, "units": c.info.units, "spatial": c.info.spatial,
        "promoted": c.promoted, "suppressed": c.suppressed, "unchanged": c.unchanged,
        "promoted_mass": c.promoted_mass, "suppressed_mass": c.suppressed_mass,
        "relative_change": c.relative_change, "cosine": c.cosine, "l2": c.l2,
    })
}

/// Layers as one JSON object; `timeline` has the same per kept step.
pub fn layers(report: &LayerReport, timeline: Option<&[LayerReport]>, settings: Settings) -> Value {
    let mut out = json!({
        "schema": "psescope.layers/1",
        "version": env!("CARGO_PKG_VERSION"),
        "step": report.step,
        "tolerance": settings.tolerance,
        "turning_threshold": settings.turning,
        "layers": report.layers.iter().map(layer).collect::<Vec<_>>(),
        "turning_point": report.turning(settings),
    });
    if let Some(timeline) = timeline {
        let step = |r: &LayerReport| json!({"step": r.step, "layers": r.layers.iter().map(layer).collect::<Vec<_>>(), "turning_point": r.turning(settings)});
        out["timeline"] = timeline.iter().map(step).collect();
    }
    out
}

/// Layers as CSV, one line per step and layer.
pub fn layers_csv(reports: &[LayerReport]) -> String {
    let mut out = String::from(
        "step,name,op,units,height,width,promoted,suppressed,unchanged,promoted_mass,suppressed_mass,relative_change,cosine,l2\n",
    );
    for report in reports {
        for c in &report.layers {
            let [h, w] = c.info.spatial;
            let counts = format!("{},{h},{w},{},{},{}", c.info.units, c.promoted, c.suppressed, c.unchanged);
            let values = format!("{},{},{},{},{}", c.promoted_mass, c.suppressed_mass, some(c.relative_change), some(c.cosine), c.l2);
            let step = report.step.map(|s| s.to_string()).unwrap_or_default();
            let _ = writeln!(out, "{step},{},{},{counts},{values}", field(&c.info.name), c.info.op);
        }
    }
    out
}

/// A number, or nothing where it is undefined.
fn some(value: Option<f64>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

/// A CSV field: quoted when it has to be.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// Layers as a table for people.
pub fn layers_text(report: &LayerReport, settings: Settings) -> String {
    let wide = report.layers.iter().map(|c| c.info.name.chars().count()).max().unwrap_or(5).clamp(5, 44);
    let mut out = String::new();
    let _ = writeln!(
        out,
        "  {:<wide$} {:>5} {:>9} {:>5} {:>5} {:>5} {:>9} {:>9} {:>7} {:>7}",
        "layer", "units", "size", "up", "down", "same", "mass up", "mass down", "change", "cosine"
    );
    let turning = report.turning(settings).map(str::to_owned);
    for c in &report.layers {
        let mark = if turning.as_deref() == Some(&c.info.name) { '>' } else { ' ' };
        let name: String = if c.info.name.chars().count() > wide {
            let tail: Vec<char> = c.info.name.chars().rev().take(wide - 1).collect();
            std::iter::once('…').chain(tail.into_iter().rev()).collect()
        } else {
            c.info.name.clone()
        };
        let ratio = |v: Option<f64>| v.map_or_else(|| "-".into(), |v| format!("{v:.3}"));
        let size = format!("{}x{}", c.info.spatial[0], c.info.spatial[1]);
        let _ = writeln!(
            out,
            "{mark} {name:<wide$} {:>5} {size:>9} {:>5} {:>5} {:>5} {:>9.3} {:>9.3} {:>7} {:>7}",
            c.info.units,
            c.promoted,
            c.suppressed,
            c.unchanged,
            c.promoted_mass,
            c.suppressed_mass,
            ratio(c.relative_change),
            ratio(c.cosine)
        );
    }
    let step = report.step.map_or_else(String::new, |s| format!("step {s}; "));
    let _ = match turning {
        Some(name) => writeln!(out, "{step}turning point: {name} (first layer with a cosine below {})", settings.turning),
        None => writeln!(out, "{step}no turning point: every layer keeps a cosine of at least {}", settings.turning),
    };
    let _ = writeln!(
        out,
        "up/down: units whose mean response moved by more than {} % of the layer's typical response (our convention)",
        settings.tolerance * 100.0
    );
    out
}

fn response(r: &Response) -> Value {
    json!({"mean": r.mean, "max": r.max, "l2": r.l2})
}

fn unit(u: &UnitChange, rank: usize, labels: Option<&ConceptLabels>) -> Value {
    let mut out = json!({
        "unit": u.unit, "rank": rank, "clean": response(&u.clean), "adversarial": response(&u.adversarial),
        "change": u.change, "change_max": u.adversarial.max - u.clean.max, "change_l2": u.adversarial.l2 - u.clean.l2,
        "standardised_change": u.standardised,
        "effect_true": u.effect_true, "effect_target": u.effect_target, "r": u.r, "type": u.kind.name(),
    });
    if let Some(labels) = labels {
        let concept = labels.unit(u.unit);
        out["concept"] = json!(concept.map(|c| &c.label));
        out["category"] = json!(concept.map(|c| &c.category));
        out["iou"] = json!(concept.map(|c| c.iou));
    }
    out
}

/// Units of a layer as one JSON object, in the given order; `order` holds the units that are shown.
pub fn units(table: &UnitTable, order: &[usize], labels: Option<&ConceptLabels>, references: Option<usize>, context: &Context) -> Value {
    json!({
        "schema": "psescope.units/1",
        "version": env!("CARGO_PKG_VERSION"),
        "layer": table.layer.name, "op": table.layer.op, "units_total": table.layer.units, "spatial": table.layer.spatial,
        "true": context.class(table.classes.0),
        "target": context.class(table.classes.1),
        "effects": if table.exact { "exact" } else { "estimate" },
        "estimate": !table.exact,
        "floor": table.settings.floor,
        "threshold": table.settings.threshold,
        "references": references,
        "labels": labels.map(ConceptLabels::origin),
        "units": order.iter().enumerate().map(|(i, &k)| unit(&table.units[k], i + 1, labels)).collect::<Vec<_>>(),
    })
}

/// Units as CSV, in the given order.
pub fn units_csv(table: &UnitTable, order: &[usize], labels: Option<&ConceptLabels>) -> String {
    let kind = if table.exact { "exact" } else { "estimate" };
    let mut out = String::from(
        "rank,unit,clean_mean,clean_max,clean_l2,adversarial_mean,adversarial_max,adversarial_l2,change,standardised_change,effect_true,effect_target,effects,r,type,concept,category,iou\n",
    );
    for (i, &k) in order.iter().enumerate() {
        let u = &table.units[k];
        let concept = labels.and_then(|l| l.unit(k));
        let (c, a) = (&u.clean, &u.adversarial);
        let standard = u.standardised.map(|v| v.to_string()).unwrap_or_default();
        let named = concept.map_or_else(|| ",,".into(), |c| format!("{},{},{}", field(&c.label), field(&c.category), c.iou));
        let _ = writeln!(
            out,
            "{},{k},{},{},{},{},{},{},{},{standard},{},{},{kind},{},{},{named}",
            i + 1,
            c.mean,
            c.max,
            c.l2,
            a.mean,
            a.max,
            a.l2,
            u.change,
            u.effect_true,
            u.effect_target,
            u.r,
            u.kind.name()
        );
    }
    out
}

/// Units as a table for people.
pub fn units_text(table: &UnitTable, order: &[usize], labels: Option<&ConceptLabels>, context: &Context) -> String {
    let mut out = String::new();
    let [h, w] = table.layer.spatial;
    let (t0, t) = (context.class(table.classes.0).name, context.class(table.classes.1).name);
    let _ = writeln!(out, "{}: {} units of {h} x {w}; true {t0}, target {t}", table.layer.name, table.layer.units);
    let standard = table.units.iter().any(|u| u.standardised.is_some());
    let head = if standard { "   change/sd" } else { "" };
    let _ = writeln!(
        out,
        "  {:>5} {:>9} {:>9} {:>9}{head} {:>9} {:>9} {:>6}  {:<11}{}",
        "unit",
        "clean",
        "adv.",
        "change",
        if table.exact { "true" } else { "~true" },
        if table.exact { "target" } else { "~target" },
        "r",
        "type",
        if labels.is_some() { "  concept" } else { "" }
    );
    for &k in order {
        let u = &table.units[k];
        let standard =
            if standard { u.standardised.map_or_else(|| format!("{:>12}", "-"), |v| format!("{v:>12.2}")) } else { String::new() };
        let concept = labels.and_then(|l| l.unit(k)).map(|c| format!("  {} ({}, IoU {:.3})", c.label, c.category, c.iou));
        let line = format!(
            "  {k:>5} {:>9.4} {:>9.4} {:>+9.4}{standard} {:>+9.3} {:>+9.3} {:>+6.2}  {:<11}{}",
            u.clean.mean,
            u.adversarial.mean,
            u.change,
            u.effect_true,
            u.effect_target,
            u.r,
            u.kind.name(),
            concept.unwrap_or_default()
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let how = if table.exact {
        "true/target: what the unit's change does to these logits, measured by putting it back (exact)"
    } else {
        "~true/~target: what the unit's change does to these logits, gradient x change: an estimate (--exact measures it)"
    };
    let _ = writeln!(out, "{how}");
    if let Some(labels) = labels {
        let _ = writeln!(out, "concepts: {}", labels.origin());
    }
    out
}

/// The attack run again on the masked network.
#[derive(Debug, Clone)]
pub struct Adaptive {
    /// Attack name.
    pub attack: String,
    /// Whether it reached its goal again.
    pub success: bool,
    /// Whether the masked network still gets the clean image right.
    pub clean_correct: bool,
    /// Steps.
    pub steps: usize,
    /// Size of the new perturbation.
    pub norms: Norms,
    /// Logits of its result through the masked network.
    pub logits: Array1<f32>,
}

/// Predictions before and after masking.
#[derive(Debug)]
pub struct MaskReport<'a> {
    /// Layer.
    pub layer: &'a str,
    /// Masked units, as ranked or ascending.
    pub units: &'a [usize],
    /// How they were chosen.
    pub selection: Value,
    /// What they give instead.
    pub fill: Fill,
    /// Step of the run.
    pub step: Option<usize>,
    /// True and target class.
    pub classes: (usize, usize),
    /// Logits `[2, K]` of the clean and the adversarial image.
    pub before: &'a Array2<f32>,
    /// The same through the masked network.
    pub after: &'a Array2<f32>,
    /// Where the masked model was written.
    pub saved: Option<&'a str>,
    /// The attack on the masked network, when it was asked for.
    pub adaptive: Option<&'a Adaptive>,
}

impl MaskReport<'_> {
    /// Whether the masked network takes the adversarial image for the true class again.
    pub fn recovered(&self) -> bool {
        scalars::predicted(self.after.row(1)) == self.classes.0
    }

    fn clean_kept(&self) -> bool {
        scalars::predicted(self.after.row(0)) == scalars::predicted(self.before.row(0))
    }

    fn fill(&self) -> &'static str {
        match self.fill {
            Fill::Zero => "zero",
            Fill::Clean => "clean",
        }
    }
}

/// A masking as one JSON object.
pub fn mask(report: &MaskReport, context: &Context) -> Value {
    let (t0, t) = report.classes;
    let one = |z: ArrayView1<f32>| json!({"predicted": context.class(scalars::predicted(z)), "true_logit": z[t0], "target_logit": z[t], "top": context.top(z, 5)});
    let both = |z: &Array2<f32>| json!({"clean": one(z.row(0)), "adversarial": one(z.row(1))});
    let adaptive = report.adaptive.map(|a| {
        json!({
            "attack": a.attack, "success": a.success, "clean_correct": a.clean_correct, "steps": a.steps,
            "norms": {"l0": a.norms.l0, "l1": a.norms.l1, "l2": a.norms.l2, "linf": a.norms.linf},
            "adversarial": one(a.logits.view()),
        })
    });
    json!({
        "schema": "psescope.mask/1",
        "version": env!("CARGO_PKG_VERSION"),
        "layer": report.layer,
        "units": report.units,
        "selection": report.selection,
        "fill": report.fill(),
        "step": report.step,
        "true": context.class(t0),
        "target": context.class(t),
        "before": both(report.before),
        "after": both(report.after),
        "recovered": report.recovered(),
        "clean_kept": report.clean_kept(),
        "adaptive": adaptive,
        "saved": report.saved,
    })
}

/// A masking for people.
pub fn mask_text(report: &MaskReport, context: &Context) -> String {
    let (t0, t) = report.classes;
    let mut out = String::new();
    let some = report.units.iter().take(12).map(usize::to_string).collect::<Vec<_>>().join(", ");
    let more = report.units.len().saturating_sub(12);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    let how = match report.fill {
        Fill::Zero => "set to zero",
        Fill::Clean => "put back to their clean maps",
    };
    let _ = writeln!(out, "{}: {} units {how} ({some}{rest})", report.layer, report.units.len());
    let _ = writeln!(out, "  {:<12} {:<34} {:<34}", "", "before", "after");
    for (row, name) in ["clean", "adversarial"].into_iter().enumerate() {
        let class = |z: &Array2<f32>| {
            let z = z.row(row);
            let p = scalars::predicted(z);
            let name: String = context.class(p).name.split(',').next().unwrap_or_default().chars().take(24).collect();
            format!("{name} {:.1} %", scalars::prob(z, p) * 100.0)
        };
        let _ = writeln!(out, "  {name:<12} {:<34} {:<34}", class(report.before), class(report.after));
        for (title, c) in [("true logit", t0), ("target logit", t)] {
            let (a, b) = (report.before[(row, c)], report.after[(row, c)]);
            let _ = writeln!(out, "  {:<12} {:<34} {:<34}", "", format!("{title} {a:.3}"), format!("{b:.3} ({:+.3})", b - a));
        }
    }
    let was = scalars::predicted(report.before.row(1)) == t0;
    let all = matches!(report.fill, Fill::Clean) && nothing_passes(report.after.row(0), report.after.row(1));
    let verdict = match (was, report.recovered()) {
        (false, true) if all => "recovered, as from any attack: everything passes here, so the adversarial image gives the clean logits",
        (true, _) => "the adversarial image was not misclassified in the first place",
        (false, true) => "recovered: the adversarial image is taken for its true class again",
        (false, false) => "not recovered",
    };
    let _ = writeln!(out, "{verdict}; the clean prediction {}", if report.clean_kept() { "stays" } else { "changes" });
    if let Some(a) = report.adaptive {
        let result = if a.success { "succeeds again" } else { "fails" };
        let fair = if a.clean_correct { "" } else { " (but the masked network errs on the clean image)" };
        let _ = writeln!(
            out,
            "{} on the masked network {result}{fair}: {} steps, L2 {:.3}, Linf {:.2}/255",
            a.attack,
            a.steps,
            a.norms.l2,
            a.norms.linf * 255.0
        );
    } else {
        let _ = writeln!(out, "this masks a fixed image; an attack that knows the mask may still succeed (--adaptive runs it)");
    }
    if let Some(path) = report.saved {
        let _ = writeln!(out, "masked model written to {path} and checked");
    }
    out
}
