//! Pictures and charts of a run, as the page and the figure both show them.

use image::RgbImage;

use super::{
    chart::{Chart, Series},
    facts, picture,
    svg::Ink,
};
use crate::{
    core::{error::Result, explain::cam::CamMap},
    engine::findings::Findings,
};

/// A picture with what is said about it.
#[derive(Debug, Clone)]
pub struct Panel {
    /// The picture.
    pub picture: RgbImage,
    /// Heading.
    pub title: String,
    /// Line below.
    pub caption: String,
    /// What it shows, for those who do not see it.
    pub alt: String,
}

/// Clean image, adversarial image, perturbation, and the promotion-suppression map when there is one.
pub fn images(findings: &Findings) -> Result<Vec<Panel>> {
    let (frame, clean) = (findings.frame()?, findings.trace.clean.view());
    let best = |scores: Vec<crate::engine::event::Scored>| {
        scores.first().map_or_else(|| "not recorded".into(), |s| format!("{} {:.1} %", findings.meta.name(s.class), s.prob * 100.0))
    };
    let (before, after) = (best(findings.clean_scores(1)), best(findings.scores(1)));
    let gain = picture::gain(frame.delta.view());
    let mut panels = vec![
        Panel {
            picture: picture::photo(clean),
            title: "Clean image".into(),
            alt: format!("The clean image, taken for {before}"),
            caption: before,
        },
        Panel {
            picture: picture::photo(frame.image.view()),
            title: format!("Adversarial image, step {}", findings.step),
            alt: format!("The adversarial image of step {}, taken for {after}", findings.step),
            caption: after,
        },
        Panel {
            picture: picture::perturbation(frame.delta.view()),
            title: format!("Perturbation, {} times", facts::number(gain)),
            alt: format!("The perturbation around mid-grey, amplified {} times", facts::number(gain)),
            caption: facts::norms(findings),
        },
    ];
    if let Some(map) = findings.psr() {
        let (picture, limit) = picture::psr_strengths(frame.image.view(), map);
        let share = map.shares();
        let [p, s, b, i] = [share.promotion, share.suppression, share.balanced, share.inert].map(|v| v * 100.0);
        panels.push(Panel {
            picture,
            title: "Promotion and suppression".into(),
            caption: format!("{} x {} cells, {}; full colour at {} logits", map.grid.rows(), map.grid.cols(), facts::evaluation(map), facts::number(limit)),
            alt: format!(
                "Map of {} cells over the image: {p:.0} % promote the target, {s:.0} % suppress the true class, {b:.0} % do both, {i:.0} % are inert",
                map.cells.len()
            ),
        });
    }
    Ok(panels)
}

/// C(x0,t0), C(x0,t), C(x',t0), C(x',t) on one scale, and the value at which it saturates.
pub fn cams(findings: &Findings) -> Result<(Vec<Panel>, f32)> {
    let maps = findings.cams();
    let defined: Vec<_> = maps.iter().map(|m| m.map(|m| m.defined())).collect();
    let limit = picture::shared_limit(defined.iter().flatten().map(|m| m.view()));
    let frame = findings.frame()?;
    let mut panels = Vec::new();
    for (i, (map, raw)) in maps.iter().zip(&defined).enumerate() {
        let (Some(map), Some(raw)) = (map, raw) else { continue };
        let image = if i < 2 { findings.trace.clean.view() } else { frame.image.view() };
        let (x, word) = if i < 2 { ("x0", "clean") } else { ("x'", "adversarial") };
        let (t, role) = if i % 2 == 0 { ("t0", "true class") } else { ("t", "target class") };
        let class = findings.meta.name(map.class);
        panels.push(Panel {
            picture: picture::heat_overlay(image, raw.view(), limit),
            title: format!("C({x}, {t}): {word}, {role}"),
            alt: format!("Activation map of the {word} image for {class}{}", spoken_score(findings, map)),
            caption: match findings.score(map) {
                Some(s) => format!("{class}; IS {:.2}, even {:.2}", s.score, s.baseline),
                None => class,
            },
        });
    }
    Ok((panels, limit))
}

fn spoken_score(findings: &Findings, map: &CamMap) -> String {
    findings
        .score(map)
        .map(|s| format!("; {:.0} % of the perturbation's length lies in its hottest 30 %", s.score * 100.0))
        .unwrap_or_default()
}

/// Logits, objective and size of the change over the steps.
pub fn curves(findings: &Findings, ink: &Ink) -> Vec<Chart> {
    let (meta, steps) = (&findings.meta, &findings.meta.steps);
    let mut marks: Vec<(f32, String)> =
        findings.trace.flipped_at().map(|i| (i as f32, format!("class changes: {i}"))).into_iter().collect();
    marks.push((findings.step as f32, format!("shown: {}", findings.step)));
    let mut logits = vec![Series::of_steps(format!("{} (true)", meta.name(meta.label)), ink.truth, "", steps.iter().map(|s| s.true_logit))];
    if let Some(target) = meta.target {
        let values = steps.iter().map(|s| s.target_logit.unwrap_or(f32::NAN));
        logits.push(Series::of_steps(format!("{} (target)", meta.name(target)), ink.target, "7 3", values));
    }
    logits.push(Series::of_steps("best other class", ink.other, "2 3", steps.iter().map(|s| s.other_logit)));
    let chart = |title: &str, y: &str, series| Chart { title: title.into(), x: "step".into(), y: y.into(), series, marks: marks.clone() };
    vec![
        chart("Logits over steps", "logits", logits),
        chart("Objective over steps", "loss", vec![Series::of_steps("loss of the attack", ink.text, "", steps.iter().map(|s| s.loss))]),
        chart(
            "Size of the change over steps",
            "L2; 10 x Linf, pixel space",
            vec![
                Series::of_steps("L2", ink.truth, "", steps.iter().map(|s| s.l2)),
                Series::of_steps("Linf x 10", ink.target, "7 3", steps.iter().map(|s| s.linf * 10.0)),
            ],
        ),
    ]
}

/// The interpretability score over the threshold, for the adversarial image's map of the target (or of the true class).
pub fn score_curve(findings: &Findings, ink: &Ink) -> Option<Chart> {
    let map = findings.cams().into_iter().flatten().next_back()?;
    let curve = findings.score_curve(map);
    (curve.len() > 1).then(|| Chart {
        title: format!("Share of the change inside the map of {}", findings.meta.name(map.class)),
        x: "percentile of the map above which a pixel counts as inside".into(),
        y: "IS".into(),
        series: vec![
            Series { name: "IS".into(), stroke: ink.target, dash: "", points: curve.iter().map(|p| (p.0, p.1 as f32)).collect() },
            Series {
                name: "if spread evenly".into(),
                stroke: ink.other,
                dash: "2 3",
                points: curve.iter().map(|p| (p.0, p.2 as f32)).collect(),
            },
        ],
        marks: Vec::new(),
    })
}
