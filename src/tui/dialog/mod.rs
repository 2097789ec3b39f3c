//! Dialogs: what can lie over a screen. The topmost gets the keys.

use ratatui::{buffer::Buffer, layout::Rect};

use super::{effect::Effect, keymap::Key, model::Model, msg::Action, update::act, view::draw, widget::table_state::Go};

pub mod confirm;
pub mod export;
pub mod files;
pub mod form;
pub mod help;
pub mod list;
pub mod log;
pub mod palette;
pub mod picker;
pub mod prompt;

/// An open dialog.
#[derive(Debug, Clone)]
pub enum Dialog {
    /// Keys or messages.
    Help(help::State),
    /// The attack form.
    Form(form::State),
    /// A pick list.
    Picker(picker::State),
    /// A question.
    Confirm(confirm::State),
    /// A line to type.
    Prompt(prompt::State),
    /// Which report to write, and where.
    Export(export::State),
    /// Every action by name.
    Palette(palette::State),
    /// Files to open.
    Files(files::State),
    /// The log.
    Log(log::State),
}

/// Draws a dialog over `area`.
pub fn view(model: &Model, dialog: &Dialog, area: Rect, buf: &mut Buffer) {
    match dialog {
        Dialog::Help(state) => help::view(model, state, area, buf),
        Dialog::Form(state) => form::view(model, state, area, buf),
        Dialog::Picker(state) => picker::view(model, state, area, buf),
        Dialog::Confirm(state) => confirm::view(model, state, area, buf),
        Dialog::Prompt(state) => prompt::view(model, state, area, buf),
        Dialog::Export(state) => export::view(model, state, area, buf),
        Dialog::Palette(state) => palette::view(model, state, area, buf),
        Dialog::Files(state) => files::view(model, state, area, buf),
        Dialog::Log(state) => log::view(model, state, area, buf),
    }
}

/// A key that is in no table goes to the topmost dialog: most take it as typed.
pub fn key(model: &mut Model, key: Key) -> Vec<Effect> {
    match model.dialogs.last_mut() {
        Some(Dialog::Form(_)) => form::key(model, key),
        Some(Dialog::Picker(_)) => picker::key_typed(model, key),
        Some(Dialog::Prompt(state)) => state.key(key),
        Some(Dialog::Export(state)) => state.key(key),
        Some(Dialog::Palette(_)) => palette::key_typed(model, key),
        Some(Dialog::Files(_)) => return files::key_typed(model, key),
        Some(Dialog::Log(state)) => state.key(key),
        Some(Dialog::Help(_) | Dialog::Confirm(_)) | None => {}
    }
    Vec::new()
}

/// The wheel over a dialog: moves or scrolls it.
pub fn wheel(model: &mut Model, by: i32) -> Vec<Effect> {
    let step = Go::Rows(by.signum());
    let action = match model.dialogs.last() {
        Some(Dialog::Picker(_)) => Action::Picker(picker::Msg::Go(step)),
        Some(Dialog::Palette(_)) => Action::Palette(palette::Msg::Go(step)),
        Some(Dialog::Files(_)) => Action::Files(files::Msg::Go(step)),
        Some(Dialog::Log(_)) => Action::Log(log::Msg::Go(step)),
        Some(Dialog::Help(_)) => Action::Help(help::Msg::Go(step)),
        Some(Dialog::Form(_)) => Action::Form(if by > 0 { form::Msg::Down } else { form::Msg::Up }),
        Some(Dialog::Export(_)) => Action::Export(if by > 0 { export::Msg::Next } else { export::Msg::Previous }),
        Some(Dialog::Confirm(_) | Dialog::Prompt(_)) | None => return Vec::new(),
    };
    act(model, action)
}

/// A click on a cell of the terminal while a dialog is open.
pub fn clicked(model: &mut Model, x: u16, y: u16) -> Vec<Effect> {
    let area = Rect { x: 0, y: 0, width: model.size.0, height: model.size.1.saturating_sub(1) };
    match model.dialogs.last() {
        Some(Dialog::Picker(_)) => picker::clicked(model, area, x, y),
        Some(Dialog::Palette(_)) => palette::clicked(model, area, x, y),
        Some(Dialog::Files(_)) => files::clicked(model, area, x, y),
        _ => Vec::new(),
    }
}

/// A cleared, framed box of at most this size in the middle of `area`; returns its inside.
pub fn framed(model: &Model, title: &str, size: (u16, u16), area: Rect, buf: &mut Buffer) -> Rect {
    let (w, h) = (size.0.min(area.width), size.1.min(area.height));
    let rect = Rect { x: area.x + (area.width - w) / 2, y: area.y + (area.height - h) / 2, width: w, height: h };
    draw::clear(rect, buf);
    draw::frame(&model.theme, rect, title, "", true, buf)
}
