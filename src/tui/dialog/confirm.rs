//! A question with yes and no.

use ratatui::{buffer::Buffer, layout::Rect};

use crate::tui::{effect::Effect, keymap::Binding, model::Model, msg::Action, text, theme::Role, view::draw};

/// A question.
#[derive(Debug, Clone)]
pub struct State {
    title: &'static str,
    text: &'static str,
}

impl State {
    /// Asked when leaving while an attack runs.
    pub fn quit() -> Self {
        Self { title: "quit", text: "An attack is still running. Stop it and leave?" }
    }
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// Do it.
    Yes,
    /// Do not.
    No,
}

/// Keys.
pub const KEYS: &[Binding] = &[
    Binding { action: Action::Confirm(Msg::Yes), name: "confirm-yes", help: "Yes.", hint: "yes", keys: "y q <enter>" },
    Binding { action: Action::Confirm(Msg::No), name: "confirm-no", help: "No.", hint: "no", keys: "n <esc>" },
];

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    model.dialogs.pop();
    match msg {
        Msg::Yes => vec![Effect::Quit],
        Msg::No => Vec::new(),
    }
}

/// Draws it.
pub fn view(model: &Model, state: &State, area: Rect, buf: &mut Buffer) {
    let columns = 50.min(area.width.saturating_sub(4));
    let lines = text::wrap(state.text, usize::from(columns));
    let inner = super::framed(model, state.title, (columns + 4, lines.len() as u16 + 4), area, buf);
    for (i, line) in lines.iter().enumerate() {
        draw::text(buf, inner.x + 1, inner.y + i as u16, inner.width.saturating_sub(2), line, model.theme.style(Role::Text));
    }
    let hints = model.keymap.hints(&[crate::tui::keymap::Context::Confirm], model.theme.ascii);
    draw::hints(
        &model.theme,
        &hints,
        Rect { x: inner.x + 1, y: inner.bottom().saturating_sub(1), width: inner.width.saturating_sub(2), height: 1 },
        buf,
    );
}
