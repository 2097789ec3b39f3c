//! The pictures of the model: clean, adversarial, perturbation, with what lies over them.

use std::sync::Arc;

use ratatui::{buffer::Buffer, layout::Rect};

use super::{Content, Part, ViewCache, draw, sharp};
use crate::{
    core::explain::psr::Mode,
    engine::event::Opened,
    tui::{
        graphics::encode::Source,
        model::Model,
        psr,
        screen::Screen,
        text,
        theme::Role,
        widget::{
            overlay::PsrOverlay,
            pixel_grid::{Ink, Placed, Raster},
        },
    },
};

/// Draws the clean image, or a part of it.
pub fn draw_clean(model: &Model, opened: &Opened, cache: &mut ViewCache, (part, area): (Part, Rect), buf: &mut Buffer) {
    if let Some((placed, raster)) = clean(model, opened, cache, (part, area)) {
        raster.draw(&placed, &model.theme, buf);
        cache.gallery.place(Content::Clean(model.generation), part, placed.area, || Source::Image(Arc::clone(&opened.image)));
    }
}

/// Draws the adversarial image of the current step, or a part of it.
pub fn draw_adversarial(model: &Model, opened: &Opened, cache: &mut ViewCache, (part, area): (Part, Rect), buf: &mut Buffer) {
    let (Some(frame), Some(run)) = (model.frame(), &model.run) else { return draw_clean(model, opened, cache, (part, area), buf) };
    if let Some((placed, raster)) = adversarial(model, opened, cache, (part, area)) {
        raster.draw(&placed, &model.theme, buf);
        cache.gallery.place(Content::Image(run.id, frame.index), part, placed.area, || Source::Adversarial(frame));
    }
}

fn placed(model: &Model, (_, h, w): (usize, usize, usize), part: Part, area: Rect) -> Option<Placed> {
    let [_, _, h, w] = part.unwrap_or([0, 0, h, w]);
    Placed::new(w, h, area, Ink::of(&model.theme))
}

/// Place and converted clean image, or a part of it.
pub fn clean(model: &Model, opened: &Opened, cache: &mut ViewCache, (part, area): (Part, Rect)) -> Option<(Placed, Arc<Raster>)> {
    let placed = placed(model, opened.image.dim(), part, area)?;
    let raster = cache.part(Content::Clean(model.generation), part, opened.image.view(), &placed);
    Some((placed, raster))
}

/// Place and converted adversarial image of the current step, or a part of it; the clean one before any attack.
pub fn adversarial(model: &Model, opened: &Opened, cache: &mut ViewCache, (part, area): (Part, Rect)) -> Option<(Placed, Arc<Raster>)> {
    let (Some(frame), Some(run)) = (model.frame(), &model.run) else { return clean(model, opened, cache, (part, area)) };
    let placed = placed(model, frame.image.dim(), part, area)?;
    let raster = cache.part(Content::Image(run.id, frame.index), part, frame.image.view(), &placed);
    Some((placed, raster))
}

/// Amplification that makes a largest change of `linf` fill the range: a power of two.
pub fn gain(linf: f32) -> u32 {
    if linf <= 0.0 || !linf.is_finite() {
        return 1;
    }
    (0.5 / linf).log2().round().clamp(0.0, 10.0).exp2() as u32
}

/// Draws the perturbation of the current step, or a part of it; returns the amplification.
pub fn perturbation(model: &Model, cache: &mut ViewCache, (part, area): (Part, Rect), buf: &mut Buffer) -> Option<u32> {
    let (frame, run) = (model.frame()?, model.run.as_ref()?);
    let linf = frame.delta.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let gain = gain(linf);
    let placed = placed(model, frame.delta.dim(), part, area)?;
    let raster = cache.part(Content::Delta(run.id, frame.index, gain), part, frame.delta.view(), &placed);
    raster.draw(&placed, &model.theme, buf);
    cache.gallery.place(Content::Delta(run.id, frame.index, gain), part, placed.area, || Source::Change(frame, gain));
    Some(gain)
}

/// Draws the promotion-suppression map of the current step over the adversarial image. Returns the map, if there is one.
pub fn psr_map(
    model: &Model,
    opened: &Opened,
    cache: &mut ViewCache,
    area: Rect,
    selected: Option<usize>,
    buf: &mut Buffer,
) -> Option<psr::Shown> {
    let whole = [0, 0, opened.image.dim().1, opened.image.dim().2];
    let (placed, base) = adversarial(model, opened, cache, (None, area))?;
    psr_over(model, cache, (placed, &base, whole), area, selected, buf)
}

/// Draws the map over a part of the image (top, left, height, width) that is already placed.
pub fn psr_over(
    model: &Model,
    cache: &mut ViewCache,
    (placed, base, part): (Placed, &Raster, [usize; 4]),
    area: Rect,
    selected: Option<usize>,
    buf: &mut Buffer,
) -> Option<psr::Shown> {
    match psr::shown(model) {
        Some(shown) => {
            let summary = psr::Summary::of(&shown.map);
            let overlay = PsrOverlay {
                map: &shown.map,
                limit: summary.limit,
                strength: model.psr.strength,
                selected,
                part,
                guessed: &shown.estimated,
            };
            overlay.draw(base, &placed, &model.theme, buf);
            // While cells are missing they change all the time; the pixel cursor is text.
            let cursor = model.screen == Screen::Pixels && model.pixels.in_pixels;
            if shown.done && !cursor {
                sharp::psr(model, cache, &overlay, &placed);
            }
            Some(shown)
        }
        None => {
            let faint = Raster::from_fn(base.w, base.h, |x, y| base.at(x, y).map(|v| v / 3));
            faint.draw(&placed, &model.theme, buf);
            let message = waiting(model);
            if !message.is_empty() {
                let middle = Rect { y: area.y + area.height.saturating_sub(3) / 2, height: 3.min(area.height), ..area };
                let width = (text::width(&message) as u16 + 2).min(area.width);
                let lines = text::wrap(&message, usize::from(width.saturating_sub(2))).len() as u16;
                let under = Rect {
                    x: area.x + (area.width - width) / 2,
                    width,
                    y: middle.y + (middle.height.saturating_sub(lines)) / 2,
                    height: lines.min(middle.height),
                };
                draw::clear(under, buf);
                draw::centred(buf, under, &[(message, model.theme.style(Role::Text))]);
            }
            None
        }
    }
}

fn waiting(model: &Model) -> String {
    if model.frame().is_none() {
        "a map appears once an attack has run".into()
    } else if model.frame().is_some_and(|f| f.delta.iter().all(|d| *d == 0.0)) {
        "nothing has changed yet".into()
    } else if psr::undefined(model) {
        "no map here: still taken for the true class".into()
    } else if model.flowing() {
        "follows when the attack pauses or ends".into()
    } else if model.psr.pending().is_some() || model.psr.waiting() {
        "estimating".into()
    } else {
        match model.without_model() {
            Some(_) => "no map was recorded: O opens the model".into(),
            None => "no map: n estimates it, E evaluates it".into(),
        }
    }
}

/// What an evaluation is called.
pub fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Exact => "exact",
        Mode::Linear => "linear estimate",
        Mode::Path => "path estimate",
    }
}
