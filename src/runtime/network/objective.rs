//! What an objective asks of the graph: its loss head, and the inputs that the head takes.

use std::ops::Range;

use ndarray::{Array1, ArrayView2, Axis, Slice};

use super::{Inputs, linear, part};
use crate::{
    core::{
        error::{Error, Result},
        graph::{Instrumentation, Instrumented, Loss},
        oracle::Objective,
    },
    runtime::backend::Array,
};

/// The request that answers an objective.
pub(super) fn objective_spec(objective: &Objective) -> Instrumentation {
    let loss = match objective {
        Objective::CrossEntropy { .. } => Loss::CrossEntropy,
        Objective::Linear { .. } => Loss::None,
        Objective::Margin { .. } => Loss::Margin,
        Objective::Ratio { targets, .. } => Loss::Ratio { targeted: targets.is_some() },
    };
    Instrumentation { loss, ..linear() }
}

/// Whether labels, cotangent and margin fit a batch of `n` images.
pub(super) fn check_objective(objective: &Objective, n: usize, classes: usize) -> Result<()> {
    let (Objective::CrossEntropy { labels } | Objective::Margin { labels, .. } | Objective::Ratio { labels, .. }) = objective else {
        let Objective::Linear { cotangent } = objective else { return Ok(()) };
        let fits = cotangent.dim() == (n, classes);
        return if fits {
            Ok(())
        } else {
            Err(Error::Parameter(format!("the cotangent has shape {:?} instead of [{n}, {classes}]", cotangent.shape())))
        };
    };
    let targets = if let Objective::Ratio { targets, .. } = objective { *targets } else { None };
    if let Objective::Ratio { .. } = objective {
        let needed = if targets.is_some() { 4 } else { 3 };
        if classes < needed {
            return Err(Error::Parameter(format!("the DLR loss needs {needed} classes and this model has {classes}; choose loss ce")));
        }
    }
    let given = targets.map_or(labels.len(), |t| if t.len() == labels.len() { t.len() } else { 0 });
    if labels.len() != n || given != n {
        return Err(Error::Parameter(format!("{} labels were given for {n} images", labels.len())));
    }
    if let Some(label) = labels.iter().chain(targets.unwrap_or_default()).find(|l| **l >= classes) {
        return Err(Error::Parameter(format!("class {label} does not exist; the model has classes 0 to {}", classes.saturating_sub(1))));
    }
    if let Objective::Margin { kappa, .. } = objective
        && !(kappa.is_finite() && *kappa >= 0.0)
    {
        return Err(Error::Parameter(format!("kappa is {kappa}; it must be at least 0")));
    }
    Ok(())
}

/// The inputs of one piece besides the image.
pub(super) fn objective_inputs(g: &Instrumented, objective: &Objective, range: Range<usize>) -> Result<Inputs> {
    let n = range.len();
    let per_sample = |value: f32| Array::F32(Array1::from_elem(n, value).into_dyn());
    let labelled = |labels: &[usize]| -> Result<Inputs> {
        let (labels_name, weights_name) = part(&g.labels, "labels input")?;
        let labels: Array1<i64> = labels[range.clone()].iter().map(|&l| l as i64).collect();
        Ok(vec![(labels_name, Array::I64(labels.into_dyn())), (weights_name, per_sample(1.0))])
    };
    match objective {
        Objective::CrossEntropy { labels } => labelled(labels),
        Objective::Linear { cotangent } => {
            let rows: ArrayView2<f32> = cotangent.slice_axis(Axis(0), Slice::from(range.clone()));
            Ok(vec![(part(&g.cotangent, "cotangent input")?, Array::F32(rows.to_owned().into_dyn()))])
        }
        Objective::Margin { labels, targeted, kappa } => {
            let mut inputs = labelled(labels)?;
            inputs.push((head_input(g, "kappa")?, Array::F32(ndarray::arr0(*kappa).into_dyn())));
            inputs.push((head_input(g, "direction")?, per_sample(if *targeted { 1.0 } else { -1.0 })));
            Ok(inputs)
        }
        Objective::Ratio { labels, targets } => {
            let mut inputs = labelled(labels)?;
            if let Some(targets) = targets {
                let targets: Array1<i64> = targets[range].iter().map(|&t| t as i64).collect();
                inputs.push((head_input(g, "targets")?, Array::I64(targets.into_dyn())));
            }
            Ok(inputs)
        }
    }
}

/// An input of the loss head by its role: metadata says its name when that differs from the role.
fn head_input(g: &Instrumented, role: &str) -> Result<String> {
    let name = g.graph.metadata.get(&format!("psescope.{role}")).map_or(role, String::as_str);
    let input = g.graph.inputs.iter().find(|i| i.name == name);
    input.map(|i| i.name.clone()).ok_or_else(|| Error::Engine(format!("the instrumented graph has no {role} input")))
}
