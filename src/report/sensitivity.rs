//! Sensitivity studies: JSON, CSV, a table and a scatter plot for the terminal.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::scatter;
use crate::{
    core::{
        explain::sensitivity::{Association, Concept, LayerResult, Rotation, Settings, Unit},
        oracle::LayerInfo,
        stats::{bootstrap::Interval, rank::Correlation},
    },
    engine::study::{Response, measure::Measured},
};

/// One layer and one response.
pub struct Layer {
    /// The layer.
    pub info: LayerInfo,
    /// Which response.
    pub response: Response,
    /// Effects and tests.
    pub result: LayerResult,
    /// What dissection says of each unit; empty without labels.
    pub concepts: Vec<Option<Concept>>,
    /// Where the labels come from.
    pub origin: Option<String>,
    /// Sensitivity against IoU, when there are labels.
    pub association: Option<Association>,
    /// The rotated control, for mean responses with labels.
    pub rotation: Option<Rotation>,
}

/// A whole study.
pub struct Study<'a> {
    /// What was studied and how; goes into the JSON as it is.
    pub about: Value,
    /// Images, in order.
    pub images: &'a [Measured],
    /// Images that could not be read, with the reason.
    pub unreadable: &'a [(String, String)],
    /// Level, draws, seed.
    pub settings: Settings,
    /// Results.
    pub layers: Vec<Layer>,
}

impl Study<'_> {
    fn used(&self) -> Vec<&Measured> {
        self.images.iter().filter(|m| m.counts()).collect()
    }

    fn noise_ratio(&self) -> f64 {
        let used = self.used();
        used.iter().map(|m| m.noise_ratio).sum::<f64>() / used.len().max(1) as f64
    }

    /// One JSON object.
    pub fn to_json(&self) -> Value {
        let used = self.used();
        let mut out = json!({"schema": "psescope.sensitivity/1", "version": env!("CARGO_PKG_VERSION")});
        if let (Some(out), Some(about)) = (out.as_object_mut(), self.about.as_object()) {
            out.extend(about.clone());
            let image = |m: &Measured| json!({"image": m.name, "true": m.label, "seed": m.seed, "attacks": m.attacks, "successes": m.successes, "used": m.counts(), "l2": m.l2});
            out.insert(
                "images".into(),
                json!({
                    "total": self.images.len() + self.unreadable.len(),
                    "used": used.len(),
                    "unreadable": self.unreadable.iter().map(|(name, error)| json!({"image": name, "error": error})).collect::<Vec<_>>(),
                    "all": self.images.iter().map(image).collect::<Vec<_>>(),
                }),
            );
            let s = &self.settings;
            out.insert("settings".into(), json!({"level": s.level, "draws": s.draws, "rotations": s.rotations, "iou": s.iou, "seed": s.seed, "test": "wilcoxon signed-rank, zeros dropped", "correction": "benjamini-hochberg within layer and response"}));
            out.insert("noise".into(), json!({"kind": "shuffled pixels with random signs", "l2_ratio": self.noise_ratio()}));
            out.insert("layers".into(), self.layers.iter().map(Layer::to_json).collect());
        }
        out
    }

    /// One row per layer, response and unit.
    pub fn units_csv(&self) -> String {
        let mut out = String::from(
            "layer,response,unit,label,category,iou,dead,clean_mean,clean_sd,firing,change,abs_change,shift,sensitivity,noise,d_z,rank_biserial,p,q,q_by,p_t,p_family,excess_d_z,p_noise,q_noise\r\n",
        );
        for layer in &self.layers {
            for unit in &layer.result.units {
                let concept = layer.concepts.get(unit.unit).and_then(Option::as_ref);
                let (label, category) = concept.map_or((String::new(), String::new()), |c| (field(&c.label), field(&c.category)));
                let u = unit;
                let numbers = [
                    concept.map(|c| c.iou),
                    Some(f64::from(u8::from(u.dead))),
                    Some(u.clean_mean),
                    Some(u.clean_sd),
                    Some(u.firing),
                    Some(u.change),
                    Some(u.size),
                    u.shift,
                    u.sensitivity,
                    u.noise,
                    u.d_z,
                    u.rank_biserial,
                    u.p,
                    u.q,
                    u.q_by,
                    u.p_t,
                    u.p_family,
                    u.excess_d_z,
                    u.p_noise,
                    u.q_noise,
                ];
                let numbers: Vec<String> = numbers.iter().map(|v| v.map_or_else(String::new, |v| v.to_string())).collect();
                let _ = write!(out, "{},{},{},{label},{category},{}\r\n", field(&layer.info.name), layer.response.name(), u.unit, numbers.join(","));
            }
        }
        out
    }

    /// One row per layer and response.
    pub fn layers_csv(&self) -> String {
        let mut out = String::from(
            "layer,response,units,tested,significant,promoted,beyond_noise,d_z_0.2,d_z_0.5,d_z_0.8,labelled,spearman,spearman_p,spearman_low,spearman_high,partial,noise_spearman,auc,auc_p,rotation_mean\r\n",
        );
        for layer in &self.layers {
            let r = &layer.result;
            let a = layer.association.as_ref();
            let at = a.and_then(|a| a.thresholds.iter().find(|t| (t.iou - self.settings.iou).abs() < 1e-9));
            let numbers = [
                a.map(|a| a.spearman.n as f64),
                a.map(|a| a.spearman.r),
                a.map(|a| a.spearman.p),
                a.and_then(|a| a.interval).map(|i| i.low),
                a.and_then(|a| a.interval).map(|i| i.high),
                a.and_then(|a| a.partial).map(|c| c.r),
                a.and_then(|a| a.noise).map(|c| c.r),
                at.and_then(|t| t.auc),
                at.and_then(|t| t.p),
                layer.rotation.map(|r| r.mean),
            ];
            let numbers: Vec<String> = numbers.iter().map(|v| v.map_or_else(String::new, |v| v.to_string())).collect();
            let [small, middle, large] = r.by_effect;
            let _ = write!(
                out,
                "{},{},{},{},{},{},{},{small},{middle},{large},{}\r\n",
                field(&layer.info.name),
                layer.response.name(),
                r.units.len(),
                r.tested,
                r.significant,
                r.promoted,
                r.beyond_noise,
                numbers.join(",")
            );
        }
        out
    }

    /// What a person reads: a table of layers, the strongest units of each, a scatter plot.
    pub fn to_text(&self, top: usize, plot: bool) -> String {
        let mut out = String::new();
        let used = self.used().len();
        let _ = writeln!(
            out,
            "{used} images used of {} ({} attacks missed their goal, {} unreadable); the image is the unit of replication",
            self.images.len() + self.unreadable.len(),
            self.images.iter().map(|m| m.attacks - m.successes).sum::<usize>(),
            self.unreadable.len()
        );
        let level = self.settings.level;
        let _ = writeln!(
            out,
            "\n{:<28} {:<5} {:>6} {:>7} {:>6} {:>6} {:>7}  |d_z| >=.2 >=.5 >=.8",
            "layer", "resp.", "tested", "q<=", "up", "down", ">noise"
        );
        for layer in &self.layers {
            let r = &layer.result;
            let _ = writeln!(
                out,
                "{:<28} {:<5} {:>6} {:>7} {:>6} {:>6} {:>7}  {:>9} {:>4} {:>4}",
                short(&layer.info.name, 28),
                layer.response.name(),
                r.tested,
                r.significant,
                r.promoted,
                r.significant - r.promoted,
                r.beyond_noise,
                r.by_effect[0],
                r.by_effect[1],
                r.by_effect[2]
            );
        }
        let _ = writeln!(
            out,
            "q<= {level}: Wilcoxon signed-rank on signed changes, Benjamini-Hochberg within each row. >noise: |change| beyond noise of the same\n\
             norms (its L2 was {:.3} of the attack's after clipping to 0..1). With many images everything becomes significant: rank by effect.",
            self.noise_ratio()
        );
        if used < 6 {
            let _ = writeln!(out, "with {used} images no signed-rank test can reach p < 0.05: read effects, not tests");
        }
        for layer in &self.layers {
            out.push_str(&layer.to_text(top, plot, self.settings.iou));
        }
        out
    }
}

impl Layer {
    fn ranked(&self) -> Vec<&Unit> {
        let mut units: Vec<&Unit> = self.result.units.iter().filter(|u| u.sensitivity.is_some()).collect();
        units.sort_by(|a, b| b.sensitivity.unwrap_or(0.0).total_cmp(&a.sensitivity.unwrap_or(0.0)));
        units
    }

    fn to_text(&self, top: usize, plot: bool, iou: f64) -> String {
        let mut out = format!("\n{} ({})\n", self.info.name, self.response.name());
        for unit in self.ranked().into_iter().take(top) {
            let concept = self.concepts.get(unit.unit).and_then(Option::as_ref);
            let concept = concept.map_or_else(String::new, |c| format!("  {} ({}) IoU {:.3}", c.label, c.category, c.iou));
            let _ = writeln!(
                out,
                "  unit {:>4}  sensitivity {:>6.2}  noise {:>5.2}  d_z {:>6.2}  q {}{concept}",
                unit.unit,
                unit.sensitivity.unwrap_or(0.0),
                unit.noise.unwrap_or(0.0),
                unit.d_z.unwrap_or(0.0),
                unit.q.map_or_else(|| "-".into(), small)
            );
        }
        if let Some(a) = &self.association {
            out.push_str(&association_text(a, self.rotation.as_ref(), iou, self.origin.as_deref()));
        }
        if plot {
            out.push_str(&self.plot());
        }
        out
    }

    fn plot(&self) -> String {
        if self.association.is_some() {
            let points = self.result.units.iter().filter_map(|u| Some((self.concepts.get(u.unit)?.as_ref()?.iou, u.sensitivity?)));
            return scatter::plot(&points.collect::<Vec<_>>(), "IoU", "sensitivity");
        }
        let points = self.result.units.iter().filter_map(|u| Some((u.noise?, u.sensitivity?)));
        scatter::plot(&points.collect::<Vec<_>>(), "noise of the same norms", "sensitivity")
    }

    fn to_json(&self) -> Value {
        let r = &self.result;
        let unit = |u: &Unit| {
            let concept = self.concepts.get(u.unit).and_then(Option::as_ref);
            json!({"unit": u.unit, "dead": u.dead, "clean_mean": u.clean_mean, "clean_sd": u.clean_sd, "firing": u.firing,
                   "change": u.change, "abs_change": u.size, "shift": u.shift, "sensitivity": u.sensitivity, "noise": u.noise,
                   "d_z": number(u.d_z), "rank_biserial": u.rank_biserial, "p": u.p, "q": u.q, "q_by": u.q_by, "p_t": u.p_t,
                   "p_family": u.p_family, "excess_d_z": number(u.excess_d_z), "p_noise": u.p_noise, "q_noise": u.q_noise,
                   "concept": concept.map(|c| json!({"label": c.label, "category": c.category, "iou": c.iou}))})
        };
        json!({
            "name": self.info.name, "op": self.info.op, "units": self.info.units, "spatial": self.info.spatial,
            "response": self.response.name(),
            "tested": r.tested, "dead": r.units.len() - r.tested, "significant": r.significant, "promoted": r.promoted,
            "suppressed": r.significant - r.promoted, "beyond_noise": r.beyond_noise,
            "by_effect": {"0.2": r.by_effect[0], "0.5": r.by_effect[1], "0.8": r.by_effect[2]},
            "labels": self.origin,
            "association": self.association.as_ref().map(association_json),
            "rotation": self.rotation.map(|r| json!({"draws": r.draws, "mean": r.mean, "low": r.low, "high": r.high})),
            "per_unit": r.units.iter().map(unit).collect::<Vec<_>>(),
        })
    }
}

fn association_json(a: &Association) -> Value {
    let correlation = |c: Option<Correlation>| c.map(|c| json!({"r": c.r, "p": c.p, "n": c.n}));
    let at = |t: &crate::core::explain::sensitivity::AtThreshold| json!({"iou": t.iou, "interpretable": t.interpretable, "other": t.other, "auc": t.auc, "p": t.p, "rank_biserial": t.auc.map(|a| 2.0 * a - 1.0), "point_biserial": t.point_biserial});
    json!({
        "spearman": correlation(Some(a.spearman)),
        "interval": a.interval.map(|i| json!({"low": i.low, "high": i.high, "draws": i.draws, "confidence": 0.95})),
        "kendall": correlation(a.kendall),
        "partial": correlation(a.partial),
        "noise": correlation(a.noise),
        "beyond_noise": correlation(a.beyond_noise),
        "thresholds": a.thresholds.iter().map(at).collect::<Vec<_>>(),
        "categories": a.categories.as_ref().map(|c| json!({
            "names": c.names, "sizes": c.sizes, "h": c.test.h, "p": c.test.p,
            "pairs": c.test.pairs.iter().map(|d| json!({"first": c.names[d.first], "second": c.names[d.second], "z": d.z, "p_holm": d.p_holm})).collect::<Vec<_>>(),
        })),
    })
}

fn association_text(a: &Association, rotation: Option<&Rotation>, iou: f64, origin: Option<&str>) -> String {
    let mut out = String::new();
    if let Some(origin) = origin {
        let _ = writeln!(out, "  labels: {origin}");
    }
    let range = |i: Option<Interval>| i.map_or_else(String::new, |i| format!(" [{:.2}, {:.2}]", i.low, i.high));
    let _ = writeln!(
        out,
        "  sensitivity and IoU: Spearman {:+.3}{} (95 % over units), p {}, n {}",
        a.spearman.r,
        range(a.interval),
        small(a.spearman.p),
        a.spearman.n
    );
    let r = |c: Option<Correlation>| c.map_or_else(|| "-".to_owned(), |c| format!("{:+.3}", c.r));
    let _ = writeln!(
        out,
        "  with activation and firing rate held fixed {}; same for noise {}; beyond noise {}{}",
        r(a.partial),
        r(a.noise),
        r(a.beyond_noise),
        rotation.map_or_else(String::new, |r| format!("; channels rotated {:+.3} [{:+.2}, {:+.2}]", r.mean, r.low, r.high))
    );
    let aucs = a.thresholds.iter().map(|t| {
        let mark = if (t.iou - iou).abs() < 1e-9 { "*" } else { "" };
        format!("{:.2}{mark}: {}", t.iou, t.auc.map_or_else(|| "-".to_owned(), |a| format!("{a:.2} ({}/{})", t.interpretable, t.other)))
    });
    let _ = writeln!(out, "  AUC at IoU {}", aucs.collect::<Vec<_>>().join("  "));
    if let Some(c) = &a.categories {
        let names: Vec<String> = c.names.iter().zip(&c.sizes).map(|(n, s)| format!("{n} {s}")).collect();
        let _ = writeln!(out, "  categories ({}): Kruskal-Wallis H {:.2}, p {}", names.join(", "), c.test.h, small(c.test.p));
    }
    out
}

/// A number that JSON can hold: infinite effects (all pairs changed equally) become null.
fn number(value: Option<f64>) -> Option<f64> {
    value.filter(|v| v.is_finite())
}

/// A p-value in a few characters.
pub fn small(p: f64) -> String {
    if p < 0.001 { format!("{p:.1e}") } else { format!("{p:.3}") }
}

/// The end of a long name: layers differ there.
pub fn short(name: &str, width: usize) -> String {
    let count = name.chars().count();
    if count <= width { name.to_owned() } else { format!("…{}", name.chars().skip(count + 1 - width).collect::<String>()) }
}

/// A field of a CSV file, quoted when it must be. Text that a spreadsheet would run as a formula is marked as text.
pub fn field(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_names() {
        assert_eq!(field("a,b"), "\"a,b\"");
        assert_eq!(field("=1+1"), "'=1+1");
        assert_eq!(short("features.12.expand", 8), "….expand");
        assert_eq!(small(0.0400), "0.040");
        assert_eq!(small(0.0000123), "1.2e-5");
    }
}
