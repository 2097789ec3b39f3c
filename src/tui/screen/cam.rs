//! Screen 3: where the network looks, for two classes on two images: C(x0,t0), C(x0,t), C(x',t0), C(x',t), all four
//! on one scale.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use ratatui::{buffer::Buffer, layout::Rect};

use crate::{
    core::explain::{
        cam::{CamMap, METHODS, Method},
        interpretability::{Interpretability, Threshold, interpretability},
        upsample::bilinear,
    },
    engine::{
        command::{At, Command, RunId},
        event::Opened,
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
        screen::Screen,
        text,
        theme::Role,
        view::{ViewCache, draw, picture},
        widget::{
            overlay::draw_heat,
            pixel_grid::{Ink, Placed, Raster},
        },
    },
};

/// A map asked for: image, method, layer asked for, class.
type Ask = (At, Method, Option<String>, usize);

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
    /// Map with the focus.
    pub focus: usize,
    /// Whether it fills the screen.
    pub zoom: bool,
    has_linear_head: bool,
    maps: HashMap<Ask, Arc<CamMap>>,
    asked: HashSet<Ask>,
    scores: HashMap<(Ask, RunId, usize), Interpretability>,
    rest: Option<(usize, Duration)>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            method: Method::GradCam,
            layer: None,
            class: None,
            strength: 0.7,
            beside: false,
            focus: 0,
            zoom: false,
            has_linear_head: false,
            maps: HashMap::new(),
            asked: HashSet::new(),
            scores: HashMap::new(),
            rest: None,
        }
    }
}

impl State {
    /// Forgets the maps; another image or model is open.
    pub fn reset(&mut self, has_linear_head: bool) {
        let method = if has_linear_head { Method::Cam } else { Method::GradCam };
        *self = Self { strength: self.strength, beside: self.beside, method, has_linear_head, ..Self::default() };
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

    /// Something could not be computed: it is not asked for again by itself.
    pub fn failed(&mut self) {
        self.rest = None;
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
    /// Over each other or side by side.
    Flip,
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
    key(Msg::Flip, "cam-flip", "Map over the picture, or beside it.", "overlay", "v"),
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
        Msg::Flip => state.beside = !state.beside,
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
fn wanted(model: &Model) -> Vec<Ask> {
    let Some((truth, other)) = classes(model) else { return Vec::new() };
    let adversarial = model.run.as_ref().zip(model.frame()).map(|(run, frame)| At::Step(run.id, frame.index));
    let ask = |at, class| (at, model.cam.method, model.cam.layer.clone(), class);
    let mut out = vec![ask(At::Clean, truth), ask(At::Clean, other)];
    out.extend(adversarial.into_iter().flat_map(|at| [ask(at, truth), ask(at, other)]));
    out
}

/// Called after every message: asks for what is missing once the cursor rests.
pub fn follow(model: &mut Model) -> Vec<Effect> {
    if model.screen != Screen::Cam || model.opened.is_none() || model.flowing() {
        return Vec::new();
    }
    let position = model.position().unwrap_or(0);
    match model.cam.rest {
        Some((at, since)) if at == position => {
            if model.now < since + Duration::from_millis(120) && model.run.is_some() {
                return Vec::new();
            }
        }
        _ => {
            model.cam.rest = Some((position, model.now));
            return Vec::new();
        }
    }
    score(model);
    if model.without_model().is_some() {
        return Vec::new();
    }
    let missing: Vec<Ask> = wanted(model).into_iter().filter(|a| !model.cam.maps.contains_key(a) && !model.cam.asked.contains(a)).collect();
    missing
        .into_iter()
        .map(|ask| {
            model.cam.asked.insert(ask.clone());
            let (at, method, layer, class) = ask;
            Effect::Engine(Command::Cam { at, method, layer, class })
        })
        .collect()
}

/// Interpretability scores are taken over the hottest thirty percent of a map.
const PERCENTILE: f32 = 70.0;

/// Scores the perturbation of the present step against the maps that are there.
fn score(model: &mut Model) {
    let (Some(frame), Some(run)) = (model.frame(), model.run.as_ref().map(|r| r.id)) else { return };
    let (_, height, width) = frame.delta.dim();
    if model.cam.scores.len() > KEPT {
        model.cam.scores.clear();
    }
    for ask in wanted(model) {
        let key = (ask.clone(), run, frame.index);
        let Some(map) = model.cam.maps.get(&ask).filter(|_| !model.cam.scores.contains_key(&key)) else { continue };
        let large = bilinear(map.raw.view(), [height, width]);
        if let Ok(Some(score)) = interpretability(large.view(), frame.delta.view(), Threshold::Percentile(PERCENTILE)) {
            model.cam.scores.insert(key, score);
        }
    }
}

/// Score of one of the four maps for the present step.
fn score_of(model: &Model, ask: &Ask) -> Option<Interpretability> {
    model.cam.scores.get(&(ask.clone(), model.run.as_ref()?.id, model.frame()?.index)).copied()
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
    }
    for key in [named, usual] {
        if state.asked.contains(&key) && !state.maps.contains_key(&key) {
            state.maps.insert(key, Arc::clone(&map));
        }
    }
}

/// Whether maps of the present position are still being computed.
pub fn waiting(model: &Model) -> bool {
    model.without_model().is_none() && missing(model)
}

/// Whether maps of the present position are not there.
fn missing(model: &Model) -> bool {
    wanted(model).iter().any(|a| !model.cam.maps.contains_key(a))
}

/// Draws it.
pub fn view(model: &Model, opened: &Opened, cache: &mut ViewCache, body: Rect, buf: &mut Buffer) {
    let board = layout::board(body, model.cam.focus, model.cam.zoom, false);
    let asks = wanted(model);
    let maps: Vec<Option<Arc<CamMap>>> = (0..4).map(|i| asks.get(i).and_then(|a| model.cam.maps.get(a)).cloned()).collect();
    let limit = limit(&maps);
    for (pane, area) in board.panes {
        map_pane(model, opened, cache, (pane, maps[pane].as_deref(), limit), area, buf);
    }
    if let Some(area) = board.side {
        panel(model, &maps, limit, area, buf);
    }
}

/// 99.5th percentile of the positive parts of all maps: the shared scale.
fn limit(maps: &[Option<Arc<CamMap>>]) -> f32 {
    let mut all: Vec<f32> = maps.iter().flatten().flat_map(|m| m.raw.iter().copied()).filter(|v| *v > 0.0).collect();
    all.sort_by(f32::total_cmp);
    all.get(((all.len() as f32 - 1.0).max(0.0) * 0.995).round() as usize).copied().unwrap_or(1.0)
}

fn map_pane(model: &Model, opened: &Opened, cache: &mut ViewCache, what: (usize, Option<&CamMap>, f32), area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let (pane, map, limit) = what;
    let adversarial = pane >= 2;
    let class = classes(model).map(|(t0, t)| if pane % 2 == 0 { t0 } else { t });
    let (x, t) = (if adversarial { "x'" } else { "x0" }, if pane % 2 == 0 { "t0" } else { "t" });
    let word = match (adversarial, area.width >= 24) {
        (true, true) => "adversarial",
        (true, false) => "adv.",
        (false, _) => "clean",
    };
    let title = format!("C({x},{t}) {word}");
    let range =
        map.filter(|_| area.width >= 40).map(|m| format!("  {} to {}", text::number(low(m)), text::number(high(m)))).unwrap_or_default();
    let room = usize::from(area.width).saturating_sub(text::width(&range) + 6);
    let caption = class.map(|c| format!("{}{range}", text::truncate(&model.short_label(c), room, theme.ellipsis()))).unwrap_or_default();
    let inner = draw::frame(theme, area, &title, &caption, pane == model.cam.focus, buf);
    if adversarial && model.frame().is_none() {
        return draw::centred(buf, inner, &[("appears once an attack has run".into(), theme.style(Role::Dim))]);
    }
    let placed = if model.cam.beside {
        let (photo, heat) = halves(inner);
        if let (Some(map), Some(placed)) = (map, Placed::new(opened.image.dim().2, opened.image.dim().1, heat, Ink::of(theme))) {
            draw_heat(&map.raw, limit, 1.0, None, &placed, theme, buf);
        }
        in_pane(model, opened, cache, adversarial, photo)
    } else {
        in_pane(model, opened, cache, adversarial, inner)
    };
    let Some((placed, raster)) = placed else { return };
    raster.draw(&placed, theme, buf);
    if let Some(map) = map.filter(|_| !model.cam.beside) {
        draw_heat(&map.raw, limit, model.cam.strength, Some(&raster), &placed, theme, buf);
    }
}

fn in_pane(model: &Model, opened: &Opened, cache: &mut ViewCache, adversarial: bool, area: Rect) -> Option<(Placed, Arc<Raster>)> {
    if adversarial { picture::adversarial(model, opened, cache, area) } else { picture::clean(model, opened, cache, area) }
}

/// Room for a picture and its map, along the longer side.
fn halves(area: Rect) -> (Rect, Rect) {
    if area.height * 2 > area.width {
        let half = area.height / 2;
        (Rect { height: half, ..area }, Rect { y: area.y + half, height: area.height - half, ..area })
    } else {
        let half = area.width / 2;
        (Rect { width: half, ..area }, Rect { x: area.x + half, width: area.width - half, ..area })
    }
}

fn low(map: &CamMap) -> f32 {
    map.raw.iter().copied().fold(f32::INFINITY, f32::min)
}

fn high(map: &CamMap) -> f32 {
    map.raw.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

fn panel(model: &Model, maps: &[Option<Arc<CamMap>>], limit: f32, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let inner = draw::frame(theme, area, "activation maps", "", false, buf);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let method = model.cam.method.info().title;
    let shown = maps.iter().flatten().next();
    let layer = shown.map_or_else(|| model.cam.layer.clone().unwrap_or_else(|| "the usual one".into()), |m| m.layer.clone());
    let size = shown.map(|m| m.raw.dim()).map(|(h, w)| format!(", {w}{}{h}", theme.glyph("×", "x"))).unwrap_or_default();
    // Eight rows where there are eight; the two that belong together share one where there are not.
    let mut rows: Vec<(&str, String, Role)> = if inner.height >= 8 {
        vec![("method", format!("{method}{size}"), Role::Text), ("layer", layer, Role::Text)]
    } else {
        vec![("method", format!("{method}{size} at {layer}"), Role::Text)]
    };
    if let Some((truth, other)) = classes(model) {
        rows.push(("t0", format!("{} (true)", model.short_label(truth)), Role::TrueClass));
        let what = if model.cam.class.is_some() {
            "chosen"
        } else if model.run.as_ref().is_some_and(|r| r.target.is_some()) {
            "target"
        } else {
            "best other"
        };
        rows.push(("t", format!("{} ({what})", model.short_label(other)), Role::TargetClass));
    }
    for (ask, name) in wanted(model).iter().zip(["x0,t0", "x0,t", "x',t0", "x',t"]) {
        if let Some(s) = score_of(model, ask) {
            let lift = s.lift.map(|l| format!(" lift {l:.2}")).unwrap_or_default();
            let even = if inner.width >= 32 { format!(" even {:.2}", s.baseline) } else { String::new() };
            let value = if inner.width >= 24 { format!("IS {:.2}{even}{lift}", s.score) } else { format!("IS {:.2}", s.score) };
            rows.push((name, value, Role::Text));
        }
    }
    let mut y = inner.y;
    for (name, value, role) in rows {
        if y < inner.bottom() {
            draw::text(buf, inner.x, y, 7, name, theme.style(Role::Dim));
            let column = if inner.width >= 70 { inner.width / 2 - 1 } else { inner.width };
            let room = column.saturating_sub(8);
            draw::text(buf, inner.x + 8, y, room, &text::truncate(&value, usize::from(room), theme.ellipsis()), theme.style(role));
            y += 1;
        }
    }
    if model.flowing() || waiting(model) && model.cam.rest.is_some() {
        let note = if model.flowing() { "follows when the attack pauses or ends" } else { "computing" };
        if y < inner.bottom() {
            draw::text(buf, inner.x, y, inner.width, note, theme.style(Role::Warn));
            y += 1;
        }
    }
    if let Some(why) = model.without_model().filter(|_| missing(model)) {
        for line in text::wrap(&why, usize::from(inner.width)) {
            if y < inner.bottom() {
                draw::text(buf, inner.x, y, inner.width, &line, theme.style(Role::Warn));
                y += 1;
            }
        }
    }
    // Beside the rows where there is width for it, under them where not.
    let rest = if inner.width >= 70 {
        Rect { x: inner.x + inner.width / 2, width: inner.width - inner.width / 2, ..inner }
    } else {
        Rect { y: y + 1, height: inner.bottom().saturating_sub(y + 1), ..inner }
    };
    scale(model, limit, rest, buf);
}

fn scale(model: &Model, limit: f32, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    if area.height < 2 {
        return;
    }
    let width = area.width.min(40);
    let map = ndarray::Array2::from_shape_fn((1, usize::from(width)), |(_, x)| x as f32 / f32::from(width - 1));
    let bar = Placed {
        area: Rect { width, height: 1, ..area },
        w: usize::from(width),
        h: if theme.coloured_pictures() && !theme.ascii { 2 } else { 1 },
        ink: Ink::of(theme),
    };
    draw_heat(&map, 1.0, 1.0, None, &bar, theme, buf);
    draw::text(buf, area.x, area.y + 1, 4, "0", theme.style(Role::Dim));
    let top = text::number(limit);
    draw::right(buf, Rect { y: area.y + 1, width, height: 1, ..area }, &top, theme.style(Role::Dim));
    let unit = if model.cam.method == Method::Cam { "logits" } else { "raw units" };
    let gap = if area.height > 9 { 3 } else { 2 };
    let note = format!(
        "One scale for all four maps, in {unit}, clipped at 99.5%. IS: share of the change in the hottest 30% of a map; even: if spread evenly; lift: IS / even."
    );
    for (i, line) in text::wrap(&note, usize::from(area.width)).iter().enumerate().take(usize::from(area.height.saturating_sub(gap))) {
        draw::text(buf, area.x, area.y + gap + i as u16, area.width, line, theme.style(Role::Dim));
    }
}
