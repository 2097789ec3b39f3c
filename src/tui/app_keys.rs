//! Actions of the program as a whole: screens, help, leaving.

use super::{
    copy,
    dialog::{Dialog, confirm, export, files, help, log, palette, prompt},
    effect::Effect,
    keymap::Binding,
    model::Model,
    msg::Action,
    notice::Severity,
    screen::Screen,
};
use crate::engine::{browse::Kind, command::Command, sample};

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
    /// Every action by name.
    Palette,
    /// Open a file.
    Open,
    /// Change the colours.
    Theme,
    /// The log.
    Log,
    /// Copy the command that does what is on the screen.
    CopyCommand,
    /// Copy the value under the cursor.
    CopyValue,
    /// Copy a summary of the step.
    CopySummary,
    /// Save the adversarial image of the step.
    Save,
    /// Save the run.
    Keep,
    /// Write a report.
    Export,
    /// Open the model of the recorded run, or another model.
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
    key(Msg::Palette, "palette", "Finds an action by its name and does it; commands such as step 40 can be typed.", "commands", ": <C-p>"),
    key(Msg::Open, "open", "Opens an image, a model, a run or a folder; what was opened lately first.", "open", "<C-o>"),
    key(
        Msg::Revive,
        "open-model",
        "Opens the model of a recorded run, so that everything works on it; else another model on the same image.",
        "open model",
        "O",
    ),
    key(Msg::CopyCommand, "copy-command", "Copies the command that does what is on the screen without the interface.", "", "y"),
    key(Msg::CopyValue, "copy-value", "Copies the value under the cursor or the selected row.", "", "Y"),
    key(Msg::CopySummary, "copy-summary", "Copies one line about this step.", "", "<A-y>"),
    key(Msg::Theme, "theme", "Changes the colours; the selected theme is shown at once.", "", "<C-t>"),
    key(Msg::Messages, "messages", "Lists all messages so far.", "", "M"),
    key(Msg::Log, "log", "Shows what the program wrote about its work.", "", "D"),
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
        Msg::Palette => {
            model.learned.insert("palette");
            let state = palette::State::new(model);
            model.dialogs.push(Dialog::Palette(state));
            Vec::new()
        }
        Msg::Open => {
            model.learned.insert("open");
            files::show(model, None)
        }
        Msg::Theme => vec![Effect::Themes],
        Msg::Log => {
            model.dialogs.push(Dialog::Log(log::State::new()));
            Vec::new()
        }
        Msg::CopyCommand => {
            let text = copy::command(model);
            copy::copy(model, text)
        }
        Msg::CopyValue => {
            let text = copy::value(model);
            copy::copy(model, text)
        }
        Msg::CopySummary => {
            let text = copy::summary(model);
            copy::copy(model, text)
        }
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
        None => return files::show(model, Some(Kind::Model)),
        Some(replay) if replay.open => return files::show(model, Some(Kind::Model)),
        Some(replay) => match &replay.recorded.model {
            Ok(_) => return vec![Effect::Engine(Command::Revive)],
            Err(why) => why.clone(),
        },
    };
    model.tell(Severity::Info, told);
    Vec::new()
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
