//! Pad with its four modes.

use super::{
    Args, Fail, Res, Rule, Value, bad, flat,
    geometry::{
        axes::{strides, walk},
        pad::Padding,
    },
    value::{array, same_kind},
};

pub(super) const RULES: &[(&str, Rule)] = &[("Pad", pad)];

fn pad(a: &Args) -> Res<Vec<Value>> {
    let x = a.value(0)?;
    let input = x.shape();
    let padding = Padding::of(a, input.len())?;
    let shape = padding.shape(input)?;
    let mode = a.node.text("mode", "constant");
    let fill = if a.opset < 11 { a.float("value", 0.0) } else { a.scalar(2)?.unwrap_or(0.0) };
    // Per axis: which input index each output index reads; input index + 1, or 0 for the constant.
    let mut sources = Vec::new();
    for i in 0..input.len() {
        let d = input[i] as i64;
        let read = (0..shape[i] as i64).map(|o| {
            let at = o - padding.before[i];
            Ok(match mode.as_str() {
                _ if (0..d).contains(&at) => at + 1,
                "constant" => 0,
                _ if d == 0 => return bad("pads an empty axis"),
                "edge" => at.clamp(0, d - 1) + 1,
                "wrap" => at.rem_euclid(d) + 1,
                "reflect" if d > 1 => {
                    let m = at.rem_euclid(2 * (d - 1));
                    m.min(2 * (d - 1) - m) + 1
                }
                "reflect" => 1,
                other => return Err(Fail::Bad(format!("uses the padding mode '{other}', which is not supported"))),
            })
        });
        sources.push(read.collect::<Res<Vec<i64>>>()?);
    }
    let own = strides(input);
    let mut offsets = Vec::with_capacity(shape.iter().product());
    let out_steps = strides(&shape);
    walk(&shape, [&out_steps], |[o]| {
        let mut at = Some(0);
        for i in 0..shape.len() {
            let s = sources[i][o / out_steps[i] % shape[i]];
            at = at.filter(|_| s > 0).map(|sum| sum + (s - 1) as usize * own[i]);
        }
        offsets.push(at);
    });
    Ok(vec![match x {
        Value::F(v) => Value::F(array(&shape, offsets.into_iter().map(|o| o.map_or(fill, |i| flat(v)[i])).collect())),
        Value::I(v) => Value::I(array(&shape, offsets.into_iter().map(|o| o.map_or(fill as i64, |i| flat(v)[i])).collect())),
        other => {
            same_kind!(other, v => array(&shape, offsets.into_iter().map(|o| o.map_or_else(Default::default, |i| flat(v)[i])).collect()))
        }
    }])
}
