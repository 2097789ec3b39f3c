//! Long short-term memory, step by step.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, Ix2, Ix3, s};

use super::{Args, Fail, Res, Rule, Value, bad, value::array};

pub(super) const RULES: &[(&str, Rule)] = &[("LSTM", lstm)];

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn lstm(a: &Args) -> Res<Vec<Value>> {
    let plain = !(a.given(4) || a.given(7) || a.node.attrs.contains_key("clip"))
        && a.int("layout", 0) == 0
        && a.int("input_forget", 0) == 0
        && !a.node.attrs.contains_key("activations");
    if !plain {
        return bad("uses lengths, peepholes, clipping, other activations or the batch first, which are not supported");
    }
    let three = |i: usize| -> Res<ndarray::Array3<f64>> {
        a.f(i)?.clone().into_dimensionality::<Ix3>().map_err(|_| Fail::Bad(format!("needs three dimensions at input {i}")))
    };
    let (x, w, r) = (three(0)?, three(1)?, three(2)?);
    let (steps, n, _) = x.dim();
    let (directions, rows, hidden) = r.dim();
    if rows != 4 * hidden || w.dim() != (directions, rows, x.dim().2) {
        return bad(format!("has weights {:?} and {:?} for inputs {:?}", w.dim(), r.dim(), x.dim()));
    }
    let bias = match a.optional_f(3)? {
        None => Array2::zeros((directions, 2 * rows)),
        Some(b) => b.clone().into_dimensionality::<Ix2>().map_err(|_| Fail::Bad("needs a matrix of biases".into()))?,
    };
    let state =
        |i: usize| -> Res<ndarray::Array3<f64>> { if a.given(i) { three(i) } else { Ok(ndarray::Array3::zeros((directions, n, hidden))) } };
    let (mut h, mut c) = (state(5)?, state(6)?);
    if bias.dim() != (directions, 2 * rows) || h.dim() != (directions, n, hidden) || c.dim() != h.dim() {
        return bad("has biases or states of another size");
    }
    let mut all = ndarray::Array4::<f64>::zeros((steps, directions, n, hidden));
    for d in 0..directions {
        let backwards = d == 1 || a.node.text("direction", "forward") == "reverse";
        let both = &bias.slice(s![d, ..rows]) + &bias.slice(s![d, rows..]);
        for k in 0..steps {
            let t = if backwards { steps - 1 - k } else { k };
            let input = x.index_axis(Axis(0), t);
            let (next, cell) = step(
                &input,
                &w.index_axis(Axis(0), d),
                &r.index_axis(Axis(0), d),
                &both.view(),
                &h.index_axis(Axis(0), d),
                &c.index_axis(Axis(0), d),
            );
            all.slice_mut(s![t, d, .., ..]).assign(&next);
            h.index_axis_mut(Axis(0), d).assign(&next);
            c.index_axis_mut(Axis(0), d).assign(&cell);
        }
    }
    let value = |shape: &[usize], values: Vec<f64>| Value::F(array(shape, values));
    let last = [directions, n, hidden];
    Ok(vec![
        value(&[steps, directions, n, hidden], all.into_iter().collect()),
        value(&last, h.into_iter().collect()),
        value(&last, c.into_iter().collect()),
    ])
}

/// Hidden and cell state after one step; the gates lie in the order input, output, forget, candidate.
fn step(
    x: &ArrayView2<f64>,
    w: &ArrayView2<f64>,
    r: &ArrayView2<f64>,
    bias: &ArrayView1<f64>,
    h: &ArrayView2<f64>,
    c: &ArrayView2<f64>,
) -> (Array2<f64>, Array2<f64>) {
    let (n, hidden) = h.dim();
    let gates = x.dot(&w.t()) + h.dot(&r.t()) + bias;
    let (mut next, mut cell) = (Array2::zeros((n, hidden)), Array2::zeros((n, hidden)));
    for i in 0..n {
        let row: Array1<f64> = gates.row(i).to_owned();
        for k in 0..hidden {
            let value = sigmoid(row[2 * hidden + k]) * c[(i, k)] + sigmoid(row[k]) * row[3 * hidden + k].tanh();
            cell[(i, k)] = value;
            next[(i, k)] = sigmoid(row[hidden + k]) * value.tanh();
        }
    }
    (next, cell)
}
