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

/// Rows of several lines with a place for a picture before the name.
pub struct Tall<'a> {
    /// Lines of a row; the last one stays empty, so that pictures do not touch.
    pub lines: u16,
    /// Columns of the picture.
    pub picture: u16,
    /// Draws the picture of a row into its place.
    pub draw: &'a dyn Fn(usize, Rect, &mut Buffer),
    /// What stands below the cells of a row, a line each.
    pub below: &'a dyn Fn(usize) -> Vec<(Role, String)>,
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
    /// Rows of several lines; one line each without it.
    pub tall: Option<Tall<'a>>,
}

/// Rows that fit below the heading.
pub fn room(area: Rect) -> usize {
    room_for(area, 1)
}

/// Rows of this many lines that fit below the heading. The empty last line of the last row may be cut off.
pub fn room_for(area: Rect, lines: u16) -> usize {
    let spare = u16::from(lines > 1);
    usize::from((area.height.saturating_sub(1) + spare) / lines.max(1))
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
        let lines = self.tall.as_ref().map_or(1, |t| t.lines.max(1));
        let aside = self.tall.as_ref().map_or(0, |t| t.picture + 1);
        let (chosen, wide) = self.fit(area.width.saturating_sub(aside));
        let begin = area.x + 3 + aside;
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
        draw::text(buf, begin, area.y, wide, self.lead.0, title);
        let mut x = begin + 1 + wide;
        for at in &chosen {
            x = put(buf, x, area.y, &self.columns[*at], self.columns[*at].title, title);
        }
        let room = room_for(area, lines);
        let first = top(self.position, self.count, room);
        for (i, y) in (first..self.count).take(room).zip((area.y + 1..area.bottom()).step_by(lines.into())) {
            let line = (self.row)(i);
            let here = i == self.position;
            let style = |role| theme.style(if here { Role::Selected } else { role });
            if here {
                buf.set_style(Rect { x: area.x, y, width: area.width, height: 1 }, theme.style(Role::Selected));
            }
            let mark = if here && line.mark.is_empty() { ">" } else { line.mark };
            draw::text(buf, area.x, y, 2, mark, style(Role::Key));
            draw::text(buf, begin, y, wide, &text::truncate(&line.lead, usize::from(wide), theme.ellipsis()), style(Role::Text));
            if let Some(tall) = &self.tall {
                let under =
                    Rect { x: begin, y: y + 1, width: area.right().saturating_sub(begin), height: (lines - 2).min(area.bottom() - y - 1) };
                tall.lay(theme, i, here, (Rect { x: area.x + 3, y, width: tall.picture, height: under.height + 1 }, under), buf);
            }
            let mut x = begin + 1 + wide;
            for at in &chosen {
                let (value, role) = &line.cells[*at];
                x = put(buf, x, y, &self.columns[*at], value, style(*role));
            }
        }
    }
}

impl Tall<'_> {
    /// The picture of a row, and the lines below its cells.
    fn lay(&self, theme: &Theme, row: usize, here: bool, (picture, under): (Rect, Rect), buf: &mut Buffer) {
        (self.draw)(row, picture, buf);
        for y in (under.top()..under.bottom()).filter(|_| here) {
            draw::text(buf, picture.x.saturating_sub(3), y, 1, theme.glyph("▌", "|"), theme.style(Role::Key));
        }
        for ((role, line), y) in (self.below)(row).into_iter().zip(under.top()..under.bottom()) {
            draw::text(buf, under.x, y, under.width, &text::truncate(&line, usize::from(under.width), theme.ellipsis()), theme.style(role));
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
        let table = Table { lead: ("name", 8, 20), columns: &columns, count: 100, position: 70, row: &row, tall: None };
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
    fn tall_rows_have_a_picture_and_lines_below() {
        let row = |i: usize| Line { mark: "", lead: format!("row {i}"), cells: Vec::new() };
        let picture = |i: usize, area: Rect, buf: &mut Buffer| {
            assert_eq!((area.width, area.height), (4, 2), "row {i}");
            draw::text(
                buf,
                area.x,
                area.y,
                area.width,
                &"#".repeat(4),
                Theme::new("terminal", Depth::None, true).unwrap().style(Role::Text),
            );
        };
        let below = |i: usize| vec![(Role::Dim, format!("about {i}")), (Role::Dim, "never".to_owned())];
        let theme = Theme::new("terminal", Depth::None, true).unwrap();
        let area = Rect::new(0, 0, 24, 9);
        let mut buf = Buffer::empty(area);
        let tall = Tall { lines: 3, picture: 4, draw: &picture, below: &below };
        Table { lead: ("name", 8, 20), columns: &[], count: 9, position: 5, row: &row, tall: Some(tall) }.draw(&theme, area, &mut buf);
        let lines: Vec<String> =
            buf.content().chunks(24).map(|l| l.iter().map(|c| c.symbol()).collect::<String>().trim_end().to_owned()).collect();
        let wanted =
            ["", "   #### row 4", "        about 4", "", ">  #### row 5", "|       about 5", "", "   #### row 6", "        about 6"];
        assert_eq!(lines[1..], wanted[1..], "{lines:#?}");
        assert_eq!((room_for(area, 3), room(area)), (3, 8));
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
