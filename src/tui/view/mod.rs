//! Drawing: from the model to cells. Reads the model, changes only the cache.

use ratatui::{Frame, buffer::Buffer, layout::Rect};

use super::{
    dialog, layout,
    model::Model,
    screen::{Screen, attack, cam_view, insight, layers, pixels, triage, units},
    theme::Role,
};

mod cache;
pub mod chrome;
pub mod draw;
pub mod picture;
pub mod sharp;

pub use cache::{Content, Part, ViewCache};

/// Draws everything.
pub fn view(model: &Model, cache: &mut ViewCache, frame: &mut Frame) {
    let area = frame.area();
    render(model, cache, area, frame.buffer_mut());
}

/// Draws everything into a buffer.
pub fn render(model: &Model, cache: &mut ViewCache, area: Rect, buf: &mut Buffer) {
    cache.gallery.begin(&model.graphics, model.now, !model.dialogs.is_empty() || model.flowing());
    let Some(shell) = layout::shell(area) else {
        let (w, h) = layout::MINIMUM;
        let text = format!("psescope needs {w}x{h} cells; this terminal has {}x{}", area.width, area.height);
        draw::centred(buf, area, &[(text, model.theme.style(Role::Text))]);
        return;
    };
    chrome::header(model, shell.header, buf);
    chrome::tabs(model, shell.tabs, buf);
    match (&model.opened, model.screen) {
        (None, _) => chrome::opening(model, shell.body, buf),
        (Some(opened), Screen::Attack) => attack::view(model, opened, cache, shell.body, buf),
        (Some(opened), Screen::Pixels) => pixels::view(model, opened, cache, shell.body, buf),
        (Some(_), Screen::Layers) => layers::view(model, shell.body, buf),
        (Some(opened), Screen::Units) => units::view(model, opened, cache, shell.body, buf),
        (Some(_), Screen::Insight) => insight::view(model, shell.body, buf),
        (Some(_), Screen::Triage) => triage::view(model, shell.body, buf),
        (Some(opened), Screen::Cam) => cam_view::view(model, opened, cache, shell.body, buf),
    }
    chrome::timeline(model, shell.timeline, buf);
    for dialog in &model.dialogs {
        let over = Rect { height: area.height - 1, ..area };
        dialog::view(model, dialog, over, buf);
    }
    chrome::footer(model, shell.footer, buf);
    // Before pictures of a protocol are placed: they say things by colours of their own.
    if let Some(ground) = model.theme.ground() {
        draw::ground(ground, area, buf);
    }
    cache.gallery.end(buf);
}
