//! Recovery curves: JSON, CSV, a table with bars for the terminal.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::sensitivity::small;
use crate::core::explain::recovery::{AtK, RandomMasks};

const BAR: usize = 20;

/// A curve.
pub struct Curve {
    /// What was done and how; goes into the JSON as it is.
    pub about: Value,
    /// Images attacked successfully.
    pub images: usize,
    /// Images whose attack missed its goal, and files that could not be read.
    pub left_out: (usize, usize),
    /// Points.
    pub points: Vec<AtK>,
}

impl Curve {
    /// One JSON object.
    pub fn to_json(&self) -> Value {
        let mut out = json!({"schema": "psescope.recovery/1", "version": env!("CARGO_PKG_VERSION")});
        let random = |r: &RandomMasks| {
            json!({"draws": r.draws, "recovery": {"mean": r.recovered[0], "low": r.recovered[1], "high": r.recovered[2], "p": r.recovered_p},
                   "clean": {"mean": r.clean[0], "low": r.clean[1], "high": r.clean[2], "p": r.clean_p}})
        };
        let share = |count: usize| count as f64 / self.images.max(1) as f64;
        let point = |a: &AtK| {
            json!({"k": a.k, "recovered": a.recovered, "recovery": share(a.recovered), "recovery_interval": a.recovered_interval,
                   "recovery_mcnemar_p": a.recovered_p, "clean": a.clean, "clean_accuracy": share(a.clean),
                   "clean_interval": a.clean_interval, "clean_mcnemar_p": a.clean_p, "random": a.random.as_ref().map(random),
                   "adaptive_successes": a.adaptive, "adaptive_rate": a.adaptive.map(share)})
        };
        if let (Some(out), Some(about)) = (out.as_object_mut(), self.about.as_object()) {
            out.extend(about.clone());
            out.insert("images".into(), json!({"used": self.images, "attack_failed": self.left_out.0, "unreadable": self.left_out.1}));
            out.insert("curve".into(), self.points.iter().map(point).collect());
        }
        out
    }

    /// One row per number of units.
    pub fn to_csv(&self) -> String {
        let mut out = String::from(
            "k,images,recovered,recovery_low,recovery_high,recovery_p,clean,clean_low,clean_high,clean_p,random_draws,random_recovery,random_recovery_p,random_clean,random_clean_p,adaptive_successes\r\n",
        );
        for a in &self.points {
            let random = a.random.map_or_else(
                || ",,,,".to_owned(),
                |r| format!("{},{},{},{},{}", r.draws, r.recovered[0], r.recovered_p, r.clean[0], r.clean_p),
            );
            let _ = write!(
                out,
                "{},{},{},{},{},{},{},{},{},{},{random},{}\r\n",
                a.k,
                self.images,
                a.recovered,
                a.recovered_interval.0,
                a.recovered_interval.1,
                a.recovered_p,
                a.clean,
                a.clean_interval.0,
                a.clean_interval.1,
                a.clean_p,
                a.adaptive.map_or_else(String::new, |n| n.to_string())
            );
        }
        out
    }

    /// What a person reads.
    pub fn to_text(&self) -> String {
        let n = self.images;
        let mut out = format!(
            "{n} attacked images ({} attacks missed their goal, {} files unreadable); true class = clean prediction\n\n",
            self.left_out.0, self.left_out.1
        );
        let _ = writeln!(
            out,
            "{:>5}  {:<46}  {:<46}{}",
            "k",
            "true class recovered",
            "clean images still right",
            if self.points.iter().any(|a| a.adaptive.is_some()) { "  attacked again" } else { "" }
        );
        for a in &self.points {
            let side = |count: usize, (low, high): (f64, f64)| {
                let share = count as f64 / n.max(1) as f64;
                let bar = "#".repeat((share * BAR as f64).round() as usize);
                format!("{bar:<BAR$} {count:>3}/{n} {:>4.0}% [{:>3.0}, {:>3.0}]", share * 100.0, low * 100.0, high * 100.0)
            };
            let again = a.adaptive.map_or_else(String::new, |s| format!("  {s}/{n} succeed"));
            let _ = writeln!(
                out,
                "{:>5}  {:<46}  {:<46}{again}",
                a.k,
                side(a.recovered, a.recovered_interval),
                side(a.clean, a.clean_interval)
            );
            if let Some(r) = &a.random {
                let line = |[mean, low, high]: [f64; 3], p: f64| {
                    format!("random {:.0}% ({:.0} to {:.0}), p {}", mean * 100.0, low * 100.0, high * 100.0, small(p))
                };
                let _ = writeln!(out, "{:>5}  {:<46}  {:<46}", "", line(r.recovered, r.recovered_p), line(r.clean, r.clean_p));
            }
            if a.k > 0 {
                let _ = writeln!(
                    out,
                    "{:>5}  {:<46}  {:<46}",
                    "",
                    format!("McNemar p {}", small(a.recovered_p)),
                    format!("McNemar p {}", small(a.clean_p))
                );
            }
        }
        out.push_str("\n[ ] 95 % Wilson intervals. random: masks of as many random units; p is the share of draws that do at least as well (or cost as much).\n");
        out
    }
}
