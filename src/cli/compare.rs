//! An attack within a region beside the same attack everywhere.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{cmd::attack::Attacked, session::Session};
use crate::{
    core::{
        error::Result,
        explain::{
            interpretability::{self, Interpretability},
            psr::{self, Grid, Kind, Question, Settings, Shares},
        },
        oracle::Oracle as _,
        tensor::norm::Norms,
    },
    engine::{findings::GRID, region::Region},
    report::explain,
};

/// What one of the two attacks came to.
struct Outcome {
    success: bool,
    steps: usize,
    norms: Norms,
    /// Of the region; absent when nothing changed.
    score: Option<Interpretability>,
    /// Exact; absent when true class and reached class are one.
    pse: Option<(Shares, Kind)>,
}

/// Both outcomes.
pub struct Comparison {
    within: Outcome,
    everywhere: Outcome,
}

impl Comparison {
    /// Measures two finished attacks against the region of the first.
    pub fn of(session: &mut Session, region: &Region, within: &Attacked, everywhere: &Attacked) -> Result<Self> {
        Ok(Self { within: outcome(session, region, within)?, everywhere: outcome(session, region, everywhere)? })
    }

    /// As one JSON object.
    pub fn to_json(&self) -> Value {
        let one = |o: &Outcome| {
            json!({
                "success": o.success,
                "steps": o.steps,
                "norms": {"l0": o.norms.l0, "l1": o.norms.l1, "l2": o.norms.l2, "linf": o.norms.linf},
                "is": o.score.as_ref().map(explain::score),
                "share": o.pse.as_ref().map(|(s, _)| explain::shares(s)),
                "type": o.pse.as_ref().map(|(_, k)| k.name()),
            })
        };
        json!({"grid": GRID, "mode": "exact", "within": one(&self.within), "unrestricted": one(&self.everywhere)})
    }

    /// As a table of two columns.
    pub fn to_text(&self) -> String {
        let pair = [&self.within, &self.everywhere];
        let row = |title: &str, cell: &dyn Fn(&Outcome) -> String| format!("  {title:<26}{:>14}{:>14}\n", cell(pair[0]), cell(pair[1]));
        let share = |f: fn(&Shares) -> f32| move |o: &Outcome| o.pse.as_ref().map_or("-".into(), |(s, _)| format!("{:.1} %", f(s) * 100.0));
        let mut out = format!("  {:<26}{:>14}{:>14}\n", "compared", "within", "unrestricted");
        out += &row("success", &|o| if o.success { "yes".into() } else { "no".into() });
        out += &row("steps", &|o| o.steps.to_string());
        out += &row("L0 (pixels)", &|o| o.norms.l0.to_string());
        out += &row("L1", &|o| format!("{:.3}", o.norms.l1));
        out += &row("L2", &|o| format!("{:.4}", o.norms.l2));
        out += &row("Linf", &|o| format!("{:.5}", o.norms.linf));
        out += &row("IS of the region", &|o| o.score.map_or("-".into(), |s| format!("{:.4}", s.score)));
        out += &row("lift over sqrt(area)", &|o| o.score.and_then(|s| s.lift).map_or("-".into(), |l| format!("{l:.3}")));
        out += &row("cells: - suppression", &share(|s| s.suppression));
        out += &row("cells: + promotion", &share(|s| s.promotion));
        out += &row("cells: = balanced", &share(|s| s.balanced));
        out += &row("cells: . inert", &share(|s| s.inert));
        out += &row("whole perturbation", &|o| o.pse.as_ref().map_or("-", |(_, k)| k.name()).into());
        let _ = writeln!(out, "  (cells: exact, {GRID} per side)");
        out
    }
}

fn outcome(session: &mut Session, region: &Region, attacked: &Attacked) -> Result<Outcome> {
    let problem = &attacked.prepared.problem;
    let delta = &attacked.image - &problem.image;
    let logits = session.network.logits(attacked.image.view().insert_axis(ndarray::Axis(0)))?.row(0).to_owned();
    let target = problem.target.unwrap_or_else(|| crate::core::scalars::predicted(logits.view()));
    let pse = if target == problem.label {
        None
    } else {
        let (_, h, w) = problem.image.dim();
        let question = Question {
            clean: problem.image.view(),
            adversarial: attacked.image.view(),
            classes: (problem.label, target),
            grid: Grid::by_count(h, w, GRID)?,
            settings: Settings::default(),
        };
        let map = psr::evaluate(&mut session.network, &question, &mut |_| Ok(()))?;
        Some((map.shares(), map.whole(attacked.clean.view(), logits.view()).kind))
    };
    Ok(Outcome {
        success: attacked.success,
        steps: attacked.prepared.trace.len().saturating_sub(1),
        norms: Norms::of(delta.view()),
        score: interpretability::of_region(region.mask.view(), delta.view(), region.nu.unwrap_or(0.0)),
        pse,
    })
}
