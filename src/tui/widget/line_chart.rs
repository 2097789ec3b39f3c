//! Curves over steps: quadrant blocks (or ASCII), an axis with numbers, a cursor line, and a mark at the end of each curve
//! so that curves are told apart without colour.

use ratatui::{buffer::Buffer, layout::Rect};

use crate::tui::{
    text,
    theme::{Depth, Role, Theme},
    view::draw,
};

/// One curve.
#[derive(Debug, Clone)]
pub struct Series {
    /// Mark at its end and at the cursor.
    pub mark: &'static str,
    /// Colour.
    pub role: Role,
    /// Every second stretch is left out.
    pub dashed: bool,
    /// One value a step; values that are not finite leave a gap.
    pub values: Vec<f32>,
}

/// What to draw.
#[derive(Debug)]
pub struct LineChart<'a> {
    /// Curves; later ones lie on top.
    pub series: &'a [Series],
    /// Step under the cursor.
    pub cursor: Option<usize>,
    /// Number of steps on the axis.
    pub steps: usize,
}

const AXIS: u16 = 7;

impl LineChart<'_> {
    /// Draws it.
    pub fn draw(&self, theme: &Theme, area: Rect, buf: &mut Buffer) {
        let area = area.intersection(buf.area);
        if area.width < AXIS + 8 || area.height < 2 {
            return;
        }
        let rows = if area.height >= 5 { area.height - 1 } else { area.height };
        let plot = Rect { x: area.x + AXIS, y: area.y, width: area.width - AXIS - 2, height: rows };
        let Some((low, high)) = self.range() else { return };
        self.axis(theme, plot, low, high, area, buf);
        if let Some(step) = self.cursor {
            let x = plot.x + self.column(step, plot.width);
            for y in plot.top()..plot.bottom() {
                buf[(x, y)].set_symbol(theme.glyph("│", "|")).set_style(theme.style(Role::Dim));
            }
        }
        for series in self.series {
            Self::curve(self, theme, series, plot, (low, high), buf);
        }
        for series in self.series {
            self.marks(theme, series, plot, (low, high), buf);
        }
    }

    fn range(&self) -> Option<(f32, f32)> {
        let all = || self.series.iter().flat_map(|s| s.values.iter().copied()).filter(|v| v.is_finite());
        let (low, high) = all().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            return None;
        }
        let margin = ((high - low) * 0.04).max(1e-3 * high.abs().max(1.0));
        Some((low - margin, high + margin))
    }

    fn column(&self, step: usize, width: u16) -> u16 {
        let last = self.steps.saturating_sub(1).max(1);
        ((step.min(last) * usize::from(width - 1)) / last) as u16
    }

    fn axis(&self, theme: &Theme, plot: Rect, low: f32, high: f32, area: Rect, buf: &mut Buffer) {
        let style = theme.style(Role::Dim);
        for y in plot.top()..plot.bottom() {
            buf[(plot.x - 1, y)].set_symbol(theme.glyph("┤", "|")).set_style(theme.style(Role::Border));
        }
        let mut labels = vec![(plot.top(), high), (plot.bottom() - 1, low)];
        if plot.height >= 7 {
            labels.push((plot.top() + plot.height / 2, high + (low - high) * f32::from(plot.height / 2) / f32::from(plot.height - 1)));
        }
        for (y, value) in labels {
            let label = format!("{:>5}", text::number(value));
            draw::text(buf, area.x, y, AXIS - 2, &label, style);
        }
        if plot.bottom() < area.bottom() {
            let last = self.steps.saturating_sub(1).to_string();
            draw::text(buf, plot.x, plot.bottom(), 1, "0", style);
            let x = plot.right().saturating_sub(last.len() as u16);
            if x > plot.x + 2 {
                draw::text(buf, x, plot.bottom(), last.len() as u16, &last, style);
            }
            if let Some(step) = self.cursor.filter(|s| *s > 0) {
                let label = step.to_string();
                let x = (plot.x + self.column(step, plot.width)).saturating_sub(label.len() as u16 / 2).max(plot.x + 2);
                if x + (label.len() as u16) + (last.len() as u16) < plot.right() {
                    draw::text(buf, x, plot.bottom(), label.len() as u16, &label, theme.style(Role::Accent));
                }
            }
        }
    }

    fn curve(&self, theme: &Theme, series: &Series, plot: Rect, (low, high): (f32, f32), buf: &mut Buffer) {
        let (dots_x, dots_y) = if theme.ascii { (1, 1) } else { (2, 2) };
        let (w, h) = (usize::from(plot.width) * dots_x, usize::from(plot.height) * dots_y);
        let last = self.steps.saturating_sub(1).max(1);
        let x_of = |step: usize| (step * (w - 1)) as f32 / last as f32;
        let y_of = |v: f32| ((high - v) / (high - low) * (h - 1) as f32).clamp(0.0, (h - 1) as f32);
        let mut previous: Option<(f32, f32)> = None;
        for (step, value) in series.values.iter().enumerate() {
            if !value.is_finite() {
                previous = None;
                continue;
            }
            let here = (x_of(step), y_of(*value));
            let from = previous.unwrap_or(here);
            let length = (here.0 - from.0).abs().max((here.1 - from.1).abs()).ceil().max(1.0) as usize;
            for i in 0..=length {
                let t = i as f32 / length as f32;
                let (x, y) = ((from.0 + (here.0 - from.0) * t).round() as usize, (from.1 + (here.1 - from.1) * t).round() as usize);
                if series.dashed && (x / (2 * dots_x)) % 2 == 1 {
                    continue;
                }
                dot(theme, series.role, plot, (x, y), buf);
            }
            previous = Some(here);
        }
    }

    fn marks(&self, theme: &Theme, series: &Series, plot: Rect, (low, high): (f32, f32), buf: &mut Buffer) {
        let row = |v: f32| {
            plot.y + ((high - v) / (high - low) * f32::from(plot.height - 1)).round().clamp(0.0, f32::from(plot.height - 1)) as u16
        };
        let mut put = |x: u16, v: f32| {
            draw::text(buf, x, row(v), 1, series.mark, theme.style(series.role));
        };
        if let Some((step, v)) = series.values.iter().enumerate().rev().find(|(_, v)| v.is_finite()) {
            put(plot.x + self.column(step, plot.width) + 1, *v);
        }
        if let Some(step) = self.cursor
            && let Some(v) = series.values.get(step).filter(|v| v.is_finite())
        {
            put(plot.x + self.column(step, plot.width), *v);
        }
        if theme.depth == Depth::None {
            // Without colours the curves are told apart by their marks along the way.
            let every = (self.steps / 5).max(1);
            for (step, v) in series.values.iter().enumerate().step_by(every).filter(|(_, v)| v.is_finite()) {
                put(plot.x + self.column(step, plot.width), *v);
            }
        }
    }
}

fn dot(theme: &Theme, role: Role, plot: Rect, (x, y): (usize, usize), buf: &mut Buffer) {
    /// By bits: upper left 1, upper right 2, lower left 4, lower right 8. Found in more fonts than braille.
    const QUADRANTS: [&str; 16] = [" ", "▘", "▝", "▀", "▖", "▌", "▞", "▛", "▗", "▚", "▐", "▜", "▄", "▙", "▟", "█"];
    let style = theme.style(role);
    if theme.ascii {
        buf[(plot.x + x as u16, plot.y + y as u16)].set_symbol(".").set_style(style);
        return;
    }
    let cell = &mut buf[(plot.x + (x / 2) as u16, plot.y + (y / 2) as u16)];
    let own = cell.style().fg == style.fg || style.fg.is_none();
    let old = QUADRANTS.iter().position(|q| *q == cell.symbol()).filter(|_| own).unwrap_or(0);
    cell.set_symbol(QUADRANTS[old | 1 << (x % 2 + 2 * (y % 2))]).set_style(style);
}
