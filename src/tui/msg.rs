//! What can happen to the model. Two levels: the root only routes.

use std::time::Duration;

use super::{
    app_keys,
    dialog::{confirm, export, form, help, picker, prompt},
    keymap::Key,
    network, psr, run,
    screen::{attack, cam, insight, layers, pixels, triage, units},
    time,
};
use crate::engine::event::Event;

/// A message to the model.
#[derive(Debug, Clone)]
pub enum Msg {
    /// A key.
    Key(Key),
    /// Text pasted into the terminal.
    Paste(String),
    /// The mouse wheel: steps forward (positive) or back.
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
    /// The system asks the program to end.
    Terminate,
    /// An action of the table.
    Do(Action),
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
}
