//! Class activation maps. Maps are raw: no ReLU-to-percent, no normalisation, no upsampling (method report D).
//!
//! A is the layer's activation `[K, h, w]`, g the gradient of the class's logit there.

use ndarray::{Array2, Array3, ArrayView3, Axis, Ix4, Zip};

use super::score_cam;
use crate::core::{
    error::{Error, Result},
    oracle::{LayerInfo, Layers},
};

/// How a map is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// `sum_k W_ck A_k(p)`: only for networks ending in global average pooling and one linear layer (Zhou et al. 2016).
    Cam,
    /// `relu(sum_k mean_p(g_k) A_k(p))` (Selvaraju et al. 2017); the raw map is kept before the ReLU.
    GradCam,
    /// Weights `sum_p alpha relu(g)`, `alpha = g^2 / (2 g^2 + sum(A) g^3)` (Chattopadhay et al. 2018).
    GradCamPlusPlus,
    /// Weights `sum_p g A / sum_p A` (Fu et al. 2020).
    XGradCam,
    /// `sum_k relu(g_k(p)) A_k(p)` (Jiang et al. 2021).
    LayerCam,
    /// `sum_k g_k(p) A_k(p)` (Draelos, Carin 2020).
    HiResCam,
    /// Weights `softmax_k Z(x o N(up(A_k)))`, one forward run per channel (Wang et al. 2020).
    ScoreCam,
    /// First principal component of the activation over positions (Muhammad, Yeasin 2020); looks at no class.
    EigenCam,
}

/// A method as people see it.
#[derive(Debug, Clone, Copy)]
pub struct MethodInfo {
    /// The method.
    pub method: Method,
    /// Name on the command line.
    pub name: &'static str,
    /// Name on screen.
    pub title: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Whether its definition ends in a ReLU.
    pub relu: bool,
}

/// Every method, in the order shown to people.
pub static METHODS: &[MethodInfo] = &[
    info(Method::Cam, "cam", "CAM", "Weights of the linear head: exact for global average pooling and one linear layer.", false),
    info(Method::GradCam, "gradcam", "Grad-CAM", "Channels weighted by their mean gradient; works at any convolutional layer.", true),
    info(Method::GradCamPlusPlus, "gradcam++", "Grad-CAM++", "Grad-CAM with weights that favour several small regions.", true),
    info(Method::XGradCam, "xgradcam", "XGrad-CAM", "Channels weighted by gradient times activation, normalised per channel.", false),
    info(Method::LayerCam, "layercam", "LayerCAM", "Positive gradient times activation, place by place: sharp at early layers.", true),
    info(Method::HiResCam, "hirescam", "HiResCAM", "Gradient times activation, place by place: faithful for linear heads.", false),
    info(
        Method::ScoreCam,
        "scorecam",
        "Score-CAM",
        "Channels weighted by the score that their own place leaves: no gradient, one forward run per channel.",
        true,
    ),
    info(Method::EigenCam, "eigencam", "Eigen-CAM", "First principal component of the activation: no class, no gradient.", false),
];

const fn info(method: Method, name: &'static str, title: &'static str, summary: &'static str, relu: bool) -> MethodInfo {
    MethodInfo { method, name, title, summary, relu }
}

impl Method {
    /// The table's line for this method.
    pub fn info(self) -> &'static MethodInfo {
        METHODS.iter().find(|m| m.method == self).unwrap_or(&METHODS[0])
    }

    /// The method with this name; case, dashes and underscores do not matter.
    pub fn from_name(name: &str) -> Result<Self> {
        let plain = |t: &str| t.to_lowercase().replace(['-', '_', ' '], "").replace("plusplus", "++").replace("pp", "++");
        let wanted = plain(name);
        METHODS.iter().find(|m| plain(m.name) == wanted).map(|m| m.method).ok_or_else(|| {
            let names = METHODS.iter().map(|m| m.name).collect::<Vec<_>>().join(", ");
            Error::Parameter(format!("there is no map method '{name}'; choose one of {names}"))
        })
    }
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
    /// `[h, w]` of the layer, before any ReLU; in logit units for [`Method::Cam`] (its mean plus the bias is the logit).
    pub raw: Array2<f32>,
}

impl CamMap {
    /// The map as the method defines it, before any normalisation: with the ReLU that Grad-CAM, Grad-CAM++ and LayerCAM end in.
    pub fn defined(&self) -> Array2<f32> {
        if self.method.info().relu { self.raw.mapv(|v| v.max(0.0)) } else { self.raw.clone() }
    }
}

/// `C(x', c) - C(x0, c)` of two maps as their method defines them: positive where the evidence for the class grew, negative
/// where it shrank.
pub fn difference(clean: &CamMap, adversarial: &CamMap) -> Result<Array2<f32>> {
    let same = clean.method == adversarial.method && clean.layer == adversarial.layer && clean.class == adversarial.class;
    if !same || clean.raw.dim() != adversarial.raw.dim() {
        return Err(Error::Parameter("only two maps of one method, layer and class have a difference".into()));
    }
    Ok(adversarial.defined() - clean.defined())
}

/// The layer a method uses unless told otherwise: the head's for [`Method::Cam`], else the last one that still has a
/// spatial extent.
pub fn default_layer(network: &dyn Layers, method: Method) -> Result<String> {
    if method == Method::Cam {
        return network.linear_head().map(|h| h.layer).ok_or_else(no_head);
    }
    let layers = network.spatial_layers();
    let extended = layers.iter().rev().find(|l| l.spatial[0] * l.spatial[1] > 1);
    extended
        .or(layers.last())
        .map(|l| l.name.clone())
        .ok_or_else(|| Error::Model("this model has no layer with channels and positions, so no activation map can be drawn".into()))
}

/// Computes a raw map of one image `[C, H, W]` for a class.
pub fn compute(network: &mut dyn Layers, image: ArrayView3<f32>, method: Method, layer: Option<&str>, class: usize) -> Result<CamMap> {
    compute_with(network, image, method, layer, class, &mut |_, _| Ok(()))
}

/// [`compute`] for methods that take long: `progress` gets forward runs done and their number; an error ends the work.
pub fn compute_with(
    network: &mut dyn Layers,
    image: ArrayView3<f32>,
    method: Method,
    layer: Option<&str>,
    class: usize,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<CamMap> {
    let classes = network.classes();
    if class >= classes {
        return Err(Error::Parameter(format!("class {class} does not exist; this model has classes 0 to {}", classes.saturating_sub(1))));
    }
    let layer = match layer {
        Some(name) => known(&network.spatial_layers(), name)?,
        None => default_layer(network, method)?,
    };
    let batch = image.insert_axis(Axis(0));
    let raw = match method {
        Method::Cam => {
            let head = network.linear_head().ok_or_else(no_head)?;
            if layer != head.layer {
                return Err(Error::Parameter(format!(
                    "CAM is only defined at '{}', the layer before the pooling; use gradcam or layercam at '{layer}'",
                    head.layer
                )));
            }
            let a = activation(network, batch, &layer)?;
            if head.weights.dim() != (classes, a.dim().0) {
                return Err(Error::Model(format!(
                    "the head has weights {:?} for {} channels; choose gradcam instead",
                    head.weights.dim(),
                    a.dim().0
                )));
            }
            weighted(&a, head.weights.row(class).iter().copied())
        }
        Method::EigenCam => eigen(&activation(network, batch, &layer)?),
        Method::ScoreCam => {
            let a = activation(network, batch, &layer)?;
            let weights = score_cam::weights(network, image, &a, class, progress)?;
            weighted(&a, weights.into_iter())
        }
        _ => {
            let both = network.layer_gradient(batch, &layer, class)?;
            let a = both.activation.index_axis_move(Axis(0), 0);
            let g = both.gradient.index_axis_move(Axis(0), 0);
            if a.dim() != g.dim() {
                return Err(Error::Engine(format!(
                    "activation and gradient of '{layer}' have different shapes: {:?} and {:?}",
                    a.dim(),
                    g.dim()
                )));
            }
            from_gradient(method, &a, &g)
        }
    };
    Ok(CamMap { method, layer, class, raw })
}

fn no_head() -> Error {
    Error::Model("CAM needs a network that ends in global average pooling and one linear layer; choose gradcam".into())
}

fn known(layers: &[LayerInfo], name: &str) -> Result<String> {
    if layers.iter().any(|l| l.name == name) {
        return Ok(name.to_owned());
    }
    let some = layers.iter().rev().take(5).map(|l| l.name.as_str()).collect::<Vec<_>>().join(", ");
    Err(Error::Parameter(format!("there is no layer '{name}' with channels and positions; the last ones are {some}")))
}

fn activation(network: &mut dyn Layers, batch: ndarray::ArrayView4<f32>, layer: &str) -> Result<Array3<f32>> {
    let value = network.activation(batch, layer)?;
    let shape = value.shape().to_vec();
    let value = value
        .into_dimensionality::<Ix4>()
        .map_err(|_| Error::Model(format!("layer '{layer}' has shape {shape:?}, not channels by height by width")))?;
    Ok(value.index_axis_move(Axis(0), 0))
}

/// The gradient methods on one activation and its gradient, `[K, h, w]` each.
fn from_gradient(method: Method, a: &Array3<f32>, g: &Array3<f32>) -> Array2<f32> {
    let channels = || a.outer_iter().zip(g.outer_iter());
    let sum = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>();
    match method {
        Method::GradCamPlusPlus => {
            let weights: Vec<f32> = channels()
                .map(|(a, g)| {
                    let total = sum(&mut a.iter().map(|v| f64::from(*v)));
                    // g^2 / (2 g^2 + S g^3) * relu(g) is g / (2 + S g) for g > 0.
                    let weight = |g: f64| if g > 0.0 && 2.0 + total * g != 0.0 { g / (2.0 + total * g) } else { 0.0 };
                    sum(&mut g.iter().map(|g| weight(f64::from(*g)))) as f32
                })
                .collect();
            weighted(a, weights.into_iter())
        }
        Method::XGradCam => {
            let weights: Vec<f32> = channels()
                .map(|(a, g)| {
                    let total = sum(&mut a.iter().map(|v| f64::from(*v)));
                    let product = sum(&mut a.iter().zip(&g).map(|(a, g)| f64::from(*a) * f64::from(*g)));
                    if total == 0.0 { 0.0 } else { (product / total) as f32 }
                })
                .collect();
            weighted(a, weights.into_iter())
        }
        Method::LayerCam => placewise(a, g, |g| g.max(0.0)),
        Method::HiResCam => placewise(a, g, |g| g),
        // The methods without a gradient never come here; Grad-CAM is what is left.
        Method::GradCam | Method::Cam | Method::ScoreCam | Method::EigenCam => {
            let count = (a.dim().1 * a.dim().2).max(1) as f64;
            let weights: Vec<f32> = channels().map(|(_, g)| (sum(&mut g.iter().map(|v| f64::from(*v))) / count) as f32).collect();
            weighted(a, weights.into_iter())
        }
    }
}

/// `sum_k w_k A_k(p)`, f64 inside.
fn weighted(a: &Array3<f32>, weights: impl Iterator<Item = f32>) -> Array2<f32> {
    let mut map = Array2::<f64>::zeros((a.dim().1, a.dim().2));
    for (channel, weight) in a.outer_iter().zip(weights) {
        Zip::from(&mut map).and(&channel).for_each(|m, a| *m += f64::from(weight) * f64::from(*a));
    }
    map.mapv(|v| v as f32)
}

/// `sum_k f(g_k(p)) A_k(p)`, f64 inside.
fn placewise(a: &Array3<f32>, g: &Array3<f32>, f: impl Fn(f32) -> f32) -> Array2<f32> {
    let mut map = Array2::<f64>::zeros((a.dim().1, a.dim().2));
    for (a, g) in a.outer_iter().zip(g.outer_iter()) {
        Zip::from(&mut map).and(&a).and(&g).for_each(|m, a, g| *m += f64::from(f(*g)) * f64::from(*a));
    }
    map.mapv(|v| v as f32)
}

/// Positions by channels, columns centred, projected on the first right singular vector, found by power iteration. The sign is arbitrary; it is chosen so that the value
/// largest in size is positive.
fn eigen(a: &Array3<f32>) -> Array2<f32> {
    const ITERATIONS: usize = 500;
    let (channels, h, w) = a.dim();
    let n = h * w;
    let mut rows = Array2::<f64>::from_shape_fn((n, channels), |(p, k)| f64::from(a[(k, p / w, p % w)]));
    if let Some(mean) = rows.mean_axis(Axis(0)) {
        rows -= &mean;
    }
    // Start from the row that stands out most: never orthogonal to the answer by symmetry.
    let start = (0..n).max_by(|i, j| rows.row(*i).dot(&rows.row(*i)).total_cmp(&rows.row(*j).dot(&rows.row(*j))));
    let Some(start) = start else {
        return Array2::zeros((h, w));
    };
    let mut direction = rows.row(start).to_owned();
    for _ in 0..ITERATIONS {
        let length = direction.dot(&direction).sqrt();
        if length == 0.0 || !length.is_finite() {
            return Array2::zeros((h, w));
        }
        direction /= length;
        let next = rows.t().dot(&rows.dot(&direction));
        let size = next.dot(&next).sqrt();
        let aligned = size > 0.0 && (1.0 - next.dot(&direction) / size).abs() < 1e-14;
        direction = next;
        if aligned {
            break;
        }
    }
    direction /= direction.dot(&direction).sqrt().max(f64::MIN_POSITIVE);
    let scores = rows.dot(&direction);
    let largest = scores.iter().fold(0.0f64, |m, v| if v.abs() > m.abs() { *v } else { m });
    Array2::from_shape_fn((h, w), |(y, x)| (scores[y * w + x] * if largest < 0.0 { -1.0 } else { 1.0 }) as f32)
}
