//! Maps over pictures: cells of the promotion-suppression grid, and smooth activation maps.

use ndarray::Array2;
use ratatui::{buffer::Buffer, style::Style};

use super::pixel_grid::{Ink, Placed, RAMP, Raster};
use crate::{
    core::{
        colour::{blend, blue_orange, heat, kind_colour, kind_sign, luma, purple_orange},
        explain::{
            psr::{Cell, Kind, PsrMap},
            upsample::bilinear_part,
        },
    },
    tui::theme::{Depth, Role, Theme},
};

/// A grid over a picture.
#[derive(Debug)]
pub struct PsrOverlay<'a> {
    /// The map.
    pub map: &'a PsrMap,
    /// Where colours saturate, in logit units.
    pub limit: f32,
    /// Opacity of the strongest cell.
    pub strength: f32,
    /// The chosen cell.
    pub selected: Option<usize>,
    /// Part of the image that is drawn: top, left, height, width.
    pub part: [usize; 4],
    /// Cells that are only estimated so far: drawn fainter.
    pub guessed: &'a [bool],
}

impl PsrOverlay<'_> {
    /// The grid cell under a pixel of a picture of `[w, h]` pixels.
    fn index(&self, [w, h]: [usize; 2], x: usize, y: usize) -> usize {
        let grid = &self.map.grid;
        let cols = grid.cols();
        let [top, left, height, width] = self.part;
        let sx = left + (2 * x + 1) * width / (2 * w);
        let sy = top + (2 * y + 1) * height / (2 * h);
        (sy / grid.cell_h) * cols + sx / grid.cell_w
    }

    fn cell(&self, index: usize) -> Option<&Cell> {
        self.map.cells.get(index)?.as_ref()
    }

    fn weight(&self, cell: &Cell) -> f32 {
        if cell.kind == Kind::Inert { 0.0 } else { (cell.s.max(cell.b) / self.limit.max(1e-9)).clamp(0.0, 1.0) }
    }

    /// The darkened picture with the grid over it, as many pixels as the picture has.
    pub fn raster(&self, base: &Raster, depth: Depth) -> Raster {
        let size = [base.w, base.h];
        Raster::from_fn(base.w, base.h, |x, y| {
            let grey = (luma(base.at(x, y)) * 150.0) as u8;
            let index = self.index(size, x, y);
            let mut pixel = [grey; 3];
            if let Some(cell) = self.cell(index)
                && let Some(colour) = kind_colour(cell.kind)
            {
                let faint = if self.guessed.get(index) == Some(&true) { 0.4 } else { 1.0 };
                let weight = faint * (0.3 + 0.7 * self.weight(cell));
                pixel = match depth {
                    // Few colours: mixtures with the picture would change hue, so cells take pure shades and the picture shows between.
                    Depth::Ansi256 => {
                        if (x + y) % 2 == 0 || self.strength > 0.5 {
                            few_colours(cell.kind, weight)
                        } else {
                            pixel
                        }
                    }
                    _ => blend(pixel, colour, self.strength * weight),
                };
            }
            if self.selected == Some(index) && self.on_outline(size, x, y) { [255; 3] } else { pixel }
        })
    }

    /// The signs of the cells that are shown: middle in pixels of the image, sign.
    pub fn signs(&self) -> Vec<([f32; 2], char)> {
        let grid = &self.map.grid;
        let [top, left, height, width] = self.part.map(|v| v as f32);
        let middle = |i: usize, cell: usize, side: usize| (i * cell + ((i + 1) * cell).min(side)) as f32 / 2.0;
        (0..grid.len())
            .filter_map(|i| {
                let cell = self.cell(i).filter(|c| c.kind != Kind::Inert)?;
                let x = middle(i % grid.cols(), grid.cell_w, grid.width) - left;
                let y = middle(i / grid.cols(), grid.cell_h, grid.height) - top;
                (x >= 0.0 && y >= 0.0 && x < width && y < height).then_some(([x, y], kind_sign(cell.kind)))
            })
            .collect()
    }

    /// Draws the darkened picture with the grid over it.
    pub fn draw(&self, base: &Raster, placed: &Placed, theme: &Theme, buf: &mut Buffer) {
        if placed.ink == Ink::Glyph {
            return self.draw_glyphs(placed, theme, buf);
        }
        let raster = self.raster(base, theme.depth);
        raster.draw(placed, theme, buf);
        self.draw_signs(&raster, placed, theme, buf);
    }

    fn on_outline(&self, size: [usize; 2], x: usize, y: usize) -> bool {
        let here = self.index(size, x, y);
        let differs = |dx: isize, dy: isize| match (x.checked_add_signed(dx), y.checked_add_signed(dy)) {
            (Some(nx), Some(ny)) if nx < size[0] && ny < size[1] => self.index(size, nx, ny) != here,
            _ => true,
        };
        differs(-1, 0) || differs(1, 0) || differs(0, -1) || differs(0, 1)
    }

    /// Middle of each grid cell in character cells, when cells are large enough to carry a sign.
    fn centres(&self, placed: &Placed) -> Vec<(usize, u16, u16)> {
        let grid = &self.map.grid;
        let (rows, cols) = (grid.rows(), grid.cols());
        let [top, left, height, width] = self.part;
        let sx = placed.w as f32 / width as f32;
        let sy = f32::from(placed.area.height) / height as f32;
        if grid.cell_w as f32 * sx < 1.9 || grid.cell_h as f32 * sy < 0.99 {
            return Vec::new();
        }
        let middle = |i: usize, cell: usize, side: usize| (i * cell + ((i + 1) * cell).min(side)) as f32 / 2.0;
        (0..rows * cols)
            .filter_map(|i| {
                let x = middle(i % cols, grid.cell_w, grid.width) - left as f32;
                let y = middle(i / cols, grid.cell_h, grid.height) - top as f32;
                let within = x >= 0.0 && y >= 0.0 && x < width as f32 && y < height as f32;
                within.then_some((i, (x * sx) as u16, (y * sy) as u16))
            })
            .map(|(i, x, y)| (i, placed.area.x + x.min(placed.area.width - 1), placed.area.y + y.min(placed.area.height - 1)))
            .collect()
    }

    /// The strongest grid cell under each character, where cells are too small to carry a sign of their own.
    fn strongest(&self, placed: &Placed) -> Vec<(usize, u16, u16)> {
        let per = placed.rows_per_cell();
        let size = |i: &usize| self.cell(*i).map_or(0.0, |c| if c.kind == Kind::Inert { 0.0 } else { c.s.max(c.b) });
        let mut out = Vec::new();
        for y in 0..placed.area.height {
            for x in 0..placed.area.width {
                let rows = (usize::from(y) * per..(usize::from(y) + 1) * per).filter(|r| *r < placed.h);
                let best = rows.map(|r| self.index([placed.w, placed.h], usize::from(x), r)).max_by(|a, b| size(a).total_cmp(&size(b)));
                out.extend(best.map(|i| (i, placed.area.x + x, placed.area.y + y)));
            }
        }
        out
    }

    fn draw_signs(&self, raster: &Raster, placed: &Placed, theme: &Theme, buf: &mut Buffer) {
        let centres = self.centres(placed);
        let places = if centres.is_empty() && self.map.grid.len() <= 400 { self.strongest(placed) } else { centres };
        for (index, x, y) in places {
            let sign = match self.cell(index) {
                Some(cell) if cell.kind != Kind::Inert => kind_sign(cell.kind),
                Some(_) => continue,
                None => '?',
            };
            if !buf.area.contains((x, y).into()) {
                continue;
            }
            let py = usize::from(y - placed.area.y) * placed.rows_per_cell();
            let under = raster.at(usize::from(x - placed.area.x), py.min(raster.h - 1));
            let ink = if luma(under) > 0.45 { [0; 3] } else { [255; 3] };
            let style = Style { fg: theme.pixel(ink), bg: theme.pixel(under), ..Style::default() };
            buf[(x, y)].set_char(sign).set_style(style);
        }
    }

    /// Without colour: the sign fills its cell the more densely the stronger it is.
    fn draw_glyphs(&self, placed: &Placed, theme: &Theme, buf: &mut Buffer) {
        let centres = self.centres(placed);
        let area = placed.area.intersection(buf.area);
        for y in area.top()..area.bottom() {
            for x in area.left()..area.right() {
                let (px, py) = (usize::from(x - placed.area.x), usize::from(y - placed.area.y));
                let size = [placed.w, placed.h];
                let index = self.index(size, px, py.min(placed.h - 1));
                let (sign, role, weight) = match self.cell(index) {
                    Some(c) if c.kind == Kind::Inert => (' ', Role::Dim, 1.0),
                    Some(c) => (kind_sign(c.kind), role(c.kind), self.weight(c)),
                    None => ('?', Role::Dim, 0.0),
                };
                let shown = weight > 0.66
                    || (weight > 0.33 && (px + py) % 2 == 0)
                    || centres.iter().any(|c| (c.1, c.2) == (x, y))
                    || centres.is_empty();
                let style = theme.style(role);
                let outlined = self.selected == Some(index) && self.on_outline(size, px, py);
                let cell = &mut buf[(x, y)];
                cell.set_char(if shown { sign } else { ' ' }).set_style(style);
                if outlined {
                    cell.set_style(theme.style(Role::Selected));
                }
            }
        }
    }
}

/// Pure shades of purple and orange for terminals with 256 colours.
fn few_colours(kind: Kind, weight: f32) -> [u8; 3] {
    match kind {
        Kind::Promotion => purple_orange(0.25 + 0.4 * weight),
        Kind::Suppression => purple_orange(-0.35 - 0.4 * weight),
        _ => kind_colour(kind).unwrap_or_default(),
    }
}

/// A map that covers an image, and what of it is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Smooth<'a> {
    /// The map, of any size.
    pub map: &'a Array2<f32>,
    /// Height and width of the image.
    pub image: [usize; 2],
    /// Part of the image: top, left, height, width.
    pub part: [usize; 4],
    /// Where colours saturate.
    pub limit: f32,
    /// Opacity of the strongest place.
    pub strength: f32,
}

impl<'a> Smooth<'a> {
    /// All of a map.
    pub fn whole(map: &'a Array2<f32>, limit: f32, strength: f32) -> Self {
        Self { map, image: [1, 1], part: [0, 0, 1, 1], limit, strength }
    }

    fn values(&self, w: usize, h: usize) -> Array2<f32> {
        bilinear_part(self.map.view(), self.image, self.part, [h, w]).mapv_into(|v| v / self.limit.max(1e-9))
    }

    /// Signed: above zero towards orange, below towards blue (purple on 256 colours), the picture in grey where nothing changed.
    pub fn signed(&self, base: Option<&Raster>, [w, h]: [usize; 2], depth: Depth) -> Raster {
        let values = self.values(w, h);
        Raster::from_fn(w, h, |x, y| {
            let v = values[[y, x]].clamp(-1.0, 1.0);
            let grey = base.map_or([0; 3], |b| [(luma(b.at(x, y)) * 150.0) as u8; 3]);
            match depth {
                Depth::Ansi256 if v.abs() < 0.08 => grey,
                Depth::Ansi256 if base.is_none() || (x + y) % 2 == 0 => purple_orange(v.signum() * (0.25 + 0.5 * v.abs())),
                Depth::Ansi256 => grey,
                _ => blend(grey, blue_orange(v.signum()), self.strength * v.abs().powf(0.7)),
            }
        })
    }

    /// From zero up: dark to bright over the picture, or alone.
    pub fn heat(&self, base: Option<&Raster>, [w, h]: [usize; 2]) -> Raster {
        let values = self.values(w, h);
        Raster::from_fn(w, h, |x, y| {
            let v = values[[y, x]].clamp(0.0, 1.0);
            match base {
                Some(base) => {
                    let photo = base.at(x, y);
                    let grey = blend(photo, [(luma(photo) * 255.0) as u8; 3], 0.7);
                    blend(blend(grey, [0; 3], 0.35), heat(0.15 + 0.85 * v), self.strength * v.powf(0.6))
                }
                None => heat(v),
            }
        })
    }
}

/// Draws a signed map over a picture, or alone; without colours `+` and `-` say the sign.
pub fn draw_signed(map: &Smooth, base: Option<&Raster>, placed: &Placed, theme: &Theme, buf: &mut Buffer) {
    if map.map.is_empty() {
        return;
    }
    if placed.ink != Ink::Glyph {
        return map.signed(base, [placed.w, placed.h], theme.depth).draw(placed, theme, buf);
    }
    let values = map.values(placed.w, placed.h);
    let area = placed.area.intersection(buf.area);
    for y in area.top()..area.bottom() {
        for x in area.left()..area.right() {
            let v = values[[usize::from(y - placed.area.y), usize::from(x - placed.area.x)]].clamp(-1.0, 1.0);
            let (sign, role) = if v > 0.1 {
                ('+', Role::Promotion)
            } else if v < -0.1 {
                ('-', Role::Suppression)
            } else {
                (' ', Role::Dim)
            };
            let shown = v.abs() > 0.6 || (x + y) % 2 == 0 && v.abs() > 0.3 || (x % 3 == 0 && y % 2 == 0);
            buf[(x, y)].set_char(if shown { sign } else { ' ' }).set_style(theme.style(role));
        }
    }
}

/// Marks the border of a region `[H, W]` of the whole image on a placed part (top, left, height, width) of it.
pub fn draw_border(region: &Array2<bool>, part: [usize; 4], placed: &Placed, theme: &Theme, buf: &mut Buffer) {
    let per = placed.rows_per_cell();
    let rows = usize::from(placed.area.height);
    for (x, y) in edges(region, part, [placed.w, rows]) {
        let at = (placed.area.x + x as u16, placed.area.y + y as u16);
        if buf.area.contains(at.into()) {
            let cell = &mut buf[at];
            let under = if per == 2 { cell.fg } else { cell.bg };
            let style = Style { fg: theme.pixel([255; 3]), bg: Some(under), ..Style::default() };
            cell.set_symbol(theme.glyph("·", "o")).set_style(style);
        }
    }
}

/// Where the border of a region `[H, W]` runs on a part of it that is drawn with so many places across and down.
pub fn edges(region: &Array2<bool>, [top, left, height, width]: [usize; 4], [w, h]: [usize; 2]) -> Vec<(usize, usize)> {
    let (all_h, all_w) = region.dim();
    let inside = |x: usize, y: usize| {
        let (sy, sx) = (top + (2 * y + 1) * height / (2 * h), left + (2 * x + 1) * width / (2 * w));
        region[[sy.min(all_h - 1), sx.min(all_w - 1)]]
    };
    let edge = |x: usize, y: usize| {
        let around = [(x.wrapping_sub(1), y), (x + 1, y), (x, y.wrapping_sub(1)), (x, y + 1)];
        inside(x, y) && around.into_iter().any(|(nx, ny)| nx < w && ny < h && !inside(nx, ny))
    };
    (0..w * h).map(|i| (i % w, i / w)).filter(|(x, y)| edge(*x, *y)).collect()
}

/// Colour of a type among the roles.
pub fn role(kind: Kind) -> Role {
    match kind {
        Kind::Promotion => Role::Promotion,
        Kind::Suppression => Role::Suppression,
        Kind::Balanced => Role::Balanced,
        Kind::Inert => Role::Dim,
    }
}

/// Draws an activation map over a picture, or alone when there is no picture.
pub fn draw_heat(map: &Smooth, base: Option<&Raster>, placed: &Placed, theme: &Theme, buf: &mut Buffer) {
    if map.map.is_empty() {
        return;
    }
    if placed.ink != Ink::Glyph {
        return map.heat(base, [placed.w, placed.h]).draw(placed, theme, buf);
    }
    let values = map.values(placed.w, placed.h);
    let area = placed.area.intersection(buf.area);
    for y in area.top()..area.bottom() {
        for x in area.left()..area.right() {
            let v = values[[usize::from(y - placed.area.y), usize::from(x - placed.area.x)]].clamp(0.0, 1.0);
            buf[(x, y)].set_char(RAMP[(v * (RAMP.len() - 1) as f32).round() as usize]);
        }
    }
}
