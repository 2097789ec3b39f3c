//! Functions of one variable.

use super::Cx;
use crate::core::error::Result;

pub fn abs(cx: &mut Cx) -> Result<()> {
    let slope = cx.b.unary("Sign", cx.x(0)?);
    cx.chain(&slope)
}

pub fn neg(cx: &mut Cx) -> Result<()> {
    let g = cx.lazy()?;
    let gx = cx.b.neg(&g);
    cx.push(0, gx)
}

pub fn exp(cx: &mut Cx) -> Result<()> {
    cx.chain(cx.y())
}

pub fn log(cx: &mut Cx) -> Result<()> {
    let g = cx.lazy()?;
    let gx = cx.b.div(&g, cx.x(0)?);
    cx.push(0, gx)
}

pub fn sqrt(cx: &mut Cx) -> Result<()> {
    let g = cx.lazy()?;
    let gx = cx.b.div(&cx.b.scale(&g, 0.5), cx.y());
    cx.push(0, gx)
}

pub fn reciprocal(cx: &mut Cx) -> Result<()> {
    let slope = cx.b.neg(&cx.b.mul(cx.y(), cx.y()));
    cx.chain(&slope)
}

pub fn erf(cx: &mut Cx) -> Result<()> {
    let (b, x) = (cx.b, cx.x(0)?);
    // Divided by exp(x^2) instead of multiplied by exp(-x^2): one pass less, and infinity gives the right limit. The factor comes
    // last, where the one of the argument (as in GELU) joins it.
    let g = cx.lazy()?;
    let gx = b.scale(&b.div(&g, &b.unary("Exp", &b.mul(x, x))), std::f64::consts::FRAC_2_SQRT_PI);
    cx.push(0, gx)
}

pub fn tanh(cx: &mut Cx) -> Result<()> {
    let slope = cx.b.from_scalar(1.0, &cx.b.mul(cx.y(), cx.y()));
    cx.chain(&slope)
}

pub fn sin(cx: &mut Cx) -> Result<()> {
    let slope = cx.b.unary("Cos", cx.x(0)?);
    cx.chain(&slope)
}

pub fn cos(cx: &mut Cx) -> Result<()> {
    let slope = cx.b.neg(&cx.b.unary("Sin", cx.x(0)?));
    cx.chain(&slope)
}

pub fn tan(cx: &mut Cx) -> Result<()> {
    let slope = cx.b.shift(&cx.b.mul(cx.y(), cx.y()), 1.0);
    cx.chain(&slope)
}

pub fn sinh(cx: &mut Cx) -> Result<()> {
    let slope = cx.b.unary("Cosh", cx.x(0)?);
    cx.chain(&slope)
}

pub fn cosh(cx: &mut Cx) -> Result<()> {
    let slope = cx.b.unary("Sinh", cx.x(0)?);
    cx.chain(&slope)
}

pub fn atan(cx: &mut Cx) -> Result<()> {
    let (b, x) = (cx.b, cx.x(0)?);
    let slope = b.unary("Reciprocal", &b.shift(&b.mul(x, x), 1.0));
    cx.chain(&slope)
}

pub fn atanh(cx: &mut Cx) -> Result<()> {
    let (b, x) = (cx.b, cx.x(0)?);
    let slope = b.unary("Reciprocal", &b.from_scalar(1.0, &b.mul(x, x)));
    cx.chain(&slope)
}

pub fn asin(cx: &mut Cx) -> Result<()> {
    let (b, x) = (cx.b, cx.x(0)?);
    let slope = b.unary("Reciprocal", &b.unary("Sqrt", &b.from_scalar(1.0, &b.mul(x, x))));
    cx.chain(&slope)
}

pub fn acos(cx: &mut Cx) -> Result<()> {
    let (b, x) = (cx.b, cx.x(0)?);
    let slope = b.neg(&b.unary("Reciprocal", &b.unary("Sqrt", &b.from_scalar(1.0, &b.mul(x, x)))));
    cx.chain(&slope)
}

pub fn asinh(cx: &mut Cx) -> Result<()> {
    let (b, x) = (cx.b, cx.x(0)?);
    let slope = b.unary("Reciprocal", &b.unary("Sqrt", &b.shift(&b.mul(x, x), 1.0)));
    cx.chain(&slope)
}

pub fn acosh(cx: &mut Cx) -> Result<()> {
    let (b, x) = (cx.b, cx.x(0)?);
    let slope = b.unary("Reciprocal", &b.unary("Sqrt", &b.shift(&b.mul(x, x), -1.0)));
    cx.chain(&slope)
}
