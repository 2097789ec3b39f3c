//! Maps to image size.

use ndarray::{Array2, ArrayView2};

/// Half-pixel bilinear: source coordinate `(i + 0.5) * in / out - 0.5`, clamped to `0..in-1`. The same as Pillow's
/// bilinear when enlarging.
pub fn bilinear(map: ArrayView2<f32>, size: [usize; 2]) -> Array2<f32> {
    bilinear_part(map, [1, 1], [0, 0, 1, 1], size)
}

/// A part (top, left, height, width) of a map that covers an image `[height, width]`, at a size: the same values as cutting the part out of
/// the enlarged map.
pub fn bilinear_part(map: ArrayView2<f32>, image: [usize; 2], [top, left, height, width]: [usize; 4], size: [usize; 2]) -> Array2<f32> {
    let (rows, cols) = map.dim();
    if rows == 0 || cols == 0 {
        return Array2::zeros(size);
    }
    let ys = axis(rows, size[0], [top, height].map(|v| v as f64 / image[0] as f64));
    let xs = axis(cols, size[1], [left, width].map(|v| v as f64 / image[1] as f64));
    Array2::from_shape_fn(size, |(y, x)| {
        let ((y0, y1, fy), (x0, x1, fx)) = (ys[y], xs[x]);
        let top = map[(y0, x0)] * (1.0 - fx) + map[(y0, x1)] * fx;
        let bottom = map[(y1, x0)] * (1.0 - fx) + map[(y1, x1)] * fx;
        top * (1.0 - fy) + bottom * fy
    })
}

/// Lower and upper source index and the weight of the upper one, for every output index. The part is in shares of the whole side.
fn axis(from: usize, to: usize, [start, share]: [f64; 2]) -> Vec<(usize, usize, f32)> {
    let place = |i: usize| {
        let at = (start * from as f64 + (i as f64 + 0.5) * share * from as f64 / to as f64 - 0.5).clamp(0.0, (from - 1) as f64);
        let low = at.floor() as usize;
        (low, (low + 1).min(from - 1), (at - at.floor()) as f32)
    };
    (0..to).map(place).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn half_pixel_centres() {
        let map = array![[0.0f32, 1.0]];
        assert_eq!(bilinear(map.view(), [1, 4]), array![[0.0f32, 0.25, 0.75, 1.0]]);
        assert_eq!(bilinear(map.view(), [2, 2]), array![[0.0f32, 1.0], [0.0, 1.0]]);
        assert_eq!(bilinear(array![[7.0f32]].view(), [3, 2]), array![[7.0f32, 7.0], [7.0, 7.0], [7.0, 7.0]]);
    }

    #[test]
    fn a_part_is_what_cutting_the_whole_gives() {
        let map = Array2::from_shape_fn((7, 5), |(y, x)| ((y * 5 + x) as f32 * 1.7).sin());
        let (image, part) = ([56, 60], [16, 9, 20, 33]);
        let got = bilinear_part(map.view(), image, part, [20, 33]);
        for ((y, x), v) in got.indexed_iter() {
            approx::assert_abs_diff_eq!(*v, bilinear(map.view(), image)[(y + 16, x + 9)], epsilon = 1e-5);
        }
    }

    #[test]
    fn agrees_with_pillow() {
        // Image.fromarray([[0, 3, 1], [5, -2, 4]] as float32).resize((5, 3), bilinear)
        let want = array![[0.0f32, 1.2, 3.0, 1.8, 1.0], [2.5, 1.7, 0.5, 1.7, 2.5], [5.0, 2.2, -2.0, 1.6, 4.0]];
        let got = bilinear(array![[0.0f32, 3.0, 1.0], [5.0, -2.0, 4.0]].view(), [3, 5]);
        for (a, b) in got.iter().zip(&want) {
            approx::assert_abs_diff_eq!(a, b, epsilon = 1e-6);
        }
    }
}
