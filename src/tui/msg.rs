//! What can happen to the model. Two levels: the root only routes.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{
    app_keys,
    dialog::{confirm, export, files, form, help, log, palette, picker, prompt},
    keymap::Key,
    model::Themes,
    network,
    open::Purpose,
    psr, run,
    screen::{attack, cam, closer, insight, layers, pixels, triage, units},
    time,
};
use crate::engine::{
    browse::{Entry, Kind},
    event::Event,
    recorded::Recorded,
    remember::Recent,
};

/// A message to the model.
#[derive(Debug, Clone)]
pub enum Msg {
    /// A key.
    Key(Key),
    /// Text pasted into the terminal.
    Paste(String),
    /// The mouse wheel: down (positive) or up.
    Wheel(i32),
    /// A click on this cell of the screen.
    Click(u16, u16),
    /// New size of the terminal: columns, rows.
    Resize(u16, u16),
    /// Time since the start; the model's only clock.
    Tick(Duration),
    /// The worker said something.
    Engine(Event),
    /// The worker is gone.
    EngineGone,
    /// Something outside the model could not be done, or was: severity is up to the sender.
    Told(super::notice::Severity, String),
    /// The run could not be saved by name: it counts as unsaved again.
    NotKept(String),
    /// A report was written (what to say about it), or not (why).
    Reported(Result<String, String>),
    /// A folder that was asked for was read: its full path and what lies in it.
    Listed(PathBuf, Result<(PathBuf, Vec<Entry>), String>),
    /// What a typed path stands for, and what it is looked for.
    Found(Purpose, Result<(Kind, PathBuf), String>),
    /// A recorded run was read.
    Loaded(Result<Arc<Recorded>, String>),
    /// The themes there are.
    Themes(Themes),
    /// What was opened lately, the newest first.
    Recent(Vec<Recent>),
    /// The system asks the program to end.
    Terminate,
}

/// An action of the key table; each part of the interface has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The program.
    App(app_keys::Msg),
    /// Moving in time.
    Time(time::Msg),
    /// Starting attacks.
    Run(run::Msg),
    /// The promotion-suppression map.
    Psr(psr::Msg),
    /// Screen 1.
    Attack(attack::Msg),
    /// Screen 2.
    Pixels(pixels::Msg),
    /// Closer to the pictures of screens 2 and 3.
    Closer(closer::Msg),
    /// Screen 3.
    Cam(cam::Msg),
    /// Screen 4.
    Layers(layers::Msg),
    /// Screen 5.
    Units(units::Msg),
    /// Screen 6.
    Insight(insight::Msg),
    /// The line typed on screens 4 and 5.
    Network(network::Msg),
    /// The folder.
    Triage(triage::Msg),
    /// The attack form.
    Form(form::Msg),
    /// A pick list.
    Picker(picker::Msg),
    /// Help and messages.
    Help(help::Msg),
    /// A question.
    Confirm(confirm::Msg),
    /// A line to type.
    Prompt(prompt::Msg),
    /// The report dialog.
    Export(export::Msg),
    /// The palette.
    Palette(palette::Msg),
    /// The file dialog.
    Files(files::Msg),
    /// The log.
    Log(log::Msg),
}
