//! Text measured by what the terminal shows: widths, truncation, numbers.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use crate::core::tensor::labels::distance;

/// Columns a text takes.
pub fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// The text cut to at most `max` columns, ending in `ellipsis` when something was cut.
pub fn truncate(text: &str, max: usize, ellipsis: &str) -> String {
    if width(text) <= max {
        return text.to_owned();
    }
    let room = max.saturating_sub(width(ellipsis));
    let mut out = String::new();
    let mut used = 0;
    for grapheme in text.graphemes(true) {
        let w = width(grapheme);
        if used + w > room {
            break;
        }
        used += w;
        out.push_str(grapheme);
    }
    if width(ellipsis) <= max {
        out.push_str(ellipsis);
    }
    out
}

/// The text padded with blanks (or cut) to exactly `columns`.
pub fn pad(text: &str, columns: usize, ellipsis: &str) -> String {
    let mut out = truncate(text, columns, ellipsis);
    out.extend(std::iter::repeat_n(' ', columns.saturating_sub(width(&out))));
    out
}

/// Breaks a sentence into lines of at most `columns`, at blanks where possible.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word = word.to_owned();
        let used = lines.last().map_or(0, |l| width(l));
        if used > 0 && used + 1 + width(&word) > columns {
            lines.push(String::new());
        }
        while width(&word) > columns {
            let head = truncate(&word, columns, "");
            if head.is_empty() {
                break;
            }
            let rest = word[head.len()..].to_owned();
            if let Some(line) = lines.last_mut() {
                *line = head;
            }
            lines.push(String::new());
            word = rest;
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
        }
    }
    lines
}

/// A class name for narrow places: up to the first comma.
pub fn short_label(label: &str) -> &str {
    label.split(',').next().map_or(label, str::trim)
}

/// A probability with two or three digits.
pub fn prob(p: f32) -> String {
    if !p.is_finite() {
        "?".into()
    } else if p > 0.0 && p < 0.0005 {
        "<.001".into()
    } else if p < 0.1 {
        format!("{p:.3}").trim_start_matches('0').to_owned()
    } else {
        format!("{p:.2}")
    }
}

/// A number with three significant digits or so.
pub fn number(v: f32) -> String {
    let a = v.abs();
    if !v.is_finite() {
        "?".into()
    } else if a >= 1000.0 {
        format!("{v:.0}")
    } else if a >= 100.0 {
        format!("{v:.1}")
    } else if a >= 1.0 || a == 0.0 {
        format!("{v:.2}")
    } else if a >= 0.001 {
        format!("{v:.3}")
    } else {
        format!("{v:.0e}")
    }
}

/// A number with its sign.
pub fn signed(v: f32) -> String {
    if v >= 0.0 { format!("+{}", number(v)) } else { number(v) }
}

/// A largest change in the unit people attack in: `8.0/255`.
pub fn per_255(v: f32) -> String {
    format!("{:.1}/255", v * 255.0)
}

/// Seconds for people: `0.4 s`, `12 s`, `3 min 20 s`.
pub fn seconds(s: f32) -> String {
    if s < 10.0 {
        format!("{s:.1} s")
    } else if s < 60.0 {
        format!("{s:.0} s")
    } else if s < 3600.0 {
        format!("{} min {} s", (s / 60.0) as u32, (s % 60.0) as u32)
    } else {
        format!("{} h {} min", (s / 3600.0) as u32, (s % 3600.0 / 60.0) as u32)
    }
}

/// A share as whole percent.
pub fn percent(share: f32) -> String {
    format!("{:.0}%", share * 100.0)
}

/// What was typed, fit to be shown in a message: short, without control characters.
pub fn quoted(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

/// `unknown key 'devise'; did you mean 'device'?`
pub fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|k| (distance(name, k), *k)).min().filter(|(d, _)| *d <= name.chars().count().max(2) / 2);
    match nearest {
        Some((_, near)) => format!("unknown {what} '{}'; did you mean '{near}'?", quoted(name)),
        None => {
            let mut known: Vec<&str> = known.to_vec();
            known.sort_unstable();
            known.dedup();
            format!("unknown {what} '{}'; it is one of {}", quoted(name), known.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncation_counts_columns_not_bytes() {
        assert_eq!(truncate("熊猫熊猫", 5, "…"), "熊猫…");
        assert_eq!(truncate("panda", 5, "…"), "panda");
        assert_eq!(truncate("pandas", 5, "…"), "pand…");
        assert_eq!(truncate("abc", 0, "…"), "");
        assert_eq!(pad("熊", 4, "…"), "熊  ");
    }

    #[test]
    fn wrapping_never_exceeds_the_width() {
        for columns in 2..30 {
            for line in wrap("a sentence with incomprehensibilities and 熊猫熊猫 inside", columns) {
                assert!(width(&line) <= columns, "{columns}: {line:?}");
            }
        }
    }

    #[test]
    fn numbers_stay_short() {
        for v in [0.0, 0.00001, 0.0123, 0.5, 1.234, 12.34, 123.4, 12345.0, f32::NAN] {
            assert!(width(&number(v)) <= 6, "{}", number(v));
        }
        assert_eq!(prob(0.62), "0.62");
        assert_eq!(prob(0.031), ".031");
        assert_eq!(per_255(8.0 / 255.0), "8.0/255");
    }
}
