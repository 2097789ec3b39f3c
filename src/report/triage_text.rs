//! A triage as text: the summary with the weakest images, and CSV.

use std::{fmt::Write as _, path::Path};

use crate::{
    core::error::Result,
    engine::{
        files,
        triage::{COLUMNS, Cell, Row, part::Metadata, summary::Summary},
    },
};

/// The summary and its table of images.
pub fn summary(summary: &Summary, weakest: &[&Row], metadata: &Metadata) -> String {
    let get = |key: &str| metadata.get(key).map_or("", String::as_str);
    let number = |v: Option<f64>, digits: usize| v.map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"));
    let percent = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), |v| format!("{:.1}%", v * 100.0));
    let mut out = String::new();
    let mut line = |name: &str, text: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name:<9} {text}");
    };
    line("model", format!("{} ({})", get("model"), get("provider")));
    line("attack", format!("{} {}, target {}, seed {}", get("attack"), given(get("params")), get("target"), get("seed")));
    line(
        "images",
        format!("{}, {} with errors, {} with the right clean prediction", summary.images, summary.errors, summary.clean_correct),
    );
    line(
        "success",
        format!(
            "{} ({}), median flip at step {}, median L2 {}, median Linf {}",
            summary.successes,
            percent(summary.success_rate),
            number(summary.median_flipped_at, 0),
            number(summary.median_l2, 3),
            number(summary.median_linf, 4)
        ),
    );
    if summary.mean_suppression.is_some() {
        let mode = weakest.iter().find_map(|r| r.pse_mode.as_deref()).unwrap_or_default();
        let estimate = if mode == "linear" { " (linear estimate)" } else { "" };
        line("cells", format!("{} suppress, {} promote{estimate}", percent(summary.mean_suppression), percent(summary.mean_promotion)));
    }
    if let Some(lift) = summary.median_is_lift {
        line("IS lift", format!("median {lift:.2} (1 is a perturbation spread evenly)"));
    }
    if let (Some(differ), Some(successes)) = (summary.compare_differ, summary.compare_successes) {
        let transfers = match summary.transfers {
            Some(count) => format!("{count} images transfer"),
            None => "images cannot be handed over (another input size)".into(),
        };
        line("compared", format!("{}: {transfers}, its own attack succeeds on {successes}, {differ} differ", get("compare")));
    }
    if !weakest.is_empty() {
        out.push_str(&table(weakest));
    }
    out
}

/// `eps=8/255 steps=10` out of the JSON object of parameters.
fn given(params: &str) -> String {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(params).unwrap_or_default();
    object.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect::<Vec<_>>().join(" ")
}

fn table(rows: &[&Row]) -> String {
    let mut out = String::from("\nweakest images\n");
    let _ = writeln!(
        out,
        "{:>5}  {:<28} {:<20} {:>6}  {:<20} {:>5} {:>8} {:>7}",
        "", "image", "clean", "prob", "adversarial", "flip", "L2", "IS lift"
    );
    let number = |v: Option<f32>, digits: usize| v.map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"));
    for row in rows {
        let _ = writeln!(
            out,
            "{:>5}  {:<28} {:<20} {:>6}  {:<20} {:>5} {:>8} {:>7}",
            row.index.unwrap_or_default(),
            tail(row.path(), 28),
            head(row.predicted_name.as_deref().unwrap_or("-"), 20),
            number(row.predicted_prob, 3),
            head(if row.success == Some(true) { row.adversarial_name.as_deref().unwrap_or("-") } else { "(held)" }, 20),
            row.flipped_at.map_or_else(|| "-".into(), |v| v.to_string()),
            number(row.l2, 3),
            number(row.is_lift, 2)
        );
    }
    out
}

/// The first characters, cut before the first comma (class names list synonyms).
fn head(text: &str, width: usize) -> String {
    clean(text.split(',').next().unwrap_or(text)).chars().take(width).collect()
}

/// The last characters of a path.
fn tail(text: &str, width: usize) -> String {
    let text = clean(text);
    let count = text.chars().count();
    if count <= width { text } else { format!("…{}", text.chars().skip(count + 1 - width).collect::<String>()) }
}

/// File names may hold anything; escape sequences do not reach the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Writes rows as CSV (RFC 4180), null as nothing.
pub fn write_csv(path: &Path, rows: &[Row]) -> Result<()> {
    files::save_with(path, |out| {
        writeln!(out, "{}", COLUMNS.iter().map(|c| c.name).collect::<Vec<_>>().join(","))?;
        for row in rows {
            writeln!(out, "{}", row.cells().iter().map(quoted).collect::<Vec<_>>().join(","))?;
        }
        Ok(())
    })
}

fn quoted(cell: &Cell) -> String {
    let text = cell.text();
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_quotes_what_needs_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("t.csv");
        let row = Row { index: Some(0), path: Some("a \"b\", c.png".into()), success: Some(true), l2: Some(0.5), ..Row::default() };
        write_csv(&path, &[row]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].split(',').count(), COLUMNS.len());
        assert!(lines[1].starts_with("0,\"a \"\"b\"\", c.png\",,"), "{}", lines[1]);
    }

    #[test]
    fn names_cannot_write_to_the_terminal() {
        assert_eq!(tail("a\u{1b}[2Jb.png", 28), "a?[2Jb.png");
        assert_eq!(tail("0123456789", 5), "…6789");
        assert_eq!(head("giant panda, panda", 20), "giant panda");
    }
}
