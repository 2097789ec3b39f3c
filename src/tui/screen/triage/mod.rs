//! Screen T: the images of a folder, predicted and attacked in the background; which of them deserve a look.

mod columns;
mod enter;
mod state;
mod thumbs;
mod view;
mod words;

pub use enter::{back, kept};
pub use state::{Show, Sort, State, arrived, export, follow, key, pictured};
pub use view::{clicked, view};

use std::path::PathBuf;

use crate::{
    engine::{browse::Kind, remember::Recent, sample},
    report::triage_settings::COMMAND,
    tui::{
        copy,
        dialog::files,
        effect::Effect,
        keymap::Binding,
        model::Model,
        msg::Action,
        notice::Severity,
        open::Purpose,
        screen::Screen,
        widget::table_state::{Cycle, Go},
    },
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
    /// Rows with pictures, or of one line.
    Tall,
    /// Pause or go on.
    Pause,
    /// Work through the folder with the attack chosen last.
    Again,
    /// Work through the folder of the open image.
    Here,
    /// Choose a second model to compare with.
    Compare,
    /// End the comparison.
    Alone,
    /// Write the rows.
    Export,
}

const fn key_of(action: Msg, name: &'static str, help: &'static str, hint: &'static str, keys: &'static str) -> Binding {
    Binding { action: Action::Triage(action), name, help, hint, keys }
}

/// Keys.
pub const KEYS: &[Binding] = &[
    key_of(
        Msg::Open,
        "triage-open",
        "Opens the inspector on this image with its run; attacks it again where none was kept.",
        "inspect",
        "<enter>",
    ),
    key_of(Msg::Go(Go::Rows(1)), "triage-down", "Next image.", "image", "j <down>"),
    key_of(Msg::Go(Go::Rows(-1)), "triage-up", "Previous image.", "image", "k <up>"),
    key_of(Msg::Go(Go::Pages(1)), "triage-page-down", "A screenful down.", "", "<pgdn> <C-d>"),
    key_of(Msg::Go(Go::Pages(-1)), "triage-page-up", "A screenful up.", "", "<pgup> <C-u>"),
    key_of(Msg::Go(Go::First), "triage-first", "First image.", "", "g <home>"),
    key_of(Msg::Go(Go::Last), "triage-last", "Last image.", "", "G <end>"),
    key_of(
        Msg::Sort,
        "triage-sort",
        "Sorts by the next column: weakness, listing, name, confidence, flip, L2, IS lift; with two models also disagreement.",
        "sort",
        "s",
    ),
    key_of(Msg::Reverse, "triage-reverse", "Turns the order round.", "", "o"),
    key_of(Msg::Filter, "triage-filter", "Shows images whose path, classes or turning point contain a text.", "filter", "/"),
    key_of(
        Msg::Show,
        "triage-show",
        "Shows all, reached, held, marked, or failed images; with two models also those on which they differ, and those whose images fool both.",
        "show",
        "v",
    ),
    key_of(Msg::Mark, "triage-mark", "Marks the image, or takes the mark away.", "mark", "m"),
    key_of(
        Msg::Tall,
        "triage-rows",
        "Shows a small picture and more about every image in its row, or one line each; from 120x40 on the pictures come by themselves.",
        "rows",
        "z",
    ),
    key_of(Msg::Pause, "triage-pause", "Pauses the work, or goes on.", "pause", "<space>"),
    key_of(
        Msg::Compare,
        "triage-compare",
        "Compares with a second model: the same attack on both, and the images made for the first tried on the second.",
        "compare",
        "c",
    ),
    key_of(Msg::Alone, "triage-alone", "Ends the comparison with a second model.", "", "C"),
    key_of(Msg::Export, "triage-export", "Writes all rows as Parquet and CSV beside you.", "export", "e"),
    key_of(Msg::Here, "triage-here", "Works through the folder of the open image; chooses a folder when the image lies in none.", "", "f"),
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
        Msg::Sort => model.triage.sort = offered(model.triage.sort, |s| model.triage.rival.is_some() || s != Sort::Disagreement),
        Msg::Reverse => model.triage.reversed = !model.triage.reversed,
        Msg::Show => model.triage.show = offered(model.triage.show, |s| model.triage.rival.is_some() || !s.of_two()),
        Msg::Mark => model.triage.mark(),
        Msg::Tall => {
            if !view::has_room(model) {
                model.tell(Severity::Info, "rows with pictures need a larger terminal");
            } else {
                model.triage.tall = Some(!view::is_tall(model));
            }
        }
        Msg::Open => return enter::open(model),
        Msg::Pause => return pause(model),
        Msg::Again => return again(model),
        Msg::Here => return here(model),
        Msg::Compare => return files::show_for(model, Some(Kind::Model), Purpose::Compare),
        Msg::Alone => return alone(model),
        Msg::Export => return export_all(model),
    }
    Vec::new()
}

fn pause(model: &mut Model) -> Vec<Effect> {
    let Some(control) = model.triage.control.clone().filter(|_| model.triage.running()) else { return Vec::new() };
    model.triage.paused = !model.triage.paused;
    vec![Effect::Pause(control, model.triage.paused)]
}

/// The next choice that makes sense.
fn offered<C: Cycle>(now: C, fits: impl Fn(C) -> bool) -> C {
    std::iter::successors(Some(now.next()), |c| Some(c.next())).take(C::ALL.len()).find(|c| fits(*c)).unwrap_or(now)
}

fn again(model: &mut Model) -> Vec<Effect> {
    match model.triage.folder.clone() {
        Some(folder) => anew(model, folder),
        None => here(model),
    }
}

fn here(model: &mut Model) -> Vec<Effect> {
    match folder_of_image(model) {
        Some(folder) => anew(model, folder),
        None => {
            model.tell(Severity::Info, "this image lies in no folder: choose one");
            files::show(model, Some(Kind::Folder))
        }
    }
}

/// The folder of the open image; the bundled one lies in none.
fn folder_of_image(model: &Model) -> Option<PathBuf> {
    let path = &model.image_path;
    if sample::bytes(path).is_some() {
        return None;
    }
    let folder = path.parent()?;
    Some(if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() })
}

/// Works through a folder, unless exactly that is being done.
fn anew(model: &mut Model, folder: PathBuf) -> Vec<Effect> {
    let state = &model.triage;
    if state.running() && state.folder.as_ref() == Some(&folder) && state.request.as_ref() == Some(&state::request(model)) {
        let text = format!("{} is being worked through with {} already; a chooses another attack", folder.display(), model.request.attack);
        model.tell(Severity::Info, text);
        return Vec::new();
    }
    restart(model, folder)
}

/// Why the folder cannot be worked through now.
fn hindrance(model: &Model) -> Option<String> {
    if let Some(why) = model.without_model() {
        return Some(why);
    }
    match &model.opened {
        None => Some(model.open_error.clone().unwrap_or_else(|| "The model is being opened.".into())),
        Some(opened) => opened.no_gradient.as_ref().map(|why| format!("This model cannot be attacked: {why}")),
    }
}

/// Works through a folder, with the second model if one was chosen; what was known of another folder is forgotten, and [`follow`] begins
/// anew.
pub fn restart(model: &mut Model, folder: PathBuf) -> Vec<Effect> {
    let old = std::mem::take(&mut model.triage);
    let same = old.folder.as_ref() == Some(&folder);
    let new = State { folder: Some(folder), rival: old.rival, number: old.number, tall: old.tall, ..State::default() };
    model.triage = match same {
        // The images are the same: how they are looked at stays.
        true => State {
            selected: old.selected,
            sort: old.sort,
            reversed: old.reversed,
            show: old.show,
            filter: old.filter,
            marks: old.marks,
            thumbs: old.thumbs,
            ..new
        },
        false => new,
    };
    old.control.map(Effect::Stop).into_iter().collect()
}

/// Works through the folder on a second model too.
pub fn compare(model: &mut Model, rival: PathBuf) -> Vec<Effect> {
    model.screen = Screen::Triage;
    let name = sample::title(&rival);
    model.triage.rival = Some(rival.clone());
    let mut effects = vec![Effect::Remember(vec![Recent { kind: Kind::Model, path: rival }])];
    match model.triage.folder.clone() {
        Some(folder) => {
            effects.extend(restart(model, folder));
            model.tell(Severity::Info, format!("comparing with {name}: s sorts by disagreement, v shows what differs, C ends it"));
        }
        None => model.tell(Severity::Info, format!("{name} will be compared with; Ctrl-O opens a folder")),
    }
    effects
}

fn alone(model: &mut Model) -> Vec<Effect> {
    if model.triage.rival.take().is_none() {
        model.tell(Severity::Info, "there is no second model: c chooses one");
        return Vec::new();
    }
    let state = &mut model.triage;
    state.sort = if state.sort == Sort::Disagreement { Sort::default() } else { state.sort };
    state.show = if state.show.of_two() { Show::All } else { state.show };
    state.folder.clone().map(|folder| restart(model, folder)).unwrap_or_default()
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
    let mut metadata = state.metadata.clone();
    metadata.insert(COMMAND.into(), copy::command(model));
    vec![Effect::Table(format!("psescope-triage-{name}").into(), rows, Box::new(metadata))]
}
