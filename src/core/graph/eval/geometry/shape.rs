//! Reshape, Flatten, Squeeze, Unsqueeze, Split, Tile: where the target shape comes from.

use super::super::args::{Args, Fail, Res, bad};
use super::axes::{axis, listed, size};

/// Shape a `Reshape` gives to a tensor of shape `input`.
pub fn reshape(args: &Args, input: &[usize]) -> Res<Vec<usize>> {
    let target = match args.node.ints("shape") {
        Some(s) => s.to_vec(),
        None => args.ints(1)?.ok_or_else(|| Fail::Bad("has no target shape".into()))?,
    };
    resolve(&target, input, args.int("allowzero", 0) != 0)
}

/// Replaces 0 (copy) and -1 (the rest) in a `Reshape` target.
pub fn resolve(target: &[i64], input: &[usize], allow_zero: bool) -> Res<Vec<usize>> {
    let count: usize = input.iter().product();
    let mut out = Vec::with_capacity(target.len());
    let mut free = None;
    for (i, &t) in target.iter().enumerate() {
        out.push(match t {
            -1 if free.is_some() => return bad("has two dimensions of -1 in its target shape"),
            -1 => {
                free = Some(i);
                1
            }
            0 if !allow_zero => *input.get(i).ok_or_else(|| Fail::Bad("copies a dimension its input does not have".into()))?,
            t => size(t)?,
        });
    }
    let known: usize = out.iter().product();
    if let Some(i) = free {
        if known == 0 || !count.is_multiple_of(known) {
            return bad(format!("reshapes {input:?} to {target:?}, which does not fit"));
        }
        out[i] = count / known;
    } else if known != count {
        return bad(format!("reshapes {input:?} to {target:?}, which does not fit"));
    }
    Ok(out)
}

/// Shape `Flatten` gives.
pub fn flatten(args: &Args, input: &[usize]) -> Res<Vec<usize>> {
    let a = args.int("axis", 1);
    let a = if a == input.len() as i64 { input.len() } else { axis(a, input.len())? };
    Ok(vec![input[..a].iter().product(), input[a..].iter().product()])
}

/// Shape `Squeeze` gives.
pub fn squeeze(args: &Args, input: &[usize]) -> Res<Vec<usize>> {
    let axes = listed(args, 1, input.len())?.unwrap_or_else(|| (0..input.len()).filter(|&i| input[i] == 1).collect());
    if let Some(&a) = axes.iter().find(|&&a| input[a] != 1) {
        return bad(format!("squeezes axis {a} of {input:?}"));
    }
    Ok((0..input.len()).filter(|i| !axes.contains(i)).map(|i| input[i]).collect())
}

/// Shape `Unsqueeze` gives.
pub fn unsqueeze(args: &Args, input: &[usize]) -> Res<Vec<usize>> {
    let count = match args.node.ints("axes") {
        Some(a) => a.len(),
        None => args.ints(1)?.map_or(0, |a| a.len()),
    };
    let rank = input.len() + count;
    let axes = listed(args, 1, rank)?.unwrap_or_default();
    let mut rest = input.iter();
    (0..rank)
        .map(|i| if axes.contains(&i) { Ok(1) } else { rest.next().copied().ok_or_else(|| Fail::Bad("repeats an axis".into())) })
        .collect()
}

/// Axis and sizes of the parts of a `Split`.
pub fn split(args: &Args, input: &[usize]) -> Res<(usize, Vec<usize>)> {
    let a = axis(args.int("axis", 0), input.len())?;
    let listed = match args.node.ints("split") {
        Some(s) => Some(s.to_vec()),
        None => args.ints(1)?,
    };
    let sizes = match listed {
        Some(list) => list.into_iter().map(size).collect::<Res<Vec<_>>>()?,
        None => {
            let parts = size(args.int("num_outputs", args.node.outputs.len() as i64))?.max(1);
            let each = input[a].div_ceil(parts);
            (0..parts).map(|i| each.min(input[a].saturating_sub(i * each))).collect()
        }
    };
    if sizes.iter().sum::<usize>() != input[a] {
        return bad(format!("splits {} into {sizes:?}", input[a]));
    }
    Ok((a, sizes))
}

/// Repeats of a `Tile`.
pub fn repeats(args: &Args, rank: usize) -> Res<Vec<usize>> {
    let list = args.ints(1)?.ok_or_else(|| Fail::Bad("has no repeats".into()))?;
    if list.len() != rank {
        return bad("has a number of repeats that differs from its input's dimensions");
    }
    list.into_iter().map(size).collect()
}
