//! Starting attacks.

use super::{
    dialog::{Dialog, form, picker},
    effect::Effect,
    keymap::Binding,
    model::{Cursor, Model, Run},
    msg::Action,
    notice::Severity,
    psr,
    screen::versus,
};
use crate::{
    core::attack::Params,
    engine::{
        command::{AttackRequest, Command, RunId},
        control::Control,
    },
};

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// Open the form.
    Form,
    /// Run again.
    Again,
    /// Open the target picker.
    Target,
}

const fn key(action: Msg, name: &'static str, help: &'static str, hint: &'static str, keys: &'static str) -> Binding {
    Binding { action: Action::Run(action), name, help, hint, keys }
}

/// Keys.
pub const KEYS: &[Binding] = &[
    key(Msg::Form, "attack", "Opens the attack form: which attack, its parameters, target and seed.", "attack", "a"),
    key(Msg::Target, "target", "Chooses the target class of the next attack.", "target", "t"),
    key(Msg::Again, "rerun", "Runs the attack again, with the target chosen last.", "again", "r"),
];

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    if model.opened.is_none() {
        model.tell(Severity::Info, "the model is still being opened");
        return Vec::new();
    }
    if let Some(why) = model.without_model() {
        model.tell(Severity::Info, why);
        return Vec::new();
    }
    match msg {
        Msg::Form => {
            match form::State::new(model) {
                Some(state) => model.dialogs.push(Dialog::Form(state)),
                None => model.tell(Severity::Error, "this build knows no attacks"),
            }
            Vec::new()
        }
        Msg::Target => {
            let state = picker::State::targets(model, picker::Purpose::Target, "");
            model.dialogs.push(Dialog::Picker(state));
            Vec::new()
        }
        Msg::Again => start(model, model.request.clone()),
    }
}

/// Asks the worker for an attack; the one before is stopped.
pub fn start(model: &mut Model, request: AttackRequest) -> Vec<Effect> {
    let Some(opened) = model.opened.clone() else {
        model.tell(Severity::Info, "the model is still being opened");
        return Vec::new();
    };
    if let Some(why) = &opened.no_gradient {
        model.tell(Severity::Error, format!("this model cannot be attacked: {why}"));
        return Vec::new();
    }
    let Some(attack) = model.attacks.find(&request.attack) else {
        model.tell(Severity::Error, format!("there is no attack '{}': a lists them", request.attack));
        return Vec::new();
    };
    let params = match Params::check(attack.params(), request.params.iter().map(|(n, v)| (n.as_str(), v.as_str()))) {
        Ok(params) => params,
        Err(error) => {
            model.tell(Severity::Error, error.to_string());
            return Vec::new();
        }
    };
    let mut effects: Vec<Effect> = psr::stop(model).into_iter().collect();
    versus::keep(model);
    if !model.earlier.is_empty() && model.learned.insert("versus") {
        model.tell(Severity::Info, "the run before is kept: B shows it beside this one");
    }
    effects.extend(model.run.as_ref().filter(|r| r.running()).map(|r| Effect::Stop(r.control.clone())));
    model.last_run += 1;
    let (id, control) = (RunId(model.last_run), Control::default());
    model.request = request.clone();
    model.cursor = Cursor::Live;
    model.marks.clear();
    model.learned.insert("attack");
    let label = request.label.or_else(|| Some(model.clean_scores(1).first()?.class)).unwrap_or(0);
    model.run = Some(Run {
        id,
        request: request.clone(),
        control: control.clone(),
        label,
        target: None,
        trace: None,
        newest: None,
        total: Some(attack.steps(&params)),
        paused: false,
        ending: None,
        best: None,
    });
    effects.push(Effect::Engine(Command::Attack { run: id, request, control }));
    effects
}
