//! One line to type: the name a run is saved under.

use std::path::PathBuf;

use ratatui::{buffer::Buffer, layout::Rect};
use tui_input::Input;

use super::{Dialog, list::input_request};
use crate::{
    engine::sample,
    tui::{
        effect::Effect,
        kept,
        keymap::{Binding, Context, Key},
        model::Model,
        msg::Action,
        notice::Severity,
        theme::Role,
        view::draw,
    },
};

/// The open line.
#[derive(Debug, Clone)]
pub struct State {
    input: Input,
}

impl State {
    /// Asks where to save the run; `None` when there is none.
    pub fn save(model: &Model) -> Option<Self> {
        let run = model.run.as_ref().filter(|r| r.trace.as_ref().is_some_and(|t| !t.is_empty()))?;
        let name = format!("{}-{}.pse", sample::stem(&model.image_path), run.request.attack);
        Some(Self { input: Input::new(name) })
    }

    /// A key that is not in the table.
    pub fn key(&mut self, key: Key) {
        if let Some(request) = input_request(key) {
            self.input.handle(request);
        }
    }
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// Take the line.
    Accept,
    /// Leave.
    Close,
}

/// Keys; everything else is typed.
pub const KEYS: &[Binding] = &[
    Binding { action: Action::Prompt(Msg::Accept), name: "prompt-accept", help: "Takes what is typed.", hint: "save", keys: "<enter>" },
    Binding { action: Action::Prompt(Msg::Close), name: "prompt-close", help: "Leaves without doing it.", hint: "back", keys: "<esc>" },
];

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    let Some(Dialog::Prompt(state)) = model.dialogs.pop() else { return Vec::new() };
    let typed = state.input.value().trim();
    if msg == Msg::Close || typed.is_empty() {
        return Vec::new();
    }
    save_as(model, PathBuf::from(typed))
}

/// Saves the run under this name.
pub fn save_as(model: &mut Model, mut path: PathBuf) -> Vec<Effect> {
    let (Some((meta, maps, trace)), Some(run)) = (kept::kept(model), &model.run) else { return Vec::new() };
    if path.extension().is_none() {
        path.set_extension("pse");
    }
    if !run.running() {
        model.saved = Some(run.id);
    }
    model.tell(Severity::Info, format!("writing {}", path.display()));
    vec![Effect::Keep(path, Box::new((meta, maps)), trace)]
}

/// Draws it.
pub fn view(model: &Model, state: &State, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let size = (area.width.saturating_sub(4).min(66), 7);
    let inner = super::framed(model, "save this run as", size, area, buf);
    let width = inner.width.saturating_sub(2);
    draw::input(buf, Rect { x: inner.x + 1, width, height: 1.min(inner.height), ..inner }, &state.input, theme.style(Role::Text), true);
    let note = "psescope view shows it again; export, pse and show read it";
    draw::text(buf, inner.x + 1, inner.y + 2, width, note, theme.style(Role::Dim));
    let hints = model.keymap.hints(&[Context::Prompt], theme.ascii);
    draw::hints(theme, &hints, Rect { x: inner.x + 1, y: inner.bottom().saturating_sub(1), width, height: 1 }, buf);
}
