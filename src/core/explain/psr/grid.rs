//! Geometry of the cells: every pixel lies in exactly one; the last row and column may be smaller.

use ndarray::{ArrayView3, ArrayViewMut3, s};

use super::Grid;
use crate::core::error::{Error, Result};

impl Grid {
    /// Square cells of `cell` pixels.
    pub fn square(height: usize, width: usize, cell: usize) -> Result<Self> {
        Self::rectangular(height, width, [cell, cell])
    }

    /// Cells of this height and width in pixels.
    pub fn rectangular(height: usize, width: usize, cell: [usize; 2]) -> Result<Self> {
        if cell.contains(&0) || height == 0 || width == 0 {
            return Err(Error::Parameter("a grid cell needs at least one pixel".into()));
        }
        Ok(Self { height, width, cell_h: cell[0].min(height), cell_w: cell[1].min(width) })
    }

    /// About `count` cells per side: the side of a cell is rounded up, so that there may be fewer, never more.
    pub fn by_count(height: usize, width: usize, count: usize) -> Result<Self> {
        if count == 0 || height == 0 || width == 0 {
            return Err(Error::Parameter("a grid needs at least one cell".into()));
        }
        Ok(Self { height, width, cell_h: height.div_ceil(count), cell_w: width.div_ceil(count) })
    }

    /// Side of a cell that gives about 23 to the shorter side (13 pixels at 299, as the paper is recalled).
    pub fn default_cell(height: usize, width: usize) -> usize {
        ((height.min(width) as f64 / 23.0).round() as usize).max(1)
    }

    /// Rows of cells.
    pub fn rows(&self) -> usize {
        self.height.div_ceil(self.cell_h.max(1))
    }

    /// Columns of cells.
    pub fn cols(&self) -> usize {
        self.width.div_ceil(self.cell_w.max(1))
    }

    /// Number of cells.
    pub fn len(&self) -> usize {
        self.rows() * self.cols()
    }

    /// Whether there is no cell.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Top, left, height and width of a cell in pixels, by its row-major number.
    pub fn bounds(&self, index: usize) -> [usize; 4] {
        let (row, col) = (index / self.cols(), index % self.cols());
        let (top, left) = (row * self.cell_h, col * self.cell_w);
        [top, left, self.cell_h.min(self.height - top), self.cell_w.min(self.width - left)]
    }

    /// Row-major number of the cell that a pixel lies in.
    pub fn cell_at(&self, y: usize, x: usize) -> usize {
        (y / self.cell_h) * self.cols() + x / self.cell_w
    }

    /// The pixels of a cell, all channels.
    pub fn part<'a>(&self, image: &'a ArrayView3<'a, f32>, index: usize) -> ArrayView3<'a, f32> {
        let [top, left, height, width] = self.bounds(index);
        image.slice(s![.., top..top + height, left..left + width])
    }

    /// Whether x0 and x' agree in a cell.
    pub fn untouched(&self, clean: ArrayView3<f32>, adversarial: ArrayView3<f32>, index: usize) -> bool {
        self.part(&clean, index) == self.part(&adversarial, index)
    }

    /// Puts the clean values back in one cell: x' - d o G, exact in floating point.
    pub fn restore(&self, mut image: ArrayViewMut3<f32>, clean: ArrayView3<f32>, index: usize) {
        let [top, left, height, width] = self.bounds(index);
        image.slice_mut(s![.., top..top + height, left..left + width]).assign(&self.part(&clean, index));
    }

    /// Sum per cell of a value per pixel and channel, f64.
    pub fn sum(&self, values: ArrayView3<f32>) -> Vec<f64> {
        let mut sums = vec![0.0; self.len()];
        for ((_, y, x), v) in values.indexed_iter() {
            sums[self.cell_at(y, x)] += f64::from(*v);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_every_pixel_once() {
        for (h, w, cell) in [(7, 5, 2), (10, 10, 3), (4, 4, 9), (1, 8, 1)] {
            let grid = Grid::square(h, w, cell).unwrap();
            let mut seen = vec![0; h * w];
            for i in 0..grid.len() {
                let [top, left, height, width] = grid.bounds(i);
                assert!(height > 0 && width > 0);
                for y in top..top + height {
                    for x in left..left + width {
                        seen[y * w + x] += 1;
                        assert_eq!(grid.cell_at(y, x), i);
                    }
                }
            }
            assert!(seen.iter().all(|n| *n == 1));
        }
    }

    #[test]
    fn counts() {
        let paper = Grid::square(299, 299, 13).unwrap();
        assert_eq!((paper.len(), paper.bounds(528)), (529, [286, 286, 13, 13]));
        let ragged = Grid::by_count(224, 224, 23).unwrap();
        assert_eq!((ragged.cell_h, ragged.len(), ragged.bounds(528)), (10, 529, [220, 220, 4, 4]));
        assert_eq!((Grid::default_cell(299, 299), Grid::default_cell(224, 300), Grid::default_cell(8, 8)), (13, 10, 1));
        assert!(Grid::square(4, 4, 0).is_err() && Grid::by_count(4, 4, 0).is_err());
    }
}
