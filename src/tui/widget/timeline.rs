//! The line of time: where pictures were kept, where the class changed, where one stands.

use std::{collections::BTreeSet, sync::Arc};

use ratatui::{buffer::Buffer, layout::Rect};

use crate::{
    engine::trace::Trace,
    tui::{
        text,
        theme::{Role, Theme},
        time,
        view::draw,
    },
};

/// What to draw.
#[derive(Debug)]
pub struct Timeline<'a> {
    /// The record.
    pub trace: &'a Arc<Trace>,
    /// Step under the cursor.
    pub position: usize,
    /// Newest step.
    pub newest: usize,
    /// Steps expected, while running.
    pub total: usize,
    /// Step of the result.
    pub best: Option<usize>,
    /// Bookmarked steps.
    pub marks: &'a BTreeSet<usize>,
    /// Whether the cursor follows.
    pub live: bool,
}

impl Timeline<'_> {
    /// Draws it.
    pub fn draw(&self, theme: &Theme, area: Rect, buf: &mut Buffer) {
        if area.width < 30 || area.height == 0 {
            return;
        }
        let frames = self.trace.frames();
        let note = self.note(theme, frames.len(), area.width);
        let bar = Rect { width: area.width - text::width(&note) as u16 - 1, ..area };
        self.bar(theme, bar, &frames, buf);
        draw::right(buf, area, &note, theme.style(Role::Text));
    }

    fn note(&self, theme: &Theme, frames: usize, width: u16) -> String {
        let mut parts = vec![format!("{}/{}", self.position, self.total.max(self.newest))];
        if let Some(r) = self.trace.step(self.position) {
            if width >= 100 {
                parts.push(format!("L1 {}", text::number(r.l1)));
            }
            parts.push(format!("L2 {}", text::number(r.l2)));
            parts.push(format!("Linf {}", text::per_255(r.linf)));
        }
        if width >= 70 {
            parts.push(format!("pictures {frames}/{}", self.newest + 1));
        }
        if self.live && width >= 80 {
            parts.push(theme.glyph("live", "live").to_owned());
        }
        format!(" {}", parts.join("  "))
    }

    /// The step at a column of the screen, if the bar is there.
    pub fn step_at(&self, theme: &Theme, area: Rect, x: u16) -> Option<usize> {
        if area.width < 30 {
            return None;
        }
        let note = self.note(theme, self.trace.frames().len(), area.width);
        let inside = usize::from(area.width - text::width(&note) as u16 - 1).saturating_sub(2).max(1);
        let column = usize::from(x.saturating_sub(area.x + 1));
        let last = self.last();
        (column < inside).then(|| (column * last).div_ceil((inside - 1).max(1)).min(self.newest))
    }

    fn last(&self) -> usize {
        self.total.max(self.newest).max(1)
    }

    fn bar(&self, theme: &Theme, area: Rect, frames: &[usize], buf: &mut Buffer) {
        let last = self.last();
        let inside = usize::from(area.width.saturating_sub(2)).max(1);
        let column = |step: usize| (step.min(last) * (inside - 1)) / last;
        let mut cells = vec![(theme.glyph("·", "."), Role::Border); inside];
        for cell in cells.iter_mut().take(column(self.newest) + 1) {
            *cell = (theme.glyph("─", "-"), Role::Dim);
        }
        let kept = |i: usize| {
            let (from, to) = (i * last / inside.max(2), (i + 1) * last / inside.max(2));
            let first = frames.partition_point(|&f| f < from);
            frames.get(first).is_some_and(|&f| f <= to)
        };
        for (_, cell) in cells.iter_mut().enumerate().take(column(self.newest) + 1).filter(|(i, _)| kept(*i)) {
            *cell = (theme.glyph("━", "="), Role::Dim);
        }
        for change in time::changes(self.trace, self.newest) {
            cells[column(change)] = (theme.glyph("◆", "*"), Role::TargetClass);
        }
        if let Some(best) = self.best {
            cells[column(best)] = (theme.glyph("★", "!"), Role::Good);
        }
        for &mark in self.marks {
            cells[column(mark)] = (theme.glyph("▼", "v"), Role::Key);
        }
        cells[column(self.position)] = (theme.glyph("●", "O"), Role::Focus);
        draw::text(buf, area.x, area.y, 1, theme.glyph("├", "|"), theme.style(Role::Dim));
        for (i, (glyph, role)) in cells.iter().enumerate() {
            draw::text(buf, area.x + 1 + i as u16, area.y, 1, glyph, theme.style(*role));
        }
        draw::text(buf, area.x + 1 + inside as u16, area.y, 1, theme.glyph("┤", "|"), theme.style(Role::Dim));
    }
}
