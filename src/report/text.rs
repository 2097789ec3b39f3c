//! Results as text for people.

use std::fmt::Write as _;

use serde_json::Value;

use super::json::AttackReport;
use crate::core::{
    colour,
    explain::psr::{Cell, Mode, PsrMap},
};

/// An attack's result in a few lines.
pub fn attack(report: &AttackReport) -> String {
    let mut out = String::new();
    let trace = report.trace;
    let name = |c: usize| report.context.class(c).name;
    let goal = trace.target.map_or_else(|| "untargeted".to_owned(), |t| format!("target {}", name(t)));
    let result = if report.success { "success" } else { "no success" };
    let _ = writeln!(out, "{} on {}: {result} ({goal})", report.attack, report.context.image);
    let _ = writeln!(out, "  model     {} on {}", report.context.model, report.context.provider);
    let flipped = trace.flipped_at().map_or_else(|| "never flipped".to_owned(), |i| format!("flipped at step {i}"));
    let steps = trace.len().saturating_sub(1);
    let _ =
        writeln!(out, "  steps     {steps}, {flipped}, {:.2} s ({:.1} steps/s)", report.seconds, steps as f64 / report.seconds.max(1e-9));
    if let Some(best) = trace.best().and_then(|i| trace.step(i)) {
        let _ = writeln!(
            out,
            "  change    L0 {} pixels, L1 {:.3}, L2 {:.4}, Linf {:.5} = {:.2}/255 (pixel space 0..1)",
            best.l0,
            best.l1,
            best.l2,
            best.linf,
            best.linf * 255.0
        );
    }
    for (title, logits) in [("clean", report.clean), ("now", report.adversarial)] {
        let _ = writeln!(out, "  {title:<9} {}", classes(&report.context.top(logits, 3)));
    }
    out
}

fn classes(top: &Value) -> String {
    let entry = |v: &Value| {
        let name = v["name"].as_str().unwrap_or("?");
        format!("{} {:.1} % (logit {:.2})", name, v["prob"].as_f64().unwrap_or(0.0) * 100.0, v["logit"].as_f64().unwrap_or(0.0))
    };
    top.as_array().map(|a| a.iter().map(entry).collect::<Vec<_>>().join(", ")).unwrap_or_default()
}

/// A promotion-suppression map: one sign per cell, then totals.
pub fn pse(map: &PsrMap, whole: &Cell, true_name: &str, target_name: &str) -> String {
    let mut out = String::new();
    let mode = if map.settings.mode == Mode::Exact { "exact".to_owned() } else { format!("an estimate ({})", map.settings.mode.name()) };
    let _ = writeln!(out, "{} x {} cells of {} x {} pixels, {mode}", map.grid.rows(), map.grid.cols(), map.grid.cell_h, map.grid.cell_w);
    for row in map.cells.chunks(map.grid.cols()) {
        let sign = |c: &Option<Cell>| match c.map_or(' ', |c| colour::kind_sign(c.kind)) {
            ' ' => '.',
            sign => sign,
        };
        let _ = writeln!(out, "  {}", row.iter().map(sign).collect::<String>());
    }
    let share = map.shares();
    let _ = writeln!(
        out,
        "- suppresses {true_name}: {:.1} %   + promotes {target_name}: {:.1} %   = both: {:.1} %   . inert: {:.1} %",
        share.suppression * 100.0,
        share.promotion * 100.0,
        share.balanced * 100.0,
        share.inert * 100.0
    );
    let _ = writeln!(out, "whole perturbation: {} (true logit {:+.3}, target logit {:+.3})", whole.kind.name(), -whole.s_raw, whole.b_raw);
    let (totals, gap) = (map.totals(), map.additivity_gap(whole));
    let _ = writeln!(
        out,
        "cells add up to: s {:+.3}, b {:+.3} logits; additivity gap s {:+.3}, b {:+.3} (0 for a network that is linear along d)",
        totals.0, totals.1, gap.0, gap.1
    );
    if share.inert > 0.5 {
        let _ = writeln!(
            out,
            "most cells stay under the floor of {} logits: try a coarser grid (--grid), a lower floor (--psr-floor) or one relative to the spread of the clean logits (--floor-relative 0.02)",
            map.settings.floor
        );
    }
    out
}
