//! Sensitivity against interpretability, within one layer: depth drives both, so layers are never pooled.

use super::{Concept, LayerResult, Settings, Unit};
use crate::core::stats::{
    bootstrap::{Interval, interval},
    groups::{KruskalWallis, kruskal_wallis, mann_whitney},
    rank::{Correlation, kendall, partial_spearman, point_biserial, spearman, spearman_test},
};

/// Limits of IoU at which the yes/no comparison is repeated.
const LIMITS: [f64; 9] = [0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.10];
/// Fewest units of a category that is compared.
const SMALLEST_CATEGORY: usize = 5;

/// How sensitivity and IoU go together over the labelled units of a layer.
#[derive(Debug, Clone)]
pub struct Association {
    /// Spearman's correlation of sensitivity and IoU, p from Student's t.
    pub spearman: Correlation,
    /// 95 % bootstrap interval over units.
    pub interval: Option<Interval>,
    /// Kendall's tau-b.
    pub kendall: Option<Correlation>,
    /// Spearman with mean activation and firing rate held fixed.
    pub partial: Option<Correlation>,
    /// Spearman of the sensitivity to noise of the same norms: what scale alone brings about.
    pub noise: Option<Correlation>,
    /// Spearman of the sensitivity beyond noise (attack minus noise).
    pub beyond_noise: Option<Correlation>,
    /// Interpretable yes/no at several limits.
    pub thresholds: Vec<AtThreshold>,
    /// Categories of interpretable units compared.
    pub categories: Option<Categories>,
}

/// Interpretable against other units at one limit of IoU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AtThreshold {
    /// Limit.
    pub iou: f64,
    /// Units at or above it.
    pub interpretable: usize,
    /// Units below.
    pub other: usize,
    /// Probability that an interpretable unit is the more sensitive one; `None` when a side is empty.
    pub auc: Option<f64>,
    /// Mann-Whitney p.
    pub p: Option<f64>,
    /// Point-biserial correlation.
    pub point_biserial: Option<f64>,
}

/// Sensitivity by category of concept, among interpretable units.
#[derive(Debug, Clone)]
pub struct Categories {
    /// Names, in the order of the groups.
    pub names: Vec<String>,
    /// Units of each.
    pub sizes: Vec<usize>,
    /// Kruskal-Wallis with Dunn's comparisons.
    pub test: KruskalWallis,
}

/// The association over units that have a label and a sensitivity. `None` when there are fewer than three or one side is constant.
pub fn associate(layer: &LayerResult, concepts: &[Option<Concept>], settings: &Settings) -> Option<Association> {
    let known: Vec<(&Unit, f64, &Concept)> = layer
        .units
        .iter()
        .filter(|u| !u.dead)
        .filter_map(|u| Some((u, u.sensitivity?, concepts.get(u.unit)?.as_ref()?)))
        .filter(|(_, _, c)| c.iou.is_finite())
        .collect();
    let sensitivity: Vec<f64> = known.iter().map(|k| k.1).collect();
    let iou: Vec<f64> = known.iter().map(|k| k.2.iou).collect();
    let column = |f: fn(&Unit) -> f64| known.iter().map(|k| f(k.0)).collect::<Vec<f64>>();
    // Ranks of a logarithm are ranks of the value: no logarithm is needed to hold log mean activation fixed.
    let (activation, firing) = (column(|u| u.clean_mean), column(|u| u.firing));
    let noise = column(|u| u.noise.unwrap_or(f64::NAN));
    let beyond: Vec<f64> = sensitivity.iter().zip(&noise).map(|(a, b)| a - b).collect();
    let resampled = |s: &[usize]| {
        let pick = |v: &[f64]| s.iter().map(|i| v[*i]).collect::<Vec<f64>>();
        spearman(&pick(&sensitivity), &pick(&iou))
    };
    Some(Association {
        spearman: spearman_test(&sensitivity, &iou)?,
        interval: interval(known.len(), settings.draws, 0.95, settings.seed, resampled),
        kendall: kendall(&sensitivity, &iou),
        partial: partial_spearman(&sensitivity, &iou, &[&activation, &firing]),
        noise: spearman_test(&noise, &iou),
        beyond_noise: spearman_test(&beyond, &iou),
        thresholds: thresholds(settings.iou).into_iter().map(|limit| at(limit, &sensitivity, &iou)).collect(),
        categories: categories(&known, settings.iou),
    })
}

fn thresholds(own: f64) -> Vec<f64> {
    let mut limits = LIMITS.to_vec();
    if limits.iter().all(|l| (l - own).abs() > 1e-9) {
        limits.push(own);
        limits.sort_by(f64::total_cmp);
    }
    limits
}

fn at(limit: f64, sensitivity: &[f64], iou: &[f64]) -> AtThreshold {
    let yes: Vec<bool> = iou.iter().map(|i| *i >= limit).collect();
    let side = |wanted: bool| sensitivity.iter().zip(&yes).filter(|(_, y)| **y == wanted).map(|(s, _)| *s).collect::<Vec<f64>>();
    let (first, second) = (side(true), side(false));
    let test = mann_whitney(&first, &second);
    AtThreshold {
        iou: limit,
        interpretable: first.len(),
        other: second.len(),
        auc: test.map(|t| t.auc),
        p: test.map(|t| t.p),
        point_biserial: point_biserial(&yes, sensitivity).map(|c| c.r),
    }
}

fn categories(known: &[(&Unit, f64, &Concept)], limit: f64) -> Option<Categories> {
    let mut groups: Vec<(String, Vec<f64>)> = Vec::new();
    for (_, sensitivity, concept) in known.iter().filter(|k| k.2.iou >= limit) {
        match groups.iter_mut().find(|(name, _)| *name == concept.category) {
            Some((_, values)) => values.push(*sensitivity),
            None => groups.push((concept.category.clone(), vec![*sensitivity])),
        }
    }
    groups.retain(|(_, values)| values.len() >= SMALLEST_CATEGORY);
    groups.sort_by(|a, b| a.0.cmp(&b.0));
    let (names, values): (Vec<String>, Vec<Vec<f64>>) = groups.into_iter().unzip();
    let test = kruskal_wallis(&values)?;
    Some(Categories { names, sizes: values.iter().map(Vec::len).collect(), test })
}
