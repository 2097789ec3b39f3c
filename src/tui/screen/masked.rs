//! What a mask does to both predictions and both logits: the panel of screens 4 and 5.

use ndarray::{Array1, ArrayView1};
use ratatui::{buffer::Buffer, layout::Rect};

use crate::{
    core::{
        explain::units::{Fill, nothing_passes},
        scalars,
    },
    engine::{
        inspect::{Answer, Ask, Mask},
        trace::StepRecord,
    },
    tui::{model::Model, network, text, theme::Role, view::draw},
};

/// What the panel shows.
#[derive(Debug, Default)]
pub struct Panel<'a> {
    /// The mask in force.
    pub mask: Option<&'a Mask>,
    /// Heading.
    pub title: String,
    /// Which units, and how they were chosen.
    pub list: Option<String>,
    /// The keys that mask something, said while nothing is masked.
    pub keys: &'static str,
    /// What else is said then.
    pub more: &'static str,
}

/// The logits of the clean and of the adversarial image through a mask, once they are known at the step being looked at.
pub fn answer<'a>(model: &'a Model, mask: &Mask) -> Option<&'a [Array1<f32>; 2]> {
    match network::answer(model, Ask::Mask(mask.clone()))? {
        Answer::Mask(logits) => Some(logits),
        _ => None,
    }
}

/// The verdict, then both predictions and both logits before and after.
pub fn draw(model: &Model, panel: Panel, area: Rect, buf: &mut Buffer) {
    let Some(classes) = network::classes(model) else { return };
    let after = panel.mask.and_then(|m| answer(model, m));
    let mut lines: Vec<(String, Role)> = vec![match (panel.mask, after) {
        (None, _) => (panel.keys.into(), Role::Dim),
        (Some(_), None) => (network::lacking(model).unwrap_or_else(|| "computing".into()), Role::Warn),
        (Some(mask), Some(after)) => verdict(model, mask, after, classes.0),
    }];
    lines.extend(predictions(model, after));
    lines.extend(logits(model, classes, after));
    lines.extend(panel.list.map(|list| (list, Role::Dim)));
    if panel.mask.is_none() {
        lines.push((panel.more.into(), Role::Dim));
    }
    let framed = area.height >= 6;
    let inner = if framed { draw::frame(&model.theme, area, &panel.title, "", false, buf) } else { area };
    if !framed {
        lines.insert(usize::from(panel.mask.is_some()), (panel.title, Role::Dim));
    }
    let mut y = inner.y;
    for (line, role) in lines {
        let wrapped = text::wrap(&line, usize::from(inner.width.saturating_sub(2)));
        let shown = if framed { wrapped.len() } else { 1 };
        for part in wrapped.iter().take(shown) {
            if y < inner.bottom() {
                draw::text(buf, inner.x + 1, y, inner.width.saturating_sub(2), part, model.theme.style(role));
                y += 1;
            }
        }
    }
}

fn verdict(model: &Model, mask: &Mask, after: &[Array1<f32>; 2], truth: usize) -> (String, Role) {
    let [kept, right] = [0, 1].map(|row| scalars::predicted(after[row].view()) == truth);
    let lost = step(model).is_none_or(|r| r.predicted != truth);
    if mask.fill == Fill::Clean && nothing_passes(after[0].view(), after[1].view()) {
        return ("Everything passes here: x' now gives the logits of x0.".into(), if lost { Role::Good } else { Role::Dim });
    }
    match (right, kept) {
        (true, _) if !lost => ("At this step the true class was not lost.".into(), Role::Dim),
        (true, true) => ("The true class is back; the clean image keeps it.".into(), Role::Good),
        (true, false) => ("The true class is back, but the clean image lost it.".into(), Role::Warn),
        (false, true) => ("The true class is not back.".into(), Role::Text),
        (false, false) => ("The true class is not back, and the clean image lost it.".into(), Role::Error),
    }
}

/// The step being looked at.
fn step(model: &Model) -> Option<StepRecord> {
    model.trace()?.step(model.frame()?.index)
}

/// Class with the largest logit, and its probability, of the adversarial and of the clean image.
fn predictions(model: &Model, after: Option<&[Array1<f32>; 2]>) -> Vec<(String, Role)> {
    let named = |z: ArrayView1<f32>| {
        let class = scalars::predicted(z);
        format!("{} {}", model.short_label(class), text::prob(scalars::prob(z, class) as f32))
    };
    let adversarial = step(model).map(|r| {
        let z = r.top.iter().find(|(class, _)| *class == r.predicted).map_or(f32::NAN, |t| t.1);
        format!("{} {}", model.short_label(r.predicted), text::prob(r.prob(z)))
    });
    let clean = model.opened.as_ref().filter(|o| !o.logits.is_empty()).map(|o| named(ArrayView1::from(&o.logits)));
    let rows = [("x'", 1, adversarial), ("x0", 0, clean)];
    let arrow = model.theme.glyph("→", "->");
    let line = |(name, row, before): (&str, usize, Option<String>)| {
        let now = after.map_or_else(String::new, |z| format!(" {arrow} {}", named(z[row].view())));
        (format!("{name} {}{now}", before.unwrap_or_default()), Role::Text)
    };
    rows.into_iter().map(line).collect()
}

/// The true and the target logit of the adversarial image.
fn logits(model: &Model, (t0, t): (usize, usize), after: Option<&[Array1<f32>; 2]>) -> Vec<(String, Role)> {
    let record = step(model);
    let top = |class: usize| record.as_ref()?.top.iter().find(|z| z.0 == class).map(|z| z.1);
    let before = [record.as_ref().map(|r| r.true_logit), top(t).or(record.as_ref().and_then(|r| r.target_logit))];
    let arrow = model.theme.glyph("→", "->");
    let rows = [(t0, Role::TrueClass, "true"), (t, Role::TargetClass, "target")];
    let line = |((class, role, name), before): ((usize, Role, &str), Option<f32>)| {
        let before = before.unwrap_or(f32::NAN);
        let now =
            after.and_then(|z| z[1].get(class)).map_or_else(String::new, |z| format!(" {arrow} {z:.2} ({})", text::signed(z - before)));
        (format!("{name} logit on x' {before:.2}{now}"), role)
    };
    rows.into_iter().zip(before).map(line).collect()
}
