//! Where the samples of a layer lie in the image: (offset, size, step) composed over convolutions and poolings, the largest field where
//! branches meet. Method report E.4.

use std::collections::HashMap;

use crate::core::{
    graph::Prepared,
    onnx::{Dim, Graph, Node},
};

/// Receptive fields along one direction, in image pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First pixel of the first field; negative with padding.
    pub offset: i64,
    /// Pixels of one field.
    pub size: i64,
    /// From one field to the next.
    pub step: i64,
}

/// Receptive fields down and across.
pub type Field = [Extent; 2];

const PIXEL: Extent = Extent { offset: 0, size: 1, step: 1 };

/// Operators that change values and leave positions alone (or, for joins, take the largest field).
const POINTWISE: &[&str] = &[
    "Abs",
    "Add",
    "BatchNormalization",
    "Cast",
    "Celu",
    "Clip",
    "Concat",
    "Div",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "GroupNormalization",
    "LRN",
    "LeakyRelu",
    "Log",
    "Max",
    "Min",
    "Mish",
    "Mul",
    "Neg",
    "PRelu",
    "Pow",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Split",
    "Sqrt",
    "Sub",
    "Sum",
    "Swish",
    "Tanh",
    "ThresholdedRelu",
    "Transpose",
];

impl Extent {
    /// A layer whose fields are `next` in samples of this one.
    pub fn then(self, next: Self) -> Self {
        Self { offset: next.offset * self.step + self.offset, size: (next.size - 1) * self.step + self.size, step: next.step * self.step }
    }

    /// Pixel at the middle of the first field.
    pub fn centre(self) -> i64 {
        self.size / 2 + self.offset
    }
}

/// Receptive fields of a layer's samples; `None` when something on the way is neither convolution, pooling nor pointwise.
pub fn of(prepared: &Prepared, layer: &str) -> Option<Field> {
    let graph = &prepared.graph;
    let mut fields: HashMap<&str, Field> = HashMap::from([(prepared.image.as_str(), [PIXEL; 2])]);
    for node in &graph.nodes {
        let largest = node.inputs.iter().filter_map(|i| fields.get(i.as_str())).max_by_key(|f| (f[0].size, f[1].size)).copied();
        let Some(before) = largest else { continue };
        let after = match node.op.as_str() {
            "Conv" | "MaxPool" | "AveragePool" | "LpPool" => window(graph, node).map(|w| [before[0].then(w[0]), before[1].then(w[1])]),
            "Pad" => padding(graph, node).map(|p| [0, 1].map(|i| Extent { offset: before[i].offset - p[i] * before[i].step, ..before[i] })),
            op if POINTWISE.contains(&op) => Some(before),
            _ => None,
        };
        if let Some(after) = after {
            fields.extend(node.outputs.iter().map(|o| (o.as_str(), after)));
        }
    }
    fields.get(layer).copied()
}

/// Kernel, stride and padding of a node with two spatial axes, seen from its input.
fn window(graph: &Graph, node: &Node) -> Option<Field> {
    let ints = |name: &str, default: i64, n: usize| node.ints(name).map_or_else(|| vec![default; n], <[i64]>::to_vec);
    let kernel: Vec<i64> = match node.ints("kernel_shape") {
        Some(kernel) => kernel.to_vec(),
        None => graph.initializers.get(node.input(1)?)?.dims.get(2..)?.iter().map(|d| *d as i64).collect(),
    };
    let (strides, dilations, pads) = (ints("strides", 1, 2), ints("dilations", 1, 2), ints("pads", 0, 4));
    if kernel.len() != 2 || strides.len() != 2 || dilations.len() != 2 || pads.len() != 4 {
        return None;
    }
    let auto = node.text("auto_pad", "NOTSET");
    let shape = graph.types.get(node.input(0)?).and_then(|t| t.shape.as_deref());
    let side = |axis: usize| shape.and_then(|s| s.get(axis + 2)).copied().and_then(Dim::fixed).map(|v| v as i64);
    let extent = |axis: usize| {
        let (size, step) = ((kernel[axis] - 1) * dilations[axis] + 1, strides[axis].max(1));
        let pad = match auto.as_str() {
            "SAME_UPPER" | "SAME_LOWER" => {
                let side = side(axis)?;
                let whole = ((side + step - 1) / step - 1) * step + size - side;
                let whole = whole.max(0);
                if auto == "SAME_UPPER" { whole / 2 } else { (whole + 1) / 2 }
            }
            "VALID" => 0,
            _ => pads[axis],
        };
        Some(Extent { offset: -pad, size, step })
    };
    Some([extent(0)?, extent(1)?])
}

/// Rows and columns that a Pad node puts before a map `[N, C, H, W]`.
fn padding(graph: &Graph, node: &Node) -> Option<[i64; 2]> {
    let pads = match node.ints("pads") {
        Some(pads) => pads.to_vec(),
        None => graph.initializers.get(node.input(1)?)?.to_i64()?,
    };
    (pads.len() == 8).then(|| [pads[2], pads[3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::graph::{Options, normalise};

    #[test]
    fn composition() {
        // AlexNet: conv1 11 stride 4, pool 3/2, conv2 5 pad 2, pool 3/2, conv3 3 pad 1.
        let layer = |size, step, pad: i64| Extent { offset: -pad, size, step };
        let all = [layer(11, 4, 0), layer(3, 2, 0), layer(5, 1, 2), layer(3, 2, 0), layer(3, 1, 1)];
        let got = all.into_iter().fold(PIXEL, Extent::then);
        assert_eq!(got, Extent { offset: -32, size: 99, step: 16 });
        assert_eq!(got.centre(), 17);
    }

    #[test]
    fn of_the_bundled_model() {
        let bytes: &'static [u8] = include_bytes!("../../../onnx/squeezenet1_1.onnx");
        let graph =
            crate::core::onnx::read::parse(prost::bytes::Bytes::from_static(bytes), &mut |_| Err(crate::core::error::Error::Stopped));
        let prepared = normalise(graph.unwrap(), &Options::default()).unwrap();
        let layers = crate::core::graph::spatial_layers(&prepared);
        // conv1 3/2, three pools 3/2, one 3x3 convolution per fire module: 16 pixels a step at the end, and 112 of 113 samples at the start.
        let (first, last) = (&layers[0], layers.last().unwrap());
        assert_eq!(of(&prepared, &first.name).unwrap()[0], Extent { offset: 0, size: 3, step: 2 });
        let last = of(&prepared, &last.name).unwrap()[1];
        assert_eq!((last.step, last.centre() >= 0), (16, true));
        assert!(of(&prepared, &prepared.logits).is_none());
    }
}
