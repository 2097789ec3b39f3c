//! Arithmetic with broadcasting, selection, conversion.

use super::Cx;
use crate::core::error::Result;

pub fn identity(cx: &mut Cx) -> Result<()> {
    let g = cx.lazy()?;
    cx.push(0, g)
}

pub fn cast(cx: &mut Cx) -> Result<()> {
    let g = cx.lazy()?;
    let gx = cx.b.cast(&g, cx.dtype(0)?);
    cx.push(0, gx)?;
    if cx.node.inputs.len() > 1 {
        cx.skip(1);
    }
    Ok(())
}

pub fn add(cx: &mut Cx) -> Result<()> {
    for i in 0..cx.node.inputs.len() {
        if cx.needs(i) {
            let g = cx.g_for(i)?;
            cx.push_summed(i, &g)?;
        }
    }
    Ok(())
}

pub fn sum(cx: &mut Cx) -> Result<()> {
    add(cx)
}

pub fn mean(cx: &mut Cx) -> Result<()> {
    let n = cx.node.inputs.len() as f64;
    for i in 0..cx.node.inputs.len() {
        if cx.needs(i) {
            let g = cx.g_for(i)?;
            let gx = cx.b.scale(&g, 1.0 / n);
            cx.push_summed(i, &gx)?;
        }
    }
    Ok(())
}

pub fn sub(cx: &mut Cx) -> Result<()> {
    if cx.needs(0) {
        let g = cx.g_for(0)?;
        cx.push_summed(0, &g)?;
    }
    if cx.needs(1) {
        let g = cx.g_for(1)?;
        let to = cx.shape(1)?;
        let gx = cx.b.neg(&cx.b.unbroadcast(&g, &to));
        cx.push(1, gx)?;
    }
    Ok(())
}

pub fn mul(cx: &mut Cx) -> Result<()> {
    let (b, x0, x1) = (cx.b, cx.x(0)?, cx.x(1)?);
    if x0 == x1 {
        let g = cx.lazy()?;
        let gx = b.mul(&g, &b.scale(x0, 2.0));
        cx.push(0, gx)?;
        cx.skip(1);
        return Ok(());
    }
    if silu(cx, 0, 1)? || silu(cx, 1, 0)? || super::channel::gated(cx)? {
        return Ok(());
    }
    for (i, other) in [(0, x1), (1, x0)] {
        if cx.needs(i) {
            let g = cx.g_for(i)?;
            let gx = b.mul(&g, other);
            cx.push_summed(i, &gx)?;
        }
    }
    Ok(())
}

/// `x * Sigmoid(x)`: one slope for both factors, `s + y * (1 - s)`.
fn silu(cx: &mut Cx, plain: usize, gate: usize) -> Result<bool> {
    let (b, x, s) = (cx.b, cx.x(plain)?, cx.x(gate)?);
    let fits = cx.producer(s).is_some_and(|p| p.op == "Sigmoid" && p.domain.is_empty() && p.input(0) == Some(x));
    if !fits || !cx.needs(plain) {
        return Ok(false);
    }
    let slope = b.add(s, &b.mul(cx.y(), &b.complement(s)));
    let g = cx.lazy()?;
    let gx = b.mul(&g, &slope);
    cx.push(plain, gx)?;
    cx.skip(gate);
    Ok(true)
}

pub fn div(cx: &mut Cx) -> Result<()> {
    let (b, x1, y) = (cx.b, cx.x(1)?, cx.y());
    if cx.needs(0) {
        let g = cx.g_for(0)?;
        let gx = match cx.constant(1).filter(|c| c.len() == 1).and_then(|c| c.to_f64()) {
            Some(c) => b.scale(&g, 1.0 / c[0]),
            None => b.div(&g, x1),
        };
        cx.push_summed(0, &gx)?;
    }
    if cx.needs(1) {
        let g = cx.g_for(1)?;
        let to = cx.shape(1)?;
        let gx = b.neg(&b.div(&b.unbroadcast(&b.mul(&g, y), &to), x1));
        cx.push(1, gx)?;
    }
    Ok(())
}

/// torch's convention at a zero base: slope 0 for exponent 0; the exponent's own gradient is 0 there.
pub fn pow(cx: &mut Cx) -> Result<()> {
    let (b, x, p, y) = (cx.b, cx.x(0)?, cx.x(1)?, cx.y());
    let dtype = cx.dtype(0)?;
    let fixed = cx.constant(1).filter(|c| c.len() == 1).and_then(|c| c.to_f64()).map(|v| v[0]);
    if cx.needs(0) {
        let g = cx.g_for(0)?;
        let slope = match fixed {
            Some(0.0) => b.mul(x, &b.scalar(0.0, dtype)),
            Some(1.0) => b.scalar(1.0, dtype),
            Some(2.0) => b.scale(x, 2.0),
            Some(3.0) => b.scale(&b.mul(x, x), 3.0),
            Some(0.5) => b.div(&b.scalar(0.5, dtype), y),
            Some(-1.0) => b.neg(&b.mul(y, y)),
            Some(v) => b.scale(&b.binary("Pow", x, &b.scalar(v - 1.0, dtype)), v),
            None => {
                let p = b.cast(p, dtype);
                let zero = b.scalar(0.0, dtype);
                // Exponent 0 needs slope 0 even where x^(-1) is infinite: use exponent 1 there, the factor p is 0.
                let lowered = b.shift(&b.add(&p, &b.mask("Equal", &p, &zero)), -1.0);
                b.mul(&p, &b.binary("Pow", x, &lowered))
            }
        };
        let gx = b.mul(&g, &slope);
        cx.push_summed(0, &gx)?;
    }
    if cx.needs(1) {
        let g = cx.g()?;
        let flat = b.mask_scalar("Equal", x, 0.0);
        let slope = b.mul(y, &b.unary("Log", &b.add(x, &flat)));
        let gp = b.mul(&g, &slope);
        cx.push_summed(1, &gp)?;
    }
    Ok(())
}

/// Max and Min of any number of operands: ties share equally, as torch.maximum does.
pub fn extremum(cx: &mut Cx) -> Result<()> {
    let (b, y) = (cx.b, cx.y());
    let n = cx.node.inputs.len();
    if n == 1 {
        return identity(cx);
    }
    let g = cx.g()?;
    let full = |i: usize| -> Result<String> { Ok(b.mask("Equal", y, cx.x(i)?)) };
    let masks = (0..n).map(full).collect::<Result<Vec<_>>>()?;
    let share = b.div(&g, &b.sum(&masks));
    for (i, mask) in masks.iter().enumerate() {
        if cx.needs(i) {
            let gx = b.mul(&share, mask);
            cx.push_summed(i, &gx)?;
        }
    }
    Ok(())
}

pub fn where_(cx: &mut Cx) -> Result<()> {
    let (b, condition) = (cx.b, cx.x(0)?);
    for i in [1, 2] {
        if cx.needs(i) {
            let g = cx.g()?;
            let dtype = cx.dtype(i)?;
            let yes = b.cast(condition, dtype);
            let m = if i == 1 { yes } else { b.from_scalar(1.0, &yes) };
            let gx = b.mul(&g, &m);
            cx.push_summed(i, &gx)?;
        }
    }
    Ok(())
}

/// The remainder moves with the dividend.
pub fn modulo(cx: &mut Cx) -> Result<()> {
    let g = cx.g_for(0)?;
    cx.push_summed(0, &g)
}
