//! A folder's image in short sentences, each with its colour.

use super::columns::{name, shares};
use crate::{
    engine::triage::Row,
    tui::{text, theme::Role},
};

/// A sentence.
type Said = (Role, String);

/// Everything about an image in short sentences.
pub fn facts(row: &Row) -> Vec<Said> {
    let prob = |p: Option<f32>| p.map_or_else(|| "?".into(), text::prob);
    let mut out = Vec::new();
    if let Some(error) = &row.error {
        out.push((Role::Error, error.clone()));
    }
    if row.predicted_name.is_some() {
        out.push((Role::TrueClass, format!("clean {} {}", name(row.predicted_name.as_deref()), prob(row.predicted_prob))));
    }
    if row.adversarial_name.is_some() {
        out.push((Role::TargetClass, format!("adversarial {} {}", name(row.adversarial_name.as_deref()), prob(row.adversarial_prob))));
    }
    if let (Some(l2), Some(linf), Some(steps)) = (row.l2, row.linf, row.steps) {
        let flip = row.flipped_at.map_or_else(|| "never flipped".into(), |f| format!("flipped at {f}"));
        out.push((Role::Text, format!("{flip} of {steps} steps; L2 {}, Linf {}", text::number(l2), text::per_255(linf))));
    }
    out.extend(second(row).into_iter().map(|sentence| (Role::Text, sentence)));
    if let (Some(kind), Some(mode)) = (&row.pse_type, &row.pse_mode) {
        let estimate = if mode == "linear" { "linear estimate" } else { mode };
        out.push((Role::Text, format!("{kind}: S/B/P {}% of cells ({estimate})", shares(row))));
    }
    if let (Some(score), Some(lift)) = (row.is_score, row.is_lift) {
        out.push((Role::Text, format!("IS {score:.2}, {lift:.2} times an even spread")));
    }
    if let Some(layer) = &row.turning_point {
        out.push((Role::Dim, format!("parts at {layer}")));
    }
    out
}

/// What the second model makes of the image, in short sentences.
fn second(row: &Row) -> Vec<String> {
    let mut out = Vec::new();
    let Some(difference) = row.difference() else { return out };
    let prob = row.compare_predicted_prob.map_or_else(|| "?".into(), text::prob);
    let other = if difference.label { ", another class" } else { "" };
    out.push(format!("model 2: {} {prob}{other}", name(row.compare_predicted_name.as_deref())));
    if let (Some(reached), Some(l2)) = (row.compare_success, row.compare_l2) {
        let what = if reached { "reached" } else { "held" };
        let flip = row.compare_flipped_at.map_or_else(|| "never flipped".into(), |f| format!("flipped at {f}"));
        out.push(format!("the same attack on it: {what}, {flip}, L2 {}", text::number(l2)));
    }
    out.push(match (row.compare_transfers, &row.compare_transfer_name) {
        (Some(transfers), Some(class)) => {
            let what = if transfers { "fools it too" } else { "does not fool it" };
            format!("the image made for 1 {what}: {}", name(Some(class)))
        }
        _ => "the image made for 1 has another size than 2 takes".into(),
    });
    out
}

/// What a narrow table has no columns for.
pub fn unlisted(row: &Row) -> Vec<Said> {
    facts(row).into_iter().filter(|(role, _)| *role != Role::TrueClass).collect()
}

/// What no table has columns for.
pub fn more(row: &Row) -> Vec<Said> {
    let mut out = Vec::new();
    if let Some(error) = &row.error {
        out.push((Role::Error, error.clone()));
    }
    if row.true_index != row.predicted_index {
        out.push((Role::TrueClass, format!("its true class is {}", name(row.true_name.as_deref()))));
    }
    if let Some(target) = &row.target_name {
        out.push((Role::TargetClass, format!("target {}", name(Some(target)))));
    }
    out.extend(second(row).into_iter().map(|sentence| (Role::Text, sentence)));
    if let (Some(kind), Some(mode)) = (&row.pse_type, &row.pse_mode) {
        let estimate = if mode == "linear" { "a linear estimate" } else { mode };
        out.push((Role::Text, format!("as a whole: {kind}; of the cells {}% do nothing ({estimate})", percent(row.pse_inert))));
    }
    if let Some(layer) = &row.turning_point {
        out.push((Role::Text, format!("parts at {layer}")));
        let units: Vec<(usize, f32)> = row.top_units.as_deref().and_then(|t| serde_json::from_str(t).ok()).unwrap_or_default();
        let units: Vec<String> = units.iter().map(|(unit, change)| format!("{unit} {}", text::signed(*change))).collect();
        if !units.is_empty() {
            out.push((Role::Dim, format!("units that changed most there: {}", units.join(", "))));
        }
    }
    out
}

fn percent(share: Option<f32>) -> f32 {
    (share.unwrap_or(0.0) * 100.0).round()
}
