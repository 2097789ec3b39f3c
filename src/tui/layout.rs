//! Where things go: pure functions from an area to regions, tested for every size.

use ratatui::layout::Rect;

use super::{
    dialog,
    effect::Effect,
    model::{Cursor, Model},
    screen::{Screen, attack, cam, insight, layers, pixels, triage, units},
    view::chrome,
};

/// Below this the screen shows one sentence.
pub const MINIMUM: (u16, u16) = (60, 16);

/// The parts every screen has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shell {
    /// What is open, and the run.
    pub header: Rect,
    /// Tabs and progress.
    pub tabs: Rect,
    /// The screen.
    pub body: Rect,
    /// The line of time.
    pub timeline: Rect,
    /// Hints and messages.
    pub footer: Rect,
}

/// The part of the terminal that belongs to the screen; nothing when the terminal is too small.
pub fn body(model: &Model) -> Rect {
    shell(Rect::new(0, 0, model.size.0, model.size.1)).map_or(Rect::ZERO, |s| s.body)
}

/// Splits the terminal; `None` when it is too small.
pub fn shell(area: Rect) -> Option<Shell> {
    if area.width < MINIMUM.0 || area.height < MINIMUM.1 {
        return None;
    }
    let line = |y: u16| Rect { x: area.x, y: area.y + y, width: area.width, height: 1 };
    Some(Shell {
        header: line(0),
        tabs: line(1),
        body: Rect { y: area.y + 2, height: area.height - 4, ..area },
        timeline: line(area.height - 2),
        footer: line(area.height - 1),
    })
}

/// Four pictures (or two of them) and the room around them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Board {
    /// Pictures: number 0..4 and where.
    pub panes: Vec<(usize, Rect)>,
    /// Side panel.
    pub side: Option<Rect>,
    /// Wide panel.
    pub wide: Option<Rect>,
}

impl Board {
    fn pixels(&self) -> u16 {
        self.panes.first().map_or(0, |(_, r)| r.width.saturating_sub(2).min(2 * r.height.saturating_sub(2)))
    }

    fn areas(&self) -> impl Iterator<Item = Rect> + '_ {
        self.panes.iter().map(|(_, r)| *r).chain(self.side).chain(self.wide)
    }

    /// Every area, for tests and hit tests.
    pub fn all(&self) -> Vec<Rect> {
        self.areas().collect()
    }
}

/// The largest pictures that leave room for a side panel and, where `wide` is wanted, a wide one.
pub fn board(body: Rect, focus: usize, zoom: bool, wide: bool) -> Board {
    if zoom {
        return Board { panes: vec![(focus, body)], side: None, wide: None };
    }
    let score = |(board, weight): &(Board, f32)| f32::from(board.pixels()) * weight;
    let candidates = [
        (row_of_four(body, wide), if wide { 1.2 } else { 1.0 }),
        (square_beside(body, wide), 1.05),
        (square_above(body, wide), 1.0),
        (Some(pair(body, focus, wide)), 0.55),
    ];
    // Four pictures only where they stay large enough to be worth it.
    let least = if wide { 22 } else { 18 };
    candidates
        .into_iter()
        .filter_map(|(board, weight)| Some((board?, weight)))
        .filter(|(board, _)| board.panes.len() < 4 || board.pixels() >= least)
        .max_by(|a, b| score(a).total_cmp(&score(b)))
        .map_or_else(|| pair(body, focus, wide), |(board, _)| board)
}

fn grid(area: Rect, cols: u16, rows: u16) -> Vec<(usize, Rect)> {
    (0..cols * rows)
        .map(|i| {
            let (c, r) = (i % cols, i / cols);
            let (x0, x1) = (area.width * c / cols, area.width * (c + 1) / cols);
            let (y0, y1) = (area.height * r / rows, area.height * (r + 1) / rows);
            (usize::from(i), Rect { x: area.x + x0, y: area.y + y0, width: x1 - x0, height: y1 - y0 })
        })
        .collect()
}

fn split_bottom(rest: Rect, wide: bool) -> (Option<Rect>, Option<Rect>) {
    if !wide {
        return (Some(rest), None);
    }
    let side = (rest.width * 2 / 5).clamp(30, 64);
    let left = rest.width - side;
    (Some(Rect { x: rest.x + left, width: side, ..rest }), Some(Rect { width: left, ..rest }))
}

fn row_of_four(body: Rect, wide: bool) -> Option<Board> {
    let pane = body.width / 4;
    let keep = if wide { 10 } else { 8 };
    let height = (body.height.saturating_sub(keep)).min(pane.saturating_sub(2).div_ceil(2) + 2);
    let least = if wide { 24 } else { 19 };
    if pane < least || height < 10 {
        return None;
    }
    let panes = grid(Rect { height, ..body }, 4, 1);
    let rest = Rect { y: body.y + height, height: body.height - height, ..body };
    let (side, wide) = split_bottom(rest, wide);
    Some(Board { panes, side, wide })
}

fn square_beside(body: Rect, wide: bool) -> Option<Board> {
    if body.width < 84 || body.height < 20 {
        return None;
    }
    let ideal = 2 * (body.height - 3);
    let column = (body.width * 3 / 10).clamp(30, 60).max(body.width.saturating_sub(ideal));
    let left = Rect { width: body.width - column, ..body };
    let right = Rect { x: left.right(), width: column, ..body };
    let (side, wide) = if wide && right.height >= 20 {
        let top = (right.height / 3).max(15).min(right.height / 2).min(30);
        (Rect { height: top, ..right }, Some(Rect { y: right.y + top, height: right.height - top, ..right }))
    } else {
        (right, None)
    };
    Some(Board { panes: grid(left, 2, 2), side: Some(side), wide })
}

fn square_above(body: Rect, wide: bool) -> Option<Board> {
    let pane = body.width / 2;
    let height = (body.height.saturating_sub(12) / 2).min(pane.saturating_sub(2).div_ceil(2) + 2);
    if height < 12 || body.width > 130 {
        return None;
    }
    let rest = Rect { y: body.y + 2 * height, height: body.height - 2 * height, ..body };
    let (side, wide) = split_bottom(rest, wide && rest.width >= 70);
    Some(Board { panes: grid(Rect { height: 2 * height, ..body }, 2, 2), side, wide })
}

fn pair(body: Rect, focus: usize, wide: bool) -> Board {
    let chart = if wide && body.height >= 19 { (body.height * 3 / 10).clamp(5, 14) } else { 0 };
    let top = Rect { height: body.height - chart, ..body };
    let least = if body.width >= 76 { 26 } else { 20 };
    let pane = (2 * top.height.saturating_sub(2) + 2).min((body.width - least) / 2);
    let first = if focus < 2 { 0 } else { 2 };
    let at = |i: u16| Rect { x: top.x + i * pane, width: pane, ..top };
    let wide = (chart > 0).then(|| Rect { y: top.bottom(), height: chart, ..body });
    let side = Some(Rect { x: top.x + 2 * pane, width: top.width - 2 * pane, ..top });
    Board { panes: vec![(first, at(0)), (first + 1, at(1))], side, wide }
}

/// The large picture of screen 2 and its panels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelsBoard {
    /// The picture.
    pub picture: Rect,
    /// Numbers of the whole map.
    pub summary: Option<Rect>,
    /// Numbers of the chosen cell; where there is no room, it takes the summary's place.
    pub cell: Option<Rect>,
    /// The table of cells.
    pub table: Option<Rect>,
}

/// Splits screen 2.
pub fn pixels_board(body: Rect, zoom: bool) -> PixelsBoard {
    if zoom {
        return PixelsBoard { picture: body, summary: None, cell: None, table: None };
    }
    let tall = body.width < 110 && body.height > body.width / 2 + 8;
    let (picture, panel) = if tall {
        let height = (body.width.saturating_sub(2).div_ceil(2) + 2).min(body.height - 14);
        (Rect { height, ..body }, Rect { y: body.y + height, height: body.height - height, ..body })
    } else {
        let width = (2 * (body.height - 2) + 2).min(body.width - 37);
        (Rect { width, ..body }, Rect { x: body.x + width, width: body.width - width, ..body })
    };
    let summary = if panel.height >= 30 {
        13
    } else if panel.height >= 20 {
        11
    } else {
        (panel.height * 6 / 10).max(7)
    }
    .min(panel.height);
    let cell = if panel.height >= 30 { 8 } else { 0 };
    let table = panel.height - summary - cell;
    let part = |y: u16, height: u16| (height >= 3).then_some(Rect { y: panel.y + y, height, ..panel });
    PixelsBoard { picture, summary: part(0, summary), cell: part(summary, cell), table: part(summary + cell, table) }
}

/// A click: on a row of a dialog, on a tab, on the line of time, on a picture, a row, or a cell of the map.
pub fn clicked(model: &mut Model, x: u16, y: u16) -> Vec<Effect> {
    let Some(shell) = shell(Rect::new(0, 0, model.size.0, model.size.1)) else { return Vec::new() };
    if !model.dialogs.is_empty() {
        return dialog::clicked(model, x, y);
    }
    if y == shell.tabs.y {
        if let Some(screen) = chrome::tab_at(model, x) {
            model.screen = screen;
        }
        return Vec::new();
    }
    if y == shell.timeline.y {
        if let Some(step) = chrome::step_at(model, shell.timeline, x) {
            model.learned.insert("step");
            model.cursor = Cursor::At(step);
        }
        return Vec::new();
    }
    match model.screen {
        Screen::Attack => attack::clicked(model, shell.body, x, y),
        Screen::Pixels => pixels::clicked(model, shell.body, x, y),
        Screen::Cam => cam::clicked(model, shell.body, x, y),
        Screen::Layers => layers::clicked(model, shell.body, x, y),
        Screen::Units => units::clicked(model, shell.body, x, y),
        Screen::Insight => insight::clicked(model, shell.body, x, y),
        Screen::Triage => triage::clicked(model, shell.body, x, y),
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(area: Rect, parts: &[Rect], what: &str) {
        for (i, a) in parts.iter().enumerate() {
            assert_eq!(a.intersection(area), *a, "{what}: {a:?} leaves {area:?}");
            assert!(a.width > 0 && a.height > 0, "{what}: {a:?} is empty in {area:?}");
            for b in &parts[i + 1..] {
                assert!(a.intersection(*b).is_empty(), "{what}: {a:?} and {b:?} overlap in {area:?}");
            }
        }
    }

    #[test]
    fn nothing_overlaps_or_leaves_the_area_at_any_size() {
        for w in 1..=300 {
            for h in 1..=100 {
                let area = Rect::new(0, 0, w, h);
                let Some(s) = shell(area) else {
                    assert!(w < MINIMUM.0 || h < MINIMUM.1);
                    continue;
                };
                check(area, &[s.header, s.tabs, s.body, s.timeline, s.footer], "shell");
                for focus in 0..4 {
                    for wide in [false, true] {
                        let board = board(s.body, focus, false, wide);
                        check(s.body, &board.all(), "board");
                        assert!(board.panes.iter().any(|(i, _)| *i == focus), "the focus is always visible");
                        assert!(board.pixels() >= 16, "pictures of {} pixels at {w}x{h}", board.pixels());
                    }
                }
                for zoom in [false, true] {
                    let p = pixels_board(s.body, zoom);
                    let parts: Vec<Rect> = [Some(p.picture), p.summary, p.cell, p.table].into_iter().flatten().collect();
                    check(s.body, &parts, "pixels");
                }
            }
        }
    }
}
