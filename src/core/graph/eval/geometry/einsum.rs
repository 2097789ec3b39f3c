//! Einsum equations.

use super::super::args::{Fail, Res, bad};

/// A parsed equation; ellipses are expanded to labels of their own, so that each axis of each operand has a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equation {
    /// Labels of each operand's axes.
    pub inputs: Vec<Vec<u32>>,
    /// Labels of the result's axes.
    pub output: Vec<u32>,
}

const ELLIPSIS: u32 = 1 << 24;

impl Equation {
    /// Parses `text` for operands with these numbers of dimensions.
    pub fn parse(text: &str, ranks: &[usize]) -> Res<Self> {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match text.split_once("->") {
            Some((l, r)) => (l.to_owned(), Some(r.to_owned())),
            None => (text.clone(), None),
        };
        let terms: Vec<&str> = left.split(',').collect();
        if terms.len() != ranks.len() {
            return bad(format!("has an equation for {} operands and {} of them", terms.len(), ranks.len()));
        }
        let mut inputs = Vec::new();
        let mut widest = 0;
        for (term, &rank) in terms.iter().zip(ranks) {
            let letters = term.replace("...", "").chars().count();
            let dots = if term.contains("...") {
                rank.checked_sub(letters).ok_or_else(|| Fail::Bad("has an equation that does not fit".into()))?
            } else {
                0
            };
            widest = widest.max(dots);
            let labels = labels(term, dots);
            if labels.len() != rank {
                return bad(format!("has the term '{term}' for an operand with {rank} dimensions"));
            }
            inputs.push(labels);
        }
        let output = match right {
            Some(r) => labels(&r, if r.contains("...") { widest } else { 0 }),
            None => implicit(&inputs, widest),
        };
        Ok(Self { inputs, output })
    }

    /// Every label with its size.
    pub fn sizes(&self, shapes: &[&[usize]]) -> Res<Vec<(u32, usize)>> {
        let mut sizes: Vec<(u32, usize)> = Vec::new();
        for (labels, shape) in self.inputs.iter().zip(shapes) {
            for (&l, &d) in labels.iter().zip(*shape) {
                match sizes.iter_mut().find(|(k, _)| *k == l) {
                    Some((_, s)) if *s == d || d == 1 => {}
                    Some((_, s)) if *s == 1 => *s = d,
                    Some(_) => return bad("gives one label two sizes"),
                    None => sizes.push((l, d)),
                }
            }
        }
        Ok(sizes)
    }
}

/// Ellipsis axes are numbered from the right, so that they broadcast.
fn labels(term: &str, dots: usize) -> Vec<u32> {
    let mut out = Vec::new();
    let mut rest = term;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("...") {
            out.extend((0..dots).rev().map(|i| ELLIPSIS + i as u32));
            rest = after;
        } else {
            out.push(c as u32);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

fn implicit(inputs: &[Vec<u32>], dots: usize) -> Vec<u32> {
    let all: Vec<u32> = inputs.iter().flatten().copied().collect();
    let mut once: Vec<u32> = all.iter().copied().filter(|l| *l < ELLIPSIS && all.iter().filter(|m| *m == l).count() == 1).collect();
    once.sort_unstable();
    (0..dots).rev().map(|i| ELLIPSIS + i as u32).chain(once).collect()
}
