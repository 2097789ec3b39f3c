//! Attention (opset 23): scaled dot products with optional mask, causality, soft cap and grouped heads.

use super::{
    Args, Fail, Res, Rule, Value, bad,
    elementwise::expand,
    flat,
    layout::{permute, with_shape},
    linear::matmul,
    norm::softmax,
    value::array,
};

pub(super) const RULES: &[(&str, Rule)] = &[("Attention", attention)];

/// `[N, T, heads * d]` or `[N, heads, T, d]` to the latter.
fn heads(a: &Args, i: usize, attr: &str) -> Res<Value> {
    let x = a.value(i)?;
    match *x.shape() {
        [_, _, _, _] => Ok(x.clone()),
        [n, t, c] => {
            let h = a.int(attr, 0) as usize;
            if h == 0 || c % h != 0 {
                return bad(format!("needs {attr} to divide {c}"));
            }
            Ok(permute(&with_shape(x, &[n, t, h, c / h]), &[0, 2, 1, 3]))
        }
        _ => bad("needs three or four dimensions"),
    }
}

fn grouped(x: Value, h: usize) -> Res<Value> {
    let &[n, k, t, d] = x.shape() else { return bad("needs four dimensions") };
    if k == h {
        return Ok(x);
    }
    if k == 0 || !h.is_multiple_of(k) {
        return bad("has query heads that its key heads do not divide");
    }
    Ok(with_shape(&expand(&with_shape(&x, &[n, k, 1, t, d]), &[n, k, h / k, t, d]), &[n, h, t, d]))
}

fn attention(a: &Args) -> Res<Vec<Value>> {
    if a.given(4) || a.given(5) {
        return bad("keeps a cache of keys, which image classifiers do not need");
    }
    let q = heads(a, 0, "q_num_heads")?;
    let &[n, h, t, d] = q.shape() else { return bad("needs four dimensions") };
    let k = grouped(heads(a, 1, "kv_num_heads")?, h)?;
    let v = grouped(heads(a, 2, "kv_num_heads")?, h)?;
    let scale = a.float("scale", 1.0 / (d as f64).sqrt());
    let (Value::F(qf), Value::F(kt), Value::F(vf)) = (&q, &permute(&k, &[0, 1, 3, 2]), &v) else { return bad("needs floats") };
    let mut scores = matmul(qf, kt)? * scale;
    let s = scores.shape()[3];
    let cap = a.float("softcap", 0.0);
    if cap > 0.0 {
        scores.mapv_inplace(|x| cap * (x / cap).tanh());
    }
    if let Some(mask) = a.optional(3)? {
        let shape = scores.shape().to_vec();
        let mask = match mask {
            Value::B(m) => Value::F(m.mapv(|keep| if keep { 0.0 } else { f64::NEG_INFINITY })),
            other => other.clone(),
        };
        scores = scores + expand(&mask, &shape).to_floats();
    }
    if a.int("is_causal", 0) != 0 {
        scores.indexed_iter_mut().filter(|(at, _)| at[3] > at[2]).for_each(|(_, x)| *x = f64::NEG_INFINITY);
    }
    let mut p = scores.clone();
    p.as_slice_mut().ok_or_else(|| Fail::Bad("failed".into()))?.chunks_exact_mut(s.max(1)).for_each(softmax);
    let mut y = Value::F(matmul(&p, vf)?);
    if a.value(0)?.shape().len() == 3 {
        let width = h * y.shape()[3];
        y = with_shape(&permute(&y, &[0, 2, 1, 3]), &[n, t, width]);
    }
    Ok(vec![y, k, v, Value::F(array(scores.shape(), flat(&scores).to_vec()))])
}
