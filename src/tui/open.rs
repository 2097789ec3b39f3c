//! Opening models, images, runs and folders from inside.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    effect::Effect,
    model::Model,
    notice::Severity,
    screen::{Screen, triage},
};
use crate::engine::{
    browse::Kind,
    command::{Command, Target},
    event::Opened,
    recorded::Recorded,
    sample,
};

/// What a file is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// To be opened.
    #[default]
    Open,
    /// A second model for the folder.
    Compare,
}

/// A file or a folder was chosen.
pub fn chosen(model: &mut Model, purpose: Purpose, kind: Kind, path: PathBuf) -> Vec<Effect> {
    match (purpose, kind) {
        (Purpose::Open, _) => open(model, kind, path),
        (Purpose::Compare, Kind::Model) => triage::compare(model, path),
        (Purpose::Compare, _) => {
            model.tell(Severity::Error, format!("{} is no model, and only models can be compared; choose a .onnx file", path.display()));
            Vec::new()
        }
    }
}

/// Opens a file or a folder.
pub fn open(model: &mut Model, kind: Kind, path: PathBuf) -> Vec<Effect> {
    match kind {
        Kind::Model => {
            let image = if model.image_path.as_os_str().is_empty() { sample::IMAGE.into() } else { model.image_path.clone() };
            model.tell(Severity::Info, format!("opening {} on the same image", sample::title(&path)));
            vec![Effect::Engine(Command::Open { model: path, image })]
        }
        Kind::Image => image(model, path),
        Kind::Run => {
            model.tell(Severity::Info, format!("reading {}", path.display()));
            vec![Effect::Load(path)]
        }
        Kind::Folder => {
            model.screen = Screen::Triage;
            triage::restart(model, path)
        }
    }
}

fn image(model: &mut Model, path: PathBuf) -> Vec<Effect> {
    model.tell(Severity::Info, format!("opening {}", path.display()));
    match &model.replay {
        // The recorded run's model is not open yet.
        Some(replay) if !replay.open => match &replay.recorded.model {
            Ok(found) => vec![Effect::Engine(Command::Open { model: found.clone(), image: path })],
            Err(why) => {
                let why = why.clone();
                model.tell(Severity::Error, why);
                Vec::new()
            }
        },
        _ if model.opened.is_none() => vec![Effect::Engine(Command::Open { model: model.model_path.clone(), image: path })],
        _ => vec![Effect::Engine(Command::OpenImage(path))],
    }
}

/// A recorded run was read, or not.
pub fn loaded(model: &mut Model, run: Result<Arc<Recorded>, String>) -> Vec<Effect> {
    match run {
        Ok(recorded) => {
            model.screen = if model.screen == Screen::Triage { Screen::Attack } else { model.screen };
            vec![Effect::Engine(Command::View(recorded))]
        }
        Err(why) => {
            model.tell(Severity::Error, why);
            Vec::new()
        }
    }
}

/// What was typed was looked for.
pub fn found(model: &mut Model, purpose: Purpose, found: Result<(Kind, PathBuf), String>) -> Vec<Effect> {
    match found {
        Ok((kind, path)) => chosen(model, purpose, kind, path),
        Err(why) => {
            model.tell(Severity::Error, why);
            Vec::new()
        }
    }
}

/// Another model is about to be shown: the next attack must make sense on it, and the run before it can be compared.
pub fn moved_to(model: &mut Model, opened: &Opened) {
    let classes = opened.labels.len();
    let outside = |class: usize| class >= classes;
    if matches!(model.request.target, Target::Class(class) if outside(class)) {
        model.request.target = Target::Untargeted;
        model.tell(Severity::Warn, format!("the target is not among the {classes} classes of this model; the next attack has none"));
    }
    if model.request.label.is_some_and(outside) {
        model.request.label = None;
    }
    let same_image = model.image_path == opened.image_path;
    if same_image && model.model_path != opened.model && !model.earlier.is_empty() {
        let name = sample::title(&opened.model);
        model.tell(Severity::Info, format!("the same image on {name}: r runs {} again, then B shows both runs", model.request.attack));
    }
}

/// A path as people type or drop it: quotes around it and blanks behind it go.
pub fn unquoted(text: &str) -> String {
    let text = text.trim();
    let inner = |quote: char| text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote));
    inner('\'').or_else(|| inner('"')).unwrap_or(text).to_owned()
}

/// Where the file dialog begins: beside what is open, else here.
pub fn beside(model: &Model, kind: Option<Kind>) -> PathBuf {
    let path = match kind {
        Some(Kind::Model) => &model.model_path,
        Some(Kind::Run) => return model.replay.as_ref().and_then(|r| r.recorded.path.parent()).map_or_else(here, Path::to_owned),
        _ => &model.image_path,
    };
    // The bundled files lie in no folder.
    match path.parent().filter(|_| sample::bytes(path).is_none()) {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => here(),
    }
}

fn here() -> PathBuf {
    PathBuf::from(".")
}
