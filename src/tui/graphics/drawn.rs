//! Maps for the terminal's graphics: one pixel for each pixel of the image, as on half blocks, and what lies over that in finer lines.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use image::{Rgba, RgbaImage};

use crate::{core::colour::luma, tui::widget::pixel_grid::Raster};

/// Paints a map when it is needed, on another thread.
#[derive(Clone)]
pub struct Painter(Arc<dyn Fn() -> Drawn + Send + Sync>);

impl std::fmt::Debug for Painter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Painter")
    }
}

impl Painter {
    /// From what paints it.
    pub fn new(paint: impl Fn() -> Drawn + Send + Sync + 'static) -> Self {
        Self(Arc::new(paint))
    }

    /// Paints.
    pub fn paint(&self) -> Drawn {
        (self.0)()
    }
}

/// A painted map.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// One pixel for each of the image, or of the part of it.
    pub raster: Raster,
    /// Signs and where their middle is, in those pixels.
    pub signs: Vec<([f32; 2], char)>,
    /// Shorter side of a grid cell, in those pixels: room for its sign.
    pub cell: f32,
    /// Pixels that a dotted line runs through.
    pub edges: Vec<(usize, usize)>,
}

impl Drawn {
    /// A map without signs and lines.
    pub fn plain(raster: Raster) -> Self {
        Self { raster, signs: Vec::new(), cell: 0.0, edges: Vec::new() }
    }

    /// Draws signs and lines on the enlarged picture, which lies at left, top, width, height.
    pub fn finish(&self, image: &mut RgbaImage, [left, top, w, h]: [u32; 4]) {
        let scale = [w as f32 / self.raster.w as f32, h as f32 / self.raster.h as f32];
        let start = |i: usize, s: f32| (i as f32 * s).round() as u32;
        for &(x, y) in &self.edges {
            let ink = if (x + y) % 4 < 2 { [255; 3] } else { [0; 3] };
            let across = start(x, scale[0])..start(x + 1, scale[0]);
            fill(
                image,
                [left + across.start, top + start(y, scale[1])],
                [across.len() as u32, start(y + 1, scale[1]) - start(y, scale[1])],
                ink,
            );
        }
        let room = self.cell * scale[0].min(scale[1]);
        if room < LEAST {
            return;
        }
        // Odd, so that there is a middle.
        let long = ((room * 0.36).min(13.0) as u32).max(3) | 1;
        let thick = (long / 5).max(1) | 1;
        for ([x, y], sign) in &self.signs {
            let (x, y) = (left + (x * scale[0]) as u32, top + (y * scale[1]) as u32);
            let Some(under) = image.get_pixel_checked(x, y).map(|p| [p[0], p[1], p[2]]) else { continue };
            let ink = if luma(under) > 0.45 { [0; 3] } else { [255; 3] };
            let mut bar = |dy: i32, upright: bool| {
                let [bw, bh] = if upright { [thick, long] } else { [long, thick] };
                let y = y.saturating_add_signed(dy);
                fill(image, [x.saturating_sub(bw / 2), y.saturating_sub(bh / 2)], [bw, bh], ink);
            };
            match sign {
                '+' => {
                    bar(0, false);
                    bar(0, true);
                }
                '=' => {
                    bar(-(thick as i32), false);
                    bar(thick as i32, false);
                }
                _ => bar(0, false),
            }
        }
    }
}

/// Narrower cells have no room for a sign.
const LEAST: f32 = 7.0;

fn fill(image: &mut RgbaImage, [left, top]: [u32; 2], [w, h]: [u32; 2], [r, g, b]: [u8; 3]) {
    for y in top..(top + h).min(image.height()) {
        for x in left..(left + w).min(image.width()) {
            image.put_pixel(x, y, Rgba([r, g, b, 255]));
        }
    }
}

/// Numbers that tell one map from another.
pub fn fingerprint(numbers: impl IntoIterator<Item = u64>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for n in numbers {
        n.hash(&mut hasher);
    }
    hasher.finish()
}

/// The bits of a number, for [`fingerprint`].
pub fn bits(v: f32) -> u64 {
    u64::from(v.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_stand_in_the_middle_of_their_cells_and_differ() {
        let raster = Raster::from_fn(8, 8, |_, _| [10; 3]);
        let shape = |sign: char, cell: f32| {
            let drawn = Drawn { signs: vec![([4.0, 4.0], sign)], cell, ..Drawn::plain(raster.clone()) };
            let mut image = RgbaImage::from_pixel(84, 86, Rgba([10, 10, 10, 255]));
            drawn.finish(&mut image, [2, 3, 80, 80]);
            let inked: Vec<(u32, u32)> = image.enumerate_pixels().filter(|(_, _, p)| p[0] == 255).map(|(x, y, _)| (x, y)).collect();
            inked
        };
        let (plus, minus, both) = (shape('+', 4.0), shape('-', 4.0), shape('=', 4.0));
        for inked in [&plus, &minus, &both] {
            let mean = |of: fn(&(u32, u32)) -> u32| inked.iter().map(of).sum::<u32>() as f32 / inked.len() as f32;
            assert!((mean(|p| p.0) - 42.0).abs() <= 0.5 && (mean(|p| p.1) - 43.0).abs() <= 0.5, "{inked:?}");
        }
        assert!(plus.len() > minus.len() && minus.iter().all(|p| plus.contains(p)));
        assert!(both.len() == 2 * minus.len() && !both.contains(&(42, 43)));
        assert!(shape('+', 0.5).is_empty(), "no room");
    }

    #[test]
    fn lines_run_through_whole_pixels() {
        let drawn = Drawn { edges: vec![(0, 0), (2, 0)], ..Drawn::plain(Raster::from_fn(4, 4, |_, _| [90; 3])) };
        let mut image = RgbaImage::from_pixel(12, 12, Rgba([90, 90, 90, 255]));
        drawn.finish(&mut image, [0, 0, 12, 12]);
        let count = |v: u8| image.pixels().filter(|p| p[0] == v).count();
        assert_eq!((count(255), count(0), count(90)), (9, 9, 126));
    }
}
