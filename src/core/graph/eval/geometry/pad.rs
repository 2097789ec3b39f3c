//! `Pad` in its attribute (below opset 11), input and axes (from 18) forms.

use super::super::args::{Args, Fail, Res, bad};
use super::axes::axis;

/// Elements added (or, when negative, removed) before and after each axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Padding {
    /// Before.
    pub before: Vec<i64>,
    /// After.
    pub after: Vec<i64>,
}

impl Padding {
    /// Reads a `Pad` node.
    pub fn of(args: &Args, rank: usize) -> Res<Self> {
        let list = match args.node.ints("pads") {
            Some(p) => p.to_vec(),
            None => args.ints(1)?.ok_or_else(|| Fail::Bad("has no pads".into()))?,
        };
        let axes = match args.ints(3)? {
            Some(a) => a.into_iter().map(|a| axis(a, rank)).collect::<Res<Vec<_>>>()?,
            None => (0..rank).collect(),
        };
        if list.len() != 2 * axes.len() {
            return bad(format!("has {} pads for {} axes", list.len(), axes.len()));
        }
        let mut out = Self { before: vec![0; rank], after: vec![0; rank] };
        for (i, &a) in axes.iter().enumerate() {
            out.before[a] = list[i];
            out.after[a] = list[axes.len() + i];
        }
        Ok(out)
    }

    /// Shape after padding.
    pub fn shape(&self, input: &[usize]) -> Res<Vec<usize>> {
        input
            .iter()
            .enumerate()
            .map(|(i, &d)| {
                usize::try_from(d as i64 + self.before[i] + self.after[i]).map_err(|_| Fail::Bad("removes more than there is".into()))
            })
            .collect()
    }
}
