//! What an attack or an explanation may ask of a network. Attacks and explanations see nothing else, so that they run
//! on a ten-line analytic model in tests and on a GPU in use.
//!
//! Images are pixel space: `[N, C, H, W]`, values 0..1, RGB; preprocessing is part of the differentiated function.

use ndarray::{Array1, Array2, Array4, ArrayD, ArrayView2, ArrayView4};

use super::error::Result;

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
