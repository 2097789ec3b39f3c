//! The declared inputs and outputs of a graph: what is split when a batch is.

use prost::{Message, bytes::Bytes};

use crate::core::{
    error::{Error, Result},
    onnx::pb::{self, tensor_shape_proto::dimension::Value as DimValue, type_proto::Value},
};

/// How a tensor's first dimension follows the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batching {
    /// Not at all: the same for every sample.
    Whole,
    /// `k` rows per sample.
    Rows(usize),
    /// The file does not say.
    Undeclared,
}

/// One declared tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Name.
    pub name: String,
    /// First dimension.
    pub batching: Batching,
    /// Whether elements are 64-bit integers rather than floats.
    pub integer: bool,
}

/// Inputs (initializers left out) and outputs, in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Inputs.
    pub inputs: Vec<Port>,
    /// Outputs.
    pub outputs: Vec<Port>,
}

impl Signature {
    /// Reads the declarations of a serialised model.
    pub fn read(model: &[u8]) -> Result<Self> {
        let bad = |e: String| Error::Model(format!("not an ONNX model ({e}); give an .onnx file exported from a training framework"));
        let proto = pb::ModelProto::decode(Bytes::copy_from_slice(model)).map_err(|e| bad(e.to_string()))?;
        let graph = proto.graph.ok_or_else(|| bad("it has no graph".into()))?;
        let constant = |name: &str| graph.initializer.iter().any(|t| t.name.as_deref() == Some(name));
        let inputs = graph.input.iter().map(port).filter(|p| !constant(&p.name)).collect();
        Ok(Self { inputs, outputs: graph.output.iter().map(port).collect() })
    }
}

fn port(info: &pb::ValueInfoProto) -> Port {
    const INT64: i32 = 7;
    let name = info.name.clone().unwrap_or_default();
    let Some(Value::TensorType(ty)) = info.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Port { name, batching: Batching::Undeclared, integer: false };
    };
    let batching = match &ty.shape {
        None => Batching::Undeclared,
        Some(shape) => match shape.dim.first().map(|d| d.value.as_ref()) {
            None | Some(Some(DimValue::DimValue(_))) => Batching::Whole,
            // Our writer says `64N` for 64 rows per sample.
            Some(Some(DimValue::DimParam(p))) => Batching::Rows(p.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(1)),
            // A first dimension without a name is the batch too.
            Some(None) => Batching::Rows(1),
        },
    };
    Port { name, batching, integer: ty.elem_type == Some(INT64) }
}
