//! One self-contained page: no script, no other file, dark or light as the reader has it, readable on a phone.

use std::fmt::Write as _;

use super::{
    Options,
    chart::{Chart, Series},
    facts,
    panels::{self, Panel},
    svg::{PAGE, data_uri, escape, hex},
};
use crate::{
    core::{
        colour,
        error::Result,
        explain::{
            layers::LayerChange,
            psr::PsrMap,
            units::{self, UnitChange, UnitTable},
        },
    },
    engine::findings::Findings,
};

const STYLE: &str = include_str!("html.css");

/// The page.
pub fn bytes(findings: &Findings, _: &Options) -> Result<Vec<u8>> {
    let title = escape(&format!("{} · psescope", facts::title(findings)));
    let mut body = String::new();
    header(findings, &mut body);
    section("pictures", "Pictures", &mut body, |out| figures(&panels::images(findings)?, out))?;
    section("scores", "Classes", &mut body, |out| {
        scores(findings, out);
        Ok(())
    })?;
    if let Some(map) = findings.psr() {
        section("pse", "Promotion and suppression", &mut body, |out| {
            promotion(findings, map, out);
            Ok(())
        })?;
    }
    if findings.cam_method().is_some() {
        section("cams", "Where the evidence lies", &mut body, |out| cams(findings, out))?;
    }
    if let Some(layers) = &findings.layers {
        section("layers", "Layer by layer", &mut body, |out| {
            self::layers(findings, layers, out);
            Ok(())
        })?;
    }
    if let Some(table) = &findings.units {
        section("units", "Units", &mut body, |out| {
            units(findings, table, out);
            Ok(())
        })?;
    }
    section("steps", "Over the steps", &mut body, |out| {
        for chart in panels::curves(findings, &PAGE) {
            let _ = writeln!(out, "<figure class=\"chart\">{}</figure>", chart.to_svg(&PAGE, 640.0, 260.0));
        }
        Ok(())
    })?;
    if !findings.missing.is_empty() {
        section("missing", "Left out", &mut body, |out| {
            let items: String = findings.missing.iter().map(|m| format!("<li>{}</li>", escape(m))).collect();
            let _ = writeln!(out, "<ul>{items}</ul>");
            Ok(())
        })?;
    }
    section("made", "How it was made", &mut body, |out| {
        made(findings, out);
        Ok(())
    })?;
    let version = env!("CARGO_PKG_VERSION");
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"generator\" content=\"psescope {version}\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<main>\n{body}</main>\n<footer><p>Written by psescope {version}.</p></footer>\n</body>\n</html>\n"
    )
    .into_bytes())
}

fn section(id: &str, title: &str, out: &mut String, fill: impl FnOnce(&mut String) -> Result<()>) -> Result<()> {
    let _ = writeln!(out, "<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{title}</h2>");
    fill(out)?;
    out.push_str("</section>\n");
    Ok(())
}

fn header(findings: &Findings, out: &mut String) {
    let _ = writeln!(
        out,
        "<header>\n<h1>{}</h1>\n<p class=\"lead\">{}</p>\n<p class=\"dim\">Model: {}. {}.</p>\n</header>",
        escape(&facts::title(findings)),
        escape(&facts::outcome(findings)),
        escape(&facts::file_name(&findings.meta.model)),
        escape(&facts::norms(findings))
    );
}

fn figures(panels: &[Panel], out: &mut String) -> Result<()> {
    out.push_str("<div class=\"grid\">\n");
    for panel in panels {
        let (w, h) = panel.picture.dimensions();
        let _ = writeln!(
            out,
            "<figure><img src=\"{}\" width=\"{w}\" height=\"{h}\" alt=\"{}\"><figcaption><strong>{}</strong> {}</figcaption></figure>",
            data_uri(&panel.picture)?,
            escape(&panel.alt),
            escape(&panel.title),
            escape(&panel.caption)
        );
    }
    out.push_str("</div>\n");
    Ok(())
}

/// A table: caption, heads, rows; the first cell of a row is its head. Columns of numbers are set to the right.
pub(super) fn table(caption: &str, heads: &[(&str, bool)], rows: &[Vec<String>], out: &mut String) {
    let _ = write!(out, "<div class=\"wide\"><table><caption>{}</caption><thead><tr>", escape(caption));
    for (head, number) in heads {
        let _ = write!(out, "<th scope=\"col\"{}>{}</th>", if *number { " class=\"n\"" } else { "" }, escape(head));
    }
    out.push_str("</tr></thead><tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for (i, (cell, (_, number))) in row.iter().zip(heads).enumerate() {
            let class = if *number { " class=\"n\"" } else { "" };
            let cell = escape(cell);
            let _ = if i == 0 { write!(out, "<th scope=\"row\"{class}>{cell}</th>") } else { write!(out, "<td{class}>{cell}</td>") };
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

fn scores(findings: &Findings, out: &mut String) {
    let lists = [("Clean image", findings.clean_scores(5)), ("Adversarial image", findings.scores(5))];
    out.push_str("<div class=\"pair\">\n");
    for (caption, scores) in lists.into_iter().filter(|l| !l.1.is_empty()) {
        let row = |s: &crate::engine::event::Scored| {
            let role = match s.class {
                c if c == findings.meta.label => " (true)",
                c if Some(c) == findings.meta.target => " (target)",
                _ => "",
            };
            vec![
                format!("{}{role}", findings.meta.name(s.class)),
                s.class.to_string(),
                format!("{:.3}", s.logit),
                format!("{:.2} %", s.prob * 100.0),
            ]
        };
        let rows: Vec<_> = scores.iter().map(row).collect();
        table(caption, &[("Class", false), ("Index", true), ("Logit", true), ("Probability", true)], &rows, out);
    }
    out.push_str("</div>\n");
}

fn promotion(findings: &Findings, map: &PsrMap, out: &mut String) {
    let (t0, t) = map.classes;
    let (truth, target) = (escape(&findings.meta.name(t0)), escape(&findings.meta.name(t)));
    let share = map.shares();
    let key = |colour: Option<[u8; 3]>, sign: &str, words: String, share: f32| {
        let style = colour.map_or_else(|| "background:transparent".to_owned(), |c| format!("background:{}", hex(c)));
        format!(
            "<li><span class=\"key\" style=\"{style}\" aria-hidden=\"true\">{sign}</span> {words}: <strong>{:.1} %</strong> of the cells</li>",
            share * 100.0
        )
    };
    let _ = writeln!(
        out,
        "<ul class=\"keys\">{}{}{}{}</ul>",
        key(Some(colour::PROMOTION), "+", format!("promotes {target}"), share.promotion),
        key(Some(colour::SUPPRESSION), "&minus;", format!("suppresses {truth}"), share.suppression),
        key(Some(colour::BALANCED), "=", "does both".into(), share.balanced),
        key(None, "", format!("inert (both effects at most {} logits)", map.settings.floor), share.inert)
    );
    let (s, b) = map.totals();
    let mut rows = vec![vec!["Sum over the cells".into(), format!("{s:+.3}"), format!("{b:+.3}"), String::new()]];
    if let Some(whole) = findings.whole(map) {
        rows.push(vec![
            "Whole perturbation".into(),
            format!("{:+.3}", whole.s_raw),
            format!("{:+.3}", whole.b_raw),
            whole.kind.name().into(),
        ]);
    }
    let mut strongest: Vec<_> = map.evaluated().collect();
    strongest.sort_by(|x, y| y.s.max(y.b).total_cmp(&x.s.max(x.b)));
    rows.extend(strongest.iter().take(5).map(|c| {
        vec![
            format!("Cell in row {}, column {}", c.row + 1, c.col + 1),
            format!("{:+.3}", c.s_raw),
            format!("{:+.3}", c.b_raw),
            c.kind.name().into(),
        ]
    }));
    table(
        "Effects in logits: the whole, and the five strongest cells",
        &[("What", false), ("Suppression of the true class", true), ("Promotion of the target", true), ("Type", false)],
        &rows,
        out,
    );
    let _ = writeln!(
        out,
        "<p class=\"dim\">{} x {} cells, {}. A cell's effect is what undoing it alone changes, so that the cells need not add up to the whole. \
         Floor {} logits and threshold {} on |log2(b/s)| are conventions recalled from the paper.</p>",
        map.grid.rows(),
        map.grid.cols(),
        facts::evaluation(map),
        map.settings.floor,
        map.settings.threshold
    );
}

fn cams(findings: &Findings, out: &mut String) -> Result<()> {
    let (panels, limit) = panels::cams(findings)?;
    figures(&panels, out)?;
    let Some(map) = findings.cams().into_iter().flatten().next() else { return Ok(()) };
    let _ = writeln!(
        out,
        "<p class=\"dim\">{} at layer {}, one scale from 0 to {} for all. IS: share of the perturbation's length in the hottest 30 % of a map; \
         even: what it would be if spread evenly; lift: IS divided by that. The paper's threshold is not known, so a curve is given.</p>",
        escape(map.method.info().title),
        escape(&map.layer),
        facts::number(limit)
    );
    let names = ["C(x0, t0)", "C(x0, t)", "C(x', t0)", "C(x', t)"];
    let rows: Vec<Vec<String>> = findings
        .cams()
        .iter()
        .zip(names)
        .filter_map(|(map, name)| {
            let (map, score) = ((*map)?, findings.score((*map)?)?);
            let lift = score.lift.map_or_else(|| "undefined".into(), |l| format!("{l:.3}"));
            Some(vec![name.into(), findings.meta.name(map.class), format!("{:.3}", score.score), format!("{:.3}", score.baseline), lift])
        })
        .collect();
    if !rows.is_empty() {
        table("Interpretability scores", &[("Map", false), ("Class", false), ("IS", true), ("Even", true), ("Lift", true)], &rows, out);
    }
    if let Some(chart) = panels::score_curve(findings, &PAGE) {
        let _ = writeln!(out, "<figure class=\"chart\">{}</figure>", chart.to_svg(&PAGE, 640.0, 260.0));
    }
    Ok(())
}

fn layers(findings: &Findings, layers: &[LayerChange], out: &mut String) {
    let turning = findings.turning_point();
    let optional = |v: Option<f64>| v.map_or_else(|| "undefined".into(), |v| format!("{v:.3}"));
    let row = |l: &LayerChange| {
        let here = if turning.is_some_and(|t| t.info.name == l.info.name) { " (turning point)" } else { "" };
        let [h, w] = l.info.spatial;
        vec![
            format!("{}{here}", l.info.name),
            format!("{h} x {w} x {}", l.info.units),
            l.promoted.to_string(),
            l.suppressed.to_string(),
            l.unchanged.to_string(),
            optional(l.relative_change),
            optional(l.cosine),
        ]
    };
    let heads = [
        ("Layer", false),
        ("Size", true),
        ("Promoted", true),
        ("Suppressed", true),
        ("Unchanged", true),
        ("Relative change", true),
        ("Cosine", true),
    ];
    table("What the perturbation changes at the ends of the blocks", &heads, &layers.iter().map(row).collect::<Vec<_>>(), out);
    let chart = Chart {
        title: "Clean against adversarial activation".into(),
        x: "layer, first to last".into(),
        y: "cosine, relative change".into(),
        series: vec![
            Series::of_steps("cosine", PAGE.truth, "", layers.iter().map(|l| l.cosine.map_or(f32::NAN, |v| v as f32))),
            Series::of_steps(
                "relative change",
                PAGE.target,
                "7 3",
                layers.iter().map(|l| l.relative_change.map_or(f32::NAN, |v| v as f32)),
            ),
        ],
        marks: Vec::new(),
    };
    let _ = writeln!(out, "<figure class=\"chart\">{}</figure>", chart.to_svg(&PAGE, 640.0, 240.0));
    out.push_str(
        "<p class=\"dim\">A unit is promoted or suppressed when its mean response moves by more than 1 % of the layer's typical response; the turning point is \
         the first layer whose cosine is below 0.9. The paper's rule is not known: both numbers are conventions of this program.</p>\n",
    );
}

/// Units shown of a layer.
const UNITS: usize = 12;

fn units(findings: &Findings, units: &UnitTable, out: &mut String) {
    let order = units::most_effective(units);
    let row = |u: &UnitChange| {
        let signed = |v: f32| format!("{v:+.3}");
        vec![
            u.unit.to_string(),
            format!("{:.3}", u.clean.mean),
            format!("{:.3}", u.adversarial.mean),
            signed(u.effect_true),
            signed(u.effect_target),
            u.kind.name().into(),
        ]
    };
    let rows: Vec<_> = order.iter().filter_map(|&k| units.units.get(k)).take(UNITS).map(row).collect();
    let heads = [
        ("Unit", true),
        ("Clean mean", true),
        ("Adversarial mean", true),
        ("Effect on the true logit", true),
        ("Effect on the target logit", true),
        ("Type", false),
    ];
    let caption = format!("The {} units of {} with the largest effect, of {}", rows.len(), units.layer.name, units.units.len());
    table(&caption, &heads, &rows, out);
    let how = if units.exact { "measured by patching each unit back" } else { "estimates: change times gradient" };
    let (t0, t) = units.classes;
    let (truth, target) = (escape(&findings.meta.name(t0)), escape(&findings.meta.name(t)));
    let _ = writeln!(out, "<p class=\"dim\">Effects are in logits, {how}. True class: {truth}; target: {target}.</p>");
}

fn made(findings: &Findings, out: &mut String) {
    let _ = writeln!(out, "<p>The same run again:</p>\n<pre tabindex=\"0\"><code>{}</code></pre>", escape(&facts::command(findings)));
    if let Some(command) = facts::recorded_command(findings) {
        let _ = writeln!(out, "<p>It was recorded by:</p>\n<pre tabindex=\"0\"><code>{}</code></pre>", escape(&command));
    }
    let rows: Vec<Vec<String>> = facts::provenance(findings).into_iter().map(|(name, value)| vec![name.into(), value]).collect();
    table("Model, image and machine", &[("What", false), ("Value", false)], &rows, out);
    let params: Vec<Vec<String>> = findings.meta.params.iter().map(|(n, v)| vec![n.clone(), v.clone()]).collect();
    if !params.is_empty() {
        table("Parameters of the attack, defaults included", &[("Parameter", false), ("Value", false)], &params, out);
    }
}
