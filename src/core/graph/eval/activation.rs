//! Activations and other functions of one float tensor.

use super::{
    Args, Res, Rule, Value, flat,
    geometry::axes::{broadcast_strides, strides, walk},
    value::array,
};

macro_rules! unary {
    ($f:expr) => {
        |a| {
            let f: fn(f64) -> f64 = $f;
            Ok(vec![Value::F(a.f(0)?.mapv(f))])
        }
    };
}

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Acos", unary!(f64::acos)),
    ("Acosh", unary!(f64::acosh)),
    ("Asin", unary!(f64::asin)),
    ("Asinh", unary!(f64::asinh)),
    ("Atan", unary!(f64::atan)),
    ("Atanh", unary!(f64::atanh)),
    ("Celu", |a| {
        let alpha = a.float("alpha", 1.0);
        map(a, |x| if x > 0.0 { x } else { alpha * (x / alpha).exp_m1() })
    }),
    ("Ceil", unary!(f64::ceil)),
    ("Cos", unary!(f64::cos)),
    ("Cosh", unary!(f64::cosh)),
    ("Elu", |a| {
        let alpha = a.float("alpha", 1.0);
        map(a, |x| if x > 0.0 { x } else { alpha * x.exp_m1() })
    }),
    ("Erf", unary!(erf)),
    ("Exp", unary!(f64::exp)),
    ("Floor", unary!(f64::floor)),
    ("Gelu", |a| {
        if a.node.text("approximate", "none") == "tanh" { map(a, gelu_tanh) } else { map(a, |x| 0.5 * x * (1.0 + erf(x / 2f64.sqrt()))) }
    }),
    ("HardSigmoid", |a| {
        let (alpha, beta) = (a.float("alpha", 0.2), a.float("beta", 0.5));
        map(a, |x| (alpha * x + beta).clamp(0.0, 1.0))
    }),
    ("HardSwish", unary!(|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0))),
    ("LeakyRelu", |a| {
        let alpha = a.float("alpha", 0.01);
        map(a, |x| if x < 0.0 { alpha * x } else { x })
    }),
    ("Log", unary!(f64::ln)),
    ("Mish", unary!(|x| x * softplus(x).tanh())),
    ("PRelu", prelu),
    ("Reciprocal", unary!(f64::recip)),
    ("Round", unary!(f64::round_ties_even)),
    ("Selu", |a| {
        let (alpha, gamma) = (a.float("alpha", f64::from(1.673_263_2_f32)), a.float("gamma", f64::from(1.050_701_f32)));
        map(a, |x| gamma * if x > 0.0 { x } else { alpha * x.exp_m1() })
    }),
    ("Shrink", |a| {
        let (bias, lambda) = (a.float("bias", 0.0), a.float("lambd", 0.5));
        map(a, |x| {
            if x < -lambda {
                x + bias
            } else if x > lambda {
                x - bias
            } else {
                0.0
            }
        })
    }),
    ("Sigmoid", unary!(sigmoid)),
    ("Sin", unary!(f64::sin)),
    ("Sinh", unary!(f64::sinh)),
    ("Softplus", unary!(softplus)),
    ("Softsign", unary!(|x| x / (1.0 + x.abs()))),
    ("Sqrt", unary!(f64::sqrt)),
    ("Swish", |a| {
        let alpha = a.float("alpha", 1.0);
        map(a, |x| x * sigmoid(alpha * x))
    }),
    ("Tan", unary!(f64::tan)),
    ("Tanh", unary!(f64::tanh)),
    ("ThresholdedRelu", |a| {
        let alpha = a.float("alpha", 1.0);
        map(a, |x| if x > alpha { x } else { 0.0 })
    }),
];

fn map(a: &Args, f: impl Fn(f64) -> f64) -> Res<Vec<Value>> {
    Ok(vec![Value::F(a.f(0)?.mapv(f))])
}

fn prelu(a: &Args) -> Res<Vec<Value>> {
    let (x, slope) = (a.f(0)?, a.f(1)?);
    let (xs, ss) = (flat(x), flat(slope));
    let mut out = Vec::with_capacity(xs.len());
    walk(x.shape(), [&strides(x.shape()), &broadcast_strides(slope.shape(), x.shape())], |[i, j]| {
        out.push(if xs[i] < 0.0 { ss[j] * xs[i] } else { xs[i] });
    });
    Ok(vec![Value::F(array(x.shape(), out))])
}

fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn gelu_tanh(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh())
}

/// Error function to double precision: a series of positive terms near 0, a continued fraction beyond 3.
pub(super) fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let a = x.abs();
    let value = if a < 3.0 {
        let (mut term, mut sum, mut n) = (a, a, 0.0);
        while term > sum * 1e-17 {
            n += 1.0;
            term *= 2.0 * a * a / (2.0 * n + 1.0);
            sum += term;
        }
        2.0 / std::f64::consts::PI.sqrt() * (-a * a).exp() * sum
    } else if a < 6.0 {
        let fraction = (1..=60).rev().fold(a, |f, k| a + f64::from(k) / 2.0 / f);
        1.0 - (-a * a).exp() / (std::f64::consts::PI.sqrt() * fraction)
    } else {
        1.0
    };
    value.copysign(x)
}
