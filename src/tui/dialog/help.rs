//! Every key, from the same table the keys come from; and the log of messages.

use ratatui::{buffer::Buffer, layout::Rect};

use crate::tui::{
    effect::Effect,
    keymap::{Binding, Context, SECTIONS},
    model::Model,
    msg::Action,
    network,
    notice::Severity,
    screen::{Screen, units_view},
    text,
    theme::Role,
    view::draw,
    widget::table_state::Go,
};

/// What is listed, and how far it is scrolled.
#[derive(Debug, Clone)]
pub struct State {
    messages: bool,
    nearest: Vec<Context>,
    scroll: usize,
}

impl State {
    /// The keys; those of the open screen first.
    pub fn keys(model: &Model) -> Self {
        Self { messages: false, nearest: model.contexts(), scroll: 0 }
    }

    /// The messages.
    pub fn messages() -> Self {
        Self { messages: true, nearest: Vec::new(), scroll: 0 }
    }
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// Scroll.
    Go(Go),
    /// Close.
    Close,
}

const fn key(action: Msg, name: &'static str, help: &'static str, hint: &'static str, keys: &'static str) -> Binding {
    Binding { action: Action::Help(action), name, help, hint, keys }
}

/// Keys.
pub const KEYS: &[Binding] = &[
    key(Msg::Go(Go::Rows(-1)), "scroll-up", "Scrolls up.", "scroll", "<up> k"),
    key(Msg::Go(Go::Rows(1)), "scroll-down", "Scrolls down.", "scroll", "<down> j"),
    key(Msg::Go(Go::Pages(-1)), "scroll-page-up", "Scrolls a page up.", "", "<pgup>"),
    key(Msg::Go(Go::Pages(1)), "scroll-page-down", "Scrolls a page down.", "", "<pgdn> <space>"),
    key(Msg::Close, "close-help", "Closes this.", "close", "<esc> q ? <enter>"),
];

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    let Msg::Go(to) = msg else {
        model.dialogs.pop();
        return Vec::new();
    };
    let rows = usize::from(model.size.1);
    let width = usize::from(model.size.0);
    let Some(super::Dialog::Help(state)) = model.dialogs.last() else { return Vec::new() };
    let total = lines(model, state, width.min(WIDTH as usize).saturating_sub(4)).len();
    let page = rows.saturating_sub(8).max(1);
    let Some(super::Dialog::Help(state)) = model.dialogs.last_mut() else { return Vec::new() };
    state.scroll = to.to(state.scroll, total.saturating_sub(page) + 1, page);
    Vec::new()
}

const WIDTH: u16 = 96;

type Line = Vec<(String, Role)>;

/// Every line of the dialog, for a width.
pub fn lines(model: &Model, state: &State, width: usize) -> Vec<Line> {
    if state.messages { message_lines(model, width) } else { key_lines(model, state, width) }
}

fn key_lines(model: &Model, state: &State, width: usize) -> Vec<Line> {
    let rank = |c: Context| state.nearest.iter().position(|n| *n == c).unwrap_or(usize::MAX);
    let mut sections: Vec<_> = SECTIONS.iter().collect();
    sections.sort_by_key(|s| rank(s.context));
    let shown = |context, action| {
        let keys = model.keymap.keys_of(context, action);
        keys.iter().map(|k| k.show(model.theme.ascii)).collect::<Vec<_>>().join("  ")
    };
    let widest = SECTIONS.iter().flat_map(|s| s.bindings.iter().map(|b| text::width(&shown(s.context, b.action)))).max().unwrap_or(0);
    let column = widest.min(width / 3);
    let mut out: Vec<Line> = Vec::new();
    if let Some(text) = about_names(model) {
        out.push(vec![("Names of units".to_owned(), Role::Title)]);
        out.extend(text::wrap(&text, width.saturating_sub(1)).into_iter().map(|line| vec![(format!(" {line}"), Role::Text)]));
    }
    for section in sections {
        if !out.is_empty() {
            out.push(Vec::new());
        }
        out.push(vec![(section.title.to_owned(), Role::Title)]);
        for binding in section.bindings {
            let shown = text::pad(&shown(section.context, binding.action), column, model.theme.ellipsis());
            for (i, line) in text::wrap(binding.help, width.saturating_sub(column + 3)).into_iter().enumerate() {
                let left = if i == 0 { shown.clone() } else { " ".repeat(column) };
                out.push(vec![(format!(" {left} "), Role::Key), (line, Role::Text)]);
            }
        }
    }
    out
}

/// Where the concept names on the screen come from: there may be no room for it there.
fn about_names(model: &Model) -> Option<String> {
    let named = matches!(model.screen, Screen::Units | Screen::Insight);
    let (_, labels) = network::table(model, model.units.layer.clone()).filter(|_| named)?;
    labels.map(|l| units_view::told(l))
}

fn message_lines(model: &Model, width: usize) -> Vec<Line> {
    let mut out = Vec::new();
    for notice in model.notices.log().rev() {
        let (word, role) = severity(notice.severity);
        let head = format!(" {:>4}s {word:<8}", notice.at.as_secs());
        let indent = text::width(&head);
        for (i, line) in text::wrap(&notice.text, width.saturating_sub(indent)).into_iter().enumerate() {
            out.push(vec![(if i == 0 { head.clone() } else { " ".repeat(indent) }, role), (line, Role::Text)]);
        }
    }
    if out.is_empty() {
        out.push(vec![(" no messages so far".into(), Role::Dim)]);
    }
    out
}

/// Word and colour of a severity.
pub fn severity(severity: Severity) -> (&'static str, Role) {
    match severity {
        Severity::Info => ("note", Role::Accent),
        Severity::Warn => ("warning", Role::Warn),
        Severity::Error => ("error", Role::Error),
    }
}

/// Draws it.
pub fn view(model: &Model, state: &State, area: Rect, buf: &mut Buffer) {
    let width = area.width.min(WIDTH);
    let all = lines(model, state, usize::from(width.saturating_sub(4)));
    let title = if state.messages { "messages, newest first" } else { "keys" };
    let height = (all.len() as u16 + 4).min(area.height.saturating_sub(2)).max(6);
    let inner = super::framed(model, title, (width, height), area, buf);
    let rows = usize::from(inner.height.saturating_sub(2));
    let scroll = state.scroll.min(all.len().saturating_sub(rows));
    for (i, line) in all.iter().skip(scroll).take(rows).enumerate() {
        let mut x = inner.x;
        for (part, role) in line {
            x = draw::text(buf, x, inner.y + i as u16, inner.right().saturating_sub(x), part, model.theme.style(*role));
        }
    }
    let hints = model.keymap.hints(&[Context::Help], model.theme.ascii);
    let bottom = Rect { y: inner.bottom().saturating_sub(1), height: 1.min(inner.height), ..inner };
    draw::hints(&model.theme, &hints, bottom, buf);
    if all.len() > rows {
        let note = format!("{}-{} of {} ", scroll + 1, (scroll + rows).min(all.len()), all.len());
        draw::right(buf, bottom, &note, model.theme.style(Role::Dim));
    }
}
