//! Every gradient rule against central differences in float64, one row per operator and variant.

mod support;

use std::collections::HashSet;

use psescope::core::graph::grad::rules::REGISTRY;
use support::{Noise, build, compare, relative};

/// Name, graph, shape of x, range of x, operator set.
type Row = (&'static str, &'static str, &'static [usize], (f64, f64), i64);

const ANY: (f64, f64) = (-1.0, 1.0);
const WIDE: (f64, f64) = (-4.0, 4.0);
const POSITIVE: (f64, f64) = (0.3, 2.0);
const MAP: &[usize] = &[2, 3, 7, 6];
const VEC: &[usize] = &[2, 5];

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // Convolutions.
    ("conv 3x3", "y = Conv(x $4,3,3,3 $4) pads=1,1,1,1", MAP, ANY, 17),
    ("conv 1x1", "y = Conv(x $4,3,1,1)", MAP, ANY, 17),
    ("conv stride 2", "y = Conv(x $4,3,3,3) strides=2,2 pads=1,1,1,1", MAP, ANY, 17),
    ("conv stem", "y = Conv(x $4,3,7,7) strides=2,2 pads=3,3,3,3", &[2, 3, 9, 10], ANY, 17),
    ("conv patchify", "y = Conv(x $4,3,3,3) strides=3,3", &[2, 3, 8, 10], ANY, 17),
    ("conv 1x1 stride 2", "y = Conv(x $4,3,1,1) strides=2,2", MAP, ANY, 17),
    ("conv stride beyond kernel", "y = Conv(x $4,3,1,2) strides=3,4", &[2, 3, 8, 11], ANY, 17),
    ("conv asymmetric pads", "y = Conv(x $4,3,3,3) strides=2,2 pads=0,1,2,0", MAP, ANY, 17),
    ("conv wide pads", "y = Conv(x $4,3,2,2) pads=3,2,2,4", MAP, ANY, 17),
    ("conv dilated", "y = Conv(x $4,3,3,3) dilations=2,2 pads=2,2,1,2", MAP, ANY, 17),
    ("conv dilated strided", "y = Conv(x $4,3,3,3) dilations=2,1 strides=2,3 pads=2,1,2,1", &[2, 3, 9, 8], ANY, 17),
    ("conv SAME_UPPER", "y = Conv(x $4,3,3,3) strides=2,2 auto_pad='SAME_UPPER'", MAP, ANY, 17),
    ("conv SAME_LOWER", "y = Conv(x $4,3,4,3) strides=2,2 auto_pad='SAME_LOWER'", MAP, ANY, 17),
    ("conv VALID", "y = Conv(x $4,3,3,3) auto_pad='VALID'", MAP, ANY, 17),
    ("conv grouped", "y = Conv(x $6,2,3,3) group=2 pads=1,1,1,1", &[2, 4, 6, 5], ANY, 17),
    ("conv grouped stride 2", "y = Conv(x $6,2,3,3) group=2 strides=2,2 pads=1,1,1,1", &[2, 4, 6, 5], ANY, 17),
    ("conv depthwise", "y = Conv(x $3,1,3,3) group=3 pads=1,1,1,1", MAP, ANY, 17),
    ("conv depthwise stride 2", "y = Conv(x $3,1,3,3) group=3 strides=2,2 pads=1,1,1,1", MAP, ANY, 17),
    ("conv depthwise multiplier", "y = Conv(x $6,1,3,3) group=3 pads=1,1,1,1", MAP, ANY, 17),
    ("conv 1-D", "y = Conv(x $4,3,3) pads=1,1", &[2, 3, 9], ANY, 17),
    ("conv 3-D", "y = Conv(x $2,2,2,2,2) strides=1,2,1", &[1, 2, 3, 4, 3], ANY, 17),
    ("conv computed weights", "w = Mul($4,3,3,3 =2.0) ; y = Conv(x w) pads=1,1,1,1", MAP, ANY, 17),
    ("conv computed 1x1 weights", "w = Mul($4,3,1,1 =2.0) ; y = Conv(x w)", MAP, ANY, 17),
    ("conv weights of the image", "w = Slice(x #0,0 #3,2 #2,3) ; r = ReduceSum(w #0,1) keepdims=1 ; s = Mul(r $4,3,3,2) ; y = Conv(x s $4) pads=1,0,1,1 strides=2,1", MAP, ANY, 17),
    ("conv bias of the image", "r = ReduceMean(x) axes=0,2,3 keepdims=0 ; y = Conv(x $3,3,3,3 r)", MAP, ANY, 17),
    ("deconv", "y = ConvTranspose(x $3,4,3,3 $4)", &[2, 3, 4, 5], ANY, 17),
    ("deconv strided", "y = ConvTranspose(x $3,4,3,3) strides=2,2 pads=1,1,1,1 output_padding=1,1", &[2, 3, 4, 5], ANY, 17),
    ("deconv asymmetric dilated", "y = ConvTranspose(x $3,4,3,2) strides=2,3 pads=0,1,2,0 dilations=2,1", &[2, 3, 4, 5], ANY, 17),
    ("deconv grouped", "y = ConvTranspose(x $4,2,3,3) group=2 strides=2,2", &[2, 4, 3, 4], ANY, 17),
    ("deconv SAME_UPPER", "y = ConvTranspose(x $3,4,3,3) strides=2,2 auto_pad='SAME_UPPER'", &[2, 3, 4, 5], ANY, 17),
    // Pooling.
    ("max pool k2 s2", "y = MaxPool(x) kernel_shape=2,2 strides=2,2", MAP, ANY, 17),
    ("max pool k3 s2 p1", "y = MaxPool(x) kernel_shape=3,3 strides=2,2 pads=1,1,1,1", MAP, ANY, 17),
    ("max pool k3 s1 p1", "y = MaxPool(x) kernel_shape=3,3 pads=1,1,1,1", MAP, ANY, 17),
    ("max pool ceil", "y = MaxPool(x) kernel_shape=3,3 strides=2,2 ceil_mode=1", &[2, 3, 8, 6], ANY, 17),
    ("max pool ceil pads", "y = MaxPool(x) kernel_shape=2,3 strides=2,3 pads=1,1,0,0 ceil_mode=1", &[2, 3, 8, 6], ANY, 17),
    ("max pool unread tail", "y = MaxPool(x) kernel_shape=2,2 strides=3,4", &[2, 3, 9, 11], ANY, 17),
    ("max pool dilated", "y = MaxPool(x) kernel_shape=2,3 dilations=2,2 strides=1,2 pads=1,1,1,1", &[2, 3, 9, 11], ANY, 17),
    ("max pool SAME", "y = MaxPool(x) kernel_shape=3,2 strides=2,2 auto_pad='SAME_UPPER'", MAP, ANY, 17),
    ("max pool 1-D", "y = MaxPool(x) kernel_shape=3, strides=2, pads=1,1", &[2, 3, 9], ANY, 17),
    ("max pool 3-D", "y = MaxPool(x) kernel_shape=2,2,2 strides=1,2,2", &[1, 2, 3, 4, 5], ANY, 17),
    ("max pool row", "y = MaxPool(x) kernel_shape=1,3 strides=1,2", MAP, ANY, 17),
    ("average pool k2 s2", "y = AveragePool(x) kernel_shape=2,2 strides=2,2", MAP, ANY, 17),
    ("average pool k3 s1 p1", "y = AveragePool(x) kernel_shape=3,3 pads=1,1,1,1", MAP, ANY, 17),
    ("average pool counted pads", "y = AveragePool(x) kernel_shape=3,3 pads=1,1,1,1 count_include_pad=1", MAP, ANY, 17),
    ("average pool k3 s2 p1", "y = AveragePool(x) kernel_shape=3,3 strides=2,2 pads=1,1,1,1", MAP, ANY, 17),
    ("average pool ceil", "y = AveragePool(x) kernel_shape=2,2 strides=2,2 ceil_mode=1", &[2, 3, 7, 5], ANY, 17),
    ("average pool ceil counted", "y = AveragePool(x) kernel_shape=3,3 strides=2,2 pads=1,1,1,1 ceil_mode=1 count_include_pad=1", &[2, 3, 6, 8], ANY, 19),
    ("average pool SAME", "y = AveragePool(x) kernel_shape=3,3 strides=2,2 auto_pad='SAME_UPPER'", MAP, ANY, 17),
    ("average pool dilated", "y = AveragePool(x) kernel_shape=2,2 dilations=2,2", MAP, ANY, 19),
    ("global average pool", "y = GlobalAveragePool(x)", MAP, ANY, 17),
    ("global max pool", "y = GlobalMaxPool(x)", MAP, ANY, 17),
    // Activations.
    ("relu", "y = Relu(x)", VEC, ANY, 17),
    ("clip", "y = Clip(x =-0.5 =0.5)", VEC, ANY, 17),
    ("clip low", "y = Clip(x =-0.5)", VEC, ANY, 17),
    ("clip high", "y = Clip(x _ =0.5)", VEC, ANY, 17),
    ("leaky relu", "y = LeakyRelu(x) alpha=0.2", VEC, ANY, 17),
    ("leaky relu steep", "y = LeakyRelu(x) alpha=1.5", VEC, ANY, 17),
    ("leaky relu negative", "y = LeakyRelu(x) alpha=-0.5", VEC, ANY, 17),
    ("prelu", "y = PRelu(x $3,1,1)", MAP, ANY, 17),
    ("prelu slope", "s = ReduceMean(x) axes=0,2,3 keepdims=1 ; t = Squeeze(s #0) ; y = PRelu(x t)", MAP, ANY, 17),
    ("sigmoid", "y = Sigmoid(x)", VEC, WIDE, 17),
    ("silu", "s = Sigmoid(x) ; y = Mul(x s)", VEC, WIDE, 17),
    ("silu gate in use", "s = Sigmoid(x) ; z = Mul(s x) ; y = Mul(z s)", VEC, WIDE, 17),
    ("swish", "y = Swish(x) alpha=1.5", VEC, WIDE, 24),
    ("hard sigmoid", "y = HardSigmoid(x) alpha=0.3 beta=0.4", VEC, WIDE, 17),
    ("hard swish", "y = HardSwish(x)", VEC, (-5.0, 5.0), 17),
    ("elu", "y = Elu(x)", VEC, WIDE, 17),
    ("elu alpha", "y = Elu(x) alpha=0.7", VEC, WIDE, 17),
    ("selu", "y = Selu(x)", VEC, WIDE, 17),
    ("celu", "y = Celu(x) alpha=1.7", VEC, WIDE, 17),
    ("softplus", "y = Softplus(x)", VEC, WIDE, 17),
    ("softsign", "y = Softsign(x)", VEC, WIDE, 17),
    ("mish", "y = Mish(x)", VEC, WIDE, 18),
    ("thresholded relu", "y = ThresholdedRelu(x) alpha=0.4", VEC, ANY, 17),
    ("gelu", "y = Gelu(x)", VEC, WIDE, 20),
    ("gelu tanh", "y = Gelu(x) approximate='tanh'", VEC, WIDE, 20),
    // Functions of one variable.
    ("abs", "y = Abs(x)", VEC, ANY, 17),
    ("neg", "y = Neg(x)", VEC, ANY, 17),
    ("exp", "y = Exp(x)", VEC, ANY, 17),
    ("log", "y = Log(x)", VEC, POSITIVE, 17),
    ("sqrt", "y = Sqrt(x)", VEC, POSITIVE, 17),
    ("reciprocal", "y = Reciprocal(x)", VEC, POSITIVE, 17),
    ("erf", "y = Erf(x)", VEC, WIDE, 17),
    ("tanh", "y = Tanh(x)", VEC, WIDE, 17),
    ("sin", "y = Sin(x)", VEC, WIDE, 17),
    ("cos", "y = Cos(x)", VEC, WIDE, 17),
    ("tan", "y = Tan(x)", VEC, ANY, 17),
    ("sinh", "y = Sinh(x)", VEC, ANY, 17),
    ("cosh", "y = Cosh(x)", VEC, ANY, 17),
    ("asin", "y = Asin(x)", VEC, (-0.9, 0.9), 17),
    ("acos", "y = Acos(x)", VEC, (-0.9, 0.9), 17),
    ("atan", "y = Atan(x)", VEC, WIDE, 17),
    ("asinh", "y = Asinh(x)", VEC, WIDE, 17),
    ("acosh", "y = Acosh(x)", VEC, (1.2, 3.0), 17),
    ("atanh", "y = Atanh(x)", VEC, (-0.9, 0.9), 17),
    // Arithmetic.
    ("add", "y = Add(x $3,1,1)", MAP, ANY, 17),
    ("add itself", "y = Add(x x)", MAP, ANY, 17),
    ("add broadcast", "r = ReduceMean(x) axes=2,3 keepdims=1 ; y = Add(r x)", MAP, ANY, 17),
    ("add to more axes", "!y = Add(x $4,2,5)", VEC, ANY, 17),
    ("sub", "r = ReduceMean(x) axes=2,3 keepdims=1 ; y = Sub(x r)", MAP, ANY, 17),
    ("sub constant", "y = Sub(=1.5 x)", MAP, ANY, 17),
    ("mul", "y = Mul(x $3,1,1)", MAP, ANY, 17),
    ("mul square", "y = Mul(x x)", MAP, ANY, 17),
    ("mul gate", "r = ReduceMean(x) axes=2,3 keepdims=1 ; s = Sigmoid(r) ; y = Mul(x s)", MAP, ANY, 17),
    ("div", "r = ReduceSum(x #1) keepdims=1 ; y = Div(x r)", VEC, POSITIVE, 17),
    ("div scalar", "y = Div(x =1.7)", VEC, ANY, 17),
    ("div constant", "y = Div(=1.7 x)", VEC, POSITIVE, 17),
    ("pow 2", "y = Pow(x =2)", VEC, ANY, 17),
    ("pow 3", "y = Pow(x =3)", VEC, ANY, 17),
    ("pow 1", "y = Pow(x =1)", VEC, ANY, 17),
    ("pow 0", "a = Pow(x =0) ; y = Add(a x)", VEC, ANY, 17),
    ("pow half", "y = Pow(x =0.5)", VEC, POSITIVE, 17),
    ("pow inverse", "y = Pow(x =-1)", VEC, POSITIVE, 17),
    ("pow 2.7", "y = Pow(x =2.7)", VEC, POSITIVE, 17),
    ("pow vector", "y = Pow(x ~0,1,2,2.5,-1)", VEC, POSITIVE, 17),
    ("pow exponent", "y = Pow(x x)", VEC, POSITIVE, 17),
    ("max", "y = Max(x =0.1 $5)", VEC, ANY, 17),
    ("max two", "a = Neg(x) ; y = Max(x a)", VEC, ANY, 17),
    ("min", "y = Min(x $5)", VEC, ANY, 17),
    ("min one", "y = Min(x)", VEC, ANY, 17),
    ("sum", "a = Mul(x x) ; y = Sum(x a $5)", VEC, ANY, 17),
    ("sum of one", "y = Sum(x)", VEC, ANY, 17),
    ("mean", "a = Mul(x x) ; y = Mean(x a $5)", VEC, ANY, 17),
    ("where", "c = Greater(x =0.2) ; a = Mul(x x) ; b = Mul(x =3) ; y = Where(c a b)", VEC, ANY, 17),
    ("where broadcast", "c = Greater(x =0.2) ; r = ReduceSum(x #1) keepdims=1 ; y = Where(c r =0.0)", VEC, ANY, 17),
    ("identity", "y = Identity(x)", VEC, ANY, 17),
    ("dropout", "y = Dropout(x)", VEC, ANY, 17),
    ("cast", "a = Cast(x) to=11 ; b = Mul(a a) ; y = Cast(b) to=1", VEC, ANY, 17),
    ("cast like", "y = CastLike(x =1.0)", VEC, ANY, 17),
    ("zero slope", "f = Floor(x) ; r = Round(x) ; s = Sign(x) ; a = Add(f r) ; b = Mul(s x) ; y = Add(a b)", VEC, WIDE, 17),
    // Matrix products.
    ("matmul", "y = MatMul(x $5,4)", VEC, ANY, 17),
    ("matmul batch", "t = Transpose(x) perm=0,1,3,2 ; y = MatMul(x t)", MAP, ANY, 17),
    ("matmul broadcast", "t = ReduceMean(x) axes=1, keepdims=1 ; u = Transpose(t) perm=0,1,3,2 ; y = MatMul(x u)", MAP, ANY, 17),
    ("matmul right constant batch", "y = MatMul(x $3,6,4)", MAP, ANY, 17),
    ("matmul left constant", "y = MatMul($4,7 x)", MAP, ANY, 17),
    ("matmul vector right", "y = MatMul(x $6)", MAP, ANY, 17),
    ("matmul vector left", "y = MatMul($7 x)", MAP, ANY, 17),
    ("matmul image vector", "v = ReduceSum(x #0) keepdims=0 ; y = MatMul(x v)", VEC, ANY, 17),
    ("matmul vector and vector", "v = ReduceSum(x #0) keepdims=0 ; w = Mul(v v) ; y = MatMul(v w)", VEC, ANY, 17),
    ("gemm", "y = Gemm(x $5,4 $4)", VEC, ANY, 17),
    ("gemm transposed", "y = Gemm(x $4,5 $1,4) transB=1 alpha=0.5 beta=2.0", VEC, ANY, 17),
    ("gemm left", "!y = Gemm(x $5,2 $5) transA=1 transB=1 beta=0.5", &[2, 4], ANY, 17),
    ("gemm right", "!y = Gemm($3,2 x $5)", VEC, ANY, 17),
    ("gemm right transposed", "y = Gemm($5,3 x) transA=1 transB=1", VEC, ANY, 17),
    ("einsum matmul", "y = Einsum(x x) equation='bij,bkj->bik'", &[2, 3, 4], ANY, 17),
    ("einsum heads", "y = Einsum(x $4,2,3) equation='bsd,dhe->bhse'", &[2, 3, 4], ANY, 17),
    ("einsum summed", "y = Einsum(x $3) equation='bij,i->b'", &[2, 3, 4], ANY, 17),
    ("einsum ellipsis", "y = Einsum(x $4,2) equation='...d,de->...e'", &[2, 3, 4], ANY, 17),
    ("einsum implicit", "y = Einsum(x $4,5) equation='bij,jk'", &[2, 3, 4], ANY, 17),
    // Normalisation.
    ("batch norm", "y = BatchNormalization(x $3 $3 $3 +3)", MAP, ANY, 17),
    ("batch norm vector", "y = BatchNormalization(x $5 $5 $5 +5) epsilon=0.01", VEC, ANY, 17),
    ("batch norm computed", "s = Mul($3 =2) ; y = BatchNormalization(x s $3 $3 +3)", MAP, ANY, 17),
    ("batch norm training", "y m v = BatchNormalization(x $3 $3 $3 +3) training_mode=1", MAP, ANY, 17),
    ("layer norm", "y = LayerNormalization(x $6 $6)", MAP, ANY, 17),
    ("layer norm axes", "y = LayerNormalization(x $3,7,6) axis=1 epsilon=0.01", MAP, ANY, 17),
    ("rms norm", "y = RMSNormalization(x $6)", MAP, ANY, 23),
    ("instance norm", "y = InstanceNormalization(x $3 $3)", MAP, ANY, 17),
    ("group norm", "y = GroupNormalization(x $4 $4) num_groups=2", &[2, 4, 3, 3], ANY, 21),
    ("group norm per group", "y = GroupNormalization(x $2 $2) num_groups=2", &[2, 4, 3, 3], ANY, 18),
    ("mean variance", "y = MeanVarianceNormalization(x) axes=2,3", MAP, ANY, 17),
    ("lrn", "y = LRN(x) size=3 alpha=0.5 beta=0.75 bias=1.5", &[2, 5, 3, 2], ANY, 17),
    ("lrn even", "y = LRN(x) size=4 alpha=0.5", &[2, 5, 3, 2], ANY, 17),
    // Reductions.
    ("reduce sum", "y = ReduceSum(x #1,-1) keepdims=0", MAP, ANY, 17),
    ("reduce sum all", "y = ReduceSum(x)", MAP, ANY, 17),
    ("reduce sum none", "y = ReduceSum(x) noop_with_empty_axes=1", MAP, ANY, 17),
    ("reduce mean", "y = ReduceMean(x) axes=2,3 keepdims=1", MAP, ANY, 17),
    ("reduce mean input", "y = ReduceMean(x #2,3) keepdims=0", MAP, ANY, 18),
    ("reduce mean batch", "y = ReduceMean(x) axes=0,2 keepdims=0", MAP, ANY, 17),
    ("reduce max", "y = ReduceMax(x) axes=1, keepdims=0", MAP, ANY, 17),
    ("reduce max input", "y = ReduceMax(x #1) keepdims=1", MAP, ANY, 20),
    ("reduce min", "y = ReduceMin(x) axes=1,3 keepdims=1", MAP, ANY, 17),
    ("reduce l1", "y = ReduceL1(x) axes=1, keepdims=0", MAP, ANY, 17),
    ("reduce l2", "y = ReduceL2(x) axes=1, keepdims=1", MAP, ANY, 17),
    ("reduce l2 input", "y = ReduceL2(x #-1) keepdims=0", MAP, ANY, 18),
    ("reduce log sum", "y = ReduceLogSum(x) axes=1, keepdims=0", MAP, POSITIVE, 17),
    ("reduce log sum exp", "y = ReduceLogSumExp(x) axes=1, keepdims=0", MAP, ANY, 17),
    ("reduce sum square", "y = ReduceSumSquare(x) axes=1, keepdims=0", MAP, ANY, 17),
    ("cumsum", "y = CumSum(x !2)", MAP, ANY, 17),
    ("cumsum exclusive reverse", "y = CumSum(x !-1) exclusive=1 reverse=1", MAP, ANY, 17),
    ("softmax", "y = Softmax(x)", VEC, WIDE, 17),
    ("softmax axis", "y = Softmax(x) axis=1", MAP, WIDE, 17),
    ("log softmax", "y = LogSoftmax(x) axis=1", MAP, WIDE, 17),
    // Shapes.
    ("reshape", "y = Reshape(x #-1,18,7)", MAP, ANY, 17),
    ("flatten", "y = Flatten(x) axis=1", MAP, ANY, 17),
    ("squeeze", "r = ReduceMean(x) axes=2,3 keepdims=1 ; y = Squeeze(r #2,3)", MAP, ANY, 17),
    ("unsqueeze", "y = Unsqueeze(x #1,4)", MAP, ANY, 17),
    ("transpose", "y = Transpose(x) perm=0,2,3,1", MAP, ANY, 17),
    ("transpose lazy", "r = Transpose(x) perm=0,2,3,1 ; y = ReduceMean(r) axes=1,2 keepdims=1", MAP, ANY, 17),
    ("transpose default", "y = Transpose(x)", VEC, ANY, 17),
    ("concat", "!a = Mul(x x) ; y = Concat(x a $2,2,7,6) axis=1", MAP, ANY, 17),
    ("concat all", "a = Mul(x x) ; y = Concat(x a) axis=-1", MAP, ANY, 17),
    ("split", "a b c = Split(x #1,3,2) axis=3 ; y = Mul(b b)", MAP, ANY, 17),
    ("split all", "a b = Split(x #3,3) axis=3 ; y = Mul(a b)", MAP, ANY, 17),
    ("split outer", "a b c = Split(x #1,3,2) axis=3 ; r = ReduceMean(c) axes=3, keepdims=1 ; y = Mul(a r)", MAP, ANY, 17),
    ("split first", "a b c = Split(x #1,3,2) axis=3 ; y = Mul(a a)", MAP, ANY, 17),
    ("slice", "y = Slice(x #1,-3 #5,-1 #2,3)", MAP, ANY, 17),
    ("slice step 2", "y = Slice(x #1 #9999 #2 #2)", MAP, ANY, 17),
    ("slice step 3 end", "y = Slice(x #0,0 #6,9999 #2,3 #3,4)", MAP, ANY, 17),
    ("slice reversed", "y = Slice(x #-1 #-9999 #3 #-1)", MAP, ANY, 17),
    ("slice reversed step", "y = Slice(x #5 #0 #2 #-2)", MAP, ANY, 17),
    ("slice batch named", "y = Slice(x #0,1 #9223372036854775807,3 #0,1)", MAP, ANY, 17),
    ("gather one", "y = Gather(x !-2) axis=3", MAP, ANY, 17),
    ("gather run", "y = Gather(x #2,3,4) axis=2", MAP, ANY, 17),
    ("gather permutation", "y = Gather(x #2,0,1) axis=1", MAP, ANY, 17),
    ("gather repeats", "y = Gather(x #2,0,2,2,5) axis=2", MAP, ANY, 17),
    ("gather computed", "i = Cast(#1,0,-2) to=7 ; y = Gather(x i) axis=2", MAP, ANY, 17),
    ("gather batch", "y = Gather(x #1,0,1) axis=0", MAP, ANY, 17),
    ("gather elements", "i = Reshape(#0,2,1,1,3,0,2,2,1,4 #2,5) ; y = GatherElements(x i) axis=1", VEC, ANY, 17),
    ("gather nd", "i = Reshape(#0,2,1,1,0,2 #3,2) ; y = GatherND(x i)", VEC, ANY, 17),
    ("scatter nd", "i = Reshape(#0,2,1,1 #2,2) ; s = ReduceSum(x) keepdims=0 ; u = Mul(s $2) ; y = ScatterND(x i u)", VEC, ANY, 17),
    ("scatter nd add", "i = Reshape(#0,2,0,2 #2,2) ; s = ReduceSum(x) keepdims=0 ; u = Mul(s $2) ; y = ScatterND(x i u) reduction='add'", VEC, ANY, 17),
    ("expand", "r = ReduceMean(x) axes=2,3 keepdims=1 ; y = Expand(r #1,3,4,5)", MAP, ANY, 17),
    ("expand axes", "y = Expand(x #3,1,5)", VEC, ANY, 17),
    ("tile", "y = Tile(x #1,2,1,3)", MAP, ANY, 17),
    ("depth to space", "y = DepthToSpace(x) blocksize=2", &[2, 8, 2, 3], ANY, 17),
    ("depth to space CRD", "y = DepthToSpace(x) blocksize=2 mode='CRD'", &[2, 8, 2, 3], ANY, 17),
    ("space to depth", "y = SpaceToDepth(x) blocksize=2", &[2, 3, 4, 6], ANY, 17),
    ("trilu", "y = Trilu(x)", MAP, ANY, 17),
    ("trilu lower", "y = Trilu(x !1) upper=0", MAP, ANY, 17),
    ("pad", "y = Pad(x #0,0,1,2,0,0,3,0)", MAP, ANY, 17),
    ("pad negative", "y = Pad(x #0,0,-1,2,0,0,3,-2)", MAP, ANY, 17),
    ("pad axes", "y = Pad(x #1,2 =0.5 #3) mode='constant'", MAP, ANY, 18),
    ("pad reflect", "y = Pad(x #0,0,2,1,0,0,1,3) mode='reflect'", MAP, ANY, 17),
    ("pad edge", "y = Pad(x #0,0,2,1,0,0,1,3) mode='edge'", MAP, ANY, 17),
    ("pad wrap", "y = Pad(x #0,0,2,1,0,0,1,3) mode='wrap'", MAP, ANY, 19),
    // Resizing.
    ("resize nearest x2", "y = Resize(x _ ~1,1,2,2) mode='nearest' coordinate_transformation_mode='asymmetric' nearest_mode='floor'", &[2, 3, 3, 4], ANY, 17),
    ("resize nearest half pixel", "y = Resize(x _ ~1,1,2,3) mode='nearest'", &[2, 3, 3, 4], ANY, 17),
    ("resize nearest down", "!y = Resize(x _ _ #2,3,4,3) mode='nearest' nearest_mode='ceil'", MAP, ANY, 17),
    ("resize linear", "y = Resize(x _ ~1,1,2,1.5) mode='linear'", &[2, 3, 3, 4], ANY, 17),
    ("resize linear sizes", "!y = Resize(x _ _ #2,3,5,9) mode='linear' coordinate_transformation_mode='pytorch_half_pixel'", MAP, ANY, 17),
    ("resize linear corners", "!y = Resize(x _ _ #2,3,5,9) mode='linear' coordinate_transformation_mode='align_corners'", MAP, ANY, 17),
    ("resize cubic", "!y = Resize(x _ _ #2,3,9,5) mode='cubic'", MAP, ANY, 17),
    ("resize cubic inside", "!y = Resize(x _ _ #2,3,9,5) mode='cubic' exclude_outside=1 cubic_coeff_a=-0.5", MAP, ANY, 17),
    ("resize axes", "y = Resize(x _ ~2,1.5) mode='linear' axes=2,3", MAP, ANY, 18),
    ("resize channels last", "t = Transpose(x) perm=0,2,3,1 ; y = Resize(t _ ~1,2,2,1) mode='nearest'", &[2, 3, 3, 4], ANY, 17),
    ("resize symmetric", "y = Resize(x _ ~1,1,1.7,0.6) mode='linear' coordinate_transformation_mode='half_pixel_symmetric'", MAP, ANY, 19),
    ("upsample", "y = Upsample(x ~1,1,2,2) mode='nearest'", &[2, 3, 3, 4], ANY, 9),
    // Attention.
    ("attention", "q = Mul(x $3) ; v = Mul(x x) ; y = Attention(q x v)", &[2, 2, 4, 3], ANY, 23),
    ("attention causal", "q = Mul(x $3) ; y = Attention(q x x) is_causal=1 scale=0.7", &[2, 2, 4, 3], ANY, 23),
    ("attention mask", "q = Mul(x $3) ; y = Attention(q x x $4,4)", &[2, 2, 4, 3], ANY, 23),
    ("attention flat shared heads", "a b = Split(x #4,2) axis=2 ; y = Attention(a b b) q_num_heads=4 kv_num_heads=2", &[2, 3, 6], ANY, 23),
];

#[test]
fn rules_agree_with_central_differences() {
    let mut failures = Vec::new();
    for (i, (name, text, shape, range, opset)) in ROWS.iter().enumerate() {
        let graph = build(text, shape, *opset);
        let x = Noise::new(1000 + i as u64).many(shape.iter().product(), range.0, range.1);
        match compare(&graph, shape, &x, 1e-5) {
            Ok((analytic, numeric)) => {
                let error = relative(&analytic, &numeric);
                if error > 1e-6 {
                    failures.push(format!("{name}: relative error {error:.2e}"));
                }
            }
            Err(e) => failures.push(format!("{name}: {e}")),
        }
    }
    assert!(failures.is_empty(), "{} of {} rows failed:\n{}", failures.len(), ROWS.len(), failures.join("\n"));
}

#[test]
fn every_rule_is_tested() {
    // Rounding has no slope to compare with: tests/gradient_conventions.rs checks these.
    let mut tested: HashSet<String> = HashSet::from(["QuantizeLinear".to_owned(), "DequantizeLinear".to_owned()]);
    for (_, text, shape, _, opset) in ROWS {
        tested.extend(build(text, shape, *opset).nodes.into_iter().map(|n| n.op));
    }
    let untested: Vec<&str> = REGISTRY.iter().map(|(op, _)| *op).filter(|op| !tested.contains(*op)).collect();
    assert!(untested.is_empty(), "rules without a row: {untested:?}");
}
