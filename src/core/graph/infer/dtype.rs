//! Element types of a node's outputs.

use crate::core::onnx::{Attr, DType, Node};

/// Types of all outputs of a node, from the types of its inputs (`None` for omitted ones).
pub fn outputs(node: &Node, inputs: &[Option<DType>]) -> Vec<DType> {
    let at = |i: usize| inputs.get(i).copied().flatten().unwrap_or(DType::Other(0));
    let attr = |name: &str, default: DType| {
        node.attrs.get(name).map_or(default, |a| if let Attr::Int(v) = a { DType::from_onnx(*v as i32) } else { default })
    };
    let first = match node.op.as_str() {
        "Shape" | "Size" | "ArgMax" | "ArgMin" | "NonZero" => DType::I64,
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or" | "Xor" | "Not" | "IsNaN" | "IsInf" => DType::Bool,
        "Cast" => attr("to", DType::F32),
        "EyeLike" => attr("dtype", at(0)),
        "CastLike" | "Where" | "DequantizeLinear" => at(1),
        "OneHot" => at(2),
        "QuantizeLinear" => attr("output_dtype", inputs.get(2).copied().flatten().unwrap_or(DType::U8)),
        "QLinearConv" | "QLinearMatMul" => at(7),
        "ConvInteger" | "MatMulInteger" => DType::I32,
        "DynamicQuantizeLinear" => DType::U8,
        "RandomNormal" | "RandomUniform" => attr("dtype", DType::F32),
        "RandomNormalLike" | "RandomUniformLike" => attr("dtype", at(0)),
        "Constant" => constant(node),
        "ConstantOfShape" => {
            if let Some(Attr::Tensor(t)) = node.attrs.get("value") {
                t.dtype
            } else {
                DType::F32
            }
        }
        _ => at(0),
    };
    let rest = |i: usize| match (node.op.as_str(), i) {
        ("MaxPool" | "TopK", 1) => DType::I64,
        ("Dropout", 1) => DType::Bool,
        ("DynamicQuantizeLinear", 1) => DType::F32,
        ("LayerNormalization", _) => attr("stash_type", DType::F32),
        ("BatchNormalization", _) => at(3),
        _ => first,
    };
    (0..node.outputs.len()).map(|i| if i == 0 { first } else { rest(i) }).collect()
}

fn constant(node: &Node) -> DType {
    node.attrs
        .iter()
        .find_map(|(name, a)| match (name.as_str(), a) {
            ("value", Attr::Tensor(t)) => Some(t.dtype),
            ("value_float" | "value_floats", _) => Some(DType::F32),
            ("value_int" | "value_ints", _) => Some(DType::I64),
            _ => None,
        })
        .unwrap_or(DType::Other(0))
}
