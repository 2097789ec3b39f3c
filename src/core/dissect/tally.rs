//! Pixels of masks and labels over a data set, and from them IoU. Method report E.4 (original) and E.5 (Lite).

use ndarray::{Array2, ArrayView4};
use rayon::prelude::*;

use super::{
    broden::Broden,
    mask::{Bits, Upsampler},
    result::{CategoryScore, ResultTable, UnitRow, iou},
};

/// Over which images a unit's mask counts in the union with a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rule {
    /// Images that have any label of the label's category (NetDissect).
    #[default]
    Original,
    /// Images in which the mask itself meets a label of the category (NetDissect-Lite): unions are smaller.
    Lite,
    /// All images. Not used by either; lowers IoU with every image that lacks the category.
    AllImages,
}

impl Rule {
    /// Every rule by its name on the command line.
    pub const NAMES: [(&'static str, Self); 3] = [("original", Self::Original), ("lite", Self::Lite), ("all-images", Self::AllImages)];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, r)| *r == self).map_or("", |(n, _)| n)
    }
}

/// The labels of one image.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ImageLabels {
    /// Label numbers `[sh, sw]`, one picture per plane; 0 is unlabelled.
    pub planes: Vec<Array2<u16>>,
    /// Labels of the whole image.
    pub whole: Vec<u16>,
    /// Pixels of a label picture.
    pub pixels: u64,
}

/// What the labels mean.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    names: Vec<String>,
    categories: Vec<String>,
    /// Category of each label.
    primary: Vec<usize>,
    /// Whether label 0 of a whole image counts as a label, as it does in published results.
    zero: bool,
}

impl Vocabulary {
    /// Of a data set. `compat_label0` counts label 0 of whole images.
    pub fn new(data: &Broden, compat_label0: bool) -> Self {
        let categories = data.categories.iter().map(|c| c.name.clone()).collect();
        Self { names: data.names(), categories, primary: data.primary(), zero: compat_label0 }
    }

    /// Number of labels, with 0.
    pub fn labels(&self) -> usize {
        self.names.len()
    }
}

/// Counts of one layer in the making.
#[derive(Debug, Clone)]
pub struct Tally {
    rule: Rule,
    vocabulary: Vocabulary,
    /// Pixels per label.
    truth: Vec<u64>,
    units: Vec<Unit>,
}

#[derive(Debug, Clone)]
struct Unit {
    threshold: f64,
    /// Pixels of the mask with each label.
    both: Vec<u64>,
    /// Pixels of the mask that count against each category.
    activation: Vec<u64>,
}

/// Working memory of a thread.
#[derive(Default)]
struct Scratch {
    bits: Bits,
    met: Vec<bool>,
}

impl Tally {
    /// Empty counts for units with these thresholds.
    pub fn new(rule: Rule, vocabulary: Vocabulary, thresholds: &[f64]) -> Self {
        let (labels, categories) = (vocabulary.labels(), vocabulary.categories.len());
        let unit = |&threshold: &f64| Unit { threshold, both: vec![0; labels], activation: vec![0; categories] };
        Self { rule, truth: vec![0; labels], units: thresholds.iter().map(unit).collect(), vocabulary }
    }

    /// Counts a batch of images: maps `[N, U, h, w]`, the labels of each image, and what brings the maps to its label pictures.
    pub fn add(&mut self, maps: ArrayView4<f32>, labels: &[ImageLabels], upsamplers: &[&Upsampler]) {
        let maps = maps.as_standard_layout();
        let (n, units, h, w) = maps.dim();
        let all = maps.as_slice().expect("standard layout");
        let (rule, vocabulary) = (self.rule, &self.vocabulary);
        let mut present = Vec::with_capacity(n);
        for image in labels {
            present.push(count_truth(image, vocabulary, &mut self.truth));
        }
        self.units.par_iter_mut().enumerate().for_each_init(Scratch::default, |scratch, (unit, counts)| {
            for image in 0..n {
                let map = &all[(image * units + unit) * h * w..][..h * w];
                let on = upsamplers[image].mask(map, counts.threshold, &mut scratch.bits);
                if on > 0 {
                    counts.add(on, scratch, &labels[image], &present[image], rule, vocabulary);
                }
            }
        });
    }

    /// Pixels per label number.
    pub fn truth(&self) -> &[u64] {
        &self.truth
    }

    /// Pixels of a unit's mask with each label number.
    pub fn both(&self, unit: usize) -> &[u64] {
        &self.units[unit].both
    }

    /// Pixels of a unit's mask that count against each category.
    pub fn activation(&self, unit: usize) -> &[u64] {
        &self.units[unit].activation
    }

    /// Best label per category for every unit; equal IoU goes to the smaller number, equal categories to the earlier.
    pub fn result(&self) -> ResultTable {
        let Vocabulary { categories, .. } = &self.vocabulary;
        let rows = self.units.iter().enumerate().map(|(k, unit)| {
            let best: Vec<CategoryScore> = (0..categories.len()).map(|c| self.best(unit, c)).collect();
            let mut top = 0;
            for (c, score) in best.iter().enumerate() {
                if score.iou > best[top].iou {
                    top = c;
                }
            }
            UnitRow { unit: k + 1, category: categories[top].clone(), label: best[top].label.clone(), score: best[top].iou, best }
        });
        ResultTable::new(categories.clone(), rows.collect())
    }

    fn best(&self, unit: &Unit, category: usize) -> CategoryScore {
        let Vocabulary { names, primary, zero, .. } = &self.vocabulary;
        let activation = unit.activation[category];
        let (mut best, mut score) = (None, 0.0);
        for (label, of) in primary.iter().enumerate().skip(usize::from(!zero)) {
            if *of == category && unit.both[label] > 0 {
                let iou = iou(self.truth[label], activation, unit.both[label]);
                if iou > score {
                    (best, score) = (Some(label), iou);
                }
            }
        }
        match best {
            Some(l) => CategoryScore::from_counts(names[l].clone(), self.truth[l], activation, unit.both[l]),
            None => CategoryScore { activation, ..CategoryScore::default() },
        }
    }
}

/// Adds an image's label pixels; returns which categories it has. Label 0 makes no category present.
fn count_truth(image: &ImageLabels, vocabulary: &Vocabulary, truth: &mut [u64]) -> Vec<bool> {
    let mut present = vec![false; vocabulary.categories.len()];
    for label in image.planes.iter().flatten().filter(|l| **l != 0) {
        truth[usize::from(*label)] += 1;
        present[vocabulary.primary[usize::from(*label)]] = true;
    }
    for label in image.whole.iter().map(|l| usize::from(*l)).filter(|l| *l != 0 || vocabulary.zero) {
        truth[label] += image.pixels;
        if label != 0 {
            present[vocabulary.primary[label]] = true;
        }
    }
    present
}

impl Unit {
    fn add(&mut self, on: u64, scratch: &mut Scratch, image: &ImageLabels, present: &[bool], rule: Rule, vocabulary: &Vocabulary) {
        let Scratch { bits, met } = scratch;
        met.clear();
        met.resize(present.len(), rule == Rule::AllImages);
        // Label 0 is counted like the others, which spares a branch per pixel, and then forgotten.
        let unlabelled = self.both[0];
        for plane in &image.planes {
            let plane = plane.as_slice().expect("label pictures are read in standard layout");
            let both = &mut self.both;
            if rule == Rule::Lite {
                bits.for_each(|at| {
                    let label = usize::from(plane[at]);
                    both[label] += 1;
                    if label != 0 {
                        met[vocabulary.primary[label]] = true;
                    }
                });
            } else {
                bits.for_each(|at| both[usize::from(plane[at])] += 1);
            }
        }
        self.both[0] = unlabelled;
        for label in image.whole.iter().map(|l| usize::from(*l)).filter(|l| *l != 0 || vocabulary.zero) {
            self.both[label] += on;
            if label != 0 {
                met[vocabulary.primary[label]] = true;
            }
        }
        let counts = if rule == Rule::Original { present } else { met.as_slice() };
        for (sum, _) in self.activation.iter_mut().zip(counts).filter(|(_, counts)| **counts) {
            *sum += on;
        }
    }
}

#[cfg(test)]
#[path = "tally_tests.rs"]
mod tests;
