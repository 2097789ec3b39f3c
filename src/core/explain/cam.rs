//! Class activation maps. Maps are raw: no ReLU-to-percent, no normalisation, no upsampling (method report D).

use ndarray::Array2;

/// How a map is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// `sum_k W_ck A_k(p)`: only for networks ending in global average pooling and one linear layer (Zhou et al. 2016).
    Cam,
    /// `relu(sum_k mean_p(g_k) A_k(p))` (Selvaraju et al. 2017); the raw map is kept before the ReLU.
    GradCam,
}

/// A map before any normalisation.
#[derive(Debug, Clone)]
pub struct CamMap {
    /// How it was computed.
    pub method: Method,
    /// Tensor it was computed at.
    pub layer: String,
    /// Class it speaks of.
    pub class: usize,
    /// `[h, w]` of the layer, in logit units for [`Method::Cam`] (its mean plus the bias is the logit).
    pub raw: Array2<f32>,
}
