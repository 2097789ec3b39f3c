//! Drawing the triage screen: a line about the work, the table, and the selected image.

use std::path::Path;

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::State;
use crate::{
    engine::triage::Row,
    tui::{
        layout,
        model::Model,
        text,
        theme::{Role, Theme},
        view::draw,
        widget::{
            pixel_grid::{Ink, Placed, Raster},
            table::{room, top},
            table_state::{Cycle as _, row_at},
        },
    },
};

/// A column: heading, width, whether numbers (right-aligned), how early it is given room, and its text.
struct Column {
    title: &'static str,
    width: u16,
    right: bool,
    rank: u8,
    cell: fn(&Row) -> String,
}

const COLUMNS: &[Column] = &[
    Column { title: "clean", width: 16, right: false, rank: 1, cell: |r| name(r.predicted_name.as_deref()) },
    Column { title: "prob", width: 5, right: true, rank: 2, cell: |r| r.predicted_prob.map_or_else(String::new, text::prob) },
    Column { title: "goal", width: 7, right: false, rank: 0, cell: goal },
    Column { title: "flip", width: 4, right: true, rank: 0, cell: |r| r.flipped_at.map_or_else(String::new, |v| v.to_string()) },
    Column { title: "steps", width: 5, right: true, rank: 7, cell: |r| r.steps.map_or_else(String::new, |v| v.to_string()) },
    Column { title: "adversarial", width: 16, right: false, rank: 3, cell: |r| name(r.adversarial_name.as_deref()) },
    Column { title: "prob", width: 5, right: true, rank: 8, cell: |r| r.adversarial_prob.map_or_else(String::new, text::prob) },
    Column { title: "L2", width: 5, right: true, rank: 4, cell: |r| r.l2.map_or_else(String::new, text::number) },
    Column { title: "Linf", width: 8, right: true, rank: 9, cell: |r| r.linf.map_or_else(String::new, text::per_255) },
    Column { title: "S/B/P %", width: 8, right: true, rank: 6, cell: shares },
    Column { title: "IS", width: 5, right: true, rank: 10, cell: |r| r.is_score.map_or_else(String::new, |v| format!("{v:.2}")) },
    Column { title: "lift", width: 4, right: true, rank: 5, cell: |r| r.is_lift.map_or_else(String::new, |v| format!("{v:.2}")) },
    Column { title: "turning point", width: 22, right: false, rank: 11, cell: |r| r.turning_point.clone().unwrap_or_default() },
];

/// Least width of the image's name.
const NAME: u16 = 16;
/// Widest name.
const NAME_MOST: u16 = 44;

fn name(label: Option<&str>) -> String {
    text::short_label(label.unwrap_or_default()).to_owned()
}

fn goal(row: &Row) -> String {
    match (row.success, &row.error) {
        (Some(true), _) => "reached",
        (Some(false), _) => "held",
        (None, Some(_)) => "error",
        (None, None) => "",
    }
    .to_owned()
}

fn shares(row: &Row) -> String {
    let percent = |v: Option<f32>| (v.unwrap_or(0.0) * 100.0).round();
    row.pse_type.as_ref().map_or_else(String::new, |_| {
        format!("{}/{}/{}", percent(row.pse_suppression), percent(row.pse_balanced), percent(row.pse_promotion))
    })
}

/// Places of the parts: the line about the work, the table, the selected image.
struct Board {
    line: Rect,
    table: Rect,
    detail: Option<Rect>,
}

fn board(body: Rect) -> Board {
    let line = Rect { height: 1.min(body.height), ..body };
    let rest = Rect { y: body.y + line.height, height: body.height - line.height, ..body };
    if rest.width >= 110 && rest.height >= 12 {
        let side = (rest.width / 4).clamp(30, 56);
        let table = Rect { width: rest.width - side - 1, ..rest };
        return Board { line, table, detail: Some(Rect { x: table.right() + 1, width: side, ..rest }) };
    }
    let low = if rest.height >= 14 { (rest.height * 2 / 5).clamp(7, 12) } else { 0 };
    let table = Rect { height: rest.height - low, ..rest };
    Board { line, table, detail: (low > 0).then_some(Rect { y: table.bottom(), height: low, ..rest }) }
}

/// Rows that fit into the table.
pub fn rows_shown(model: &Model) -> usize {
    room(board(layout::body(model)).table)
}

/// A click selects a row.
pub fn clicked(model: &mut Model, body: Rect, x: u16, y: u16) {
    let visible = model.triage.visible();
    if let Some(at) = row_at(board(body).table, (x, y), model.triage.position(&visible), visible.len()) {
        model.triage.selected = Some(visible[at].path().to_owned());
    }
}

/// Draws the screen.
pub fn view(model: &Model, body: Rect, buf: &mut Buffer) {
    let (state, theme) = (&model.triage, &model.theme);
    if state.folder.is_none() {
        let lines = [
            ("No folder is open.".to_owned(), theme.style(Role::Text)),
            ("f works through the folder of the open image; Ctrl-O opens another.".to_owned(), theme.style(Role::Dim)),
        ];
        return draw::centred(buf, body, &lines);
    }
    let places = board(body);
    work_line(model, places.line, buf);
    let visible = state.visible();
    if visible.is_empty() {
        let what = match (&state.ended, state.rows.is_empty()) {
            (Some(Some(why)), true) => why.clone(),
            (None, true) => "The images are being predicted and attacked; rows appear here.".into(),
            _ => "No image fits: v shows others, Esc forgets the filter.".into(),
        };
        return draw::centred(buf, places.table, &[(what, theme.style(Role::Dim))]);
    }
    table(state, theme, &visible, places.table, buf);
    if let (Some(area), Some(row)) = (places.detail, visible.get(state.position(&visible))) {
        detail(state, theme, row, area, buf);
    }
}

/// Folder, attack, progress with rate and time left, order and filter.
fn work_line(model: &Model, area: Rect, buf: &mut Buffer) {
    let (state, theme) = (&model.triage, &model.theme);
    let dot = theme.glyph(" · ", " | ");
    let done = state.rows.len();
    let mut parts = vec![format!("{done}/{} images", state.total)];
    let errors = state.rows.iter().filter(|r| r.error.is_some()).count();
    if errors > 0 {
        parts.push(format!("{errors} failed"));
    }
    match (state.begun, state.running(), state.paused) {
        (_, true, true) => parts.push("paused, Space goes on".into()),
        (Some((since, before)), true, _) if done > before => {
            let rate = (done - before) as f32 / model.now.saturating_sub(since).as_secs_f32().max(1e-3);
            parts.push(format!("{}/s", text::number(rate)));
            parts.push(format!("{} left", text::seconds(state.total.saturating_sub(done) as f32 / rate)));
        }
        (_, true, _) => parts.push("starting".into()),
        _ => parts.push("done".into()),
    }
    parts.push(format!("by {}{}", state.sort.name(), if state.reversed { " reversed" } else { "" }));
    if state.show != super::Show::All {
        parts.push(format!("only {}", state.show.name()));
    }
    let attack = state.request.as_ref().map(|r| r.attack.clone()).unwrap_or_default();
    parts.push(attack);
    let style = theme.style(Role::Accent);
    let mut x = draw::text(buf, area.x + 1, area.y, area.width.saturating_sub(2), &parts.join(dot), style);
    if state.typing || !state.filter.is_empty() {
        x = draw::text(buf, x + 2, area.y, area.right().saturating_sub(x + 3), "/", theme.style(Role::Key));
        x = draw::text(buf, x, area.y, area.right().saturating_sub(x + 1), &state.filter, theme.style(Role::Text));
        if state.typing {
            draw::text(buf, x, area.y, area.right().saturating_sub(x), theme.glyph("▏", "_"), theme.style(Role::Focus));
        }
    }
}

fn table(state: &State, theme: &Theme, visible: &[&Row], area: Rect, buf: &mut Buffer) {
    let wide = area.width.saturating_sub(3);
    let mut chosen = vec![false; COLUMNS.len()];
    let mut used = NAME;
    let mut order: Vec<usize> = (0..COLUMNS.len()).collect();
    order.sort_by_key(|i| COLUMNS[*i].rank);
    for at in order {
        if used + COLUMNS[at].width + 1 > wide {
            break;
        }
        used += COLUMNS[at].width + 1;
        chosen[at] = true;
    }
    let columns: Vec<&Column> = COLUMNS.iter().zip(&chosen).filter(|(_, c)| **c).map(|(c, _)| c).collect();
    let wide = (NAME + (wide - used)).min(NAME_MOST);
    let title = theme.style(Role::Title);
    line(buf, (area.x, area.y), theme, wide, ("", "image"), columns.iter().map(|c| (*c, c.title.to_owned(), title)), title);
    let count = room(area);
    let position = state.position(visible);
    let first = top(position, visible.len(), count);
    for (i, row) in visible.iter().enumerate().skip(first).take(count) {
        let y = area.y + 1 + (i - first) as u16;
        let here = i == position;
        if here {
            buf.set_style(Rect { x: area.x, y, width: area.width, height: 1 }, theme.style(Role::Selected));
        }
        let plain = theme.style(if here { Role::Selected } else { Role::Text });
        let style = |c: &Column| match (here, c.title, row.success, &row.error) {
            (false, "goal", Some(true), _) => theme.style(Role::Warn),
            (false, "goal", Some(false), _) => theme.style(Role::Good),
            (false, "goal", None, Some(_)) => theme.style(Role::Error),
            _ => plain,
        };
        let mark = match (here, state.marks.contains(row.path())) {
            (true, true) => ">*",
            (true, false) => ">",
            (false, true) => " *",
            (false, false) => "",
        };
        let file = shown_name(state, row);
        line(buf, (area.x, y), theme, wide, (mark, &file), columns.iter().map(|c| (*c, (c.cell)(row), style(c))), plain);
    }
}

/// One line of the table.
fn line<'a>(
    buf: &mut Buffer,
    (x, y): (u16, u16),
    theme: &Theme,
    wide: u16,
    (mark, file): (&str, &str),
    cells: impl Iterator<Item = (&'a Column, String, Style)>,
    style: Style,
) {
    draw::text(buf, x, y, 2, mark, style);
    let file = text::pad(file, usize::from(wide), theme.ellipsis());
    draw::text(buf, x + 2, y, wide, &file, style);
    let mut x = x + 2 + wide + 1;
    for (column, cell, style) in cells {
        let width = usize::from(column.width);
        let cut = text::truncate(&cell, width, theme.ellipsis());
        let indent = if column.right { width - text::width(&cut).min(width) } else { 0 };
        draw::text(buf, x + indent as u16, y, column.width, &cut, style);
        x += column.width + 1;
    }
}

/// Path inside the folder, without what could move the cursor.
fn shown_name(state: &State, row: &Row) -> String {
    let path = Path::new(row.path());
    let inside = state.folder.as_deref().and_then(|f| path.strip_prefix(f).ok()).filter(|p| !p.as_os_str().is_empty()).unwrap_or(path);
    inside.to_string_lossy().chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The selected image as a picture, and its numbers in words.
fn detail(state: &State, theme: &Theme, row: &Row, area: Rect, buf: &mut Buffer) {
    let inside = draw::frame(theme, area, &shown_name(state, row), "", false, buf);
    if inside.width < 12 || inside.height < 3 {
        return;
    }
    let lines = facts(row);
    let upright = inside.height >= inside.width / 2 + 6;
    let picture = if upright {
        Rect { height: inside.height.saturating_sub(lines.len() as u16 + 3).min(inside.width / 2), ..inside }
    } else {
        Rect { width: (inside.height * 2).min(inside.width / 2), ..inside }
    };
    match state.thumbs.get(Path::new(row.path())) {
        Some(Some(image)) => {
            let (_, h, w) = image.dim();
            if let Some(placed) = Placed::new(w, h, picture, Ink::of(theme)) {
                Raster::photo(image.view(), placed.w, placed.h).draw(&placed, theme, buf);
            }
        }
        Some(None) => draw::centred(buf, picture, &[("no picture".into(), theme.style(Role::Dim))]),
        None => {}
    }
    let facts = if upright {
        Rect { y: picture.bottom(), height: inside.bottom() - picture.bottom(), ..inside }
    } else {
        Rect { x: picture.right() + 1, width: inside.right().saturating_sub(picture.right() + 1), ..inside }
    };
    let mut y = facts.y;
    for (role, sentence) in lines {
        for part in text::wrap(&sentence, usize::from(facts.width)) {
            if y >= facts.bottom() {
                return;
            }
            draw::text(buf, facts.x, y, facts.width, &part, theme.style(role));
            y += 1;
        }
    }
}

/// Everything about an image in short sentences.
fn facts(row: &Row) -> Vec<(Role, String)> {
    let prob = |p: Option<f32>| p.map_or_else(|| "?".into(), text::prob);
    let mut out = Vec::new();
    if let Some(error) = &row.error {
        out.push((Role::Error, error.clone()));
    }
    if row.predicted_name.is_some() {
        out.push((Role::TrueClass, format!("clean {} {}", name(row.predicted_name.as_deref()), prob(row.predicted_prob))));
    }
    if row.adversarial_name.is_some() {
        out.push((Role::TargetClass, format!("adversarial {} {}", name(row.adversarial_name.as_deref()), prob(row.adversarial_prob))));
    }
    if let (Some(l2), Some(linf), Some(steps)) = (row.l2, row.linf, row.steps) {
        let flip = row.flipped_at.map_or_else(|| "never flipped".into(), |f| format!("flipped at {f}"));
        out.push((Role::Text, format!("{flip} of {steps} steps; L2 {}, Linf {}", text::number(l2), text::per_255(linf))));
    }
    if let (Some(kind), Some(mode)) = (&row.pse_type, &row.pse_mode) {
        let estimate = if mode == "linear" { "linear estimate" } else { mode };
        out.push((Role::Text, format!("{kind}: S/B/P {}% of cells ({estimate})", shares(row))));
    }
    if let (Some(score), Some(lift)) = (row.is_score, row.is_lift) {
        out.push((Role::Text, format!("IS {score:.2}, {lift:.2} times an even spread")));
    }
    if let Some(layer) = &row.turning_point {
        out.push((Role::Dim, format!("parts at {layer}")));
    }
    out
}
