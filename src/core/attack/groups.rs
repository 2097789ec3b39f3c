//! Square windows over the image and their proximal operator (method report B.4, H.5).

use ndarray::{Array3, s};

use crate::core::stepper::Windows;

/// One window: top, left, height, width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
}

/// Windows in classes of mutually disjoint ones: with a stride below the side, `ceil(side / stride)^2` classes.
#[derive(Debug, Clone)]
pub(super) struct Groups {
    pub classes: Vec<Vec<Window>>,
}

impl Groups {
    /// Windows of `side` every `stride` pixels. `ragged` adds smaller windows at the right and bottom, so that every
    /// pixel lies in one; without it only whole windows count, as in the released code.
    pub fn new(height: usize, width: usize, side: usize, stride: usize, ragged: bool) -> Self {
        let stride = stride.clamp(1, side.max(1));
        let (rows, cols) = (starts(height, side, stride, ragged), starts(width, side, stride, ragged));
        let per_axis = side.max(1).div_ceil(stride);
        let mut classes = vec![Vec::new(); per_axis * per_axis];
        for (a, (top, h)) in rows.iter().enumerate() {
            for (b, (left, w)) in cols.iter().enumerate() {
                let class = (a % per_axis) * per_axis + b % per_axis;
                classes[class].push(Window { top: *top, left: *left, height: *h, width: *w });
            }
        }
        classes.retain(|c: &Vec<Window>| !c.is_empty());
        Self { classes }
    }

    /// All windows in one class, in row-major order: what the released code writes one after another.
    pub fn flattened(self) -> Self {
        let mut all: Vec<Window> = self.classes.into_iter().flatten().collect();
        all.sort_by_key(|w| (w.top, w.left));
        Self { classes: vec![all] }
    }

    /// Every window.
    pub fn windows(&self) -> impl Iterator<Item = &Window> {
        self.classes.iter().flatten()
    }

    /// Sum of the windows' Euclidean lengths and the number of windows that are not zero.
    pub fn lengths(&self, values: &Array3<f32>) -> (f64, usize) {
        self.windows().map(|w| w.length(values)).fold((0.0, 0), |(sum, n), l| (sum + l, n + usize::from(l > 0.0)))
    }
}

impl Groups {
    /// The same as matrices, for loops elsewhere: every class is a grid, and where its windows overlap the last one wins.
    pub fn matrices(&self, height: usize, width: usize) -> Windows {
        type Spans = Vec<(usize, usize)>;
        let spans = |of: &dyn Fn(&Window) -> (usize, usize)| -> Vec<Spans> {
            let each = |class: &Vec<Window>| {
                let mut spans: Spans = class.iter().map(of).collect();
                spans.sort_unstable();
                spans.dedup();
                spans
            };
            self.classes.iter().map(each).collect()
        };
        let covers = |spans: &[Spans], length: usize| {
            let most = spans.iter().map(Vec::len).max().unwrap_or(0);
            let (mut sums, mut spread) = (Array3::zeros((spans.len(), most, length)), Array3::zeros((spans.len(), most, length)));
            for (class, spans) in spans.iter().enumerate() {
                for (i, (start, count)) in spans.iter().enumerate() {
                    sums.slice_mut(s![class, i, *start..start + count]).fill(1.0);
                    spread.slice_mut(s![class, .., *start..start + count]).fill(0.0);
                    spread.slice_mut(s![class, i, *start..start + count]).fill(1.0);
                }
            }
            (sums, spread)
        };
        let (rows, row_spread) = covers(&spans(&|w| (w.top, w.height)), height);
        let (columns, column_spread) = covers(&spans(&|w| (w.left, w.width)), width);
        Windows { rows, columns, row_spread, column_spread }
    }
}

impl Window {
    /// Euclidean length over all channels.
    pub fn length(&self, values: &Array3<f32>) -> f64 {
        let part = values.slice(s![.., self.top..self.top + self.height, self.left..self.left + self.width]);
        part.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
    }
}

/// `out_g = q_g max(0, 1 - threshold / ||q_g||)` for each window of a class; pixels outside keep q. All windows are
/// measured on q before any is written, so that overlapping ones (released mode) overwrite: the last wins.
pub(super) fn shrink(class: &[Window], q: &Array3<f32>, threshold: f64) -> Array3<f32> {
    let mut out = q.clone();
    for w in class {
        let length = w.length(q);
        let factor = if length > threshold { (1.0 - threshold / length) as f32 } else { 0.0 };
        let area = s![.., w.top..w.top + w.height, w.left..w.left + w.width];
        let part = q.slice(area);
        out.slice_mut(area).zip_mut_with(&part, |o, q| *o = q * factor);
    }
    out
}

/// Start and length of each window along an axis.
fn starts(length: usize, side: usize, stride: usize, ragged: bool) -> Vec<(usize, usize)> {
    let side = side.clamp(1, length.max(1));
    let whole = (length - side) / stride + 1;
    let mut starts: Vec<(usize, usize)> = (0..whole).map(|i| (i * stride, side)).collect();
    let covered = (whole - 1) * stride + side;
    if ragged && covered < length {
        let next = whole * stride;
        starts.push((next, length - next));
    }
    starts
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, array};

    use super::*;

    #[test]
    fn h5_group_prox() {
        let one = [Window { top: 0, left: 0, height: 1, width: 2 }];
        let q = array![[[3.0f32, 4.0]]];
        let shrunk = shrink(&one, &q, 2.0);
        assert!((shrunk[(0, 0, 0)] - 1.8).abs() < 1e-6 && (shrunk[(0, 0, 1)] - 2.4).abs() < 1e-6);
        assert!(shrink(&one, &q, 5.0).iter().all(|v| *v == 0.0));
        let single = [Window { top: 0, left: 0, height: 1, width: 1 }];
        assert_eq!(shrink(&single, &array![[[-3.0f32]]], 2.0), array![[[-1.0f32]]]);
        assert!(shrink(&one, &array![[[0.0f32, 0.0]]], 0.0).iter().all(|v| *v == 0.0));
    }

    #[test]
    fn h6_counts() {
        for (n, side, count) in [(299, 13, 529), (32, 2, 256), (28, 2, 196)] {
            assert_eq!(Groups::new(n, n, side, side, false).windows().count(), count);
            assert_eq!(Groups::new(n, n, side, side, true).windows().count(), count);
        }
    }

    #[test]
    fn matrices_shrink_as_the_loops_do() {
        let q = Array3::from_shape_fn((2, 9, 11), |(c, y, x)| ((c * 99 + y * 11 + x) as f32 * 0.7).sin());
        for (side, stride, ragged, flat) in [(3, 3, true, false), (4, 2, true, false), (4, 3, false, true), (5, 2, false, true)] {
            let groups = Groups::new(9, 11, side, stride, ragged);
            let groups = if flat { groups.flattened() } else { groups };
            let w = groups.matrices(9, 11);
            for (class, windows) in groups.classes.iter().enumerate() {
                let part = |m: &Array3<f32>| m.index_axis(ndarray::Axis(0), class).to_owned();
                let squares = q.mapv(|v| v * v).sum_axis(ndarray::Axis(0));
                let lengths = part(&w.rows).dot(&squares).dot(&part(&w.columns).t()).mapv(f32::sqrt);
                let factor = lengths.mapv(|l| if l > 1.5 { 1.0 - 1.5 / l } else { 0.0 });
                let factors = part(&w.row_spread).t().dot(&factor).dot(&part(&w.column_spread));
                let covered = part(&w.row_spread)
                    .sum_axis(ndarray::Axis(0))
                    .insert_axis(ndarray::Axis(1))
                    .dot(&part(&w.column_spread).sum_axis(ndarray::Axis(0)).insert_axis(ndarray::Axis(0)));
                let want = shrink(windows, &q, 1.5);
                for ((c, y, x), want) in want.indexed_iter() {
                    let got = q[(c, y, x)] * (factors[(y, x)] + 1.0 - covered[(y, x)]);
                    assert!((got - want).abs() < 1e-5, "{side} {stride} {flat} class {class} at {y}, {x}: {got} for {want}");
                }
            }
        }
    }

    #[test]
    fn classes_are_disjoint_and_cover() {
        for (n, side, stride) in [(6, 3, 2), (7, 2, 2), (10, 4, 1), (5, 9, 3), (8, 5, 3)] {
            let groups = Groups::new(n, n, side, stride, true);
            let mut covered = Array3::<u32>::zeros((1, n, n));
            for class in &groups.classes {
                let mut count = Array3::<u32>::zeros((1, n, n));
                for w in class {
                    count.slice_mut(s![.., w.top..w.top + w.height, w.left..w.left + w.width]).mapv_inplace(|v| v + 1);
                }
                assert!(count.iter().all(|v| *v <= 1), "{n} {side} {stride}");
                covered += &count;
            }
            assert!(covered.iter().all(|v| *v >= 1), "{n} {side} {stride}");
        }
        let bare = Groups::new(7, 7, 2, 2, false);
        assert_eq!(49 - bare.windows().count() * 4, 13);
    }
}
