//! Which parts of a network run where.

use ndarray::{Array4, ArrayD};

use super::Network;
use crate::{
    core::{
        error::Result,
        graph::{self, Instrumentation, Instrumented, Loss},
        onnx::{DType, write},
    },
    runtime::{backend::Array, placement::Placed},
};

impl Network {
    /// Runs the forward graph, or the cross-entropy's gradient, once on a grey image and says which operators ran where. `None`
    /// when the engine does not tell.
    pub fn placement(&self, gradient: bool) -> Result<Option<Vec<Placed>>> {
        let loss = if gradient { Loss::CrossEntropy } else { Loss::None };
        let spec = Instrumentation { loss, image_gradient: gradient, ..Instrumentation::default() };
        let made = graph::instrument(&self.prepared, &spec)?;
        let bytes = write::to_bytes(&made.graph);
        let inputs = self.blank(&made);
        let inputs: Vec<(&str, Array)> = inputs.iter().map(|(name, array)| (name.as_str(), array.clone())).collect();
        self.backend.placement(&bytes, &self.shapes(&spec, &made), &inputs)
    }

    /// A grey image, and ones for every other input.
    fn blank(&self, made: &Instrumented) -> super::Inputs {
        let [c, h, w] = self.prepared.shape;
        let pixels = Array4::from_elem((1, c, h, w), 0.5);
        let other = |dtype: DType, dims: Vec<usize>| match dtype {
            DType::I64 => Array::I64(ArrayD::zeros(dims)),
            _ => Array::F32(ArrayD::ones(dims)),
        };
        let of = |input: &crate::core::onnx::ValueInfo| {
            if input.name == made.image {
                return Array::F32(self.affine.forward(pixels.view(), self.prepared.layout));
            }
            let dims = input.ty.shape.iter().flatten().map(|d| d.at(1).unwrap_or(1)).collect();
            other(input.ty.dtype, dims)
        };
        made.graph.inputs.iter().map(|input| (input.name.clone(), of(input))).collect()
    }
}
