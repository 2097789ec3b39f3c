//! Screen 3's charts: the interpretability score over the threshold, whether a map can be believed, and an attack within a region beside the
//! same attack everywhere.

use std::sync::Arc;

use ndarray::Array2;
use ratatui::{buffer::Buffer, layout::Rect};

use super::cam::{self, Chart};
use crate::{
    core::explain::{
        faithfulness::Faithfulness,
        interpretability::{Interpretability, of_region},
        psr::{Kind, PsrMap, Settings},
    },
    engine::{
        command::{Command, RunId},
        control::Control,
        event::Ending,
    },
    tui::{
        effect::Effect,
        model::{Model, Run},
        notice::Severity,
        psr, run, text,
        theme::Role,
        view::draw,
        widget::line_chart::{LineChart, Series},
    },
};

/// Quantile levels of the curve.
pub const LEVELS: usize = 20;

/// Two runs of one attack: everywhere, and within a region.
#[derive(Debug, Clone)]
pub struct Compare {
    /// The one without a region.
    pub everywhere: Run,
    /// Number of the one within.
    pub within: RunId,
    region: Arc<Array2<bool>>,
    name: String,
    /// Linear estimates of both results, everywhere first.
    maps: [Option<Arc<PsrMap>>; 2],
    asked: Option<RunId>,
}

/// Repeats the attack of the present run inside the region of the map with the focus.
pub fn attack_inside(model: &mut Model) -> Vec<Effect> {
    let Some((region, name)) = cam::region(model) else {
        model.tell(Severity::Info, "the map that gives the region is still being computed");
        return Vec::new();
    };
    let Some(run) = model.run.clone().filter(|r| r.trace.is_some()) else {
        model.tell(Severity::Info, "run the attack first (a): this repeats it inside the region and compares the two");
        return Vec::new();
    };
    if run.running() {
        model.tell(Severity::Info, "let the attack end first: this repeats it inside the region and compares the two");
        return Vec::new();
    }
    // A refined run is compared with what it was refined from.
    let everywhere = match (&run.request.within, &model.cam.compare) {
        (Some(_), Some(old)) => old.everywhere.clone(),
        _ => run,
    };
    let Some(spec) = cam::region_text(model) else { return Vec::new() };
    let request = crate::engine::command::AttackRequest { within: Some(spec), ..everywhere.request.clone() };
    let effects = run::start(model, request);
    // `r` repeats the attack as it was, not its refinement.
    model.request.within = None;
    if let Some(run) = model.run.as_ref().filter(|r| r.request.within.is_some()) {
        model.cam.compare = Some(Compare { everywhere, within: run.id, region, name, maps: [None, None], asked: None });
        model.cam.chart = Chart::Compare;
    }
    effects
}

/// Asks for the maps of both results, one after the other.
pub fn follow(model: &mut Model) -> Vec<Effect> {
    let settings = Settings { floor: model.psr.floor, threshold: model.psr.threshold, mode: crate::core::explain::psr::Mode::Linear };
    let cell = psr::cell(model);
    let (chart, running) = (model.cam.chart, model.running());
    let within = model.run.clone();
    let Some(compare) = &mut model.cam.compare else { return Vec::new() };
    if chart != Chart::Compare || running || compare.asked.is_some() {
        return Vec::new();
    }
    let runs = [Some(compare.everywhere.clone()), within.filter(|r| r.id == compare.within)];
    let next = runs.into_iter().zip(&compare.maps).find(|(run, map)| run.is_some() && map.is_none());
    let Some((run, step)) = next.and_then(|(run, _)| run).and_then(|r| Some((r.id, result(&r)?))) else { return Vec::new() };
    compare.asked = Some(run);
    let (known, estimate, control) = (Vec::new(), None, Control::default());
    vec![Effect::Engine(Command::Psr { run, step, cell, settings, known, estimate, control })]
}

/// Step of a run's result, when it has a map.
fn result(run: &Run) -> Option<usize> {
    let trace = run.trace.as_ref()?;
    let step = trace.nearest_frame(run.best.or(run.newest)?)?;
    let predicted = trace.step(step)?.predicted;
    (run.target.unwrap_or(predicted) != run.label).then_some(step)
}

/// A map arrived that may belong to the comparison.
pub fn arrived(model: &mut Model, run: RunId, map: &Arc<PsrMap>, done: bool) {
    let Some(compare) = model.cam.compare.as_mut().filter(|c| done && c.asked == Some(run)) else { return };
    compare.asked = None;
    compare.maps[usize::from(run == compare.within)] = Some(Arc::clone(map));
}

/// The curve of the interpretability score.
pub fn scores(model: &Model, curve: &[Option<Interpretability>], area: Rect, buf: &mut Buffer) {
    let at = ((model.cam.level * LEVELS as f32).round() as usize).min(LEVELS - 1);
    let caption = match curve.get(at).copied().flatten() {
        Some(s) => format!(
            "# IS {:.3}, even {:.3}, lift {} at level {:.2} ({} of the image)",
            s.score,
            s.baseline,
            s.lift.map_or("-".into(), |l| format!("{l:.2}")),
            model.cam.level,
            text::percent(s.area as f32)
        ),
        None => "no perturbation yet".into(),
    };
    let inner = draw::frame(&model.theme, area, "IS over the threshold (x X moves it)", &caption, false, buf);
    let column = |f: fn(&Interpretability) -> f64| curve.iter().map(|s| s.as_ref().map_or(f32::NAN, |s| f(s) as f32)).collect();
    let series = [
        Series { mark: "-", role: Role::Dim, dashed: true, values: column(|s| s.baseline) },
        Series { mark: "#", role: Role::Accent, dashed: false, values: column(|s| s.score) },
    ];
    LineChart { series: &series, cursor: Some(at), steps: LEVELS }.draw(&model.theme, inner, buf);
    axis(model, inner, ["0", "0.95"], buf);
}

/// Replaces the numbers of steps under a chart.
fn axis(model: &Model, inner: Rect, ends: [&str; 2], buf: &mut Buffer) {
    if inner.height < 5 {
        return;
    }
    let line = Rect { y: inner.bottom() - 1, height: 1, ..inner };
    draw::clear(line, buf);
    draw::text(buf, line.x + 7, line.y, 6, ends[0], model.theme.style(Role::Dim));
    draw::right(buf, line, ends[1], model.theme.style(Role::Dim));
}

/// Deletion and insertion, with the numbers that say whether to believe the map.
pub fn faithfulness(model: &Model, f: Option<&Faithfulness>, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let Some(f) = f else {
        let inner = draw::frame(theme, area, "can this map be believed?", "", false, buf);
        let line = "measuring: pixels go and come in the map's order (f again if it was interrupted)";
        return draw::centred(buf, inner, &[(line.into(), theme.style(Role::Dim))]);
    };
    let (d, i) = (f.deletion.auc(), f.insertion.auc());
    let verdict = match (d < f.control.0, i > f.control.1, f.road() > 0.0) {
        (true, true, true) => "all three say yes",
        (false, false, false) => "all three say no",
        _ => "mixed evidence",
    };
    let title = format!("can this map be believed? {verdict}");
    let inner = draw::frame(theme, area, &title, "probability over the share of pixels removed (D) or restored (I)", false, buf);
    let notes = [
        format!("D {d:.3} (chance {:.3}, lower is better)", f.control.0),
        format!("I {i:.3} (chance {:.3}, higher is better)", f.control.1),
        format!("ROAD {:+.3} (above 0 is better)", f.road()),
    ];
    let beside = inner.width >= 90;
    let text_width = if beside { 44 } else { inner.width };
    let rows = if beside { 0 } else { 3.min(inner.height) };
    for (row, note) in notes.iter().enumerate() {
        let x = if beside { inner.right() - text_width } else { inner.x + 1 };
        if (row as u16) < inner.height {
            draw::text(buf, x, inner.y + row as u16, text_width, note, theme.style(Role::Text));
        }
    }
    let chart = Rect {
        y: inner.y + rows,
        height: inner.height - rows,
        width: if beside { inner.width - text_width - 1 } else { inner.width },
        ..inner
    };
    let values = |v: &[f64]| v.iter().map(|p| *p as f32).collect();
    let series = [
        Series { mark: "D", role: Role::Suppression, dashed: false, values: values(&f.deletion.scores) },
        Series { mark: "I", role: Role::Promotion, dashed: false, values: values(&f.insertion.scores) },
    ];
    LineChart { series: &series, cursor: None, steps: f.deletion.scores.len() }.draw(theme, chart, buf);
    axis(model, chart, ["0", "100 %"], buf);
}

/// Both attacks as two columns.
pub fn compare(model: &Model, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let Some(compare) = &model.cam.compare else {
        let inner = draw::frame(theme, area, "inside a region", "", false, buf);
        let line = "I attacks inside the region of the map with the focus and compares that with the attack everywhere";
        return draw::centred(buf, inner, &[(line.into(), theme.style(Role::Dim))]);
    };
    let title = format!("everywhere > inside {}", compare.name);
    let inner = draw::frame(theme, area, &title, "cells: linear estimates", false, buf);
    let within = model.run.as_ref().filter(|r| r.id == compare.within);
    let columns = [Some(&compare.everywhere), within].map(|run| run.map(|r| facts(r, compare)));
    let names = ["success", "steps", "L0", "L1", "L2", "Linf", "IS", "lift", "+ cells", "- cells", "= cells", "inert"];
    let rows = usize::from(inner.height).max(1);
    let width = inner.width / names.len().div_ceil(rows) as u16;
    for (i, name) in names.iter().enumerate() {
        let (x, y) = (inner.x + 1 + (i / rows) as u16 * width, inner.y + (i % rows) as u16);
        let value = |f: &Option<Vec<String>>| f.as_ref().and_then(|f| f.get(i).cloned()).unwrap_or_else(|| "-".into());
        let line = format!("{} > {}", value(&columns[0]), value(&columns[1]));
        draw::text(buf, x, y, 8, name, theme.style(Role::Dim));
        draw::text(buf, x + 8, y, width.saturating_sub(9), &line, theme.style(Role::Text));
    }
}

fn facts(run: &Run, compare: &Compare) -> Vec<String> {
    let success = match &run.ending {
        Some(Ending::Done { success: true }) => "yes",
        Some(Ending::Done { success: false }) => "no",
        Some(_) => "stopped",
        None => "running",
    };
    let mut out = vec![success.to_owned(), run.newest.map_or("-".into(), |n| n.to_string())];
    let frame = run.trace.as_ref().and_then(|t| t.frame(t.nearest_frame(run.best.or(run.newest)?)?));
    let record = frame.as_ref().and_then(|f| run.trace.as_ref()?.step(f.index));
    out.extend(match record {
        Some(r) => [r.l0.to_string(), text::number(r.l1), text::number(r.l2), text::per_255(r.linf)],
        None => ["-"; 4].map(str::to_owned),
    });
    let score = frame.and_then(|f| of_region(compare.region.view(), f.delta.view(), 0.0));
    out.push(score.map_or("-".into(), |s| format!("{:.3}", s.score)));
    out.push(score.and_then(|s| s.lift).map_or("-".into(), |l| format!("{l:.2}")));
    if let Some(map) = &compare.maps[usize::from(run.id == compare.within)] {
        let share = |kind: Kind| map.evaluated().filter(|c| c.kind == kind).count() as f32 / map.grid.len().max(1) as f32;
        out.extend([Kind::Promotion, Kind::Suppression, Kind::Balanced, Kind::Inert].map(|k| text::percent(share(k))));
    }
    out
}
