//! Actions of the program as a whole: screens, help, leaving.

use super::{
    dialog::{Dialog, confirm, export, help, prompt},
    effect::Effect,
    keymap::Binding,
    model::Model,
    msg::Action,
    notice::Severity,
    screen::Screen,
    text,
};
use crate::engine::{command::Command, sample};

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// To a screen.
    Show(Screen),
    /// Help.
    Help,
    /// All messages.
    Messages,
    /// Look for ONNX Runtime again.
    Rescan,
    /// Copy a summary of the step.
    Copy,
    /// Save the adversarial image of the step.
    Save,
    /// Save the run.
    Keep,
    /// Write a report.
    Export,
    /// Open the model of the recorded run.
    Revive,
    /// Leave; asks while an attack runs.
    Quit,
    /// Leave at once.
    QuitNow,
    /// To the background.
    Suspend,
    /// Draw again.
    Redraw,
    /// Another way to show pictures.
    Graphics,
}

const fn key(action: Msg, name: &'static str, help: &'static str, hint: &'static str, keys: &'static str) -> Binding {
    Binding { action: Action::App(action), name, help, hint, keys }
}

/// Keys on every screen.
pub const KEYS: &[Binding] = &[
    key(Msg::Show(Screen::Attack), "screen-attack", "Shows the attack screen.", "", "1"),
    key(Msg::Show(Screen::Pixels), "screen-pixels", "Shows the pixels screen.", "", "2"),
    key(Msg::Show(Screen::Cam), "screen-cam", "Shows the CAM screen.", "", "3"),
    key(Msg::Show(Screen::Layers), "screen-layers", "Shows the layers screen.", "", "4"),
    key(Msg::Show(Screen::Units), "screen-units", "Shows the units screen.", "", "5"),
    key(Msg::Show(Screen::Insight), "screen-insight", "Shows the insight screen: what is known, in sentences.", "", "6"),
    key(Msg::Show(Screen::Triage), "screen-triage", "Shows the triage screen: the images of a folder.", "", "T"),
    key(Msg::Save, "save-image", "Writes the adversarial image of this step beside you, as a NumPy array.", "", "w"),
    key(Msg::Keep, "save-run", "Saves the run with all its steps under a name.", "", "S"),
    key(Msg::Export, "export", "Writes a report of the run: page, figure, arrays, numbers.", "export", "e"),
    key(Msg::Revive, "open-model", "Opens the model of a recorded run, so that everything works on it.", "open model", "O"),
    key(Msg::Copy, "copy-summary", "Copies one line about this step to the clipboard.", "", "y"),
    key(Msg::Messages, "messages", "Lists all messages so far.", "", "M"),
    key(Msg::Rescan, "rescan-runtime", "Looks for ONNX Runtime again, keeping everything recorded.", "", "R"),
    key(Msg::Help, "help", "Shows every key.", "help", "? <F1>"),
    key(Msg::Quit, "quit", "Leaves; asks once while an attack is running.", "quit", "q"),
];

/// Keys that work even in dialogs.
pub const ALWAYS: &[Binding] = &[
    key(Msg::QuitNow, "quit-now", "Leaves at once.", "", "<C-c>"),
    key(Msg::Suspend, "suspend", "Puts the program into the background; fg brings it back.", "", "<C-z>"),
    key(Msg::Redraw, "redraw", "Draws everything again.", "", "<C-l>"),
    key(Msg::Graphics, "graphics", "Shows pictures at rest by the next graphics protocol of the terminal, or as half blocks.", "", "<C-g>"),
];

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    match msg {
        Msg::Show(screen) => {
            model.screen = screen;
            model.learned.insert("screens");
            Vec::new()
        }
        Msg::Help => {
            model.learned.insert("help");
            model.dialogs.push(Dialog::Help(help::State::keys(model)));
            Vec::new()
        }
        Msg::Messages => {
            model.dialogs.push(Dialog::Help(help::State::messages()));
            Vec::new()
        }
        Msg::Rescan => {
            model.tell(Severity::Info, "looking for ONNX Runtime");
            vec![Effect::Engine(Command::RescanRuntime)]
        }
        Msg::Copy => copy(model),
        Msg::Save => save(model),
        Msg::Keep => {
            match prompt::State::save(model) {
                Some(state) => model.dialogs.push(Dialog::Prompt(state)),
                None => model.tell(Severity::Info, "there is no run to save yet: a starts an attack"),
            }
            Vec::new()
        }
        Msg::Export => {
            match export::State::new(model) {
                Some(state) => model.dialogs.push(Dialog::Export(state)),
                None => model.tell(Severity::Info, "there is no run to report yet: a starts an attack"),
            }
            Vec::new()
        }
        Msg::Revive => revive(model),
        Msg::Quit if model.running() => {
            model.dialogs.push(Dialog::Confirm(confirm::State::quit()));
            Vec::new()
        }
        Msg::Quit | Msg::QuitNow => vec![Effect::Quit],
        Msg::Suspend => vec![Effect::Suspend],
        Msg::Redraw => vec![Effect::Redraw],
        Msg::Graphics => {
            let told = model.graphics.cycle();
            model.tell(Severity::Info, told);
            Vec::new()
        }
    }
}

fn revive(model: &mut Model) -> Vec<Effect> {
    let told = match &model.replay {
        None => "this is no recorded run: its model is open".to_owned(),
        Some(replay) if replay.open => "the model of the recorded run is open already".to_owned(),
        Some(replay) => match &replay.recorded.model {
            Ok(_) => return vec![Effect::Engine(Command::Revive)],
            Err(why) => why.clone(),
        },
    };
    model.tell(Severity::Info, told);
    Vec::new()
}

fn copy(model: &mut Model) -> Vec<Effect> {
    let line = summary(model);
    model.tell(Severity::Info, "copied one line about this step (if the terminal allows it)");
    vec![Effect::Copy(line)]
}

/// One line about what is on the screen.
pub fn summary(model: &Model) -> String {
    let mut parts = vec![sample::title(&model.model_path), sample::title(&model.image_path)];
    if let Some(clean) = model.clean_scores(1).first() {
        parts.push(format!("clean: {} {}", model.short_label(clean.class), text::prob(clean.prob)));
    }
    if let (Some(run), Some(record)) = (&model.run, model.record()) {
        let top = model.current_scores(1);
        let now = top.first().map(|s| format!("{} {}", model.short_label(s.class), text::prob(s.prob))).unwrap_or_default();
        let norms = format!("L2 {} Linf {}", text::number(record.l2), text::per_255(record.linf));
        parts.push(format!("{} step {}: {now}, {norms}, seed {}", run.request.attack, record.index, run.request.seed));
    }
    parts.join(" | ")
}

fn save(model: &mut Model) -> Vec<Effect> {
    let (Some(frame), Some(run)) = (model.frame(), &model.run) else {
        model.tell(Severity::Info, "there is no adversarial image yet: a starts an attack");
        return Vec::new();
    };
    let stem = sample::stem(&model.image_path);
    let name = format!("{stem}-{}-run{}-step{}.npy", run.request.attack, run.id.0, frame.index);
    vec![Effect::Save(name.into(), frame)]
}
