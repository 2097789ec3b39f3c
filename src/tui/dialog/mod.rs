//! Dialogs: what can lie over a screen. The topmost gets the keys.

use ratatui::{buffer::Buffer, layout::Rect};

use super::{model::Model, view::draw};

pub mod confirm;
pub mod export;
pub mod form;
pub mod help;
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
    }
}

/// A cleared, framed box of at most this size in the middle of `area`; returns its inside.
pub fn framed(model: &Model, title: &str, size: (u16, u16), area: Rect, buf: &mut Buffer) -> Rect {
    let (w, h) = (size.0.min(area.width), size.1.min(area.height));
    let rect = Rect { x: area.x + (area.width - w) / 2, y: area.y + (area.height - h) / 2, width: w, height: h };
    draw::clear(rect, buf);
    draw::frame(&model.theme, rect, title, "", true, buf)
}
