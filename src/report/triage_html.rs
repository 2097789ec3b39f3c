//! A triage as one HTML file: a table that can be read without a script and sorted with a few lines of one; thumbnails inside; then how it
//! was made.

use std::{fmt::Write as _, io::Cursor, path::Path};

use base64::Engine as _;
use image::{ImageFormat, imageops::FilterType};

use super::{
    html,
    svg::escape,
    triage_settings::{COMMAND, settings},
};
use crate::{
    core::{error::Result, tensor::image as pixels},
    engine::{
        files, sample,
        subject::image_bytes,
        triage::{
            COLUMNS, Row,
            part::Metadata,
            summary::{Summary, weakness},
        },
    },
};

/// Longer side of a thumbnail in pixels.
const THUMB: u32 = 128;
/// Thumbnails for at most this many images: about 8 MB.
const PICTURED: usize = 2000;

const STYLE: &str = concat!(include_str!("html.css"), include_str!("triage.css"));

/// Sorting: by a click on a heading, or, where a phone shows no headings, by a list.
const SCRIPT: &str = "
(function(){var table=document.querySelector('#images table'),heads=Array.from(table.tHead.rows[0].cells),body=table.tBodies[0];
function sort(at,up){var key=function(tr){var c=tr.cells[at],v=c.dataset.v===undefined?c.textContent.trim():c.dataset.v;return v};
var rows=Array.from(body.rows).sort(function(x,y){var a=key(x),b=key(y);if(a===''||b==='')return (a==='')-(b==='');
var d=a-b;if(isNaN(d))d=a.localeCompare(b);return up?d:-d});
rows.forEach(function(r){body.appendChild(r)});
heads.forEach(function(o){o.removeAttribute('aria-sort')});heads[at].setAttribute('aria-sort',up?'ascending':'descending')}
var choice=document.createElement('select');choice.setAttribute('aria-label','Order of the images');
choice.add(new Option('weakest first',''));
heads.forEach(function(th,at){choice.add(new Option(th.textContent+', ascending',at+' 1'));choice.add(new Option(th.textContent+', descending',at+' 0'));
var b=document.createElement('button');b.type='button';while(th.firstChild)b.appendChild(th.firstChild);th.appendChild(b);
b.addEventListener('click',function(){sort(at,th.getAttribute('aria-sort')!=='ascending')})});
var first=Array.from(body.rows);
choice.addEventListener('change',function(){var v=choice.value.split(' ');if(v[0]==='')first.forEach(function(r){body.appendChild(r)});else sort(+v[0],v[1]==='1')});
var place=document.querySelector('.order');place.append('Order: ',choice)})();";

/// A column of the table: heading, whether numbers, and its cell.
struct Column {
    head: &'static str,
    number: bool,
    cell: fn(&Row) -> Cell,
}

/// What stands in a cell, as HTML, and what it is sorted by where that differs.
struct Cell {
    html: String,
    sort: Option<String>,
}

const fn words(head: &'static str, cell: fn(&Row) -> Cell) -> Column {
    Column { head, number: false, cell }
}

const fn number(head: &'static str, cell: fn(&Row) -> Cell) -> Column {
    Column { head, number: true, cell }
}

/// After the picture and the image's name.
const ALONE: &[Column] = &[
    words("Clean", |r| name(&r.predicted_name)),
    number("Prob.", |r| float(r.predicted_prob, 3)),
    words("Adversarial", |r| name(&r.adversarial_name)),
    number("Prob. after", |r| float(r.adversarial_prob, 3)),
    words("Goal", |r| goal(r.success)),
    number("Flip", |r| int(r.flipped_at)),
    number("Steps", |r| int(r.steps)),
    number("L0", |r| int(r.l0)),
    number("L2", |r| float(r.l2, 3)),
    number("L∞", |r| float(r.linf, 4)),
    words("Cells", cells),
    number("IS", |r| float(r.is_score, 3)),
    number("IS lift", |r| float(r.is_lift, 2)),
    words("Turning point", |r| text(r.turning_point.as_deref().unwrap_or(""))),
];

/// With a second model.
const COMPARED: &[Column] = &[
    words("Differs", |r| text(r.difference().map_or("", |d| d.word()))),
    words("Clean, 2nd", |r| name(&r.compare_predicted_name)),
    number("Prob., 2nd", |r| float(r.compare_predicted_prob, 3)),
    words("Goal, 2nd", |r| goal(r.compare_success)),
    number("Flip, 2nd", |r| int(r.compare_flipped_at)),
    number("L2, 2nd", |r| float(r.compare_l2, 3)),
];

/// With a second model that takes images of the same size.
const HANDED: &[Column] = &[
    words("Transfers", |r| text(r.compare_transfers.map_or("", |v| if v { "yes" } else { "no" }))),
    words("Taken by 2nd for", |r| name(&r.compare_transfer_name)),
];

fn text(text: &str) -> Cell {
    Cell { html: escape(text), sort: None }
}

fn name(label: &Option<String>) -> Cell {
    text(label.as_deref().and_then(|t| t.split(',').next()).unwrap_or(""))
}

fn float(value: Option<f32>, digits: usize) -> Cell {
    Cell {
        html: value.map_or_else(String::new, |v| format!("{v:.digits$}")),
        sort: Some(value.map_or_else(String::new, |v| v.to_string())),
    }
}

fn int(value: Option<i64>) -> Cell {
    Cell { html: value.map_or_else(String::new, |v| v.to_string()), sort: None }
}

fn goal(success: Option<bool>) -> Cell {
    text(success.map_or("", |s| if s { "reached" } else { "held" }))
}

/// Writes the page. Rows are ordered from the weakest image to the strongest.
pub fn write(path: &Path, rows: &[Row], metadata: &Metadata) -> Result<()> {
    files::save_with(path, |out| {
        let summary = Summary::of(rows);
        let mut rows: Vec<&Row> = rows.iter().collect();
        rows.sort_by(|a, b| weakness(a, b));
        let compared = summary.compare_differ.is_some();
        let (second, handed) = (COMPARED.iter().filter(|_| compared), HANDED.iter().filter(|_| summary.transfers.is_some()));
        let columns: Vec<&Column> = ALONE.iter().chain(second).chain(handed).collect();
        out.write_all(head(&rows, &summary, metadata, &columns).as_bytes())?;
        let source = metadata.get("source").map(Path::new);
        for (at, row) in rows.iter().enumerate() {
            out.write_all(line(row, &columns, source, at < PICTURED).as_bytes())?;
        }
        write!(out, "</tbody></table></div>\n{}", made(metadata))?;
        let version = env!("CARGO_PKG_VERSION");
        write!(
            out,
            "{}</main>\n<footer><p>Written by psescope {version}.</p></footer>\n<script>{SCRIPT}</script>\n</body></html>\n",
            glossary()
        )?;
        Ok(())
    })
}

fn head(rows: &[&Row], summary: &Summary, metadata: &Metadata, columns: &[&Column]) -> String {
    let get = |key: &str| metadata.get(key).map_or("", String::as_str);
    let attacked = rows.iter().filter(|r| r.success.is_some()).count();
    let images = if summary.images == 1 { "1 image".to_owned() } else { format!("{} images", summary.images) };
    let mut lead = format!("{} of {attacked} attacks reached their goal.", summary.successes);
    if summary.errors > 0 {
        let _ = write!(lead, " {} could not be worked on; the last rows say why.", summary.errors);
    }
    if let (Some(differ), Some(successes)) = (summary.compare_differ, summary.compare_successes) {
        let _ = write!(
            lead,
            " The second model, {}, differs on {differ}; the attack reaches its goal there on {successes}",
            file(get("compare"))
        );
        let _ = match summary.transfers {
            Some(transfers) => write!(lead, ", and {transfers} images made for the first model fool it too."),
            None => write!(lead, "; images could not be handed over, since it takes another size."),
        };
    }
    let estimate = rows.iter().any(|r| r.pse_mode.as_deref() == Some("linear"));
    let cells = "Cells: share of suppression- (S), promotion- (P) dominated and balanced (B) cells";
    let note = format!("{cells}{}. The weakest images come first.", if estimate { ", a first-order estimate" } else { "" });
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>psescope triage</title>\n<style>\n{STYLE}{}</style>\n</head>\n<body>\n<main>\n\
         <header>\n<h1>Triage of {images}: {} on {}</h1>\n<p class=\"lead\">{}</p>\n<p class=\"dim\">{}</p>\n</header>\n<p class=\"order\"></p>\n",
        labels(columns),
        escape(get("attack")),
        escape(&file(get("model"))),
        escape(&lead),
        escape(&note),
    );
    out.push_str(
        "<div class=\"wide\" id=\"images\"><table><caption>One row an image; a click on a heading sorts</caption><thead><tr>\
         <th scope=\"col\">Picture</th><th scope=\"col\">Image</th>",
    );
    for column in columns {
        let class = if column.number { " class=\"n\"" } else { "" };
        let _ = write!(out, "<th scope=\"col\"{class}>{}</th>", column.head);
    }
    out.push_str("</tr></thead><tbody>\n");
    out
}

fn file(path: &str) -> String {
    sample::title(Path::new(path))
}

/// Headings before the values, for narrow screens.
fn labels(columns: &[&Column]) -> String {
    let heads = columns.iter().map(|c| c.head);
    let rules: String =
        heads.enumerate().map(|(i, head)| format!("#images td:nth-child({})::before {{ content: '{head}: '; }}\n", i + 3)).collect();
    format!("@media (max-width: 44rem) {{\n{rules}}}\n")
}

fn line(row: &Row, columns: &[&Column], source: Option<&Path>, pictured: bool) -> String {
    let picture = pictured.then(|| thumbnail(Path::new(row.path()))).flatten();
    let picture = picture.map_or_else(String::new, |url| format!("<img src=\"{url}\" alt=\"\" loading=\"lazy\">"));
    let path = Path::new(row.path());
    let inside = source.and_then(|s| path.strip_prefix(s).ok()).filter(|p| !p.as_os_str().is_empty()).unwrap_or(path);
    let mut out = format!("<tr><td data-v=\"{}\">{picture}</td>", row.index.unwrap_or_default());
    let error = row.error.as_ref().map_or_else(String::new, |e| format!("<br><small class=\"error\">{}</small>", escape(e)));
    let name = escape(&inside.to_string_lossy());
    let _ = write!(out, "<th scope=\"row\" data-v=\"{name}\">{name}{error}</th>");
    for column in columns {
        let cell = (column.cell)(row);
        let class = if column.number { " class=\"n\"" } else { "" };
        let sort = cell.sort.map_or_else(String::new, |v| format!(" data-v=\"{v}\""));
        let _ = write!(out, "<td{class}{sort}>{}</td>", cell.html);
    }
    out.push_str("</tr>\n");
    out
}

/// Shares as a bar with its numbers in words, for eyes and for screen readers; sorted by promotion over suppression.
fn cells(row: &Row) -> Cell {
    let (Some(s), Some(b), Some(p)) = (row.pse_suppression, row.pse_balanced, row.pse_promotion) else {
        return Cell { html: String::new(), sort: Some(String::new()) };
    };
    let percent = |v: f32| (v * 100.0).round();
    let html = format!(
        "<span class=\"bar\" aria-hidden=\"true\"><i class=\"s\" style=\"width:{1}%\"></i><i class=\"b\" style=\"width:{2}%\"></i>\
         <i class=\"p\" style=\"width:{3}%\"></i></span> <small>{0}: S&nbsp;{1}% B&nbsp;{2}% P&nbsp;{3}%</small>",
        escape(row.pse_type.as_deref().unwrap_or("")),
        percent(s),
        percent(b),
        percent(p)
    );
    Cell { html, sort: Some((p - s).to_string()) }
}

/// The command and the settings.
fn made(metadata: &Metadata) -> String {
    let mut out = String::from("<section aria-labelledby=\"made\" id=\"settings\">\n<h2 id=\"made\">How it was made</h2>\n");
    if let Some(command) = metadata.get(COMMAND) {
        let which = match metadata.get("parts") {
            Some(parts) => format!("The command of the first of {} parts:", escape(parts)),
            None => "The command:".into(),
        };
        let _ = writeln!(out, "<p>{which}</p>\n<pre tabindex=\"0\"><code>{}</code></pre>", escape(command));
    }
    let rows: Vec<Vec<String>> = settings(metadata).into_iter().map(|s| vec![s.name, s.value, s.unit, s.meaning]).collect();
    if !rows.is_empty() {
        html::table(
            "Settings, defaults included",
            &[("Setting", false), ("Value", false), ("Unit", false), ("Meaning", false)],
            &rows,
            &mut out,
        );
    }
    out.push_str("</section>\n");
    out
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
        assert!(page.contains("cannot read</small>") && !page.contains("2nd"), "columns that nothing would stand in are left out");
    }

    #[test]
    fn settings_and_command_are_readable() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("t.html");
        let metadata: Metadata = [
            ("attack", "pgd"),
            ("params", r#"{"eps":"8/255"}"#),
            ("model", "nets/a.onnx"),
            ("compare", "nets/b.onnx"),
            ("source", "photos"),
            ("command", "psescope triage 'a b' <x>"),
        ]
        .map(|(k, v)| (k.into(), v.into()))
        .into();
        let row = Row {
            path: Some("photos/deep/1.png".into()),
            predicted_name: Some("cat".into()),
            compare_predicted_name: Some("dog, hound".into()),
            compare_predicted_index: Some(1),
            ..Row::default()
        };
        write(&file, &[row], &metadata).unwrap();
        let page = std::fs::read_to_string(&file).unwrap();
        assert!(
            page.contains("<code>psescope triage &#39;a b&#39; &lt;x&gt;</code>")
                || page.contains("<code>psescope triage 'a b' &lt;x&gt;</code>")
        );
        assert!(page.contains("<th scope=\"row\">pgd: eps</th><td>8/255</td><td>pixel value</td>"), "{page}");
        assert!(page.contains(">deep/1.png<") && page.contains("<td>class</td><td>dog</td>") && page.contains("1 image: pgd on a.onnx"));
        assert!(!page.contains("{&quot;"), "no JSON in the page");
    }
}
