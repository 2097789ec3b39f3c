//! A scatter plot in plain characters: `.` one point, `o` two or three, `@` more.

use std::fmt::Write as _;

use crate::core::stats::quantile;

const COLUMNS: usize = 60;
const ROWS: usize = 14;

/// Points (x, y) with named axes. Axes end at the 99.5th percentile; points beyond sit on the edge.
pub fn plot(points: &[(f64, f64)], x: &str, y: &str) -> String {
    let points: Vec<(f64, f64)> = points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    if points.is_empty() {
        return String::new();
    }
    let range = |values: Vec<f64>| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min).min(0.0);
        let high = quantile(&values, 0.995);
        (low, if high > low { high } else { low + 1.0 })
    };
    let (xs, ys) = (range(points.iter().map(|p| p.0).collect()), range(points.iter().map(|p| p.1).collect()));
    let place = |value: f64, (low, high): (f64, f64), cells: usize| {
        (((value - low) / (high - low)).clamp(0.0, 1.0) * (cells - 1) as f64).round() as usize
    };
    let mut counts = vec![[0usize; COLUMNS]; ROWS];
    for (px, py) in &points {
        counts[ROWS - 1 - place(*py, ys, ROWS)][place(*px, xs, COLUMNS)] += 1;
    }
    let mut out = format!("  {y} (up to {:.3}), one mark per unit: . 1  o 2-3  @ more\n", ys.1);
    for (i, row) in counts.iter().enumerate() {
        let line: String = row.iter().map(|n| [' ', '.', 'o', 'o', '@'][(*n).min(4)]).collect();
        let tick = match i {
            0 => format!("{:.2}", ys.1),
            _ if i == ROWS - 1 => format!("{:.2}", ys.0),
            _ => String::new(),
        };
        let _ = writeln!(out, "  {tick:>8} |{}", line.trim_end());
    }
    let _ = writeln!(out, "  {:>8} +{}", "", "-".repeat(COLUMNS));
    let right = format!("{:.3}", xs.1);
    let _ = writeln!(out, "  {:>8}  {:<8.3}{x:^w$}{right:>8}", "", xs.0, w = COLUMNS - 16);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_and_crowds_are_where_they_belong() {
        let mut points = vec![(0.0, 0.0), (1.0, 1.0)];
        points.extend([(0.5, 0.5); 5]);
        let text = plot(&points, "IoU", "sensitivity");
        let rows: Vec<&str> = text.lines().filter(|l| l.contains('|')).collect();
        assert_eq!(rows.len(), ROWS);
        assert!(rows[0].ends_with('.') && rows[ROWS - 1].contains("|."));
        assert_eq!(text.matches('@').count() - 1, 1, "five points share one mark");
        assert!(text.contains("IoU") && text.lines().all(|l| l.len() <= 80));
        assert_eq!(plot(&[(f64::NAN, 1.0)], "x", "y"), "");
    }
}
