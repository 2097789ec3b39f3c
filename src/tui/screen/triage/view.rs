//! Drawing the triage screen: a line about the work, the table, and the selected image.

use std::path::{Path, PathBuf};

use ndarray::ArrayView3;
use ratatui::{buffer::Buffer, layout::Rect};

use super::{
    State,
    columns::{ALONE, COMPARED},
    words::{facts, more, unlisted},
};
use crate::{
    engine::{
        sample,
        triage::{Row, difference::Difference},
    },
    tui::{
        layout,
        model::Model,
        text,
        theme::{Role, Theme},
        view::draw,
        widget::{
            pixel_grid::{Ink, Placed, Raster},
            table::{Column, Line, Table, Tall, room_for, top},
            table_state::{Cycle as _, tall_row_at},
        },
    },
};

/// Least width of the image's name; with two models every column counts.
const NAME: (u16, u16) = (16, 14);
/// Widest name.
const NAME_MOST: u16 = 44;

/// Places of the parts: the line about the work, the table, the selected image.
struct Board {
    line: Rect,
    table: Rect,
    detail: Option<Rect>,
}

/// The parts of the screen. Rows with pictures say what would stand below the table.
fn board(body: Rect, tall: bool) -> Board {
    let line = Rect { height: 1.min(body.height), ..body };
    let rest = Rect { y: body.y + line.height, height: body.height - line.height, ..body };
    if rest.width >= 110 && rest.height >= 12 {
        let side = (rest.width / 4).clamp(30, 56);
        let table = Rect { width: rest.width - side - 1, ..rest };
        return Board { line, table, detail: Some(Rect { x: table.right() + 1, width: side, ..rest }) };
    }
    let low = if rest.height >= 14 && !tall { (rest.height * 2 / 5).clamp(7, 12) } else { 0 };
    let table = Rect { height: rest.height - low, ..rest };
    Board { line, table, detail: (low > 0).then_some(Rect { y: table.bottom(), height: low, ..rest }) }
}

/// Terminals from this size on have rows with pictures unless the person decides otherwise.
const LARGE: (u16, u16) = (120, 40);
/// Least columns and lines of a table whose rows have pictures.
const PICTURED: (u16, u16) = (56, 12);

/// Lines of a row with its picture, and columns of the picture, for a table of this height.
fn tall_row(height: u16) -> (u16, u16) {
    if height < 44 { (5, 8) } else { (7, 12) }
}

/// Whether rows with pictures would fit.
pub fn has_room(model: &Model) -> bool {
    let table = board(layout::body(model), true).table;
    table.width >= PICTURED.0 && table.height >= PICTURED.1
}

/// Whether rows have pictures.
pub fn is_tall(model: &Model) -> bool {
    // With two models every column counts.
    let large = model.size.0 >= LARGE.0 && model.size.1 >= LARGE.1 && model.triage.rival.is_none();
    model.triage.tall.unwrap_or(large) && has_room(model)
}

/// Lines of a row.
fn lines(model: &Model, table: Rect) -> u16 {
    if is_tall(model) { tall_row(table.height).0 } else { 1 }
}

/// Rows that fit into the table.
pub fn rows_shown(model: &Model) -> usize {
    let table = board(layout::body(model), is_tall(model)).table;
    room_for(table, lines(model, table))
}

/// Files whose pictures are on the screen: of the selected row where it is shown large, and of every row where they have pictures.
pub fn pictured(model: &Model) -> Vec<PathBuf> {
    let board = board(layout::body(model), is_tall(model));
    let visible = model.triage.visible();
    let position = model.triage.position(&visible);
    let path = |row: &&Row| PathBuf::from(row.path());
    let chosen = visible.get(position).filter(|_| board.detail.is_some() || is_tall(model)).map(path);
    let room = rows_shown(model);
    let rows = visible.iter().skip(top(position, visible.len(), room)).take(if is_tall(model) { room } else { 0 });
    chosen.into_iter().chain(rows.map(path)).collect()
}

/// A click selects a row.
pub fn clicked(model: &mut Model, body: Rect, x: u16, y: u16) {
    let visible = model.triage.visible();
    let table = board(body, is_tall(model)).table;
    let among = (model.triage.position(&visible), visible.len());
    if let Some(at) = tall_row_at(table, (x, y), among, lines(model, table)) {
        model.triage.selected = Some(visible[at].path().to_owned());
    }
}

/// Draws the screen.
pub fn view(model: &Model, body: Rect, buf: &mut Buffer) {
    let (state, theme) = (&model.triage, &model.theme);
    if state.folder.is_none() {
        let next = match super::folder_of_image(model) {
            Some(folder) => format!("f works through {}; Ctrl-O opens another folder.", plain(&folder)),
            None => "f chooses one: the open image is bundled with the program and lies in no folder.".to_owned(),
        };
        let lines = [("No folder is open.".to_owned(), theme.style(Role::Text)), (next, theme.style(Role::Dim))];
        return draw::centred(buf, body, &lines);
    }
    let places = board(body, is_tall(model));
    work_line(model, places.line, buf);
    let visible = state.visible();
    if visible.is_empty() {
        let what = match (&state.ended, state.rows.is_empty()) {
            (Some(Some(why)), true) => why.clone(),
            (None, true) => match super::hindrance(model) {
                Some(why) => why,
                None if state.rival.is_some() => "The images are being predicted and attacked on both models; rows appear here.".into(),
                None => "The images are being predicted and attacked; rows appear here.".into(),
            },
            _ => "No image fits: v shows others, Esc forgets the filter.".into(),
        };
        let lines: Vec<_> =
            text::wrap(&what, usize::from(body.width.saturating_sub(4))).into_iter().map(|l| (l, theme.style(Role::Dim))).collect();
        return draw::centred(buf, places.table, &lines);
    }
    table(model, &visible, places.table, buf);
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
        (_, false, _) if state.control.is_none() => parts.push("waiting".into()),
        _ if done < state.total || matches!(state.ended, Some(Some(_))) => parts.push("ended".into()),
        _ => parts.push("done".into()),
    }
    if state.unkept.is_some() {
        parts.push(format!("{} runs not kept", state.rows.iter().filter(|r| r.run.is_none()).count()));
    }
    if state.rival.is_some() {
        parts.push(format!("{} differ", state.rows.iter().filter(|r| r.difference().is_some_and(Difference::any)).count()));
    }
    parts.push(format!("by {}{}", state.sort.name(), if state.reversed { " reversed" } else { "" }));
    if state.show != super::Show::All {
        parts.push(format!("only {}", state.show.name()));
    }
    let attack = state.request.as_ref().map(|r| r.attack.clone()).unwrap_or_default();
    parts.push(attack);
    if let Some(rival) = &state.rival {
        parts.push(format!("2 is {}", plain(Path::new(&sample::title(rival)))));
    }
    let style = theme.style(Role::Accent);
    let room = usize::from(area.width.saturating_sub(2));
    let mut x = draw::text(buf, area.x + 1, area.y, room as u16, &text::truncate(&parts.join(dot), room, theme.ellipsis()), style);
    if state.typing || !state.filter.is_empty() {
        x = draw::text(buf, x + 2, area.y, area.right().saturating_sub(x + 3), "/", theme.style(Role::Key));
        x = draw::text(buf, x, area.y, area.right().saturating_sub(x + 1), &state.filter, theme.style(Role::Text));
        if state.typing {
            draw::text(buf, x, area.y, area.right().saturating_sub(x), theme.glyph("▏", "_"), theme.style(Role::Focus));
        }
    }
}

fn table(model: &Model, visible: &[&Row], area: Rect, buf: &mut Buffer) {
    let (state, theme) = (&model.triage, &model.theme);
    let (fields, least) = if state.rival.is_some() { (COMPARED, NAME.1) } else { (ALONE, NAME.0) };
    let columns: Vec<Column> = fields.iter().map(|f| f.column).collect();
    let position = state.position(visible);
    let row = |i: usize| {
        let row = visible[i];
        let mark = match (i == position, state.marks.contains(row.path())) {
            (true, true) => ">*",
            (true, false) => ">",
            (false, true) => " *",
            (false, false) => "",
        };
        Line { mark, lead: shown_name(state, row), cells: fields.iter().map(|f| ((f.cell)(row), (f.role)(row))).collect() }
    };
    let lead = ("image", least, NAME_MOST);
    let picture = |i: usize, place: Rect, buf: &mut Buffer| match state.thumbs.get(Path::new(visible[i].path())) {
        Some(Some(thumb)) => photo(thumb.small.view(), place, theme, buf),
        Some(None) => draw::centred(buf, place, &[("none".into(), theme.style(Role::Dim))]),
        None => {}
    };
    let below = |i: usize| if area.width >= WIDE { more(visible[i]) } else { unlisted(visible[i]) };
    let (high, wide) = tall_row(area.height);
    let tall = is_tall(model).then_some(Tall { lines: high, picture: wide, draw: &picture, below: &below });
    Table { lead, columns: &columns, count: visible.len(), position, row: &row, tall }.draw(theme, area, buf);
}

/// From this width on most numbers stand in columns.
const WIDE: u16 = 130;

fn photo(image: ArrayView3<f32>, place: Rect, theme: &Theme, buf: &mut Buffer) {
    let (_, h, w) = image.dim();
    if let Some(placed) = Placed::new(w, h, place, Ink::of(theme)) {
        Raster::photo(image, placed.w, placed.h).draw(&placed, theme, buf);
    }
}

/// Path inside the folder, without what could move the cursor.
fn shown_name(state: &State, row: &Row) -> String {
    let path = Path::new(row.path());
    let inside = state.folder.as_deref().and_then(|f| path.strip_prefix(f).ok()).filter(|p| !p.as_os_str().is_empty()).unwrap_or(path);
    plain(inside)
}

/// A path that cannot give orders to the terminal.
fn plain(path: &Path) -> String {
    path.to_string_lossy().chars().map(|c| if c.is_control() { '?' } else { c }).collect()
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
        Some(Some(thumb)) => photo(thumb.image.view(), picture, theme, buf),
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
