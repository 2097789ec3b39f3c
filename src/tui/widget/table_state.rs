//! What the tables of the screens have in common besides their looks: orders that follow one another, and a chosen row that moves.

use ratatui::layout::Rect;

use super::table::{room_for, top};

/// Choices that follow one another round and round, each with its word on the screen.
pub trait Cycle: Copy + PartialEq + 'static {
    /// All of them.
    const ALL: &'static [(Self, &'static str)];

    /// The next one.
    #[must_use]
    fn next(self) -> Self {
        let at = Self::ALL.iter().position(|c| c.0 == self).map_or(0, |i| i + 1);
        Self::ALL[at % Self::ALL.len()].0
    }

    /// Word on the screen.
    fn name(self) -> &'static str {
        Self::ALL.iter().find(|c| c.0 == self).map_or("", |c| c.1)
    }
}

/// Moving the chosen row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Go {
    /// This many rows down, or up when negative.
    Rows(i32),
    /// This many screenfuls down, or up when negative.
    Pages(i32),
    /// First row.
    First,
    /// Last row.
    Last,
}

impl Go {
    /// Where it leads from a row, with `count` rows in all of which `room` are on the screen.
    pub fn to(self, position: usize, count: usize, room: usize) -> usize {
        let last = count.saturating_sub(1);
        let moved = |by: i64| (position as i64).saturating_add(by).clamp(0, last as i64) as usize;
        match self {
            Self::Rows(by) => moved(by.into()),
            Self::Pages(by) => moved(i64::from(by) * room.max(1) as i64),
            Self::First => 0,
            Self::Last => last,
        }
    }
}

/// The row of a table that a click meant: below the heading, and the table scrolled so that `position` is in sight.
pub fn row_at(table: Rect, at: (u16, u16), position: usize, count: usize) -> Option<usize> {
    tall_row_at(table, at, (position, count), 1)
}

/// The same where every row has this many lines.
pub fn tall_row_at(table: Rect, (x, y): (u16, u16), (position, count): (usize, usize), lines: u16) -> Option<usize> {
    let inside = table.contains((x, y).into()) && y > table.y;
    let at = || usize::from((y - table.y - 1) / lines.max(1));
    let room = room_for(table, lines);
    inside.then(at).filter(|at| *at < room).map(|at| top(position, count, room) + at).filter(|at| *at < count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Order {
        Name,
        Size,
    }

    impl Cycle for Order {
        const ALL: &'static [(Self, &'static str)] = &[(Self::Name, "name"), (Self::Size, "size")];
    }

    #[test]
    fn choices_go_round() {
        assert_eq!((Order::Name.next(), Order::Size.next()), (Order::Size, Order::Name));
        assert_eq!(Order::Size.name(), "size");
    }

    #[test]
    fn the_chosen_row_stays_among_the_rows() {
        assert_eq!([Go::Rows(1), Go::Rows(-9), Go::Pages(1), Go::Pages(-1)].map(|g| g.to(5, 20, 8)), [6, 0, 13, 0]);
        assert_eq!([Go::First, Go::Last, Go::Pages(2)].map(|g| g.to(5, 20, 8)), [0, 19, 19]);
        assert_eq!([Go::Rows(1), Go::Pages(1), Go::Last].map(|g| g.to(0, 0, 0)), [0, 0, 0], "an empty table");
        assert_eq!(Go::Pages(1).to(0, 20, 0), 1, "a table without room still moves");
    }

    #[test]
    fn clicks_meet_rows() {
        let table = Rect::new(2, 10, 30, 6);
        assert_eq!(row_at(table, (5, 11), 0, 20), Some(0));
        assert_eq!(row_at(table, (5, 15), 19, 20), Some(19));
        for (at, count) in [((5, 10), 20), ((1, 12), 20), ((5, 16), 20), ((5, 13), 2)] {
            assert_eq!(row_at(table, at, 0, count), None, "{at:?}");
        }
        assert_eq!([11, 12, 13, 15].map(|y| tall_row_at(table, (5, y), (0, 20), 3)), [Some(0), Some(0), Some(0), Some(1)]);
    }
}
