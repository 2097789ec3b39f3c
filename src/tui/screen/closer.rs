//! Closer to the pictures of screens 2 and 3, and the cursor over their pixels. Both screens show the same part and the same pixel.

use std::sync::Arc;

use ndarray::Array3;
use ratatui::{buffer::Buffer, layout::Rect, style::Modifier};

use super::{Screen, cam};
use crate::{
    engine::event::Opened,
    tui::{
        effect::Effect, keymap::Binding, model::Model, msg::Action, notice::Severity, psr, theme::Role, view::draw,
        widget::pixel_grid::Placed,
    },
};

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// Closer, around the cursor.
    Closer,
    /// Farther.
    Farther,
    /// To another part: down, right.
    Pan(i8, i8),
    /// Arrows move a cursor over the pixels from now on.
    Enter,
    /// Arrows step in time again.
    Leave,
    /// Pixel cursor down and right by these.
    Move(i8, i8),
}

const fn key(action: Msg, name: &'static str, help: &'static str, hint: &'static str, keys: &'static str) -> Binding {
    Binding { action: Action::Closer(action), name, help, hint, keys }
}

/// Keys on both screens.
pub const KEYS: &[Binding] = &[
    key(Msg::Enter, "pixel-cursor", "Moves the arrows to single pixels and shows the values under the cursor.", "pixel", "P c"),
    key(Msg::Closer, "pixels-closer", "Twice as close, around the cursor.", "", "Z"),
    key(Msg::Farther, "pixels-farther", "Half as close.", "", "u"),
    key(Msg::Pan(0, -1), "part-left", "Moves the part that is shown to the left.", "", "<A-left> <A-h>"),
    key(Msg::Pan(0, 1), "part-right", "Moves the part that is shown to the right.", "", "<A-right> <A-l>"),
    key(Msg::Pan(-1, 0), "part-up", "Moves the part that is shown up.", "", "<A-up> <A-k>"),
    key(Msg::Pan(1, 0), "part-down", "Moves the part that is shown down.", "", "<A-down> <A-j>"),
];

/// Keys with the pixel cursor.
pub const CURSOR_KEYS: &[Binding] = &[
    key(Msg::Move(0, -1), "pixel-left", "Pixel to the left.", "pixel", "<left> h"),
    key(Msg::Move(0, 1), "pixel-right", "Pixel to the right.", "pixel", "<right> l"),
    key(Msg::Move(-1, 0), "pixel-up", "Pixel above.", "pixel", "<up> k"),
    key(Msg::Move(1, 0), "pixel-down", "Pixel below.", "pixel", "<down> j"),
    key(Msg::Move(0, -8), "pixel-far-left", "Eight pixels to the left.", "", "H <S-left>"),
    key(Msg::Move(0, 8), "pixel-far-right", "Eight pixels to the right.", "", "L <S-right>"),
    key(Msg::Move(-8, 0), "pixel-far-up", "Eight pixels up.", "", "K <S-up>"),
    key(Msg::Move(8, 0), "pixel-far-down", "Eight pixels down.", "", "J <S-down>"),
    key(Msg::Leave, "pixels-leave", "Arrows step in time again.", "back", "<esc> P c <enter>"),
];

/// Closer than this four pixels would fill the screen.
const CLOSEST: u32 = 5;

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    match msg {
        Msg::Closer if model.pixels.closer >= CLOSEST => model.tell(Severity::Info, "this is as close as it goes"),
        Msg::Closer => {
            begin(model);
            model.pixels.closer += 1;
            if model.pixels.closer == 1 {
                model.tell(Severity::Info, "Alt with an arrow moves the part that is shown, u goes back");
            }
        }
        Msg::Farther if model.pixels.closer == 0 => model.tell(Severity::Info, "the whole picture is shown: Z goes closer"),
        Msg::Farther => model.pixels.closer -= 1,
        Msg::Pan(down, right) => pan(model, down, right),
        Msg::Enter => enter(model),
        Msg::Leave => model.pixels.in_pixels = false,
        Msg::Move(down, right) => step(model, down, right),
    }
    Vec::new()
}

/// The middle of the picture, where nothing was looked at yet.
fn begin(model: &mut Model) {
    let Some((_, h, w)) = model.opened.as_ref().map(|o| o.image.dim()) else { return };
    if model.pixels.pixel == [0, 0] {
        model.pixels.pixel = [h / 2, w / 2];
    }
}

/// Begins in the middle of the chosen cell, or of the picture.
fn enter(model: &mut Model) {
    let Some((_, h, w)) = model.opened.as_ref().map(|o| o.image.dim()) else { return };
    if in_cells(model) {
        model.pixels.pixel = middle_of_cell(model, [h, w]);
        model.pixels.in_cells = false;
    }
    begin(model);
    model.pixels.in_pixels = true;
}

fn step(model: &mut Model, down: i8, right: i8) {
    let Some((_, h, w)) = model.opened.as_ref().map(|o| o.image.dim()) else { return };
    let [y, x] = model.pixels.pixel;
    model.pixels.pixel = [y.saturating_add_signed(down.into()).min(h - 1), x.saturating_add_signed(right.into()).min(w - 1)];
}

/// Moves by a quarter of what is shown; the cursor of the screen goes along.
fn pan(model: &mut Model, down: i8, right: i8) {
    if model.pixels.closer == 0 {
        return model.tell(Severity::Info, "the whole picture is shown: Z goes closer");
    }
    let Some(([top, left, ph, pw], (_, h, w))) = model.opened.as_ref().map(|o| (part(model, o), o.image.dim())) else { return };
    let moved = |from: usize, by: i8, part: usize, all: usize| {
        let quarter = isize::from(by) * (part / 4).max(1).cast_signed();
        from.saturating_add_signed(quarter).min(all - part) + part / 2
    };
    let [y, x] = [moved(top, down, ph, h), moved(left, right, pw, w)];
    model.pixels.pixel = [y, x];
    if in_cells(model) {
        let [ch, cw] = psr::cell(model);
        model.pixels.selected = y / ch * w.div_ceil(cw) + x / cw;
    }
}

fn in_cells(model: &Model) -> bool {
    model.screen == Screen::Pixels && model.pixels.in_cells && !model.pixels.in_pixels
}

fn middle_of_cell(model: &Model, [h, w]: [usize; 2]) -> [usize; 2] {
    let [ch, cw] = psr::cell(model);
    let cols = w.div_ceil(cw);
    let (row, col) = (model.pixels.selected / cols, model.pixels.selected % cols);
    [(row * ch + ch / 2).min(h - 1), (col * cw + cw / 2).min(w - 1)]
}

/// The part of the image on the screen: top, left, height, width. It follows the pixel cursor, or the cell cursor.
pub fn part(model: &Model, opened: &Opened) -> [usize; 4] {
    let (_, h, w) = opened.image.dim();
    let factor = 1 << model.pixels.closer;
    let (ph, pw) = ((h / factor).max(4).min(h), (w / factor).max(4).min(w));
    let [y, x] = if in_cells(model) { middle_of_cell(model, [h, w]) } else { model.pixels.pixel };
    let from = |at: usize, part: usize, all: usize| at.saturating_sub(part / 2).min(all - part);
    [from(y, ph, h), from(x, pw, w), ph, pw]
}

/// An image of this height and width is open: a place outside of it is forgotten.
pub fn fit(model: &mut Model, [h, w]: [usize; 2]) {
    let [y, x] = model.pixels.pixel;
    if y >= h || x >= w {
        (model.pixels.pixel, model.pixels.closer) = ([0, 0], 0);
    }
    model.pixels.selected = 0;
}

/// How close it is, for titles; nothing for the whole picture.
pub fn title(model: &Model) -> String {
    match model.pixels.closer {
        0 => String::new(),
        n => format!(" {}{}", 1 << n, model.theme.glyph("×", "x")),
    }
}

/// The image of the step on the screen, or the clean one.
pub fn adversarial(model: &Model, opened: &Opened) -> Arc<Array3<f32>> {
    model.frame().map_or_else(|| Arc::clone(&opened.image), |f| Arc::new(f.image.clone()))
}

/// The pixel cursor on a placed part of the image.
pub fn cursor(model: &Model, [top, left, h, w]: [usize; 4], placed: &Placed, buf: &mut Buffer) {
    let [y, x] = model.pixels.pixel;
    if !model.pixels.in_pixels || y < top || x < left || y >= top + h || x >= left + w {
        return;
    }
    let at = |v: usize, part: usize, cells: u16| ((2 * v + 1) * usize::from(cells) / (2 * part)) as u16;
    let (cx, cy) = (placed.area.x + at(x - left, w, placed.area.width), placed.area.y + at(y - top, h, placed.area.height));
    if buf.area.contains((cx, cy).into()) {
        let style = model.theme.style(Role::Focus).add_modifier(Modifier::REVERSED | Modifier::BOLD);
        buf[(cx, cy)].reset();
        buf[(cx, cy)].set_symbol(model.theme.glyph("╋", "+")).set_style(style);
    }
}

/// Values of x0, x' and d under the cursor, per channel, and what else the screen knows about the place.
pub fn panel(model: &Model, opened: &Opened, more: Vec<String>, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let [y, x] = model.pixels.pixel;
    let inner = draw::frame(theme, area, &format!("pixel x {x}, y {y}"), "", true, buf);
    let now = adversarial(model, opened);
    let (channels, h, w) = opened.image.dim();
    let narrow = inner.width < 34;
    let heads =
        if narrow { format!("  {:>6} {:>6} {:>6}", "x0", "x'", "d/255") } else { format!("   {:>7} {:>7} {:>10}", "x0", "x'", "d") };
    let mut lines = vec![(heads, Role::Dim)];
    for c in 0..channels.min(usize::from(inner.height.saturating_sub(2))) {
        let name = if channels == 3 { ["R", "G", "B"][c].to_owned() } else { c.to_string() };
        let (before, after) = (opened.image[[c, y.min(h - 1), x.min(w - 1)]], now[[c, y.min(h - 1), x.min(w - 1)]]);
        let d = (after - before) * 255.0;
        let line = if narrow {
            format!("{name:<2}{before:>6.3} {after:>6.3} {d:>+6.1}")
        } else {
            format!("{name:<2} {before:>7.4} {after:>7.4} {d:>+6.2}/255")
        };
        lines.push((line, Role::Text));
    }
    lines.extend(more.into_iter().map(|line| (line, Role::Text)));
    let [ch, cw] = psr::cell(model);
    lines.push((format!("in cell row {}, column {}", y / ch, x / cw), Role::Dim));
    if let Some((region, name)) = cam::region(model) {
        let place = if region.get((y, x)).copied().unwrap_or(false) { "inside" } else { "outside" };
        lines.push((format!("{place} {name}"), Role::Dim));
    }
    for (i, (line, role)) in lines.iter().enumerate().take(usize::from(inner.height)) {
        draw::text(buf, inner.x + 1, inner.y + i as u16, inner.width.saturating_sub(2), line, theme.style(*role));
    }
}
