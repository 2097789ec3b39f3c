//! From the bytes of an ONNX file to a [`Graph`]. Hostile input ends in an error, never in a panic or a huge allocation.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use prost::{Message, bytes::Bytes};

use super::{Attr, DType, Dim, Graph, Node, TensorData, TensorType, ValueInfo, inline, opaque, pb};
use crate::core::error::{Error, Result};

/// Where a tensor's bytes lie when they are outside the model file.
#[derive(Debug, Clone)]
pub struct External {
    /// Path relative to the model's directory, as written in the file. Not to be trusted.
    pub location: String,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

/// Most nodes: the largest exported networks have some ten thousand.
const MAX_NODES: usize = 1 << 18;
/// Most dimensions of a tensor.
const MAX_RANK: usize = 32;

/// Fetches external tensor bytes; the caller decides what may be read.
pub type Fetch<'a> = dyn FnMut(&External) -> Result<Bytes> + 'a;

/// Parses a model. `fetch` is asked for every tensor stored outside the file.
pub fn parse(bytes: Bytes, fetch: &mut Fetch) -> Result<Graph> {
    let model = pb::ModelProto::decode(bytes).map_err(|e| {
        // The place in a deeply nested file would fill the screen.
        let why = e.to_string();
        let why = why.rsplit(": ").next().unwrap_or_default();
        Error::Model(format!("not an ONNX model ({why}); give an .onnx file exported from a training framework"))
    })?;
    let proto = model
        .graph
        .ok_or_else(|| Error::Model("not an ONNX model (it has no graph); give an .onnx file exported from a training framework".into()))?;
    let mut graph = Graph {
        name: shown(proto.name),
        ir_version: model.ir_version.unwrap_or(0),
        producer: format!("{} {}", shown(model.producer_name), shown(model.producer_version)).trim().to_owned(),
        metadata: model.metadata_props.into_iter().map(|p| (p.key.unwrap_or_default(), p.value.unwrap_or_default())).collect(),
        ..Graph::default()
    };
    for set in model.opset_import {
        match set.domain.as_deref().unwrap_or("") {
            "" | "ai.onnx" => graph.opset = set.version.unwrap_or(0),
            domain => graph.other_opsets.push((domain.to_owned(), set.version.unwrap_or(0))),
        }
    }
    if proto.node.is_empty() || graph.opset == 0 {
        return Err(Error::Model("the ONNX file holds no computation (no nodes or no operator set); export the model again".into()));
    }
    if !proto.sparse_initializer.is_empty() {
        return Err(Error::Model("the model stores sparse weights, which psescope does not read; export it with dense weights".into()));
    }
    if proto.node.len() > MAX_NODES {
        return Err(Error::Model(format!("the model has {} nodes; psescope reads at most {MAX_NODES}", proto.node.len())));
    }
    let mut constants = Vec::new();
    for mut tensor in proto.initializer {
        let name = shown(tensor.name.clone());
        // Texts and the like: nothing computes with them, but they must reach the engine whole.
        if DType::from_onnx(tensor.data_type.unwrap_or(0)).size().is_none() {
            opaque::tensor(&mut tensor, fetch)?;
            constants.push(constant(name, tensor));
            continue;
        }
        let data = tensor_data(tensor, fetch)?;
        if graph.initializers.insert(name.clone(), data).is_some() {
            return Err(Error::Model(format!("two weights are called '{name}'; the file is damaged")));
        }
    }
    // Up to IR 3 every initializer was listed as an input too.
    let weights: HashSet<&str> = graph.initializers.keys().chain(constants.iter().flat_map(|n| &n.outputs)).map(String::as_str).collect();
    graph.inputs = proto.input.iter().map(value_info).filter(|v| !weights.contains(v.name.as_str())).collect();
    graph.outputs = proto.output.iter().map(value_info).collect();
    for info in proto.value_info.iter().map(value_info) {
        graph.types.insert(info.name, info.ty);
    }
    let nodes = if model.functions.is_empty() { proto.node } else { inline::inline(proto.node, &model.functions, graph.opset)? };
    graph.nodes = constants;
    for proto in nodes {
        graph.nodes.push(node(proto, fetch)?);
    }
    sort_topologically(&mut graph)?;
    Ok(graph)
}

/// A name as it may be shown: control characters, which a terminal would obey, and invisible ones that turn text round become
/// U+FFFD. Names that no longer differ are refused as duplicates.
fn shown(name: Option<String>) -> String {
    let hostile = |c: char| c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    match name {
        Some(name) if name.chars().any(hostile) => name.chars().map(|c| if hostile(c) { '\u{fffd}' } else { c }).collect(),
        name => name.unwrap_or_default(),
    }
}

fn value_info(info: &pb::ValueInfoProto) -> ValueInfo {
    use pb::{tensor_shape_proto::dimension::Value as DimValue, type_proto::Value};
    let mut ty = TensorType { dtype: DType::Other(0), shape: None };
    if let Some(Value::TensorType(t)) = info.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        ty.dtype = DType::from_onnx(t.elem_type.unwrap_or(0));
        ty.shape = t.shape.as_ref().map(|s| {
            s.dim
                .iter()
                .map(|d| match d.value {
                    Some(DimValue::DimValue(v)) if v > 0 => Dim::Fixed(v as usize),
                    _ => Dim::Unknown,
                })
                .collect()
        });
    }
    ValueInfo { name: shown(info.name.clone()), ty }
}

fn node(proto: pb::NodeProto, fetch: &mut Fetch) -> Result<Node> {
    let mut attrs = BTreeMap::new();
    for attribute in proto.attribute {
        attrs.insert(shown(attribute.name.clone()), attr(attribute, fetch)?);
    }
    let domain = shown(proto.domain.filter(|d| d != "ai.onnx"));
    let names = |list: Vec<String>| list.into_iter().map(|n| shown(Some(n))).collect();
    Ok(Node { name: shown(proto.name), op: shown(proto.op_type), domain, inputs: names(proto.input), outputs: names(proto.output), attrs })
}

/// A node that gives a tensor as it stands in the file.
fn constant(name: String, tensor: pb::TensorProto) -> Node {
    let mut value = pb::AttributeProto { name: Some("value".into()), t: Some(tensor), ..Default::default() };
    value.set_type(pb::attribute_proto::AttributeType::Tensor);
    let attrs = BTreeMap::from([("value".to_owned(), Attr::Opaque(Box::new(value)))]);
    Node { name: name.clone(), op: "Constant".into(), domain: String::new(), inputs: Vec::new(), outputs: vec![name], attrs }
}

fn attr(mut proto: pb::AttributeProto, fetch: &mut Fetch) -> Result<Attr> {
    use pb::attribute_proto::AttributeType as Type;
    let kept = |mut proto: pb::AttributeProto, fetch: &mut Fetch| -> Result<Attr> {
        opaque::gather(&mut proto, fetch)?;
        Ok(Attr::Opaque(Box::new(proto)))
    };
    Ok(match proto.r#type() {
        Type::Int => Attr::Int(proto.i.unwrap_or(0)),
        Type::Float => Attr::Float(proto.f.unwrap_or(0.0)),
        Type::String => Attr::Str(proto.s.unwrap_or_default()),
        Type::Ints => Attr::Ints(proto.ints),
        Type::Floats => Attr::Floats(proto.floats),
        Type::Strings => Attr::Strs(proto.strings),
        Type::Tensor => match proto.t.take() {
            Some(t) if DType::from_onnx(t.data_type.unwrap_or(0)).size().is_some() => Attr::Tensor(tensor_data(t, fetch)?),
            t => kept(pb::AttributeProto { t, ..proto }, fetch)?,
        },
        _ => kept(proto, fetch)?,
    })
}

/// Decodes a tensor from whichever field it is stored in, checking its size before allocating.
pub(super) fn tensor_data(t: pb::TensorProto, fetch: &mut Fetch) -> Result<TensorData> {
    let name = shown(t.name.clone());
    let bad = |why: &str| Error::Model(format!("tensor '{name}' {why}; the file is damaged or not meant for this tool"));
    let dtype = DType::from_onnx(t.data_type.unwrap_or(0));
    if t.dims.len() > MAX_RANK {
        return Err(bad(&format!("has {} dimensions", t.dims.len())));
    }
    let dims = t.dims.iter().map(|&d| usize::try_from(d).map_err(|_| bad("has a negative dimension"))).collect::<Result<Vec<_>>>()?;
    let count = dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d)).ok_or_else(|| bad("is too large"))?;
    let size = dtype.size().ok_or_else(|| bad("has a type that psescope does not read"))?;
    let expected = count.checked_mul(size).ok_or_else(|| bad("is too large"))?;
    let bytes = if t.data_location == Some(pb::tensor_proto::DataLocation::External as i32) {
        fetch(&external(&t, expected as u64)?)?
    } else if let Some(raw) = t.raw_data.filter(|r| !r.is_empty()) {
        raw
    } else {
        typed_fields(dtype, &t.float_data, &t.int32_data, &t.int64_data, &t.double_data, &t.uint64_data)
    };
    if bytes.len() != expected {
        return Err(bad(&format!("holds {} bytes where its shape {dims:?} needs {expected}", bytes.len())));
    }
    Ok(TensorData { dtype, dims, bytes })
}

fn typed_fields(dtype: DType, f: &[f32], i32s: &[i32], i64s: &[i64], f64s: &[f64], u64s: &[u64]) -> Bytes {
    let out: Vec<u8> = match dtype {
        DType::F32 => f.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F64 => f64s.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::I64 => i64s.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::U64 => u64s.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::U32 => u64s.iter().flat_map(|v| (*v as u32).to_le_bytes()).collect(),
        DType::I32 => i32s.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::I16 | DType::U16 | DType::F16 | DType::BF16 => i32s.iter().flat_map(|v| (*v as u16).to_le_bytes()).collect(),
        DType::I8 | DType::U8 | DType::Bool => i32s.iter().map(|v| *v as u8).collect(),
        DType::Other(_) => Vec::new(),
    };
    out.into()
}

fn external(t: &pb::TensorProto, expected: u64) -> Result<External> {
    let get = |key: &str| t.external_data.iter().find(|e| e.key.as_deref() == Some(key)).and_then(|e| e.value.clone());
    let name = shown(t.name.clone());
    let location = get("location")
        .ok_or_else(|| Error::Model(format!("tensor '{name}' is stored outside the file but names no location; export the model again")))?;
    let number = |key: &str, default: u64| match get(key) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| {
            Error::Model(format!("tensor '{name}' has an unreadable {key} '{}'; export the model again", shown(Some(text.clone()))))
        }),
    };
    let external = External { location, offset: number("offset", 0)?, length: number("length", expected)? };
    if external.length != expected {
        return Err(Error::Model(format!(
            "tensor '{name}' holds {} external bytes where its shape needs {expected}; export the model again",
            external.length
        )));
    }
    Ok(external)
}

/// Puts nodes in execution order and rejects cycles, duplicate names and values nobody produces.
fn sort_topologically(graph: &mut Graph) -> Result<()> {
    let mut known: HashSet<String> = graph.initializers.keys().cloned().chain(graph.inputs.iter().map(|i| i.name.clone())).collect();
    let mut seen = known.clone();
    for output in graph.nodes.iter().flat_map(|n| &n.outputs).filter(|o| !o.is_empty()) {
        if !seen.insert(output.clone()) {
            return Err(Error::Model(format!("two nodes produce '{output}'; the file is damaged")));
        }
    }
    // Who waits for which value, and for how many: each node and each input is looked at once, whatever the order in the file.
    let nodes = std::mem::take(&mut graph.nodes);
    let mut wanted: HashMap<String, Vec<usize>> = HashMap::new();
    let mut missing = vec![0; nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        for input in node.inputs.iter().filter(|i| !i.is_empty() && !known.contains(*i)).collect::<BTreeSet<_>>() {
            wanted.entry(input.clone()).or_default().push(at);
            missing[at] += 1;
        }
    }
    let mut ready: BTreeSet<usize> = (0..nodes.len()).filter(|&i| missing[i] == 0).collect();
    let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    // The first in the file's own order goes first.
    while let Some(at) = ready.pop_first() {
        let Some(node) = nodes[at].take() else { continue };
        for waiting in node.outputs.iter().filter_map(|o| wanted.remove(o)).flatten() {
            missing[waiting] -= 1;
            if missing[waiting] == 0 {
                ready.insert(waiting);
            }
        }
        known.extend(node.outputs.iter().cloned());
        graph.nodes.push(node);
    }
    if let Some(node) = nodes.into_iter().flatten().next() {
        let missing = node.inputs.iter().find(|i| !i.is_empty() && !known.contains(*i)).cloned().unwrap_or_default();
        return Err(Error::Model(format!(
            "node '{}' ({}) needs '{missing}', which nothing provides in time (a cycle or a missing value)",
            node.label(),
            node.op
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::onnx::write;

    fn text_tensor(name: &str) -> pb::TensorProto {
        let text = Bytes::from_static(b"a cat");
        pb::TensorProto { name: Some(name.into()), data_type: Some(8), dims: vec![1], string_data: vec![text], ..Default::default() }
    }

    fn outside(name: &str, data_type: i32) -> pb::TensorProto {
        let place = pb::StringStringEntryProto { key: Some("location".into()), value: Some("/etc/passwd".into()) };
        let location = Some(pb::tensor_proto::DataLocation::External as i32);
        let (external_data, data_type) = (vec![place], Some(data_type));
        pb::TensorProto { name: Some(name.into()), data_type, dims: vec![2], external_data, data_location: location, ..Default::default() }
    }

    /// One node, an If whose branch holds this tensor, and these weights.
    fn model(inner: Vec<pb::TensorProto>, weights: Vec<pb::TensorProto>) -> Bytes {
        let branch = pb::GraphProto { initializer: inner, ..Default::default() };
        let mut then = pb::AttributeProto { name: Some("then_branch".into()), g: Some(branch), ..Default::default() };
        then.set_type(pb::attribute_proto::AttributeType::Graph);
        let (op_type, output) = (Some("If".into()), vec!["y".into()]);
        let node = pb::NodeProto { op_type, input: vec!["c".into()], output, attribute: vec![then], ..Default::default() };
        let input = vec![pb::ValueInfoProto { name: Some("c".into()), ..Default::default() }];
        let graph = pb::GraphProto { node: vec![node], initializer: weights, input, ..Default::default() };
        let opset_import = vec![pb::OperatorSetIdProto { version: Some(17), ..Default::default() }];
        pb::ModelProto { graph: Some(graph), opset_import, ..Default::default() }.encode_to_vec().into()
    }

    #[test]
    fn what_nothing_computes_with_is_written_as_it_was_read() {
        let mut nothing = |_: &External| -> Result<Bytes> { panic!("nothing is outside") };
        let graph = parse(model(vec![], vec![text_tensor("names")]), &mut nothing).unwrap();
        let again = parse(write::to_bytes(&graph).into(), &mut nothing).unwrap();
        let node = again.nodes.iter().find(|n| n.outputs == ["names"]).unwrap();
        let Some(Attr::Opaque(value)) = node.attrs.get("value") else { panic!("{node:?}") };
        assert_eq!(value.t.as_ref().unwrap().string_data, [Bytes::from_static(b"a cat")]);
        let twice = parse(model(vec![], vec![text_tensor("names"), text_tensor("names")]), &mut nothing);
        assert!(twice.is_err());
    }

    #[test]
    fn subgraphs_reach_nothing_outside_on_their_own() {
        // The caller decides here as it does for every weight, and the graph that engines get names no file.
        let mut asked = Vec::new();
        let mut fetch = |wanted: &External| {
            asked.push(wanted.location.clone());
            Ok(Bytes::from_static(&[0; 8]))
        };
        let graph = parse(model(vec![outside("w", 1)], vec![]), &mut fetch).unwrap();
        assert_eq!(asked, ["/etc/passwd"]);
        assert!(!String::from_utf8_lossy(&write::to_bytes(&graph)).contains("passwd"));
        let mut refuse = |_: &External| -> Result<Bytes> { Err(Error::Model("outside".into())) };
        assert!(parse(model(vec![outside("w", 1)], vec![]), &mut refuse).is_err());
        let mut fetch = |_: &External| Ok(Bytes::from_static(&[0; 8]));
        for texts in [model(vec![outside("w", 8)], vec![]), model(vec![], vec![outside("w", 8)])] {
            assert!(parse(texts, &mut fetch).unwrap_err().to_string().contains("as one file"));
        }
    }
}
