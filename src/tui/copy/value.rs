//! The value under the cursor, or the selected row, as one line of text.

use crate::{
    core::explain::psr::Kind,
    engine::sample,
    tui::{
        model::Model,
        psr,
        screen::{Screen, cam, insight, layers, units},
        text,
    },
};

/// What is under the cursor; where there is no cursor, one line about the step.
pub fn value(model: &Model) -> String {
    let found = match model.screen {
        Screen::Pixels | Screen::Cam if model.pixels.in_pixels => pixel(model),
        Screen::Pixels => cell(model),
        Screen::Cam => map(model),
        Screen::Layers => layer(model),
        Screen::Units => unit(model),
        Screen::Insight => insight::chosen(model),
        Screen::Triage => image(model),
        Screen::Attack => None,
    };
    found.unwrap_or_else(|| summary(model))
}

/// One line about the step on the screen.
pub fn summary(model: &Model) -> String {
    let mut parts = vec![sample::title(&model.model_path), sample::title(&model.image_path)];
    if let Some(clean) = model.clean_scores(1).first() {
        parts.push(format!("clean: {} {}", model.short_label(clean.class), text::prob(clean.prob)));
    }
    if let (Some(run), Some(record)) = (&model.run, model.record()) {
        let top = model.current_scores(1);
        let now = top.first().map(|s| format!("{} {}", model.short_label(s.class), text::prob(s.prob))).unwrap_or_default();
        let norms = format!("L2 {} Linf {}", text::number(record.l2), text::per_255(record.linf));
        parts.push(format!("{} step {}: {now}, {norms}, seed {}", run.request.attack, record.index, run.request.seed));
    }
    parts.join(" | ")
}

fn pixel(model: &Model) -> Option<String> {
    let opened = model.opened.as_ref()?;
    let [y, x] = model.pixels.pixel;
    let values = |image: &ndarray::Array3<f32>| (0..image.dim().0).map(|c| image[(c, y, x)].to_string()).collect::<Vec<_>>().join(" ");
    let mut out = format!("pixel row {y} column {x}: clean {}", values(&opened.image));
    if let Some(frame) = model.frame() {
        out.push_str(&format!(", adversarial {}, change {}", values(&frame.image), values(&frame.delta)));
    }
    Some(out)
}

fn cell(model: &Model) -> Option<String> {
    let shown = psr::shown(model)?;
    let cell = shown.map.cells.get(model.pixels.selected)?.as_ref()?;
    let kind = match cell.kind {
        Kind::Suppression => "suppression",
        Kind::Promotion => "promotion",
        Kind::Balanced => "balanced",
        Kind::Inert => "inert",
    };
    let exact = shown.map.settings.mode == crate::core::explain::psr::Mode::Exact && !shown.estimated[model.pixels.selected];
    let how = if exact { "exact" } else { "estimate" };
    Some(format!(
        "cell row {} column {}: {kind}, suppresses {} logits, promotes {} logits ({how})",
        cell.row, cell.col, cell.s_raw, cell.b_raw
    ))
}

fn map(model: &Model) -> Option<String> {
    let (truth, other) = cam::classes(model)?;
    let class = if model.cam.focus.is_multiple_of(2) { truth } else { other };
    let image = if model.cam.focus < 2 { "clean" } else { "adversarial" };
    let layer = model.cam.layer.clone().unwrap_or_else(|| "usual layer".into());
    Some(format!("{} of the {image} image for {} #{class} at {layer}", model.cam.method.info().title, model.short_label(class)))
}

fn layer(model: &Model) -> Option<String> {
    let c = layers::chosen(model)?;
    let number = |v: Option<f64>| v.map_or_else(|| "undefined".into(), |v| v.to_string());
    Some(format!(
        "{}: cosine {}, relative change {}, {} of {} units promoted, {} suppressed",
        c.info.name,
        number(c.cosine),
        number(c.relative_change),
        c.promoted,
        c.info.units,
        c.suppressed
    ))
}

fn unit(model: &Model) -> Option<String> {
    let layer = model.units.layer.as_deref()?;
    let unit = units::chosen(model)?;
    let rows = units::visible(model);
    let row = rows.iter().find(|u| u.unit == unit)?;
    let concept = units::labels(model).and_then(|l| l.unit(unit)).map(|c| format!(", {} ({}, IoU {:.3})", c.label, c.category, c.iou));
    Some(format!(
        "{layer} unit {unit}{}: mean {} clean, {} adversarial, effect on the true class {}, on the target {} (first order)",
        concept.unwrap_or_default(),
        row.clean.mean,
        row.adversarial.mean,
        row.effect_true,
        row.effect_target
    ))
}

fn image(model: &Model) -> Option<String> {
    model.triage.row().map(|row| row.path().to_owned())
}
