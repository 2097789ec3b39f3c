//! Normalisations, Softmax and LogSoftmax.

use super::{
    Args, Fail, Res, Rule, Value, bad, flat,
    geometry::axes::{axis, broadcast_strides, walk},
    value::array,
};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("BatchNormalization", batch),
    ("GroupNormalization", group),
    ("Hardmax", |a| {
        rows_at_axis(a, |v| {
            let best = (1..v.len()).fold(0, |b, j| if v[j] > v[b] { j } else { b });
            v.iter_mut().enumerate().for_each(|(i, x)| *x = f64::from(u8::from(i == best)));
        })
    }),
    ("InstanceNormalization", instance),
    ("LRN", lrn),
    ("LayerNormalization", layer),
    ("LogSoftmax", |a| {
        rows_at_axis(a, |v| {
            let top = v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let log = top + v.iter().map(|x| (x - top).exp()).sum::<f64>().ln();
            v.iter_mut().for_each(|x| *x -= log);
        })
    }),
    ("LpNormalization", |a| {
        let p = a.int("p", 2) as f64;
        rows(a, axis(a.int("axis", -1), a.f(0)?.ndim())?, false, |v| {
            let length = v.iter().map(|x| x.abs().powf(p)).sum::<f64>().powf(1.0 / p);
            v.iter_mut().for_each(|x| *x = if length == 0.0 { 0.0 } else { *x / length });
        })
    }),
    ("MeanVarianceNormalization", mean_variance),
    ("RMSNormalization", rms),
    ("Softmax", |a| rows_at_axis(a, softmax)),
];

/// Softmax of one row, in place.
pub(super) fn softmax(v: &mut [f64]) {
    let top = v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    v.iter_mut().for_each(|x| *x = (*x - top).exp());
    let sum: f64 = v.iter().sum();
    v.iter_mut().for_each(|x| *x /= sum);
}

/// Before opset 13 these operators flattened everything from `axis` (default 1) on into one row.
fn rows_at_axis(a: &Args, f: impl FnMut(&mut [f64])) -> Res<Vec<Value>> {
    let rank = a.f(0)?.ndim();
    let old = a.opset < 13;
    rows(a, axis(a.int("axis", if old { 1.min(rank as i64 - 1) } else { -1 }), rank)?, old, f)
}

/// Applies `f` to the rows along an axis, or to everything from the axis on.
fn rows(a: &Args, at: usize, rest: bool, mut f: impl FnMut(&mut [f64])) -> Res<Vec<Value>> {
    let mut x = a.f(0)?.clone();
    if rest {
        let width: usize = x.shape()[at..].iter().product();
        x.as_slice_mut().expect("row-major").chunks_exact_mut(width.max(1)).for_each(f);
    } else {
        for mut lane in x.lanes_mut(ndarray::Axis(at)) {
            let mut row = lane.to_vec();
            f(&mut row);
            lane.iter_mut().zip(row).for_each(|(x, v)| *x = v);
        }
    }
    Ok(vec![Value::F(x)])
}

/// Mean and biased variance.
fn moments(v: &[f64]) -> (f64, f64) {
    let n = v.len() as f64;
    let mean = v.iter().sum::<f64>() / n;
    (mean, v.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n)
}

fn per_channel<'a>(a: &Args<'a>, i: usize, channels: usize) -> Res<&'a [f64]> {
    let v = flat(a.f(i)?);
    if v.len() == channels { Ok(v) } else { bad(format!("has {} values at input {i} for {channels} channels", v.len())) }
}

fn batch(a: &Args) -> Res<Vec<Value>> {
    let x = a.f(0)?;
    let channels = *x.shape().get(1).unwrap_or(&1);
    let area = x.shape().iter().skip(2).product::<usize>().max(1);
    let (scale, bias) = (per_channel(a, 1, channels)?, per_channel(a, 2, channels)?);
    let (mut mean, mut var) = (per_channel(a, 3, channels)?.to_vec(), per_channel(a, 4, channels)?.to_vec());
    let eps = a.float("epsilon", 1e-5);
    let data = flat(x);
    let mut outputs = Vec::new();
    if a.int("training_mode", 0) != 0 {
        let momentum = a.float("momentum", 0.9);
        let (old_mean, old_var) = (mean.clone(), var.clone());
        for c in 0..channels {
            let values: Vec<f64> =
                data.chunks_exact(area).enumerate().filter(|(i, _)| i % channels == c).flat_map(|(_, p)| p.iter().copied()).collect();
            (mean[c], var[c]) = moments(&values);
        }
        let blend = |old: &[f64], new: &[f64]| old.iter().zip(new).map(|(o, n)| o * momentum + n * (1.0 - momentum)).collect::<Vec<_>>();
        outputs.push(Value::floats(&[channels], blend(&old_mean, &mean)));
        outputs.push(Value::floats(&[channels], blend(&old_var, &var)));
    }
    let y = data.iter().enumerate().map(|(i, v)| {
        let c = i / area % channels;
        scale[c] * (v - mean[c]) / (var[c] + eps).sqrt() + bias[c]
    });
    outputs.insert(0, Value::F(array(x.shape(), y.collect())));
    Ok(outputs)
}

fn layer(a: &Args) -> Res<Vec<Value>> {
    let (x, scale, bias) = (a.f(0)?, a.f(1)?, a.optional_f(2)?);
    let at = axis(a.int("axis", -1), x.ndim())?;
    let eps = a.float("epsilon", 1e-5);
    let tail = &x.shape()[at..];
    let width: usize = tail.iter().product();
    let weights = |t: &ndarray::ArrayD<f64>| -> Res<Vec<f64>> {
        Ok(t.broadcast(tail).ok_or_else(|| Fail::Bad("has a scale that does not broadcast".into()))?.iter().copied().collect())
    };
    let (scale, bias) = (weights(scale)?, bias.map(weights).transpose()?);
    let (mut y, mut means, mut inverse) = (Vec::new(), Vec::new(), Vec::new());
    for row in flat(x).chunks_exact(width.max(1)) {
        let (mean, var) = moments(row);
        let inv = 1.0 / (var + eps).sqrt();
        y.extend(row.iter().enumerate().map(|(i, v)| (v - mean) * inv * scale[i] + bias.as_ref().map_or(0.0, |b| b[i])));
        means.push(mean);
        inverse.push(inv);
    }
    let small: Vec<usize> = x.shape().iter().enumerate().map(|(i, &d)| if i < at { d } else { 1 }).collect();
    Ok(vec![Value::F(array(x.shape(), y)), Value::floats(&small, means), Value::floats(&small, inverse)])
}

fn rms(a: &Args) -> Res<Vec<Value>> {
    let (x, scale) = (a.f(0)?, a.f(1)?);
    let at = axis(a.int("axis", -1), x.ndim())?;
    let eps = a.float("epsilon", 1e-5);
    let width: usize = x.shape()[at..].iter().product();
    let scale = scale
        .broadcast(&x.shape()[at..])
        .ok_or_else(|| Fail::Bad("has a scale that does not broadcast".into()))?
        .iter()
        .copied()
        .collect::<Vec<_>>();
    let mut y = Vec::with_capacity(x.len());
    for row in flat(x).chunks_exact(width.max(1)) {
        let inv = 1.0 / (row.iter().map(|v| v * v).sum::<f64>() / width as f64 + eps).sqrt();
        y.extend(row.iter().zip(&scale).map(|(v, s)| v * inv * s));
    }
    Ok(vec![Value::F(array(x.shape(), y))])
}

/// Normalises blocks of `width` consecutive values, then scales and shifts per channel.
fn blocks(x: &ndarray::ArrayD<f64>, width: usize, eps: f64, affine: impl Fn(usize) -> (f64, f64)) -> Vec<Value> {
    let channels = x.shape()[1];
    let area: usize = x.shape()[2..].iter().product();
    let mut y = Vec::with_capacity(x.len());
    for block in flat(x).chunks_exact(width.max(1)) {
        let (mean, var) = moments(block);
        for v in block {
            let (scale, bias) = affine(y.len() / area % channels);
            y.push((v - mean) / (var + eps).sqrt() * scale + bias);
        }
    }
    vec![Value::F(array(x.shape(), y))]
}

fn instance(a: &Args) -> Res<Vec<Value>> {
    let x = a.f(0)?;
    if x.ndim() < 3 {
        return bad("needs spatial dimensions");
    }
    let (scale, bias) = (per_channel(a, 1, x.shape()[1])?, per_channel(a, 2, x.shape()[1])?);
    Ok(blocks(x, x.shape()[2..].iter().product(), a.float("epsilon", 1e-5), |c| (scale[c], bias[c])))
}

fn group(a: &Args) -> Res<Vec<Value>> {
    let (x, scale, bias) = (a.f(0)?, flat(a.f(1)?), flat(a.f(2)?));
    let groups = a.int("num_groups", 1).max(1) as usize;
    if x.ndim() < 3 || x.shape()[1] % groups != 0 || scale.len() != bias.len() || (scale.len() != groups && scale.len() != x.shape()[1]) {
        return bad(format!("has {groups} groups and {} scales for the shape {:?}", scale.len(), x.shape()));
    }
    let per = x.shape()[1] / groups;
    // Opset 18 scaled per group, opset 21 per channel.
    let index = |c: usize| if scale.len() == x.shape()[1] && (a.opset >= 21 || groups != x.shape()[1]) { c } else { c / per };
    Ok(blocks(x, per * x.shape()[2..].iter().product::<usize>(), a.float("epsilon", 1e-5), |c| (scale[index(c)], bias[index(c)])))
}

fn lrn(a: &Args) -> Res<Vec<Value>> {
    let x = a.f(0)?;
    let size = a.int("size", 1).max(1) as usize;
    let (alpha, beta, bias) = (a.float("alpha", 1e-4), a.float("beta", 0.75), a.float("bias", 1.0));
    if x.ndim() < 2 {
        return bad("needs channels");
    }
    let channels = x.shape()[1];
    let area: usize = x.shape()[2..].iter().product();
    let data = flat(x);
    let y = (0..data.len()).map(|i| {
        let c = i / area % channels;
        let first = c.saturating_sub((size - 1) / 2);
        let last = (c + size / 2).min(channels - 1);
        let sum: f64 = (first..=last).map(|k| data[i + k * area - c * area].powi(2)).sum();
        data[i] / (bias + alpha / size as f64 * sum).powf(beta)
    });
    Ok(vec![Value::F(array(x.shape(), y.collect()))])
}

fn mean_variance(a: &Args) -> Res<Vec<Value>> {
    let x = a.f(0)?;
    let axes = a.node.ints("axes").unwrap_or(&[0, 2, 3]).iter().map(|&v| axis(v, x.ndim())).collect::<Res<Vec<_>>>()?;
    let small: Vec<usize> = x.shape().iter().enumerate().map(|(i, &d)| if axes.contains(&i) { 1 } else { d }).collect();
    let mut groups = vec![Vec::new(); small.iter().product()];
    let steps = broadcast_strides(&small, x.shape());
    let data = flat(x);
    let mut place = Vec::with_capacity(data.len());
    walk(x.shape(), [&steps], |[g]| place.push(g));
    place.iter().zip(data).for_each(|(&g, &v)| groups[g].push(v));
    let stats: Vec<(f64, f64)> = groups.iter().map(|g| moments(g)).collect();
    Ok(vec![Value::F(array(x.shape(), place.iter().zip(data).map(|(&g, v)| (v - stats[g].0) / (stats[g].1.sqrt() + 1e-9)).collect()))])
}
