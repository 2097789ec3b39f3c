//! Resize and Upsample, axis by axis.

use super::{Args, Res, Rule, Value, flat, geometry::resize::Resampling, value::array};

pub(super) const RULES: &[(&str, Rule)] = &[("Resize", resize), ("Upsample", resize)];

fn resize(a: &Args) -> Res<Vec<Value>> {
    let mut x = a.value(0)?.to_floats();
    let plan = Resampling::of(a, x.shape())?;
    let mut outside = vec![false; 0];
    let shape = plan.shape();
    if plan.coordinates == "tf_crop_and_resize" {
        outside = vec![false; shape.iter().product()];
    }
    for at in 0..x.ndim() {
        let taps = plan.taps(at)?;
        let (outer, d, inner): (usize, usize, usize) =
            (x.shape()[..at].iter().product(), x.shape()[at], x.shape()[at + 1..].iter().product());
        let data = flat(&x);
        let mut out = vec![0.0; outer * taps.len() * inner];
        for o in 0..outer {
            for (k, tap) in taps.iter().enumerate() {
                for &(j, weight) in tap.iter().flatten() {
                    for i in 0..inner {
                        out[(o * taps.len() + k) * inner + i] += weight * data[(o * d + j) * inner + i];
                    }
                }
            }
        }
        let mut next = x.shape().to_vec();
        next[at] = taps.len();
        x = array(&next, out);
        if !outside.is_empty() {
            let after: usize = shape[at + 1..].iter().product();
            outside.iter_mut().enumerate().for_each(|(i, o)| *o |= taps[i / after % shape[at]].is_none());
        }
    }
    for (v, _) in x.iter_mut().zip(outside).filter(|(_, o)| *o) {
        *v = plan.extrapolation;
    }
    Ok(vec![if matches!(a.value(0)?, Value::F(_)) { Value::F(x) } else { Value::I(x.mapv(|v| v.round() as i64)) }])
}
