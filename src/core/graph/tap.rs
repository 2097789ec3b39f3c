//! Extra outputs: tensors, or statistics per unit reduced inside the graph so that little leaves the device.

use super::{TapKind, grad::builder::Builder, units};
use crate::core::{
    error::{Error, Result},
    onnx::ValueInfo,
};

/// Declares a value as a graph output, once.
pub(super) fn output(b: &Builder, name: &str) {
    let ty = b.ty(name);
    b.edit(|g| {
        if g.outputs.iter().all(|o| o.name != name) {
            g.outputs.push(ValueInfo { name: name.to_owned(), ty });
        }
    });
}

/// Declares a value as a graph output under a wished name; returns the name it got.
pub(super) fn output_as(b: &Builder, value: &str, wish: &str) -> String {
    let name = b.reserve(wish);
    let taken = b.edit(|g| g.outputs.iter().any(|o| o.name == value));
    if taken || !b.rename(value, &name) {
        let copy = b.unary("Identity", value);
        b.rename(&copy, &name);
    }
    output(b, &name);
    name
}

/// Adds the value or statistic of a tap; returns the output's name.
pub(super) fn value(b: &Builder, tensor: &str, kind: TapKind, channels_last: bool) -> Result<String> {
    let shape = b.ty(tensor).shape;
    let prefix = match kind {
        TapKind::Value | TapKind::ValueAndGradient => {
            let is_input = b.edit(|g| g.inputs.iter().any(|i| i.name == tensor));
            if is_input || b.constant(tensor).is_some() {
                return Ok(output_as(b, tensor, &format!("value_{tensor}")));
            }
            output(b, tensor);
            return Ok(tensor.to_owned());
        }
        TapKind::UnitMean => "mean",
        TapKind::UnitMax => "max",
        TapKind::UnitL2 => "l2",
        TapKind::UnitShift => "shift",
    };
    let rank = shape.map_or(0, |s| s.len());
    if rank < 2 {
        return Err(Error::Model(format!(
            "'{tensor}' has no units to summarise (it needs a batch and a channel axis); pick another layer"
        )));
    }
    let unit = units::axis(rank, channels_last);
    let axes: Vec<usize> = (1..rank).filter(|&a| a != unit).collect();
    let statistic = match kind {
        TapKind::UnitMean => b.reduce("ReduceMean", tensor, &axes, false),
        TapKind::UnitMax => b.reduce("ReduceMax", tensor, &axes, false),
        TapKind::UnitShift => length(b, &b.sub(tensor, &b.slice(tensor, 0, 0, 1)), &axes),
        _ => length(b, tensor, &axes),
    };
    Ok(output_as(b, &statistic, &format!("{prefix}_{tensor}")))
}

fn length(b: &Builder, tensor: &str, axes: &[usize]) -> String {
    if axes.is_empty() { b.unary("Abs", tensor) } else { b.reduce("ReduceL2", tensor, axes, false) }
}
