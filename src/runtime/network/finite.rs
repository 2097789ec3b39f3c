//! Where a network stops giving numbers.

use ndarray::{ArrayView3, Axis};

use super::Network;
use crate::core::{
    error::{Error, Result},
    onnx::{DType, Dim},
};

/// Values looked at in one run.
const AT_ONCE: usize = 24;

impl Network {
    /// Refuses logits that are not numbers, naming the first node of the network where that begins. `image` is `[C, H, W]`.
    pub fn check_finite(&mut self, image: ArrayView3<f32>, logits: &[f32]) -> Result<()> {
        if logits.iter().all(|v| v.is_finite()) {
            return Ok(());
        }
        let place = match self.first_not_finite(image)? {
            Some((node, op)) => format!("it begins at node '{node}' ({op})"),
            None => "it begins at the last layer".into(),
        };
        Err(Error::Model(format!(
            "the model's answer to this image is not a number (NaN or infinity; {place}); check its weights and the preprocessing"
        )))
    }

    /// The first node, in the order of computation, one of whose values is NaN or infinite. Minus infinity alone is what attention masks
    /// are made of.
    fn first_not_finite(&mut self, image: ArrayView3<f32>) -> Result<Option<(String, String)>> {
        let graph = &self.prepared.graph;
        let measurable = |name: &String| {
            let ty = graph.types.get(name);
            ty.is_some_and(|t| t.dtype == DType::F32 && t.shape.as_ref().is_some_and(|s| matches!(s.first(), Some(Dim::Batch(1)))))
        };
        let values: Vec<(String, String, String)> = graph
            .nodes
            .iter()
            .flat_map(|n| n.outputs.iter().filter(|o| measurable(o)).map(|o| (o.clone(), n.label().to_owned(), n.op.clone())))
            .collect();
        for some in values.chunks(AT_ONCE) {
            let names: Vec<String> = some.iter().map(|v| v.0.clone()).collect();
            let found = self.activations(image.insert_axis(Axis(0)), &names)?;
            let bad = found.iter().position(|value| value.iter().any(|v| v.is_nan() || *v == f32::INFINITY));
            if let Some(at) = bad {
                return Ok(Some((some[at].1.clone(), some[at].2.clone())));
            }
        }
        Ok(None)
    }
}
