//! A triage as one HTML file: a table that can be read without a script and sorted with a few lines of one; thumbnails inside.

use std::{fmt::Write as _, io::Cursor, io::Write, path::Path};

use base64::Engine as _;
use image::{ImageFormat, imageops::FilterType};

use super::svg::escape;
use crate::{
    core::{error::Result, tensor::image as pixels},
    engine::{
        subject::image_bytes,
        triage::{
            COLUMNS, Row,
            part::{self, Metadata},
            summary::{Summary, weakness},
        },
    },
};

/// Longer side of a thumbnail in pixels.
const THUMB: u32 = 64;
/// Thumbnails for at most this many images: about 6 MB.
const PICTURED: usize = 2000;

const STYLE: &str = "
:root{color-scheme:light dark;--line:#8884;--soft:#8882}
body{font:15px/1.45 system-ui,sans-serif;margin:1.5rem;max-width:110rem}
h1{font-size:1.4rem;margin:0 0 .3rem}dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:1rem 0}
dt{font-weight:600}dd{margin:0;overflow-wrap:anywhere}.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%}caption{text-align:left;padding:.3rem 0}
th,td{padding:.3rem .5rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:middle}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
th{position:sticky;top:0;background:Canvas}th button{font:inherit;font-weight:600;background:none;border:0;padding:0;cursor:pointer;color:inherit}
th[aria-sort=ascending] button::after{content:' \\2191'}th[aria-sort=descending] button::after{content:' \\2193'}
tr:hover td{background:var(--soft)}img{display:block;max-width:4rem;border-radius:2px}
.bar{display:inline-flex;width:6rem;height:.8rem;border:1px solid var(--line)}.bar i{display:block;height:100%}
.s{background:#2b6cb0}.p{background:#c05a00}.b{background:#888}small{opacity:.8}";

const SCRIPT: &str = "
document.querySelectorAll('th').forEach(function(th,at){var b=document.createElement('button');b.type='button';
while(th.firstChild)b.appendChild(th.firstChild);th.appendChild(b);
b.addEventListener('click',function(){var up=th.getAttribute('aria-sort')!=='ascending',body=th.closest('table').tBodies[0];
var key=function(tr){var td=tr.cells[at],v=td.dataset.v===undefined?td.textContent.trim():td.dataset.v;return v};
var rows=Array.from(body.rows).sort(function(x,y){var a=key(x),b=key(y);if(a===''||b==='')return (a==='')-(b==='');
var d=a-b;if(isNaN(d))d=a.localeCompare(b);return up?d:-d});
rows.forEach(function(r){body.appendChild(r)});
th.parentNode.querySelectorAll('th').forEach(function(o){o.removeAttribute('aria-sort')});
th.setAttribute('aria-sort',up?'ascending':'descending')})});";

/// Writes the page. Rows are ordered from the weakest image to the strongest.
pub fn write(path: &Path, rows: &[Row], metadata: &Metadata) -> Result<()> {
    part::atomically(path, |out| {
        let mut rows: Vec<&Row> = rows.iter().collect();
        rows.sort_by(|a, b| weakness(a, b));
        out.write_all(head(&rows, metadata).as_bytes())?;
        for (at, row) in rows.iter().enumerate() {
            out.write_all(line(row, at < PICTURED).as_bytes())?;
        }
        write!(out, "</tbody></table></div>\n{}<script>{SCRIPT}</script>\n</body></html>\n", glossary())?;
        Ok(())
    })
}

fn head(rows: &[&Row], metadata: &Metadata) -> String {
    let owned: Vec<Row> = rows.iter().map(|r| (*r).clone()).collect();
    let summary = Summary::of(&owned);
    let compared = summary.transfers.is_some();
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>psescope triage</title><style>{STYLE}</style></head><body>\n<h1>Triage of {} images</h1>\n<p>{} attacks of {} reached their goal; \
         {} images could not be worked on. The weakest images come first; a click on a heading sorts.</p>\n<dl>",
        summary.images,
        summary.successes,
        rows.iter().filter(|r| r.success.is_some()).count(),
        summary.errors
    );
    for (key, value) in metadata {
        let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", escape(key), escape(value));
    }
    let estimate = if rows.iter().any(|r| r.pse_mode.as_deref() == Some("linear")) { " (linear estimate)" } else { "" };
    let _ = write!(
        out,
        "</dl>\n<div class=\"wide\"><table><caption>One row an image</caption><thead><tr><th scope=\"col\">Picture</th><th scope=\"col\">Image</th>\
         <th scope=\"col\">Clean</th><th scope=\"col\" class=\"n\">Prob.</th><th scope=\"col\">Adversarial</th><th scope=\"col\" class=\"n\">Prob.</th>\
         <th scope=\"col\">Goal</th><th scope=\"col\" class=\"n\">Flip</th><th scope=\"col\" class=\"n\">Steps</th><th scope=\"col\" class=\"n\">L0</th>\
         <th scope=\"col\" class=\"n\">L2</th><th scope=\"col\" class=\"n\">L&#8734;</th><th scope=\"col\">Cells{estimate}</th>\
         <th scope=\"col\" class=\"n\">IS</th><th scope=\"col\" class=\"n\">IS lift</th><th scope=\"col\">Turning point</th>{}<th scope=\"col\">Note</th></tr></thead><tbody>\n",
        if compared { "<th scope=\"col\">Second model</th><th scope=\"col\">Transfers</th>" } else { "" }
    );
    out
}

fn line(row: &Row, pictured: bool) -> String {
    let name = |v: &Option<String>| escape(v.as_deref().and_then(|t| t.split(',').next()).unwrap_or(""));
    let float = |v: Option<f32>, digits: usize| match v {
        Some(v) => format!("<td class=\"n\" data-v=\"{v}\">{v:.digits$}</td>"),
        None => "<td class=\"n\" data-v=\"\"></td>".to_owned(),
    };
    let int = |v: Option<i64>| format!("<td class=\"n\">{}</td>", v.map_or_else(String::new, |v| v.to_string()));
    let yes = |v: Option<bool>| v.map_or("", |v| if v { "yes" } else { "no" });
    let picture = pictured.then(|| thumbnail(Path::new(row.path()))).flatten();
    let picture = picture.map_or_else(String::new, |url| format!("<img src=\"{url}\" alt=\"\" loading=\"lazy\">"));
    let mut out = format!(
        "<tr><td data-v=\"{}\">{picture}</td><td>{}</td><td>{}</td>{}<td>{}</td>{}<td>{}</td>{}{}{}{}{}{}{}{}<td>{}</td>",
        row.index.unwrap_or_default(),
        escape(row.path()),
        name(&row.predicted_name),
        float(row.predicted_prob, 3),
        name(&row.adversarial_name),
        float(row.adversarial_prob, 3),
        row.success.map_or("", |s| if s { "reached" } else { "held" }),
        int(row.flipped_at),
        int(row.steps),
        int(row.l0),
        float(row.l2, 3),
        float(row.linf, 4),
        cells(row),
        float(row.is_score, 3),
        float(row.is_lift, 2),
        escape(row.turning_point.as_deref().unwrap_or("")),
    );
    if row.compare_predicted_index.is_some() {
        let _ = write!(out, "<td>{}</td><td>{}</td>", name(&row.compare_predicted_name), yes(row.compare_transfers));
    }
    let _ = writeln!(out, "<td><small>{}</small></td></tr>", escape(row.error.as_deref().unwrap_or("")));
    out
}

/// Shares as a bar with its numbers in words, for eyes and for screen readers.
fn cells(row: &Row) -> String {
    let (Some(s), Some(b), Some(p)) = (row.pse_suppression, row.pse_balanced, row.pse_promotion) else {
        return "<td data-v=\"\"></td>".into();
    };
    let percent = |v: f32| (v * 100.0).round();
    format!(
        "<td data-v=\"{}\"><span class=\"bar\" aria-hidden=\"true\"><i class=\"s\" style=\"width:{2}%\"></i><i class=\"b\" style=\"width:{3}%\"></i>\
         <i class=\"p\" style=\"width:{4}%\"></i></span> <small>{1}: S {2}% B {3}% P {4}%</small></td>",
        p - s,
        escape(row.pse_type.as_deref().unwrap_or("")),
        percent(s),
        percent(b),
        percent(p)
    )
}

/// A small JPEG inside a URL; nothing for a file that is no picture any more.
fn thumbnail(path: &Path) -> Option<String> {
    let bytes = image_bytes(path).ok().filter(|b| !pixels::is_npy(b))?;
    let full = pixels::decode(&bytes).ok()?;
    let (w, h) = full.dimensions();
    let scale = f64::from(THUMB) / f64::from(w.max(h).max(1));
    let side = |v: u32| ((f64::from(v) * scale).round() as u32).max(1);
    let small = image::imageops::resize(&full, side(w), side(h), FilterType::Triangle);
    let mut out = Cursor::new(Vec::new());
    small.write_to(&mut out, ImageFormat::Jpeg).ok()?;
    Some(format!("data:image/jpeg;base64,{}", base64::engine::general_purpose::STANDARD.encode(out.into_inner())))
}

fn glossary() -> String {
    let mut out = String::from("<details><summary>What the columns of the data files mean</summary><dl>");
    for column in COLUMNS {
        let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", column.name, escape(column.help));
    }
    out.push_str("</dl></details>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_nothing_is_fetched() {
        let home = tempfile::tempdir().unwrap();
        let picture = home.path().join("a<b>\"&.png");
        image::RgbImage::from_pixel(90, 30, image::Rgb([9, 80, 200])).save(&picture).unwrap();
        let row = Row {
            index: Some(0),
            path: Some(picture.to_string_lossy().into_owned()),
            predicted_name: Some("<img src=x onerror=alert(1)>".into()),
            success: Some(true),
            ..Row::default()
        };
        let file = home.path().join("t.html");
        write(&file, &[row, Row { error: Some("cannot read".into()), ..Row::default() }], &Metadata::new()).unwrap();
        let page = std::fs::read_to_string(&file).unwrap();
        assert!(page.contains("a&lt;b&gt;&quot;&amp;.png") && page.contains("&lt;img src=x"));
        assert!(!page.contains("<img src=x") && !page.contains("http"), "no foreign markup, nothing from elsewhere");
        assert_eq!(page.matches("data:image/jpeg;base64,").count(), 1);
        assert_eq!(page.matches("<tr>").count(), 3);
    }
}
