//! What is known of a unit's values over the concept images: the threshold above which it is on, and how far its mean response spreads.

use super::survey::Summary;
use crate::core::error::{Error, Result};

/// Columns of the file, in order. Units count from 1, as in NetDissect's files.
const HEADER: &str = "unit,threshold,mean,deviation";

/// Per unit of one layer, over all images.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Levels {
    /// Value that the quantile's share of all positions exceeds.
    pub threshold: Vec<f64>,
    /// Mean over images of the mean over positions.
    pub mean: Vec<f64>,
    /// Standard deviation over images (n - 1) of the mean over positions; 0 for a single image.
    pub deviation: Vec<f64>,
}

impl Levels {
    /// Number of units.
    pub fn len(&self) -> usize {
        self.threshold.len()
    }

    /// Whether there is no unit.
    pub fn is_empty(&self) -> bool {
        self.threshold.is_empty()
    }

    /// One line per unit.
    pub fn to_csv(&self) -> String {
        let rows = self.threshold.iter().zip(&self.mean).zip(&self.deviation).enumerate();
        let lines = rows.map(|(k, ((threshold, mean), deviation))| format!("{},{threshold},{mean},{deviation}\n", k + 1));
        std::iter::once(format!("{HEADER}\n")).chain(lines).collect()
    }

    /// Reads [`Levels::to_csv`]. An error for other columns, units out of order and numbers that are not finite.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let wrong = |what: String| Error::Input(format!("no table of unit levels ({what}); let psescope dissect write it again"));
        let mut reader = csv::Reader::from_reader(bytes);
        let header = reader.headers().map_err(|e| wrong(e.to_string()))?.iter().collect::<Vec<_>>().join(",");
        if header != HEADER {
            return Err(wrong(format!("its columns are not {HEADER}")));
        }
        let mut levels = Self::default();
        for row in reader.deserialize() {
            let (unit, threshold, mean, deviation): (usize, f64, f64, f64) = row.map_err(|e| wrong(e.to_string()))?;
            if unit != levels.len() + 1 || ![threshold, mean, deviation].iter().all(|v| v.is_finite()) {
                return Err(wrong(format!("line {} is not unit {} with three numbers", levels.len() + 2, levels.len() + 1)));
            }
            levels.threshold.push(threshold);
            levels.mean.push(mean);
            levels.deviation.push(deviation);
        }
        Ok(levels)
    }
}

/// Mean and spread of every unit's mean response, image by image (Welford's update: no large sums are subtracted).
#[derive(Debug, Clone)]
pub struct Moments {
    images: u64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    /// For this many units.
    pub fn new(units: usize) -> Self {
        Self { images: 0, mean: vec![0.0; units], squares: vec![0.0; units] }
    }

    /// Adds an image: its maps, one per unit.
    pub fn push(&mut self, maps: &[Summary]) {
        self.images += 1;
        for ((map, mean), squares) in maps.iter().zip(&mut self.mean).zip(&mut self.squares) {
            let before = map.mean - *mean;
            *mean += before / self.images as f64;
            *squares += before * (map.mean - *mean);
        }
    }

    /// With the thresholds that were found for the same units.
    pub fn finish(self, threshold: Vec<f64>) -> Levels {
        let n = self.images.saturating_sub(1).max(1) as f64;
        Levels { threshold, mean: self.mean, deviation: self.squares.into_iter().map(|s| (s / n).sqrt()).collect() }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::*;
    use crate::core::dissect::survey::summaries;

    #[test]
    fn the_spread_is_that_of_the_means() {
        let maps = Array4::from_shape_fn((5, 2, 2, 3), |(n, c, y, x)| (n * n) as f32 * (c + 1) as f32 + y as f32 - x as f32);
        let mut moments = Moments::new(2);
        for image in summaries(maps.as_slice().unwrap(), 6).chunks(2) {
            moments.push(image);
        }
        let levels = moments.finish(vec![1.5, 2.5]);
        // Means of the maps are n^2 (c + 1) - 1/2: 0, 1, 4, 9, 16 have mean 6 and variance 43.5.
        for (c, scale) in [(0, 1.0), (1, 2.0)] {
            approx::assert_abs_diff_eq!(levels.mean[c], 6.0 * scale - 0.5, epsilon = 1e-6);
            approx::assert_abs_diff_eq!(levels.deviation[c], 43.5f64.sqrt() * scale, epsilon = 1e-6);
        }
        assert_eq!(Levels::parse(levels.to_csv().as_bytes()).unwrap(), levels);
    }

    #[test]
    fn other_files_are_refused() {
        for text in
            ["", "unit,category\n1,object\n", "unit,threshold,mean,deviation\n2,1,1,1\n", "unit,threshold,mean,deviation\n1,inf,1,1\n"]
        {
            let told = Levels::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(told.contains("psescope dissect"), "{told}");
        }
    }
}
