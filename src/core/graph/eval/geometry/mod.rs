//! Shape rules that the evaluator, shape inference and gradient rules share: broadcasting, windows, slices, reshapes,
//! reductions, padding, resampling and einsum equations, across every form operators took between opset 7 and now.

pub mod axes;
pub mod einsum;
pub mod pad;
pub mod resize;
pub mod shape;
pub mod slice;
pub mod window;
