//! Convolutions of any number of spatial axes.

use super::{
    Args, Res, Rule, Value, bad, flat,
    geometry::{axes::strides, window::Window},
    value::array,
};

pub(super) const RULES: &[(&str, Rule)] = &[("Conv", conv), ("ConvTranspose", transposed)];

/// Calls `visit(small, large, tap)` for every position of the smaller side and every kernel tap that falls on the
/// larger side; all three are flat offsets within one channel.
fn taps(w: &Window, small: &[usize], large: &[usize], mut visit: impl FnMut(usize, usize, usize)) {
    let n = small.len();
    let steps = strides(large);
    let count: usize = w.kernel.iter().product();
    for position in 0..small.iter().product() {
        let at = unravel(position, small);
        for tap in 0..count {
            let tap_at = unravel(tap, &w.kernel);
            let place = |i: usize| (at[i] * w.strides[i] + tap_at[i] * w.dilations[i]) as i64 - w.begin[i];
            if (0..n).all(|i| (0..large[i] as i64).contains(&place(i))) {
                visit(position, (0..n).map(|i| place(i) as usize * steps[i]).sum(), tap);
            }
        }
    }
}

pub(super) fn unravel(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut out = vec![0; shape.len()];
    for i in (0..shape.len()).rev() {
        out[i] = flat % shape[i];
        flat /= shape[i];
    }
    out
}

fn conv(a: &Args) -> Res<Vec<Value>> {
    let (x, w, b) = (a.f(0)?, a.f(1)?, a.optional_f(2)?);
    let (xs, ws) = (x.shape(), w.shape());
    let groups = a.int("group", 1).max(1) as usize;
    if xs.len() < 3 || ws.len() != xs.len() || xs[1] != ws[1] * groups || ws[0] % groups != 0 {
        return bad(format!("convolves {xs:?} with weights {ws:?} in {groups} groups"));
    }
    let window = Window::of(a, &xs[2..], Some(&ws[2..]))?;
    let (n, cin, cout) = (xs[0], ws[1], ws[0]);
    let (inside, outside, kernel): (usize, usize, usize) =
        (xs[2..].iter().product(), window.output.iter().product(), ws[2..].iter().product());
    let (xd, wd) = (flat(x), flat(w));
    let mut out = vec![0.0; n * cout * outside];
    let mut hits = Vec::new();
    taps(&window, &window.output, &xs[2..], |o, i, t| hits.push((o, i, t)));
    for s in 0..n {
        for o in 0..cout {
            let y = &mut out[(s * cout + o) * outside..][..outside];
            y.fill(b.map_or(0.0, |b| flat(b)[o]));
            for c in 0..cin {
                let image = &xd[(s * xs[1] + o / (cout / groups) * cin + c) * inside..][..inside];
                let weights = &wd[(o * cin + c) * kernel..][..kernel];
                for &(p, i, t) in &hits {
                    y[p] += image[i] * weights[t];
                }
            }
        }
    }
    let shape: Vec<usize> = [n, cout].into_iter().chain(window.output).collect();
    Ok(vec![Value::F(array(&shape, out))])
}

fn transposed(a: &Args) -> Res<Vec<Value>> {
    let (x, w, b) = (a.f(0)?, a.f(1)?, a.optional_f(2)?);
    let (xs, ws) = (x.shape(), w.shape());
    let groups = a.int("group", 1).max(1) as usize;
    if xs.len() < 3 || ws.len() != xs.len() || xs[1] != ws[0] || xs[1] % groups != 0 {
        return bad(format!("transposed-convolves {xs:?} with weights {ws:?} in {groups} groups"));
    }
    let window = Window::transposed(a, &xs[2..], &ws[2..])?;
    let (n, cin, per_group) = (xs[0], xs[1], ws[1]);
    let cout = per_group * groups;
    let (inside, outside, kernel): (usize, usize, usize) =
        (xs[2..].iter().product(), window.output.iter().product(), ws[2..].iter().product());
    let (xd, wd) = (flat(x), flat(w));
    let mut hits = Vec::new();
    taps(&window, &xs[2..], &window.output, |i, o, t| hits.push((i, o, t)));
    let mut out = vec![0.0; n * cout * outside];
    for (o, y) in out.chunks_exact_mut(outside).enumerate() {
        y.fill(b.map_or(0.0, |b| flat(b)[o % cout]));
    }
    for s in 0..n {
        for c in 0..cin {
            let image = &xd[(s * cin + c) * inside..][..inside];
            for o in 0..per_group {
                let channel = c / (cin / groups) * per_group + o;
                let y = &mut out[(s * cout + channel) * outside..][..outside];
                let weights = &wd[(c * per_group + o) * kernel..][..kernel];
                for &(i, p, t) in &hits {
                    y[p] += image[i] * weights[t];
                }
            }
        }
    }
    let shape: Vec<usize> = [n, cout].into_iter().chain(window.output).collect();
    Ok(vec![Value::F(array(&shape, out))])
}
