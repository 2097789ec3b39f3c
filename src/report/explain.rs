//! What the explaining commands add to their reports: regions, timelines, curves.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    core::explain::{
        faithfulness::{CONTROLS, Curve, Faithfulness},
        interpretability::Interpretability,
        psr::{Moment, Shares, Side, Split, turning_point},
    },
    engine::region::Region,
};

/// Shares as an object.
pub fn shares(share: &Shares) -> Value {
    json!({"suppression": share.suppression, "promotion": share.promotion, "balanced": share.balanced, "inert": share.inert})
}

/// A region.
pub fn region(region: &Region) -> Value {
    json!({"region": region.text, "area": region.area(), "nu": region.nu, "layer": region.map.as_ref().map(|m| &m.layer)})
}

/// An interpretability score.
pub fn score(score: &Interpretability) -> Value {
    json!({"nu": score.nu, "score": score.score, "area": score.area, "baseline": score.baseline, "lift": score.lift})
}

fn side(side: &Side) -> Value {
    json!({
        "cells": side.cells,
        "share": shares(&side.shares),
        "totals": {"s_raw": side.totals.0, "b_raw": side.totals.1},
        "change": side.change,
        "whole": {"s_raw": side.whole.s_raw, "b_raw": side.whole.b_raw, "type": side.whole.kind.name()},
    })
}

/// A map split along a region.
pub fn split(split: &Split, within: &Region) -> Value {
    let mut out = region(within);
    out["inside"] = side(&split.inside);
    out["outside"] = side(&split.outside);
    out
}

/// A timeline; its cells are linear estimates, its totals exact.
pub fn timeline(moments: &[Moment]) -> Value {
    let moment = |m: &Moment| {
        json!({
            "step": m.step,
            "share": shares(&m.shares),
            "estimate": {"s_raw": m.totals.0, "b_raw": m.totals.1},
            "whole": {"s_raw": m.whole.s_raw, "b_raw": m.whole.b_raw, "type": m.whole.kind.name()},
        })
    };
    json!({"mode": "linear", "estimate": true, "turning_point": turning_point(moments), "steps": moments.iter().map(moment).collect::<Vec<_>>()})
}

fn curve(curve: &Curve) -> Value {
    json!({"fraction": curve.fractions, "probability": curve.scores, "auc": curve.auc()})
}

/// Faithfulness of a map.
pub fn faithfulness(f: &Faithfulness) -> Value {
    json!({
        "class": f.class,
        "deletion": curve(&f.deletion),
        "insertion": curve(&f.insertion),
        "control": {"maps": CONTROLS, "deletion_auc": f.control.0, "insertion_auc": f.control.1},
        "road": {"morf": curve(&f.morf), "lerf": curve(&f.lerf), "combined": f.road()},
        "forwards": f.forwards,
    })
}

fn percent(v: f32) -> String {
    format!("{:.1} %", v * 100.0)
}

/// Both sides of a region in two lines.
pub fn split_text(split: &Split, region: &Region) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "region {} covers {:.1} % of the image", region.text, split.area * 100.0);
    for (name, side) in [("inside", &split.inside), ("outside", &split.outside)] {
        let _ = writeln!(
            out,
            "  {name:<8} {:>3} cells: - {}  + {}  = {}  . {};  {:.1} % of ||d||^2;  taken back alone: true logit {:+.3}, target logit {:+.3}",
            side.cells,
            percent(side.shares.suppression),
            percent(side.shares.promotion),
            percent(side.shares.balanced),
            percent(side.shares.inert),
            side.change * 100.0,
            side.whole.s_raw,
            -side.whole.b_raw
        );
    }
    out
}

/// A timeline as a table.
pub fn timeline_text(moments: &[Moment]) -> String {
    let mut out = String::from(
        "timeline (cells: linear estimates; s and b of the whole: exact, in logits)\n   step   - cells   + cells   = cells   inert       s       b\n",
    );
    for m in moments {
        let _ = writeln!(
            out,
            "  {:>5}  {:>8}  {:>8}  {:>8}  {:>6} {:>7.3} {:>7.3}",
            m.step,
            percent(m.shares.suppression),
            percent(m.shares.promotion),
            percent(m.shares.balanced),
            percent(m.shares.inert),
            m.whole.s_raw,
            m.whole.b_raw
        );
    }
    let _ = match turning_point(moments) {
        Some(step) => writeln!(out, "turned from suppression to promotion at step {step}"),
        None => writeln!(out, "never turned from suppression to promotion for good"),
    };
    out
}

/// A curve of interpretability scores as a table: quantile level, score.
pub fn scores_text(curve: &[(f32, Option<Interpretability>)]) -> String {
    let mut out = String::from(
        "interpretability score IS = ||B o d|| / ||d|| over the threshold (IS means something only beside sqrt(area))\n  level    area      IS  sqrt(area)   lift\n",
    );
    for (level, score) in curve {
        let _ = match score {
            Some(s) => {
                let lift = s.lift.map_or("-".into(), |l| format!("{l:.3}"));
                writeln!(out, "  {level:>5.2}  {:>5.1} %  {:>6.4}      {:>6.4}  {lift:>5}", s.area * 100.0, s.score, s.baseline)
            }
            None => writeln!(out, "  {level:>5.2}  nothing has changed: IS is undefined"),
        };
    }
    out
}

/// Faithfulness in a few lines.
pub fn faithfulness_text(f: &Faithfulness) -> String {
    let (d, i) = (f.deletion.auc(), f.insertion.auc());
    let better = |good: bool| if good { "better" } else { "no better" };
    let mut out = String::new();
    let _ = writeln!(out, "faithfulness (mean probability of the class; {} forward runs)", f.forwards);
    let _ =
        writeln!(out, "  deletion  {d:.4}, shuffled maps {:.4}: {} than chance (lower is better)", f.control.0, better(d < f.control.0));
    let _ =
        writeln!(out, "  insertion {i:.4}, shuffled maps {:.4}: {} than chance (higher is better)", f.control.1, better(i > f.control.1));
    let _ = writeln!(
        out,
        "  ROAD      {:+.4} = mean of (LeRF - MoRF) / 2 (above 0 is better; MoRF {:.4}, LeRF {:.4})",
        f.road(),
        f.morf.auc(),
        f.lerf.auc()
    );
    out
}
