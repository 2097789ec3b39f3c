//! A list to search in: target classes, layers, classes of activation maps, themes.

use std::sync::Arc;

use ratatui::{buffer::Buffer, layout::Rect};

use super::{
    Dialog, form,
    list::{Item, List, Place, Words},
};
use crate::{
    engine::command::Target,
    tui::{
        effect::Effect,
        keymap::{Binding, Context, Key},
        model::Model,
        msg::Action,
        notice::Severity,
        text,
        theme::{Look, Role},
        widget::table_state::Go,
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
    /// The theme.
    Theme,
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
    /// A theme.
    Theme(Arc<Look>),
    /// A row that cannot be taken, and why.
    Broken(String),
}

/// An open list.
#[derive(Debug, Clone)]
pub struct State {
    purpose: Purpose,
    title: &'static str,
    list: List<Value>,
    /// The theme before the list was opened; what is selected is shown at once.
    before: Option<Arc<Look>>,
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// Move the selection.
    Go(Go),
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
    key(Msg::Go(Go::Rows(-1)), "pick-up", "One row up.", "move", "<up> <C-p>"),
    key(Msg::Go(Go::Rows(1)), "pick-down", "One row down.", "move", "<down> <C-n>"),
    key(Msg::Go(Go::Pages(-1)), "pick-page-up", "Ten rows up.", "", "<pgup>"),
    key(Msg::Go(Go::Pages(1)), "pick-page-down", "Ten rows down.", "", "<pgdn>"),
    key(Msg::Close, "pick-close", "Leaves without choosing.", "back", "<esc>"),
];

/// The rules a target can be chosen by: the target, its name, what it means.
pub const RULES: [(Target, &str, &str); 4] = [
    (Target::Untargeted, "untargeted", "leave the true class"),
    (Target::Random, "random", "drawn with the seed"),
    (Target::Second, "second", "the runner-up"),
    (Target::LeastLikely, "least-likely", "the lowest logit"),
];

/// Target classes: the four rules, then every class, likeliest on the clean image first.
pub fn target_items(model: &Model) -> Vec<Item<Target>> {
    let rules = RULES.into_iter().map(|(value, name, note)| Item { value, text: name.into(), note: note.into() });
    rules.chain(classes(model).map(|(class, text, note)| Item { value: Target::Class(class), text, note })).collect()
}

impl State {
    /// Target classes.
    pub fn targets(model: &Model, purpose: Purpose, query: &str) -> Self {
        let items = target_items(model).into_iter().map(|i| Item { value: Value::Target(i.value), text: i.text, note: i.note }).collect();
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

    /// Themes; the one in use is selected.
    pub fn themes(model: &Model) -> Self {
        let row = |(name, look): &(String, Result<Arc<Look>, String>)| match look {
            Ok(look) => Item { value: Value::Theme(Arc::clone(look)), text: name.clone(), note: look.origin() },
            Err(why) => Item { value: Value::Broken(why.clone()), text: name.clone(), note: "cannot be read".into() },
        };
        let mut state = Self::new(Purpose::Theme, "theme", model.themes.iter().map(row).collect(), "");
        state.before = Some(Arc::clone(&model.theme.look));
        state.list.select(|v| matches!(v, Value::Theme(look) if *look == model.theme.look));
        state
    }

    fn new(purpose: Purpose, title: &'static str, items: Vec<Item<Value>>, query: &str) -> Self {
        Self { purpose, title, list: List::new(items, query), before: None }
    }

    /// The chosen row's text.
    pub fn chosen(&self) -> Option<&str> {
        self.list.chosen().map(|i| i.text.as_str())
    }

    fn place(&self, area: Rect) -> Place {
        Place::of(area, 72)
    }
}

/// A key that is not in the table: typed into the search.
pub fn key_typed(model: &mut Model, key: Key) {
    let Some(Dialog::Picker(state)) = model.dialogs.last_mut() else { return };
    if state.list.typed(key) {
        let query = state.list.query.value().to_owned();
        state.list.search(&query);
    }
    preview(model);
}

/// A click on a row selects it; on the selected row, takes it.
pub fn clicked(model: &mut Model, area: Rect, x: u16, y: u16) -> Vec<Effect> {
    let Some(Dialog::Picker(state)) = model.dialogs.last_mut() else { return Vec::new() };
    let before = state.chosen().map(ToOwned::to_owned);
    let place = state.place(area);
    if !state.list.click(place, x, y) {
        return Vec::new();
    }
    let same = state.chosen() == before.as_deref();
    preview(model);
    if same { update(model, Msg::Accept) } else { Vec::new() }
}

fn classes(model: &Model) -> impl Iterator<Item = (usize, String, String)> {
    let truth = model.true_class();
    model.clean_scores(usize::MAX).into_iter().map(move |s| {
        let mark = if Some(s.class) == truth { "true class  " } else { "" };
        (s.class, format!("{}  #{}", model.label(s.class), s.class), format!("{mark}{}", text::prob(s.prob)))
    })
}

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    let Some(Dialog::Picker(state)) = model.dialogs.last_mut() else { return Vec::new() };
    match msg {
        Msg::Go(to) => {
            state.list.go(to);
            preview(model);
        }
        Msg::Close => {
            if let Some(look) = state.before.take() {
                model.theme.look = look;
            }
            model.dialogs.pop();
        }
        Msg::Accept => {
            let chosen = state.list.chosen().map(|i| i.value.clone());
            let purpose = state.purpose;
            if let Some(value) = chosen {
                model.dialogs.pop();
                take(model, purpose, value);
            }
        }
    }
    Vec::new()
}

/// Shows the selected theme.
fn preview(model: &mut Model) {
    if let Some(Dialog::Picker(state)) = model.dialogs.last()
        && let Some(Value::Theme(look)) = state.list.chosen().map(|i| &i.value)
    {
        model.theme.look = Arc::clone(look);
    }
}

fn take(model: &mut Model, purpose: Purpose, value: Value) {
    match (purpose, value) {
        (Purpose::FormTarget, Value::Target(target)) => form::set_target(model, target),
        (_, Value::Target(target)) => set_target(model, target),
        (_, Value::Layer(layer)) => model.cam.set_layer(layer),
        (_, Value::Class(class)) => model.cam.set_class(class),
        (_, Value::Theme(look)) => set_theme(model, look),
        (_, Value::Broken(why)) => model.tell(Severity::Error, why),
    }
}

/// The target of the next attack.
pub fn set_target(model: &mut Model, target: Target) {
    model.tell(Severity::Info, format!("target: {}; r runs the attack", form::target_text(model, &target)));
    model.learned.insert("target");
    model.request.target = target;
}

/// The theme from now on.
pub fn set_theme(model: &mut Model, look: Arc<Look>) {
    model.tell(Severity::Info, format!("theme {}; theme = \"{}\" in the configuration keeps it", look.name, look.name));
    model.theme.look = look;
}

/// Draws it.
pub fn view(model: &Model, state: &State, area: Rect, buf: &mut Buffer) {
    let words = Words {
        title: state.title,
        head: (String::new(), Role::Dim),
        empty: "nothing matches; Backspace widens the search",
        context: Context::Picker,
    };
    state.list.view(model, state.place(area), &words, buf);
}
