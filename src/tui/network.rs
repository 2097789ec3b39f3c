//! What screens 4 to 6 share: questions about layers and units of the step being looked at, and their answers. The newest question
//! wins; answers are kept by run, step and question.

use std::{sync::Arc, time::Duration};

use crossterm::event::{KeyCode, KeyModifiers};

use super::{
    effect::Effect,
    keymap::{Binding, Key},
    model::Model,
    msg::Action,
    screen::{Screen, insight, layers, units},
};
use crate::{
    core::{dissect::ConceptLabels, explain::units::UnitTable},
    engine::{
        command::{Command, RunId},
        control::Control,
        inspect::{Answer, Ask},
    },
};

/// Run, step (0 for questions about all steps) and question.
type Asked = (RunId, usize, Ask);

/// Answers kept, and how many of them may be tables of units, which hold maps.
const KEPT: (usize, usize) = (200, 12);
/// How long the cursor rests before a question is asked by itself.
const REST: Duration = Duration::from_millis(120);

/// What is being typed on a screen's first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typing {
    /// Text that rows have to contain.
    Filter,
    /// How many units to mask.
    Count,
    /// The concept whose units to mask.
    Concept,
}

/// Questions and answers.
#[derive(Debug, Clone, Default)]
pub struct State {
    answers: Vec<(Asked, Answer)>,
    pending: Option<(Asked, Control)>,
    failed: Option<Asked>,
    rest: Option<(usize, Duration)>,
    /// The line being typed.
    pub typing: Option<Typing>,
    /// Its text.
    pub line: String,
}

impl State {
    /// Forgets everything; another image or model is open.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether a question is being worked on.
    pub fn waiting(&self) -> bool {
        self.pending.is_some()
    }

    /// What failed may be asked again: the person says so.
    pub fn retry(&mut self) {
        self.failed = None;
    }

    /// Begins a line.
    pub fn begin(&mut self, typing: Typing, line: &str) {
        self.typing = Some(typing);
        line.clone_into(&mut self.line);
    }
}

/// What can be asked while a line is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// Take the line.
    Accept,
    /// Leave it.
    Close,
}

/// Keys while a line is typed.
pub const KEYS: &[Binding] = &[
    Binding { action: Action::Network(Msg::Accept), name: "line-accept", help: "Takes the line.", hint: "take", keys: "<enter>" },
    Binding { action: Action::Network(Msg::Close), name: "line-close", help: "Leaves the line.", hint: "back", keys: "<esc>" },
];

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    let Some(typing) = model.network.typing.take() else { return Vec::new() };
    let line = std::mem::take(&mut model.network.line);
    match (typing, msg, model.screen) {
        (Typing::Filter, Msg::Accept, _) => {}
        (Typing::Filter, Msg::Close, Screen::Layers) => model.layers.filter.clear(),
        (Typing::Filter, Msg::Close, _) => model.units.filter.clear(),
        (_, Msg::Close, _) => {}
        (Typing::Count, Msg::Accept, _) => units::mask_top(model, line.trim()),
        (Typing::Concept, Msg::Accept, _) => units::mask_concept(model, line.trim()),
    }
    Vec::new()
}

/// A key that is in no table: text of the line.
pub fn key(model: &mut Model, key: Key) {
    let Some(typing) = model.network.typing else { return };
    match key.code {
        KeyCode::Char(c) if !key.mods.contains(KeyModifiers::CONTROL) => model.network.line.push(c),
        KeyCode::Backspace => {
            model.network.line.pop();
        }
        _ => {}
    }
    if typing == Typing::Filter {
        let line = model.network.line.clone();
        match model.screen {
            Screen::Layers => model.layers.filter = line,
            _ => model.units.filter = line,
        }
    }
}

/// True class and the class that is attacked towards: the target, else what the image is taken for, else the runner-up.
pub fn classes(model: &Model) -> Option<(usize, usize)> {
    let run = model.run.as_ref()?;
    if let Some(target) = run.target {
        return Some((run.label, target));
    }
    let record = model.trace()?.step(model.frame()?.index)?;
    record.top.iter().map(|t| t.0).find(|c| *c != run.label).map(|other| (run.label, other))
}

fn asked(model: &Model, ask: Ask) -> Option<Asked> {
    let run = model.run.as_ref()?.id;
    let step = if matches!(ask, Ask::Over { .. }) { 0 } else { model.frame()?.index };
    Some((run, step, ask))
}

impl State {
    fn get(&self, asked: &Asked) -> Option<&Answer> {
        self.answers.iter().rev().find(|(a, _)| a == asked).map(|(_, answer)| answer)
    }
}

/// The answer to a question about the step being looked at.
pub fn answer(model: &Model, ask: Ask) -> Option<&Answer> {
    model.network.get(&asked(model, ask)?)
}

/// Answers about the step being looked at.
pub fn answers(model: &Model) -> impl Iterator<Item = (&Ask, &Answer)> {
    let here = model.run.as_ref().map(|r| r.id).zip(model.frame().map(|f| f.index));
    model.network.answers.iter().filter(move |((run, step, _), _)| Some((*run, *step)) == here).map(|((_, _, ask), a)| (ask, a))
}

/// The table of a layer's units and their names.
pub fn table(model: &Model, layer: Option<String>) -> Option<(&Arc<UnitTable>, Option<&Arc<ConceptLabels>>)> {
    match answer(model, Ask::Units { layer, classes: classes(model)? })? {
        Answer::Units(table, labels) => Some((table, labels.as_ref())),
        _ => None,
    }
}

/// Why there is nothing to show, in one sentence; nothing while an answer is on its way.
pub fn lacking(model: &Model) -> Option<String> {
    if model.frame().is_none() {
        return Some("This appears once an attack has run: a chooses one.".into());
    }
    if let Some(why) = model.without_model() {
        return Some(why);
    }
    if model.flowing() {
        return Some("This follows when the attack pauses or ends.".into());
    }
    model.network.failed.as_ref().map(|_| "This could not be computed; M lists why, c asks again.".into())
}

/// Called after every message: asks what the screen lacks once the cursor rests, and stops what nobody waits for any more.
pub fn follow(model: &mut Model) -> Vec<Effect> {
    let usable = model.opened.is_some() && model.without_model().is_none() && !model.flowing();
    let asks = match model.screen {
        _ if !usable => Vec::new(),
        Screen::Layers => layers::wanted(model),
        Screen::Units => units::wanted(model),
        Screen::Insight => insight::wanted(model),
        _ => Vec::new(),
    };
    let lacks = |a: &Asked| !matches!(model.network.get(a), Some(answer) if !matches!(answer, Answer::Over(_, false)));
    let next = asks.into_iter().filter_map(|ask| asked(model, ask)).find(|a| lacks(a) && model.network.failed.as_ref() != Some(a));
    let mut effects = Vec::new();
    if let Some((pending, control)) = &model.network.pending {
        if Some(pending) == next.as_ref() {
            return effects;
        }
        effects.push(Effect::Stop(control.clone()));
        model.network.pending = None;
    }
    let Some(next) = next else { return effects };
    // What a key asked for does not wait.
    let by_itself = matches!(next.2, Ask::Layers { .. } | Ask::Units { .. });
    let position = model.position().unwrap_or(0);
    match model.network.rest {
        Some((at, since)) if at == position && (!by_itself || model.now >= since + REST) => {}
        Some((at, _)) if at == position => return effects,
        _ => {
            model.network.rest = Some((position, model.now));
            return effects;
        }
    }
    let control = Control::default();
    model.network.pending = Some((next.clone(), control.clone()));
    let (run, step, ask) = next;
    effects.push(Effect::Engine(Command::Network { run, step, ask, control }));
    effects
}

/// An answer arrived.
pub fn arrived(model: &mut Model, run: RunId, step: usize, ask: Ask, answer: Answer) {
    let asked: Asked = (run, if matches!(ask, Ask::Over { .. }) { 0 } else { step }, ask);
    let growing = matches!(answer, Answer::Over(_, false));
    if !growing && model.network.pending.as_ref().is_some_and(|(a, _)| *a == asked) {
        model.network.pending = None;
    }
    if matches!(answer, Answer::Stopped) || model.run.as_ref().is_none_or(|r| r.id != run) {
        return;
    }
    if let (Answer::Units(table, _), Ask::Units { layer: None, classes }) = (&answer, &asked.2) {
        // It answers the question with the layer's name too.
        let name = table.layer.name.clone();
        keep(&mut model.network, (run, step, Ask::Units { layer: Some(name.clone()), classes: *classes }), answer.clone());
        model.units.layer.get_or_insert(name);
    }
    units::arrived(model, step, &asked.2, &answer);
    keep(&mut model.network, asked, answer);
}

fn keep(state: &mut State, asked: Asked, answer: Answer) {
    state.answers.retain(|(a, _)| *a != asked);
    let table = |a: &(Asked, Answer)| matches!(a.1, Answer::Units(..));
    if table(&(asked.clone(), answer.clone())) && state.answers.iter().filter(|a| table(a)).count() >= KEPT.1
        || state.answers.len() >= KEPT.0
    {
        let oldest = state.answers.iter().position(table).unwrap_or(0);
        state.answers.remove(oldest);
    }
    state.answers.push((asked, answer));
}

/// The worker could not do something: if it was a question of ours, it is not asked again by itself.
pub fn failed(model: &mut Model) {
    if let Some((asked, _)) = model.network.pending.take() {
        model.network.failed = Some(asked);
    }
}
