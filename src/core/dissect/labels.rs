//! The concept of a unit, and where that knowledge comes from.

use std::sync::Arc;

use super::{
    levels::Levels,
    result::{ResultTable, iou},
};
use crate::core::{
    error::Result,
    tensor::labels::{clean, clean_to},
};

/// What a unit agrees with best.
#[derive(Debug, Clone, PartialEq)]
pub struct Concept {
    /// Name for people: without the endings `-s` and `-c`, underscores as spaces.
    pub label: String,
    /// Category: object, part, scene, material, texture, color.
    pub category: String,
    /// IoU of the unit's mask and the label over the whole data set.
    pub iou: f64,
}

impl Concept {
    /// Whether the unit counts as a detector of the concept, by the usual convention ([`super::IOU_THRESHOLD`]).
    pub fn detected(&self) -> bool {
        self.iou >= super::IOU_THRESHOLD
    }
}

/// Characters of an origin: it is read whole, not recognised.
const LONGEST_ORIGIN: usize = 400;

/// Concepts of the units of one layer. Show [`ConceptLabels::origin`] wherever the names are shown.
#[derive(Debug, Clone, PartialEq)]
pub struct ConceptLabels {
    origin: Arc<str>,
    units: Vec<Option<Concept>>,
    levels: Option<Levels>,
}

impl ConceptLabels {
    /// Reads NetDissect's result file (or ours). `origin` says in a few words whose data and which file.
    /// IoU is computed again from the counts where the file has them.
    pub fn from_result_csv(bytes: &[u8], origin: &str) -> Result<Self> {
        Ok(Self::from_table(&ResultTable::parse(bytes)?, origin))
    }

    /// From a table in memory.
    pub fn from_table(table: &ResultTable, origin: &str) -> Self {
        let mut units = vec![None; table.rows.iter().map(|r| r.unit).max().unwrap_or(0)];
        for row in &table.rows {
            if row.label.is_empty() {
                continue;
            }
            let of = table.categories.iter().position(|c| *c == row.category).and_then(|at| row.best.get(at));
            let counted = of.filter(|b| b.label == row.label && b.truth > 0).map(|b| iou(b.truth, b.activation, b.intersect));
            units[row.unit - 1] =
                Some(Concept { label: display_name(&row.label), category: clean(&row.category), iou: counted.unwrap_or(row.score) });
        }
        Self { origin: clean_to(origin, LONGEST_ORIGIN).into(), units, levels: None }
    }

    /// Together with what the same dissection measured of the units' values.
    #[must_use]
    pub fn with_levels(self, levels: Option<Levels>) -> Self {
        Self { levels, ..self }
    }

    /// Thresholds and spreads over the concept images, where they are known.
    pub fn levels(&self) -> Option<&Levels> {
        self.levels.as_ref()
    }

    /// Whose concept data these names come from, for people.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The origin in a few words, for narrow places: what stands before the details.
    pub fn origin_in_short(&self) -> &str {
        let end = [": ", " (", ", "].iter().filter_map(|mark| self.origin.find(mark)).min();
        self.origin.get(..end.unwrap_or(self.origin.len())).unwrap_or_default()
    }

    /// Concept of a unit, counted from 0; `None` when no label's pixel met its mask or the unit is not in the file.
    pub fn unit(&self, unit: usize) -> Option<&Concept> {
        self.units.get(unit)?.as_ref()
    }

    /// Number of units the file speaks of (its largest unit number).
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// Whether there is no unit.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Units (from 0) that reach `iou` and whose label contains the text or whose category it is, best first. Case does not matter; no
    /// text finds nothing.
    pub fn find(&self, text: &str, iou: f64) -> Vec<usize> {
        let text = text.trim().to_lowercase().replace('_', " ");
        let hit =
            |c: &Concept| !text.is_empty() && c.iou >= iou && (c.label.to_lowercase().contains(&text) || c.category.to_lowercase() == text);
        let mut found: Vec<(usize, f64)> =
            self.units.iter().enumerate().filter_map(|(k, c)| c.as_ref().filter(|c| hit(c)).map(|c| (k, c.iou))).collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.into_iter().map(|(k, _)| k).collect()
    }
}

/// `mountain_snowy-s` to `mountain snowy`, control characters removed.
pub fn display_name(label: &str) -> String {
    let short = label.strip_suffix("-s").or_else(|| label.strip_suffix("-c")).unwrap_or(label);
    clean(short).replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "unit,category,label,score,scene-label,scene-truth,scene-activation,scene-intersect,scene-iou\r\n\
                        3,scene,mountain_snowy-s,0.0829,mountain_snowy-s,1825967,997699.0,216113,0.0829\r\n\
                        1,color,red-c,0.02,,0,1.0,0,0.0\r\n2,scene,,0.0,,0,1.0,0,0.0\r\n";

    #[test]
    fn units_by_number() {
        let labels = ConceptLabels::from_result_csv(FILE.as_bytes(), "Broden\x1b[2J").unwrap();
        assert!(!labels.origin().contains('\x1b') && labels.origin().starts_with("Broden"));
        let long = "dissection on a made set (672 images, six cut-outs), rule original".to_owned() + &", more".repeat(8);
        let labels = ConceptLabels::from_result_csv(FILE.as_bytes(), &long).unwrap();
        assert_eq!((labels.origin(), labels.origin_in_short()), (long.as_str(), "dissection on a made set"));
        let snow = labels.unit(2).unwrap();
        assert_eq!((snow.label.as_str(), snow.category.as_str()), ("mountain snowy", "scene"));
        // The file's three digits give way to the counts.
        approx::assert_abs_diff_eq!(snow.iou, 0.082_879_619_321_256_37, epsilon = 1e-15);
        assert_eq!(labels.unit(0).unwrap().label, "red");
        assert!(labels.unit(1).is_none() && labels.unit(3).is_none());
        assert_eq!((labels.len(), labels.is_empty()), (3, false));
        assert_eq!(labels.find("Mountain_Snowy", 0.04), [2]);
        assert!(labels.find(" ", 0.0).is_empty());
        assert_eq!((labels.find("scene", 0.0), labels.find("red", 0.04)), (vec![2], vec![]));
    }
}
