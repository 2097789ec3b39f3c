//! `Slice` in its attribute (below opset 10) and input form.

use super::super::args::{Args, Fail, Res, bad};
use super::axes::axis;

/// The part of one axis that a `Slice` takes: indices `start + i * step` for `i < len`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First index.
    pub start: i64,
    /// Step, negative when reversed.
    pub step: i64,
    /// Number of elements.
    pub len: usize,
}

/// One span per axis of the input.
pub fn spans(args: &Args, input: &[usize]) -> Res<Vec<Span>> {
    let read = |name: &str, i: usize| match args.node.ints(name) {
        Some(v) => Ok(Some(v.to_vec())),
        None => args.ints(i),
    };
    let starts = read("starts", 1)?.ok_or_else(|| Fail::Bad("has no starts".into()))?;
    let ends = read("ends", 2)?.ok_or_else(|| Fail::Bad("has no ends".into()))?;
    let axes = read("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = args.ints(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return bad("has starts, ends, axes and steps of different lengths");
    }
    let mut out: Vec<Span> = input.iter().map(|&d| Span { start: 0, step: 1, len: d }).collect();
    for i in 0..starts.len() {
        let a = axis(axes[i], input.len())?;
        out[a] = span(starts[i], ends[i], steps[i], input[a])?;
    }
    Ok(out)
}

fn span(start: i64, end: i64, step: i64, dim: usize) -> Res<Span> {
    let d = dim as i64;
    let wrap = |v: i64| if v < 0 { v.saturating_add(d) } else { v };
    let (start, end) = (wrap(start), wrap(end));
    let (start, len) = match step {
        0 => return bad("has a step of 0"),
        s if s > 0 => {
            let (from, to) = (start.clamp(0, d), end.clamp(0, d));
            (from, (to - from).max(0).div_ceil_by(s))
        }
        s => {
            let (from, to) = (start.clamp(-1, d - 1), end.clamp(-1, d - 1));
            (from, (from - to).max(0).div_ceil_by(s.saturating_neg()))
        }
    };
    Ok(Span { start, step, len: len as usize })
}

trait CeilDiv {
    fn div_ceil_by(self, step: i64) -> i64;
}

impl CeilDiv for i64 {
    fn div_ceil_by(self, step: i64) -> i64 {
        self / step + i64::from(self % step != 0)
    }
}
