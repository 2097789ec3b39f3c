//! Second pass over a layer's maps: pixels of masks and labels. The next piece is read and its label pictures decoded while one is counted.

use std::ops::Range;

use ndarray::Array4;
use rayon::prelude::*;

use super::{
    probe::{Probed, piece},
    run::{Details, Job, Stage, pieces, upsampling},
    store::Store,
};
use crate::core::{
    dissect::{
        Levels,
        mask::{Upsampler, Upsampling},
        result::ResultTable,
        tally::{ImageLabels, Tally, Vocabulary},
    },
    error::Result,
    oracle::LayerInfo,
};

/// What is known of a layer in the end.
pub(super) struct Counted {
    pub(super) table: ResultTable,
    pub(super) details: Details,
    pub(super) levels: Levels,
}

/// Maps and labels of some images.
struct Piece {
    images: Range<usize>,
    maps: Array4<f32>,
    labels: Vec<ImageLabels>,
}

/// Thresholds, then counts.
pub(super) fn run(job: &Job, layer: &LayerInfo, mut probed: Probed, key: &str, progress: &mut dyn FnMut(Stage)) -> Result<Counted> {
    let images = probed.store.images();
    let looked = probed.surveyed;
    if !looked {
        probed.look_back(job, layer, &mut |done| progress(Stage::Count(&layer.name, done / 2)))?;
    }
    let found = probed.survey.finish();
    let upsampling = upsampling(job.subject, job.plan, layer);
    let broden = &job.data.broden;
    let mut tally = Tally::new(job.plan.rule, Vocabulary::new(broden, job.plan.compat_label0), &found.levels.threshold);
    let mut upsamplers: Vec<([usize; 2], Upsampler)> = Vec::new();
    let [_, ih, iw] = job.subject.prepared.shape;
    let mut ranges = pieces(0..images, piece(layer));
    let mut next = ranges.next().map(|range| load(job, &mut probed.store, range, Vec::new())).transpose()?;
    let mut memory = Vec::new();
    while let Some(Piece { images: range, maps, labels }) = next {
        job.control.checkpoint()?;
        let sizes: Vec<[usize; 2]> = broden.images[range.clone()].iter().map(|e| e.seg).collect();
        for size in &sizes {
            if !upsamplers.iter().any(|(known, _)| known == size) {
                upsamplers.push((*size, Upsampler::new(layer.spatial, *size, [ih, iw], upsampling)));
            }
        }
        let of = |size: &[usize; 2]| upsamplers.iter().find(|(known, _)| known == size).map(|(_, u)| u).expect("made above for every size");
        let each: Vec<&Upsampler> = sizes.iter().map(of).collect();
        let (following, spare, store) = (ranges.next(), std::mem::take(&mut memory), &mut probed.store);
        let load = move || following.map(|range| load(job, store, range, spare)).transpose();
        let (loaded, ()) = rayon::join(load, || tally.add(maps.view(), &labels, &each));
        next = loaded?;
        memory = maps.into_raw_vec_and_offset().0;
        let done = if looked { range.end } else { images / 2 + range.end.div_ceil(2) };
        progress(Stage::Count(&layer.name, done));
    }
    let name = if upsampling == Upsampling::Plain { "plain" } else { "field" };
    let thresholds = found.levels.threshold.clone();
    let details = Details { key: key.to_owned(), thresholds, rank_error: found.rank_error, tops: found.tops, upsampling: name.to_owned() };
    Ok(Counted { table: tally.result(), details, levels: found.levels })
}

fn load(job: &Job, store: &mut Store, images: Range<usize>, memory: Vec<f32>) -> Result<Piece> {
    let labels = images.clone().into_par_iter().map(|i| job.data.labels(i)).collect::<Result<Vec<ImageLabels>>>()?;
    Ok(Piece { maps: store.read(images.clone(), memory)?, images, labels })
}
