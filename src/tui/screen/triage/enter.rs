//! From the folder into the inspector: the image with the run that the triage kept of it, or attacked again.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    engine::{
        command::{Command, RunId},
        event::Opened,
        recorded::Recorded,
        triage::runs,
    },
    tui::{effect::Effect, model::Model, notice::Severity, run, screen::Screen},
};

/// The inspector on the selected image.
pub fn open(model: &mut Model) -> Vec<Effect> {
    let Some(row) = model.triage.row().cloned() else {
        model.tell(Severity::Info, "there is no image to open yet");
        return Vec::new();
    };
    let path = PathBuf::from(row.path());
    let kept = model.triage.runs.as_deref().zip(row.run.as_deref()).and_then(|(folder, name)| runs::place(folder, name));
    model.screen = Screen::Attack;
    model.triage.entered = Some(path.clone());
    let here = model.opened.as_ref().is_some_and(|o| !o.is_recorded() && o.image_path == path);
    let shown = model.replay.as_ref().filter(|r| model.run.as_ref().is_some_and(|run| run.id == r.run));
    let same = shown.is_some_and(|r| Some(&r.recorded.path) == kept.as_ref());
    if here && (same || model.running()) {
        return Vec::new();
    }
    let file = model.triage.model.clone().unwrap_or_else(|| model.model_path.clone());
    match kept {
        Some(kept) => {
            model.last_run += 1;
            model.triage.pending = Some(path.clone());
            vec![Effect::Engine(Command::OpenKept { run: RunId(model.last_run), model: file, image: path, kept })]
        }
        None => {
            let why = model.triage.unkept.clone().unwrap_or_else(|| "no run of this image was kept".into());
            model.tell(Severity::Info, format!("{why}; attacking it again"));
            again(model, &path, file)
        }
    }
}

/// Back to the folder, when the open image was chosen there.
pub fn back(model: &mut Model) {
    let here = |path: &PathBuf| model.opened.as_ref().is_some_and(|o| o.image_path == *path);
    if model.triage.entered.as_ref().is_some_and(here) {
        model.screen = Screen::Triage;
    }
}

/// The image is attacked as soon as it is open.
fn again(model: &mut Model, path: &Path, file: PathBuf) -> Vec<Effect> {
    let open = |o: &Arc<Opened>| !o.is_recorded() && o.image_path == path;
    if model.opened.as_ref().is_some_and(open) {
        return if model.run.is_some() { Vec::new() } else { attack(model) };
    }
    model.triage.attacked = Some(path.to_owned());
    let command = match model.opened.as_ref().is_some_and(|o| !o.is_recorded()) {
        true => Command::OpenImage(path.to_owned()),
        false => Command::Open { model: file, image: path.to_owned() },
    };
    vec![Effect::Engine(command)]
}

/// The image was opened; its kept run is shown, or it is attacked again.
pub fn kept(model: &mut Model, id: RunId, image: &Path, recorded: Result<Arc<Recorded>, String>) -> Vec<Effect> {
    // Something else may have been opened meanwhile.
    let wanted = model.triage.pending.as_deref() == Some(image) && model.opened.as_ref().is_some_and(|o| o.image_path == image);
    if !wanted {
        return Vec::new();
    }
    model.triage.pending = None;
    match recorded {
        Ok(recorded) => {
            crate::tui::kept::of_folder(model, id, recorded);
            model.tell(Severity::Info, "the run that the folder's row speaks of, with all its steps; Esc goes back to the folder");
            Vec::new()
        }
        Err(why) => {
            model.tell(Severity::Warn, format!("{why}; attacking it again"));
            attack(model)
        }
    }
}

/// The attack of the folder on the open image.
pub fn attack(model: &mut Model) -> Vec<Effect> {
    let request = model.triage.request.clone().unwrap_or_else(|| model.request.clone());
    run::start(model, request)
}
