//! Half and double precision models are computed in float32.

use prost::bytes::Bytes;

use crate::core::{
    graph::eval::Value,
    onnx::{Attr, DType, Graph, TensorData},
};

/// Turns every float16, bfloat16 and float64 constant, cast and input into float32.
pub fn to_f32(graph: &mut Graph, image: &str, notices: &mut Vec<String>) {
    for input in graph.inputs.iter_mut().filter(|i| i.name == image && i.ty.dtype != DType::F32) {
        notices.push(format!("the model computes in {:?}; psescope runs it in float32", input.ty.dtype));
        input.ty.dtype = DType::F32;
    }
    for tensor in graph.initializers.values_mut() {
        widen(tensor);
    }
    for attr in graph.nodes.iter_mut().flat_map(|n| {
        let typed = matches!(
            n.op.as_str(),
            "Cast"
                | "EyeLike"
                | "RandomNormal"
                | "RandomUniform"
                | "RandomNormalLike"
                | "RandomUniformLike"
                | "QuantizeLinear"
                | "LayerNormalization"
        );
        n.attrs.iter_mut().filter(move |(name, a)| {
            matches!(a, Attr::Tensor(_)) || typed && matches!(name.as_str(), "to" | "dtype" | "output_dtype" | "stash_type")
        })
    }) {
        match attr.1 {
            Attr::Tensor(t) => widen(t),
            Attr::Int(code) if narrow(DType::from_onnx(*code as i32)) => *code = i64::from(DType::F32.to_onnx()),
            _ => {}
        }
    }
    for output in &mut graph.outputs {
        if narrow(output.ty.dtype) {
            output.ty.dtype = DType::F32;
        }
    }
    graph.types.clear();
}

fn narrow(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16 | DType::F64)
}

fn widen(t: &mut TensorData) {
    if narrow(t.dtype) {
        let wide = Value::from_tensor(t).and_then(|v| v.to_tensor(DType::F32));
        t.bytes = wide.map_or_else(Bytes::new, |w| w.bytes);
        t.dtype = DType::F32;
    }
}
