//! Operators whose outputs have the shape of the first input, or the broadcast shape of all inputs.

use super::{ShapeRule, Shapes};
use crate::core::graph::eval::{
    Res,
    geometry::axes::{axis, broadcast},
};

macro_rules! table {
    ($($rule:ident: $($op:literal)*);*) => { pub(super) const RULES: &[(&str, ShapeRule)] = &[$($(($op, $rule)),*),*]; };
}

table! {
    first: "Abs" "Acos" "Acosh" "Asin" "Asinh" "Atan" "Atanh" "Cast" "CastLike" "Ceil" "Celu" "Clip" "Cos" "Cosh" "CumSum" "DequantizeLinear" "Dropout"
        "Elu" "Erf" "Exp" "EyeLike" "Floor" "Gelu" "GroupNormalization" "HardSigmoid" "HardSwish" "Hardmax" "Identity" "InstanceNormalization" "IsInf" "IsNaN"
        "LRN" "LeakyRelu" "Log" "LogSoftmax" "LpNormalization" "MeanVarianceNormalization" "Mish" "Neg" "Not" "PRelu" "QuantizeLinear" "RMSNormalization"
        "RandomNormalLike" "RandomUniformLike" "Reciprocal" "Relu" "Round" "Scatter" "ScatterElements" "ScatterND" "Selu" "Shrink" "Sigmoid" "Sign" "Sin"
        "Sinh" "Softmax" "Softplus" "Softsign" "Sqrt" "Swish" "Tan" "Tanh" "ThresholdedRelu" "Trilu";
    all: "Add" "And" "Div" "Equal" "Greater" "GreaterOrEqual" "Less" "LessOrEqual" "Max" "Mean" "Min" "Mod" "Mul" "Or" "Pow" "Sub" "Sum" "Where" "Xor";
    batch_norm: "BatchNormalization";
    layer_norm: "LayerNormalization";
    dynamic_quantize: "DynamicQuantizeLinear"
}

fn first(s: &Shapes) -> Res<Vec<Vec<usize>>> {
    Ok(vec![s.at(0)?.to_vec(); s.args.node.outputs.len()])
}

fn all(s: &Shapes) -> Res<Vec<Vec<usize>>> {
    let mut out = s.at(0)?.to_vec();
    for i in 1..s.args.node.inputs.len() {
        out = broadcast(&out, s.at(i)?)?;
    }
    Ok(vec![out])
}

fn batch_norm(s: &Shapes) -> Res<Vec<Vec<usize>>> {
    let channels = vec![s.at(1)?.to_vec(); s.args.node.outputs.len() - 1];
    Ok(std::iter::once(s.at(0)?.to_vec()).chain(channels).collect())
}

/// The quantised values, their scale and their zero point.
fn dynamic_quantize(s: &Shapes) -> Res<Vec<Vec<usize>>> {
    Ok(vec![s.at(0)?.to_vec(), vec![], vec![]])
}

fn layer_norm(s: &Shapes) -> Res<Vec<Vec<usize>>> {
    let x = s.at(0)?;
    let a = axis(s.args.int("axis", -1), x.len())?;
    let small: Vec<usize> = x.iter().enumerate().map(|(i, &d)| if i < a { d } else { 1 }).collect();
    Ok(vec![x.to_vec(), small.clone(), small])
}
