//! Screen T: the images of a folder, predicted and attacked in the background; which of them deserve a look.

mod state;
mod view;

pub use state::{Show, Sort, State, arrived, export, follow, key, pictured};
pub use view::{clicked, view};

use crate::engine::command::Command;
use crate::tui::{
    effect::Effect,
    keymap::Binding,
    model::Model,
    msg::Action,
    notice::Severity,
    run,
    screen::Screen,
    widget::table_state::{Cycle as _, Go},
};

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// Another row.
    Go(Go),
    /// Open the inspector on the image and attack it.
    Open,
    /// Type a filter.
    Filter,
    /// Keep the filter.
    Accept,
    /// Forget the filter.
    Clear,
    /// Next order.
    Sort,
    /// Turn the order round.
    Reverse,
    /// Next selection of rows.
    Show,
    /// Mark the row.
    Mark,
    /// Pause or go on.
    Pause,
    /// Work through the folder with the attack chosen last.
    Again,
    /// Work through the folder of the open image.
    Here,
    /// Write the rows.
    Export,
}

const fn key_of(action: Msg, name: &'static str, help: &'static str, hint: &'static str, keys: &'static str) -> Binding {
    Binding { action: Action::Triage(action), name, help, hint, keys }
}

/// Keys.
pub const KEYS: &[Binding] = &[
    key_of(Msg::Open, "triage-open", "Opens the inspector on this image and attacks it.", "inspect", "<enter>"),
    key_of(Msg::Go(Go::Rows(1)), "triage-down", "Next image.", "image", "j <down>"),
    key_of(Msg::Go(Go::Rows(-1)), "triage-up", "Previous image.", "image", "k <up>"),
    key_of(Msg::Go(Go::Pages(1)), "triage-page-down", "A screenful down.", "", "<pgdn> <C-d>"),
    key_of(Msg::Go(Go::Pages(-1)), "triage-page-up", "A screenful up.", "", "<pgup> <C-u>"),
    key_of(Msg::Go(Go::First), "triage-first", "First image.", "", "g <home>"),
    key_of(Msg::Go(Go::Last), "triage-last", "Last image.", "", "G <end>"),
    key_of(Msg::Sort, "triage-sort", "Sorts by the next column: weakness, listing, name, confidence, flip, L2, IS lift.", "sort", "s"),
    key_of(Msg::Reverse, "triage-reverse", "Turns the order round.", "", "o"),
    key_of(Msg::Filter, "triage-filter", "Shows images whose path, classes or turning point contain a text.", "filter", "/"),
    key_of(Msg::Show, "triage-show", "Shows all, reached, held, marked, or failed images.", "show", "v"),
    key_of(Msg::Mark, "triage-mark", "Marks the image, or takes the mark away.", "mark", "m"),
    key_of(Msg::Pause, "triage-pause", "Pauses the work, or goes on.", "pause", "<space>"),
    key_of(Msg::Export, "triage-export", "Writes all rows as Parquet and CSV beside you.", "export", "e"),
    key_of(Msg::Here, "triage-here", "Works through the folder of the open image.", "", "f"),
    key_of(Msg::Again, "triage-again", "Works through the folder with the attack chosen last.", "", "A"),
    key_of(Msg::Clear, "triage-clear", "Forgets the filter.", "", "<esc>"),
];

/// Keys while a filter is typed.
pub const FILTER_KEYS: &[Binding] = &[
    key_of(Msg::Accept, "filter-accept", "Keeps the filter.", "keep", "<enter>"),
    key_of(Msg::Clear, "filter-clear", "Forgets the filter.", "forget", "<esc>"),
];

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    match msg {
        Msg::Go(to) => {
            let rows = view::rows_shown(model);
            model.triage.go(to, rows);
        }
        Msg::Filter => model.triage.typing = true,
        Msg::Accept => model.triage.typing = false,
        Msg::Clear => {
            model.triage.typing = false;
            model.triage.filter.clear();
        }
        Msg::Sort => model.triage.sort = model.triage.sort.next(),
        Msg::Reverse => model.triage.reversed = !model.triage.reversed,
        Msg::Show => model.triage.show = model.triage.show.next(),
        Msg::Mark => model.triage.mark(),
        Msg::Open => return open(model),
        Msg::Pause => return pause(model),
        Msg::Again => return again(model),
        Msg::Here => return here(model),
        Msg::Export => return export_all(model),
    }
    Vec::new()
}

/// The inspector on the selected image: its attack starts as soon as it is open.
fn open(model: &mut Model) -> Vec<Effect> {
    let Some(path) = model.triage.selected_path() else {
        model.tell(Severity::Info, "there is no image to open yet");
        return Vec::new();
    };
    let request = model.triage.request.clone().unwrap_or_else(|| model.request.clone());
    model.screen = Screen::Attack;
    if model.opened.as_ref().is_some_and(|o| o.image_path == path) {
        return if model.run.is_some() { Vec::new() } else { run::start(model, request) };
    }
    model.triage.pending = Some(path.clone());
    vec![Effect::Engine(Command::OpenImage(path))]
}

fn pause(model: &mut Model) -> Vec<Effect> {
    let Some(control) = model.triage.control.clone().filter(|_| model.triage.running()) else { return Vec::new() };
    model.triage.paused = !model.triage.paused;
    vec![Effect::Pause(control, model.triage.paused)]
}

fn again(model: &mut Model) -> Vec<Effect> {
    let Some(folder) = model.triage.folder.clone() else { return here(model) };
    restart(model, folder)
}

fn here(model: &mut Model) -> Vec<Effect> {
    match model.image_path.parent().filter(|p| p.is_dir()).map(ToOwned::to_owned) {
        Some(folder) => restart(model, folder),
        None => {
            model.tell(Severity::Info, "this image lies in no folder: Ctrl-O opens one");
            Vec::new()
        }
    }
}

/// Works through a folder; what was known of another is forgotten, and [`follow`] begins anew.
pub fn restart(model: &mut Model, folder: std::path::PathBuf) -> Vec<Effect> {
    let stop = model.triage.control.take().map(Effect::Stop);
    model.triage = State { folder: Some(folder), number: model.triage.number, ..State::default() };
    stop.into_iter().collect()
}

fn export_all(model: &mut Model) -> Vec<Effect> {
    let state = &model.triage;
    if state.rows.is_empty() {
        model.tell(Severity::Info, "there are no rows to write yet");
        return Vec::new();
    }
    let name = state.folder.as_deref().and_then(|f| f.file_name()).map_or_else(|| "folder".into(), |n| n.to_string_lossy().into_owned());
    let mut rows = state.rows.clone();
    rows.sort_by_key(|r| r.index);
    vec![Effect::Table(format!("psescope-triage-{name}").into(), rows, Box::new(state.metadata.clone()))]
}
