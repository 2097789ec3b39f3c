//! Concrete tensors of the evaluator: all floats as f64, all integers as i64.

use ndarray::{ArrayD, IxDyn};
use prost::bytes::Bytes;

use crate::core::onnx::{DType, TensorData};

/// A concrete tensor, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any float type.
    F(ArrayD<f64>),
    /// Any integer type.
    I(ArrayD<i64>),
    /// Booleans.
    B(ArrayD<bool>),
}

/// Applies one generic expression to whichever array a [`Value`] holds and wraps the result the same way.
macro_rules! same_kind {
    ($value:expr, $a:ident => $e:expr) => {
        match $value {
            $crate::core::graph::eval::Value::F($a) => $crate::core::graph::eval::Value::F($e),
            $crate::core::graph::eval::Value::I($a) => $crate::core::graph::eval::Value::I($e),
            $crate::core::graph::eval::Value::B($a) => $crate::core::graph::eval::Value::B($e),
        }
    };
}
pub(crate) use same_kind;

/// An array from its shape and row-major elements.
pub fn array<T>(shape: &[usize], data: Vec<T>) -> ArrayD<T> {
    ArrayD::from_shape_vec(IxDyn(shape), data).expect("as many elements as the shape says")
}

/// The row-major elements of an array of the evaluator.
pub fn flat<T>(a: &ArrayD<T>) -> &[T] {
    a.as_slice().expect("evaluator arrays are row-major")
}

impl Value {
    /// A float tensor. Panics when the number of elements disagrees with the shape.
    pub fn floats(shape: &[usize], data: Vec<f64>) -> Self {
        Self::F(array(shape, data))
    }

    /// An integer tensor. Panics when the number of elements disagrees with the shape.
    pub fn ints(shape: &[usize], data: Vec<i64>) -> Self {
        Self::I(array(shape, data))
    }

    /// A one-dimensional integer tensor.
    pub fn vector(data: Vec<i64>) -> Self {
        Self::ints(&[data.len()], data)
    }

    /// Dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F(a) => a.shape(),
            Self::I(a) => a.shape(),
            Self::B(a) => a.shape(),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape().iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as floats, whatever their kind.
    pub fn to_floats(&self) -> ArrayD<f64> {
        match self {
            Self::F(a) => a.clone(),
            Self::I(a) => a.mapv(|v| v as f64),
            Self::B(a) => a.mapv(|v| f64::from(u8::from(v))),
        }
    }

    /// The elements as integers in row-major order; floats are truncated.
    pub fn to_ints(&self) -> Vec<i64> {
        match self {
            Self::F(a) => a.iter().map(|&v| v as i64).collect(),
            Self::I(a) => a.iter().copied().collect(),
            Self::B(a) => a.iter().map(|&v| i64::from(v)).collect(),
        }
    }

    /// The same value in row-major memory order.
    #[must_use]
    pub fn standard(self) -> Self {
        same_kind!(self, a => if a.is_standard_layout() { a } else { a.as_standard_layout().into_owned() })
    }

    /// Reads a stored constant; `None` for types without numbers.
    pub fn from_tensor(t: &TensorData) -> Option<Self> {
        if t.dtype == DType::Bool {
            return Some(Self::B(array(&t.dims, t.bytes.iter().map(|&b| b != 0).collect())));
        }
        if t.dtype.is_float() {
            return t.to_f64().map(|v| Self::floats(&t.dims, v));
        }
        t.to_i64().map(|v| Self::ints(&t.dims, v))
    }

    /// The value as a stored constant of the given type; `None` for types without numbers.
    pub fn to_tensor(&self, dtype: DType) -> Option<TensorData> {
        let dims = self.shape().to_vec();
        macro_rules! write {
            ($convert:expr) => {
                match self {
                    Self::F(a) => a.iter().flat_map(|&v| $convert(v as f64).to_le_bytes()).collect::<Vec<u8>>(),
                    Self::I(a) => a.iter().flat_map(|&v| $convert(v as f64).to_le_bytes()).collect(),
                    Self::B(a) => a.iter().flat_map(|&v| $convert(f64::from(u8::from(v))).to_le_bytes()).collect(),
                }
            };
        }
        macro_rules! write_int {
            ($t:ty) => {
                self.to_ints().into_iter().flat_map(|v| (v as $t).to_le_bytes()).collect::<Vec<u8>>()
            };
        }
        let bytes: Vec<u8> = match dtype {
            DType::F32 => write!(|v: f64| v as f32),
            DType::F64 => write!(|v: f64| v),
            DType::F16 => write!(half::f16::from_f64),
            DType::BF16 => write!(half::bf16::from_f64),
            DType::I8 => write_int!(i8),
            DType::I16 => write_int!(i16),
            DType::I32 => write_int!(i32),
            DType::I64 => write_int!(i64),
            DType::U8 => write_int!(u8),
            DType::U16 => write_int!(u16),
            DType::U32 => write_int!(u32),
            DType::U64 => write_int!(u64),
            DType::Bool => match self {
                Self::B(a) => a.iter().map(|&v| u8::from(v)).collect(),
                other => other.to_floats().iter().map(|&v| u8::from(v != 0.0)).collect(),
            },
            DType::Other(_) => return None,
        };
        Some(TensorData { dtype, dims, bytes: Bytes::from(bytes) })
    }

    /// Rounds floats to what the given type can hold; other values stay as they are.
    #[must_use]
    pub fn rounded(self, dtype: DType) -> Self {
        match (self, dtype) {
            (Self::F(a), DType::F32) => Self::F(a.mapv_into(|v| f64::from(v as f32))),
            (Self::F(a), DType::F16) => Self::F(a.mapv_into(|v| half::f16::from_f64(v).to_f64())),
            (Self::F(a), DType::BF16) => Self::F(a.mapv_into(|v| half::bf16::from_f64(v).to_f64())),
            (other, _) => other,
        }
    }
}
