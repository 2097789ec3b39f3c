//! From a [`Graph`] back to the bytes of an ONNX file. Deterministic: the same graph gives the same bytes.

use prost::Message;

use super::{Attr, Dim, Graph, Node, TensorData, TensorType, pb};

/// Name of the batch dimension in files we write.
pub const BATCH: &str = "N";

/// Serialises a graph as a `ModelProto`. Files of 2 GiB and more cannot be written this way (a limit of protobuf).
pub fn to_bytes(graph: &Graph) -> Vec<u8> {
    to_proto(graph).encode_to_vec()
}

/// The graph as a protobuf message.
pub fn to_proto(graph: &Graph) -> pb::ModelProto {
    let info = |name: &str, ty: &TensorType| pb::ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(type_proto(ty)),
        ..Default::default()
    };
    let boundary: std::collections::HashSet<&str> = graph.inputs.iter().chain(&graph.outputs).map(|v| v.name.as_str()).collect();
    let mut typed: Vec<_> = graph
        .types
        .iter()
        .filter(|(n, t)| t.shape.is_some() && !boundary.contains(n.as_str()) && !graph.initializers.contains_key(*n))
        .collect();
    typed.sort_by(|a, b| a.0.cmp(b.0));
    let proto = pb::GraphProto {
        name: Some(if graph.name.is_empty() { "psescope".into() } else { graph.name.clone() }),
        node: graph.nodes.iter().map(node_proto).collect(),
        initializer: graph.initializers.iter().map(|(n, t)| tensor_proto(n, t)).collect(),
        input: graph.inputs.iter().map(|v| info(&v.name, &v.ty)).collect(),
        output: graph.outputs.iter().map(|v| info(&v.name, &v.ty)).collect(),
        value_info: typed.into_iter().map(|(n, t)| info(n, t)).collect(),
        ..Default::default()
    };
    let standard = pb::OperatorSetIdProto { domain: Some(String::new()), version: Some(graph.opset) };
    let others = graph.other_opsets.iter().map(|(d, v)| pb::OperatorSetIdProto { domain: Some(d.clone()), version: Some(*v) });
    pb::ModelProto {
        ir_version: Some(graph.ir_version),
        producer_name: Some("psescope".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        opset_import: std::iter::once(standard).chain(others).collect(),
        metadata_props: graph
            .metadata
            .iter()
            .map(|(k, v)| pb::StringStringEntryProto { key: Some(k.clone()), value: Some(v.clone()) })
            .collect(),
        graph: Some(proto),
        ..Default::default()
    }
}

fn type_proto(ty: &TensorType) -> pb::TypeProto {
    use pb::tensor_shape_proto::{Dimension, dimension::Value};
    let dim = |d: &Dim| Dimension {
        value: match d {
            Dim::Fixed(v) => Some(Value::DimValue(*v as i64)),
            Dim::Batch(1) => Some(Value::DimParam(BATCH.into())),
            Dim::Batch(k) => Some(Value::DimParam(format!("{k}{BATCH}"))),
            Dim::Unknown => None,
        },
        ..Default::default()
    };
    let shape = ty.shape.as_ref().map(|s| pb::TensorShapeProto { dim: s.iter().map(dim).collect() });
    let tensor = pb::type_proto::Tensor { elem_type: Some(ty.dtype.to_onnx()), shape };
    pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() }
}

fn node_proto(node: &Node) -> pb::NodeProto {
    pb::NodeProto {
        input: node.inputs.clone(),
        output: node.outputs.clone(),
        name: Some(node.name.clone()),
        op_type: Some(node.op.clone()),
        domain: Some(node.domain.clone()),
        attribute: node.attrs.iter().map(|(n, a)| attr_proto(n, a)).collect(),
        ..Default::default()
    }
}

fn attr_proto(name: &str, attr: &Attr) -> pb::AttributeProto {
    use pb::attribute_proto::AttributeType as Type;
    let mut p = pb::AttributeProto { name: Some(name.to_owned()), ..Default::default() };
    match attr {
        Attr::Int(v) => {
            p.i = Some(*v);
            p.set_type(Type::Int);
        }
        Attr::Float(v) => {
            p.f = Some(*v);
            p.set_type(Type::Float);
        }
        Attr::Str(v) => {
            p.s = Some(v.clone());
            p.set_type(Type::String);
        }
        Attr::Ints(v) => {
            p.ints = v.clone();
            p.set_type(Type::Ints);
        }
        Attr::Floats(v) => {
            p.floats = v.clone();
            p.set_type(Type::Floats);
        }
        Attr::Strs(v) => {
            p.strings = v.clone();
            p.set_type(Type::Strings);
        }
        Attr::Tensor(v) => {
            p.t = Some(tensor_proto("", v));
            p.set_type(Type::Tensor);
        }
        Attr::Opaque(v) => return (**v).clone(),
    }
    p
}

fn tensor_proto(name: &str, t: &TensorData) -> pb::TensorProto {
    debug_assert!(t.dtype.size().is_some(), "what has no size is kept opaque");
    pb::TensorProto {
        name: Some(name.to_owned()),
        dims: t.dims.iter().map(|&d| d as i64).collect(),
        data_type: Some(t.dtype.to_onnx()),
        raw_data: Some(t.bytes.clone()),
        ..Default::default()
    }
}
