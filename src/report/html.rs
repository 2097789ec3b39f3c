//! One self-contained page: no script, no other file, dark or light as the reader has it, readable on a phone.

use std::fmt::Write as _;

use super::{
    Options, facts,
    panels::{self, Panel},
    svg::{PAGE, data_uri, escape, hex},
};
use crate::{
    core::{colour, error::Result, explain::psr::PsrMap},
    engine::study::Study,
};

const STYLE: &str = include_str!("html.css");

/// The page.
pub fn bytes(study: &Study, _: &Options) -> Result<Vec<u8>> {
    let title = escape(&format!("{} · psescope", facts::title(study)));
    let mut body = String::new();
    header(study, &mut body);
    section("pictures", "Pictures", &mut body, |out| figures(&panels::images(study)?, out))?;
    section("scores", "Classes", &mut body, |out| {
        scores(study, out);
        Ok(())
    })?;
    if let Some(map) = study.psr() {
        section("pse", "Promotion and suppression", &mut body, |out| {
            promotion(study, map, out);
            Ok(())
        })?;
    }
    if study.cam_method().is_some() {
        section("cams", "Where the evidence lies", &mut body, |out| cams(study, out))?;
    }
    section("steps", "Over the steps", &mut body, |out| {
        for chart in panels::curves(study, &PAGE) {
            let _ = writeln!(out, "<figure class=\"chart\">{}</figure>", chart.to_svg(&PAGE, 640.0, 260.0));
        }
        Ok(())
    })?;
    if !study.missing.is_empty() {
        section("missing", "Left out", &mut body, |out| {
            let items: String = study.missing.iter().map(|m| format!("<li>{}</li>", escape(m))).collect();
            let _ = writeln!(out, "<ul>{items}</ul>");
            Ok(())
        })?;
    }
    section("made", "How it was made", &mut body, |out| {
        made(study, out);
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

fn header(study: &Study, out: &mut String) {
    let _ = writeln!(
        out,
        "<header>\n<h1>{}</h1>\n<p class=\"lead\">{}</p>\n<p class=\"dim\">Model: {}. {}.</p>\n</header>",
        escape(&facts::title(study)),
        escape(&facts::outcome(study)),
        escape(&facts::file_name(&study.meta.model)),
        escape(&facts::norms(study))
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

fn scores(study: &Study, out: &mut String) {
    let lists = [("Clean image", study.clean_scores(5)), ("Adversarial image", study.scores(5))];
    out.push_str("<div class=\"pair\">\n");
    for (caption, scores) in lists.into_iter().filter(|l| !l.1.is_empty()) {
        let row = |s: &crate::engine::event::Scored| {
            let role = match s.class {
                c if c == study.meta.label => " (true)",
                c if Some(c) == study.meta.target => " (target)",
                _ => "",
            };
            vec![format!("{}{role}", study.meta.name(s.class)), s.class.to_string(), format!("{:.3}", s.logit), format!("{:.2} %", s.prob * 100.0)]
        };
        let rows: Vec<_> = scores.iter().map(row).collect();
        table(caption, &[("Class", false), ("Index", true), ("Logit", true), ("Probability", true)], &rows, out);
    }
    out.push_str("</div>\n");
}

fn promotion(study: &Study, map: &PsrMap, out: &mut String) {
    let (t0, t) = map.classes;
    let (truth, target) = (escape(&study.meta.name(t0)), escape(&study.meta.name(t)));
    let share = map.shares();
    let key = |colour: Option<[u8; 3]>, sign: &str, words: String, share: f32| {
        let style = colour.map_or_else(|| "background:transparent".to_owned(), |c| format!("background:{}", hex(c)));
        format!("<li><span class=\"key\" style=\"{style}\" aria-hidden=\"true\">{sign}</span> {words}: <strong>{:.1} %</strong> of the cells</li>", share * 100.0)
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
    let mut rows = vec![
        vec!["Sum over the cells".into(), format!("{s:+.3}"), format!("{b:+.3}"), String::new()],
    ];
    if let Some(whole) = study.whole(map) {
        rows.push(vec!["Whole perturbation".into(), format!("{:+.3}", whole.s_raw), format!("{:+.3}", whole.b_raw), whole.kind.name().into()]);
    }
    let mut strongest: Vec<_> = map.evaluated().collect();
    strongest.sort_by(|x, y| y.s.max(y.b).total_cmp(&x.s.max(x.b)));
    rows.extend(strongest.iter().take(5).map(|c| {
        vec![format!("Cell in row {}, column {}", c.row + 1, c.col + 1), format!("{:+.3}", c.s_raw), format!("{:+.3}", c.b_raw), c.kind.name().into()]
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

fn cams(study: &Study, out: &mut String) -> Result<()> {
    let (panels, limit) = panels::cams(study)?;
    figures(&panels, out)?;
    let Some(map) = study.cams().into_iter().flatten().next() else { return Ok(()) };
    let _ = writeln!(
        out,
        "<p class=\"dim\">{} at layer {}, one scale from 0 to {} for all. IS: share of the perturbation's length in the hottest 30 % of a map; \
         even: what it would be if spread evenly; lift: IS divided by that. The paper's threshold is not known, so a curve is given.</p>",
        escape(map.method.info().title),
        escape(&map.layer),
        facts::number(limit)
    );
    let names = ["C(x0, t0)", "C(x0, t)", "C(x', t0)", "C(x', t)"];
    let rows: Vec<Vec<String>> = study
        .cams()
        .iter()
        .zip(names)
        .filter_map(|(map, name)| {
            let (map, score) = ((*map)?, study.score((*map)?)?);
            let lift = score.lift.map_or_else(|| "undefined".into(), |l| format!("{l:.3}"));
            Some(vec![name.into(), study.meta.name(map.class), format!("{:.3}", score.score), format!("{:.3}", score.baseline), lift])
        })
        .collect();
    if !rows.is_empty() {
        table("Interpretability scores", &[("Map", false), ("Class", false), ("IS", true), ("Even", true), ("Lift", true)], &rows, out);
    }
    if let Some(chart) = panels::score_curve(study, &PAGE) {
        let _ = writeln!(out, "<figure class=\"chart\">{}</figure>", chart.to_svg(&PAGE, 640.0, 260.0));
    }
    Ok(())
}

fn made(study: &Study, out: &mut String) {
    let _ = writeln!(out, "<p>The same run again:</p>\n<pre tabindex=\"0\"><code>{}</code></pre>", escape(&facts::command(study)));
    if let Some(command) = facts::recorded_command(study) {
        let _ = writeln!(out, "<p>It was recorded by:</p>\n<pre tabindex=\"0\"><code>{}</code></pre>", escape(&command));
    }
    let rows: Vec<Vec<String>> = facts::provenance(study).into_iter().map(|(name, value)| vec![name.into(), value]).collect();
    table("Model, image and machine", &[("What", false), ("Value", false)], &rows, out);
    let params: Vec<Vec<String>> = study.meta.params.iter().map(|(n, v)| vec![n.clone(), v.clone()]).collect();
    if !params.is_empty() {
        table("Parameters of the attack, defaults included", &[("Parameter", false), ("Value", false)], &params, out);
    }
}
