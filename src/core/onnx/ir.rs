//! The graph as our passes see it: flat, owned, cheap to clone (tensor bytes are shared).

use std::collections::{BTreeMap, HashMap};

use prost::bytes::Bytes;

use super::pb;

/// Element type of a tensor, as ONNX numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// 16-bit IEEE float.
    F16,
    /// 16-bit brain float.
    BF16,
    /// Signed integers.
    I8,
    /// 16-bit signed.
    I16,
    /// 32-bit signed.
    I32,
    /// 64-bit signed.
    I64,
    /// Unsigned integers.
    U8,
    /// 16-bit unsigned.
    U16,
    /// 32-bit unsigned.
    U32,
    /// 64-bit unsigned.
    U64,
    /// One byte each, 0 or 1.
    Bool,
    /// Anything else (strings, complex, 8-bit floats, 4-bit integers), by its ONNX number.
    Other(i32),
}

impl DType {
    /// From the number in `TensorProto.DataType`.
    pub fn from_onnx(code: i32) -> Self {
        match code {
            1 => Self::F32,
            2 => Self::U8,
            3 => Self::I8,
            4 => Self::U16,
            5 => Self::I16,
            6 => Self::I32,
            7 => Self::I64,
            9 => Self::Bool,
            10 => Self::F16,
            11 => Self::F64,
            12 => Self::U32,
            13 => Self::U64,
            16 => Self::BF16,
            other => Self::Other(other),
        }
    }

    /// The number in `TensorProto.DataType`.
    pub fn to_onnx(self) -> i32 {
        match self {
            Self::F32 => 1,
            Self::U8 => 2,
            Self::I8 => 3,
            Self::U16 => 4,
            Self::I16 => 5,
            Self::I32 => 6,
            Self::I64 => 7,
            Self::Bool => 9,
            Self::F16 => 10,
            Self::F64 => 11,
            Self::U32 => 12,
            Self::U64 => 13,
            Self::BF16 => 16,
            Self::Other(code) => code,
        }
    }

    /// Bytes per element; `None` for types we do not store flat.
    pub fn size(self) -> Option<usize> {
        Some(match self {
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::Other(_) => return None,
        })
    }

    /// Whether gradients flow through values of this type.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64 | Self::F16 | Self::BF16)
    }
}

/// One dimension of a tensor. Batch dimensions stay symbolic so that one graph serves every batch size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dim {
    /// Known size.
    Fixed(usize),
    /// The batch size times this factor (windows of a Swin block: 64 per image).
    Batch(usize),
    /// Not known.
    Unknown,
}

impl Dim {
    /// The size at batch size `n`, when known.
    pub fn at(self, n: usize) -> Option<usize> {
        match self {
            Self::Fixed(d) => Some(d),
            Self::Batch(k) => Some(k * n),
            Self::Unknown => None,
        }
    }

    /// The size if it does not depend on the batch.
    pub fn fixed(self) -> Option<usize> {
        if let Self::Fixed(d) = self { Some(d) } else { None }
    }
}

/// Element type and shape of a named value; `None` when the rank is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub shape: Option<Vec<Dim>>,
}

/// A constant tensor: row-major little-endian bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorData {
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first; empty for a scalar.
    pub dims: Vec<usize>,
    /// `dims.product() * dtype.size()` bytes.
    pub bytes: Bytes,
}

/// A node's attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Attr {
    /// One integer.
    Int(i64),
    /// One float.
    Float(f32),
    /// One byte string.
    Str(Bytes),
    /// Integers.
    Ints(Vec<i64>),
    /// Floats.
    Floats(Vec<f32>),
    /// Byte strings.
    Strs(Vec<Bytes>),
    /// A tensor.
    Tensor(TensorData),
    /// Kept as it was read: subgraphs and everything our passes do not look into.
    Opaque(Box<pb::AttributeProto>),
}

/// One operator application.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Node {
    /// Name; may be empty.
    pub name: String,
    /// Operator type.
    pub op: String,
    /// Operator domain; empty is the standard one.
    pub domain: String,
    /// Names of the inputs; an empty name is an omitted optional input.
    pub inputs: Vec<String>,
    /// Names of the outputs; an empty name is an unused optional output.
    pub outputs: Vec<String>,
    /// Attributes by name.
    pub attrs: BTreeMap<String, Attr>,
}

/// A graph input or output.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueInfo {
    /// Name of the value.
    pub name: String,
    /// Its type.
    pub ty: TensorType,
}

/// A model: one flat graph in topological order, with its constants and what is known of its values.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// Graph name.
    pub name: String,
    /// IR version of the file.
    pub ir_version: i64,
    /// Version of the standard operator set.
    pub opset: i64,
    /// Further operator sets (domain, version).
    pub other_opsets: Vec<(String, i64)>,
    /// Producer recorded in the file.
    pub producer: String,
    /// Inputs that are not initializers.
    pub inputs: Vec<ValueInfo>,
    /// Outputs.
    pub outputs: Vec<ValueInfo>,
    /// Nodes in topological order.
    pub nodes: Vec<Node>,
    /// Constants by name. Ordered so that written files are deterministic.
    pub initializers: BTreeMap<String, TensorData>,
    /// Types of values, where known (inputs and outputs included after inference).
    pub types: HashMap<String, TensorType>,
    /// `metadata_props`.
    pub metadata: BTreeMap<String, String>,
}

impl Node {
    /// A node of the standard domain.
    pub fn new(op: &str, inputs: &[&str], outputs: &[&str]) -> Self {
        Self {
            op: op.into(),
            inputs: inputs.iter().map(|s| (*s).to_owned()).collect(),
            outputs: outputs.iter().map(|s| (*s).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// The same node with one more attribute.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Attr>) -> Self {
        self.attrs.insert(name.into(), value.into());
        self
    }

    /// Integer attribute, or the default.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        if let Some(Attr::Int(v)) = self.attrs.get(name) { *v } else { default }
    }

    /// Float attribute, or the default.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        if let Some(Attr::Float(v)) = self.attrs.get(name) { *v } else { default }
    }

    /// Integer-list attribute, if present.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        if let Some(Attr::Ints(v)) = self.attrs.get(name) { Some(v) } else { None }
    }

    /// String attribute, or the default.
    pub fn text(&self, name: &str, default: &str) -> String {
        if let Some(Attr::Str(v)) = self.attrs.get(name) { String::from_utf8_lossy(v).into_owned() } else { default.into() }
    }

    /// Name of input `i`, `None` when it is absent or omitted.
    pub fn input(&self, i: usize) -> Option<&str> {
        self.inputs.get(i).map(String::as_str).filter(|s| !s.is_empty())
    }

    /// The node's name, or its first output when it has none.
    pub fn label(&self) -> &str {
        if self.name.is_empty() { self.outputs.first().map_or("?", String::as_str) } else { &self.name }
    }
}

impl From<i64> for Attr {
    fn from(v: i64) -> Self {
        Self::Int(v)
    }
}

impl From<f32> for Attr {
    fn from(v: f32) -> Self {
        Self::Float(v)
    }
}

impl From<Vec<i64>> for Attr {
    fn from(v: Vec<i64>) -> Self {
        Self::Ints(v)
    }
}

impl From<&str> for Attr {
    fn from(v: &str) -> Self {
        Self::Str(Bytes::copy_from_slice(v.as_bytes()))
    }
}

impl From<TensorData> for Attr {
    fn from(v: TensorData) -> Self {
        Self::Tensor(v)
    }
}

impl TensorData {
    /// A float tensor. Panics in debug builds when the length disagrees with the shape.
    pub fn f32(dims: &[usize], values: &[f32]) -> Self {
        debug_assert_eq!(dims.iter().product::<usize>(), values.len());
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into();
        Self { dtype: DType::F32, dims: dims.to_vec(), bytes }
    }

    /// An integer tensor.
    pub fn i64(dims: &[usize], values: &[i64]) -> Self {
        debug_assert_eq!(dims.iter().product::<usize>(), values.len());
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into();
        Self { dtype: DType::I64, dims: dims.to_vec(), bytes }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as f64, whatever the stored type; `None` for types that are not numbers.
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        let b = &self.bytes;
        macro_rules! read {
            ($t:ty, $n:expr) => {
                b.chunks_exact($n).map(|c| <$t>::from_le_bytes(c.try_into().expect("chunk size")) as f64).collect()
            };
        }
        Some(match self.dtype {
            DType::F32 => read!(f32, 4),
            DType::F64 => read!(f64, 8),
            DType::I8 => read!(i8, 1),
            DType::I16 => read!(i16, 2),
            DType::I32 => read!(i32, 4),
            DType::I64 => read!(i64, 8),
            DType::U8 | DType::Bool => read!(u8, 1),
            DType::U16 => read!(u16, 2),
            DType::U32 => read!(u32, 4),
            DType::U64 => read!(u64, 8),
            DType::F16 => b.chunks_exact(2).map(|c| half::f16::from_le_bytes([c[0], c[1]]).to_f64()).collect(),
            DType::BF16 => b.chunks_exact(2).map(|c| half::bf16::from_le_bytes([c[0], c[1]]).to_f64()).collect(),
            DType::Other(_) => return None,
        })
    }

    /// The elements as integers; `None` unless the type is an integer or Boolean one.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        if self.dtype == DType::I64 {
            return Some(self.bytes.chunks_exact(8).map(|c| i64::from_le_bytes(c.try_into().expect("chunk size"))).collect());
        }
        if self.dtype.is_float() {
            return None;
        }
        self.to_f64().map(|v| v.into_iter().map(|x| x as i64).collect())
    }
}
