//! The compiler: passes that turn a plain inference graph into instrumented ones. Standard ONNX operators only.
//!
//! ```text
//! onnx::Graph --normalise--> Prepared --instrument--> Instrumented (loss head, gradients, taps, gates)
//! ```

pub mod eval;
mod finite;
mod gate;
pub mod grad;
pub mod infer;
mod instrument;
mod layers;
mod loss;
pub mod normalise;
mod tap;
mod tokens;
mod units;
mod update;

pub use finite::bad_weights;
pub use gate::masked;
pub use grad::coverage::coverage;
pub use instrument::instrument;
pub use layers::{linear_head, spatial_layers};
pub use normalise::normalise;
pub use units::{UnitLayer, block_ends, passages, unit_layer, unit_layers};

use std::collections::BTreeMap;

use super::{error::MissingRule, onnx::Graph};

/// Order of the image input's dimensions in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `[N, C, H, W]`.
    Nchw,
    /// `[N, H, W, C]`.
    Nhwc,
}

/// What the person may have to say because the file does not.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Layout of the image input; guessed from the channel position when `None`.
    pub layout: Option<Layout>,
    /// Height and width, for models whose input size is dynamic.
    pub size: Option<[usize; 2]>,
    /// Names of tensors that will be asked for: they keep their names and values, though folding could remove them.
    pub keep: Vec<String>,
}

/// A model ready to be instrumented: constants and BatchNorm folded, batch dynamic, every value typed, logits found.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The graph. One image input, one output: the logits.
    pub graph: Graph,
    /// Name of the image input.
    pub image: String,
    /// Its layout.
    pub layout: Layout,
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Name of the logits (before any final Softmax/Sigmoid), `[N, K]`.
    pub logits: String,
    /// K.
    pub classes: usize,
    /// What was guessed or changed, one sentence each.
    pub notices: Vec<String>,
}

/// Which scalar is differentiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Loss {
    /// None: the cotangent of the logits is an input `[N, K]`.
    #[default]
    None,
    /// Cross-entropy at `labels` (i64 `[N]`), times `weights` (f32 `[N]`).
    CrossEntropy,
    /// C&W hinge at `labels`, times `weights`; `kappa` is an input (f32 scalar, shape `[]`), and `direction`
    /// (f32 `[N]`: +1 targeted, -1 untargeted) picks the margin: `max(direction * (max_{j != label} Z_j - Z_label), -kappa)`.
    Margin,
    /// Difference of logits ratio of APGD at `labels`, times `weights`; with `targeted`, `targets` (i64 `[N]`) is an input.
    Ratio {
        /// Whether a class is to be reached.
        targeted: bool,
    },
}

/// What is read at a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TapKind {
    /// The tensor.
    Value,
    /// The tensor and the objective's gradient with respect to it.
    ValueAndGradient,
    /// Per unit (a map's channels, the last axis of `[N, T, C]` tokens): mean over positions, `[N, C]`.
    UnitMean,
    /// Maximum over positions.
    UnitMax,
    /// Euclidean length over positions.
    UnitL2,
    /// Euclidean length over positions of the difference to the first sample of the batch. Needs an engine that runs a batch
    /// as a whole.
    UnitShift,
}

/// Where a value is replaced: `A <- mask * A + (1 - mask) * replacement`, inputs broadcast against A.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Gate {
    /// Tensor name.
    pub tensor: String,
}

/// Which update follows the gradient, see [`Update`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpdateRule {
    /// None: logits and norms of an image.
    Measure,
    /// A step along the gradient's sign, then into the box `low..high`.
    Sign {
        /// Whether a decaying sum of gradients takes the gradient's place.
        momentum: bool,
    },
    /// A step along the gradient over its length, then into an L2 ball and into 0..1.
    Normal {
        /// The same.
        momentum: bool,
    },
    /// Adam on the change of variables of C&W.
    Adam,
    /// Shrinkage with extrapolation of EAD.
    Shrink,
    /// A step of APGD from an image whose gradient is known, then the gradient at the next one.
    Auto {
        /// Whether the ball is that of L2.
        l2: bool,
    },
    /// StrAttack: the copies of its variable, then the linearised step and the duals.
    Admm(WindowSizes),
    /// StrAttack's second stage, on a fixed support.
    Refine(WindowSizes),
}

/// Sizes of what describes StrAttack's windows: inputs `rows` and `row_spread` `[1, M, R, H]`, `columns` and `column_spread`
/// `[1, M, Q, W]`, see [`crate::core::stepper::Windows`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WindowSizes {
    /// Classes of windows, M.
    pub classes: usize,
    /// Most rows of windows in a class, R.
    pub rows: usize,
    /// Most columns of windows in a class, Q.
    pub columns: usize,
}

/// The update of an attack, behind the gradient in the same graph: the next image is an output. Images are pixel space,
/// `[N, C, H, W]` in RGB and 0..1 whatever the model takes; preprocessing becomes part of the graph.
///
/// Inputs by role: `pixels` (the image), `clean` `[1, C, H, W]`, `scale` and `offset` `[1, C, 1, 1]` in the model's channel order;
/// `mask` `[1, 1, H, W]` when masked; `scalars`, and per rule what `graph/update.rs` lists. Outputs by role: `norms` `[N, 4]`
/// (pixels changed, L1, squared L2, L-infinity of `pixels - clean`), and `next_` with the role of every state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Update {
    /// The rule.
    pub rule: UpdateRule,
    /// Whether a mask says where pixels may change.
    pub masked: bool,
    /// Whether the model takes blue first.
    pub bgr: bool,
}

/// What to add to a prepared model.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Instrumentation {
    /// Loss head.
    pub loss: Loss,
    /// Whether the gradient with respect to the image is an output. Without it and without gradient taps, no backward pass is added.
    pub image_gradient: bool,
    /// Extra outputs.
    pub taps: Vec<(String, TapKind)>,
    /// Gates.
    pub gates: Vec<Gate>,
    /// Whether to leave out what no tap needs, the logits too. Without a backward pass only.
    pub cut: bool,
    /// An attack's update; needs a loss head and the image gradient, except to measure.
    pub update: Option<Update>,
}

/// An instrumented graph and the names of its inputs and outputs. Absent parts are `None`.
#[derive(Debug, Clone)]
pub struct Instrumented {
    /// The graph; its `metadata` repeats these names under `psescope.*`.
    pub graph: Graph,
    /// Image input.
    pub image: String,
    /// Logits output.
    pub logits: String,
    /// Cotangent input, when there is a backward pass and no loss head.
    pub cotangent: Option<String>,
    /// Labels and weights inputs of the loss head.
    pub labels: Option<(String, String)>,
    /// Loss output, `[N]` (already times the weights).
    pub loss: Option<String>,
    /// Gradient with respect to the image.
    pub grad_image: Option<String>,
    /// Outputs of each tap, in the order asked: value (or statistic), gradient.
    pub taps: Vec<(String, Option<String>)>,
    /// Inputs of each gate, in the order asked: mask, replacement.
    pub gates: Vec<(String, String)>,
    /// Inputs and outputs of the update by role.
    pub update: BTreeMap<String, String>,
}

/// How much of the path from image to logits has gradient rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Nodes on the differentiable path with a rule.
    pub covered: usize,
    /// Nodes on the path without one.
    pub missing: Vec<MissingRule>,
}
