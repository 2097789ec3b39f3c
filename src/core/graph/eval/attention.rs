//! Attention (opset 23): scaled dot products with optional mask, causality, soft cap and grouped heads.

use ndarray::ArrayD;

use super::{
    Args, Fail, Res, Rule, Value, bad,
    elementwise::expand,
    geometry::axes::broadcast,
    layout::{permute, with_shape},
    linear::matmul,
    norm::softmax,
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
    if (4..7).any(|i| a.given(i)) || a.int("left_window_size", -1) >= 0 || a.int("right_window_size", -1) >= 0 {
        return bad("keeps a cache of keys or a sliding window, which image classifiers do not need");
    }
    let q = heads(a, 0, "q_num_heads")?;
    let &[n, h, t, d] = q.shape() else { return bad("needs four dimensions") };
    let (present_k, present_v) = (heads(a, 1, "kv_num_heads")?, heads(a, 2, "kv_num_heads")?);
    let (k, v) = (grouped(present_k.clone(), h)?, grouped(present_v.clone(), h)?);
    let scale = a.float("scale", 1.0 / (d as f64).sqrt());
    let (Value::F(qf), Value::F(kt), Value::F(vf)) = (&q, &permute(&k, &[0, 1, 3, 2]), &v) else { return bad("needs floats") };
    let mut stages = vec![matmul(qf, kt)? * scale];
    let cap = a.float("softcap", 0.0);
    stages.push(stages[0].mapv(|x| if cap > 0.0 { cap * (x / cap).tanh() } else { x }));
    let masked = mask(a, &stages[1])?;
    let width = masked.shape()[3];
    let mut p = masked.clone();
    for row in p.as_slice_mut().ok_or_else(|| Fail::Bad("lost its layout".into()))?.chunks_exact_mut(width.max(1)) {
        if row.iter().all(|x| *x == f64::NEG_INFINITY) { row.fill(0.0) } else { softmax(row) }
    }
    let mut y = Value::F(matmul(&p, vf)?);
    if a.value(0)?.shape().len() == 3 {
        let width = h * y.shape()[3];
        y = with_shape(&permute(&y, &[0, 2, 1, 3]), &[n, t, width]);
    }
    stages.extend([masked, p]);
    let asked = stages.swap_remove(a.int("qk_matmul_output_mode", 0).clamp(0, 3) as usize);
    Ok(vec![y, present_k, present_v, Value::F(asked)])
}

/// Scores plus the mask, with what may not be looked at set to minus infinity.
fn mask(a: &Args, scores: &ArrayD<f64>) -> Res<ArrayD<f64>> {
    let mut out = scores.clone();
    if let Some(given) = a.optional(3)? {
        let given = match given {
            Value::B(m) => Value::F(m.mapv(|keep| if keep { 0.0 } else { f64::NEG_INFINITY })),
            other => other.clone(),
        };
        broadcast(given.shape(), out.shape())
            .ok()
            .filter(|s| s == out.shape())
            .ok_or_else(|| Fail::Bad("has a mask of another size".into()))?;
        out += &expand(&given, scores.shape()).to_floats();
    }
    if a.int("is_causal", 0) != 0 {
        out.indexed_iter_mut().filter(|(at, _)| at[3] > at[2]).for_each(|(_, x)| *x = f64::NEG_INFINITY);
    }
    Ok(out)
}
