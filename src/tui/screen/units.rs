//! Screen 5: the units of a layer on x0 and x', what their change does to the logits, and what masking them brings back.

use std::collections::{BTreeSet, HashMap};

use ndarray::Array1;

use super::units_view;
pub use super::units_view::{clicked, view};
use crate::{
    core::{
        dissect::{ConceptLabels, IOU_THRESHOLD},
        explain::units::{Fill, UnitChange, nothing_passes},
        scalars,
    },
    engine::{
        command::RunId,
        inspect::{Answer, Ask, Mask},
    },
    tui::{
        effect::Effect,
        keymap::Binding,
        model::Model,
        msg::Action,
        network::{self, Typing},
        notice::Severity,
        screen::{Screen, layers},
        time,
        widget::table_state::{Cycle, Go},
    },
};

/// Order of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// Largest change of the mean response first.
    #[default]
    Change,
    /// Largest change over its spread first.
    Standardised,
    /// Strongest push from the true to the target class first.
    Effect,
    /// Best concept match first.
    Concept,
    /// By index.
    Unit,
}

impl Cycle for Sort {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Change, "change"),
        (Self::Standardised, "change over sd"),
        (Self::Effect, "effect"),
        (Self::Concept, "concept"),
        (Self::Unit, "unit"),
    ];
}

/// A mask in force, and how its units were chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The mask.
    pub mask: Mask,
    /// A few words.
    pub how: String,
}

/// What a mask did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Run and step.
    pub at: (RunId, usize),
    /// The mask.
    pub applied: Applied,
    /// Whether the adversarial image is taken for its true class through it.
    pub recovered: bool,
    /// Whether the clean image still is.
    pub clean: bool,
}

/// How the table is looked at, and what is masked.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Layer; `None` until the usual one is known.
    pub layer: Option<String>,
    /// The chosen unit.
    pub cursor: Option<usize>,
    /// Order.
    pub sort: Sort,
    /// Turned round.
    pub reversed: bool,
    /// Text that the concept, its category or the number have to contain.
    pub filter: String,
    /// Selected units.
    pub selection: BTreeSet<usize>,
    /// Masks of the layer, the one in force last.
    pub masks: Vec<Applied>,
    /// Masks and what they did.
    pub tried: Vec<Tried>,
    exact: Option<Vec<usize>>,
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// Another row.
    Go(Go),
    /// Select the unit, or not.
    Select,
    /// Zero the selection.
    Zero,
    /// Put the selection back to its clean maps.
    Patch,
    /// Take the last mask back.
    Undo,
    /// Mask the first k.
    Top,
    /// Mask a concept.
    Concept,
    /// Measure the effects of the rows on the screen.
    Exact,
    /// Next order.
    Sort,
    /// Turn the order round.
    Reverse,
    /// Type a filter.
    Filter,
    /// Forget filter, then selection; then back to the layers.
    Clear,
    /// This many layers on.
    Layer(i32),
    /// Ask again.
    Again,
}

const fn key(action: Msg, name: &'static str, help: &'static str, hint: &'static str, keys: &'static str) -> Binding {
    Binding { action: Action::Units(action), name, help, hint, keys }
}

/// Keys.
pub const KEYS: &[Binding] = &[
    key(Msg::Select, "units-select", "Selects the unit, or takes it out of the selection.", "select", "<space>"),
    key(Msg::Zero, "units-zero", "Zeroes the selected units (the chosen one without a selection).", "zero", "x"),
    key(Msg::Patch, "units-patch", "Puts the selected units back to their maps on the clean image.", "patch", "P"),
    key(Msg::Undo, "units-undo", "Takes the last mask back.", "undo", "u"),
    key(Msg::Top, "units-top", "Zeroes the first k units of the present order, or puts them back too, after P.", "top k", "K"),
    key(Msg::Concept, "units-concept", "Zeroes every unit of a concept or category, or puts them back too, after P.", "concept", "C"),
    key(Msg::Go(Go::Rows(1)), "units-down", "Next unit.", "unit", "j <down>"),
    key(Msg::Go(Go::Rows(-1)), "units-up", "Previous unit.", "unit", "k <up>"),
    key(Msg::Exact, "units-exact", "Measures the effects of the rows on the screen: one forward run per unit.", "exact", "E"),
    key(Msg::Sort, "units-sort", "Sorts by change, change over its spread, effect, concept, unit.", "sort", "s"),
    key(Msg::Filter, "units-filter", "Shows units whose concept, category or number contains a text.", "filter", "/"),
    key(Msg::Layer(1), "units-next-layer", "The next layer of screen 4.", "layer", "}"),
    key(Msg::Layer(-1), "units-previous-layer", "The previous layer of screen 4.", "layer", "{"),
    key(Msg::Reverse, "units-reverse", "Turns the order round.", "", "o"),
    key(Msg::Go(Go::Pages(1)), "units-page-down", "A screenful down.", "", "<pgdn> <C-d>"),
    key(Msg::Go(Go::Pages(-1)), "units-page-up", "A screenful up.", "", "<pgup> <C-u>"),
    key(Msg::Go(Go::First), "units-first", "First row.", "", "g"),
    key(Msg::Go(Go::Last), "units-last", "Last row.", "", "G"),
    key(Msg::Again, "units-again", "Asks again for what could not be computed.", "", "c"),
    key(Msg::Clear, "units-clear", "Forgets the filter, then the selection; then goes back to the layers.", "", "<esc>"),
];

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    match msg {
        Msg::Go(to) => go(model, to),
        Msg::Select if model.frame().is_none() => return time::update(model, time::Msg::Pause),
        Msg::Select => {
            if let Some(unit) = chosen(model) {
                if !model.units.selection.remove(&unit) {
                    model.units.selection.insert(unit);
                }
                go(model, Go::Rows(1));
            }
        }
        Msg::Zero => mask_selection(model, Fill::Zero),
        Msg::Patch => mask_selection(model, Fill::Clean),
        Msg::Undo => {
            if model.units.masks.pop().is_none() {
                model.tell(Severity::Info, "nothing is masked: x zeroes the selected units, P puts them back to clean");
            }
        }
        Msg::Top => model.network.begin(Typing::Count, ""),
        Msg::Concept => model.network.begin(Typing::Concept, ""),
        Msg::Exact => measure(model),
        Msg::Sort => sort(model),
        Msg::Reverse => model.units.reversed = !model.units.reversed,
        Msg::Filter => {
            let filter = model.units.filter.clone();
            model.network.begin(Typing::Filter, &filter);
        }
        Msg::Clear if !model.units.filter.is_empty() => model.units.filter.clear(),
        Msg::Clear if !model.units.selection.is_empty() => model.units.selection.clear(),
        Msg::Clear => model.screen = Screen::Layers,
        Msg::Layer(by) => other_layer(model, by),
        Msg::Again => model.network.retry(),
    }
    Vec::new()
}

fn sort(model: &mut Model) {
    let known = network::table(model, model.units.layer.clone());
    let (named, spread) = known.map_or((false, false), |(table, labels)| (labels.is_some(), table.spread.is_some()));
    let possible = |sort: &Sort| match sort {
        Sort::Concept => named,
        Sort::Standardised => spread,
        _ => true,
    };
    let next = std::iter::successors(Some(model.units.sort.next()), |s| Some(s.next())).find(possible);
    model.units.sort = next.unwrap_or_default();
}

/// Shows the units of a layer.
pub fn show(model: &mut Model, layer: String) {
    model.screen = Screen::Units;
    if model.units.layer.as_ref() != Some(&layer) {
        let tried = std::mem::take(&mut model.units.tried);
        model.units = State { layer: Some(layer), sort: model.units.sort, reversed: model.units.reversed, tried, ..State::default() };
    }
}

fn other_layer(model: &mut Model, by: i32) {
    let all = layers::changes(model, model.layers.all).or_else(|| layers::changes(model, true)).unwrap_or_default();
    let names: Vec<String> = all.iter().map(|c| c.info.name.clone()).collect();
    let Some(at) = names.iter().position(|n| Some(n) == model.units.layer.as_ref()) else {
        model.tell(Severity::Info, "screen 4 lists the layers: choose one there with Enter");
        return;
    };
    let to = (at as i64 + i64::from(by)).clamp(0, names.len() as i64 - 1) as usize;
    model.layers.selected = Some(names[to].clone());
    show(model, names[to].clone());
}

/// What the screen asks the worker.
pub fn wanted(model: &Model) -> Vec<Ask> {
    let Some(classes) = network::classes(model) else { return Vec::new() };
    let layer = model.units.layer.clone();
    let mut asks: Vec<Ask> = model.units.masks.last().map(|m| Ask::Mask(m.mask.clone())).into_iter().collect();
    asks.push(Ask::Units { layer: layer.clone(), classes });
    if let (Some(layer), Some(units)) = (layer, model.units.exact.clone()) {
        asks.push(Ask::Exact { layer, classes, units });
    }
    asks
}

/// An answer arrived that may concern the masks or the measured effects.
pub fn arrived(model: &mut Model, step: usize, ask: &Ask, answer: &Answer) {
    match (ask, answer) {
        (Ask::Exact { .. }, Answer::Exact(_)) => model.units.exact = None,
        (Ask::Mask(mask), Answer::Mask(logits)) => {
            let Some(run) = &model.run else { return };
            let right = |z: &Array1<f32>| scalars::predicted(z.view()) == run.label;
            let at = (run.id, step);
            // What was not lost cannot be brought back.
            if model.trace().and_then(|t| t.step(step)).is_none_or(|r| r.predicted == run.label) {
                return;
            }
            let by_hand = model.units.masks.iter().rev().find(|m| m.mask == *mask).cloned();
            // That a layer which everything passes through undoes it is true of every attack, and says nothing about this one.
            let layer = || layers::applied(model, mask).filter(|_| !nothing_passes(logits[0].view(), logits[1].view()));
            let Some(applied) = by_hand.or_else(layer) else { return };
            let new = Tried { at, applied, recovered: right(&logits[1]), clean: right(&logits[0]) };
            if !model.units.tried.contains(&new) {
                model.units.tried.push(new);
            }
        }
        _ => {}
    }
}

/// Concepts of the layer that is shown.
pub fn labels(model: &Model) -> Option<&ConceptLabels> {
    network::table(model, model.units.layer.clone())?.1.map(AsRef::as_ref)
}

/// Measured effects of units at this step.
pub fn measured(model: &Model) -> HashMap<usize, (f32, f32)> {
    let here = (model.units.layer.as_ref(), network::classes(model));
    let mut out = HashMap::new();
    for (ask, answer) in network::answers(model) {
        if let (Ask::Exact { layer, classes, units }, Answer::Exact(effects)) = (ask, answer)
            && (Some(layer), Some(*classes)) == here
        {
            out.extend(units.iter().copied().zip(effects.iter().copied()));
        }
    }
    out
}

/// Rows on the screen.
pub fn visible(model: &Model) -> Vec<&UnitChange> {
    let state = &model.units;
    let Some((table, labels)) = network::table(model, state.layer.clone()) else { return Vec::new() };
    let wanted = state.filter.trim().to_lowercase();
    let concept = |k: usize| labels.and_then(|l| l.unit(k));
    let fits = |u: &&UnitChange| {
        let named =
            || concept(u.unit).is_some_and(|c| c.label.to_lowercase().contains(&wanted) || c.category.to_lowercase().contains(&wanted));
        wanted.is_empty() || u.unit.to_string().contains(&wanted) || named()
    };
    let exact = measured(model);
    let push = |u: &UnitChange| {
        let (t0, t) = exact.get(&u.unit).copied().unwrap_or((u.effect_true, u.effect_target));
        f64::from(t - t0)
    };
    let key = |u: &UnitChange| match state.sort {
        Sort::Change => -f64::from(u.change.abs()),
        Sort::Standardised => -f64::from(u.standardised.map_or(-1.0, f32::abs)),
        Sort::Effect => -push(u),
        Sort::Concept => -concept(u.unit).map_or(-1.0, |c| c.iou),
        Sort::Unit => 0.0,
    };
    let mut rows: Vec<(f64, &UnitChange)> = table.units.iter().filter(fits).map(|u| (key(u), u)).collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.unit.cmp(&b.1.unit)));
    if state.reversed {
        rows.reverse();
    }
    rows.into_iter().map(|r| r.1).collect()
}

/// Position of the chosen row.
pub fn position(model: &Model, rows: &[&UnitChange]) -> usize {
    rows.iter().position(|u| Some(u.unit) == model.units.cursor).unwrap_or(0)
}

/// The chosen unit.
pub fn chosen(model: &Model) -> Option<usize> {
    let rows = visible(model);
    rows.get(position(model, &rows)).map(|u| u.unit)
}

fn go(model: &mut Model, to: Go) {
    let rows = visible(model);
    let to = to.to(position(model, &rows), rows.len(), units_view::rows_shown(model));
    model.units.cursor = rows.get(to).map(|u| u.unit);
}

fn measure(model: &mut Model) {
    if let Some(why) = model.without_model() {
        return model.tell(Severity::Info, why);
    }
    let known = measured(model);
    let units: Vec<usize> = units_view::on_screen(model).into_iter().filter(|u| !known.contains_key(u)).collect();
    if !units.is_empty() {
        model.network.retry();
        model.units.exact = Some(units);
    }
}

/// Whether effects are being measured.
pub fn measuring(model: &Model) -> bool {
    model.units.exact.is_some()
}

fn mask_selection(model: &mut Model, fill: Fill) {
    let selection: Vec<usize> = match model.units.selection.is_empty() {
        true => chosen(model).into_iter().collect(),
        false => model.units.selection.iter().copied().collect(),
    };
    apply(model, &selection, fill, "chosen by hand");
}

/// Masks the first units of the present order.
pub fn mask_top(model: &mut Model, line: &str) {
    let rows: Vec<usize> = visible(model).iter().map(|u| u.unit).collect();
    match line.parse::<usize>() {
        Ok(k) if k > 0 && k <= rows.len() => {
            let how = format!("the first {k} by {}", model.units.sort.name());
            apply(model, &rows[..k], fill_in_force(model), &how);
        }
        _ if line.is_empty() => {}
        _ => model.tell(Severity::Warn, format!("'{line}' is no number of units; give one from 1 to {}", rows.len())),
    }
}

/// Masks every unit of a concept.
pub fn mask_concept(model: &mut Model, line: &str) {
    if line.is_empty() {
        return;
    }
    let Some(found) = labels(model).map(|l| l.find(line, IOU_THRESHOLD)) else {
        return model.tell(Severity::Info, "the units of this layer have no names: psescope dissect gives them some");
    };
    match found.is_empty() {
        true => model.tell(Severity::Info, format!("no unit of this layer has a concept like '{line}' with an IoU of {IOU_THRESHOLD}")),
        false => apply(model, &found, fill_in_force(model), &format!("concept '{line}'")),
    }
}

/// More units join the mask in force: put back to clean where that was the last wish, else zeroed.
fn fill_in_force(model: &Model) -> Fill {
    model.units.masks.last().map_or(Fill::Zero, |m| m.mask.fill)
}

/// Adds units to the mask in force, or begins another one when they are filled otherwise.
fn apply(model: &mut Model, units: &[usize], fill: Fill, how: &str) {
    if let Some(why) = model.without_model() {
        return model.tell(Severity::Info, why);
    }
    let Some(layer) = network::table(model, model.units.layer.clone()).map(|(t, _)| t.layer.name.clone()) else {
        return model.tell(Severity::Info, "the units are not there yet");
    };
    let before = model.units.masks.last().filter(|m| m.mask.fill == fill);
    let mut all: BTreeSet<usize> = before.map(|m| m.mask.units.iter().copied().collect()).unwrap_or_default();
    let (old, how) = (all.len(), if before.is_some_and(|m| m.how != how) { "chosen in several ways" } else { how }.to_owned());
    all.extend(units);
    if all.len() == old {
        return model.tell(Severity::Info, "these units are masked already: u takes the mask back");
    }
    model.network.retry();
    let mask = Mask { layer, units: all.into_iter().collect(), fill };
    model.units.masks.push(Applied { mask, how });
    model.units.selection.clear();
}
