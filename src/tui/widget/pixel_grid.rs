//! Pictures in character cells, exactly: enlarging repeats pixels, shrinking a photo averages the area, shrinking a
//! perturbation keeps the largest change, so that a single changed pixel cannot vanish. Cells are taken to be twice as
//! high as wide; a half block shows two pixels a cell.

use ndarray::ArrayView3;
use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use crate::{core::colour::luma, tui::theme::Theme};

/// Glyphs from dark to bright.
pub const RAMP: [char; 10] = [' ', '.', ':', '-', '=', '+', '*', '#', '%', '@'];

/// How pixels become cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ink {
    /// Two pixels a cell, one above the other, as a half block.
    Half,
    /// One pixel a cell, as the background of a blank.
    Block,
    /// One pixel a cell, as a glyph.
    Glyph,
}

impl Ink {
    /// What a theme allows.
    pub fn of(theme: &Theme) -> Self {
        match (theme.coloured_pictures(), theme.ascii) {
            (true, false) => Self::Half,
            (true, true) => Self::Block,
            (false, _) => Self::Glyph,
        }
    }
}

/// Where a picture goes, and with how many pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Cells.
    pub area: Rect,
    /// Pixels across.
    pub w: usize,
    /// Pixels down.
    pub h: usize,
    /// How pixels become cells.
    pub ink: Ink,
}

impl Placed {
    /// The largest place in the middle of `area` that keeps the picture's proportions; `None` when there is no room.
    pub fn new(width: usize, height: usize, area: Rect, ink: Ink) -> Option<Self> {
        if width == 0 || height == 0 || area.width == 0 || area.height == 0 {
            return None;
        }
        let (room_w, room_h) = (f64::from(area.width), f64::from(area.height) * 2.0);
        let scale = (room_w / width as f64).min(room_h / height as f64);
        let w = ((width as f64 * scale).round().max(1.0) as u16).min(area.width);
        let half_rows = ((height as f64 * scale).round().max(1.0) as u16).min(area.height * 2);
        let rows = half_rows.div_ceil(2);
        let h = usize::from(if ink == Ink::Half { half_rows } else { rows });
        let area = Rect { x: area.x + (area.width - w) / 2, y: area.y + (area.height - rows) / 2, width: w, height: rows };
        Some(Self { area, w: usize::from(w), h, ink })
    }

    /// Pixel rows a cell shows.
    pub fn rows_per_cell(&self) -> usize {
        if self.ink == Ink::Half { 2 } else { 1 }
    }
}

/// Colours of the pixels of a placed picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raster {
    /// Pixels across.
    pub w: usize,
    /// Pixels down.
    pub h: usize,
    /// Row-major.
    pub rgb: Vec<[u8; 3]>,
}

impl Raster {
    /// Computes every pixel.
    pub fn from_fn(w: usize, h: usize, mut pixel: impl FnMut(usize, usize) -> [u8; 3]) -> Self {
        let rgb = (0..w * h).map(|i| pixel(i % w, i / w)).collect();
        Self { w, h, rgb }
    }

    /// A photo, `[C, H, W]` with values 0..1: area average when shrinking, nearest when enlarging.
    pub fn photo(image: ArrayView3<f32>, w: usize, h: usize) -> Self {
        let (channels, height, width) = image.dim();
        let (across, down) = (spans(width, w), spans(height, h));
        let channel = |c: usize| if c < channels { c } else { 0 };
        Self::from_fn(w, h, |x, y| {
            std::array::from_fn(|c| {
                let mut sum = 0.0;
                for &(sy, wy) in &down[y] {
                    for &(sx, wx) in &across[x] {
                        sum += image[[channel(c), sy, sx]] * wy * wx;
                    }
                }
                byte(sum)
            })
        })
    }

    /// A perturbation, `[C, H, W]`, times `gain` around middle grey. Each channel shows the largest change under a pixel.
    pub fn perturbation(delta: ArrayView3<f32>, gain: f32, w: usize, h: usize) -> Self {
        let (channels, height, width) = delta.dim();
        let (across, down) = (spans(width, w), spans(height, h));
        let channel = |c: usize| if c < channels { c } else { 0 };
        Self::from_fn(w, h, |x, y| {
            std::array::from_fn(|c| {
                let mut largest = 0.0f32;
                for &(sy, _) in &down[y] {
                    for &(sx, _) in &across[x] {
                        let v = delta[[channel(c), sy, sx]];
                        if v.abs() > largest.abs() {
                            largest = v;
                        }
                    }
                }
                byte(0.5 + 0.5 * (largest * gain).clamp(-1.0, 1.0))
            })
        })
    }

    /// The pixel at a position.
    pub fn at(&self, x: usize, y: usize) -> [u8; 3] {
        self.rgb[y * self.w + x]
    }

    /// Draws it.
    pub fn draw(&self, placed: &Placed, theme: &Theme, buf: &mut Buffer) {
        let area = placed.area.intersection(buf.area);
        for y in area.top()..area.bottom() {
            for x in area.left()..area.right() {
                let (px, row) = (usize::from(x - placed.area.x), usize::from(y - placed.area.y));
                let cell = &mut buf[(x, y)];
                let py = row * placed.rows_per_cell();
                if px >= self.w || py >= self.h {
                    continue;
                }
                let top = self.at(px, py);
                match placed.ink {
                    Ink::Half => {
                        let bottom = (py + 1 < self.h).then(|| theme.pixel(self.at(px, py + 1))).flatten();
                        cell.set_symbol("▀").set_style(Style { fg: theme.pixel(top), bg: bottom, ..Style::default() });
                    }
                    Ink::Block => {
                        cell.set_symbol(" ").set_style(Style { bg: theme.pixel(top), ..Style::default() });
                    }
                    Ink::Glyph => {
                        let level = (luma(top) * (RAMP.len() - 1) as f32).round() as usize;
                        cell.set_char(RAMP[level.min(RAMP.len() - 1)]);
                    }
                }
            }
        }
    }
}

/// Source pixels under each target pixel with weights that add up to one: one when enlarging, all covered when shrinking.
fn spans(from: usize, to: usize) -> Vec<Vec<(usize, f32)>> {
    (0..to)
        .map(|i| {
            if to >= from {
                return vec![(((2 * i + 1) * from / (2 * to)).min(from - 1), 1.0)];
            }
            let (start, end) = ((i * from) as f64 / to as f64, ((i + 1) * from) as f64 / to as f64);
            let width = end - start;
            (start as usize..(end.ceil() as usize).min(from))
                .map(|s| (s, ((end.min((s + 1) as f64) - start.max(s as f64)) / width) as f32))
                .filter(|(_, weight)| *weight > 1e-6)
                .collect()
        })
        .collect()
}

fn byte(v: f32) -> u8 {
    (v.clamp(0.0, 1.0) * 255.0).round() as u8
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;
    use ratatui::style::Color;

    use super::*;
    use crate::tui::theme::Depth;

    fn theme(depth: Depth, ascii: bool) -> Theme {
        Theme::new("terminal", depth, ascii).expect("built in")
    }

    #[test]
    fn one_red_pixel_stays_exactly_red_and_its_neighbours_exactly_grey() {
        let mut image = Array3::from_elem((3, 16, 16), 128.0 / 255.0);
        for (c, v) in [1.0, 0.0, 0.0].into_iter().enumerate() {
            image[[c, 5, 7]] = v;
        }
        let area = Rect::new(0, 0, 16, 8);
        let placed = Placed::new(16, 16, area, Ink::Half).expect("room");
        let mut buf = Buffer::empty(area);
        Raster::photo(image.view(), placed.w, placed.h).draw(&placed, &theme(Depth::True, false), &mut buf);
        let grey = Color::Rgb(128, 128, 128);
        for y in 0..8 {
            for x in 0..16 {
                let red = (x, y) == (7, 2);
                assert_eq!(buf[(x, y)].fg, grey);
                assert_eq!(buf[(x, y)].bg, if red { Color::Rgb(255, 0, 0) } else { grey });
            }
        }
    }

    #[test]
    fn a_one_pixel_perturbation_survives_shrinking() {
        for at in [(0, 0), (111, 57), (223, 223), (13, 200)] {
            for side in [1, 3, 7, 20, 50, 223] {
                let mut delta = Array3::zeros((3, 224, 224));
                delta[[1, at.0, at.1]] = -0.03;
                let raster = Raster::perturbation(delta.view(), 16.0, side, side);
                let expected = byte(0.5 - 0.5 * 0.03 * 16.0);
                assert!(raster.rgb.iter().any(|p| p[1] == expected), "{at:?} at {side}");
                assert!(raster.rgb.iter().all(|p| p[0] == 128));
            }
        }
    }

    #[test]
    fn shrinking_a_photo_keeps_its_mean() {
        let image = Array3::from_shape_fn((3, 30, 30), |(_, y, x)| ((x + y) % 2) as f32);
        let raster = Raster::photo(image.view(), 10, 10);
        assert!(raster.rgb.iter().all(|p| (i32::from(p[0]) - 128).abs() <= 15), "{:?}", &raster.rgb[..4]);
    }

    #[test]
    fn proportions_are_kept_and_nothing_leaves_the_area() {
        for (w, h) in [(1, 1), (224, 224), (10, 500), (500, 10), (32, 32)] {
            for (cols, rows) in [(1, 1), (3, 9), (80, 24), (300, 100)] {
                for ink in [Ink::Half, Ink::Block, Ink::Glyph] {
                    let area = Rect::new(2, 3, cols, rows);
                    let placed = Placed::new(w, h, area, ink).expect("room");
                    assert_eq!(placed.area.intersection(area), placed.area);
                    assert!(placed.h <= usize::from(placed.area.height) * placed.rows_per_cell());
                }
            }
        }
        let placed = Placed::new(224, 224, Rect::new(0, 0, 80, 20), Ink::Half).expect("room");
        assert_eq!((placed.w, placed.h), (40, 40));
    }

    #[test]
    fn without_colour_brightness_becomes_glyphs() {
        let image = Array3::from_shape_fn((1, 1, 10), |(_, _, x)| x as f32 / 9.0);
        let area = Rect::new(0, 0, 10, 1);
        let placed = Placed { area, w: 10, h: 1, ink: Ink::of(&theme(Depth::None, false)) };
        let mut buf = Buffer::empty(area);
        Raster::photo(image.view(), 10, 1).draw(&placed, &theme(Depth::None, false), &mut buf);
        let line: String = (0..10).map(|x| buf[(x, 0)].symbol().to_owned()).collect();
        assert_eq!(line, " .:-=+*#%@");
    }
}
