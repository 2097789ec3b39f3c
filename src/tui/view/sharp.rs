//! Maps over pictures, offered to the terminal's graphics: the colours of the half blocks, at the image's own pixels.

use std::{iter, sync::Arc};

use ndarray::{Array2, Array3, ArrayView3, s};

use super::{Content, ViewCache};
use crate::{
    engine::{event::Opened, trace::Frame},
    tui::{
        graphics::{
            drawn::{Drawn, Painter, bits, fingerprint},
            encode::Source,
        },
        model::Model,
        widget::{
            overlay::{PsrOverlay, Smooth, edges},
            pixel_grid::{Placed, Raster},
        },
    },
};

/// The picture under a map.
#[derive(Debug, Clone)]
pub enum Base {
    /// None.
    Dark,
    /// The clean image.
    Clean(Arc<Array3<f32>>),
    /// The adversarial image of a step.
    Adversarial(Arc<Frame>),
}

impl Base {
    /// The adversarial image on the screen, or the clean one.
    pub fn of(model: &Model, opened: &Opened, adversarial: bool) -> Self {
        match model.frame().filter(|_| adversarial) {
            Some(frame) => Self::Adversarial(frame),
            None => Self::Clean(Arc::clone(&opened.image)),
        }
    }

    fn identity(&self, model: &Model) -> [u64; 3] {
        let run = model.run.as_ref().map_or(0, |r| r.id.0);
        match self {
            Self::Dark => [0, 0, 0],
            Self::Clean(_) => [1, model.generation, 0],
            Self::Adversarial(frame) => [2, run, frame.index as u64],
        }
    }

    /// A part of it, one pixel for one.
    fn raster(&self, [top, left, h, w]: [usize; 4]) -> Option<Raster> {
        let cut = |image: ArrayView3<f32>| Raster::photo(image.slice(s![.., top..top + h, left..left + w]), w, h);
        match self {
            Self::Dark => None,
            Self::Clean(image) => Some(cut(image.view())),
            Self::Adversarial(frame) => Some(cut(frame.image.view())),
        }
    }
}

/// How a smooth map is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ramp {
    /// From zero up.
    Heat,
    /// Both ways from zero.
    Signed,
}

fn numbers(parts: &[usize]) -> impl Iterator<Item = u64> + '_ {
    parts.iter().map(|v| *v as u64)
}

/// Offers the promotion-suppression map that was drawn here as text.
pub fn psr(model: &Model, cache: &mut ViewCache, overlay: &PsrOverlay, placed: &Placed) {
    let Some(frame) = model.frame().filter(|_| cache.gallery.active()) else { return };
    let (map, depth) = (overlay.map, model.theme.depth);
    let base = Base::Adversarial(frame);
    let cells = map.cells.iter().flat_map(|c| c.map_or([9, 0, 0], |c| [c.kind as u64, bits(c.s), bits(c.b)]));
    let print = fingerprint(
        base.identity(model)
            .into_iter()
            .chain(numbers(&overlay.part))
            .chain([map.grid.cell_h as u64, map.grid.cell_w as u64, bits(overlay.limit), bits(overlay.strength), depth as u64])
            .chain([overlay.selected.map_or(u64::MAX, |v| v as u64)])
            .chain(cells),
    );
    let source = || {
        let (map, limit, strength, selected, part) = (map.clone(), overlay.limit, overlay.strength, overlay.selected, overlay.part);
        Source::Map(Painter::new(move || {
            let overlay = PsrOverlay { map: &map, limit, strength, selected, part, guessed: &[] };
            let base = base.raster(part).unwrap_or_else(|| Raster::from_fn(part[3], part[2], |_, _| [0; 3]));
            let cell = map.grid.cell_h.min(map.grid.cell_w) as f32;
            Drawn { signs: overlay.signs(), cell, ..Drawn::plain(overlay.raster(&base, depth)) }
        }))
    };
    cache.gallery.place(Content::Map(print), Some(overlay.part), placed.area, source);
}

/// Offers a smooth map that was drawn here as text, with the border of a region.
pub fn smooth(
    model: &Model,
    cache: &mut ViewCache,
    (map, ramp, base): (&Smooth, Ramp, Base),
    region: Option<Arc<Array2<bool>>>,
    placed: &Placed,
) {
    if !cache.gallery.active() || map.map.is_empty() {
        return;
    }
    let depth = model.theme.depth;
    let border = region.iter().flat_map(|r| r.iter().enumerate()).filter(|(_, inside)| **inside).map(|(i, _)| i as u64);
    let print = fingerprint(
        base.identity(model)
            .into_iter()
            .chain([ramp as u64, bits(map.limit), bits(map.strength), depth as u64])
            .chain(numbers(&map.image))
            .chain(numbers(&[map.map.nrows(), map.map.ncols()]))
            .chain(map.map.iter().map(|v| bits(*v)))
            .chain(iter::once(u64::MAX))
            .chain(border),
    );
    let source = || {
        let (values, limit, strength, image, part) = (map.map.clone(), map.limit, map.strength, map.image, map.part);
        Source::Map(Painter::new(move || {
            let map = Smooth { map: &values, image, part, limit, strength };
            let (under, size) = (base.raster(part), [part[3], part[2]]);
            let raster = match ramp {
                Ramp::Heat => map.heat(under.as_ref(), size),
                Ramp::Signed => map.signed(under.as_ref(), size, depth),
            };
            let edges = region.as_ref().map(|r| edges(r, part, size)).unwrap_or_default();
            Drawn { edges, ..Drawn::plain(raster) }
        }))
    };
    cache.gallery.place(Content::Map(print), Some(map.part), placed.area, source);
}
