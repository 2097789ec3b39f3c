//! The promotion-suppression map of the step being looked at: asking for it, keeping it, classifying its cells.

use std::{sync::Arc, time::Duration};

use ndarray::ArrayView1;

use super::{effect::Effect, keymap::Binding, model::Model, msg::Action, notice::Severity, screen::Screen};
use crate::{
    core::explain::psr::{Kind, Mode, Moment, PsrMap, Settings, judge, relative_floor},
    engine::{
        command::{Command, RunId},
        control::Control,
        trace::maps::StepPsr,
    },
};

/// Identity of a map; floor and threshold are applied here, to the raw values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MapKey {
    /// Run.
    pub run: RunId,
    /// Step.
    pub step: usize,
    /// Height and width of a cell in pixels.
    pub cell: [usize; 2],
    /// How it was evaluated.
    pub mode: Mode,
}

#[derive(Debug, Clone)]
struct Stored {
    key: MapKey,
    map: Arc<PsrMap>,
    done: bool,
}

/// A map being evaluated.
#[derive(Debug, Clone)]
pub struct Pending {
    /// Which.
    pub key: MapKey,
    /// Asked when.
    pub since: Duration,
    control: Control,
}

/// Settings and the maps so far.
#[derive(Debug, Clone)]
pub struct State {
    /// Shorter side of a cell in pixels; 0 until an image is open.
    pub cell: usize,
    /// Height and width of a cell, in shorter sides.
    pub shape: [usize; 2],
    /// Smallest effect that counts, in logit units.
    pub floor: f32,
    /// The floor as a fraction of the standard deviation of the clean logits, when it follows that.
    pub relative: Option<f32>,
    /// Dominance threshold on |log2(b/s)|.
    pub threshold: f32,
    /// Evaluation asked for last.
    pub mode: Mode,
    /// Strength of overlays, 0..1.
    pub strength: f32,
    maps: Vec<Stored>,
    pending: Option<Pending>,
    want: Option<(MapKey, Duration)>,
    failed: Option<MapKey>,
    timeline: Option<Strip>,
}

/// Promotion and suppression over the steps.
#[derive(Debug, Clone)]
pub struct Strip {
    /// Run and height and width of a cell.
    key: (RunId, [usize; 2]),
    /// The steps so far.
    pub moments: Arc<Vec<Moment>>,
    /// Whether all are there.
    pub done: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            cell: 0,
            shape: [1, 1],
            floor: 0.1,
            relative: None,
            threshold: 1.0,
            mode: Mode::Linear,
            strength: 0.75,
            maps: Vec::new(),
            pending: None,
            want: None,
            failed: None,
            timeline: None,
        }
    }
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// Larger cells.
    Coarser,
    /// Smaller cells.
    Finer,
    /// Square, wide or tall cells.
    Shape,
    /// Floor in logits, or relative to the spread of the clean logits.
    Relative,
    /// Promotion and suppression over the steps.
    Timeline,
    /// One forward run per cell.
    Exact,
    /// One gradient.
    Linear,
    /// The gradient along the way.
    Path,
    /// Lower floor.
    FloorDown,
    /// Higher floor.
    FloorUp,
    /// Lower threshold.
    ThresholdDown,
    /// Higher threshold.
    ThresholdUp,
    /// Weaker overlay.
    Weaker,
    /// Stronger overlay.
    Stronger,
}

const fn key(action: Msg, name: &'static str, help: &'static str, hint: &'static str, keys: &'static str) -> Binding {
    Binding { action: Action::Psr(action), name, help, hint, keys }
}

/// Keys.
pub const KEYS: &[Binding] = &[
    key(Msg::Coarser, "grid-coarser", "Larger grid cells.", "grid", "g"),
    key(Msg::Finer, "grid-finer", "Smaller grid cells.", "grid", "G"),
    key(Msg::Shape, "grid-shape", "Square cells, wide ones, tall ones.", "", "o"),
    key(Msg::Timeline, "psr-timeline", "Follows promotion and suppression over the steps, or hides that again.", "over time", "i"),
    key(Msg::Relative, "floor-relative", "Floor in logits, or relative to the spread of the clean logits.", "", "b"),
    key(Msg::Exact, "map-exact", "Evaluates the map exactly: one forward run per cell.", "exact map", "E"),
    key(Msg::Linear, "map-linear", "Estimates the map from one gradient.", "", "n"),
    key(Msg::Path, "map-path", "Estimates the map from gradients along the way from the clean image.", "", "p"),
    key(Msg::FloorDown, "floor-down", "Halves the smallest effect that counts.", "", "f"),
    key(Msg::FloorUp, "floor-up", "Doubles the smallest effect that counts.", "", "F"),
    key(Msg::ThresholdDown, "threshold-down", "Lowers the dominance threshold by a quarter.", "", "x"),
    key(Msg::ThresholdUp, "threshold-up", "Raises the dominance threshold by a quarter.", "", "X"),
    key(Msg::Weaker, "overlay-weaker", "Weaker overlay.", "", "-"),
    key(Msg::Stronger, "overlay-stronger", "Stronger overlay.", "", "+ ="),
];

/// Cells that fit along the shorter side, coarse to fine.
const COUNTS: [usize; 15] = [2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 56];
/// How long the cursor rests before a map is asked for.
const REST: Duration = Duration::from_millis(120);
const KEPT: usize = 96;

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    let state = &mut model.psr;
    match msg {
        Msg::Coarser => resize(model, false),
        Msg::Finer => resize(model, true),
        Msg::Exact => return ask(model, Mode::Exact),
        Msg::Linear => return ask(model, Mode::Linear),
        Msg::Path => return ask(model, Mode::Path),
        Msg::Shape => {
            state.shape = match state.shape {
                [1, 1] => [1, 2],
                [1, 2] => [2, 1],
                _ => [1, 1],
            };
            model.pixels.selected = 0;
        }
        Msg::Relative => {
            state.relative = if state.relative.is_some() { None } else { Some(0.1) };
            state.floor = 0.1;
            follow_spread(model);
        }
        Msg::Timeline => return toggle_timeline(model),
        Msg::FloorDown => scale_floor(model, 0.5),
        Msg::FloorUp => scale_floor(model, 2.0),
        Msg::ThresholdDown => state.threshold = (state.threshold - 0.25).max(0.25),
        Msg::ThresholdUp => state.threshold = (state.threshold + 0.25).min(8.0),
        Msg::Weaker => state.strength = (state.strength - 0.1).max(0.1),
        Msg::Stronger => state.strength = (state.strength + 0.1).min(1.0),
    }
    Vec::new()
}

fn scale_floor(model: &mut Model, factor: f32) {
    let state = &mut model.psr;
    match &mut state.relative {
        Some(fraction) => *fraction = (*fraction * factor).clamp(1e-4, 10.0),
        None => state.floor = (state.floor * factor).clamp(1e-4, 10.0),
    }
    follow_spread(model);
}

/// A relative floor in logits.
fn follow_spread(model: &mut Model) {
    if let (Some(fraction), Some(opened)) = (model.psr.relative, &model.opened) {
        model.psr.floor = relative_floor(ArrayView1::from(&opened.logits[..]), fraction);
    }
}

/// Height and width of the cells in use.
pub fn cell(model: &Model) -> [usize; 2] {
    model.psr.shape.map(|n| n * model.psr.cell.max(1))
}

fn toggle_timeline(model: &mut Model) -> Vec<Effect> {
    model.pixels.strip = !model.pixels.strip;
    if model.pixels.strip && model.screen == Screen::Attack {
        model.screen = Screen::Pixels;
    }
    Vec::new()
}

/// The timeline of the present run on the present grid.
pub fn strip(model: &Model) -> Option<&Strip> {
    let key = (model.run.as_ref()?.id, cell(model));
    model.psr.timeline.as_ref().filter(|s| s.key == key)
}

/// Asks for the timeline when it is wanted and there is none yet.
fn follow_strip(model: &mut Model) -> Vec<Effect> {
    if !model.pixels.strip || model.screen != Screen::Pixels || model.running() || strip(model).is_some() || model.psr.pending.is_some() {
        return Vec::new();
    }
    let Some(run) = &model.run else { return Vec::new() };
    let (id, label) = (run.id, run.label);
    let last = run.trace.as_ref().and_then(|t| t.step(run.best.or(run.newest)?)).map(|s| s.predicted);
    let Some(target) = run.target.or(last).filter(|t| *t != label) else { return Vec::new() };
    let settings = Settings { floor: model.psr.floor, threshold: model.psr.threshold, mode: Mode::Linear };
    let cell = cell(model);
    model.psr.timeline = Some(Strip { key: (id, cell), moments: Arc::default(), done: false });
    vec![Effect::Engine(Command::Timeline { run: id, cell, settings, target, control: Control::default() })]
}

/// A part of the timeline arrived.
pub fn timed(model: &mut Model, run: RunId, cell: [usize; 2], moments: Arc<Vec<Moment>>, done: bool) {
    if let Some(strip) = model.psr.timeline.as_mut().filter(|s| s.key == (run, cell)) {
        (strip.moments, strip.done) = (moments, done);
    }
}

/// Default side of a cell for an image: about fourteen cells along the shorter side.
pub fn default_cell(side: usize) -> usize {
    clamp_cell((side as f32 / 14.0).round() as usize, side)
}

fn clamp_cell(cell: usize, side: usize) -> usize {
    let max = (side / 2).max(1);
    cell.clamp(4.min(max), max)
}

fn resize(model: &mut Model, finer: bool) {
    let Some(opened) = &model.opened else { return };
    let side = opened.image.dim().1.min(opened.image.dim().2);
    let sizes: Vec<usize> = COUNTS.iter().map(|n| clamp_cell(side.div_ceil(*n), side)).collect();
    let now = model.psr.cell;
    let next = if finer { sizes.iter().find(|&&s| s < now) } else { sizes.iter().rev().find(|&&s| s > now) };
    match next.copied() {
        Some(cell) => {
            model.psr.cell = cell;
            model.pixels.selected = 0;
        }
        None => model.tell(Severity::Info, if finer { "cells are as small as they get" } else { "cells are as large as they get" }),
    }
}

/// The key of the map of the current position.
pub fn current(model: &Model, mode: Mode) -> Option<MapKey> {
    let run = model.run.as_ref()?;
    let step = run.trace.as_ref()?.nearest_frame(model.position()?)?;
    Some(MapKey { run: run.id, step, cell: cell(model), mode })
}

/// Whether promotion has no meaning here: without a target it is towards the predicted class, which is still the true one.
pub fn undefined(model: &Model) -> bool {
    let step = current(model, Mode::Linear).and_then(|key| model.trace()?.step(key.step));
    model.run.as_ref().zip(step).is_some_and(|(run, step)| run.target.is_none() && step.predicted == run.label)
}

fn ask(model: &mut Model, mode: Mode) -> Vec<Effect> {
    model.psr.mode = mode;
    model.psr.failed = None;
    if let Some(why) = model.without_model() {
        let have = current(model, mode).is_some_and(|key| model.psr.find(key).is_some());
        if !have {
            model.tell(Severity::Info, why);
        }
        return Vec::new();
    }
    let Some(key) = current(model, mode) else {
        model.tell(Severity::Info, "there is no perturbation to explain yet: a starts an attack");
        return Vec::new();
    };
    if model.psr.maps.iter().any(|m| m.key == key && m.done) || model.psr.pending.as_ref().is_some_and(|p| p.key == key) {
        return Vec::new();
    }
    if undefined(model) {
        model.tell(Severity::Info, "this step has no map: it is still taken for the true class, and the attack names no target");
        return Vec::new();
    }
    if mode == Mode::Exact && model.flowing() {
        model.tell(Severity::Info, "the exact map follows when the attack has ended");
    }
    send(model, key)
}

fn send(model: &mut Model, key: MapKey) -> Vec<Effect> {
    let mut effects: Vec<Effect> = stop(model).into_iter().collect();
    let control = Control::default();
    let settings = Settings { floor: model.psr.floor, threshold: model.psr.threshold, mode: key.mode };
    model.psr.pending = Some(Pending { key, since: model.now, control: control.clone() });
    model.psr.want = None;
    let of_step = |m: &&Stored| m.key.run == key.run && m.key.step == key.step;
    let exact = key.mode == Mode::Exact;
    let maps = || model.psr.maps.iter().filter(of_step).filter(|_| exact);
    let known = maps().filter(|m| m.key.mode == Mode::Exact).map(|m| Arc::clone(&m.map)).collect();
    let estimate = maps().find(|m| m.key.mode == Mode::Linear && m.key.cell == key.cell).map(|m| Arc::clone(&m.map));
    effects.push(Effect::Engine(Command::Psr { run: key.run, step: key.step, cell: key.cell, settings, known, estimate, control }));
    effects
}

/// Stops the evaluation in progress, if there is one.
pub fn stop(model: &mut Model) -> Option<Effect> {
    model.psr.pending.take().map(|p| {
        model.psr.failed = Some(p.key);
        Effect::Stop(p.control)
    })
}

/// The estimate of a step beside the one on the screen, for whoever asks ahead; nothing when it is there or has no meaning.
pub fn ahead(model: &Model, step: usize, control: &Control) -> Option<Command> {
    let (here, run) = (current(model, Mode::Linear)?, model.run.as_ref()?);
    let key = MapKey { step, ..here };
    let trace = run.trace.as_ref()?;
    let unmeaning = run.target.is_none() && trace.step(step)?.predicted == run.label;
    if unmeaning || model.psr.find(key).is_some() || trace.frame(step)?.delta.iter().all(|d| *d == 0.0) {
        return None;
    }
    let settings = Settings { floor: model.psr.floor, threshold: model.psr.threshold, mode: Mode::Linear };
    Some(Command::Psr { run: key.run, step, cell: key.cell, settings, known: vec![], estimate: None, control: control.clone() })
}

/// Whether the estimate of the step on the screen is there, and nothing else is asked for.
pub fn at_rest(model: &Model) -> bool {
    let here = current(model, Mode::Linear).is_some_and(|key| model.psr.find(key).is_some_and(|m| m.done));
    here && model.psr.pending.is_none() && model.psr.want.is_none()
}

/// Called after every message: asks for the estimate of the current position once the cursor rests there.
pub fn follow(model: &mut Model) -> Vec<Effect> {
    if matches!(model.screen, Screen::Cam | Screen::Layers | Screen::Units)
        || model.flowing()
        || model.psr.cell == 0
        || model.without_model().is_some()
    {
        return Vec::new();
    }
    let strip = follow_strip(model);
    if !strip.is_empty() {
        return strip;
    }
    let Some(key) = current(model, Mode::Linear) else { return Vec::new() };
    let same = |k: MapKey| MapKey { mode: Mode::Linear, ..k } == key;
    let have = model.psr.maps.iter().any(|m| same(m.key) && m.done) || model.psr.pending.as_ref().is_some_and(|p| same(p.key));
    let unchanged = model.frame().is_none_or(|f| f.delta.iter().all(|d| *d == 0.0));
    if have || unchanged || undefined(model) || model.psr.failed == Some(key) {
        model.psr.want = None;
        return Vec::new();
    }
    match model.psr.want {
        Some((wanted, due)) if wanted == key => {
            if model.now >= due {
                return send(model, key);
            }
        }
        _ => model.psr.want = Some((key, model.now + REST)),
    }
    Vec::new()
}

/// A map (or a part of it) arrived.
pub fn arrived(model: &mut Model, run: RunId, step: usize, map: Arc<PsrMap>, done: bool) {
    if model.run.as_ref().is_none_or(|r| r.id != run) {
        return;
    }
    let key = MapKey { run, step, cell: [map.grid.cell_h, map.grid.cell_w], mode: map.settings.mode };
    let state = &mut model.psr;
    state.maps.retain(|m| m.key != key);
    if state.maps.len() >= KEPT {
        // Estimates are quickly made again; what took long goes last.
        let oldest = state.maps.iter().position(|m| m.key.mode == Mode::Linear).unwrap_or(0);
        state.maps.remove(oldest);
    }
    state.maps.push(Stored { key, map, done });
    if done && state.pending.as_ref().is_some_and(|p| p.key == key) {
        state.pending = None;
    }
}

/// The worker could not do something: if it was the map, do not ask again by itself.
pub fn failed(model: &mut Model) {
    if let Some(pending) = model.psr.pending.take() {
        model.psr.failed = Some(pending.key);
    }
}

/// Forgets everything; the image changed.
pub fn reset(model: &mut Model, side: usize) {
    let State { threshold, strength, .. } = model.psr;
    model.psr = State { threshold, strength, cell: default_cell(side), ..State::default() };
}

/// What there is to show for the current position.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The map, its cells classified with the current floor and threshold.
    pub map: PsrMap,
    /// Whether all cells are there.
    pub done: bool,
    /// Cells that the exact evaluation has not reached yet, from the estimate.
    pub estimated: Vec<bool>,
    /// Rank correlation of the estimate and the exact effects, when both exist: suppression, promotion.
    pub spearman: Option<(Option<f64>, Option<f64>)>,
}

impl State {
    /// The evaluation in progress.
    pub fn pending(&self) -> Option<&Pending> {
        self.pending.as_ref()
    }

    /// Whether something is about to be asked for.
    pub fn waiting(&self) -> bool {
        self.want.is_some()
    }

    /// The complete maps of a run.
    pub fn kept(&self, run: RunId) -> Vec<StepPsr> {
        let complete = self.maps.iter().filter(|m| m.done && m.key.run == run && m.map.is_complete());
        complete.map(|m| StepPsr { step: m.key.step, map: Arc::clone(&m.map) }).collect()
    }

    /// Takes the maps of a recorded run, and shows the last of them.
    pub fn restore(&mut self, run: RunId, maps: &[StepPsr]) {
        for StepPsr { step, map } in maps.iter().rev().take(KEPT).rev() {
            let cell = [map.grid.cell_h, map.grid.cell_w];
            let key = MapKey { run, step: *step, cell, mode: map.settings.mode };
            let side = cell[0].min(cell[1]).max(1);
            (self.cell, self.shape, self.mode) = (side, cell.map(|n| (n / side).max(1)), map.settings.mode);
            (self.floor, self.threshold) = (map.settings.floor, map.settings.threshold);
            self.maps.push(Stored { key, map: Arc::clone(map), done: true });
        }
    }

    /// The best complete map of a step: exact before path before linear.
    fn complete(&self, run: RunId, step: usize) -> Option<&Stored> {
        let of = |mode| self.maps.iter().rev().find(|m| m.done && m.key.mode == mode && (m.key.run, m.key.step) == (run, step));
        [Mode::Exact, Mode::Path, Mode::Linear].into_iter().find_map(of)
    }

    fn find(&self, key: MapKey) -> Option<&Stored> {
        self.maps.iter().find(|m| m.key == key)
    }
}

/// Shares of promotion, suppression and balance at a step that has a map, and whether they are an estimate.
pub fn shares(model: &Model, run: RunId, step: usize) -> Option<([f32; 3], &'static str)> {
    let stored = model.psr.complete(run, step)?;
    let s = Summary::of(&reclassified(&stored.map, model.psr.floor, model.psr.threshold));
    Some(([s.share(1), s.share(0), s.share(2)], if stored.key.mode == Mode::Exact { "exact" } else { "est." }))
}

/// The best map for the current position: the chosen evaluation, else the estimate, else any.
pub fn shown(model: &Model) -> Option<Shown> {
    let key = current(model, model.psr.mode)?;
    let with = |mode| model.psr.find(MapKey { mode, ..key }).filter(|m| m.map.cells.iter().any(Option::is_some));
    let stored = [model.psr.mode, Mode::Linear, Mode::Path, Mode::Exact].into_iter().find_map(with)?;
    let mut map = reclassified(&stored.map, model.psr.floor, model.psr.threshold);
    let other = if stored.key.mode == Mode::Exact { with(Mode::Linear).or_else(|| with(Mode::Path)) } else { with(Mode::Exact) };
    let spearman = other.filter(|o| o.done && stored.done).map(|o| stored.map.rank_correlation(&o.map));
    let mut estimated = vec![false; map.cells.len()];
    if let Some(estimate) = with(Mode::Linear).filter(|_| stored.key.mode == Mode::Exact && !stored.done) {
        let estimate = reclassified(&estimate.map, model.psr.floor, model.psr.threshold);
        for ((cell, guess), flag) in map.cells.iter_mut().zip(estimate.cells).zip(&mut estimated).filter(|((c, _), _)| c.is_none()) {
            *flag = guess.is_some();
            *cell = guess;
        }
    }
    Some(Shown { map, done: stored.done, estimated, spearman })
}

/// The same raw effects under another floor and threshold.
pub fn reclassified(map: &PsrMap, floor: f32, threshold: f32) -> PsrMap {
    let mut map = map.clone();
    map.settings = Settings { floor, threshold, ..map.settings };
    for (index, cell) in map.cells.iter_mut().enumerate() {
        if let Some(c) = cell {
            *cell = Some(judge(&map.grid, index, c.s_raw, c.b_raw, &map.settings));
        }
    }
    map
}

/// Totals of a map.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Summary {
    /// Cells by type: suppression, promotion, balanced, inert.
    pub counts: [usize; 4],
    /// Cells evaluated.
    pub known: usize,
    /// 99.5th percentile of max(s, b): where colours saturate.
    pub limit: f32,
    /// Largest max(s, b).
    pub largest: f32,
}

impl Summary {
    /// Adds up a map.
    pub fn of(map: &PsrMap) -> Self {
        let mut out = Self::default();
        let mut strengths = Vec::new();
        for cell in map.cells.iter().flatten() {
            let slot = match cell.kind {
                Kind::Suppression => 0,
                Kind::Promotion => 1,
                Kind::Balanced => 2,
                Kind::Inert => 3,
            };
            out.counts[slot] += 1;
            out.known += 1;
            if cell.kind != Kind::Inert {
                strengths.push(cell.s.max(cell.b));
            }
        }
        strengths.sort_by(f32::total_cmp);
        if let Some(last) = strengths.last() {
            out.largest = *last;
            out.limit = strengths[((strengths.len() - 1) as f32 * 0.995).round() as usize];
        }
        out
    }

    /// Share of one type among the cells evaluated.
    pub fn share(&self, slot: usize) -> f32 {
        if self.known == 0 { 0.0 } else { self.counts[slot] as f32 / self.known as f32 }
    }

    /// Whether so few cells do anything that a coarser grid would say more.
    pub fn mostly_inert(&self) -> bool {
        self.known > 0 && self.counts[3] * 10 > self.known * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::explain::psr::{Cell, Grid};

    #[test]
    fn cells_stay_between_four_pixels_and_half_the_side() {
        for side in 1..600 {
            let cell = default_cell(side);
            assert!(cell >= 1 && cell <= (side / 2).max(1));
            assert!(side < 8 || cell >= 4, "{side}: {cell}");
        }
        assert_eq!(default_cell(224), 16);
    }

    #[test]
    fn a_cell_changes_its_type_with_floor_and_threshold() {
        let grid = Grid { height: 8, width: 8, cell_h: 4, cell_w: 4 };
        let cell = Cell { row: 0, col: 0, s_raw: 0.3, b_raw: 0.9, s: 0.3, b: 0.9, r: 0.0, kind: Kind::Balanced };
        let settings = Settings { floor: 0.1, threshold: 1.0, mode: Mode::Exact };
        let map = PsrMap { grid, settings, cells: vec![Some(cell)], classes: (0, 1), forwards: 1, seconds: 0.0 };
        let kind = |floor, threshold| reclassified(&map, floor, threshold).cells[0].expect("cell").kind;
        assert_eq!(kind(0.1, 1.0), Kind::Promotion);
        assert_eq!(kind(0.1, 2.0), Kind::Balanced);
        assert_eq!(kind(1.0, 1.0), Kind::Inert);
    }
}
