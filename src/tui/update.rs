//! `update`: one message in, the changed model and a list of effects out. No input or output happens here.

use crossterm::event::KeyCode;

use super::{
    ahead, app_keys,
    dialog::{self, Dialog, confirm, export, files, form, help, log, palette, picker, prompt},
    effect::Effect,
    engine_events,
    keymap::Key,
    model::Model,
    msg::{Action, Msg},
    network,
    notice::Severity,
    open::{self, Purpose},
    psr, run,
    screen::{Screen, attack, cam, closer, insight, layers, pixels, triage, units},
    time,
    widget::table_state::Go,
};

/// Routes a message.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    let mut effects = match msg {
        Msg::Key(key) => on_key(model, key),
        Msg::Paste(text) if matches!(model.dialogs.last(), Some(Dialog::Files(_))) => {
            files::pasted(model, &text);
            Vec::new()
        }
        // A file dropped on the terminal.
        Msg::Paste(text) if free(model) && text.contains('/') => vec![Effect::Find(open::unquoted(&text), None, Purpose::Open)],
        Msg::Paste(text) => text.chars().filter(|c| !c.is_control()).flat_map(|c| typed(model, Key::plain(KeyCode::Char(c)))).collect(),
        Msg::Wheel(by) => wheel(model, by),
        Msg::Click(x, y) => super::layout::clicked(model, x, y),
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
        Msg::Listed(asked, found) => {
            files::listed(model, &asked, found);
            Vec::new()
        }
        Msg::Found(purpose, found) => open::found(model, purpose, found),
        Msg::Loaded(run) => open::loaded(model, run),
        Msg::Themes(themes) => {
            model.themes = themes;
            model.dialogs.push(Dialog::Picker(picker::State::themes(model)));
            Vec::new()
        }
        Msg::Recent(recent) => {
            model.recent = recent;
            Vec::new()
        }
        Msg::Terminate => vec![Effect::Quit],
    };
    effects.extend(psr::follow(model));
    effects.extend(cam::follow(model));
    effects.extend(network::follow(model));
    effects.extend(triage::follow(model));
    if effects.is_empty() {
        effects.extend(ahead::follow(model));
    }
    effects
}

fn on_key(model: &mut Model, key: Key) -> Vec<Effect> {
    model.notices.dismiss(model.now);
    match model.keymap.lookup(&model.contexts(), key) {
        Some(action) => act(model, action),
        None => typed(model, key),
    }
}

/// Whether nothing is being typed.
fn free(model: &Model) -> bool {
    model.dialogs.is_empty() && model.network.typing.is_none() && !model.triage.typing
}

/// A key that is in no table.
fn typed(model: &mut Model, key: Key) -> Vec<Effect> {
    if !model.dialogs.is_empty() {
        return dialog::key(model, key);
    }
    triage::key(model, key);
    network::key(model, key);
    Vec::new()
}

/// Steps in time; where a table fills the screen, moves in it.
fn wheel(model: &mut Model, by: i32) -> Vec<Effect> {
    if !model.dialogs.is_empty() {
        return dialog::wheel(model, by);
    }
    let action = match model.screen {
        Screen::Layers => Action::Layers(layers::Msg::Go(Go::Rows(by))),
        Screen::Units => Action::Units(units::Msg::Go(Go::Rows(by))),
        Screen::Insight => Action::Insight(insight::Msg::Go(Go::Rows(by))),
        Screen::Triage => Action::Triage(triage::Msg::Go(Go::Rows(by))),
        Screen::Attack | Screen::Pixels | Screen::Cam => Action::Time(if by > 0 { time::Msg::Forward } else { time::Msg::Back }),
    };
    act(model, action)
}

/// Does an action of the table.
pub(super) fn act(model: &mut Model, action: Action) -> Vec<Effect> {
    match action {
        Action::App(msg) => app_keys::update(model, msg),
        Action::Time(msg) => time::update(model, msg),
        Action::Run(msg) => run::update(model, msg),
        Action::Psr(msg) => psr::update(model, msg),
        Action::Attack(msg) => attack::update(model, msg),
        Action::Pixels(msg) => pixels::update(model, msg),
        Action::Closer(msg) => closer::update(model, msg),
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
        Action::Palette(msg) => palette::update(model, msg),
        Action::Files(msg) => files::update(model, msg),
        Action::Log(msg) => log::update(model, msg),
    }
}
