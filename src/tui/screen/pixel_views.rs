//! Screen 2's pictures: the map, clean beside adversarial, both in turn, the change; whole or closer.

use std::sync::Arc;

use ndarray::{Array3, s};
use ratatui::{buffer::Buffer, layout::Rect, style::Modifier};

use super::{
    closer::{self, adversarial, cursor, part},
    pixels::View,
};
use crate::{
    core::explain::psr::{Moment, turning_point},
    engine::event::Opened,
    tui::{
        graphics::encode::Source,
        model::Model,
        psr, text,
        theme::Role,
        view::{Content, ViewCache, draw, picture},
        widget::pixel_grid::{Ink, Placed, Raster},
    },
};

/// Draws what the view asks for; returns the map, if there is one, and where the (last) picture lies.
pub fn draw_view(model: &Model, opened: &Opened, cache: &mut ViewCache, area: Rect, buf: &mut Buffer) -> Option<psr::Shown> {
    let selected = model.pixels.in_cells.then_some(model.pixels.selected);
    let part = part(model, opened);
    let shown = match model.pixels.view {
        View::Map if model.pixels.closer == 0 => picture::psr_map(model, opened, cache, area, selected, buf),
        View::Map => {
            let (placed, raster) = cropped(model, &adversarial(model, opened), part, area, None)?;
            picture::psr_over(model, cache, (placed, &raster, part), area, selected, buf)
        }
        View::Beside => {
            let (first, second) = halves(area);
            for (image, area, clean) in [(Arc::clone(&opened.image), first, true), (adversarial(model, opened), second, false)] {
                if let Some((placed, raster)) = cropped(model, &image, part, area, None) {
                    raster.draw(&placed, &model.theme, buf);
                    sharpen(model, opened, cache, (part, placed.area), if clean { Shown::Clean } else { Shown::Adversarial });
                    cursor(model, part, &placed, buf);
                }
            }
            return psr::shown(model);
        }
        View::Blink => {
            let image = if blink_phase(model) { Arc::clone(&opened.image) } else { adversarial(model, opened) };
            let (placed, raster) = cropped(model, &image, part, area, None)?;
            raster.draw(&placed, &model.theme, buf);
            psr::shown(model)
        }
        View::Change => {
            let delta = &*adversarial(model, opened) - &*opened.image;
            let gain = picture::gain(delta.iter().fold(0.0f32, |m, v| m.max(v.abs())));
            let (placed, raster) = cropped(model, &delta, part, area, Some(gain))?;
            raster.draw(&placed, &model.theme, buf);
            sharpen(model, opened, cache, (part, placed.area), Shown::Change(gain));
            psr::shown(model)
        }
    };
    if let Some(placed) = Placed::new(part[3], part[2], area, Ink::of(&model.theme)) {
        cursor(model, part, &placed, buf);
    }
    shown
}

/// What a part of is shown.
enum Shown {
    Clean,
    Adversarial,
    Change(u32),
}

/// Offers a picture to the terminal's graphics; the pixel cursor is text, so that pictures under it stay text too.
fn sharpen(model: &Model, opened: &Opened, cache: &mut ViewCache, (part, area): ([usize; 4], Rect), what: Shown) {
    if model.pixels.in_pixels {
        return;
    }
    let clean = || (Content::Clean(model.generation), Source::Image(Arc::clone(&opened.image)));
    let (content, source) = match (what, model.frame().zip(model.run.as_ref())) {
        (Shown::Adversarial, Some((frame, run))) => (Content::Image(run.id, frame.index), Source::Adversarial(frame)),
        (Shown::Change(gain), Some((frame, run))) => (Content::Delta(run.id, frame.index, gain), Source::Change(frame, gain)),
        (Shown::Change(_), None) => return,
        (Shown::Clean | Shown::Adversarial, _) => clean(),
    };
    cache.gallery.place(content, Some(part), area, || source);
}

/// Whether the clean image is up in a blinking view.
pub fn blink_phase(model: &Model) -> bool {
    (model.now.as_millis() / 600).is_multiple_of(2)
}

fn cropped(model: &Model, image: &Array3<f32>, part: [usize; 4], area: Rect, gain: Option<u32>) -> Option<(Placed, Raster)> {
    let [top, left, h, w] = part;
    let placed = Placed::new(w, h, area, Ink::of(&model.theme))?;
    let view = image.slice(s![.., top..top + h, left..left + w]);
    let raster = match gain {
        Some(gain) => Raster::perturbation(view, gain as f32, placed.w, placed.h),
        None => Raster::photo(view, placed.w, placed.h),
    };
    Some((placed, raster))
}

fn halves(area: Rect) -> (Rect, Rect) {
    if area.height * 2 > area.width {
        let half = area.height / 2;
        (Rect { height: half, ..area }, Rect { y: area.y + half, height: area.height - half, ..area })
    } else {
        let half = area.width / 2;
        (Rect { width: half, ..area }, Rect { x: area.x + half, width: area.width - half, ..area })
    }
}

/// What the picture shows.
pub fn title(model: &Model, narrow: bool) -> String {
    let step = model.frame().map(|f| format!("step {}", f.index));
    let zoom = closer::title(model);
    let what = match model.pixels.view {
        View::Map if narrow => "",
        View::Map => "promotion / suppression",
        View::Beside => "x0 | x'",
        View::Blink if blink_phase(model) => "x0 (blinking)",
        View::Blink => "x' (blinking)",
        View::Change => "change, amplified",
    };
    let parts: Vec<String> = [Some(what.to_owned()).filter(|w| !w.is_empty()), step].into_iter().flatten().collect();
    format!("{}{zoom}", parts.join(", "))
}

/// Stacked shares of the cells over the steps; estimates, except for the step of the turn.
pub fn strip_panel(model: &Model, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let Some(strip) = psr::strip(model).filter(|s| !s.moments.is_empty()) else {
        let why = if model.running() { "follows when the attack has ended" } else { "following the steps" };
        let inner = draw::frame(theme, area, "over time", "", false, buf);
        return draw::centred(buf, inner, &[(why.into(), theme.style(Role::Dim))]);
    };
    let turn = match turning_point(&strip.moments) {
        _ if !strip.done => format!("{} steps so far", strip.moments.len()),
        Some(step) => format!("promotes from step {step} on"),
        None => "never turned".into(),
    };
    let inner = draw::frame(theme, area, "cells over time (linear estimate)", &turn, false, buf);
    let (w, h) = (usize::from(inner.width.saturating_sub(2)), usize::from(inner.height));
    if w == 0 || h == 0 {
        return;
    }
    let position = model.position().unwrap_or(0);
    let chosen = strip.moments.iter().rposition(|m| m.step <= position).unwrap_or(0);
    let rows = if h >= 4 { h - 1 } else { h };
    for x in 0..w {
        let at = x * strip.moments.len() / w;
        let moment = &strip.moments[at];
        column(model, moment, at == chosen, Rect { x: inner.x + 1 + x as u16, y: inner.y, width: 1, height: rows as u16 }, buf);
    }
    if rows < h {
        let m = &strip.moments[chosen];
        let line = format!(
            "step {}: +{} -{} ={}, s {} b {}",
            m.step,
            text::percent(m.shares.promotion),
            text::percent(m.shares.suppression),
            text::percent(m.shares.balanced),
            text::signed(m.whole.s_raw),
            text::signed(m.whole.b_raw)
        );
        draw::text(buf, inner.x + 1, inner.y + rows as u16, w as u16, &line, theme.style(Role::Text));
    }
}

/// One step: promotion on top, balanced, suppression at the bottom; what is left is inert.
fn column(model: &Model, moment: &Moment, chosen: bool, area: Rect, buf: &mut Buffer) {
    let n = f32::from(area.height);
    let share = moment.shares;
    let bounds = [share.suppression, share.suppression + share.balanced, share.suppression + share.balanced + share.promotion];
    for y in 0..area.height {
        let at = (n - f32::from(y) - 0.5) / n;
        let (sign, role) = match bounds.iter().position(|b| at < *b) {
            Some(0) => ("-", Role::Suppression),
            Some(1) => ("=", Role::Balanced),
            Some(_) => ("+", Role::Promotion),
            None => (model.theme.glyph("·", "."), Role::Border),
        };
        let mut style = model.theme.style(role);
        if chosen {
            style = style.add_modifier(Modifier::REVERSED);
        }
        draw::text(buf, area.x, area.y + y, 1, sign, style);
    }
}
