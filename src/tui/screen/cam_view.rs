//! Screen 3's drawing: four maps on one scale, or their differences, the region of the focus, and the numbers beside them.

use std::sync::Arc;

use ndarray::Array2;
use ratatui::{buffer::Buffer, layout::Rect};

use super::{
    cam::{Chart, classes, curve_of, missing, region, score_of, waiting, wanted},
    cam_charts, closer, pixel_views,
};
use crate::{
    core::explain::{
        cam::{self, CamMap, Method},
        upsample::bilinear_part,
    },
    engine::event::Opened,
    tui::{
        layout,
        model::Model,
        text,
        theme::Role,
        view::{
            Part, ViewCache, draw, picture,
            sharp::{self, Base, Ramp},
        },
        widget::{
            overlay::{Smooth, draw_border, draw_heat, draw_signed},
            pixel_grid::{Ink, Placed, Raster},
        },
    },
};

/// Draws it.
pub fn view(model: &Model, opened: &Opened, cache: &mut ViewCache, body: Rect, buf: &mut Buffer) {
    let chart = model.cam.chart;
    let board = layout::board(body, model.cam.focus, model.cam.zoom, chart != Chart::None);
    let asks = wanted(model);
    let maps: Vec<Option<Arc<CamMap>>> = (0..4).map(|i| asks.get(i).and_then(|a| model.cam.maps.get(a)).cloned()).collect();
    let limit = limit(&maps);
    for (pane, area) in board.panes {
        match difference_of(model, &maps, pane) {
            Some(difference) => difference_pane(model, opened, cache, (pane, &difference), area, buf),
            None => {
                // In turn: the pane shows the other image's map of its class every other moment.
                let other = model.cam.blink && model.frame().is_some() && pixel_views::blink_phase(model);
                let shown = if other { pane ^ 2 } else { pane };
                map_pane(model, opened, cache, (shown, maps[shown].as_deref(), limit, pane == model.cam.focus), area, buf);
            }
        }
    }
    let focused = asks.get(model.cam.focus);
    match board.wide.or(board.side.filter(|_| chart != Chart::None)) {
        Some(area) if chart == Chart::Scores => {
            let curve = focused.and_then(|a| curve_of(model, a)).map_or(&[][..], Vec::as_slice);
            cam_charts::scores(model, curve, area, buf);
        }
        Some(area) if chart == Chart::Faithfulness => {
            cam_charts::faithfulness(model, focused.and_then(|a| model.cam.believed.get(a)).map(AsRef::as_ref), area, buf);
        }
        Some(area) if chart == Chart::Compare => cam_charts::compare(model, area, buf),
        _ => {}
    }
    if let Some(area) = board.side.filter(|_| chart == Chart::None || board.wide.is_some()) {
        if model.pixels.in_pixels {
            closer::panel(model, opened, under_cursor(model, opened, &maps, area.width >= 40), area, buf);
        } else {
            panel(model, &maps, limit, area, buf);
        }
    }
}

/// The values of the four maps at the pixel cursor, enlarged as they are drawn.
fn under_cursor(model: &Model, opened: &Opened, maps: &[Option<Arc<CamMap>>], wide: bool) -> Vec<String> {
    let ([y, x], (_, h, w)) = (model.pixels.pixel, opened.image.dim());
    let at = |map: &Option<Arc<CamMap>>| {
        let map = map.as_ref().filter(|_| y < h && x < w)?;
        bilinear_part(map.raw.view(), [h, w], [y, x, 1, 1], [1, 1]).first().copied()
    };
    let named = maps.iter().zip(["C(x0,t0)", "C(x0,t)", "C(x',t0)", "C(x',t)"]);
    let values: Vec<String> = named.filter_map(|(map, name)| Some(format!("{name:<8} {}", text::signed(at(map)?)))).collect();
    // Both classes of an image in one line where there is room.
    if wide { values.chunks(2).map(|pair| pair.iter().map(|v| format!("{v:<18}")).collect()).collect() } else { values }
}

/// `C(x',c) - C(x0,c)` for the panes of x' when differences are wanted.
fn difference_of(model: &Model, maps: &[Option<Arc<CamMap>>], pane: usize) -> Option<Array2<f32>> {
    let (clean, now) = (maps.get(pane.checked_sub(2)?)?.as_deref()?, maps[pane].as_deref()?);
    model.cam.difference.then(|| cam::difference(clean, now).ok()).flatten()
}

fn difference_pane(model: &Model, opened: &Opened, cache: &mut ViewCache, what: (usize, &Array2<f32>), area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let (pane, map) = what;
    let t = if pane == 2 { "t0" } else { "t" };
    let limit = map.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let mean = map.mean().unwrap_or(0.0);
    let title = if area.width >= 30 { format!("C(x',{t}) - C(x0,{t})") } else { format!("change, {t}") };
    let caption = format!("+ grew - shrank, to {}, mean {}", text::number(limit), text::signed(mean));
    let inner = draw::frame(theme, area, &title, &caption, pane == model.cam.focus, buf);
    let (part, look) = (closer::part(model, opened), Look::of(model, opened, true));
    let Some((placed, raster)) = picture::adversarial(model, opened, cache, (look.part, inner)) else { return };
    let smooth = Smooth { map, image: look.image, part, limit, strength: model.cam.strength };
    draw_signed(&smooth, Some(&raster), &placed, theme, buf);
    closer::cursor(model, part, &placed, buf);
    if look.still {
        sharp::smooth(model, cache, (&smooth, Ramp::Signed, look.base), None, &placed);
    }
}

/// What every picture of this screen is drawn from.
struct Look {
    /// Height and width of the image.
    image: [usize; 2],
    /// The part that is shown, unless that is all.
    part: Part,
    /// The picture itself.
    base: Base,
    /// Whether it can become graphics: nothing blinks, and no cursor of text lies over it.
    still: bool,
}

impl Look {
    fn of(model: &Model, opened: &Opened, adversarial: bool) -> Self {
        let (_, h, w) = opened.image.dim();
        Self {
            image: [h, w],
            part: (model.pixels.closer > 0).then(|| closer::part(model, opened)),
            base: Base::of(model, opened, adversarial),
            still: !model.pixels.in_pixels && !model.cam.blink,
        }
    }
}

/// 99.5th percentile of the positive parts of all maps: the shared scale.
fn limit(maps: &[Option<Arc<CamMap>>]) -> f32 {
    let mut all: Vec<f32> = maps.iter().flatten().flat_map(|m| m.raw.iter().copied()).filter(|v| *v > 0.0).collect();
    all.sort_by(f32::total_cmp);
    all.get(((all.len() as f32 - 1.0).max(0.0) * 0.995).round() as usize).copied().unwrap_or(1.0)
}

fn map_pane(
    model: &Model,
    opened: &Opened,
    cache: &mut ViewCache,
    what: (usize, Option<&CamMap>, f32, bool),
    area: Rect,
    buf: &mut Buffer,
) {
    let theme = &model.theme;
    let (pane, map, limit, focused) = what;
    let adversarial = pane >= 2;
    let class = classes(model).map(|(t0, t)| if pane % 2 == 0 { t0 } else { t });
    let (x, t) = (if adversarial { "x'" } else { "x0" }, if pane % 2 == 0 { "t0" } else { "t" });
    let word = match (adversarial, area.width >= 24) {
        (true, true) => "adversarial",
        (true, false) => "adv.",
        (false, _) => "clean",
    };
    let title = format!("C({x},{t}) {word}{}", closer::title(model));
    let range =
        map.filter(|_| area.width >= 40).map(|m| format!("  {} to {}", text::number(low(m)), text::number(high(m)))).unwrap_or_default();
    let room = usize::from(area.width).saturating_sub(text::width(&range) + 6);
    let caption = class.map(|c| format!("{}{range}", text::truncate(&model.short_label(c), room, theme.ellipsis()))).unwrap_or_default();
    let inner = draw::frame(theme, area, &title, &caption, focused, buf);
    if adversarial && model.frame().is_none() {
        return draw::centred(buf, inner, &[("appears once an attack has run".into(), theme.style(Role::Dim))]);
    }
    let (part, look) = (closer::part(model, opened), Look::of(model, opened, adversarial));
    let smooth = map.map(|m| Smooth { map: &m.raw, image: look.image, part, limit, strength: model.cam.strength });
    if model.cam.beside {
        let (photo, heat) = halves(inner);
        if let (Some(map), Some(placed)) = (&smooth, Placed::new(part[3], part[2], heat, Ink::of(theme))) {
            draw_heat(map, None, &placed, theme, buf);
            closer::cursor(model, part, &placed, buf);
            if look.still {
                sharp::smooth(model, cache, (map, Ramp::Heat, Base::Dark), None, &placed);
            }
        }
        if look.still {
            return alone(model, opened, cache, adversarial, (look.part, photo), buf);
        }
        if let Some((placed, raster)) = in_pane(model, opened, cache, adversarial, (look.part, photo)) {
            raster.draw(&placed, theme, buf);
            closer::cursor(model, part, &placed, buf);
        }
        return;
    }
    let Some((placed, raster)) = in_pane(model, opened, cache, adversarial, (look.part, inner)) else { return };
    let Some(smooth) = smooth else { return raster.draw(&placed, theme, buf) };
    draw_heat(&smooth, Some(&raster), &placed, theme, buf);
    let border = region(model).filter(|_| focused).map(|(region, _)| region);
    if let Some(region) = &border {
        draw_border(region, part, &placed, theme, buf);
    }
    closer::cursor(model, part, &placed, buf);
    if look.still {
        sharp::smooth(model, cache, (&smooth, Ramp::Heat, look.base), border, &placed);
    }
}

/// The photo without its map.
fn alone(model: &Model, opened: &Opened, cache: &mut ViewCache, adversarial: bool, place: (Part, Rect), buf: &mut Buffer) {
    if adversarial {
        picture::draw_adversarial(model, opened, cache, place, buf);
    } else {
        picture::draw_clean(model, opened, cache, place, buf);
    }
}

fn in_pane(model: &Model, opened: &Opened, cache: &mut ViewCache, adversarial: bool, place: (Part, Rect)) -> Option<(Placed, Arc<Raster>)> {
    if adversarial { picture::adversarial(model, opened, cache, place) } else { picture::clean(model, opened, cache, place) }
}

/// Room for a picture and its map, along the longer side.
fn halves(area: Rect) -> (Rect, Rect) {
    if area.height * 2 > area.width {
        let half = area.height / 2;
        (Rect { height: half, ..area }, Rect { y: area.y + half, height: area.height - half, ..area })
    } else {
        let half = area.width / 2;
        (Rect { width: half, ..area }, Rect { x: area.x + half, width: area.width - half, ..area })
    }
}

fn low(map: &CamMap) -> f32 {
    map.raw.iter().copied().fold(f32::INFINITY, f32::min)
}

fn high(map: &CamMap) -> f32 {
    map.raw.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

fn panel(model: &Model, maps: &[Option<Arc<CamMap>>], limit: f32, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let inner = draw::frame(theme, area, "activation maps", "", false, buf);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let method = model.cam.method.info().title;
    let shown = maps.iter().flatten().next();
    let layer = shown.map_or_else(|| model.cam.layer.clone().unwrap_or_else(|| "the usual one".into()), |m| m.layer.clone());
    let size = shown.map(|m| m.raw.dim()).map(|(h, w)| format!(", {w}{}{h}", theme.glyph("×", "x"))).unwrap_or_default();
    // Eight rows where there are eight; the two that belong together share one where there are not.
    let mut rows: Vec<(&str, String, Role)> = if inner.height >= 8 {
        vec![("method", format!("{method}{size}"), Role::Text), ("layer", layer, Role::Text)]
    } else {
        vec![("method", format!("{method}{size} at {layer}"), Role::Text)]
    };
    if let Some((truth, other)) = classes(model) {
        rows.push(("t0", format!("{} (true)", model.short_label(truth)), Role::TrueClass));
        let what = if model.cam.class.is_some() {
            "chosen"
        } else if model.run.as_ref().is_some_and(|r| r.target.is_some()) {
            "target"
        } else {
            "best other"
        };
        rows.push(("t", format!("{} ({what})", model.short_label(other)), Role::TargetClass));
    }
    for (ask, name) in wanted(model).iter().zip(["x0,t0", "x0,t", "x',t0", "x',t"]) {
        if let Some(s) = score_of(model, ask) {
            let lift = s.lift.map(|l| format!(" lift {l:.2}")).unwrap_or_default();
            let even = if inner.width >= 32 { format!(" even {:.2}", s.baseline) } else { String::new() };
            let value = if inner.width >= 26 { format!("IS {:.2}{even}{lift}", s.score) } else { format!("IS {:.2}", s.score) };
            rows.push((name, value, Role::Text));
        }
    }
    let mut y = inner.y;
    for (name, value, role) in rows {
        if y < inner.bottom() {
            draw::text(buf, inner.x, y, 7, name, theme.style(Role::Dim));
            let column = if inner.width >= 70 { inner.width / 2 - 1 } else { inner.width };
            let room = column.saturating_sub(8);
            draw::text(buf, inner.x + 8, y, room, &text::truncate(&value, usize::from(room), theme.ellipsis()), theme.style(role));
            y += 1;
        }
    }
    if model.flowing() || waiting(model) && model.cam.rest.is_some() {
        let note = if model.flowing() { "follows when the attack pauses or ends" } else { "computing" };
        if y < inner.bottom() {
            draw::text(buf, inner.x, y, inner.width, note, theme.style(Role::Warn));
            y += 1;
        }
    }
    if let Some(why) = model.without_model().filter(|_| missing(model)) {
        for line in text::wrap(&why, usize::from(inner.width)) {
            if y < inner.bottom() {
                draw::text(buf, inner.x, y, inner.width, &line, theme.style(Role::Warn));
                y += 1;
            }
        }
    }
    // Beside the rows where there is width for it, under them where not.
    let rest = if inner.width >= 70 {
        Rect { x: inner.x + inner.width / 2, width: inner.width - inner.width / 2, ..inner }
    } else {
        Rect { y: y + 1, height: inner.bottom().saturating_sub(y + 1), ..inner }
    };
    scale(model, limit, rest, buf);
}

fn scale(model: &Model, limit: f32, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    if area.height < 2 {
        return;
    }
    let width = area.width.min(40);
    let map = Array2::from_shape_fn((1, usize::from(width)), |(_, x)| x as f32 / f32::from(width - 1));
    let bar = Placed {
        area: Rect { width, height: 1, ..area },
        w: usize::from(width),
        h: if theme.coloured_pictures() && !theme.ascii { 2 } else { 1 },
        ink: Ink::of(theme),
    };
    draw_heat(&Smooth::whole(&map, 1.0, 1.0), None, &bar, theme, buf);
    draw::text(buf, area.x, area.y + 1, 4, "0", theme.style(Role::Dim));
    let top = text::number(limit);
    draw::right(buf, Rect { y: area.y + 1, width, height: 1, ..area }, &top, theme.style(Role::Dim));
    let unit = if model.cam.method == Method::Cam { "logits" } else { "raw units" };
    let gap = if area.height > 9 { 3 } else { 2 };
    let note = format!(
        "One scale for all four, in {unit}, clipped at 99.5%. IS: share of the change in the hottest {} (x, X); even: if spread evenly; lift: IS / even. Dotted: region of the focus.",
        text::percent(1.0 - model.cam.level)
    );
    for (i, line) in text::wrap(&note, usize::from(area.width)).iter().enumerate().take(usize::from(area.height.saturating_sub(gap))) {
        draw::text(buf, area.x, area.y + gap + i as u16, area.width, line, theme.style(Role::Dim));
    }
}
