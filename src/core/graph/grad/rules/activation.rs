//! Activations. Masks are read from the output where it tells the side, so that Conv + activation stays fused.

use super::Cx;
use crate::core::error::Result;

pub fn relu(cx: &mut Cx) -> Result<()> {
    if cx.masked(cx.y()) {
        let g = cx.lazy()?;
        return cx.push(0, g);
    }
    let m = cx.b.positive(cx.y());
    cx.chain(&m)
}

/// Strictly inside the bounds; an omitted bound costs nothing.
pub fn clip(cx: &mut Cx) -> Result<()> {
    let (b, y, dtype) = (cx.b, cx.y(), cx.dtype(0)?);
    if let Some(inside) = ramps(cx)? {
        return cx.chain(&inside);
    }
    let bound = |i: usize, attr: &str| match cx.node.attrs.get(attr) {
        Some(_) => Some(b.scalar(f64::from(cx.node.float(attr, 0.0)), dtype)),
        None => cx.node.input(i).map(str::to_owned),
    };
    let above = bound(1, "min").map(|lo| b.compare("Greater", y, &lo));
    let below = bound(2, "max").map(|hi| b.compare("Less", y, &hi));
    let inside = match (above, below) {
        (Some(lo), Some(hi)) => b.compare("And", &lo, &hi),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => {
            let g = cx.lazy()?;
            return cx.push(0, g);
        }
    };
    let m = b.cast(&inside, dtype);
    cx.chain(&m)
}

/// Whether a value lies between constant bounds, as a product of steep ramps that stay in the blocked layout.
fn ramps(cx: &Cx) -> Result<Option<String>> {
    let bound = |i: usize, attr: &str| match cx.node.attrs.get(attr) {
        Some(_) => Some(Some(cx.node.float(attr, 0.0))),
        None if cx.node.input(i).is_none() => Some(None),
        None => cx.constant(i).and_then(|t| t.to_f64()).and_then(|v| v.first().copied()).map(|v| Some(v as f32)),
    };
    let (Some(low), Some(high)) = (bound(1, "min"), bound(2, "max")) else { return Ok(None) };
    let above = low.map(|v| cx.b.beyond(cx.y(), v, true));
    let below = high.map(|v| cx.b.beyond(cx.y(), v, false));
    Ok(match (above, below) {
        (Some(Some(a)), Some(Some(b))) => Some(cx.b.mul(&a, &b)),
        (Some(Some(one)), None) | (None, Some(Some(one))) => Some(one),
        _ => None,
    })
}

pub fn leaky_relu(cx: &mut Cx) -> Result<()> {
    let alpha = f64::from(cx.node.float("alpha", 0.01));
    let slope = sided(cx, if alpha >= 0.0 { cx.y() } else { cx.x(0)? }, alpha);
    cx.chain(&slope)
}

/// 1 where `side` is positive, else `alpha`.
fn sided(cx: &Cx, side: &str, alpha: f64) -> String {
    let m = cx.b.mask_scalar("Greater", side, 0.0);
    if (0.0..=1.0).contains(&alpha) {
        return cx.b.binary("Max", &m, &cx.b.scalar(alpha, cx.b.dtype(side)));
    }
    cx.b.shift(&cx.b.scale(&m, 1.0 - alpha), alpha)
}

pub fn prelu(cx: &mut Cx) -> Result<()> {
    let (b, x, slope) = (cx.b, cx.x(0)?, cx.x(1)?);
    let g = cx.g()?;
    if cx.needs(0) {
        let m = b.mask_scalar("Greater", x, 0.0);
        let local = b.add(&m, &b.mul(&b.from_scalar(1.0, &m), slope));
        let gx = b.mul(&g, &local);
        cx.push(0, gx)?;
    }
    if cx.needs(1) {
        let negative = b.binary("Min", x, &b.scalar(0.0, b.dtype(x)));
        let gs = b.mul(&g, &negative);
        cx.push_summed(1, &gs)?;
    }
    Ok(())
}

pub fn sigmoid(cx: &mut Cx) -> Result<()> {
    let slope = cx.b.mul(cx.y(), &cx.b.complement(cx.y()));
    cx.chain(&slope)
}

pub fn hard_sigmoid(cx: &mut Cx) -> Result<()> {
    let (b, y) = (cx.b, cx.y());
    let alpha = f64::from(cx.node.float("alpha", 0.2));
    if let (Some(above), Some(below)) = (b.beyond(y, 0.0, true), b.beyond(y, 1.0, false)) {
        let slope = b.scale(&b.mul(&above, &below), alpha);
        return cx.chain(&slope);
    }
    let inside =
        b.compare("And", &b.compare("Greater", y, &b.scalar(0.0, cx.dtype(0)?)), &b.compare("Less", y, &b.scalar(1.0, cx.dtype(0)?)));
    let slope = b.scale(&b.cast(&inside, cx.dtype(0)?), alpha);
    cx.chain(&slope)
}

pub fn hard_swish(cx: &mut Cx) -> Result<()> {
    let (b, x, dtype) = (cx.b, cx.x(0)?, cx.dtype(0)?);
    let attrs = [("alpha", (1.0f32 / 6.0).into()), ("beta", 0.5f32.into())];
    let h = b.emit("HardSigmoid", &[x], &attrs, dtype, cx.shape(0)?);
    let inside = b.mask_scalar("Less", &b.unary("Abs", x), 3.0);
    let slope = b.add(&h, &b.mul(&b.scale(x, 1.0 / 6.0), &inside));
    cx.chain(&slope)
}

/// Slope 1 on the positive side; on the other `(y + offset) * factor`, read from the output so that exp cannot overflow.
fn exponential(cx: &mut Cx, positive: f64, offset: f64, factor: f64) -> Result<()> {
    let (b, y) = (cx.b, cx.y());
    let low = b.binary("Min", y, &b.scalar(0.0, cx.dtype(0)?));
    let branch = b.scale(&b.shift(&low, offset), factor);
    let at_zero = offset * factor;
    // On the positive side `branch` is `at_zero`; lift it to the slope there.
    let slope = if (positive - at_zero).abs() < f64::EPSILON {
        branch
    } else {
        b.add(&branch, &b.scale(&b.mask_scalar("Greater", y, 0.0), positive - at_zero))
    };
    cx.chain(&slope)
}

pub fn elu(cx: &mut Cx) -> Result<()> {
    let alpha = f64::from(cx.node.float("alpha", 1.0));
    if alpha < 0.0 {
        return Err(cx.unsupported("negative alpha"));
    }
    exponential(cx, 1.0, alpha, 1.0)
}

pub fn selu(cx: &mut Cx) -> Result<()> {
    let alpha = f64::from(cx.node.float("alpha", 1.673_263_2));
    let gamma = f64::from(cx.node.float("gamma", 1.050_701));
    exponential(cx, gamma, gamma * alpha, 1.0)
}

pub fn celu(cx: &mut Cx) -> Result<()> {
    let alpha = f64::from(cx.node.float("alpha", 1.0));
    exponential(cx, 1.0, alpha, 1.0 / alpha)
}

pub fn softplus(cx: &mut Cx) -> Result<()> {
    let slope = cx.b.unary("Sigmoid", cx.x(0)?);
    cx.chain(&slope)
}

pub fn softsign(cx: &mut Cx) -> Result<()> {
    let root = cx.b.from_scalar(1.0, &cx.b.unary("Abs", cx.y()));
    let slope = cx.b.mul(&root, &root);
    cx.chain(&slope)
}

pub fn mish(cx: &mut Cx) -> Result<()> {
    let (b, x) = (cx.b, cx.x(0)?);
    let t = b.unary("Tanh", &b.unary("Softplus", x));
    let s = b.unary("Sigmoid", x);
    let slope = b.add(&t, &b.mul(&b.mul(x, &s), &b.from_scalar(1.0, &b.mul(&t, &t))));
    cx.chain(&slope)
}

pub fn swish(cx: &mut Cx) -> Result<()> {
    let (b, x) = (cx.b, cx.x(0)?);
    let alpha = f64::from(cx.node.float("alpha", 1.0));
    let s = b.unary("Sigmoid", &b.scale(x, alpha));
    let slope = b.add(&s, &b.mul(&b.scale(cx.y(), alpha), &b.from_scalar(1.0, &s)));
    cx.chain(&slope)
}

pub fn thresholded_relu(cx: &mut Cx) -> Result<()> {
    let alpha = f64::from(cx.node.float("alpha", 1.0));
    let m = cx.b.mask_scalar("Greater", cx.x(0)?, alpha);
    cx.chain(&m)
}

pub fn gelu(cx: &mut Cx) -> Result<()> {
    let (b, x) = (cx.b, cx.x(0)?);
    let g = cx.lazy()?;
    let half = b.scale(&g, 0.5);
    // Twice the slope, the factor being in `half`.
    let double = if cx.node.text("approximate", "none") == "tanh" {
        let square = b.mul(x, x);
        let c = (2.0 / std::f64::consts::PI).sqrt();
        let inner = b.scale(&b.add(x, &b.scale(&b.mul(&square, x), 0.044_715)), c);
        let t = b.unary("Tanh", &inner);
        let inner_slope = b.shift(&b.scale(&square, 3.0 * 0.044_715 * c), c);
        let bend = b.mul(&b.mul(x, &b.from_scalar(1.0, &b.mul(&t, &t))), &inner_slope);
        b.shift(&b.add(&t, &bend), 1.0)
    } else {
        let t = b.scale(x, std::f64::consts::FRAC_1_SQRT_2);
        let bell = b.scale(&b.div(&t, &b.unary("Exp", &b.mul(&t, &t))), std::f64::consts::FRAC_2_SQRT_PI);
        b.shift(&b.add(&b.unary("Erf", &t), &bell), 1.0)
    };
    let gx = b.mul(&half, &double);
    cx.push(0, gx)
}

pub fn shrink(cx: &mut Cx) -> Result<()> {
    let lambda = f64::from(cx.node.float("lambd", 0.5));
    let m = cx.b.mask_scalar("Greater", &cx.b.unary("Abs", cx.x(0)?), lambda);
    cx.chain(&m)
}
