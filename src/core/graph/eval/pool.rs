//! Poolings.

use super::{
    Args, Res, Rule, Value, bad,
    conv::unravel,
    flat,
    geometry::{axes::strides, window::Window},
    value::array,
};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("AveragePool", average),
    ("GlobalAveragePool", |a| global(a, |v| v.iter().sum::<f64>() / v.len() as f64)),
    ("GlobalLpPool", |a| {
        let p = a.int("p", 2) as f64;
        global(a, |v| v.iter().map(|x| x.abs().powf(p)).sum::<f64>().powf(1.0 / p))
    }),
    ("GlobalMaxPool", |a| global(a, |v| v.iter().copied().fold(f64::NEG_INFINITY, f64::max))),
    ("LpPool", lp),
    ("MaxPool", max),
];

fn global(a: &Args, f: impl Fn(&[f64]) -> f64) -> Res<Vec<Value>> {
    let x = a.f(0)?;
    if x.ndim() < 2 {
        return bad("needs batch and channel dimensions");
    }
    let area: usize = x.shape()[2..].iter().product();
    let shape: Vec<usize> = x.shape().iter().enumerate().map(|(i, &d)| if i < 2 { d } else { 1 }).collect();
    Ok(vec![Value::F(array(&shape, flat(x).chunks_exact(area.max(1)).map(f).collect()))])
}

/// Applies `f(values under the window as (flat offset, value), number of taps inside input and padding)` everywhere.
fn windows<R>(a: &Args, mut f: impl FnMut(usize, &[(usize, f64)], usize) -> R) -> Res<(Vec<usize>, Vec<R>)> {
    let x = a.f(0)?;
    let xs = x.shape();
    if xs.len() < 3 {
        return bad("needs spatial dimensions");
    }
    let (spatial, area) = (&xs[2..], xs[2..].iter().product::<usize>());
    let w = Window::of(a, spatial, None)?;
    let steps = strides(spatial);
    let taps: Vec<Vec<usize>> = (0..w.kernel.iter().product()).map(|t| unravel(t, &w.kernel)).collect();
    let data = flat(x);
    let shape: Vec<usize> = xs[..2].iter().chain(&w.output).copied().collect();
    let mut out = Vec::with_capacity(shape.iter().product());
    let mut values = Vec::new();
    for (plane, image) in data.chunks_exact(area.max(1)).enumerate() {
        for position in 0..w.output.iter().product() {
            let at = unravel(position, &w.output);
            let mut padded = 0;
            values.clear();
            for tap in &taps {
                let place = |i: usize| (at[i] * w.strides[i] + tap[i] * w.dilations[i]) as i64 - w.begin[i];
                padded += usize::from((0..spatial.len()).all(|i| place(i) < spatial[i] as i64 + w.end[i]));
                if (0..spatial.len()).all(|i| (0..spatial[i] as i64).contains(&place(i))) {
                    let offset = (0..spatial.len()).map(|i| place(i) as usize * steps[i]).sum::<usize>();
                    values.push((plane * area + offset, image[offset]));
                }
            }
            out.push(f(plane, &values, padded));
        }
    }
    Ok((shape, out))
}

fn average(a: &Args) -> Res<Vec<Value>> {
    let all = a.int("count_include_pad", 0) != 0;
    let (shape, out) = windows(a, |_, v, padded| v.iter().map(|t| t.1).sum::<f64>() / if all { padded } else { v.len() } as f64)?;
    Ok(vec![Value::F(array(&shape, out))])
}

fn lp(a: &Args) -> Res<Vec<Value>> {
    let p = a.int("p", 2) as f64;
    let (shape, out) = windows(a, |_, v, _| v.iter().map(|t| t.1.abs().powf(p)).sum::<f64>().powf(1.0 / p))?;
    Ok(vec![Value::F(array(&shape, out))])
}

/// Also gives the flat indices (first maximum wins), row-major or, with `storage_order`, column-major within the plane.
fn max(a: &Args) -> Res<Vec<Value>> {
    let (shape, best) = windows(a, |_, v, _| {
        v.iter().copied().fold((0, f64::NEG_INFINITY), |m, t| if t.1 > m.1 || m.1 == f64::NEG_INFINITY && t.1 == m.1 { t } else { m })
    })?;
    let xs = a.f(0)?.shape();
    let area: usize = xs[2..].iter().product();
    let column_major = a.int("storage_order", 0) != 0;
    let index = |i: usize| {
        if !column_major {
            return i as i64;
        }
        let at = unravel(i % area, &xs[2..]);
        let inner = at.iter().zip(&xs[2..]).rev().fold(0, |sum, (&p, &d)| sum * d + p);
        (i / area * area + inner) as i64
    };
    Ok(vec![Value::floats(&shape, best.iter().map(|b| b.1).collect()), Value::ints(&shape, best.iter().map(|b| index(b.0)).collect())])
}
