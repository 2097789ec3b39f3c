//! Operators that move, repeat or join elements without computing.

use ndarray::{ArrayD, Axis, IxDyn};

use super::{
    Args, Fail, Res, Rule, Value, bad,
    elementwise::expand,
    flat,
    geometry::{
        axes::{axis, broadcast, size, strides, walk},
        shape,
    },
    value::{array, same_kind},
};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Concat", concat),
    ("DepthToSpace", depth_to_space),
    ("Dropout", |a| Ok(vec![a.value(0)?.clone(), Value::B(ArrayD::from_elem(IxDyn(a.value(0)?.shape()), true))])),
    ("Expand", |a| {
        let target = a.ints(1)?.ok_or_else(|| Fail::Bad("has no target shape".into()))?.into_iter().map(size).collect::<Res<Vec<_>>>()?;
        let x = a.value(0)?;
        Ok(vec![expand(x, &broadcast(x.shape(), &target)?)])
    }),
    ("Flatten", |a| reshaped(a, shape::flatten)),
    ("Identity", |a| Ok(vec![a.value(0)?.clone()])),
    ("Reshape", |a| reshaped(a, shape::reshape)),
    ("SpaceToDepth", space_to_depth),
    ("Split", split),
    ("Squeeze", |a| reshaped(a, shape::squeeze)),
    ("Tile", tile),
    ("Transpose", |a| {
        let x = a.value(0)?;
        let order = permutation(a, x.shape().len())?;
        Ok(vec![permute(x, &order)])
    }),
    ("Trilu", trilu),
    ("Unsqueeze", |a| reshaped(a, shape::unsqueeze)),
];

/// The permutation of a `Transpose`.
pub fn permutation(a: &Args, rank: usize) -> Res<Vec<usize>> {
    let order = match a.node.ints("perm") {
        Some(p) => p.iter().map(|&v| axis(v, rank)).collect::<Res<Vec<_>>>()?,
        None => (0..rank).rev().collect(),
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if sorted != (0..rank).collect::<Vec<_>>() {
        return bad(format!("permutes {rank} dimensions by {order:?}"));
    }
    Ok(order)
}

pub(super) fn permute(x: &Value, order: &[usize]) -> Value {
    let own = strides(x.shape());
    let shape: Vec<usize> = order.iter().map(|&i| x.shape()[i]).collect();
    let steps: Vec<usize> = order.iter().map(|&i| own[i]).collect();
    same_kind!(x, v => {
        let data = flat(v);
        let mut out = Vec::with_capacity(data.len());
        walk(&shape, [&steps], |[i]| out.push(data[i]));
        array(&shape, out)
    })
}

pub(super) fn with_shape(x: &Value, shape: &[usize]) -> Value {
    same_kind!(x, v => array(shape, flat(v).to_vec()))
}

fn reshaped(a: &Args, rule: fn(&Args, &[usize]) -> Res<Vec<usize>>) -> Res<Vec<Value>> {
    let x = a.value(0)?;
    Ok(vec![with_shape(x, &rule(a, x.shape())?)])
}

fn concat(a: &Args) -> Res<Vec<Value>> {
    let parts = (0..a.node.inputs.len()).map(|i| a.value(i)).collect::<Res<Vec<_>>>()?;
    let Some(first) = parts.first() else { return bad("joins nothing") };
    let at = Axis(axis(a.int("axis", 1), first.shape().len())?);
    macro_rules! join {
        ($kind:ident) => {{
            let views = parts
                .iter()
                .map(|p| if let Value::$kind(v) = p { Ok(v.view()) } else { bad("mixes element types") })
                .collect::<Res<Vec<_>>>()?;
            Value::$kind(ndarray::concatenate(at, &views).map_err(|_| Fail::Bad("joins tensors whose shapes disagree".into()))?)
        }};
    }
    Ok(vec![
        match first {
            Value::F(_) => join!(F),
            Value::I(_) => join!(I),
            Value::B(_) => join!(B),
        }
        .standard(),
    ])
}

fn split(a: &Args) -> Res<Vec<Value>> {
    let x = a.value(0)?;
    let (at, sizes) = shape::split(a, x.shape())?;
    let mut start = 0;
    Ok(sizes
        .into_iter()
        .map(|len| {
            let part = same_kind!(x, v => v.slice_axis(Axis(at), (start..start + len).into()).to_owned());
            start += len;
            part.standard()
        })
        .collect())
}

fn tile(a: &Args) -> Res<Vec<Value>> {
    let x = a.value(0)?;
    let repeats = shape::repeats(a, x.shape().len())?;
    let (mut from, mut to, mut shape) = (Vec::new(), Vec::new(), Vec::new());
    for (&d, &r) in x.shape().iter().zip(&repeats) {
        from.extend([1, d]);
        to.extend([r, d]);
        shape.push(r * d);
    }
    Ok(vec![with_shape(&expand(&with_shape(x, &from), &to), &shape)])
}

fn depth_to_space(a: &Args) -> Res<Vec<Value>> {
    let x = a.value(0)?;
    let b = size(a.int("blocksize", 1))?.max(1);
    let &[n, c, h, w] = x.shape() else { return bad("needs four dimensions") };
    let out = c / (b * b);
    let (split, order) = if a.node.text("mode", "DCR") == "CRD" {
        ([n, out, b, b, h, w], [0, 1, 4, 2, 5, 3])
    } else {
        ([n, b, b, out, h, w], [0, 3, 4, 1, 5, 2])
    };
    if out * b * b != c {
        return bad("has channels that its block size does not divide");
    }
    Ok(vec![with_shape(&permute(&with_shape(x, &split), &order), &[n, out, h * b, w * b])])
}

fn space_to_depth(a: &Args) -> Res<Vec<Value>> {
    let x = a.value(0)?;
    let b = size(a.int("blocksize", 1))?.max(1);
    let &[n, c, h, w] = x.shape() else { return bad("needs four dimensions") };
    if h % b != 0 || w % b != 0 {
        return bad("has a size that its block size does not divide");
    }
    let order = if a.node.text("mode", "DCR") == "CRD" { [0, 1, 3, 5, 2, 4] } else { [0, 3, 5, 1, 2, 4] };
    Ok(vec![with_shape(&permute(&with_shape(x, &[n, c, h / b, b, w / b, b]), &order), &[n, c * b * b, h / b, w / b])])
}

fn trilu(a: &Args) -> Res<Vec<Value>> {
    let x = a.value(0)?;
    let rank = x.shape().len();
    if rank < 2 {
        return bad("needs a matrix");
    }
    let (rows, columns) = (x.shape()[rank - 2], x.shape()[rank - 1]);
    let k = a.scalar(1)?.unwrap_or(0.0) as i64;
    let upper = a.int("upper", 1) != 0;
    let kept = |i: usize| {
        let (r, c) = ((i / columns % rows) as i64, (i % columns) as i64);
        if upper { c - r >= k } else { c - r <= k }
    };
    Ok(vec![
        same_kind!(x, v => array(v.shape(), flat(v).iter().enumerate().map(|(i, &e)| if kept(i) { e } else { Default::default() }).collect())),
    ])
}
