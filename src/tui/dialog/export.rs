//! Writing a report of the run: which kind, and where.

use std::path::PathBuf;

use ratatui::{buffer::Buffer, layout::Rect};
use tui_input::Input;

use super::{Dialog, list::input_request};
use crate::{
    engine::{command::Command, control::Control, findings::Findings, sample},
    report::{Format, REGISTRY},
    tui::{
        effect::Effect,
        kept,
        keymap::{Binding, Context, Key},
        model::Model,
        msg::Action,
        notice::Severity,
        text,
        theme::Role,
        view::{chrome::busy_line, draw},
    },
};

/// The open dialog.
#[derive(Debug, Clone)]
pub struct State {
    format: usize,
    stem: String,
    input: Input,
    error: Option<String>,
    /// What is being computed or written.
    working: Option<Control>,
}

impl State {
    /// Asks which report to write; `None` when there is no run.
    pub fn new(model: &Model) -> Option<Self> {
        let run = model.run.as_ref().filter(|r| r.trace.as_ref().is_some_and(|t| !t.is_empty()))?;
        let step = model.frame().map_or(0, |f| f.index);
        let stem = format!("{}-{}-step{step}", sample::stem(&model.image_path), run.request.attack);
        let mut state = Self { format: 0, stem, input: Input::default(), error: None, working: None };
        state.rename();
        Some(state)
    }

    /// Chooses the kind of report by its name, and the file, unless its name is empty.
    pub fn choose(&mut self, kind: &str, file: &str) -> Result<(), String> {
        let known: Vec<&str> = REGISTRY.iter().map(|f| f.name).collect();
        self.format = known.iter().position(|name| *name == kind).ok_or_else(|| text::unknown("report", kind, &known))?;
        self.rename();
        if !file.is_empty() {
            self.input = Input::new(file.to_owned());
        }
        Ok(())
    }

    fn format(&self) -> &'static Format {
        &REGISTRY[self.format % REGISTRY.len()]
    }

    /// The name follows the kind as long as it is the one proposed.
    fn rename(&mut self) {
        let typed = self.input.value().trim();
        let proposed = REGISTRY.iter().any(|f| typed == format!("{}.{}", self.stem, f.ending));
        if typed.is_empty() || proposed {
            self.input = Input::new(format!("{}.{}", self.stem, self.format().ending));
        } else {
            let path = PathBuf::from(typed).with_extension(self.format().ending);
            self.input = Input::new(path.display().to_string());
        }
    }

    /// A key that is not in the table.
    pub fn key(&mut self, key: Key) {
        if self.working.is_none()
            && let Some(request) = input_request(key)
        {
            self.input.handle(request);
            self.error = None;
        }
    }
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// Previous kind.
    Previous,
    /// Next kind.
    Next,
    /// Write it.
    Accept,
    /// Stop, or leave.
    Close,
}

const fn key_(action: Msg, name: &'static str, help: &'static str, hint: &'static str, keys: &'static str) -> Binding {
    Binding { action: Action::Export(action), name, help, hint, keys }
}

/// Keys; everything else is typed into the name.
pub const KEYS: &[Binding] = &[
    key_(Msg::Previous, "export-previous", "Previous kind of report.", "kind", "<up> <backtab>"),
    key_(Msg::Next, "export-next", "Next kind of report.", "kind", "<down> <tab>"),
    key_(Msg::Accept, "export-write", "Computes what the report lacks, and writes it.", "write", "<enter>"),
    key_(Msg::Close, "export-close", "Stops computing; leaves without writing.", "back", "<esc>"),
];

fn open(model: &mut Model) -> Option<&mut State> {
    model.dialogs.iter_mut().rev().find_map(|d| match d {
        Dialog::Export(state) => Some(state),
        _ => None,
    })
}

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    let Some(state) = open(model) else { return Vec::new() };
    let count = REGISTRY.len();
    match (msg, &state.working) {
        (Msg::Close, Some(control)) => {
            let stop = Effect::Stop(control.clone());
            state.working = None;
            state.error = Some("stopped; nothing was written".into());
            return vec![stop];
        }
        (Msg::Close, None) => {
            model.dialogs.pop();
        }
        (_, Some(_)) => {}
        (Msg::Previous, None) => {
            state.format = (state.format + count - 1) % count;
            state.rename();
        }
        (Msg::Next, None) => {
            state.format = (state.format + 1) % count;
            state.rename();
        }
        (Msg::Accept, None) => return accept(model),
    }
    Vec::new()
}

fn accept(model: &mut Model) -> Vec<Effect> {
    let step = model.position();
    let findings = kept::kept(model)
        .ok_or_else(|| "there is no run any more".to_owned())
        .and_then(|(meta, maps, trace)| Findings::new(meta, trace, maps, step).map_err(|e| e.to_string()));
    let Some(state) = open(model) else { return Vec::new() };
    if state.input.value().trim().is_empty() {
        state.error = Some("type a name for the file".into());
        return Vec::new();
    }
    match findings {
        Err(why) => {
            state.error = Some(why);
            Vec::new()
        }
        Ok(findings) => {
            let control = Control::default();
            state.error = None;
            state.working = Some(control.clone());
            let findings = Box::new(findings);
            if state.format().maps { vec![Effect::Engine(Command::Complete { findings, control })] } else { write(model, findings) }
        }
    }
}

fn write(model: &mut Model, findings: Box<Findings>) -> Vec<Effect> {
    let Some(state) = open(model).filter(|s| s.working.is_some()) else { return Vec::new() };
    let mut path = PathBuf::from(state.input.value().trim());
    if path.extension().is_none() {
        path.set_extension(state.format().ending);
    }
    vec![Effect::Report(state.format(), path, findings)]
}

/// What the report lacked was computed, as far as possible.
pub fn completed(model: &mut Model, findings: Box<Findings>) -> Vec<Effect> {
    write(model, findings)
}

/// The worker could not do something: if it was the report, that is said in the dialog.
pub fn failed(model: &mut Model, why: &str) {
    if let Some(state) = open(model).filter(|s| s.working.is_some()) {
        state.working = None;
        state.error = Some(why.to_owned());
    }
}

/// The report was written, or not.
pub fn reported(model: &mut Model, done: Result<String, String>) {
    match done {
        Ok(text) => {
            model.dialogs.retain(|d| !matches!(d, Dialog::Export(_)));
            model.tell(Severity::Info, text);
        }
        Err(why) => {
            failed(model, &why);
            model.tell(Severity::Error, why);
        }
    }
}

/// Draws it.
pub fn view(model: &Model, state: &State, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let columns = area.width.saturating_sub(4).min(74);
    let rows = REGISTRY.len() as u16;
    let inner = super::framed(model, "write a report", (columns, rows + 9), area, buf);
    let width = inner.width.saturating_sub(2);
    let x = inner.x + 1;
    for (i, format) in REGISTRY.iter().enumerate() {
        let chosen = i == state.format;
        let style = theme.style(if chosen { Role::Focus } else { Role::Text });
        let y = inner.y + i as u16;
        if y < inner.bottom() {
            let mark = if chosen { theme.glyph("▸", ">") } else { " " };
            draw::text(buf, x, y, width, &format!("{mark} {:<5}", format.name), style);
            let room = width.saturating_sub(9);
            draw::text(buf, x + 9, y, room, &text::truncate(format.help, usize::from(room), theme.ellipsis()), theme.style(Role::Dim));
        }
    }
    let y = inner.y + rows + 1;
    draw::text(buf, x, y, width, "file", theme.style(Role::Dim));
    let line = Rect { x: x + 6, y, width: width.saturating_sub(6), height: 1 };
    if y < inner.bottom() {
        draw::input(buf, line, &state.input, theme.style(Role::Text), state.working.is_none());
    }
    let (note, role) = note(model, state);
    for (i, part) in text::wrap(&note, usize::from(width)).iter().enumerate().take(3) {
        let y = y + 2 + i as u16;
        if y + 1 < inner.bottom() {
            draw::text(buf, x, y, width, part, theme.style(role));
        }
    }
    let hints = model.keymap.hints(&[Context::Export], theme.ascii);
    draw::hints(theme, &hints, Rect { x, y: inner.bottom().saturating_sub(1), width, height: 1 }, buf);
}

fn note(model: &Model, state: &State) -> (String, Role) {
    if state.working.is_some() {
        let what = model.busy.as_ref().map_or_else(|| "writing".to_owned(), |b| busy_line(b, model.now));
        return (format!("{what} (Esc stops)"), Role::Accent);
    }
    if let Some(error) = &state.error {
        return (error.clone(), Role::Error);
    }
    if !state.format().maps {
        return (String::new(), Role::Dim);
    }
    match model.without_model() {
        Some(why) => (format!("Only with what was recorded: {why}."), Role::Warn),
        None => ("Maps that are not there yet are computed first.".into(), Role::Dim),
    }
}
