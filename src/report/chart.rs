//! Line charts as SVG. Lines differ by dashes as well as by colour.

use std::fmt::Write as _;

use super::svg::{Anchor, Ink, escape, fit, text};

/// A line.
#[derive(Debug, Clone)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Colour.
    pub stroke: &'static str,
    /// Dash pattern; empty for a solid line.
    pub dash: &'static str,
    /// Points; undefined values leave gaps.
    pub points: Vec<(f32, f32)>,
}

impl Series {
    /// A line of one value per step.
    pub fn of_steps(name: impl Into<String>, stroke: &'static str, dash: &'static str, values: impl Iterator<Item = f32>) -> Self {
        Self { name: name.into(), stroke, dash, points: values.enumerate().map(|(i, v)| (i as f32, v)).collect() }
    }
}

/// A chart.
#[derive(Debug, Clone, Default)]
pub struct Chart {
    /// Heading; also what a screen reader says, with [`Chart::summary`].
    pub title: String,
    /// What lies along the bottom.
    pub x: String,
    /// What goes up, with its unit.
    pub y: String,
    /// Lines.
    pub series: Vec<Series>,
    /// Vertical lines: place and name.
    pub marks: Vec<(f32, String)>,
}

const LEFT: f32 = 46.0;
const RIGHT: f32 = 8.0;
const BOTTOM: f32 = 32.0;
const SIZE: f32 = 11.0;
/// More points than this are thinned: the smallest and largest of each stretch stay.
const POINTS: usize = 600;

impl Chart {
    /// In words, for those who do not see it.
    pub fn summary(&self) -> String {
        let line = |s: &Series| {
            let known = || s.points.iter().map(|p| p.1).filter(|v| v.is_finite());
            let (first, last) = (known().next()?, known().next_back()?);
            Some(format!("{} from {} to {}", s.name, super::facts::number(first), super::facts::number(last)))
        };
        format!("{}. {}.", self.title, self.series.iter().filter_map(line).collect::<Vec<_>>().join("; "))
    }

    /// A whole `<svg>` of this size in units.
    pub fn to_svg(&self, ink: &Ink, width: f32, height: f32) -> String {
        let label = escape(&self.summary());
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{label}"><title>{label}</title>{}</svg>"#,
            self.group(ink, [0.0, 0.0, width, height])
        )
    }

    /// The drawing alone, within a rectangle.
    pub fn group(&self, ink: &Ink, [left, top, width, height]: [f32; 4]) -> String {
        let mut out = String::new();
        text(&mut out, (left, top + 14.0), 13.0, ink.text, Anchor::Start, &self.title);
        let rows = self.legend(&mut out, ink, left, top + 30.0, width);
        let plot = [left + LEFT, top + 26.0 + 15.0 * rows as f32, left + width - RIGHT, top + height - BOTTOM];
        let finite = |v: &f32| v.is_finite();
        let xs = range(self.series.iter().flat_map(|s| s.points.iter().map(|p| p.0)).filter(finite));
        let ys = range(self.series.iter().flat_map(|s| s.points.iter().map(|p| p.1)).filter(finite));
        let (Some(xs), Some(ys)) = (xs, ys) else {
            text(&mut out, (left + width / 2.0, top + height / 2.0), SIZE, ink.dim, Anchor::Middle, "no values");
            return out;
        };
        self.axes(&mut out, ink, plot, xs, ys);
        text(
            &mut out,
            ((plot[0] + plot[2]) / 2.0, top + height - 3.0),
            SIZE,
            ink.dim,
            Anchor::Middle,
            &format!("{} (vertical: {})", self.x, self.y),
        );
        let place = |(x, y): (f32, f32)| {
            (plot[0] + (x - xs.0) / (xs.1 - xs.0) * (plot[2] - plot[0]), plot[3] - (y - ys.0) / (ys.1 - ys.0) * (plot[3] - plot[1]))
        };
        self.marks(&mut out, ink, plot, |x| place((x, ys.0)).0);
        for series in &self.series {
            let mut path = String::new();
            let mut pen_down = false;
            for &(x, y) in &thin(&series.points) {
                if !y.is_finite() {
                    pen_down = false;
                    continue;
                }
                let (px, py) = place((x, y));
                let _ = write!(path, "{}{px:.1} {py:.1}", if pen_down { "L" } else { "M" });
                pen_down = true;
            }
            let _ = writeln!(
                out,
                r#"<path d="{path}" fill="none" stroke="{}" stroke-width="1.8" stroke-linejoin="round" stroke-linecap="round" stroke-dasharray="{}"/>"#,
                series.stroke,
                if series.dash.is_empty() { "none" } else { series.dash }
            );
        }
        out
    }

    fn legend(&self, out: &mut String, ink: &Ink, left: f32, top: f32, width: f32) -> usize {
        let (mut x, mut row) = (left, 0);
        for series in &self.series {
            let name = fit(&series.name, SIZE, width - 40.0);
            let used = 30.0 + name.chars().count() as f32 * SIZE * 0.53 + 14.0;
            if x > left && x + used > left + width {
                x = left;
                row += 1;
            }
            let y = top + row as f32 * 15.0;
            let dash = if series.dash.is_empty() { "none" } else { series.dash };
            let _ = writeln!(
                out,
                r#"<line x1="{x:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke="{}" stroke-width="2.2" stroke-dasharray="{dash}"/>"#,
                y - 4.0,
                x + 24.0,
                y - 4.0,
                series.stroke
            );
            text(out, (x + 29.0, y), SIZE, ink.text, Anchor::Start, &name);
            x += used;
        }
        row + 1
    }

    fn axes(&self, out: &mut String, ink: &Ink, plot: [f32; 4], xs: (f32, f32), ys: (f32, f32)) {
        for value in ticks(ys, 5) {
            let y = plot[3] - (value - ys.0) / (ys.1 - ys.0) * (plot[3] - plot[1]);
            let _ = writeln!(out, r#"<path d="M{:.1} {y:.1}H{:.1}" stroke="{}" stroke-width="0.7"/>"#, plot[0], plot[2], ink.line);
            text(out, (plot[0] - 5.0, y + 4.0), SIZE, ink.dim, Anchor::End, &tick(value, ys));
        }
        for value in ticks(xs, 6) {
            let x = plot[0] + (value - xs.0) / (xs.1 - xs.0) * (plot[2] - plot[0]);
            let _ = writeln!(out, r#"<path d="M{x:.1} {:.1}v4" stroke="{}" stroke-width="0.9"/>"#, plot[3], ink.dim);
            text(out, (x, plot[3] + 15.0), SIZE, ink.dim, Anchor::Middle, &tick(value, xs));
        }
        let _ =
            writeln!(out, r#"<path d="M{:.1} {:.1}V{:.1}H{:.1}" fill="none" stroke="{}"/>"#, plot[0], plot[1], plot[3], plot[2], ink.dim);
    }

    fn marks(&self, out: &mut String, ink: &Ink, plot: [f32; 4], place: impl Fn(f32) -> f32) {
        for (i, (at, name)) in self.marks.iter().enumerate() {
            let x = place(*at);
            let _ = writeln!(
                out,
                r#"<path d="M{x:.1} {:.1}V{:.1}" stroke="{}" stroke-width="1" stroke-dasharray="1 3"/>"#,
                plot[1], plot[3], ink.dim
            );
            let right_half = x > (plot[0] + plot[2]) / 2.0;
            let (dx, anchor) = if right_half { (-4.0, Anchor::End) } else { (4.0, Anchor::Start) };
            text(out, (x + dx, plot[1] + 9.0 + 13.0 * i as f32), 10.0, ink.dim, anchor, name);
        }
    }
}

/// The smallest and largest value, a little apart even when equal.
fn range(values: impl Iterator<Item = f32>) -> Option<(f32, f32)> {
    let (low, high) = values.fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    if !low.is_finite() {
        return None;
    }
    let least = low.abs().max(high.abs()).max(1e-6) * 1e-3;
    Some(if high - low < least { (low - least, high + least) } else { (low, high) })
}

/// About `count` round numbers within a range.
fn ticks((low, high): (f32, f32), count: usize) -> Vec<f32> {
    let (low, high) = (f64::from(low), f64::from(high));
    let rough = (high - low) / count as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough * 0.999).unwrap_or(power * 10.0);
    let first = (low / step).ceil() as i64;
    (first..).map(|i| i as f64 * step).take_while(|v| *v <= high + step * 1e-6).take(4 * count).map(|v| v as f32).collect()
}

fn tick(value: f32, (low, high): (f32, f32)) -> String {
    let span = high - low;
    if value.abs() >= 1e5 {
        return format!("{value:.0e}");
    }
    let digits = (1 - span.log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text };
    if text == "-0" { "0".into() } else { text }
}

fn thin(points: &[(f32, f32)]) -> Vec<(f32, f32)> {
    if points.len() <= POINTS {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(POINTS / 2);
    let extremes = |part: &[(f32, f32)]| {
        let by = |a: &&(f32, f32), b: &&(f32, f32)| a.1.total_cmp(&b.1);
        let mut ends: Vec<(f32, f32)> = [part.iter().min_by(by), part.iter().max_by(by)].into_iter().flatten().copied().collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        ends
    };
    points.chunks(stretch).flat_map(extremes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::svg::PAPER;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks((0.0, 10.0), 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks((-0.3, 0.31), 6), [-0.2, 0.0, 0.2]);
        for range in [(1e-9, 2e-9), (-5e6, 3.0), (7.0, 7.001)] {
            let got = ticks(range, 5);
            assert!(!got.is_empty() && got.len() <= 20, "{range:?} {got:?}");
        }
    }

    #[test]
    fn charts_survive_odd_values() {
        let chart = |values: Vec<f32>| Chart {
            title: "a <b>".into(),
            series: vec![Series::of_steps("x", "#000", "", values.into_iter())],
            ..Chart::default()
        };
        for values in
            [vec![], vec![f32::NAN], vec![1.0], vec![2.0, 2.0], vec![0.0, f32::INFINITY, 3.0], (0..10_000).map(|i| i as f32).collect()]
        {
            let svg = chart(values).to_svg(&PAPER, 300.0, 200.0);
            assert!(svg.len() < 60_000 && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert!(resvg::usvg::Tree::from_str(&svg, &resvg::usvg::Options::default()).is_ok());
        }
        assert!(chart(vec![1.0, 4.0]).summary().contains("x from 1.000 to 4.000"));
    }

    #[test]
    fn thinning_keeps_the_extremes() {
        let mut points: Vec<(f32, f32)> = (0..5000).map(|i| (i as f32, 0.0)).collect();
        points[3210].1 = 9.0;
        let thinned = thin(&points);
        assert!(thinned.len() <= POINTS + 2 && thinned.contains(&(3210.0, 9.0)));
    }
}
