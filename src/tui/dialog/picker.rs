//! A list to search in: target classes, layers, classes of activation maps.

use nucleo_matcher::{
    Matcher, Utf32Str,
    pattern::{CaseMatching, Normalization, Pattern},
};
use ratatui::{buffer::Buffer, layout::Rect};
use tui_input::{Input, InputRequest};

use super::{Dialog, form};
use crate::{
    engine::command::Target,
    tui::{
        effect::Effect,
        keymap::{Binding, Context, Key},
        model::Model,
        msg::Action,
        notice::Severity,
        text,
        theme::Role,
        view::draw,
    },
};

/// What the choice is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The target of the next attack.
    Target,
    /// The target field of the form below.
    FormTarget,
    /// The layer of activation maps.
    Layer,
    /// The second class of activation maps.
    CamClass,
}

/// What a row stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A target.
    Target(Target),
    /// A layer; `None` is the usual one.
    Layer(Option<String>),
    /// A class; `None` is the usual one.
    Class(Option<usize>),
}

/// One row.
#[derive(Debug, Clone)]
pub struct Item {
    value: Value,
    text: String,
    note: String,
}

/// An open list.
#[derive(Debug, Clone)]
pub struct State {
    purpose: Purpose,
    title: &'static str,
    query: Input,
    items: Vec<Item>,
    matches: Vec<usize>,
    selected: usize,
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// Take the row.
    Accept,
    /// Leave.
    Close,
}

const fn key(action: Msg, name: &'static str, help: &'static str, hint: &'static str, keys: &'static str) -> Binding {
    Binding { action: Action::Picker(action), name, help, hint, keys }
}

/// Keys; everything else is typed into the search.
pub const KEYS: &[Binding] = &[
    key(Msg::Accept, "pick", "Takes the chosen row.", "choose", "<enter>"),
    key(Msg::Up, "pick-up", "One row up.", "move", "<up> <C-p>"),
    key(Msg::Down, "pick-down", "One row down.", "move", "<down> <C-n>"),
    key(Msg::PageUp, "pick-page-up", "Ten rows up.", "", "<pgup>"),
    key(Msg::PageDown, "pick-page-down", "Ten rows down.", "", "<pgdn>"),
    key(Msg::Close, "pick-close", "Leaves without choosing.", "back", "<esc>"),
];

impl State {
    /// Target classes: the four rules, then every class, likeliest on the clean image first.
    pub fn targets(model: &Model, purpose: Purpose, query: &str) -> Self {
        let rules = [
            (Target::Untargeted, "untargeted", "leave the true class"),
            (Target::Random, "random", "drawn with the seed"),
            (Target::Second, "second", "the runner-up"),
            (Target::LeastLikely, "least-likely", "the lowest logit"),
        ];
        let mut items: Vec<Item> =
            rules.into_iter().map(|(t, name, note)| Item { value: Value::Target(t), text: name.into(), note: note.into() }).collect();
        items.extend(classes(model).map(|(class, text, note)| Item { value: Value::Target(Target::Class(class)), text, note }));
        Self::new(purpose, "target class (probability on the clean image)", items, query)
    }

    /// Layers, last first.
    pub fn layers(model: &Model) -> Self {
        let mut items = vec![Item { value: Value::Layer(None), text: "the usual layer".into(), note: "last spatial one".into() }];
        let layers = model.opened.as_ref().map(|o| o.layers.as_slice()).unwrap_or_default();
        items.extend(layers.iter().rev().map(|l| Item {
            value: Value::Layer(Some(l.name.clone())),
            text: l.name.clone(),
            note: format!("{} {}x{}x{}", l.op, l.units, l.spatial[0], l.spatial[1]),
        }));
        Self::new(Purpose::Layer, "layer", items, "")
    }

    /// Classes for the second map.
    pub fn cam_classes(model: &Model) -> Self {
        let mut items = vec![Item { value: Value::Class(None), text: "the target".into(), note: "or the prediction".into() }];
        items.extend(classes(model).map(|(class, text, note)| Item { value: Value::Class(Some(class)), text, note }));
        Self::new(Purpose::CamClass, "second class of the maps", items, "")
    }

    fn new(purpose: Purpose, title: &'static str, items: Vec<Item>, query: &str) -> Self {
        let mut state = Self { purpose, title, query: Input::new(query.to_owned()), matches: Vec::new(), items, selected: 0 };
        state.filter();
        state
    }

    fn filter(&mut self) {
        self.selected = 0;
        let query = self.query.value().trim();
        if query.is_empty() {
            self.matches = (0..self.items.len()).collect();
            return;
        }
        let mut matcher = Matcher::default();
        let pattern = Pattern::parse(query, CaseMatching::Ignore, Normalization::Smart);
        let mut buffer = Vec::new();
        let mut scored: Vec<(u32, usize)> = Vec::new();
        for (i, item) in self.items.iter().enumerate() {
            if let Some(score) = pattern.score(Utf32Str::new(&item.text, &mut buffer), &mut matcher) {
                scored.push((score, i));
            }
        }
        scored.sort_by_key(|&(score, i)| (std::cmp::Reverse(score), i));
        self.matches = scored.into_iter().map(|(_, i)| i).collect();
    }

    /// A key that is not in the table: typed into the search.
    pub fn key(&mut self, key: Key) {
        if let Some(request) = input_request(key) {
            self.query.handle(request);
            self.filter();
        }
    }

    /// The chosen row's text.
    pub fn chosen(&self) -> Option<&str> {
        self.matches.get(self.selected).map(|&i| self.items[i].text.as_str())
    }
}

fn classes(model: &Model) -> impl Iterator<Item = (usize, String, String)> {
    let truth = model.true_class();
    model.clean_scores(usize::MAX).into_iter().map(move |s| {
        let mark = if Some(s.class) == truth { "true class  " } else { "" };
        (s.class, format!("{}  #{}", model.label(s.class), s.class), format!("{mark}{}", text::prob(s.prob)))
    })
}

/// What a key does in a line of text.
pub fn input_request(key: Key) -> Option<InputRequest> {
    use crossterm::event::{KeyCode, KeyModifiers};
    let ctrl = key.mods == KeyModifiers::CONTROL;
    Some(match key.code {
        KeyCode::Char('w') if ctrl => InputRequest::DeletePrevWord,
        KeyCode::Char('u') if ctrl => InputRequest::DeleteLine,
        KeyCode::Char('a') if ctrl => InputRequest::GoToStart,
        KeyCode::Char('e') if ctrl => InputRequest::GoToEnd,
        KeyCode::Char(c) if key.mods.is_empty() => InputRequest::InsertChar(c),
        KeyCode::Backspace => InputRequest::DeletePrevChar,
        KeyCode::Delete => InputRequest::DeleteNextChar,
        KeyCode::Left => InputRequest::GoToPrevChar,
        KeyCode::Right => InputRequest::GoToNextChar,
        KeyCode::Home => InputRequest::GoToStart,
        KeyCode::End => InputRequest::GoToEnd,
        _ => return None,
    })
}

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    let Some(Dialog::Picker(state)) = model.dialogs.last_mut() else { return Vec::new() };
    let last = state.matches.len().saturating_sub(1);
    match msg {
        Msg::Up => state.selected = state.selected.saturating_sub(1),
        Msg::Down => state.selected = (state.selected + 1).min(last),
        Msg::PageUp => state.selected = state.selected.saturating_sub(10),
        Msg::PageDown => state.selected = (state.selected + 10).min(last),
        Msg::Close => {
            model.dialogs.pop();
        }
        Msg::Accept => {
            let chosen = state.matches.get(state.selected).map(|&i| state.items[i].value.clone());
            let purpose = state.purpose;
            if let Some(value) = chosen {
                model.dialogs.pop();
                take(model, purpose, value);
            }
        }
    }
    Vec::new()
}

fn take(model: &mut Model, purpose: Purpose, value: Value) {
    match (purpose, value) {
        (Purpose::FormTarget, Value::Target(target)) => form::set_target(model, target),
        (_, Value::Target(target)) => {
            model.tell(Severity::Info, format!("target: {}; r runs the attack", form::target_text(model, &target)));
            model.learned.insert("target");
            model.request.target = target;
        }
        (_, Value::Layer(layer)) => model.cam.set_layer(layer),
        (_, Value::Class(class)) => model.cam.set_class(class),
    }
}

/// Draws it.
pub fn view(model: &Model, state: &State, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let size = (area.width.saturating_sub(4).min(72), area.height.saturating_sub(2).min(30));
    let inner = super::framed(model, state.title, size, area, buf);
    let width = inner.width.saturating_sub(2);
    let prompt = draw::text(buf, inner.x + 1, inner.y, width, theme.glyph("› ", "> "), theme.style(Role::Key));
    draw::input(
        buf,
        Rect { x: prompt, y: inner.y, width: inner.right().saturating_sub(prompt), height: 1.min(inner.height) },
        &state.query,
        theme.style(Role::Text),
        true,
    );
    let count = format!("{}/{} ", state.matches.len(), state.items.len());
    draw::right(buf, Rect { height: 1.min(inner.height), ..inner }, &count, theme.style(Role::Dim));
    let rows = usize::from(inner.height.saturating_sub(3));
    let top = (state.selected + 1).saturating_sub(rows);
    for (row, &index) in state.matches.iter().skip(top).take(rows).enumerate() {
        let item = &state.items[index];
        let y = inner.y + 2 + row as u16;
        let chosen = top + row == state.selected;
        let style = theme.style(if chosen { Role::Selected } else { Role::Text });
        let note = text::truncate(&item.note, usize::from(width / 2), theme.ellipsis());
        let room = usize::from(width).saturating_sub(text::width(&note) + 3);
        let mark = if chosen { theme.glyph("▸", ">") } else { " " };
        let line = format!("{mark} {} {note}", text::pad(&item.text, room, theme.ellipsis()));
        draw::text(buf, inner.x + 1, y, width, &line, style);
    }
    if state.matches.is_empty() {
        draw::text(buf, inner.x + 3, inner.y + 2, width, "nothing matches; Backspace widens the search", theme.style(Role::Dim));
    }
    let hints = model.keymap.hints(&[Context::Picker], theme.ascii);
    let bottom = Rect { x: inner.x + 1, y: inner.bottom().saturating_sub(1), width, height: 1.min(inner.height) };
    draw::hints(theme, &hints, bottom, buf);
}
