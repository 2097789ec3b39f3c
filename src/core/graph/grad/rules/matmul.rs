//! Matrix products.

use std::collections::HashMap;

use super::Cx;
use crate::core::{
    error::Result,
    onnx::{Attr, Dim, TensorData},
};

pub fn matmul(cx: &mut Cx) -> Result<()> {
    let (b, g) = (cx.b, cx.g()?);
    let (sa, sb) = (cx.shape(0)?, cx.shape(1)?);
    // Vectors become matrices for the products; reshaping at the end removes the extra axis.
    let (row, column) = (sa.len() == 1, sb.len() == 1);
    let left = if row { b.unsqueeze(cx.x(0)?, &[0]) } else { cx.x(0)?.to_owned() };
    let right = if column { b.unsqueeze(cx.x(1)?, &[1]) } else { cx.x(1)?.to_owned() };
    let mut g = if row {
        let at = b.shape(&g)?.len() - usize::from(!column);
        b.unsqueeze(&g, &[at])
    } else {
        g
    };
    if column {
        let at = b.shape(&g)?.len();
        g = b.unsqueeze(&g, &[at]);
    }
    if cx.needs(0) {
        let full = b.matmul(&g, &transposed(cx, &right));
        let to = b.shape(&left)?;
        let ga = b.unbroadcast(&full, &to);
        cx.push(0, if row { b.squeeze(&ga, &[0]) } else { ga })?;
    }
    if cx.needs(1) {
        let full = b.matmul(&transposed(cx, &left), &g);
        let to = b.shape(&right)?;
        let gb = b.unbroadcast(&full, &to);
        cx.push(1, if column { b.squeeze(&gb, &[1]) } else { gb })?;
    }
    Ok(())
}

/// The value with its last two axes swapped: a new constant when it is a constant matrix.
fn transposed(cx: &Cx, value: &str) -> String {
    match cx.b.constant(value).filter(|t| t.dims.len() == 2 && t.dtype.size().is_some()) {
        Some(t) => cx.b.derived(&format!("transpose {value}"), || swap(&t)),
        None => cx.b.swap_last(value),
    }
}

fn swap(t: &TensorData) -> TensorData {
    let (rows, columns, size) = (t.dims[0], t.dims[1], t.dtype.size().unwrap_or(4));
    let mut bytes = Vec::with_capacity(t.bytes.len());
    for c in 0..columns {
        for r in 0..rows {
            let at = (r * columns + c) * size;
            bytes.extend_from_slice(&t.bytes[at..at + size]);
        }
    }
    TensorData { dtype: t.dtype, dims: vec![columns, rows], bytes: bytes.into() }
}

pub fn gemm(cx: &mut Cx) -> Result<()> {
    let (b, g) = (cx.b, cx.g()?);
    let (ta, tb) = (cx.node.int("transA", 0) != 0, cx.node.int("transB", 0) != 0);
    let (alpha, beta) = (cx.node.float("alpha", 1.0), f64::from(cx.node.float("beta", 1.0)));
    let (x, w) = (cx.x(0)?, cx.x(1)?);
    let product = |l: &str, r: &str, tl: bool, tr: bool, shape: Vec<Dim>| {
        let attrs = [("alpha", Attr::Float(alpha)), ("transA", Attr::Int(i64::from(tl))), ("transB", Attr::Int(i64::from(tr)))];
        b.emit("Gemm", &[l, r], &attrs, b.dtype(&g), shape)
    };
    if cx.needs(0) {
        let shape = cx.shape(0)?;
        let gx = if ta { product(w, &g, tb, true, shape) } else { product(&g, w, false, !tb, shape) };
        cx.push(0, gx)?;
    }
    if cx.needs(1) {
        let shape = cx.shape(1)?;
        let gw = if tb { product(&g, x, true, ta, shape) } else { product(x, &g, !ta, false, shape) };
        cx.push(1, gw)?;
    }
    if cx.needs(2) {
        let gc = b.scale(&g, beta);
        cx.push_summed(2, &gc)?;
    }
    Ok(())
}

/// Each operand's gradient is an Einsum of the output's gradient with the other operands.
pub fn einsum(cx: &mut Cx) -> Result<()> {
    let (b, g) = (cx.b, cx.g()?);
    let (terms, output) = parse(cx)?;
    let mut sizes: HashMap<char, Dim> = HashMap::new();
    for (i, term) in terms.iter().enumerate() {
        let shape = cx.shape(i)?;
        for (k, label) in term.chars().enumerate() {
            if term.matches(label).count() > 1 {
                return Err(cx.unsupported("a repeated index in one operand"));
            }
            let size = *shape.get(k).ok_or_else(|| cx.unsupported("an equation that does not match its operands"))?;
            if *sizes.entry(label).or_insert(size) != size {
                return Err(cx.unsupported("broadcast sizes"));
            }
        }
    }
    for (i, term) in terms.iter().enumerate() {
        if !cx.needs(i) {
            continue;
        }
        let mut sources = vec![output.clone()];
        let mut operands = vec![g.clone()];
        for (j, other) in terms.iter().enumerate().filter(|(j, _)| *j != i) {
            sources.push(other.clone());
            operands.push(cx.x(j)?.to_owned());
        }
        let present: String = term.chars().filter(|c| sources.iter().any(|s| s.contains(*c))).collect();
        let equation = format!("{}->{present}", sources.join(","));
        let shape = present.chars().map(|c| sizes[&c]).collect();
        let inputs: Vec<&str> = operands.iter().map(String::as_str).collect();
        let part = b.emit("Einsum", &inputs, &[("equation", equation.as_str().into())], b.dtype(&g), shape);
        // An index that only this operand has was summed away: its gradient is the same everywhere along it.
        let absent: Vec<usize> = term.chars().enumerate().filter(|(_, c)| !present.contains(*c)).map(|(k, _)| k).collect();
        let gx = b.unsqueeze(&part, &absent);
        cx.push(i, gx)?;
    }
    Ok(())
}

/// The terms of the equation with `...` spelled out in capital letters, and the output term.
fn parse(cx: &Cx) -> Result<(Vec<String>, String)> {
    let equation: String = cx.node.text("equation", "").chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = equation.split_once("->").map_or((equation.as_str(), None), |(l, r)| (l, Some(r.to_owned())));
    let terms: Vec<&str> = left.split(',').collect();
    let mut extra = 0;
    let mut ranks = Vec::new();
    for (i, term) in terms.iter().enumerate() {
        let hidden = if term.contains("...") { (cx.shape(i)?.len() + 3).saturating_sub(term.chars().count()) } else { 0 };
        extra = extra.max(hidden);
        ranks.push(hidden);
    }
    let free: Vec<char> = ('A'..='Z').filter(|c| !equation.contains(*c)).collect();
    if extra > free.len() {
        return Err(cx.unsupported("too many indices"));
    }
    let spelled = |hidden: usize| free[extra - hidden..extra].iter().collect::<String>();
    let full: Vec<String> = terms.iter().zip(&ranks).map(|(t, &h)| t.replace("...", &spelled(h))).collect();
    let output = right.unwrap_or_else(|| {
        let mut labels: Vec<char> = left.chars().filter(|c| c.is_alphabetic() && left.matches(*c).count() == 1).collect();
        labels.sort_unstable();
        let labels: String = labels.into_iter().collect();
        if extra > 0 { format!("...{labels}") } else { labels }
    });
    Ok((full, output.replace("...", &spelled(extra))))
}
