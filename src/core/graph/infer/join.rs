//! Matrix products, joins and reads by index.

use super::{ShapeRule, Shapes};
use crate::core::graph::eval::{
    Fail, Res, bad,
    geometry::{axes::axis, einsum::Equation},
    matmul_shape,
};

pub(super) const RULES: &[(&str, ShapeRule)] = &[
    ("Attention", attention),
    ("Concat", concat),
    ("Einsum", einsum),
    ("GRU", recurrent),
    ("Gather", gather),
    ("GatherElements", |s| Ok(vec![s.at(1)?.to_vec()])),
    ("GatherND", gather_nd),
    ("Gemm", gemm),
    ("LSTM", recurrent),
    ("MatMul", |s| Ok(vec![matmul_shape(s.at(0)?, s.at(1)?)?])),
    ("MatMulInteger", |s| Ok(vec![matmul_shape(s.at(0)?, s.at(1)?)?])),
    ("OneHot", one_hot),
    ("QLinearMatMul", |s| Ok(vec![matmul_shape(s.at(0)?, s.at(3)?)?])),
    ("RNN", recurrent),
];

fn gemm(s: &Shapes) -> Res<Vec<Vec<usize>>> {
    let (&[m, k], &[p, q]) = (s.at(0)?, s.at(1)?) else { return bad("needs matrices") };
    let (m, k) = if s.args.int("transA", 0) != 0 { (k, m) } else { (m, k) };
    let (p, q) = if s.args.int("transB", 0) != 0 { (q, p) } else { (p, q) };
    if k != p { bad(format!("multiplies [{m}, {k}] by [{p}, {q}]")) } else { Ok(vec![vec![m, q]]) }
}

fn einsum(s: &Shapes) -> Res<Vec<Vec<usize>>> {
    let shapes = (0..s.args.node.inputs.len()).map(|i| s.at(i)).collect::<Res<Vec<_>>>()?;
    let equation = Equation::parse(&s.args.node.text("equation", ""), &shapes.iter().map(|x| x.len()).collect::<Vec<_>>())?;
    let sizes = equation.sizes(&shapes)?;
    let of = |l: &u32| sizes.iter().find(|(k, _)| k == l).map(|s| s.1).ok_or_else(|| Fail::Bad("has a result label no operand has".into()));
    Ok(vec![equation.output.iter().map(of).collect::<Res<_>>()?])
}

fn concat(s: &Shapes) -> Res<Vec<Vec<usize>>> {
    let mut out = s.at(0)?.to_vec();
    let at = axis(s.args.int("axis", 1), out.len())?;
    for i in 1..s.args.node.inputs.len() {
        let next = s.at(i)?;
        if next.len() != out.len() || (0..out.len()).any(|k| k != at && next[k] != out[k]) {
            return bad(format!("joins {out:?} and {next:?} along axis {at}"));
        }
        out[at] += next[at];
    }
    Ok(vec![out])
}

fn gather(s: &Shapes) -> Res<Vec<Vec<usize>>> {
    let (x, i) = (s.at(0)?, s.at(1)?);
    let at = axis(s.args.int("axis", 0), x.len())?;
    Ok(vec![x[..at].iter().chain(i).chain(&x[at + 1..]).copied().collect()])
}

fn gather_nd(s: &Shapes) -> Res<Vec<Vec<usize>>> {
    let (x, i) = (s.at(0)?, s.at(1)?);
    let batch = s.args.int("batch_dims", 0).max(0) as usize;
    let Some((&depth, head)) = i.split_last() else { return bad("has a scalar as its indices") };
    let rest = x.get(batch + depth..).ok_or_else(|| Fail::Bad("has indices longer than its data's dimensions".into()))?;
    Ok(vec![head.iter().chain(rest).copied().collect()])
}

fn one_hot(s: &Shapes) -> Res<Vec<Vec<usize>>> {
    let mut out = s.at(0)?.to_vec();
    let at = axis(s.args.int("axis", -1), out.len() + 1)?;
    out.insert(at, s.args.scalar(1)?.unwrap_or(0.0).max(0.0) as usize);
    Ok(vec![out])
}

/// Outputs of LSTM, GRU and RNN: all steps, last hidden state, last cell state.
fn recurrent(s: &Shapes) -> Res<Vec<Vec<usize>>> {
    let (&[a, b, _], &[directions, _, hidden]) = (s.at(0)?, s.at(2)?) else { return bad("needs three dimensions") };
    let batch_first = s.args.int("layout", 0) != 0;
    let (steps, n) = if batch_first { (b, a) } else { (a, b) };
    let (all, last) = if batch_first {
        (vec![n, steps, directions, hidden], vec![n, directions, hidden])
    } else {
        (vec![steps, directions, n, hidden], vec![directions, n, hidden])
    };
    Ok(vec![all, last.clone(), last])
}

fn attention(s: &Shapes) -> Res<Vec<Vec<usize>>> {
    let (q, k, v) = (s.at(0)?, s.at(1)?, s.at(2)?);
    let split = |x: &[usize], heads: usize| match *x {
        [n, h, t, d] => Ok([n, h, t, d]),
        [n, t, c] if heads > 0 => Ok([n, heads, t, c / heads]),
        _ => bad("needs three or four dimensions and a number of heads"),
    };
    let (qh, kh) = (s.args.int("q_num_heads", 0).max(0) as usize, s.args.int("kv_num_heads", 0).max(0) as usize);
    let (a, b, c) = (split(q, qh)?, split(k, kh)?, split(v, kh)?);
    let y = if q.len() == 3 { vec![a[0], a[2], a[1] * c[3]] } else { vec![a[0], a[1], a[2], c[3]] };
    Ok(vec![y, b.to_vec(), c.to_vec(), vec![a[0], a[1], a[2], b[2]]])
}
