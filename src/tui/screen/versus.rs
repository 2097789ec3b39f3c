//! An earlier run beside the one on the screen: the same image under two attacks, or on two models.
//!
//! Of an earlier run only its result is kept (picture, change, numbers of that step), so that memory does not grow with
//! the number of runs.

use std::sync::Arc;

use ratatui::{buffer::Buffer, layout::Rect};

use crate::{
    engine::{command::RunId, event::Ending, sample, trace::Frame},
    tui::{
        graphics::encode::Source,
        model::{Model, Run},
        psr, text,
        theme::Role,
        view::{Content, ViewCache, draw, picture},
        widget::pixel_grid::{Ink, Placed},
    },
};

/// Earlier runs kept; the oldest goes first.
const KEPT: usize = 8;

/// What one run came to, in words and numbers that need neither its model nor its trace.
#[derive(Debug, Clone, PartialEq)]
struct Facts {
    model: String,
    attack: String,
    goal: String,
    outcome: &'static str,
    predicted: String,
    step: usize,
    steps: usize,
    flipped: Option<usize>,
    norms: [f32; 4],
    seconds: f32,
    /// Shares of promotion, suppression, balance, and how they were evaluated.
    shares: Option<([f32; 3], &'static str)>,
}

/// The result of an earlier run.
#[derive(Debug, Clone)]
pub struct Earlier {
    id: RunId,
    facts: Facts,
    frame: Arc<Frame>,
}

impl Earlier {
    /// One line, for messages.
    pub fn title(&self) -> String {
        format!("run {}, {} on {}", self.id.0, self.facts.attack, self.facts.model)
    }
}

/// Keeps the result of the current run before another one takes its place.
pub fn keep(model: &mut Model) {
    let Some(run) = &model.run else { return };
    let Some(trace) = &run.trace else { return };
    let result = run.best.or_else(|| trace.frames().last().copied());
    let Some(frame) = result.and_then(|step| trace.frame(trace.nearest_frame(step)?)).filter(|f| f.index > 0) else { return };
    let Some(facts) = facts(model, run, frame.index) else { return };
    let earlier = Earlier { id: run.id, facts, frame };
    // A recorded run may have the number of another one.
    model.earlier.retain(|e| e.id != earlier.id || !Arc::ptr_eq(&e.frame, &earlier.frame));
    model.earlier.push(earlier);
    if model.earlier.len() > KEPT {
        model.earlier.remove(0);
    }
}

/// The run that is shown beside the current one.
pub fn other(model: &Model) -> Option<&Earlier> {
    let back = model.attack.against?;
    model.earlier.len().checked_sub(back + 1).and_then(|i| model.earlier.get(i))
}

/// The run before, then the one before that, then none again.
pub fn next(model: &mut Model) -> Option<String> {
    if model.earlier.is_empty() {
        model.attack.against = None;
        return Some("there is no earlier run of this image yet: attack it again (a, r) and compare".into());
    }
    let next = model.attack.against.map_or(0, |back| back + 1);
    model.attack.against = (next < model.earlier.len()).then_some(next);
    other(model).map(|e| format!("beside this one: {}", e.title()))
}

fn facts(model: &Model, run: &Run, step: usize) -> Option<Facts> {
    let trace = run.trace.as_ref()?;
    let record = trace.step(step)?;
    let goal = run.target.map_or_else(|| "leave the true class".to_owned(), |t| format!("reach {}", model.short_label(t)));
    let outcome = match &run.ending {
        None => "running",
        Some(Ending::Done { success: true }) => "yes",
        Some(Ending::Done { success: false }) => "no",
        Some(Ending::Stopped) => "stopped",
        Some(Ending::Failed(_)) => "failed",
    };
    let predicted = record.top.first().map(|&(class, logit)| format!("{} {}", model.short_label(class), text::prob(record.prob(logit))));
    Some(Facts {
        model: sample::title(&model.model_path),
        attack: match &run.request.within {
            Some(region) => format!("{} in {region}", run.request.attack),
            None => run.request.attack.clone(),
        },
        goal,
        outcome,
        predicted: predicted.unwrap_or_default(),
        step,
        steps: run.newest.unwrap_or(0),
        flipped: trace.flipped_at(),
        norms: [record.l0 as f32, record.l1, record.l2, record.linf],
        seconds: trace.step(run.newest?).map_or(0.0, |r| r.seconds),
        shares: psr::shares(model, run.id, step),
    })
}

fn rows(facts: &Facts) -> Vec<(&'static str, String)> {
    let [l0, l1, l2, linf] = facts.norms;
    let share = |at: usize| match facts.shares {
        Some((shares, how)) => format!("{} {how}", text::percent(shares[at])),
        None => "no map".into(),
    };
    vec![
        ("model", facts.model.clone()),
        ("attack", facts.attack.clone()),
        ("goal", facts.goal.clone()),
        ("success", facts.outcome.into()),
        ("class", facts.predicted.clone()),
        ("step", format!("{} of {}", facts.step, facts.steps)),
        ("flip at", facts.flipped.map_or_else(|| "never".into(), |at| at.to_string())),
        ("L0", format!("{l0}")),
        ("L1", text::number(l1)),
        ("L2", text::number(l2)),
        ("Linf", text::per_255(linf)),
        ("promote", share(0)),
        ("suppress", share(1)),
        ("balanced", share(2)),
        ("time", text::seconds(facts.seconds)),
    ]
}

/// Draws one of the four pictures: the images of both runs, then their changes. The current run follows the cursor.
pub fn pane(model: &Model, earlier: &Earlier, pane: usize, cache: &mut ViewCache, (area, focused): (Rect, bool), buf: &mut Buffer) {
    let (old, change) = (pane.is_multiple_of(2), pane >= 2);
    let frame = if old { Some(Arc::clone(&earlier.frame)) } else { model.frame() };
    let id = if old { Some(earlier.id) } else { model.run.as_ref().map(|r| r.id) };
    let letter = if old { "A" } else { "B" };
    let (Some(frame), Some(id)) = (frame, id) else {
        let inner = draw::frame(&model.theme, area, letter, "", focused, buf);
        return draw::centred(buf, inner, &[("no attack yet".into(), model.theme.style(Role::Dim))]);
    };
    let inside = Rect { x: area.x + 1, y: area.y + 1, width: area.width.saturating_sub(2), height: area.height.saturating_sub(2) };
    let (_, h, w) = frame.image.dim();
    let Some(placed) = Placed::new(w, h, inside, Ink::of(&model.theme)) else { return };
    let linf = frame.delta.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let (title, content, source) = if !change {
        (format!("{letter} step {}", frame.index), Content::Image(id, frame.index), Source::Adversarial(Arc::clone(&frame)))
    } else {
        let gain = picture::gain(linf);
        let title = format!("{letter} perturbation {}{gain}", model.theme.glyph("×", "x"));
        (title, Content::Delta(id, frame.index, gain), Source::Change(Arc::clone(&frame), gain))
    };
    let raster = cache.raster(content, if change { frame.delta.view() } else { frame.image.view() }, &placed);
    let current = model.run.as_ref().filter(|_| !old).and_then(|run| facts(model, run, frame.index));
    let facts = current.as_ref().unwrap_or(&earlier.facts);
    let caption = if !change {
        facts.predicted.clone()
    } else {
        format!("L2 {}  Linf {}", text::number(facts.norms[2]), text::per_255(facts.norms[3]))
    };
    draw::frame(&model.theme, area, &title, &caption, focused, buf);
    raster.draw(&placed, &model.theme, buf);
    cache.gallery.place(content, None, placed.area, || source);
}

/// Draws the numbers of both runs, those of the current one at the step looked at.
pub fn table(model: &Model, earlier: &Earlier, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let inner =
        draw::frame(theme, area, if area.width < 36 { "A earlier | B this" } else { "A, an earlier run | B, this one" }, "", false, buf);
    let now = model.run.as_ref().zip(model.frame()).and_then(|(run, frame)| facts(model, run, frame.index));
    let a = rows(&earlier.facts);
    let b = now.as_ref().map(rows);
    let name = 9.min(inner.width / 3);
    let column = inner.width.saturating_sub(name + 2) / 2;
    // Where room is short, what is the same on both sides goes.
    let same = |i: usize| b.as_ref().is_some_and(|b| b[i].1 == a[i].1);
    let tight = usize::from(inner.height) < a.len();
    let shown = (0..a.len()).filter(|i| !(tight && same(*i)));
    for (y, i) in (inner.y..inner.bottom()).zip(shown) {
        let style = theme.style(if same(i) { Role::Dim } else { Role::Text });
        draw::text(buf, inner.x + 1, y, name, a[i].0, theme.style(Role::Dim));
        let cut = |t: &str| text::truncate(t, usize::from(column.saturating_sub(1)), theme.ellipsis());
        draw::text(buf, inner.x + 1 + name, y, column, &cut(&a[i].1), style);
        if let Some(b) = &b {
            draw::text(buf, inner.x + 1 + name + column, y, column, &cut(&b[i].1), style);
        }
    }
}
