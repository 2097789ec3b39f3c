//! Scaled dot-product attention (operator set 23), from recomputed probabilities.

use super::Cx;
use crate::core::{
    error::Result,
    onnx::{Attr, DType, Dim},
};

/// Queries, keys and values as `[N, KV heads, queries per key head, S, D]`.
struct Heads {
    shared: usize,
    keys: usize,
}

pub fn attention(cx: &mut Cx) -> Result<()> {
    let b = cx.b;
    let refused = [("past keys", cx.node.input(4).is_some() || cx.node.input(5).is_some()), ("key lengths", cx.node.input(6).is_some())];
    if let Some((what, _)) = refused.iter().find(|(_, present)| *present) {
        return Err(cx.unsupported(what));
    }
    let flat = cx.shape(0)?.len() == 3;
    let count = |i: usize, attr: &str| if flat { Some(cx.node.int(attr, 0) as usize) } else { cx.shape(i).ok()?.get(1)?.fixed() };
    let (Some(queries), Some(keys)) = (count(0, "q_num_heads").filter(|&n| n > 0), count(1, "kv_num_heads").filter(|&n| n > 0)) else {
        return Err(cx.unsupported("an unknown number of heads"));
    };
    let heads = Heads { shared: queries / keys, keys };
    let (q, k, v) = (open(cx, cx.x(0)?, &heads, true)?, open(cx, cx.x(1)?, &heads, false)?, open(cx, cx.x(2)?, &heads, false)?);
    let g = cx.g()?;
    let g = open(cx, &g, &heads, true)?;
    let width = b.shape(&q)?[4].fixed().ok_or_else(|| cx.unsupported("an unknown head width"))?;
    let scale = match cx.node.attrs.get("scale") {
        Some(Attr::Float(s)) => f64::from(*s),
        _ => 1.0 / (width as f64).sqrt(),
    };
    let mut scores = b.scale(&b.matmul(&q, &b.swap_last(&k)), scale);
    let cap = f64::from(cx.node.float("softcap", 0.0));
    let squashed = (cap > 0.0).then(|| b.unary("Tanh", &b.scale(&scores, 1.0 / cap)));
    if let Some(t) = &squashed {
        scores = b.scale(t, cap);
    }
    let (mask, causal) = biases(cx, &scores, &heads)?;
    for bias in mask.iter().chain(&causal) {
        scores = b.add(&scores, bias);
    }
    let p = b.emit("Softmax", &[&scores], &[("axis", Attr::Int(-1))], b.dtype(&scores), b.shape(&scores)?);
    if cx.needs(2) {
        let gv = b.matmul(&b.swap_last(&p), &g);
        close(cx, 2, &gv, &v)?;
    }
    let gp = b.matmul(&g, &b.swap_last(&v));
    let gs = b.mul(&p, &b.sub(&gp, &b.reduce_sum(&b.mul(&gp, &p), &[4], true)));
    if let Some(mask) = mask.filter(|_| cx.needs(3)) {
        let gm = b.reshape_like(&b.unbroadcast(&gs, &b.shape(&mask)?), cx.x(3)?);
        cx.push(3, gm)?;
    }
    let gs = match &squashed {
        Some(t) => b.mul(&gs, &b.from_scalar(1.0, &b.mul(t, t))),
        None => gs,
    };
    let gs = b.scale(&gs, scale);
    if cx.needs(0) {
        let gq = b.matmul(&gs, &k);
        close(cx, 0, &gq, &q)?;
    }
    if cx.needs(1) {
        let gk = b.matmul(&b.swap_last(&gs), &q);
        close(cx, 1, &gk, &k)?;
    }
    Ok(())
}

/// `[N, S, H * D]` or `[N, H, S, D]` to the five axes.
fn open(cx: &Cx, x: &str, heads: &Heads, query: bool) -> Result<String> {
    let b = cx.b;
    let shape = b.shape(x)?;
    let n = heads.keys * if query { heads.shared } else { 1 };
    let four = if shape.len() == 3 {
        let width = shape[2].fixed().ok_or_else(|| cx.unsupported("an unknown head width"))? / n;
        b.transpose(&b.reshape(x, &[shape[0], shape[1], Dim::Fixed(n), Dim::Fixed(width)]), &[0, 2, 1, 3])
    } else {
        x.to_owned()
    };
    let s = b.shape(&four)?;
    Ok(b.reshape(&four, &[s[0], Dim::Fixed(heads.keys), Dim::Fixed(n / heads.keys), s[2], s[3]]))
}

/// Back to the operand's own axes; shared heads add up.
fn close(cx: &mut Cx, i: usize, g: &str, like: &str) -> Result<()> {
    let b = cx.b;
    let five = b.shape(like)?;
    let summed = b.unbroadcast(g, &five);
    let (Some(kv), Some(shared)) = (five[1].fixed(), five[2].fixed()) else { return Err(cx.unsupported("an unknown number of heads")) };
    let four = b.reshape(&summed, &[five[0], Dim::Fixed(kv * shared), five[3], five[4]]);
    let gx = if cx.shape(i)?.len() == 3 { b.reshape_like(&b.transpose(&four, &[0, 2, 1, 3]), cx.x(i)?) } else { four };
    cx.push(i, gx)
}

/// What is added to the scores: the mask and the causal triangle.
fn biases(cx: &Cx, scores: &str, heads: &Heads) -> Result<(Option<String>, Option<String>)> {
    let b = cx.b;
    let dtype = b.dtype(scores);
    let far = if dtype == DType::F16 { 60000.0 } else { 1e30 };
    let mask = match cx.node.input(3) {
        None => None,
        Some(mask) => {
            let bias = if b.dtype(mask) == DType::Bool { b.scale(&b.shift(&b.cast(mask, dtype), -1.0), far) } else { mask.to_owned() };
            let shape = b.shape(&bias)?;
            Some(match shape.len() {
                4 if shape[1] == Dim::Fixed(1) => b.unsqueeze(&bias, &[2]),
                4 => b.reshape(&bias, &[shape[0], Dim::Fixed(heads.keys), Dim::Fixed(heads.shared), shape[2], shape[3]]),
                3 if shape[0] != Dim::Fixed(1) => b.reshape(&bias, &[Dim::Fixed(heads.keys), Dim::Fixed(heads.shared), shape[1], shape[2]]),
                _ => bias,
            })
        }
    };
    if cx.node.int("is_causal", 0) == 0 {
        return Ok((mask, None));
    }
    let shape = b.shape(scores)?;
    let (Some(s), Some(t)) = (shape[3].fixed(), shape[4].fixed()) else { return Err(cx.unsupported("an unknown length")) };
    let triangle: Vec<f64> = (0..s * t).map(|i| if i % t > i / t { -far } else { 0.0 }).collect();
    Ok((mask, Some(b.floats(&[s, t], &triangle, dtype))))
}
