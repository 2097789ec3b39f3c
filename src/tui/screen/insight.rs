//! Screen 6: what is known about the perturbation, in sentences with small plots, each with the screen that shows its evidence.

use std::collections::BTreeSet;

use ratatui::{buffer::Buffer, layout::Rect};

use super::{cam, layers, units};
use crate::{
    core::explain::{
        insight::{Facts, LayerFacts, MaskFacts, PlaceFacts, Sentence, Topic, TypeFacts, UnitFacts, best, sentences},
        layers::Settings,
        psr::{self as ratio, Mode},
        units::{Fill, most_moved},
    },
    engine::inspect::{Answer, Ask},
    tui::{
        effect::Effect, keymap::Binding, model::Model, msg::Action, network, notice::Severity, psr, screen::Screen, text, theme::Role,
        view::draw, widget::table::spark, widget::table_state::Go,
    },
};

/// Units named in the sentence.
const NAMED: usize = 4;

/// The chosen sentence, and what was asked for.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Topic whose sentence is chosen: its place in [`TOPICS`].
    pub selected: usize,
    /// Asked for on this screen, by place in [`TOPICS`].
    pub wants: BTreeSet<usize>,
}

/// Topics in the order of the sentences.
pub const TOPICS: [Topic; 6] = [Topic::Result, Topic::Type, Topic::Place, Topic::Layers, Topic::Units, Topic::Undone];

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// Another topic.
    Go(Go),
    /// The screen with the evidence.
    Open,
    /// Compute what the chosen sentence lacks.
    Compute,
    /// Compute everything that is lacking.
    All,
}

const fn key(action: Msg, name: &'static str, help: &'static str, hint: &'static str, keys: &'static str) -> Binding {
    Binding { action: Action::Insight(action), name, help, hint, keys }
}

/// Keys.
pub const KEYS: &[Binding] = &[
    key(Msg::Open, "insight-open", "Goes to the screen with the evidence of the sentence.", "evidence", "<enter>"),
    key(Msg::Compute, "insight-compute", "Computes what the chosen sentence lacks.", "compute", "c"),
    key(Msg::All, "insight-all", "Computes everything that is lacking.", "compute all", "C"),
    key(Msg::Go(Go::Rows(1)), "insight-down", "Next sentence.", "sentence", "j <down>"),
    key(Msg::Go(Go::Rows(-1)), "insight-up", "Previous sentence.", "sentence", "k <up>"),
    key(Msg::Go(Go::First), "insight-first", "First sentence.", "", "g <pgup>"),
    key(Msg::Go(Go::Last), "insight-last", "Last sentence.", "", "G <pgdn>"),
];

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    let state = &mut model.insight;
    match msg {
        Msg::Go(to) => state.selected = to.to(state.selected, TOPICS.len(), TOPICS.len()),
        Msg::Open => {
            model.screen = match TOPICS[state.selected] {
                Topic::Result => Screen::Attack,
                Topic::Type => Screen::Pixels,
                Topic::Place => Screen::Cam,
                Topic::Layers => Screen::Layers,
                Topic::Units => Screen::Units,
                Topic::Undone => undone_on(&masks(model)),
            }
        }
        Msg::Compute => {
            let at = state.selected;
            return compute(model, &[at]);
        }
        Msg::All => return compute(model, &[1, 2, 3, 4, 5]),
    }
    Vec::new()
}

fn compute(model: &mut Model, topics: &[usize]) -> Vec<Effect> {
    if model.frame().is_none() {
        model.tell(Severity::Info, "there is no perturbation to explain yet: a starts an attack");
        return Vec::new();
    }
    if let Some(why) = model.without_model() {
        model.tell(Severity::Info, why);
        return Vec::new();
    }
    model.network.retry();
    model.insight.wants.extend(topics);
    // The map of promotion and suppression is asked for by itself, unless that failed or was stopped.
    if topics.contains(&1) && psr::shown(model).is_none() { psr::update(model, psr::Msg::Linear) } else { Vec::new() }
}

/// Whether the place sentence wants the clean image's maps.
pub fn wants_place(model: &Model) -> bool {
    model.screen == Screen::Insight && model.insight.wants.contains(&2)
}

/// What the screen asks the worker.
pub fn wanted(model: &Model) -> Vec<Ask> {
    let Some(classes) = network::classes(model) else { return Vec::new() };
    let wants = &model.insight.wants;
    let layer = model.units.layer.clone();
    let mut asks = Vec::new();
    if wants.contains(&3) {
        asks.push(Ask::Layers { all: false });
    }
    if wants.contains(&4) {
        asks.push(Ask::Units { layer: layer.clone(), classes });
    }
    if wants.contains(&5) && flipped(model) && masks(model).is_empty() {
        asks.push(Ask::Undo { layer });
    }
    asks
}

/// The screen where the masks were tried that the sentence speaks of.
fn undone_on(masks: &[MaskFacts]) -> Screen {
    let layer = best(masks).or(masks.last()).is_some_and(|m| m.how == layers::WHOLE);
    if layer { Screen::Layers } else { Screen::Units }
}

fn flipped(model: &Model) -> bool {
    let record = model.frame().and_then(|f| model.trace()?.step(f.index));
    record.zip(model.run.as_ref()).is_some_and(|(r, run)| r.predicted != run.label)
}

/// Masks tried at this step on screen 5.
fn masks(model: &Model) -> Vec<MaskFacts> {
    let here = model.run.as_ref().map(|r| r.id).zip(model.frame().map(|f| f.index));
    let fact = |t: &units::Tried| MaskFacts {
        layer: t.applied.mask.layer.clone(),
        units: t.applied.mask.units.len(),
        patched: t.applied.mask.fill == Fill::Clean,
        how: t.applied.how.clone(),
        recovered: t.recovered,
        clean: t.clean,
    };
    model.units.tried.iter().filter(|t| Some(t.at) == here).map(fact).collect()
}

/// Everything known about the step being looked at.
pub fn facts(model: &Model) -> Option<Facts> {
    let (truth, target) = network::classes(model)?;
    let record = model.trace()?.step(model.frame()?.index)?;
    let undone = match network::answer(model, Ask::Undo { layer: model.units.layer.clone() })
        .or_else(|| network::answer(model, Ask::Undo { layer: None }))
    {
        Some(Answer::Undo(undone)) => Some(undone.clone()),
        _ => None,
    };
    Some(Facts {
        truth: model.short_label(truth),
        target: model.short_label(target),
        now: model.short_label(record.predicted),
        flipped: record.predicted != truth,
        norms: Some((record.l0, f64::from(record.l2), f64::from(record.linf))),
        kind: kind(model),
        places: places(model),
        layers: layers::changes(model, false).map(|c| LayerFacts::of(c, Settings::default())),
        units: unit_facts(model),
        undone,
        masks: masks(model),
    })
}

fn kind(model: &Model) -> Option<TypeFacts> {
    let shown = psr::shown(model).filter(|s| s.done)?;
    let (opened, record) = (model.opened.as_ref()?, model.trace()?.step(model.frame()?.index)?);
    let (t0, t) = shown.map.classes;
    let target = record.top.iter().find(|(class, _)| *class == t).map(|(_, z)| *z).or(record.target_logit)?;
    let (suppressed, promoted) = (opened.logits.get(t0)? - record.true_logit, target - opened.logits.get(t)?);
    let whole = ratio::effect(suppressed, promoted, &shown.map.settings).kind;
    Some(TypeFacts { shares: shown.map.shares(), whole, suppressed, promoted, mode: shown.map.settings.mode })
}

fn places(model: &Model) -> Vec<PlaceFacts> {
    let asks = cam::wanted(model);
    let place = |ask: &cam::Ask| Some(PlaceFacts { class: model.short_label(ask.3), score: cam::score_of(model, ask)? });
    asks.iter().take(2).filter_map(place).collect()
}

fn unit_facts(model: &Model) -> Option<UnitFacts> {
    let (table, labels) = network::table(model, model.units.layer.clone())?;
    let concept = |k: usize| labels.and_then(|l| l.unit(k)).filter(|c| c.detected()).map(|c| format!("{}, IoU {:.2}", c.label, c.iou));
    let moved = most_moved(table).into_iter().filter(|k| table.units[*k].change != 0.0);
    let units = moved.take(NAMED).map(|k| (k, f64::from(table.units[k].change), concept(k))).collect();
    Some(UnitFacts { layer: table.layer.name.clone(), units, origin: labels.map(|l| l.origin().to_owned()) })
}

/// Draws the screen.
pub fn view(model: &Model, body: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let Some(facts) = facts(model) else {
        let what = "What is known about a perturbation is said here once an attack has run: a chooses one.";
        return draw::centred(buf, body, &[(what.into(), theme.style(Role::Dim))]);
    };
    let Page { blocks, gap, scroll } = page(model, &facts, body);
    let selected = model.insight.selected.min(TOPICS.len() - 1);
    let mut y = 0usize;
    for (i, block) in blocks.iter().enumerate() {
        for (row, (line, role)) in block.iter().enumerate() {
            let at = (y + row).checked_sub(scroll).filter(|at| *at < usize::from(body.height));
            if let Some(at) = at {
                let here = i == selected;
                let mark = if here { theme.glyph("▌", "|") } else { " " };
                let line_y = body.y + at as u16;
                draw::text(buf, body.x + 1, line_y, 1, mark, theme.style(Role::Key));
                let role = if row == 0 && here { Role::Focus } else { *role };
                draw::text(buf, body.x + 3, line_y, body.width.saturating_sub(4), line, theme.style(role));
            }
        }
        y += block.len() + gap;
    }
}

/// The blocks of all topics, blank lines between them, and lines scrolled away.
struct Page {
    blocks: Vec<Vec<(String, Role)>>,
    gap: usize,
    scroll: usize,
}

fn page(model: &Model, facts: &Facts, body: Rect) -> Page {
    let said = sentences(facts);
    let width = usize::from(body.width.saturating_sub(4)).min(120);
    let blocks: Vec<Vec<(String, Role)>> = TOPICS.iter().enumerate().map(|(i, t)| block(model, facts, &said, (i, *t), width)).collect();
    // A blank line between blocks where there is room for it.
    let total: usize = blocks.iter().map(Vec::len).sum();
    let gap = usize::from(total + blocks.len() < usize::from(body.height));
    let selected = model.insight.selected.min(TOPICS.len() - 1);
    let end: usize = blocks.iter().take(selected + 1).map(|b| b.len() + gap).sum();
    Page { blocks, gap, scroll: end.saturating_sub(usize::from(body.height)) }
}

/// A click chooses the topic.
pub fn clicked(model: &mut Model, body: Rect, x: u16, y: u16) {
    let Some(facts) = facts(model).filter(|_| body.contains((x, y).into())) else { return };
    let Page { blocks, gap, scroll } = page(model, &facts, body);
    let line = usize::from(y - body.y) + scroll;
    let ends = blocks.iter().scan(0, |end, b| {
        *end += b.len() + gap;
        Some(*end)
    });
    if let Some(topic) = ends.into_iter().position(|end| line < end) {
        model.insight.selected = topic;
    }
}

/// The sentences of the chosen topic.
pub fn chosen(model: &Model) -> Option<String> {
    let topic = *TOPICS.get(model.insight.selected)?;
    let said: Vec<String> = sentences(&facts(model)?).into_iter().filter(|s| s.topic == topic && s.known).map(|s| s.text).collect();
    (!said.is_empty()).then(|| said.join(" "))
}

/// Heading, sentences and plot of a topic.
fn block(model: &Model, facts: &Facts, said: &[Sentence], (at, topic): (usize, Topic), width: usize) -> Vec<(String, Role)> {
    let dot = model.theme.glyph("·", "-");
    let (title, screen) = match topic {
        Topic::Result => ("What it reached", "1 Attack"),
        Topic::Type => ("What kind it is", "2 Pixels"),
        Topic::Place => ("Where on the image", "3 CAM"),
        Topic::Layers => ("Through which layers", "4 Layers"),
        Topic::Units => ("Through which units", "5 Units"),
        Topic::Undone if undone_on(&facts.masks) == Screen::Layers => ("What undoes it", "4 Layers"),
        Topic::Undone => ("What undoes it", "5 Units"),
    };
    let mut out = vec![(format!("{title} {dot} {screen}"), Role::Title)];
    for sentence in said.iter().filter(|s| s.topic == topic) {
        let (text, role) = if sentence.known { (sentence.text.clone(), Role::Text) } else { (lacking(model, at, topic), Role::Dim) };
        out.extend(text::wrap(&text, width).into_iter().map(|l| (l, role)));
    }
    out.extend(plot(model, facts, topic, width));
    out
}

/// Why a sentence is missing, and the key that helps.
fn lacking(model: &Model, at: usize, topic: Topic) -> String {
    let what = topic.lacking();
    if model.without_model().is_some() {
        return format!("Not recorded: {what}; O opens the model, c then computes it.");
    }
    if model.flowing() {
        return format!("Not computed: {what}; it follows when the attack pauses or ends.");
    }
    if topic == Topic::Type && psr::undefined(model) {
        return "No type here: the image is still taken for its true class, and the attack names no target.".into();
    }
    if topic == Topic::Undone && !flipped(model) {
        return "Nothing to undo: the image is still taken for its true class.".into();
    }
    let busy = model.insight.wants.contains(&at) && (model.network.waiting() || topic == Topic::Place && model.busy.is_some());
    if busy || topic == Topic::Type && (model.psr.pending().is_some() || model.psr.waiting()) {
        return format!("Computing {what}.");
    }
    match topic {
        Topic::Undone => {
            format!("Not computed: {what}; c zeroes the most moved units in growing numbers, Enter goes to the units to try masks.")
        }
        _ => format!("Not computed: {what}; c computes it."),
    }
}

/// A small plot in one line or two.
fn plot(model: &Model, facts: &Facts, topic: Topic, width: usize) -> Vec<(String, Role)> {
    let theme = &model.theme;
    let columns = width.saturating_sub(36).clamp(8, 48);
    match topic {
        Topic::Result => probabilities(model, columns),
        Topic::Type => facts.kind.as_ref().map_or_else(Vec::new, |k| {
            let parts = [("- suppress", k.shares.suppression, Role::Suppression), ("+ promote ", k.shares.promotion, Role::Promotion)];
            let estimate = if k.mode == Mode::Exact { "" } else { " est." };
            let bar = |(name, share, role): (&str, f32, Role)| {
                (format!("{name} {:>4} {}{estimate}", text::percent(share), draw::bar(theme, share, columns)), role)
            };
            parts.into_iter().map(bar).collect()
        }),
        Topic::Place => facts.places.iter().map(|p| place_bar(model, p, columns)).collect(),
        Topic::Layers => layers::changes(model, false).map_or_else(Vec::new, |changes| {
            let values: Vec<Option<f32>> = changes.iter().map(|c| c.cosine.map(|v| v as f32)).collect();
            vec![(
                format!("cosine {} first to last layer", spark(theme, &values, (0.0, 1.0), width.saturating_sub(30).max(8))),
                Role::Accent,
            )]
        }),
        Topic::Units => facts.units.as_ref().map_or_else(Vec::new, |u| unit_bars(model, u, columns)),
        Topic::Undone => undone_line(model, facts),
    }
}

fn place_bar(model: &Model, place: &PlaceFacts, columns: usize) -> (String, Role) {
    let theme = &model.theme;
    let name = text::pad(&place.class, 14, theme.ellipsis());
    let even = (place.score.baseline * columns as f64).round() as usize;
    let bar = text::pad(&draw::bar(theme, place.score.score as f32, columns), columns, "");
    let marked: String = bar.chars().enumerate().map(|(i, c)| if i == even { '|' } else { c }).collect();
    (format!("{name} {marked} IS {:.2} ({} even)", place.score.score, "|"), Role::Accent)
}

/// The true class's probability and that of the class it is taken for, over the kept steps.
fn probabilities(model: &Model, columns: usize) -> Vec<(String, Role)> {
    let (Some(trace), Some((truth, other))) = (model.trace(), network::classes(model)) else { return Vec::new() };
    let until = model.frame().map_or(0, |f| f.index);
    let curve = |class: usize| -> Vec<Option<f32>> {
        let of = |r: &crate::engine::trace::StepRecord| {
            let z = if class == truth { Some(r.true_logit) } else { r.top.iter().find(|t| t.0 == class).map(|t| t.1).or(r.target_logit) };
            z.map(|z| r.prob(z))
        };
        trace.with_steps(|steps| steps.iter().take(until + 1).map(of).collect())
    };
    let line = |class: usize, role| {
        let name = text::pad(&model.short_label(class), 14, model.theme.ellipsis());
        let values = curve(class);
        let last = values.last().copied().flatten().map_or_else(String::new, |p| format!(" {}", text::prob(p)));
        (format!("{name} {}{last}", spark(&model.theme, &values, (0.0, 1.0), columns)), role)
    };
    vec![line(truth, Role::TrueClass), line(other, Role::TargetClass)]
}

fn unit_bars(model: &Model, units: &UnitFacts, columns: usize) -> Vec<(String, Role)> {
    let most = units.units.first().map_or(1.0, |u| u.1.abs());
    let bar = |(unit, change, _): &(usize, f64, Option<String>)| {
        let role = if *change > 0.0 { Role::Promotion } else { Role::Suppression };
        let length = draw::bar(&model.theme, (change.abs() / most) as f32, columns);
        (format!("unit {unit:<5} {:>7} {length}", text::signed(*change as f32)), role)
    };
    units.units.iter().map(bar).collect()
}

/// Which masks brought the true class back.
fn undone_line(model: &Model, facts: &Facts) -> Vec<(String, Role)> {
    let theme = &model.theme;
    let word = |recovered: bool, clean: bool| match (recovered, clean) {
        (true, true) => theme.glyph("✓", "back"),
        (true, false) => theme.glyph("✓!", "back!"),
        _ => theme.glyph("✗", "no"),
    };
    let parts: Vec<String> = if facts.masks.is_empty() {
        facts.undone.iter().flat_map(|u| &u.tried).map(|(k, recovered, clean)| format!("{k} {}", word(*recovered, *clean))).collect()
    } else {
        facts.masks.iter().map(|m| format!("{} {}", m.units, word(m.recovered, m.clean))).collect()
    };
    if parts.is_empty() { Vec::new() } else { vec![(format!("units masked: {}", parts.join("  ")), Role::Accent)] }
}
