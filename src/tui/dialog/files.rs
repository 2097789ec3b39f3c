//! The file dialog: models, images, runs and folders, found by typing; and what was opened lately.

use std::path::{Path, PathBuf};

use ratatui::{buffer::Buffer, layout::Rect};

use super::{
    Dialog,
    list::{Item, List, Place, Words},
};
use crate::{
    engine::{
        browse::{Entry, Kind},
        remember::Recent,
    },
    tui::{
        effect::Effect,
        keymap::{Binding, Context, Key},
        model::Model,
        msg::Action,
        open::{self, Purpose},
        text,
        theme::Role,
        widget::table_state::Go,
    },
};

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shelf {
    /// Opened lately.
    Recent,
    /// Everything that can be opened.
    All,
    /// One kind of file, and folders to go through.
    Only(Kind),
}

const SHELVES: [(Shelf, &str); 6] = [
    (Shelf::Recent, "recent"),
    (Shelf::All, "all"),
    (Shelf::Only(Kind::Image), "images"),
    (Shelf::Only(Kind::Model), "models"),
    (Shelf::Only(Kind::Run), "runs"),
    (Shelf::Only(Kind::Folder), "folders"),
];

/// What a row does.
#[derive(Debug, Clone)]
enum Value {
    /// Opens it.
    Open(Kind, PathBuf),
    /// Shows another folder.
    Enter(PathBuf),
}

/// The open dialog.
#[derive(Debug, Clone)]
pub struct State {
    purpose: Purpose,
    shelf: Shelf,
    /// Folder that is listed.
    folder: PathBuf,
    /// Folder asked for.
    asked: Option<PathBuf>,
    entries: Vec<Entry>,
    list: List<Value>,
    error: Option<String>,
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// Move the selection.
    Go(Go),
    /// Open the row, or what is typed.
    Accept,
    /// The folder above.
    Up,
    /// Next kind of files.
    Next,
    /// Previous kind of files.
    Previous,
    /// Leave.
    Close,
}

const fn key(action: Msg, name: &'static str, help: &'static str, hint: &'static str, keys: &'static str) -> Binding {
    Binding { action: Action::Files(action), name, help, hint, keys }
}

/// Keys; everything else is typed: a part of a name, or a path.
pub const KEYS: &[Binding] = &[
    key(Msg::Accept, "files-open", "Opens the row, or the path that is typed.", "open", "<enter>"),
    key(Msg::Go(Go::Rows(-1)), "files-up", "One row up.", "move", "<up> <C-p>"),
    key(Msg::Go(Go::Rows(1)), "files-down", "One row down.", "move", "<down> <C-n>"),
    key(Msg::Next, "files-next-kind", "Next kind: recent, all, images, models, runs, folders.", "kind", "<tab>"),
    key(Msg::Previous, "files-previous-kind", "Previous kind.", "", "<backtab>"),
    key(Msg::Up, "files-parent", "The folder above.", "up", "<C-o> <A-up>"),
    key(Msg::Go(Go::Pages(-1)), "files-page-up", "Ten rows up.", "", "<pgup>"),
    key(Msg::Go(Go::Pages(1)), "files-page-down", "Ten rows down.", "", "<pgdn>"),
    key(Msg::Close, "files-close", "Leaves without opening anything.", "back", "<esc>"),
];

/// Opens the dialog on one kind of file, or on what was opened lately.
pub fn show(model: &mut Model, kind: Option<Kind>) -> Vec<Effect> {
    show_for(model, kind, Purpose::Open)
}

/// [`show`], with something else in mind than opening the file.
pub fn show_for(model: &mut Model, kind: Option<Kind>, purpose: Purpose) -> Vec<Effect> {
    let shelf = match kind {
        Some(kind) => Shelf::Only(kind),
        None if model.recent.is_empty() => Shelf::All,
        None => Shelf::Recent,
    };
    let folder = open::beside(model, kind);
    let state = State {
        purpose,
        shelf,
        folder: folder.clone(),
        asked: Some(folder.clone()),
        entries: Vec::new(),
        list: List::new(Vec::new(), ""),
        error: None,
    };
    model.dialogs.push(Dialog::Files(state));
    fill(model);
    vec![Effect::List(folder)]
}

fn open_state(model: &mut Model) -> Option<&mut State> {
    match model.dialogs.last_mut() {
        Some(Dialog::Files(state)) => Some(state),
        _ => None,
    }
}

/// A name without what a terminal could take for orders.
fn clean(path: &Path) -> String {
    path.display().to_string().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn recent_item(recent: &Recent) -> Item<Value> {
    let name = recent.path.file_name().map_or_else(|| clean(&recent.path), |n| clean(Path::new(n)));
    let folder = recent.path.parent().map(clean).unwrap_or_default();
    let slash = if recent.kind == Kind::Folder { "/" } else { "" };
    Item {
        value: Value::Open(recent.kind, recent.path.clone()),
        text: format!("{name}{slash}  {folder}"),
        note: recent.kind.word().to_owned(),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

fn items(state: &State, recent: &[Recent], hidden: bool) -> Vec<Item<Value>> {
    if state.shelf == Shelf::Recent {
        return recent.iter().map(recent_item).collect();
    }
    let wanted = |kind: Kind| kind == Kind::Folder || state.shelf == Shelf::All || state.shelf == Shelf::Only(kind);
    let mut rows = Vec::new();
    if matches!(state.shelf, Shelf::All | Shelf::Only(Kind::Folder)) && state.asked.is_none() {
        let images = state.entries.iter().filter(|e| e.kind == Kind::Image).count();
        rows.push(Item {
            value: Value::Open(Kind::Folder, state.folder.clone()),
            text: "./  work through this folder".into(),
            note: if images == 0 { "triage".into() } else { format!("triage, {images} images here") },
        });
    }
    if let Some(parent) = state.folder.parent() {
        rows.push(Item { value: Value::Enter(parent.to_owned()), text: "../".into(), note: "folder above".into() });
    }
    rows.extend(state.entries.iter().filter(|e| wanted(e.kind) && (hidden || !e.hidden)).map(|e| match e.kind {
        Kind::Folder => Item { value: Value::Enter(e.path.clone()), text: format!("{}/", e.name), note: "folder".into() },
        kind => Item { value: Value::Open(kind, e.path.clone()), text: e.name.clone(), note: format!("{} {}", kind.word(), size(e.size)) },
    }));
    rows
}

/// Lists anew what the shelf and the text typed ask for. A text that begins with a dot shows hidden files.
fn fill(model: &mut Model) {
    let recent = model.recent.clone();
    let Some(state) = open_state(model) else { return };
    let query = state.list.query.value().trim().to_owned();
    let rows = items(state, &recent, query.starts_with('.'));
    state.list.set(rows, if query.contains('/') { "" } else { &query });
    if query.is_empty() && state.shelf != Shelf::Recent && state.shelf != Shelf::Only(Kind::Folder) {
        // What one came for, not the way out.
        state.list.select(|v| matches!(v, Value::Open(kind, _) if *kind != Kind::Folder));
    }
}

/// A key that is in no table: typed. A path ends with `/` where its folder is to be shown.
pub fn key_typed(model: &mut Model, key: Key) -> Vec<Effect> {
    let above = matches!(key.code, crossterm::event::KeyCode::Backspace);
    let Some(state) = open_state(model) else { return Vec::new() };
    if above && state.list.query.value().is_empty() {
        return parent(model);
    }
    if !state.list.typed(key) {
        return Vec::new();
    }
    state.error = None;
    let typed = state.list.query.value().to_owned();
    if let Some(start) = typed.strip_suffix('/').filter(|_| key.typed() == Some('/')) {
        let path = if start.is_empty() { PathBuf::from("/") } else { state.folder.join(start) };
        let path = if start.starts_with('~') { PathBuf::from(start) } else { path };
        state.asked = Some(path.clone());
        return vec![Effect::List(path)];
    }
    fill(model);
    Vec::new()
}

/// Text that was pasted or dropped: a path, most likely.
pub fn pasted(model: &mut Model, text: &str) {
    let Some(state) = open_state(model) else { return };
    let line = format!("{}{}", state.list.query.value(), text.chars().filter(|c| !c.is_control()).collect::<String>());
    state.list.query = tui_input::Input::new(line);
    state.error = None;
    fill(model);
}

fn parent(model: &mut Model) -> Vec<Effect> {
    let Some(state) = open_state(model) else { return Vec::new() };
    match state.folder.parent().map(Path::to_owned) {
        Some(parent) => enter(model, parent),
        None => Vec::new(),
    }
}

fn enter(model: &mut Model, folder: PathBuf) -> Vec<Effect> {
    let Some(state) = open_state(model) else { return Vec::new() };
    state.asked = Some(folder.clone());
    state.error = None;
    if state.shelf == Shelf::Recent {
        state.shelf = Shelf::All;
    }
    vec![Effect::List(folder)]
}

/// A folder was read, or not.
pub fn listed(model: &mut Model, asked: &Path, found: Result<(PathBuf, Vec<Entry>), String>) {
    let Some(state) = model.dialogs.iter_mut().rev().find_map(|d| if let Dialog::Files(s) = d { Some(s) } else { None }) else { return };
    if state.asked.as_deref() != Some(asked) {
        return;
    }
    state.asked = None;
    match found {
        Ok((folder, entries)) => {
            (state.folder, state.entries) = (folder, entries);
            // What was typed after the folder meanwhile stays; what led to it goes.
            let rest = state.list.query.value().rsplit_once('/').map_or("", |(_, rest)| rest).to_owned();
            state.list.query = tui_input::Input::new(rest);
            if state.shelf != Shelf::Recent {
                state.error = None;
            }
        }
        Err(why) => state.error = Some(why),
    }
    fill(model);
}

fn turn(model: &mut Model, by: usize) {
    if let Some(state) = open_state(model) {
        let at = SHELVES.iter().position(|s| s.0 == state.shelf).unwrap_or(0);
        state.shelf = SHELVES[(at + by) % SHELVES.len()].0;
    }
    fill(model);
}

/// A click on a row selects it; on the selected row, opens it.
pub fn clicked(model: &mut Model, area: Rect, x: u16, y: u16) -> Vec<Effect> {
    let Some(state) = open_state(model) else { return Vec::new() };
    let before = state.list.chosen().map(|i| i.text.clone());
    if state.list.click(place(area), x, y) && state.list.chosen().map(|i| &i.text) == before.as_ref() {
        return update(model, Msg::Accept);
    }
    Vec::new()
}

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    let Some(state) = open_state(model) else { return Vec::new() };
    match msg {
        Msg::Go(to) => state.list.go(to),
        Msg::Next => turn(model, 1),
        Msg::Previous => turn(model, SHELVES.len() - 1),
        Msg::Up => return parent(model),
        Msg::Close => {
            model.dialogs.pop();
        }
        Msg::Accept => return accept(model),
    }
    Vec::new()
}

fn accept(model: &mut Model) -> Vec<Effect> {
    let Some(state) = open_state(model) else { return Vec::new() };
    let (purpose, typed) = (state.purpose, open::unquoted(state.list.query.value()));
    let wanted = match state.shelf {
        Shelf::Only(kind) => Some(kind),
        Shelf::Recent | Shelf::All => None,
    };
    if typed.contains('/') {
        let path = if typed.starts_with('~') { typed } else { state.folder.join(&typed).display().to_string() };
        model.dialogs.pop();
        return vec![Effect::Find(path, wanted, purpose)];
    }
    match state.list.chosen().map(|i| i.value.clone()) {
        Some(Value::Enter(folder)) => enter(model, folder),
        Some(Value::Open(kind, path)) => {
            model.dialogs.pop();
            open::chosen(model, purpose, kind, path)
        }
        None => Vec::new(),
    }
}

fn place(area: Rect) -> Place {
    Place::of(area, 90)
}

/// Draws it.
pub fn view(model: &Model, state: &State, area: Rect, buf: &mut Buffer) {
    let shelves: Vec<String> =
        SHELVES.iter().map(|(shelf, name)| if *shelf == state.shelf { format!("[{name}]") } else { (*name).to_owned() }).collect();
    let verb = match state.purpose {
        Purpose::Open => "open",
        Purpose::Compare => "compare with a model",
    };
    let title = if state.shelf == Shelf::Recent { verb.to_owned() } else { format!("{verb} in {}", clean(&state.folder)) };
    let title = match text::width(&title) > 60 {
        // The end of a long path says more than its beginning.
        true => format!("{verb} in {}{}", model.theme.ellipsis(), tail(&title, 60 - text::width(verb) - 6)),
        false => title,
    };
    let head = match &state.error {
        Some(why) => (why.clone(), Role::Error),
        None => (shelves.join(" "), Role::Accent),
    };
    let empty = match state.shelf {
        _ if state.asked.is_some() => "reading the folder",
        Shelf::Recent => "nothing was opened yet; Tab shows the folder",
        _ => "nothing here matches; Backspace widens the search, ../ leads up, a path may be typed",
    };
    state.list.view(model, place(area), &Words { title: &title, head, empty, context: Context::Files }, buf);
}

fn tail(text_: &str, columns: usize) -> &str {
    let mut rest = text_;
    while text::width(rest) > columns {
        let mut chars = rest.chars();
        chars.next();
        rest = chars.as_str();
    }
    rest
}
