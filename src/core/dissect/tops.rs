//! The images that excite each unit most, by its largest value.

use ndarray::ArrayView4;

/// Best images per unit in the making.
#[derive(Debug, Clone)]
pub struct Tops {
    keep: usize,
    units: Vec<Vec<(f32, usize)>>,
}

impl Tops {
    /// The `keep` best images of each unit.
    pub fn new(units: usize, keep: usize) -> Self {
        Self { keep, units: vec![Vec::with_capacity(keep + 1); units] }
    }

    /// Takes in the maps `[N, U, h, w]` of the images from number `first` on. Equal values keep the earlier image.
    pub fn push(&mut self, first: usize, maps: ArrayView4<f32>) {
        for (i, image) in maps.outer_iter().enumerate() {
            for (map, tops) in image.outer_iter().zip(&mut self.units) {
                let value = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                if tops.len() == self.keep && tops.last().is_none_or(|last| value <= last.0) {
                    continue;
                }
                let at = tops.partition_point(|t| t.0 >= value);
                tops.insert(at, (value, first + i));
                tops.truncate(self.keep);
            }
        }
    }

    /// Largest value and image number, best first, one list per unit.
    pub fn finish(self) -> Vec<Vec<(f32, usize)>> {
        self.units
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::*;

    #[test]
    fn the_best_come_first() {
        let values = [3.0, 1.0, 4.0, 1.0, 5.0, 4.0];
        let mut tops = Tops::new(1, 3);
        for (i, v) in values.iter().enumerate() {
            tops.push(i, Array4::from_shape_vec((1, 1, 1, 2), vec![*v, 0.0]).unwrap().view());
        }
        assert_eq!(tops.finish(), [[(5.0, 4), (4.0, 2), (4.0, 5)]]);
    }
}
