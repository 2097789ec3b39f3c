//! The images that excite each unit most, by its largest value.

use super::survey::Summary;

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

    /// Takes in the maps of image number `image`, one per unit. Equal values keep the earlier image.
    pub fn push(&mut self, image: usize, maps: &[Summary]) {
        for (Summary { max: value, .. }, tops) in maps.iter().zip(&mut self.units) {
            if tops.len() == self.keep && tops.last().is_none_or(|last| *value <= last.0) {
                continue;
            }
            let at = tops.partition_point(|t| t.0 >= *value);
            tops.insert(at, (*value, image));
            tops.truncate(self.keep);
        }
    }

    /// Largest value and image number, best first, one list per unit.
    pub fn finish(self) -> Vec<Vec<(f32, usize)>> {
        self.units
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first() {
        let values = [3.0, 1.0, 4.0, 1.0, 5.0, 4.0];
        let mut tops = Tops::new(1, 3);
        for (i, v) in values.iter().enumerate() {
            tops.push(i, &[Summary { max: *v, ..Summary::default() }]);
        }
        assert_eq!(tops.finish(), [[(5.0, 4), (4.0, 2), (4.0, 5)]]);
    }
}
