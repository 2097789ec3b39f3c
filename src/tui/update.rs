//! `update`: one message in, the changed model and a list of effects out. No input or output happens here.

use super::{
    app_keys,
    dialog::{Dialog, confirm, export, form, help, picker, prompt},
    effect::Effect,
    engine_events,
    keymap::Key,
    model::Model,
    msg::{Action, Msg},
    network,
    notice::Severity,
    psr, run,
    screen::{attack, cam, insight, layers, pixels, triage, units},
    time,
};

/// Routes a message.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    let mut effects = match msg {
        Msg::Key(key) => on_key(model, key),
        Msg::Paste(text) => {
            typed(model, &text);
            Vec::new()
        }
        Msg::Wheel(by) if model.dialogs.is_empty() => act(model, Action::Time(if by > 0 { time::Msg::Forward } else { time::Msg::Back })),
        Msg::Wheel(_) => Vec::new(),
        Msg::Click(x, y) => {
            super::layout::clicked(model, x, y);
            Vec::new()
        }
        Msg::Resize(columns, rows) => {
            model.size = (columns, rows);
            Vec::new()
        }
        Msg::Tick(now) => {
            model.now = now;
            model.notices.expire(now);
            Vec::new()
        }
        Msg::Engine(event) => engine_events::update(model, event),
        Msg::EngineGone => {
            model.busy = None;
            model.open_error.get_or_insert_with(|| "the worker ended".into());
            model.tell(Severity::Error, "the worker ended unexpectedly; what was recorded can still be looked at, then start again");
            Vec::new()
        }
        Msg::Told(severity, text) => {
            model.tell(severity, text);
            Vec::new()
        }
        Msg::NotKept(why) => {
            model.saved = None;
            model.tell(Severity::Error, why);
            Vec::new()
        }
        Msg::Reported(done) => {
            export::reported(model, done);
            Vec::new()
        }
        Msg::Terminate => vec![Effect::Quit],
        Msg::Do(action) => act(model, action),
    };
    effects.extend(psr::follow(model));
    effects.extend(cam::follow(model));
    effects.extend(network::follow(model));
    effects.extend(triage::follow(model));
    effects
}

fn on_key(model: &mut Model, key: Key) -> Vec<Effect> {
    model.notices.dismiss(model.now);
    match model.keymap.lookup(&model.contexts(), key) {
        Some(action) => act(model, action),
        None => {
            match model.dialogs.last_mut() {
                Some(Dialog::Form(_)) => form::key(model, key),
                Some(Dialog::Picker(state)) => state.key(key),
                Some(Dialog::Prompt(state)) => state.key(key),
                Some(Dialog::Export(state)) => state.key(key),
                None => {
                    triage::key(model, key);
                    network::key(model, key);
                }
                _ => {}
            }
            Vec::new()
        }
    }
}

fn typed(model: &mut Model, text: &str) {
    for c in text.chars().filter(|c| !c.is_control()) {
        let key = Key::plain(crossterm::event::KeyCode::Char(c));
        match model.dialogs.last_mut() {
            Some(Dialog::Form(_)) => form::key(model, key),
            Some(Dialog::Picker(state)) => state.key(key),
            Some(Dialog::Prompt(state)) => state.key(key),
            Some(Dialog::Export(state)) => state.key(key),
            None => {
                triage::key(model, key);
                network::key(model, key);
            }
            _ => {}
        }
    }
}

fn act(model: &mut Model, action: Action) -> Vec<Effect> {
    match action {
        Action::App(msg) => app_keys::update(model, msg),
        Action::Time(msg) => time::update(model, msg),
        Action::Run(msg) => run::update(model, msg),
        Action::Psr(msg) => psr::update(model, msg),
        Action::Attack(msg) => attack::update(model, msg),
        Action::Pixels(msg) => pixels::update(model, msg),
        Action::Cam(msg) => cam::update(model, msg),
        Action::Layers(msg) => layers::update(model, msg),
        Action::Units(msg) => units::update(model, msg),
        Action::Insight(msg) => insight::update(model, msg),
        Action::Network(msg) => network::update(model, msg),
        Action::Triage(msg) => triage::update(model, msg),
        Action::Form(msg) => form::update(model, msg),
        Action::Picker(msg) => picker::update(model, msg),
        Action::Help(msg) => help::update(model, msg),
        Action::Confirm(msg) => confirm::update(model, msg),
        Action::Prompt(msg) => prompt::update(model, msg),
        Action::Export(msg) => export::update(model, msg),
    }
}
