//! Tables that give room to their most important columns first, and keep the chosen row in sight.

use ratatui::{buffer::Buffer, layout::Rect};

use crate::tui::{
    text,
    theme::{Role, Theme},
    view::draw,
};

/// A column besides the first.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Heading.
    pub title: &'static str,
    /// Columns it takes.
    pub width: u16,
    /// Whether it is right-aligned.
    pub right: bool,
    /// How early it is given room.
    pub rank: u8,
}

/// One row: marks before it (at most two characters), the first cell, the others.
#[derive(Debug, Clone)]
pub struct Line {
    /// Marks.
    pub mark: &'static str,
    /// First cell.
    pub lead: String,
    /// Other cells, one per column.
    pub cells: Vec<(String, Role)>,
}

/// A table.
pub struct Table<'a> {
    /// Heading, least and greatest width of the first column.
    pub lead: (&'static str, u16, u16),
    /// The others.
    pub columns: &'a [Column],
    /// Number of rows.
    pub count: usize,
    /// The chosen one.
    pub position: usize,
    /// Makes a row.
    pub row: &'a dyn Fn(usize) -> Line,
}

/// Rows that fit below the heading.
pub fn room(area: Rect) -> usize {
    usize::from(area.height.saturating_sub(1))
}

/// First row on the screen, so that the chosen one is among them.
pub fn top(position: usize, count: usize, room: usize) -> usize {
    position.saturating_sub(room / 2).min(count.saturating_sub(room))
}

impl Table<'_> {
    /// Which columns have room, and the width of the first one.
    fn fit(&self, width: u16) -> (Vec<usize>, u16) {
        let room = width.saturating_sub(4);
        let mut order: Vec<usize> = (0..self.columns.len()).collect();
        order.sort_by_key(|i| self.columns[*i].rank);
        let (mut used, mut chosen) = (self.lead.1, Vec::new());
        for at in order {
            let need = self.columns[at].width + 1;
            if used + need > room {
                break;
            }
            used += need;
            chosen.push(at);
        }
        chosen.sort_unstable();
        (chosen, (self.lead.1 + room.saturating_sub(used)).min(self.lead.2))
    }

    /// Draws it.
    pub fn draw(&self, theme: &Theme, area: Rect, buf: &mut Buffer) {
        let (chosen, wide) = self.fit(area.width);
        let title = theme.style(Role::Title);
        let put = |buf: &mut Buffer, x: u16, y: u16, column: &Column, value: &str, style| {
            let value = text::truncate(value, usize::from(column.width), theme.ellipsis());
            let shift = if column.right { column.width.saturating_sub(text::width(&value) as u16) } else { 0 };
            draw::text(buf, x + shift, y, (area.right() - x).min(column.width), &value, style);
            x + column.width + 1
        };
        if area.height == 0 {
            return;
        }
        draw::text(buf, area.x + 3, area.y, wide, self.lead.0, title);
        let mut x = area.x + 4 + wide;
        for at in &chosen {
            x = put(buf, x, area.y, &self.columns[*at], self.columns[*at].title, title);
        }
        let first = top(self.position, self.count, room(area));
        for (i, y) in (first..self.count).zip(area.y + 1..area.bottom()) {
            let line = (self.row)(i);
            let here = i == self.position;
            let style = |role| theme.style(if here { Role::Selected } else { role });
            if here {
                buf.set_style(Rect { x: area.x, y, width: area.width, height: 1 }, theme.style(Role::Selected));
            }
            let mark = if here && line.mark.is_empty() { ">" } else { line.mark };
            draw::text(buf, area.x, y, 2, mark, style(Role::Key));
            draw::text(buf, area.x + 3, y, wide, &text::truncate(&line.lead, usize::from(wide), theme.ellipsis()), style(Role::Text));
            let mut x = area.x + 4 + wide;
            for at in &chosen {
                let (value, role) = &line.cells[*at];
                x = put(buf, x, y, &self.columns[*at], value, style(*role));
            }
        }
    }
}

/// Values as a row of small bars between two limits; gaps where there is none.
pub fn spark(theme: &Theme, values: &[Option<f32>], (low, high): (f32, f32), columns: usize) -> String {
    const BARS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
    const PLAIN: [&str; 8] = ["_", ".", ":", "-", "=", "+", "*", "#"];
    let count = values.len().min(columns);
    let at = |i: usize| values[i * values.len() / count.max(1)];
    let one = |v: f32| (((v - low) / (high - low).max(1e-9)).clamp(0.0, 1.0) * 7.0).round() as usize;
    (0..count).map(|i| at(i).map_or(" ", |v| if theme.ascii { PLAIN[one(v)] } else { BARS[one(v)] })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::theme::Depth;

    #[test]
    fn important_columns_come_first_and_the_chosen_row_is_in_sight() {
        let column = |title, width, rank| Column { title, width, right: true, rank };
        let columns = [column("b", 5, 1), column("a", 5, 0), column("c", 30, 2)];
        let row = |i: usize| Line { mark: "", lead: format!("row {i}"), cells: vec![("1".into(), Role::Text); 3] };
        let table = Table { lead: ("name", 8, 20), columns: &columns, count: 100, position: 70, row: &row };
        assert_eq!(table.fit(25).0, [0, 1]);
        assert_eq!(table.fit(18).0, [1]);
        assert_eq!(table.fit(60).0, [0, 1, 2]);
        let theme = Theme::new("terminal", Depth::None, true).unwrap();
        let area = Rect::new(0, 0, 25, 6);
        let mut buf = Buffer::empty(area);
        table.draw(&theme, area, &mut buf);
        let text: String = buf.content().iter().map(|c| c.symbol()).collect();
        assert!(text.contains(">") && text.contains("row 70") && !text.contains("row 60"), "{text}");
    }

    #[test]
    fn sparks_keep_their_order() {
        let theme = Theme::new("terminal", Depth::None, true).unwrap();
        let values = [Some(0.0), None, Some(0.5), Some(1.0)];
        assert_eq!(spark(&theme, &values, (0.0, 1.0), 10), "_ =#");
        assert_eq!(spark(&theme, &values, (0.0, 1.0), 2).len(), 2);
        assert_eq!(spark(&theme, &[], (0.0, 1.0), 5), "");
    }
}
