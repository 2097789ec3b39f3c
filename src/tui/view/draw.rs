//! Small drawing primitives. Every one clips to its area.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
};
use tui_input::Input;

use crate::tui::{
    text::{truncate, width},
    theme::{Role, Theme},
};

/// Empties an area.
pub fn clear(area: Rect, buf: &mut Buffer) {
    let area = area.intersection(buf.area);
    for y in area.top()..area.bottom() {
        for x in area.left()..area.right() {
            buf[(x, y)].reset();
        }
    }
}

/// Gives what has no colour of its own the theme's text and background.
pub fn ground((text, background): (Color, Color), area: Rect, buf: &mut Buffer) {
    let area = area.intersection(buf.area);
    for y in area.top()..area.bottom() {
        for x in area.left()..area.right() {
            let cell = &mut buf[(x, y)];
            if cell.fg == Color::Reset {
                cell.fg = text;
            }
            if cell.bg == Color::Reset {
                cell.bg = background;
            }
        }
    }
}

/// Writes text into at most `room` columns of a line; returns the column after it.
pub fn text(buf: &mut Buffer, x: u16, y: u16, room: u16, text: &str, style: Style) -> u16 {
    if !inside(buf, x, y) || room == 0 {
        return x;
    }
    let room = room.min(buf.area.right() - x);
    let taken = (width(text) as u16).min(room);
    buf.set_style(Rect { x, y, width: taken, height: 1 }, Style::reset());
    buf.set_stringn(x, y, text, usize::from(room), style).0
}

/// Writes text at the right end of a line.
pub fn right(buf: &mut Buffer, area: Rect, line: &str, style: Style) {
    let w = (width(line) as u16).min(area.width);
    if area.height > 0 {
        text(buf, area.right() - w, area.y, w, line, style);
    }
}

/// Writes wrapped sentences into the middle of an area.
pub fn centred(buf: &mut Buffer, area: Rect, lines: &[(String, Style)]) {
    let wrapped: Vec<(String, Style)> = lines
        .iter()
        .flat_map(|(line, style)| crate::tui::text::wrap(line, usize::from(area.width.saturating_sub(2))).into_iter().map(|l| (l, *style)))
        .collect();
    let top = area.y + area.height.saturating_sub(wrapped.len() as u16) / 2;
    for (i, (line, style)) in wrapped.iter().enumerate() {
        let y = top + i as u16;
        if y >= area.bottom() {
            break;
        }
        let w = (width(line) as u16).min(area.width);
        text(buf, area.x + (area.width - w) / 2, y, w, line, *style);
    }
}

/// A frame with a title above and a caption below; returns its inside.
pub fn frame(theme: &Theme, area: Rect, title: &str, caption: &str, focused: bool, buf: &mut Buffer) -> Rect {
    let area = area.intersection(buf.area);
    if area.width < 2 || area.height < 2 {
        return Rect { width: 0, height: 0, ..area };
    }
    let [tl, tr, bl, br, h, v] = border(theme, focused);
    let style = theme.style(if focused { Role::Focus } else { Role::Border });
    for x in area.left() + 1..area.right() - 1 {
        buf[(x, area.top())].set_symbol(h).set_style(style);
        buf[(x, area.bottom() - 1)].set_symbol(h).set_style(style);
    }
    for y in area.top() + 1..area.bottom() - 1 {
        buf[(area.left(), y)].set_symbol(v).set_style(style);
        buf[(area.right() - 1, y)].set_symbol(v).set_style(style);
    }
    for (x, y, corner) in [
        (area.left(), area.top(), tl),
        (area.right() - 1, area.top(), tr),
        (area.left(), area.bottom() - 1, bl),
        (area.right() - 1, area.bottom() - 1, br),
    ] {
        buf[(x, y)].set_symbol(corner).set_style(style);
    }
    let title_style = if focused { theme.style(Role::Focus) } else { theme.style(Role::Title) };
    on_edge(theme, area, area.top(), title, title_style, buf);
    on_edge(theme, area, area.bottom() - 1, caption, theme.style(Role::Text), buf);
    Rect { x: area.x + 1, y: area.y + 1, width: area.width - 2, height: area.height - 2 }
}

fn on_edge(theme: &Theme, area: Rect, y: u16, label: &str, style: Style, buf: &mut Buffer) {
    if label.is_empty() || area.width < 6 {
        return;
    }
    let cut = truncate(label, usize::from(area.width - 4), theme.ellipsis());
    text(buf, area.x + 1, y, area.width - 2, &format!(" {cut} "), style);
}

fn border(theme: &Theme, focused: bool) -> [&'static str; 6] {
    match (theme.ascii, focused) {
        (true, false) => ["+", "+", "+", "+", "-", "|"],
        (true, true) => ["#", "#", "#", "#", "=", "|"],
        (false, false) => ["╭", "╮", "╰", "╯", "─", "│"],
        (false, true) => ["┏", "┓", "┗", "┛", "━", "┃"],
    }
}

/// A horizontal line.
pub fn rule(theme: &Theme, area: Rect, buf: &mut Buffer) {
    let style = theme.style(Role::Border);
    for x in area.left()..area.right() {
        if inside(buf, x, area.y) && area.height > 0 {
            buf[(x, area.y)].set_symbol(theme.glyph("─", "-")).set_style(style);
        }
    }
}

/// Key hints, as many as fit whole.
pub fn hints(theme: &Theme, hints: &[(String, &'static str)], area: Rect, buf: &mut Buffer) -> u16 {
    let mut x = area.x;
    if area.height == 0 {
        return x;
    }
    for (keys, word) in hints {
        let need = (width(keys) + 1 + width(word)) as u16;
        if x + need > area.right() {
            continue;
        }
        x = text(buf, x, area.y, need, keys, theme.style(Role::Key));
        x = text(buf, x + 1, area.y, need, word, theme.style(Role::Dim)) + 2;
    }
    x
}

/// A line of typed text; the cursor is a reversed cell.
pub fn input(buf: &mut Buffer, area: Rect, input: &Input, style: Style, focused: bool) {
    if area.width == 0 || area.height == 0 {
        return;
    }
    let scroll = input.visual_scroll(usize::from(area.width - 1));
    let shown: String = skip_columns(input.value(), scroll);
    text(buf, area.x, area.y, area.width, &shown, style);
    if focused {
        let x = area.x + (input.visual_cursor().saturating_sub(scroll)) as u16;
        if x < area.right() && inside(buf, x, area.y) {
            buf[(x, area.y)].set_style(style.add_modifier(Modifier::REVERSED));
        }
    }
}

fn skip_columns(value: &str, columns: usize) -> String {
    let mut used = 0;
    value
        .chars()
        .skip_while(|c| {
            let skip = used < columns;
            used += width(c.encode_utf8(&mut [0; 4]));
            skip
        })
        .collect()
}

/// A bar of `share` of the columns, in eighths where the glyphs allow it.
pub fn bar(theme: &Theme, share: f32, columns: usize) -> String {
    let eighths = (share.clamp(0.0, 1.0) * columns as f32 * 8.0).round() as usize;
    if theme.ascii {
        return "#".repeat((eighths + 4) / 8);
    }
    let mut out = "█".repeat(eighths / 8);
    out.push_str(["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8]);
    out
}

fn inside(buf: &Buffer, x: u16, y: u16) -> bool {
    x >= buf.area.left() && x < buf.area.right() && y >= buf.area.top() && y < buf.area.bottom()
}
