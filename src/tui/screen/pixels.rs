//! Screen 2: which parts of the perturbation push towards the target, which push the true class down.
//!
//! ```text
//! +- map over x' --------++- whole map -----+
//! |                      |+- cell ----------+
//! |                      |+- cells, sorted -+
//! +----------------------++-----------------+
//! ```

use ratatui::{buffer::Buffer, layout::Rect};

use crate::{
    core::{
        colour::kind_sign,
        explain::psr::{Cell, Grid, Kind, Mode, PsrMap, effect, mostly_inside},
    },
    engine::event::Opened,
    tui::{
        effect::Effect,
        keymap::Binding,
        layout,
        model::Model,
        msg::Action,
        psr,
        screen::{Screen, cam, closer, pixel_views},
        text,
        theme::Role,
        view::{ViewCache, draw, picture},
        widget::{overlay::role, pixel_grid::Placed},
    },
};

/// Order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// Strongest first: max(s, b).
    #[default]
    Strength,
    /// Most promoting first.
    Promotion,
    /// Most suppressing first.
    Suppression,
    /// Largest share of the change first.
    Share,
    /// Reading order.
    Position,
}

/// What the picture shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum View {
    /// The promotion-suppression map over x'.
    #[default]
    Map,
    /// x0 and x' side by side.
    Beside,
    /// x0 and x' in turn.
    Blink,
    /// The perturbation, amplified.
    Change,
}

/// The cell cursor and the table's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Whether arrows move the cell cursor.
    pub in_cells: bool,
    /// Chosen cell, row-major.
    pub selected: usize,
    /// Order of the table.
    pub sort: Sort,
    /// Whether the picture fills the screen.
    pub zoom: bool,
    /// What the picture shows.
    pub view: View,
    /// Whether arrows move the pixel cursor.
    pub in_pixels: bool,
    /// Pixel cursor: row, column.
    pub pixel: [usize; 2],
    /// Doublings of the picture.
    pub closer: u32,
    /// Whether the shares over the steps take the table's place.
    pub strip: bool,
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// Arrows move between cells from now on.
    Enter,
    /// Arrows step in time again.
    Leave,
    /// Next order of the table.
    Sort,
    /// Picture alone, or back.
    Zoom,
    /// Next view of the picture.
    View,
    /// Cell above.
    Up,
    /// Cell below.
    Down,
    /// Cell to the left.
    Left,
    /// Cell to the right.
    Right,
    /// Next cell of the table.
    NextRow,
    /// Previous cell of the table.
    PreviousRow,
}

const fn key(action: Msg, name: &'static str, help: &'static str, hint: &'static str, keys: &'static str) -> Binding {
    Binding { action: Action::Pixels(action), name, help, hint, keys }
}

/// Keys.
pub const KEYS: &[Binding] = &[
    key(Msg::Enter, "cells", "Moves the arrows to the cells of the map.", "cells", "<enter> <tab>"),
    key(Msg::Sort, "sort-cells", "Sorts the table by strength, promotion, suppression, share of the change, or position.", "sort", "s"),
    key(Msg::View, "pixels-view", "Map, clean beside adversarial, both in turn, or the change.", "view", "v"),
    key(Msg::Zoom, "zoom-map", "Fills the screen with the map, or goes back.", "", "z"),
];

/// Keys with the cell cursor.
pub const CELL_KEYS: &[Binding] = &[
    key(Msg::Left, "cell-left", "Cell to the left.", "cell", "<left> h"),
    key(Msg::Right, "cell-right", "Cell to the right.", "cell", "<right> l"),
    key(Msg::Up, "cell-up", "Cell above.", "cell", "<up> k"),
    key(Msg::Down, "cell-down", "Cell below.", "cell", "<down> j"),
    key(Msg::NextRow, "cell-next", "Next cell of the table.", "table", "<pgdn>"),
    key(Msg::PreviousRow, "cell-previous", "Previous cell of the table.", "table", "<pgup>"),
    key(Msg::Leave, "cells-leave", "Arrows step in time again.", "back", "<esc> <tab> <enter>"),
];

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    match msg {
        Msg::View => {
            model.pixels.view = match model.pixels.view {
                View::Map => View::Beside,
                View::Beside => View::Blink,
                View::Blink => View::Change,
                View::Change => View::Map,
            }
        }
        Msg::Enter => model.pixels.in_cells = true,
        Msg::Leave => model.pixels.in_cells = false,
        Msg::Sort => {
            model.pixels.sort = match model.pixels.sort {
                Sort::Strength => Sort::Promotion,
                Sort::Promotion => Sort::Suppression,
                Sort::Suppression => Sort::Share,
                Sort::Share => Sort::Position,
                Sort::Position => Sort::Strength,
            }
        }
        Msg::Zoom => model.pixels.zoom = !model.pixels.zoom,
        Msg::NextRow => along_table(model, 1),
        Msg::PreviousRow => along_table(model, -1),
        Msg::Up | Msg::Down | Msg::Left | Msg::Right => move_cell(model, msg),
    }
    Vec::new()
}

/// Whether the picture changes by itself.
pub fn blinking(model: &Model) -> bool {
    model.screen == Screen::Pixels && model.pixels.view == View::Blink && model.frame().is_some()
}

/// Rows and columns of the grid in use.
fn shape(model: &Model) -> Option<(usize, usize)> {
    let (_, h, w) = model.opened.as_ref()?.image.dim();
    let [ch, cw] = psr::cell(model);
    Some((h.div_ceil(ch), w.div_ceil(cw)))
}

fn move_cell(model: &mut Model, msg: Msg) {
    let Some((rows, cols)) = shape(model) else { return };
    let (row, col) = (model.pixels.selected / cols, model.pixels.selected % cols);
    let (row, col) = match msg {
        Msg::Up => (row.saturating_sub(1), col),
        Msg::Down => ((row + 1).min(rows - 1), col),
        Msg::Left => (row, col.saturating_sub(1)),
        _ => (row, (col + 1).min(cols - 1)),
    };
    model.pixels.selected = row * cols + col;
}

fn along_table(model: &mut Model, by: isize) {
    let Some(shown) = psr::shown(model) else { return };
    let order = sorted(model, &shown.map);
    let at = order.iter().position(|&i| i == model.pixels.selected);
    let next = at.map_or(0, |at| at.saturating_add_signed(by).min(order.len().saturating_sub(1)));
    if let Some(&cell) = order.get(next) {
        model.pixels.selected = cell;
    }
}

/// A click on the map chooses the cell.
pub fn clicked(model: &mut Model, body: Rect, x: u16, y: u16) {
    let Some(opened) = &model.opened else { return };
    let board = layout::pixels_board(body, model.pixels.zoom);
    let inner = Rect { x: board.picture.x + 1, y: board.picture.y + 1, width: board.picture.width - 2, height: board.picture.height - 2 };
    let (_, h, w) = opened.image.dim();
    let Some(placed) = Placed::new(w, h, inner, crate::tui::widget::pixel_grid::Ink::of(&model.theme)) else { return };
    if !placed.area.contains((x, y).into()) {
        return;
    }
    let Some((_, cols)) = shape(model) else { return };
    let sx = usize::from(x - placed.area.x) * w / usize::from(placed.area.width);
    let sy = usize::from(y - placed.area.y) * h / usize::from(placed.area.height);
    let [ch, cw] = psr::cell(model);
    model.pixels.selected = sy / ch * cols + sx / cw;
    model.pixels.in_cells = true;
}

/// Share of the squared change in each cell, row-major.
fn shares(model: &Model, map: &PsrMap) -> Vec<f32> {
    let Some(frame) = model.frame() else { return Vec::new() };
    let cols = map.grid.cols();
    let mut out = vec![0.0f64; map.cells.len()];
    for ((_, y, x), d) in frame.delta.indexed_iter() {
        if let Some(slot) = out.get_mut(y / map.grid.cell_h * cols + x / map.grid.cell_w) {
            *slot += f64::from(*d) * f64::from(*d);
        }
    }
    let total: f64 = out.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    out.into_iter().map(|v| (v / total) as f32).collect()
}

fn sorted(model: &Model, map: &PsrMap) -> Vec<usize> {
    let mut order: Vec<usize> = (0..map.cells.len()).filter(|&i| map.cells[i].is_some_and(|c| c.kind != Kind::Inert)).collect();
    let shares = if model.pixels.sort == Sort::Share { shares(model, map) } else { Vec::new() };
    let rank = |i: usize| {
        let cell = map.cells[i].as_ref();
        match model.pixels.sort {
            Sort::Strength => cell.map_or(0.0, |c| c.s.max(c.b)),
            Sort::Promotion => cell.map_or(0.0, |c| c.b_raw),
            Sort::Suppression => cell.map_or(0.0, |c| c.s_raw),
            Sort::Share => shares.get(i).copied().unwrap_or(0.0),
            Sort::Position => -(i as f32),
        }
    };
    order.sort_by(|&a, &b| rank(b).total_cmp(&rank(a)).then(a.cmp(&b)));
    order
}

/// Draws it.
pub fn view(model: &Model, opened: &Opened, cache: &mut ViewCache, body: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let board = layout::pixels_board(body, model.pixels.zoom);
    let title = pixel_views::title(model, board.picture.width < 38);
    let cells = model.pixels.in_cells || model.pixels.in_pixels;
    let inner = draw::frame(theme, board.picture, &title, "", cells, buf);
    let shown = pixel_views::draw_view(model, opened, cache, inner, buf);
    let Some(shown) = shown else {
        if let Some(area) = board.summary {
            first_time(model, area, buf);
        }
        for area in [board.cell, board.table].into_iter().flatten() {
            draw::frame(theme, area, "", "", false, buf);
        }
        if let Some(area) = board.cell.or(board.summary).filter(|_| model.pixels.in_pixels) {
            closer::panel(model, opened, Vec::new(), area, buf);
        }
        return;
    };
    let summary = psr::Summary::of(&shown.map);
    let scale = if board.picture.width >= 56 { format!("  colours to {} logits", text::number(summary.limit)) } else { String::new() };
    let legend = match model.pixels.view {
        View::Map if board.picture.width < 38 => "+ prom - supp = both".into(),
        View::Map => format!("+ promotes  - suppresses  = both{scale}"),
        View::Beside => "clean beside adversarial".into(),
        View::Blink => "clean and adversarial in turn".into(),
        View::Change => "grey: unchanged".into(),
    };
    draw::frame(theme, board.picture, &title, &legend, cells, buf);
    match (board.summary, board.cell) {
        (Some(area), None) if model.pixels.in_pixels => closer::panel(model, opened, Vec::new(), area, buf),
        (Some(area), None) if cells => cell_panel(model, &shown.map, area, buf),
        (Some(area), other) => {
            summary_panel(model, &shown, &summary, area, buf);
            match other {
                Some(area) if model.pixels.in_pixels => closer::panel(model, opened, Vec::new(), area, buf),
                Some(area) => cell_panel(model, &shown.map, area, buf),
                None => {}
            }
        }
        _ => {}
    }
    match board.table {
        Some(area) if model.pixels.strip => pixel_views::strip_panel(model, area, buf),
        Some(area) => table(model, &shown.map, area, buf),
        None => {}
    }
}

fn first_time(model: &Model, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let inner = draw::frame(theme, area, "whole map", "", false, buf);
    let text =
        "Each cell of the perturbation is taken back in turn: does the true class recover (suppression), does the target fall (promotion)?";
    let lines = text::wrap(text, usize::from(inner.width.saturating_sub(2)));
    for (i, line) in lines.iter().enumerate().take(usize::from(inner.height)) {
        draw::text(buf, inner.x + 1, inner.y + i as u16, inner.width.saturating_sub(2), line, theme.style(Role::Dim));
    }
}

type Piece = (String, Role);

fn put(model: &Model, area: Rect, rows: &[Vec<Piece>], buf: &mut Buffer) {
    for (i, row) in rows.iter().enumerate().take(usize::from(area.height)) {
        let mut x = area.x + 1;
        for (piece, role) in row {
            x = draw::text(buf, x, area.y + i as u16, area.right().saturating_sub(x + 1), piece, model.theme.style(*role));
        }
    }
}

fn text_of(s: impl Into<String>) -> Piece {
    (s.into(), Role::Text)
}

fn dim(s: impl Into<String>) -> Piece {
    (s.into(), Role::Dim)
}

fn summary_panel(model: &Model, shown: &psr::Shown, s: &psr::Summary, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let map = &shown.map;
    let (rows, cols) = (map.grid.rows(), map.grid.cols());
    let x = theme.glyph("×", "x");
    let estimate = if map.settings.mode == Mode::Exact { Role::Good } else { Role::Warn };
    let inner = draw::frame(theme, area, "whole map", "", false, buf);
    let mut lines: Vec<Vec<Piece>> = vec![
        vec![
            (picture::mode_name(map.settings.mode).into(), estimate),
            text_of(format!(", {cols}{x}{rows} of {} px", cell_size(&map.grid, x))),
        ],
        vec![(format!("+ promotion   {:>4}", text::percent(s.share(1))), Role::Promotion), dim(format!("  {} cells", s.counts[1]))],
        vec![(format!("- suppression {:>4}", text::percent(s.share(0))), Role::Suppression), dim(format!("  {} cells", s.counts[0]))],
        vec![
            (format!("= balanced    {:>4}", text::percent(s.share(2))), Role::Balanced),
            dim(format!("  {}", s.counts[2])),
            dim(if inner.width >= 38 { format!(" cells, inert {}", s.counts[3]) } else { format!(", inert {}", s.counts[3]) }),
        ],
    ];
    if let Some(whole) = whole(model, map) {
        lines.push(vec![dim("whole "), (format!("{}, {}", kind_name(whole.kind), text::signed(whole.r)), role(whole.kind))]);
        let (s, b) = map.additivity_gap(&whole);
        lines.push(vec![dim("additivity gap "), text_of(format!("s {}, b {}", text::signed(s as f32), text::signed(b as f32)))]);
    }
    let (floor, threshold, limit) = (text::number(map.settings.floor), text::number(map.settings.threshold), text::number(s.limit));
    match model.psr.relative {
        Some(fraction) => lines.push(vec![dim(format!("floor {} std = {floor}, threshold {threshold}", text::number(fraction)))]),
        None => lines.push(vec![dim(format!("floor {floor} logits, threshold {threshold}"))]),
    }
    if let Some((region, name)) = cam::region(model) {
        let within = mostly_inside(&map.grid, region.view());
        let count = |kind| map.evaluated().zip(&within).filter(|(c, inside)| **inside && c.kind == kind).count();
        let (plus, minus, both) = (count(Kind::Promotion), count(Kind::Suppression), count(Kind::Balanced));
        lines.insert(4, vec![dim(format!("inside {name}: ")), text_of(format!("+{plus} -{minus} ={both}"))]);
    }
    if s.largest > s.limit {
        lines.push(vec![dim(format!("colours to {limit} (99.5%), max {}", text::number(s.largest)))]);
    } else if s.largest > 0.0 {
        lines.push(vec![dim(format!("colours to {limit} logits"))]);
    }
    match (shown.spearman, map.settings.mode) {
        (Some((s, b)), _) => {
            let show = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.2}"));
            lines.push(vec![
                dim(if map.settings.mode == Mode::Exact { "rank corr. with est. " } else { "rank corr. with exact " }),
                text_of(format!("s {} b {}", show(s), show(b))),
            ]);
        }
        (None, Mode::Exact) if !shown.done => {
            let guessed = shown.estimated.iter().filter(|g| **g).count();
            lines.push(vec![(format!("{} of {} cells exact so far, others est.", s.known - guessed, map.cells.len()), Role::Warn)]);
        }
        (None, Mode::Linear | Mode::Path) => lines.push(vec![dim("E evaluates it exactly")]),
        _ => lines.push(vec![dim(format!("{} forward runs, {}", map.forwards, text::seconds(map.seconds)))]),
    }
    if s.mostly_inert() {
        let hint = vec![("mostly inert: g larger cells, f lower floor".into(), Role::Warn)];
        lines.insert(lines.len().min(usize::from(inner.height).saturating_sub(1)), hint);
    }
    put(model, inner, &lines, buf);
}

/// The effect of the whole perturbation, from the logits of the clean image and of the step.
fn whole(model: &Model, map: &PsrMap) -> Option<Cell> {
    let opened = model.opened.as_ref()?;
    let record = model.trace()?.step(model.frame()?.index)?;
    let (truth, target) = map.classes;
    let now = record.target_logit.or_else(|| record.top.iter().find(|(c, _)| *c == target).map(|(_, z)| *z))?;
    Some(effect(opened.logits.get(truth)? - record.true_logit, now - opened.logits.get(target)?, &map.settings))
}

fn cell_size(grid: &Grid, x: &str) -> String {
    if grid.cell_h == grid.cell_w { grid.cell_w.to_string() } else { format!("{}{x}{}", grid.cell_w, grid.cell_h) }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Promotion => "promotion-dominated",
        Kind::Suppression => "suppression-dominated",
        Kind::Balanced => "balanced",
        Kind::Inert => "inert: below the floor",
    }
}

fn cell_panel(model: &Model, map: &PsrMap, area: Rect, buf: &mut Buffer) {
    let cols = map.grid.cols();
    let index = model.pixels.selected.min(map.cells.len().saturating_sub(1));
    let (row, col) = (index / cols, index % cols);
    let inner = draw::frame(&model.theme, area, &format!("cell row {row}, column {col}"), "", model.pixels.in_cells, buf);
    let Some(cell) = map.cells.get(index).and_then(Option::as_ref) else {
        return put(model, inner, &[vec![dim("not evaluated yet")]], buf);
    };
    let share = shares(model, map).get(index).copied().unwrap_or(0.0);
    let (truth, target) = map.classes;
    let (y0, x0) = (row * map.grid.cell_h, col * map.grid.cell_w);
    let (y1, x1) = ((y0 + map.grid.cell_h).min(map.grid.height), (x0 + map.grid.cell_w).min(map.grid.width));
    let place = match cam::region(model) {
        Some((region, name)) if mostly_inside(&map.grid, region.view()).get(index) == Some(&true) => format!(", in {name}"),
        Some((_, name)) => format!(", out of {name}"),
        None => String::new(),
    };
    let lines = vec![
        vec![(format!("{} {}", kind_sign(cell.kind), kind_name(cell.kind)), role(cell.kind))],
        vec![(format!("s {:>7}", text::signed(cell.s_raw)), Role::Suppression), dim(format!("  {} recovers", model.short_label(truth)))],
        vec![(format!("b {:>7}", text::signed(cell.b_raw)), Role::Promotion), dim(format!("  {} loses", model.short_label(target)))],
        vec![
            dim("floored "),
            text_of(format!("s {}, b {}: ", text::number(cell.s), text::number(cell.b))),
            text_of(format!("log2 {}", text::signed(cell.r))),
        ],
        vec![dim("share of the squared change "), text_of(format!("{:.1}%", share * 100.0))],
        vec![dim(format!("pixels x {x0}-{}, y {y0}-{}{place}", x1 - 1, y1 - 1))],
    ];
    put(model, inner, &lines, buf);
}

fn table(model: &Model, map: &PsrMap, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let by = match model.pixels.sort {
        Sort::Strength => "strength",
        Sort::Promotion => "promotion b",
        Sort::Suppression => "suppression s",
        Sort::Share => "share of the change",
        Sort::Position => "position",
    };
    let order = sorted(model, map);
    let inner = draw::frame(
        theme,
        area,
        &format!("cells by {by}; s: next order"),
        &format!("{} of {} do something", order.len(), map.cells.len()),
        false,
        buf,
    );
    let head = format!("  {:>3} {:>3} {:>7} {:>7} {:>6} {:>5}", "row", "col", "s", "b", "log2", "share");
    let head = if inner.width >= 40 { head.as_str() } else { head[..head.len() - 6].trim_end() };
    draw::text(buf, inner.x + 1, inner.y, inner.width.saturating_sub(2), head, theme.style(Role::Dim));
    let rows = usize::from(inner.height.saturating_sub(1));
    let at = order.iter().position(|&i| i == model.pixels.selected).unwrap_or(0);
    let top = if model.pixels.in_cells { (at + 1).saturating_sub(rows) } else { 0 };
    let shares = shares(model, map);
    for (i, &index) in order.iter().skip(top).take(rows).enumerate() {
        let Some(cell) = &map.cells[index] else { continue };
        let chosen = model.pixels.in_cells && index == model.pixels.selected;
        let line = table_row(cell, (inner.width >= 40).then(|| shares.get(index).copied().unwrap_or(0.0)));
        let style = theme.style(if chosen { Role::Selected } else { role(cell.kind) });
        draw::text(buf, inner.x + 1, inner.y + 1 + i as u16, inner.width.saturating_sub(2), &line, style);
    }
}

fn table_row(cell: &Cell, share: Option<f32>) -> String {
    let (s, b, r) = (text::signed(cell.s_raw), text::signed(cell.b_raw), text::signed(cell.r));
    let share = share.map(|v| format!(" {:>4.1}%", v * 100.0)).unwrap_or_default();
    format!("{} {:>3} {:>3} {s:>7} {b:>7} {r:>6}{share}", kind_sign(cell.kind), cell.row, cell.col)
}
