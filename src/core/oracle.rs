//! What an attack or an explanation may ask of a network. Attacks and explanations see nothing else, so that they run
//! on a ten-line analytic model in tests and on a GPU in use.
//!
//! Images are pixel space: `[N, C, H, W]`, values 0..1, RGB; preprocessing is part of the differentiated function.

use ndarray::{Array1, Array2, Array4, ArrayD, ArrayView2, ArrayView3, ArrayView4};

use super::{
    error::Result,
    stepper::{Job, Stepper},
};

/// What is differentiated with respect to the image, per sample.
#[derive(Debug, Clone, Copy)]
pub enum Objective<'a> {
    /// Cross-entropy (natural logarithm) of the softmax at the given class.
    CrossEntropy {
        /// One class index per sample.
        labels: &'a [usize],
    },
    /// `sum_k cotangent[n, k] * Z[n, k]`.
    Linear {
        /// `[N, K]`.
        cotangent: ArrayView2<'a, f32>,
    },
    /// C&W hinge without its constant: `max(margin, -kappa)`; the margin is `max_{j != label} Z_j - Z_label` when
    /// targeted (label = target) and `Z_label - max_{j != label} Z_j` when not (label = true class). Method report C.1.
    Margin {
        /// One class index per sample.
        labels: &'a [usize],
        /// Whether `labels` are targets.
        targeted: bool,
        /// Confidence in logit units, at least 0.
        kappa: f32,
    },
    /// Difference of logits ratio: `-(Z_y - max_{j != y} Z_j) / (Z_1 - Z_3)`, or with targets `-(Z_y - Z_t) / (Z_1 - (Z_3 + Z_4) / 2)`,
    /// the logits below the stroke being the largest, third and fourth largest. At least 3 classes, 4 with targets.
    Ratio {
        /// The true class y of each sample.
        labels: &'a [usize],
        /// The class t of each sample, when targeted.
        targets: Option<&'a [usize]>,
    },
}

/// Logits, objective values and the image gradient of one run.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// `[N, K]`.
    pub logits: Array2<f32>,
    /// Objective per sample.
    pub loss: Array1<f32>,
    /// d objective / d image, `[N, C, H, W]`, in pixel space.
    pub grad: Array4<f32>,
}

/// A classifier that can be run and differentiated.
pub trait Oracle {
    /// Number of classes K.
    fn classes(&self) -> usize;

    /// Shape of one image: channels, height, width.
    fn image_shape(&self) -> [usize; 3];

    /// Logits `[N, K]` of a batch.
    fn logits(&mut self, images: ArrayView4<f32>) -> Result<Array2<f32>>;

    /// Objective and its gradient for a batch; samples do not influence each other.
    fn gradient(&mut self, images: ArrayView4<f32>, objective: Objective) -> Result<Evaluation>;

    /// How many images to give at once for the best throughput.
    fn batch(&self) -> usize {
        1
    }

    /// Opens a loop that stays where the network runs. `None`: the caller does the updates itself, with
    /// [`Oracle::gradient`].
    fn stepper<'a>(&'a mut self, _job: &Job) -> Result<Option<Box<dyn Stepper + 'a>>> {
        Ok(None)
    }

    /// Pixel value per channel that stands for "nothing": what the preprocessing maps to 0, the mean colour of most models.
    fn neutral(&self) -> Vec<f32> {
        vec![0.0; self.image_shape()[0]]
    }
}

/// An activation and the gradient of one class's logit with respect to it.
#[derive(Debug, Clone)]
pub struct LayerGradient {
    /// `[N, K]`.
    pub logits: Array2<f32>,
    /// `[N, C, H, W]`.
    pub activation: Array4<f32>,
    /// Same shape: d Z_class / d activation.
    pub gradient: Array4<f32>,
}

/// A network that ends in global average pooling and one linear layer: the case where CAM is exact.
#[derive(Debug, Clone)]
pub struct LinearHead {
    /// Name of the tensor that is averaged.
    pub layer: String,
    /// `[K, C]`.
    pub weights: Array2<f32>,
    /// `[K]`.
    pub bias: Array1<f32>,
}

/// A convolutional network whose layers can be looked into.
pub trait Layers: Oracle {
    /// Tensors with shape `[N, C, H, W]` on the way from image to logits, first to last.
    fn spatial_layers(&self) -> Vec<LayerInfo>;

    /// The GAP + linear head, when the network has one.
    fn linear_head(&self) -> Option<LinearHead>;

    /// Value of a layer for a batch.
    fn activation(&mut self, images: ArrayView4<f32>, layer: &str) -> Result<ArrayD<f32>>;

    /// Activation of a layer and the gradient there of `Z[class]`, per sample.
    fn layer_gradient(&mut self, images: ArrayView4<f32>, layer: &str, class: usize) -> Result<LayerGradient>;
}

/// A layer that can be tapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerInfo {
    /// Tensor name.
    pub name: String,
    /// Operator that produces it.
    pub op: String,
    /// Number of units (channels).
    pub units: usize,
    /// Height and width of the map.
    pub spatial: [usize; 2],
}

/// Responses of a layer's units to a batch, one row per image (after the reference's, in a comparison): what is left of an activation when positions are reduced.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitResponses {
    /// Mean over positions, `[N, C]`.
    pub mean: Array2<f32>,
    /// Maximum over positions, `[N, C]`.
    pub max: Array2<f32>,
    /// Euclidean length over positions, `[N, C]`.
    pub l2: Array2<f32>,
    /// Euclidean length over positions of the difference to the reference image's map, `[N, C]`; only of a comparison.
    pub shift: Option<Array2<f32>>,
}

/// Logits and unit responses of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Responses {
    /// `[N, K]`.
    pub logits: Array2<f32>,
    /// One per layer asked for, in that order.
    pub layers: Vec<UnitResponses>,
}

/// What takes the place of masked units.
#[derive(Debug, Clone)]
pub enum Replacement {
    /// Zero.
    Zero,
    /// A whole activation as [`Layers::activation`] returns it, for 1 or N images: patching.
    Activation(ArrayD<f32>),
}

/// Replaces units of one layer in flight: `A <- mask * A + (1 - mask) * replacement`.
#[derive(Debug, Clone)]
pub struct UnitGate {
    /// Tensor name.
    pub layer: String,
    /// `[1 or N, C]`: 1 keeps a unit, 0 replaces it, values between mix.
    pub mask: Array2<f32>,
    /// What replaced units give instead.
    pub replacement: Replacement,
}

impl UnitGate {
    /// Zeroes some units of a layer for every image.
    pub fn zero(layer: &str, units: usize, masked: &[usize]) -> Self {
        let mut mask = Array2::ones((1, units));
        for &unit in masked.iter().filter(|u| **u < units) {
            mask[(0, unit)] = 0.0;
        }
        Self { layer: layer.to_owned(), mask, replacement: Replacement::Zero }
    }
}

/// A network whose units can be counted, masked and patched. A unit is a channel of a map `[N, C, H, W]` (wherever the model
/// keeps its channels), a feature of tokens `[N, T, C]`, or an element of `[N, C]`.
pub trait Units: Layers {
    /// Layers whose units can be looked at, first to last: [`Layers::spatial_layers`], token sequences (`spatial` is
    /// `[T, 1]`) and hidden vectors (`[1, 1]`). The logits are not among them.
    fn unit_layers(&self) -> Vec<LayerInfo>;

    /// Names of those layers that end a block and that everything passes through on its way to the logits; all that everything passes
    /// through in a network without blocks.
    fn main_layers(&self) -> Vec<String>;

    /// Maps of a layer's units, `[N, C, H, W]` wherever the model keeps them: `[N, C, T, 1]` for tokens, `[N, C, 1, 1]` for
    /// vectors.
    fn unit_maps(&mut self, images: ArrayView4<f32>, layer: &str) -> Result<Array4<f32>>;

    /// The same with the gradient of `Z[class]` there, per sample.
    fn unit_gradient(&mut self, images: ArrayView4<f32>, layer: &str, class: usize) -> Result<LayerGradient>;

    /// Logits and the responses of all units of many layers, from one run per piece of the batch; statistics are reduced where the
    /// network runs. With a `reference` image, row 0 of every result belongs to it, the images follow, and `shift` is the
    /// distance of each image's maps to the reference's.
    fn responses(&mut self, images: ArrayView4<f32>, layers: &[&str], reference: Option<ArrayView3<f32>>) -> Result<Responses>;

    /// Logits `[N, K]` of the network with gates at one or several layers. N is the number of images, masks or replacements,
    /// whichever is largest; what there is one of serves every sample. Many maskings of one image run as one batch.
    fn gated_logits(&mut self, images: ArrayView4<f32>, gates: &[UnitGate]) -> Result<Array2<f32>>;

    /// Objective and image gradient of the gated network, per sample. Masks and replacements there is one of serve every image.
    fn gated_gradient(&mut self, images: ArrayView4<f32>, objective: Objective, gates: &[UnitGate]) -> Result<Evaluation>;

    /// [`Oracle::stepper`] of the gated network.
    fn gated_stepper<'a>(&'a mut self, _job: &Job, _gates: &[UnitGate]) -> Result<Option<Box<dyn Stepper + 'a>>> {
        Ok(None)
    }
}

/// A gated network as an [`Oracle`]: attacks on it are attacks on the masked network.
pub struct Gated<'a> {
    network: &'a mut dyn Units,
    gates: Vec<UnitGate>,
}

impl<'a> Gated<'a> {
    /// The network seen through gates; masks and replacements have one row.
    pub fn new(network: &'a mut dyn Units, gates: Vec<UnitGate>) -> Self {
        Self { network, gates }
    }
}

impl Oracle for Gated<'_> {
    fn classes(&self) -> usize {
        self.network.classes()
    }

    fn image_shape(&self) -> [usize; 3] {
        self.network.image_shape()
    }

    fn logits(&mut self, images: ArrayView4<f32>) -> Result<Array2<f32>> {
        self.network.gated_logits(images, &self.gates)
    }

    fn gradient(&mut self, images: ArrayView4<f32>, objective: Objective) -> Result<Evaluation> {
        self.network.gated_gradient(images, objective, &self.gates)
    }

    fn batch(&self) -> usize {
        self.network.batch()
    }

    fn stepper<'a>(&'a mut self, job: &Job) -> Result<Option<Box<dyn Stepper + 'a>>> {
        self.network.gated_stepper(job, &self.gates)
    }
}
