//! A figure at paper quality: one SVG, rasterised.

use std::{
    fmt::Write as _,
    sync::{Arc, OnceLock},
};

use resvg::{
    tiny_skia::{Pixmap, Transform},
    usvg::{self, fontdb::Database},
};

use super::{
    Options, facts,
    panels::{self, Panel},
    svg::{Anchor, PAPER, fit, hex, picture, rect, text},
};
use crate::{
    core::{
        colour,
        error::{Error, Result},
        explain::psr::PsrMap,
    },
    engine::findings::Findings,
};

/// Width in units.
pub const WIDTH: f32 = 1080.0;
const MARGIN: f32 = 24.0;
const GAP: f32 = 16.0;
/// Four panels beside each other.
const PANEL: f32 = (WIDTH - 2.0 * MARGIN - 3.0 * GAP) / 4.0;
const CHART: f32 = 230.0;

/// The figure as PNG.
pub fn bytes(findings: &Findings, options: &Options) -> Result<Vec<u8>> {
    rasterise(&svg(findings)?, options.scale)
}

/// The figure as SVG.
pub fn svg(findings: &Findings) -> Result<String> {
    let mut out = String::new();
    let mut y = heading(findings, &mut out);
    let (c, height, width) = findings.trace.clean.dim();
    debug_assert!(c > 0);
    let panel_height = (PANEL * height as f32 / width as f32).min(2.0 * PANEL);
    let mut letters = 'a'..='z';
    y = row(&panels::images(findings)?, y, panel_height, &mut letters, &mut out)?;
    if let Some(map) = findings.psr() {
        y = psr_legend(findings, map, y, &mut out);
    }
    let (cams, limit) = panels::cams(findings)?;
    if !cams.is_empty() {
        y = row(&cams, y + 10.0, panel_height, &mut letters, &mut out)?;
        y = heat_legend(findings, limit, y, &mut out);
    }
    y += 14.0;
    let curves = panels::curves(findings, &PAPER);
    let widths = [WIDTH * 0.42, WIDTH * 0.25];
    let mut x = MARGIN;
    for (chart, width) in [&curves[0], &curves[2]].into_iter().zip(widths) {
        out.push_str(&chart.group(&PAPER, [x, y, width, CHART]));
        x += width + GAP * 1.5;
    }
    scores(findings, [x, y, WIDTH - MARGIN - x, CHART], &mut out);
    y += CHART + 20.0;
    for line in footer(findings) {
        text(&mut out, (MARGIN, y), 10.5, PAPER.dim, Anchor::Start, &fit(&line, 10.5, WIDTH - 2.0 * MARGIN));
        y += 15.0;
    }
    let height = y + 6.0;
    let label = super::svg::escape(&facts::title(findings));
    Ok(format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0}" viewBox="0 0 {WIDTH} {height:.0}" font-family="Ubuntu, Hack, sans-serif" role="img" aria-label="{label}"><rect width="{WIDTH}" height="{height:.0}" fill="{}"/>{out}</svg>"#,
        PAPER.ground
    ))
}

fn heading(findings: &Findings, out: &mut String) -> f32 {
    let room = WIDTH - 2.0 * MARGIN;
    let title = format!("{}, {}", facts::title(findings), facts::file_name(&findings.meta.model));
    text(out, (MARGIN, 36.0), 20.0, PAPER.text, Anchor::Start, &fit(&title, 20.0, room));
    text(out, (MARGIN, 57.0), 13.0, PAPER.dim, Anchor::Start, &fit(&facts::outcome(findings), 13.0, room));
    72.0
}

fn row(panels: &[Panel], top: f32, height: f32, letters: &mut impl Iterator<Item = char>, out: &mut String) -> Result<f32> {
    for (i, panel) in panels.iter().enumerate() {
        let x = MARGIN + i as f32 * (PANEL + GAP);
        let letter = letters.next().map(|l| format!("({l}) ")).unwrap_or_default();
        text(out, (x, top + 13.0), 13.0, PAPER.text, Anchor::Start, &fit(&format!("{letter}{}", panel.title), 13.0, PANEL));
        picture(out, [x, top + 20.0, PANEL, height], &panel.picture, PAPER.line)?;
        let mut y = top + 20.0 + height + 14.0;
        for line in two_lines(&panel.caption, 11.0, PANEL) {
            text(out, (x, y), 11.0, PAPER.dim, Anchor::Start, &line);
            y += 13.5;
        }
    }
    Ok(top + 20.0 + height + 32.0)
}

/// At most two lines of about this width, broken between words.
fn two_lines(line: &str, size: f32, width: f32) -> Vec<String> {
    let whole = fit(line, size, width);
    if whole == line {
        return vec![whole];
    }
    let kept = whole.trim_end_matches('…').len();
    let Some(at) = line[..kept].rfind(' ').filter(|at| *at > 0) else { return vec![whole] };
    vec![line[..at].to_owned(), fit(line[at..].trim_start(), size, width)]
}

fn psr_legend(findings: &Findings, map: &PsrMap, y: f32, out: &mut String) -> f32 {
    let (t0, t) = map.classes;
    let share = map.shares();
    let name = |c: usize| fit(&findings.meta.name(c), 11.0, 190.0);
    let entries = [
        (Some(colour::PROMOTION), format!("promotes {}: {:.0} %", name(t), share.promotion * 100.0)),
        (Some(colour::SUPPRESSION), format!("suppresses {}: {:.0} %", name(t0), share.suppression * 100.0)),
        (Some(colour::BALANCED), format!("both: {:.0} %", share.balanced * 100.0)),
        (None, format!("inert, at most {} logits: {:.0} %", map.settings.floor, share.inert * 100.0)),
    ];
    let mut x = MARGIN;
    text(out, (x, y + 10.0), 11.0, PAPER.text, Anchor::Start, "Cells of (d):");
    x += 76.0;
    for (fill, words) in entries {
        if let Some(fill) = fill {
            rect(out, [x, y, 14.0, 12.0], &hex(fill));
        } else {
            let _ = writeln!(out, r#"<rect x="{x:.1}" y="{y:.1}" width="14" height="12" fill="none" stroke="{}"/>"#, PAPER.dim);
        }
        text(out, (x + 19.0, y + 10.0), 11.0, PAPER.text, Anchor::Start, &words);
        x += 19.0 + words.chars().count() as f32 * 5.7 + 22.0;
    }
    y + 22.0
}

fn heat_legend(findings: &Findings, limit: f32, y: f32, out: &mut String) -> f32 {
    let Some(map) = findings.cams().into_iter().flatten().next() else { return y };
    let bar = 180.0;
    for i in 0..60 {
        rect(out, [MARGIN + bar * i as f32 / 60.0, y, bar / 60.0 + 0.3, 12.0], &hex(colour::heat(i as f32 / 59.0)));
    }
    let line = format!(
        "0 to {}, one scale for all four; {} at {}. IS: share of the change in the hottest 30 % of a map; even: if it were spread evenly.",
        facts::number(limit),
        map.method.info().title,
        map.layer
    );
    text(out, (MARGIN + bar + 10.0, y + 10.0), 11.0, PAPER.text, Anchor::Start, &fit(&line, 11.0, WIDTH - 2.0 * MARGIN - bar - 10.0));
    y + 22.0
}

fn scores(findings: &Findings, [left, top, width, height]: [f32; 4], out: &mut String) {
    text(out, (left, top + 14.0), 13.0, PAPER.text, Anchor::Start, "Top classes, clean and adversarial");
    let (before, after) = (findings.clean_scores(5), findings.scores(5));
    let lists: Vec<_> =
        [(before, "clean", PAPER.truth), (after, "adversarial", PAPER.target)].into_iter().filter(|l| !l.0.is_empty()).collect();
    let room = (height - 30.0) / lists.len().max(1) as f32;
    for (i, (scores, word, fill)) in lists.iter().enumerate() {
        let y0 = top + 32.0 + room * i as f32;
        text(out, (left, y0), 11.0, PAPER.dim, Anchor::Start, word);
        for (k, s) in scores.iter().take(5).enumerate() {
            let y = y0 + 15.0 + 15.5 * k as f32;
            let bar = (width * 0.3 * s.prob).max(0.5);
            rect(out, [left, y - 9.0, bar, 10.0], fill);
            text(out, (left + width * 0.32, y), 11.0, PAPER.text, Anchor::Start, &format!("{:.1} %", s.prob * 100.0));
            let x = left + width * 0.32 + 46.0;
            text(out, (x, y), 11.0, PAPER.text, Anchor::Start, &fit(&findings.meta.name(s.class), 11.0, left + width - x));
        }
    }
}

fn footer(findings: &Findings) -> Vec<String> {
    let meta = &findings.meta;
    let params = meta.params.iter().map(|(n, v)| format!("{n} {v}")).collect::<Vec<_>>().join(", ");
    let hash = meta.model_sha256.get(..12).unwrap_or(&meta.model_sha256);
    let mut lines = vec![
        format!("{}: {params}; seed {}. {}. Preprocessing: {}.", meta.attack, meta.seed, facts::norms(findings), meta.preprocessing),
        format!("Model SHA-256 {hash}…, {}, psescope {}.", meta.provider, meta.version),
    ];
    lines.extend(findings.missing.iter().cloned());
    lines
}

fn rasterise(svg: &str, scale: f32) -> Result<Vec<u8>> {
    let bad = |e: &dyn std::fmt::Display| Error::Input(format!("the figure cannot be drawn: {e}"));
    if !(0.25..=8.0).contains(&scale) {
        return Err(Error::Parameter(format!("a figure at {scale} times its size is not possible; give --scale between 0.25 and 8")));
    }
    let options = usvg::Options { fontdb: fonts(), font_family: "Ubuntu".into(), ..usvg::Options::default() };
    let tree = usvg::Tree::from_str(svg, &options).map_err(|e| bad(&e))?;
    let size = tree.size().to_int_size().scale_by(scale).ok_or_else(|| bad(&"it is too large"))?;
    let mut pixmap = Pixmap::new(size.width(), size.height()).ok_or_else(|| bad(&"it is too large"))?;
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixmap.as_mut());
    pixmap.encode_png().map_err(|e| bad(&e))
}

/// The fonts that come with the program: the same picture on every machine.
fn fonts() -> Arc<Database> {
    static FONTS: OnceLock<Arc<Database>> = OnceLock::new();
    let load = || {
        let mut fonts = Database::new();
        for font in [epaint_default_fonts::UBUNTU_LIGHT, epaint_default_fonts::HACK_REGULAR, epaint_default_fonts::NOTO_EMOJI_REGULAR] {
            fonts.load_font_data(font.to_vec());
        }
        fonts.set_sans_serif_family("Ubuntu");
        Arc::new(fonts)
    };
    Arc::clone(FONTS.get_or_init(load))
}
