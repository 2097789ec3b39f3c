//! What drawing keeps between frames. It can be dropped at any time without losing meaning.

use std::{collections::HashMap, sync::Arc};

use ndarray::{ArrayView3, s};

use crate::{
    engine::command::RunId,
    tui::{
        graphics::rest::Gallery,
        widget::pixel_grid::{Placed, Raster},
    },
};

/// Which picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// The clean image of this opening.
    Clean(u64),
    /// The adversarial image of a step.
    Image(RunId, usize),
    /// The perturbation of a step, times this.
    Delta(RunId, usize, u32),
    /// A map over a picture, by its fingerprint; only for the terminal's graphics.
    Map(u64),
}

type Key = (Content, Part, usize, usize);

/// The part of a picture that is shown: top, left, height, width; nothing for all of it.
pub type Part = Option<[usize; 4]>;

/// Converted pictures by content and size.
#[derive(Debug, Default)]
pub struct ViewCache {
    /// Pictures by a graphics protocol.
    pub gallery: Gallery,
    rasters: HashMap<Key, (Arc<Raster>, u64)>,
    clock: u64,
}

const KEPT: usize = 160;

impl ViewCache {
    /// The picture at this size, converted once.
    pub fn raster(&mut self, content: Content, source: ArrayView3<f32>, placed: &Placed) -> Arc<Raster> {
        self.part(content, None, source, placed)
    }

    /// A part of the picture at this size, converted once.
    pub fn part(&mut self, content: Content, part: Part, whole: ArrayView3<f32>, placed: &Placed) -> Arc<Raster> {
        self.clock += 1;
        let key = (content, part, placed.w, placed.h);
        if let Some((raster, used)) = self.rasters.get_mut(&key) {
            *used = self.clock;
            return Arc::clone(raster);
        }
        let source = match part {
            Some([top, left, h, w]) => whole.slice_move(s![.., top..top + h, left..left + w]),
            None => whole,
        };
        let raster = Arc::new(match content {
            Content::Clean(_) | Content::Image(..) | Content::Map(_) => Raster::photo(source, placed.w, placed.h),
            Content::Delta(_, _, gain) => Raster::perturbation(source, gain as f32, placed.w, placed.h),
        });
        if self.rasters.len() >= KEPT
            && let Some(oldest) = self.rasters.iter().min_by_key(|(_, (_, used))| *used).map(|(k, _)| *k)
        {
            self.rasters.remove(&oldest);
        }
        self.rasters.insert(key, (Arc::clone(&raster), self.clock));
        raster
    }
}
