//! Gradient rules: one function per operator, one file per family, one line each in [`REGISTRY`].

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
};

use super::{builder::Builder, missing};
use crate::core::{
    error::{Error, Result},
    onnx::{DType, Dim, Node, TensorData},
};

mod activation;
mod attention;
mod channel;
mod conv;
mod elementwise;
mod index;
mod math;
mod matmul;
mod max_pool;
mod norm;
mod phases;
mod pool;
mod quant;
mod recurrent;
mod reduce;
mod resize;
mod shape_ops;
mod softmax;
mod window;

/// Emits the gradients of a node's inputs and hands them over with [`Cx::push`].
pub type Rule = fn(&mut Cx) -> Result<()>;

/// Every operator that can be differentiated.
pub static REGISTRY: &[(&str, Rule)] = &[
    ("Abs", math::abs),
    ("Acos", math::acos),
    ("Acosh", math::acosh),
    ("Add", elementwise::add),
    ("Asin", math::asin),
    ("Asinh", math::asinh),
    ("Atan", math::atan),
    ("Atanh", math::atanh),
    ("Attention", attention::attention),
    ("AveragePool", pool::average_pool),
    ("BatchNormalization", norm::batch),
    ("Cast", elementwise::cast),
    ("CastLike", elementwise::cast),
    ("Celu", activation::celu),
    ("Clip", activation::clip),
    ("Concat", shape_ops::concat),
    ("Conv", conv::conv),
    ("ConvTranspose", conv::conv_transpose),
    ("Cos", math::cos),
    ("Cosh", math::cosh),
    ("CumSum", reduce::cum_sum),
    ("DepthToSpace", shape_ops::depth_to_space),
    ("DequantizeLinear", quant::dequantize),
    ("Div", elementwise::div),
    ("Dropout", elementwise::identity),
    ("Einsum", matmul::einsum),
    ("Elu", activation::elu),
    ("Erf", math::erf),
    ("Exp", math::exp),
    ("Expand", shape_ops::expand),
    ("Flatten", shape_ops::reshape),
    ("Gather", index::gather),
    ("GatherElements", index::gather_elements),
    ("GatherND", index::gather_nd),
    ("Gelu", activation::gelu),
    ("Gemm", matmul::gemm),
    ("GlobalAveragePool", pool::global_average),
    ("GlobalLpPool", pool::global_lp),
    ("GlobalMaxPool", pool::global_max),
    ("GroupNormalization", norm::group),
    ("HardSigmoid", activation::hard_sigmoid),
    ("HardSwish", activation::hard_swish),
    ("Identity", elementwise::identity),
    ("InstanceNormalization", norm::instance),
    ("LRN", norm::lrn),
    ("LSTM", recurrent::lstm),
    ("LayerNormalization", norm::layer),
    ("LeakyRelu", activation::leaky_relu),
    ("Log", math::log),
    ("LogSoftmax", softmax::log_softmax),
    ("LpNormalization", norm::lp),
    ("LpPool", pool::lp_pool),
    ("MatMul", matmul::matmul),
    ("Max", elementwise::extremum),
    ("MaxPool", max_pool::max_pool),
    ("Mean", elementwise::mean),
    ("MeanVarianceNormalization", norm::mean_variance),
    ("Min", elementwise::extremum),
    ("Mish", activation::mish),
    ("Mod", elementwise::modulo),
    ("Mul", elementwise::mul),
    ("Neg", math::neg),
    ("PRelu", activation::prelu),
    ("Pad", shape_ops::pad),
    ("Pow", elementwise::pow),
    ("QuantizeLinear", quant::quantize),
    ("RMSNormalization", norm::rms),
    ("Reciprocal", math::reciprocal),
    ("ReduceL1", reduce::l1),
    ("ReduceL2", reduce::l2),
    ("ReduceLogSum", reduce::log_sum),
    ("ReduceLogSumExp", reduce::log_sum_exp),
    ("ReduceMax", reduce::extremum),
    ("ReduceMean", reduce::mean),
    ("ReduceMin", reduce::extremum),
    ("ReduceProd", reduce::product),
    ("ReduceSum", reduce::sum),
    ("ReduceSumSquare", reduce::sum_square),
    ("Relu", activation::relu),
    ("Reshape", shape_ops::reshape),
    ("Resize", resize::resize),
    ("ScatterElements", index::scatter_elements),
    ("ScatterND", index::scatter_nd),
    ("Selu", activation::selu),
    ("Shrink", activation::shrink),
    ("Sigmoid", activation::sigmoid),
    ("Sin", math::sin),
    ("Sinh", math::sinh),
    ("Slice", index::slice),
    ("Softmax", softmax::softmax),
    ("Softplus", activation::softplus),
    ("Softsign", activation::softsign),
    ("SpaceToDepth", shape_ops::space_to_depth),
    ("Split", index::split),
    ("Sqrt", math::sqrt),
    ("Squeeze", shape_ops::reshape),
    ("Sub", elementwise::sub),
    ("Sum", elementwise::sum),
    ("Swish", activation::swish),
    ("Tan", math::tan),
    ("Tanh", math::tanh),
    ("ThresholdedRelu", activation::thresholded_relu),
    ("Tile", shape_ops::tile),
    ("TopK", index::top_k),
    ("Transpose", shape_ops::transpose),
    ("Trilu", shape_ops::trilu),
    ("Unsqueeze", shape_ops::reshape),
    ("Upsample", resize::resize),
    ("Where", elementwise::where_),
];

/// Operators through which no gradient passes: shapes, comparisons, indices, and functions whose slope is 0 almost everywhere.
pub static STOPS: &[&str] = &[
    "And",
    "ArgMax",
    "ArgMin",
    "BitShift",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "Ceil",
    "Constant",
    "ConstantOfShape",
    "Equal",
    "EyeLike",
    "Floor",
    "Greater",
    "GreaterOrEqual",
    "Hardmax",
    "IsInf",
    "IsNaN",
    "Less",
    "LessOrEqual",
    "NonZero",
    "Not",
    "OneHot",
    "Or",
    "RandomNormalLike",
    "RandomUniformLike",
    "Range",
    "Round",
    "Shape",
    "Sign",
    "Size",
    "Xor",
];

/// The rule for a node.
pub fn find(node: &Node) -> Option<Rule> {
    if !node.domain.is_empty() {
        return None;
    }
    REGISTRY.iter().find(|(op, _)| *op == node.op).map(|(_, rule)| *rule)
}

/// What is known about the forward graph during one sweep.
pub struct Facts<'a> {
    /// Values whose gradient is needed.
    pub depends: &'a HashSet<String>,
    /// Forward nodes, in order.
    pub nodes: &'a [Node],
    /// Value -> position of the node that makes it.
    pub producers: &'a HashMap<&'a str, usize>,
    /// Values read once, whose gradient is neither given nor wanted.
    pub private: &'a HashSet<&'a str>,
    /// Outputs of Relu whose gradient is already 0 where they are.
    pub masked: RefCell<HashSet<String>>,
}

/// What a rule sees: the node, the gradients of its outputs, and where to put those of its inputs.
pub struct Cx<'a> {
    /// Emits nodes.
    pub b: &'a Builder,
    /// The node to differentiate.
    pub node: &'a Node,
    /// Its position in the forward graph.
    pub index: usize,
    grads: Vec<Option<String>>,
    used: Vec<bool>,
    handled: Vec<bool>,
    facts: &'a Facts<'a>,
    pushed: Vec<(String, String)>,
}

impl<'a> Cx<'a> {
    /// For one node of the sweep.
    pub fn new(b: &'a Builder, node: &'a Node, index: usize, grads: Vec<Option<String>>, facts: &'a Facts<'a>) -> Self {
        let used = vec![false; grads.len()];
        let handled = vec![false; node.inputs.len()];
        Self { b, node, index, grads, used, handled, facts, pushed: Vec::new() }
    }

    /// The gradients handed over, provided that every dependent input got one and every output gradient was used.
    pub fn complete(&mut self) -> Result<Vec<(String, String)>> {
        if let Some(i) = (0..self.node.inputs.len()).find(|&i| self.needs(i) && !self.handled[i]) {
            return Err(self.unsupported(&format!("an image-dependent input {i}")));
        }
        if let Some(k) = self.grads.iter().zip(&self.used).position(|(g, used)| g.is_some() && !used) {
            return Err(self.unsupported(&format!("its output {k} in use")));
        }
        Ok(std::mem::take(&mut self.pushed))
    }

    /// The error that lists this node as missing.
    pub fn unsupported(&self, variant: &str) -> Error {
        Error::MissingRules(vec![missing(self.node, Some(variant))])
    }

    /// Name of an input that the operator requires.
    pub fn x(&self, i: usize) -> Result<&'a str> {
        self.node
            .input(i)
            .ok_or_else(|| Error::Model(format!("node '{}' ({}) lacks input {i}; the file is damaged", self.node.label(), self.node.op)))
    }

    /// Name of the first output.
    pub fn y(&self) -> &'a str {
        &self.node.outputs[0]
    }

    /// Shape of an input.
    pub fn shape(&self, i: usize) -> Result<Vec<Dim>> {
        self.b.shape(self.x(i)?)
    }

    /// Element type of an input.
    pub fn dtype(&self, i: usize) -> Result<DType> {
        Ok(self.b.dtype(self.x(i)?))
    }

    /// The constant behind an input.
    pub fn constant(&self, i: usize) -> Option<TensorData> {
        self.b.constant(self.node.input(i)?)
    }

    /// The integers of an input (opset >= 13 style) or attribute.
    pub fn ints(&self, input: usize, attr: &str) -> Result<Option<Vec<i64>>> {
        if let Some(v) = self.node.ints(attr) {
            return Ok(Some(v.to_vec()));
        }
        match self.node.input(input) {
            None => Ok(None),
            Some(_) => self.constant(input).and_then(|t| t.to_i64()).map(Some).ok_or_else(|| self.unsupported(&format!("computed {attr}"))),
        }
    }

    /// Whether the gradient of an input is wanted.
    pub fn needs(&self, i: usize) -> bool {
        self.node.input(i).is_some_and(|x| self.facts.depends.contains(x))
    }

    /// Whether the gradient of a value is wanted.
    pub fn depends_on(&self, value: &str) -> bool {
        self.facts.depends.contains(value)
    }

    /// Gradient of an output, possibly smaller than it and to be broadcast.
    pub fn lazy_of(&mut self, k: usize) -> Option<String> {
        let g = self.grads.get(k).cloned().flatten();
        if g.is_some() {
            self.used[k] = true;
        }
        g
    }

    /// Gradient of the first output, possibly to be broadcast.
    pub fn lazy(&mut self) -> Result<String> {
        self.lazy_of(0).ok_or_else(|| self.unsupported("only a secondary output in use"))
    }

    /// Gradient of the first output in its full shape.
    pub fn g(&mut self) -> Result<String> {
        let lazy = self.lazy()?;
        self.b.expand_like(&lazy, self.y())
    }

    /// The gradient in the form an elementwise rule needs for input `i`: as it is when the input is not broadcast.
    pub fn g_for(&mut self, i: usize) -> Result<String> {
        if self.shape(i)? == self.b.shape(self.y())? { self.lazy() } else { self.g() }
    }

    /// Hands over the gradient of an input, in the input's shape or broadcastable to it.
    pub fn push(&mut self, i: usize, g: String) -> Result<()> {
        let x = self.x(i)?.to_owned();
        self.handled[i] = true;
        self.pushed.push((x, g));
        Ok(())
    }

    /// Hands over a gradient that was broadcast with the output: sums it to the input's shape.
    pub fn push_summed(&mut self, i: usize, g: &str) -> Result<()> {
        let to = self.shape(i)?;
        let summed = self.b.unbroadcast(g, &to);
        self.push(i, summed)
    }

    /// Hands a gradient past the inputs, to a value further up.
    pub fn push_to(&mut self, value: &str, g: String) {
        self.pushed.push((value.to_owned(), g));
    }

    /// Says that an input needs nothing, because the gradient went past it or is 0.
    pub fn skip(&mut self, i: usize) {
        self.handled[i] = true;
    }

    /// The forward node that produces a value.
    pub fn producer(&self, value: &str) -> Option<&'a Node> {
        self.facts.producers.get(value).map(|&i| &self.facts.nodes[i])
    }

    /// Whether this node alone reads a value and nobody asked for its gradient, so that gradients may go past it.
    pub fn private(&self, value: &str) -> bool {
        self.facts.private.contains(value)
    }

    /// Says that the gradient of a Relu's output comes masked, so that the rule of Relu need not.
    pub fn set_masked(&self, value: &str) {
        self.facts.masked.borrow_mut().insert(value.to_owned());
    }

    /// Whether the gradient of a Relu's output comes masked.
    pub fn masked(&self, value: &str) -> bool {
        self.facts.masked.borrow().contains(value)
    }

    /// Multiplies the gradient by a local slope of the shape of the first input, for functions of one variable.
    pub fn chain(&mut self, slope: &str) -> Result<()> {
        let g = self.lazy()?;
        let gx = self.b.mul(&g, slope);
        self.push(0, gx)
    }
}
