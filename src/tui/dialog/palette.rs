//! The palette: every action of the key table by its name, and commands with something typed after them.

use ratatui::{buffer::Buffer, layout::Rect};

use super::{
    Dialog,
    list::{Item, List, Place, Words},
};
use crate::tui::{
    commands::{self, COMMANDS, Command},
    effect::Effect,
    keymap::{Binding, Context, Key, SECTIONS},
    model::Model,
    msg::Action,
    theme::Role,
    update::act,
    widget::table_state::Go,
};

/// What a row stands for.
#[derive(Debug, Clone)]
enum Value {
    /// An action of the table.
    Do(Context, Action),
    /// A command that wants something typed after it.
    Command(&'static Command),
    /// What could be typed after a command.
    Argument(String),
}

/// The open palette.
#[derive(Debug, Clone)]
pub struct State {
    list: List<Value>,
    /// The command typed so far, when the first word is one.
    command: Option<&'static Command>,
    error: Option<String>,
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// Move the selection.
    Go(Go),
    /// Do it.
    Accept,
    /// Take the selected row's text over.
    Complete,
    /// Leave.
    Close,
}

const fn key(action: Msg, name: &'static str, help: &'static str, hint: &'static str, keys: &'static str) -> Binding {
    Binding { action: Action::Palette(action), name, help, hint, keys }
}

/// Keys; everything else is typed.
pub const KEYS: &[Binding] = &[
    key(Msg::Accept, "palette-do", "Does what is selected, or what is typed.", "do", "<enter>"),
    key(Msg::Go(Go::Rows(-1)), "palette-up", "One row up.", "move", "<up> <C-p>"),
    key(Msg::Go(Go::Rows(1)), "palette-down", "One row down.", "move", "<down> <C-n>"),
    key(Msg::Complete, "palette-complete", "Types the selected row.", "complete", "<tab>"),
    key(Msg::Go(Go::Pages(-1)), "palette-page-up", "Ten rows up.", "", "<pgup>"),
    key(Msg::Go(Go::Pages(1)), "palette-page-down", "Ten rows down.", "", "<pgdn>"),
    key(Msg::Close, "palette-close", "Leaves without doing anything.", "back", "<esc>"),
];

impl State {
    /// Everything that can be done, what works on this screen first.
    pub fn new(model: &Model) -> Self {
        Self { list: List::new(actions(model), ""), command: None, error: None }
    }

    fn place(area: Rect) -> Place {
        Place::of(area, 96)
    }

    /// Name of the selected row.
    pub fn chosen(&self) -> Option<&str> {
        self.list.chosen().map(|i| i.text.as_str())
    }

    /// What is wrong with what is typed.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }
}

/// Contexts whose actions make sense without their dialog.
fn offered(context: Context) -> bool {
    use Context::{Confirm, Export, Files, Filter, Form, Help, Line, Log, Palette, Picker, Prompt};
    !matches!(context, Confirm | Export | Files | Filter | Form | Help | Line | Log | Palette | Picker | Prompt)
}

fn actions(model: &Model) -> Vec<Item<Value>> {
    let near = model.contexts();
    let rank = |c: Context| near.iter().position(|n| *n == c).unwrap_or(near.len());
    let mut sections: Vec<_> = SECTIONS.iter().filter(|s| offered(s.context)).collect();
    sections.sort_by_key(|s| rank(s.context));
    let ascii = model.theme.ascii;
    let commands = COMMANDS.iter().map(|c| Item {
        value: Value::Command(c),
        text: format!("{} {}: {}", c.name, c.usage, c.help),
        note: "typed".into(),
    });
    let actions = sections.into_iter().flat_map(|section| {
        let away = !near.contains(&section.context);
        section.bindings.iter().map(move |b| {
            let keys: Vec<String> = model.keymap.keys_of(section.context, b.action).iter().map(|k| k.show(ascii)).collect();
            let place = if away { format!("{}  ", section.title) } else { String::new() };
            Item {
                value: Value::Do(section.context, b.action),
                text: format!("{}: {}", b.name, b.help.trim_end_matches('.')),
                note: format!("{place}{}", keys.join(" ")),
            }
        })
    });
    let (here, away): (Vec<_>, Vec<_>) = actions.partition(|i| matches!(i.value, Value::Do(context, _) if near.contains(&context)));
    here.into_iter().chain(commands).chain(away).collect()
}

fn open(model: &mut Model) -> Option<&mut State> {
    match model.dialogs.last_mut() {
        Some(Dialog::Palette(state)) => Some(state),
        _ => None,
    }
}

/// A key that is in no table.
pub fn key_typed(model: &mut Model, key: Key) {
    if open(model).is_some_and(|state| state.list.typed(key)) {
        search(model);
    }
}

/// The first word, when it is a command with something (or at least a blank) after it, and what follows.
fn split(line: &str) -> Option<(&'static Command, &str)> {
    let line = line.trim_start().trim_start_matches(':');
    let (word, rest) = line.split_once(char::is_whitespace)?;
    Some((commands::find(word)?, rest.trim()))
}

fn search(model: &mut Model) {
    let Some(state) = open(model) else { return };
    state.error = None;
    let line = state.list.query.value().to_owned();
    let before = state.command;
    match split(&line) {
        Some((command, argument)) => {
            if before.is_none_or(|b| b.name != command.name) {
                let items =
                    (command.offers)(model).into_iter().map(|(text, note)| Item { value: Value::Argument(text.clone()), text, note });
                let items = items.collect();
                let Some(state) = open(model) else { return };
                state.command = Some(command);
                state.list.set(items, argument);
            } else if let Some(state) = open(model) {
                state.list.search(argument);
            }
        }
        None => {
            let items = before.is_some().then(|| actions(model));
            let Some(state) = open(model) else { return };
            state.command = None;
            match items {
                Some(items) => state.list.set(items, line.trim_start_matches(':')),
                None => state.list.search(line.trim_start_matches(':')),
            }
        }
    }
}

fn retype(model: &mut Model, line: String) {
    if let Some(state) = open(model) {
        state.list.query = tui_input::Input::new(line);
        search(model);
    }
}

/// A click on a row selects it; on the selected row, does it.
pub fn clicked(model: &mut Model, area: Rect, x: u16, y: u16) -> Vec<Effect> {
    let Some(state) = open(model) else { return Vec::new() };
    let before = state.chosen().map(ToOwned::to_owned);
    if state.list.click(State::place(area), x, y) && state.chosen() == before.as_deref() {
        return update(model, Msg::Accept);
    }
    Vec::new()
}

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    let Some(state) = open(model) else { return Vec::new() };
    match msg {
        Msg::Go(to) => {
            state.list.go(to);
            Vec::new()
        }
        Msg::Close => {
            model.dialogs.pop();
            Vec::new()
        }
        Msg::Complete => {
            complete(model);
            Vec::new()
        }
        Msg::Accept => accept(model),
    }
}

fn complete(model: &mut Model) {
    let Some(state) = open(model) else { return };
    let line = match (state.list.chosen().map(|i| &i.value), state.command) {
        (Some(Value::Argument(text)), Some(command)) => format!("{} {text}", command.name),
        (Some(Value::Command(command)), _) => format!("{} ", command.name),
        (Some(Value::Do(_, action)), _) => {
            let names = SECTIONS.iter().flat_map(|s| s.bindings).find(|b| b.action == *action).map(|b| b.name);
            names.unwrap_or_default().to_owned()
        }
        _ => return,
    };
    retype(model, line);
}

fn accept(model: &mut Model) -> Vec<Effect> {
    let Some(state) = open(model) else { return Vec::new() };
    let line = state.list.query.value().to_owned();
    let typed = split(&line);
    let alone = commands::find(line.trim().trim_start_matches(':'));
    let chosen = state.list.chosen().map(|i| i.value.clone());
    match (typed, chosen) {
        (Some((command, argument)), chosen) => {
            let argument = match chosen {
                // What is typed in full wins over what merely resembles it.
                Some(Value::Argument(text)) if !(command.accepts)(model, argument) => text,
                _ => argument.to_owned(),
            };
            run(model, command, &argument)
        }
        (None, chosen) => match (alone, chosen) {
            (Some(command), _) if command.alone => run(model, command, ""),
            (Some(command), _) | (None, Some(Value::Command(command))) => {
                retype(model, format!("{} ", command.name));
                Vec::new()
            }
            (None, Some(Value::Do(context, action))) => {
                model.dialogs.pop();
                commands::go_where_it_works(model, context);
                act(model, action)
            }
            _ => Vec::new(),
        },
    }
}

/// Runs a command; what is wrong with it is said below the line, which stays open.
fn run(model: &mut Model, command: &'static Command, argument: &str) -> Vec<Effect> {
    let Some(dialog) = model.dialogs.pop() else { return Vec::new() };
    match (command.run)(model, argument) {
        Ok(effects) => effects,
        Err(why) => {
            model.dialogs.push(dialog);
            if let Some(state) = open(model) {
                state.error = Some(why);
            }
            Vec::new()
        }
    }
}

/// Draws it.
pub fn view(model: &Model, state: &State, area: Rect, buf: &mut Buffer) {
    let head = match (&state.error, state.command) {
        (Some(why), _) => (why.clone(), Role::Error),
        (None, Some(command)) => (format!("{} {}: {}", command.name, command.usage, command.help), Role::Accent),
        (None, None) => ("by name, or typed: step 40, attack cw, target tabby, open FILE".into(), Role::Dim),
    };
    let empty = if state.command.is_some() { "Enter does what is typed" } else { "nothing matches; Backspace widens the search" };
    let words = Words { title: "do", head, empty, context: Context::Palette };
    state.list.view(model, State::place(area), &words, buf);
}
