//! Screen 3: where the network looks, for two classes on two images: C(x0,t0), C(x0,t), C(x',t0), C(x',t), all four
//! on one scale.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use ndarray::Array2;
use ratatui::layout::Rect;

use crate::{
    core::explain::{
        cam::{CamMap, METHODS, Method},
        faithfulness::Faithfulness,
        interpretability::{self, Interpretability, Threshold},
        region::{ClassRef, RegionSpec},
        upsample::bilinear,
    },
    engine::{
        command::{At, Command, RunId},
        control::Control,
        trace::maps::StepCam,
    },
    tui::{
        dialog::{Dialog, picker},
        effect::Effect,
        keymap::Binding,
        layout,
        model::Model,
        msg::Action,
        notice::Severity,
        screen::{
            Screen,
            cam_charts::{self, Compare, LEVELS},
            insight,
        },
    },
};

/// A map asked for: image, method, layer asked for, class.
pub(super) type Ask = (At, Method, Option<String>, usize);

/// What the wide panel shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Chart {
    /// Nothing: the maps have the room.
    #[default]
    None,
    /// The interpretability score over the threshold.
    Scores,
    /// Deletion, insertion, ROAD.
    Faithfulness,
    /// An attack within a region beside the same one everywhere.
    Compare,
}

/// A region cut out of a map: whose, at which level, and its pixels.
type Cut = (Ask, f32, Arc<Array2<bool>>);

/// Settings and the maps so far.
#[derive(Debug, Clone)]
pub struct State {
    /// Method.
    pub method: Method,
    /// Layer; `None` is the usual one.
    pub layer: Option<String>,
    /// Second class; `None` is the target, or the prediction.
    pub class: Option<usize>,
    /// Opacity of the hottest place.
    pub strength: f32,
    /// Picture and map beside each other instead of one over the other.
    pub beside: bool,
    /// Clean and adversarial maps in turn at the same place.
    pub blink: bool,
    /// The two maps of x' as differences from those of x0.
    pub difference: bool,
    /// Quantile level above which a pixel belongs to the region.
    pub level: f32,
    /// What the wide panel shows.
    pub chart: Chart,
    /// The attack within a region that was asked for last.
    pub compare: Option<Compare>,
    /// Map with the focus.
    pub focus: usize,
    /// Whether it fills the screen.
    pub zoom: bool,
    has_linear_head: bool,
    pub(super) maps: HashMap<Ask, Arc<CamMap>>,
    asked: HashSet<Ask>,
    /// Asked for before anybody wanted them.
    ahead: HashSet<Ask>,
    scores: HashMap<(Ask, RunId, usize), Vec<Option<Interpretability>>>,
    pub(super) rest: Option<(usize, Duration)>,
    pending: Vec<(Ask, Control)>,
    region: Option<Cut>,
    pub(super) believed: HashMap<Ask, Arc<Faithfulness>>,
    doubted: Option<(Ask, Control)>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            method: Method::GradCam,
            layer: None,
            class: None,
            strength: 0.7,
            beside: false,
            blink: false,
            difference: false,
            level: 0.7,
            chart: Chart::None,
            compare: None,
            focus: 0,
            zoom: false,
            has_linear_head: false,
            maps: HashMap::new(),
            asked: HashSet::new(),
            ahead: HashSet::new(),
            scores: HashMap::new(),
            rest: None,
            pending: Vec::new(),
            region: None,
            believed: HashMap::new(),
            doubted: None,
        }
    }
}

impl State {
    /// Forgets the maps; another image or model is open.
    pub fn reset(&mut self, has_linear_head: bool) {
        let method = if has_linear_head { Method::Cam } else { Method::GradCam };
        *self = Self { strength: self.strength, beside: self.beside, level: self.level, method, has_linear_head, ..Self::default() };
    }

    /// The maps of a run and of its clean image.
    pub fn kept(&self, run: RunId) -> Vec<StepCam> {
        let mut kept: Vec<StepCam> = Vec::new();
        for ((at, ..), map) in &self.maps {
            let step = match at {
                At::Clean => None,
                At::Step(id, step) if *id == run => Some(*step),
                At::Step(..) => continue,
            };
            // One map answers two questions: with its layer named, and without.
            if !kept.iter().any(|k| Arc::ptr_eq(&k.map, map)) {
                kept.push(StepCam { step, map: Arc::clone(map) });
            }
        }
        kept.sort_by(|a, b| (a.step, a.map.class, &a.map.layer).cmp(&(b.step, b.map.class, &b.map.layer)));
        kept
    }

    /// Takes the maps of a recorded run, and shows their method.
    pub fn restore(&mut self, run: RunId, maps: &[StepCam]) {
        for StepCam { step, map } in maps {
            let at = step.map_or(At::Clean, |step| At::Step(run, step));
            for layer in [None, Some(map.layer.clone())] {
                let key = (at, map.method, layer, map.class);
                self.asked.insert(key.clone());
                self.maps.insert(key, Arc::clone(map));
            }
            self.method = map.method;
        }
    }

    /// The model of the recorded run is open: what is missing can be asked for.
    pub fn revived(&mut self, has_linear_head: bool) {
        self.has_linear_head = has_linear_head;
        if has_linear_head && self.maps.is_empty() {
            self.method = Method::Cam;
        }
        self.rest = None;
    }

    /// Chooses a layer.
    pub fn set_layer(&mut self, layer: Option<String>) {
        if layer.is_some() && self.method == Method::Cam {
            self.method = Method::GradCam;
        }
        self.layer = layer;
    }

    /// Chooses the second class.
    pub fn set_class(&mut self, class: Option<usize>) {
        self.class = class;
    }

    fn toggle(&mut self, chart: Chart) {
        self.chart = if self.chart == chart { Chart::None } else { chart };
    }

    /// Something could not be computed: it is not asked for again by itself.
    pub fn failed(&mut self) {
        self.rest = None;
        self.pending.clear();
    }
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// Next method.
    Method,
    /// Choose the layer.
    Layer,
    /// Choose the second class.
    Class,
    /// Weaker overlay.
    Weaker,
    /// Stronger overlay.
    Stronger,
    /// Over each other, side by side, or clean and adversarial in turn.
    Flip,
    /// Differences instead of the maps of x'.
    Difference,
    /// Lower level: a larger region.
    LevelDown,
    /// Higher level: a smaller region.
    LevelUp,
    /// The score over the threshold.
    Scores,
    /// Whether the map with the focus can be believed.
    Faithfulness,
    /// Attack inside the region.
    Inside,
    /// The comparison of the two attacks.
    Compare,
    /// Fill the screen with one map, or back.
    Zoom,
    /// Next map.
    Next,
    /// Previous map.
    Previous,
}

const fn key(action: Msg, name: &'static str, help: &'static str, hint: &'static str, keys: &'static str) -> Binding {
    Binding { action: Action::Cam(action), name, help, hint, keys }
}

/// Keys.
pub const KEYS: &[Binding] = &[
    key(Msg::Method, "cam-method", "Next method.", "method", "n"),
    key(Msg::Layer, "cam-layer", "Chooses the layer.", "layer", "o"),
    key(Msg::Class, "cam-class", "Chooses the second class.", "class", "c"),
    key(Msg::Flip, "cam-flip", "Map over the picture, beside it, or clean and adversarial maps in turn.", "view", "v"),
    key(
        Msg::Inside,
        "cam-attack-inside",
        "Repeats the attack inside the region of the map with the focus and compares the two.",
        "attack inside",
        "I",
    ),
    key(Msg::Scores, "cam-scores", "Interpretability score over the threshold, or hides it.", "IS", "i"),
    key(Msg::Faithfulness, "cam-faithfulness", "Measures whether the map with the focus can be believed, or hides that.", "believe?", "f"),
    key(Msg::Difference, "cam-difference", "Shows C(x',c) - C(x0,c) instead of the maps of x'.", "difference", "d"),
    key(Msg::LevelDown, "cam-level-down", "Lowers the threshold: a larger region.", "", "x"),
    key(Msg::LevelUp, "cam-level-up", "Raises the threshold: a smaller region.", "", "X"),
    key(Msg::Compare, "cam-compare", "Shows the attack inside the region beside the one everywhere, or hides that.", "", "C"),
    key(Msg::Zoom, "cam-zoom", "Fills the screen with the map that has the focus, or goes back.", "zoom", "z"),
    key(Msg::Weaker, "cam-weaker", "Weaker overlay.", "", "-"),
    key(Msg::Stronger, "cam-stronger", "Stronger overlay.", "", "+ ="),
    key(Msg::Next, "cam-next", "Moves the focus to the next map.", "", "<tab>"),
    key(Msg::Previous, "cam-previous", "Moves the focus to the previous map.", "", "<backtab>"),
];

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    let state = &mut model.cam;
    match msg {
        Msg::Method => next_method(model),
        Msg::Layer => model.dialogs.push(Dialog::Picker(picker::State::layers(model))),
        Msg::Class => model.dialogs.push(Dialog::Picker(picker::State::cam_classes(model))),
        Msg::Weaker => state.strength = (state.strength - 0.1).max(0.1),
        Msg::Stronger => state.strength = (state.strength + 0.1).min(1.0),
        Msg::Flip => {
            (state.beside, state.blink) = match (state.beside, state.blink) {
                (false, false) => (true, false),
                (true, _) => (false, true),
                (false, true) => (false, false),
            }
        }
        Msg::Difference => state.difference = !state.difference,
        Msg::LevelDown => state.level = ((state.level * 20.0).round() - 1.0).max(0.0) / 20.0,
        Msg::LevelUp => state.level = ((state.level * 20.0).round() + 1.0).min(19.0) / 20.0,
        Msg::Scores => state.toggle(Chart::Scores),
        Msg::Compare => state.toggle(Chart::Compare),
        Msg::Faithfulness => state.toggle(Chart::Faithfulness),
        Msg::Inside => return cam_charts::attack_inside(model),
        Msg::Zoom => state.zoom = !state.zoom,
        Msg::Next => state.focus = (state.focus + 1) % 4,
        Msg::Previous => state.focus = (state.focus + 3) % 4,
    }
    Vec::new()
}

fn next_method(model: &mut Model) {
    let at = METHODS.iter().position(|m| m.method == model.cam.method).unwrap_or(0);
    let mut next = METHODS[(at + 1) % METHODS.len()].method;
    if next == Method::Cam && !model.cam.has_linear_head {
        model.tell(Severity::Info, "plain CAM is left out: it needs global average pooling and one linear layer at the end");
        next = Method::GradCam;
    }
    model.cam.method = next;
    if next == Method::Cam {
        model.cam.layer = None;
    }
}

/// A click on a map gives it the focus.
pub fn clicked(model: &mut Model, body: Rect, x: u16, y: u16) {
    let board = layout::board(body, model.cam.focus, model.cam.zoom, false);
    if let Some((pane, _)) = board.panes.iter().find(|(_, r)| r.contains((x, y).into())) {
        model.cam.focus = *pane;
    }
}

/// The two classes: the true one, and the target, the prediction or the runner-up.
pub fn classes(model: &Model) -> Option<(usize, usize)> {
    let truth = model.true_class()?;
    let target = model.run.as_ref().and_then(|r| r.target);
    let scores = model.current_scores(2);
    let other = scores.iter().map(|s| s.class).find(|c| *c != truth);
    Some((truth, model.cam.class.or(target).or(other)?))
}

/// The four maps that belong on the screen.
pub(super) fn wanted(model: &Model) -> Vec<Ask> {
    let Some((truth, other)) = classes(model) else { return Vec::new() };
    let adversarial = model.run.as_ref().zip(model.frame()).map(|(run, frame)| At::Step(run.id, frame.index));
    let ask = |at, class| (at, model.cam.method, model.cam.layer.clone(), class);
    let mut out = vec![ask(At::Clean, truth), ask(At::Clean, other)];
    out.extend(adversarial.into_iter().flat_map(|at| [ask(at, truth), ask(at, other)]));
    out
}

/// The clean image's map whose region is meant: of the class that has the focus.
fn region_ask(model: &Model) -> Option<Ask> {
    let (truth, other) = classes(model)?;
    Some((At::Clean, model.cam.method, model.cam.layer.clone(), if model.cam.focus.is_multiple_of(2) { truth } else { other }))
}

/// The region in use and what to call it, once its map is there.
pub fn region(model: &Model) -> Option<(Arc<Array2<bool>>, String)> {
    let ask = region_ask(model)?;
    let (_, level, region) = model.cam.region.as_ref().filter(|(a, level, _)| *a == ask && *level == model.cam.level)?;
    let class = if model.cam.focus.is_multiple_of(2) { "t0" } else { "t" };
    Some((Arc::clone(region), format!("{}:{class}:{level}", ask.1.info().name)))
}

/// The region in use as an attack takes it.
pub fn region_text(model: &Model) -> Option<String> {
    let (_, method, layer, class) = region_ask(model)?;
    let class = ClassRef::Named(class.to_string());
    Some(RegionSpec { method, layer, class, threshold: Threshold::Percentile(model.cam.level * 100.0) }.to_string())
}

/// Whether maps change by themselves.
pub fn blinking(model: &Model) -> bool {
    model.screen == Screen::Cam && model.cam.blink && model.frame().is_some()
}

/// Called after every message: asks for what is missing once the cursor rests.
pub fn follow(model: &mut Model) -> Vec<Effect> {
    if model.opened.is_none() {
        return Vec::new();
    }
    let inspecting = model.screen == Screen::Pixels && (model.pixels.in_cells || model.pixels.in_pixels);
    let wanted: Vec<Ask> = match model.screen {
        Screen::Cam => wanted(model),
        // The sentence about the place needs the maps of the clean image.
        Screen::Insight if insight::wants_place(model) => wanted(model).into_iter().take(2).collect(),
        // The inspector says whether a cell lies in the region; a slow map is not computed for that alone.
        _ if inspecting && model.cam.method != Method::ScoreCam => region_ask(model).into_iter().collect(),
        _ => Vec::new(),
    };
    let mut effects = abandon(model, &wanted);
    effects.extend(give_up(model));
    if wanted.is_empty() || model.flowing() {
        return effects;
    }
    let position = model.position().unwrap_or(0);
    match model.cam.rest {
        Some((at, since)) if at == position => {
            if model.now < since + Duration::from_millis(120) && model.run.is_some() {
                return effects;
            }
        }
        _ => {
            model.cam.rest = Some((position, model.now));
            return effects;
        }
    }
    cut(model);
    if model.screen == Screen::Insight {
        score(model);
    }
    if model.screen == Screen::Cam {
        score(model);
        if model.without_model().is_some() {
            return effects;
        }
        effects.extend(doubt(model));
        effects.extend(cam_charts::follow(model));
    }
    if model.without_model().is_some() {
        return effects;
    }
    for ask in wanted {
        if model.cam.maps.contains_key(&ask) || !model.cam.asked.insert(ask.clone()) {
            continue;
        }
        let control = Control::default();
        model.cam.pending.push((ask.clone(), control.clone()));
        let (at, method, layer, class) = ask;
        effects.push(Effect::Engine(Command::Cam { at, method, layer, class, control }));
    }
    effects
}

/// A map of a step beside the one on the screen, for whoever asks ahead; nothing when they are there, or take long.
pub fn ahead(model: &mut Model, step: usize, control: &Control) -> Option<Command> {
    if model.cam.method == Method::ScoreCam {
        return None;
    }
    let (at, method, layer, class) = wanted(model)
        .into_iter()
        .skip(2)
        .map(|(at, method, layer, class)| (beside(at, step), method, layer, class))
        .find(|a| !model.cam.maps.contains_key(a))?;
    model.cam.ahead.insert((at, method, layer.clone(), class));
    Some(Command::Cam { at, method, layer, class, control: control.clone() })
}

fn beside(at: At, step: usize) -> At {
    match at {
        At::Step(run, _) => At::Step(run, step),
        At::Clean => At::Clean,
    }
}

/// Whether every map of the step on the screen is there.
pub fn at_rest(model: &Model) -> bool {
    model.cam.pending.is_empty() && !missing(model)
}

/// Stops maps that nobody looks at any more.
fn abandon(model: &mut Model, wanted: &[Ask]) -> Vec<Effect> {
    let state = &mut model.cam;
    let (keep, stale): (Vec<_>, Vec<_>) = std::mem::take(&mut state.pending).into_iter().partition(|(ask, _)| wanted.contains(ask));
    state.pending = keep;
    let mut effects = Vec::new();
    for (ask, control) in stale {
        if !state.maps.contains_key(&ask) {
            state.asked.remove(&ask);
            effects.push(Effect::Stop(control));
        }
    }
    effects
}

/// Cuts the region out of its map.
fn cut(model: &mut Model) {
    let level = model.cam.level;
    let (Some(ask), Some(opened)) = (region_ask(model), &model.opened) else { return };
    if model.cam.region.as_ref().is_some_and(|(a, l, _)| *a == ask && *l == level) {
        return;
    }
    let Some(map) = model.cam.maps.get(&ask) else { return };
    let (_, h, w) = opened.image.dim();
    let large = bilinear(map.defined().view(), [h, w]);
    if let Ok((region, _)) = interpretability::region(large.view(), Threshold::Percentile(level * 100.0)) {
        model.cam.region = Some((ask, level, Arc::new(region)));
    }
}

/// Asks whether the map with the focus can be believed.
fn doubt(model: &mut Model) -> Vec<Effect> {
    if model.cam.chart != Chart::Faithfulness || model.running() {
        return Vec::new();
    }
    let Some(ask) = wanted(model).get(model.cam.focus).cloned() else { return Vec::new() };
    let Some(map) = model.cam.maps.get(&ask).map(Arc::clone) else { return Vec::new() };
    if model.cam.believed.contains_key(&ask) || model.cam.doubted.as_ref().is_some_and(|(doubted, _)| *doubted == ask) {
        return Vec::new();
    }
    let (at, control) = (ask.0, Control::default());
    model.cam.doubted = Some((ask, control.clone()));
    vec![Effect::Engine(Command::Faithfulness { at, map, control })]
}

/// Stops measuring a map when nobody looks at the result any more: it takes long, and everything else would wait for it.
fn give_up(model: &mut Model) -> Option<Effect> {
    if model.screen == Screen::Cam && model.cam.chart == Chart::Faithfulness {
        return None;
    }
    let (ask, control) = model.cam.doubted.take()?;
    (!model.cam.believed.contains_key(&ask)).then_some(Effect::Stop(control))
}

/// A map was measured.
pub fn believed(model: &mut Model, at: At, map: &CamMap, result: Arc<Faithfulness>) {
    let asks = [Some(map.layer.clone()), None].map(|layer| (at, map.method, layer, map.class));
    for ask in asks {
        if model.cam.maps.contains_key(&ask) {
            model.cam.believed.insert(ask, Arc::clone(&result));
        }
    }
}

/// Scores the perturbation of the present step against the maps that are there: the curve over the threshold of each.
fn score(model: &mut Model) {
    let (Some(frame), Some(run)) = (model.frame(), model.run.as_ref().map(|r| r.id)) else { return };
    let (_, height, width) = frame.delta.dim();
    if model.cam.scores.len() > KEPT {
        model.cam.scores.clear();
    }
    let levels: Vec<f32> = (0..LEVELS).map(|i| 100.0 * i as f32 / LEVELS as f32).collect();
    for ask in wanted(model) {
        let key = (ask.clone(), run, frame.index);
        let Some(map) = model.cam.maps.get(&ask).filter(|_| !model.cam.scores.contains_key(&key)) else { continue };
        let large = bilinear(map.defined().view(), [height, width]);
        if let Ok(curve) = interpretability::curve(large.view(), frame.delta.view(), &levels) {
            model.cam.scores.insert(key, curve);
        }
    }
}

/// The curve of one of the four maps for the present step.
pub(super) fn curve_of<'a>(model: &'a Model, ask: &Ask) -> Option<&'a Vec<Option<Interpretability>>> {
    model.cam.scores.get(&(ask.clone(), model.run.as_ref()?.id, model.frame()?.index))
}

/// Score of one of the four maps for the present step.
pub(super) fn score_of(model: &Model, ask: &Ask) -> Option<Interpretability> {
    let at = (model.cam.level * LEVELS as f32).round() as usize;
    curve_of(model, ask)?.get(at).copied().flatten()
}

const KEPT: usize = 400;

/// A map arrived: it answers the question asked with its layer, or with the usual one.
pub fn arrived(model: &mut Model, at: At, map: Arc<CamMap>) {
    let named = (at, map.method, Some(map.layer.clone()), map.class);
    let usual = (at, map.method, None, map.class);
    let state = &mut model.cam;
    if state.maps.len() > KEPT {
        state.maps.retain(|(a, ..), _| *a == At::Clean);
        state.asked.retain(|(a, ..)| *a == At::Clean);
        state.ahead.clear();
    }
    for key in [named, usual] {
        state.pending.retain(|(ask, _)| *ask != key);
        let expected = state.asked.contains(&key) || state.ahead.remove(&key);
        if expected && !state.maps.contains_key(&key) {
            state.maps.insert(key, Arc::clone(&map));
        }
    }
}

/// Whether maps of the present position are still being computed.
pub fn waiting(model: &Model) -> bool {
    model.without_model().is_none() && missing(model)
}

/// Whether maps of the present position are not there.
pub fn missing(model: &Model) -> bool {
    wanted(model).iter().any(|a| !model.cam.maps.contains_key(a))
}
