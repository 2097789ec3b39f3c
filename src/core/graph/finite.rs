//! Weights that are not numbers.

use super::Prepared;
use crate::core::onnx::DType;

/// Operators whose constant operands are weights; elsewhere an infinity may be meant, as in attention masks and limits.
const WEIGHTED: &[&str] = &["Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "LayerNormalization", "PRelu"];

/// One sentence on the first node, in the order of computation, whose weights hold NaN, or infinity where a product is taken.
pub fn bad_weights(prepared: &Prepared) -> Option<String> {
    let graph = &prepared.graph;
    graph.nodes.iter().find_map(|node| {
        let weighted = WEIGHTED.contains(&node.op.as_str());
        node.inputs.iter().find_map(|name| {
            let data = graph.initializers.get(name).filter(|d| d.dtype == DType::F32)?;
            let values = data.bytes.chunks_exact(4).filter_map(|c| c.try_into().ok().map(f32::from_le_bytes));
            let bad = values.filter(|v| v.is_nan() || (weighted && v.is_infinite())).count();
            (bad > 0).then(|| {
                let (label, op) = (node.label(), &node.op);
                format!(
                    "'{name}' of node '{label}' ({op}) holds {bad} values that are not numbers (NaN or infinity); export the model again"
                )
            })
        })
    })
}
