//! A list to search in by typing: what pick lists, the palette and the file dialog share.

use nucleo_matcher::{
    Matcher, Utf32Str,
    pattern::{CaseMatching, Normalization, Pattern},
};
use ratatui::{buffer::Buffer, layout::Rect};
use tui_input::{Input, InputRequest};

use crate::tui::{
    keymap::{Context, Key},
    model::Model,
    text,
    theme::Role,
    view::draw,
    widget::table_state::Go,
};

/// One row.
#[derive(Debug, Clone)]
pub struct Item<T> {
    /// What it stands for.
    pub value: T,
    /// What is searched in.
    pub text: String,
    /// Shown at the right end.
    pub note: String,
}

/// Rows, the text typed, and the rows that match it, best first.
#[derive(Debug, Clone)]
pub struct List<T> {
    /// What is typed.
    pub query: Input,
    items: Vec<Item<T>>,
    matches: Vec<usize>,
    selected: usize,
}

/// Rows that a page key goes.
pub const PAGE: usize = 10;

impl<T> List<T> {
    /// A list with a text typed already.
    pub fn new(items: Vec<Item<T>>, query: &str) -> Self {
        let mut list = Self { query: Input::new(query.to_owned()), items, matches: Vec::new(), selected: 0 };
        list.search(query);
        list
    }

    /// Other rows; the search goes on with `query`.
    pub fn set(&mut self, items: Vec<Item<T>>, query: &str) {
        self.items = items;
        self.search(query);
    }

    /// Keeps the rows that match a text, best first; all of them, in their order, for an empty one.
    pub fn search(&mut self, query: &str) {
        self.selected = 0;
        let query = query.trim();
        if query.is_empty() {
            self.matches = (0..self.items.len()).collect();
            return;
        }
        let mut matcher = Matcher::default();
        let pattern = Pattern::parse(query, CaseMatching::Ignore, Normalization::Smart);
        let mut buffer = Vec::new();
        let mut scored: Vec<(u32, usize)> = Vec::new();
        for (i, item) in self.items.iter().enumerate() {
            if let Some(score) = pattern.score(Utf32Str::new(&item.text, &mut buffer), &mut matcher) {
                scored.push((score, i));
            }
        }
        scored.sort_by_key(|&(score, i)| (std::cmp::Reverse(score), i));
        self.matches = scored.into_iter().map(|(_, i)| i).collect();
    }

    /// A key that is in no table: typed. Says whether the text changed.
    pub fn typed(&mut self, key: Key) -> bool {
        let Some(request) = input_request(key) else { return false };
        self.query.handle(request).is_some_and(|change| change.value)
    }

    /// Moves the selection.
    pub fn go(&mut self, to: Go) {
        self.selected = to.to(self.selected, self.matches.len(), PAGE);
    }

    /// Selects the first matching row for which this holds.
    pub fn select(&mut self, wanted: impl Fn(&T) -> bool) {
        if let Some(at) = self.matches.iter().position(|&i| wanted(&self.items[i].value)) {
            self.selected = at;
        }
    }

    /// The selected row.
    pub fn chosen(&self) -> Option<&Item<T>> {
        self.matches.get(self.selected).map(|&i| &self.items[i])
    }

    /// Selects the row at this cell of the terminal, if there is one.
    pub fn click(&mut self, place: Place, x: u16, y: u16) -> bool {
        let rows = place.rows();
        if !rows.contains((x, y).into()) {
            return false;
        }
        let at = self.top(rows) + usize::from(y - rows.y);
        if at >= self.matches.len() {
            return false;
        }
        self.selected = at;
        true
    }

    fn top(&self, rows: Rect) -> usize {
        (self.selected + 1).saturating_sub(usize::from(rows.height))
    }

    /// Draws it: the text typed, one line about it, the rows, the hints.
    pub fn view(&self, model: &Model, place: Place, words: &Words, buf: &mut Buffer) {
        let theme = &model.theme;
        let inner = super::framed(model, words.title, (place.outer.width, place.outer.height), place.area, buf);
        let width = inner.width.saturating_sub(2);
        let line = Rect { height: 1.min(inner.height), ..inner };
        let count = format!("{}/{} ", self.matches.len(), self.items.len());
        let x = draw::text(buf, inner.x + 1, inner.y, width, theme.glyph("› ", "> "), theme.style(Role::Key));
        let room = inner.right().saturating_sub(x + text::width(&count) as u16);
        draw::input(buf, Rect { x, width: room, ..line }, &self.query, theme.style(Role::Text), true);
        draw::right(buf, line, &count, theme.style(Role::Dim));
        if inner.height > 1 {
            let (head, role) = &words.head;
            let cut = text::truncate(head, usize::from(width), theme.ellipsis());
            draw::text(buf, inner.x + 1, inner.y + 1, width, &cut, theme.style(*role));
        }
        let rows = place.rows();
        for (row, &index) in self.matches.iter().skip(self.top(rows)).take(usize::from(rows.height)).enumerate() {
            let item = &self.items[index];
            let chosen = self.top(rows) + row == self.selected;
            let style = theme.style(if chosen { Role::Selected } else { Role::Text });
            let note = text::truncate(&item.note, usize::from(width / 2), theme.ellipsis());
            let room = usize::from(width).saturating_sub(text::width(&note) + 3);
            let mark = if chosen { theme.glyph("▸", ">") } else { " " };
            let line = format!("{mark} {} {note}", text::pad(&item.text, room, theme.ellipsis()));
            draw::text(buf, inner.x + 1, rows.y + row as u16, width, &line, style);
        }
        if self.matches.is_empty() && rows.height > 0 {
            let cut = text::truncate(words.empty, usize::from(width.saturating_sub(2)), theme.ellipsis());
            draw::text(buf, inner.x + 3, rows.y, width.saturating_sub(2), &cut, theme.style(Role::Dim));
        }
        let hints = model.keymap.hints(&[words.context], theme.ascii);
        let bottom = Rect { x: inner.x + 1, y: inner.bottom().saturating_sub(1), width, height: 1.min(inner.height) };
        draw::hints(theme, &hints, bottom, buf);
    }
}

/// What a list says around its rows.
#[derive(Debug, Clone)]
pub struct Words<'a> {
    /// Title of the frame.
    pub title: &'a str,
    /// Line under the text typed.
    pub head: (String, Role),
    /// Said where no row matches.
    pub empty: &'a str,
    /// Where the hints come from.
    pub context: Context,
}

/// Where a list lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    area: Rect,
    outer: Rect,
}

impl Place {
    /// In the middle of a screen of this size, at most so wide.
    pub fn of(area: Rect, widest: u16) -> Self {
        let (w, h) = (area.width.saturating_sub(4).min(widest), area.height.saturating_sub(2).min(30));
        let (w, h) = (w.min(area.width), h.min(area.height));
        Self { area, outer: Rect { x: area.x + (area.width - w) / 2, y: area.y + (area.height - h) / 2, width: w, height: h } }
    }

    fn rows(&self) -> Rect {
        let o = self.outer;
        Rect { x: o.x + 1, y: o.y + 3, width: o.width.saturating_sub(2), height: o.height.saturating_sub(5) }
    }
}

/// What a key does in a line of text.
pub fn input_request(key: Key) -> Option<InputRequest> {
    use crossterm::event::{KeyCode, KeyModifiers};
    let ctrl = key.mods == KeyModifiers::CONTROL;
    Some(match key.code {
        KeyCode::Char('w') if ctrl => InputRequest::DeletePrevWord,
        KeyCode::Char('u') if ctrl => InputRequest::DeleteLine,
        KeyCode::Char('a') if ctrl => InputRequest::GoToStart,
        KeyCode::Char('e') if ctrl => InputRequest::GoToEnd,
        KeyCode::Char(c) if key.mods.is_empty() => InputRequest::InsertChar(c),
        KeyCode::Backspace => InputRequest::DeletePrevChar,
        KeyCode::Delete => InputRequest::DeleteNextChar,
        KeyCode::Left => InputRequest::GoToPrevChar,
        KeyCode::Right => InputRequest::GoToNextChar,
        KeyCode::Home => InputRequest::GoToStart,
        KeyCode::End => InputRequest::GoToEnd,
        _ => return None,
    })
}
