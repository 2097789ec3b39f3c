//! Filling in removed pixels so that the hole itself says little (ROAD, Rong et al. 2022): every missing pixel is the weighted
//! mean of its eight neighbours, 1/6 across an edge and 1/12 across a corner, weights renormalised at the border.
//!
//! Multiplied by its weights' sum, the system is symmetric and positive definite as long as some pixel is known: conjugate
//! gradients, begun from a pyramid of means of the known pixels.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis};

const NEIGHBOURS: [(isize, isize, f32); 8] = [
    (-1, 0, 1.0 / 6.0),
    (1, 0, 1.0 / 6.0),
    (0, -1, 1.0 / 6.0),
    (0, 1, 1.0 / 6.0),
    (-1, -1, 1.0 / 12.0),
    (-1, 1, 1.0 / 12.0),
    (1, -1, 1.0 / 12.0),
    (1, 1, 1.0 / 12.0),
];
/// Residual, relative to the right-hand side, at which the solution is good enough: far below the noise that ROAD adds.
const TOLERANCE: f64 = 1e-4;
const ITERATIONS: usize = 400;

/// The system of one set of missing pixels.
struct System {
    /// Row-major pixel of every unknown.
    pixels: Vec<usize>,
    /// Per unknown: (unknown, weight) of its missing neighbours.
    inner: Vec<Vec<(usize, f32)>>,
    /// Per unknown: (pixel, weight) of its known neighbours.
    outer: Vec<Vec<(usize, f32)>>,
    /// Per unknown: sum of all its weights.
    diagonal: Vec<f32>,
}

impl System {
    fn new(missing: ArrayView2<bool>) -> Self {
        let (h, w) = missing.dim();
        let pixels: Vec<usize> = missing.iter().enumerate().filter(|(_, m)| **m).map(|(i, _)| i).collect();
        let mut number = vec![usize::MAX; h * w];
        for (unknown, pixel) in pixels.iter().enumerate() {
            number[*pixel] = unknown;
        }
        let mut system = Self { inner: Vec::new(), outer: Vec::new(), diagonal: Vec::new(), pixels };
        for pixel in &system.pixels {
            let (mut inner, mut outer, mut sum) = (Vec::new(), Vec::new(), 0.0);
            for (dy, dx, weight) in NEIGHBOURS {
                let at = (pixel / w).checked_add_signed(dy).zip((pixel % w).checked_add_signed(dx));
                let Some((y, x)) = at.filter(|(y, x)| *y < h && *x < w) else { continue };
                sum += weight;
                match number[y * w + x] {
                    usize::MAX => outer.push((y * w + x, weight)),
                    unknown => inner.push((unknown, weight)),
                }
            }
            system.inner.push(inner);
            system.outer.push(outer);
            system.diagonal.push(sum);
        }
        system
    }

    fn times(&self, v: &[f32], out: &mut [f32]) {
        for (i, o) in out.iter_mut().enumerate() {
            *o = self.diagonal[i] * v[i] - self.inner[i].iter().map(|(j, w)| w * v[*j]).sum::<f32>();
        }
    }

    /// Solves for one plane; `values` holds a first guess at the unknowns and the known pixels.
    fn solve(&self, values: &mut [f32]) {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        let right: Vec<f32> = self.outer.iter().map(|n| n.iter().map(|(p, w)| w * values[*p]).sum()).collect();
        let mut v: Vec<f32> = self.pixels.iter().map(|p| values[*p]).collect();
        let mut product = vec![0.0; v.len()];
        self.times(&v, &mut product);
        let mut residual: Vec<f32> = right.iter().zip(&product).map(|(b, a)| b - a).collect();
        let mut direction = residual.clone();
        let goal = dot(&right, &right) * TOLERANCE * TOLERANCE;
        let mut size = dot(&residual, &residual);
        for _ in 0..ITERATIONS {
            if size <= goal {
                break;
            }
            self.times(&direction, &mut product);
            let step = (size / dot(&direction, &product).max(f64::MIN_POSITIVE)) as f32;
            for i in 0..v.len() {
                v[i] += step * direction[i];
                residual[i] -= step * product[i];
            }
            let next = dot(&residual, &residual);
            let keep = (next / size) as f32;
            for (d, r) in direction.iter_mut().zip(&residual) {
                *d = r + keep * *d;
            }
            size = next;
        }
        for (pixel, value) in self.pixels.iter().zip(v) {
            values[*pixel] = value;
        }
    }
}

/// The image with its missing pixels filled in. Where nothing is known it stays as it is.
pub fn fill(image: ArrayView3<f32>, missing: ArrayView2<bool>) -> Array3<f32> {
    let mut out = image.as_standard_layout().into_owned();
    if missing.iter().all(|m| *m) {
        return out;
    }
    let system = System::new(missing);
    for mut plane in out.axis_iter_mut(Axis(0)) {
        let first = pyramid(plane.view(), missing);
        plane.assign(&first);
        if let Some(values) = plane.as_slice_mut() {
            system.solve(values);
        }
    }
    out
}

/// Missing pixels from means over ever larger squares of known ones.
fn pyramid(plane: ArrayView2<f32>, missing: ArrayView2<bool>) -> Array2<f32> {
    let (h, w) = plane.dim();
    if !missing.iter().any(|m| *m) || (h == 1 && w == 1) {
        return plane.to_owned();
    }
    let (ch, cw) = (h.div_ceil(2), w.div_ceil(2));
    let (mut sum, mut count) = (Array2::<f32>::zeros((ch, cw)), Array2::<f32>::zeros((ch, cw)));
    for ((y, x), v) in plane.indexed_iter().filter(|(at, _)| !missing[*at]) {
        sum[(y / 2, x / 2)] += v;
        count[(y / 2, x / 2)] += 1.0;
    }
    let empty = count.mapv(|n| n == 0.0);
    let coarse = pyramid((sum / count.mapv(|n: f32| n.max(1.0))).view(), empty.view());
    Array2::from_shape_fn((h, w), |(y, x)| if missing[(y, x)] { coarse[(y / 2, x / 2)] } else { plane[(y, x)] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_through_a_hole_is_found_again() {
        // The operator reproduces affine functions wherever all eight neighbours exist.
        let truth = Array3::from_shape_fn((2, 24, 30), |(c, y, x)| 0.2 + 0.01 * y as f32 - 0.02 * x as f32 * (c as f32 - 0.5));
        let missing = Array2::from_shape_fn((24, 30), |(y, x)| (4..19).contains(&y) && (3..25).contains(&x) && (y, x) != (10, 10));
        let mut holed = truth.clone();
        for ((_, y, x), v) in holed.indexed_iter_mut() {
            if missing[(y, x)] {
                *v = 9.0;
            }
        }
        for (a, b) in fill(holed.view(), missing.view()).iter().zip(&truth) {
            approx::assert_abs_diff_eq!(a, b, epsilon = 2e-3);
        }
    }

    #[test]
    fn one_pixel_is_the_weighted_mean_of_its_neighbours() {
        let image = Array3::from_shape_fn((1, 3, 3), |(_, y, x)| (y * 3 + x) as f32 * 0.1 + if (y, x) == (0, 1) { 1.0 } else { 0.0 });
        let mut missing = Array2::from_elem((3, 3), false);
        missing[(1, 1)] = true;
        let want = (0.1 + 1.0 + 0.3 + 0.5 + 0.7) / 6.0 + (0.0 + 0.2 + 0.6 + 0.8) / 12.0;
        approx::assert_abs_diff_eq!(fill(image.view(), missing.view())[(0, 1, 1)], want, epsilon = 1e-5);
        // In a corner the three weights are renormalised.
        let mut missing = Array2::from_elem((3, 3), false);
        missing[(0, 0)] = true;
        let want = (1.1 / 6.0 + 0.3 / 6.0 + 0.4 / 12.0) / (5.0 / 12.0);
        approx::assert_abs_diff_eq!(fill(image.view(), missing.view())[(0, 0, 0)], want, epsilon = 1e-5);
        let everything = Array2::from_elem((3, 3), true);
        assert_eq!(fill(image.view(), everything.view()), image);
    }
}
