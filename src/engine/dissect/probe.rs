//! First pass: runs the network over the images that are not on disk yet, and looks at every map once.
//!
//! Three things go on at once: the next images are decoded, the network runs, and the maps before are written and surveyed. Where several
//! batches on a thread each are faster than one batch on all threads, that many networks run side by side.

use std::{ops::Range, thread};

use crossbeam_channel::{Receiver, Sender, bounded};
use ndarray::{Array4, ArrayD, ArrayView4, Axis, Ix4};

use super::{
    run::{Job, Stage, pieces, store_path},
    store::Store,
};
use crate::{
    core::{
        dissect::{
            quantile::{Quantiles, level},
            survey::Survey,
        },
        error::{Error, Result},
        oracle::{LayerInfo, Oracle as _},
    },
    runtime::Network,
};

/// Bytes of tail values that thresholds may keep, per layer: they are exact as long as the tails fit.
const TAIL_BYTES: usize = 512 << 20;
/// Bytes of activations that are read at a time.
pub(super) const PIECE_BYTES: usize = 16 << 20;

/// A layer after the first pass.
pub(super) struct Probed {
    pub(super) store: Store,
    /// Whether the survey has seen every map. Where the tails of all layers together are too large, layers are surveyed one by one later.
    pub(super) surveyed: bool,
    pub(super) survey: Survey,
}

/// Images per run, at least, of one network that has all threads.
const USUAL_BATCH: usize = 8;

/// Images `[N, C, H, W]` and the number of the first.
type Batch = (usize, Array4<f32>);
/// The numbers of a batch's images, and the layers' values.
type Computed = (Range<usize>, Vec<ArrayD<f32>>);

/// The maps of all images of all layers.
pub(super) fn run(job: &Job, network: &mut Network, layers: &[&LayerInfo], progress: &mut dyn FnMut(Stage)) -> Result<Vec<Probed>> {
    let shape = |l: &LayerInfo| [l.units, l.spatial[0], l.spatial[1]];
    let open = |l: &&LayerInfo| Store::open(store_path(job.plan, &l.name), shape(l), job.images);
    let mut stores = layers.iter().map(open).collect::<Result<Vec<_>>>()?;
    let begun = stores.iter().map(Store::images).min().unwrap_or(job.images);
    let quantiles: Vec<Quantiles> = layers.iter().map(|l| quantiles(job, l)).collect();
    let surveyed = quantiles.iter().map(Quantiles::bytes).fold(0, usize::saturating_add) <= TAIL_BYTES;
    let mut probed = Vec::with_capacity(layers.len());
    for ((mut store, quantiles), layer) in stores.drain(..).zip(quantiles).zip(layers) {
        store.truncate(begun)?;
        let mut one = Probed { store, surveyed, survey: Survey::new(layer.units, quantiles, job.plan.tops) };
        if surveyed {
            one.look_back(job, layer, &mut |_| ())?;
        }
        probed.push(one);
    }
    if begun == job.images {
        return Ok(probed);
    }
    let names: Vec<String> = layers.iter().map(|l| l.name.clone()).collect();
    let mut lanes = network.lanes();
    let batch = match job.plan.batch {
        0 if lanes.is_empty() => network.batch().max(USUAL_BATCH),
        // What one thread computes of one image stays in its cache.
        0 => 1,
        chosen => chosen,
    };
    let networks: Vec<&mut Network> = if lanes.is_empty() { vec![network] } else { lanes.iter_mut().collect() };
    // Single images are small, and a lane should not wait for the others.
    let ahead = if batch == 1 { 4 } else { 1 };
    thread::scope(|scope| {
        let (give_back, memory) = bounded::<Array4<f32>>(networks.len() * ahead + 1);
        let (mut decoded, mut computed) = (Vec::new(), Vec::new());
        for network in networks {
            let (to, batches) = bounded::<Result<Batch>>(ahead);
            let (give, values) = bounded::<Result<Computed>>(ahead);
            let (give_back, names) = (give_back.clone(), &names);
            scope.spawn(move || lane(job, network, names, &batches, &give, &give_back));
            decoded.push(to);
            computed.push(values);
        }
        drop(give_back);
        scope.spawn(move || decode(job, pieces(begun..job.images, batch), &decoded, &memory));
        let (to_keep, maps) = bounded::<(usize, Vec<ArrayD<f32>>)>(ahead);
        let keeper = scope.spawn(move || keep(probed, layers, &maps));
        let mut done = Ok(());
        // Batches went to the lanes in turn, and come back in turn.
        for lane in (0..computed.len()).cycle() {
            match computed[lane].recv() {
                Ok(Ok((images, values))) => {
                    if to_keep.send((images.start, values)).is_err() {
                        break;
                    }
                    progress(Stage::Probe(images.end, begun));
                }
                Ok(Err(error)) => {
                    done = Err(error);
                    break;
                }
                Err(_) => break,
            }
        }
        drop((to_keep, computed));
        let kept = keeper.join().map_err(|_| Error::Engine("the activations could not be kept; run the same command again".into()))?;
        done.and(kept)
    })
}

/// Runs one network over the batches that come, until none comes or the first failure.
fn lane(
    job: &Job,
    network: &mut Network,
    layers: &[String],
    batches: &Receiver<Result<Batch>>,
    to: &Sender<Result<Computed>>,
    give_back: &Sender<Array4<f32>>,
) {
    for batch in batches {
        let computed = job.control.checkpoint().and(batch).and_then(|(start, images)| {
            let values = network.activations(images.view(), layers)?;
            let range = start..start + images.len_of(Axis(0));
            // Memory that nobody waits for is freed.
            drop(give_back.try_send(images));
            Ok((range, values))
        });
        let failed = computed.is_err();
        if to.send(computed).is_err() || failed {
            return;
        }
    }
}

/// Sends the images batch by batch to the lanes in turn, in memory that came back where there is some.
fn decode(job: &Job, batches: impl Iterator<Item = Range<usize>>, lanes: &[Sender<Result<Batch>>], memory: &Receiver<Array4<f32>>) {
    let [c, h, w] = job.subject.prepared.shape;
    for (range, to) in batches.zip(lanes.iter().cycle()) {
        let start = range.start;
        let mut images =
            memory.try_recv().ok().filter(|m| m.len_of(Axis(0)) == range.len()).unwrap_or_else(|| Array4::zeros((range.len(), c, h, w)));
        let decoded = job.data.images_into(job.subject, range, images.view_mut());
        if to.send(decoded.map(|()| (start, images))).is_err() {
            return;
        }
    }
}

/// Writes maps down and surveys them.
fn keep(mut probed: Vec<Probed>, layers: &[&LayerInfo], maps: &Receiver<(usize, Vec<ArrayD<f32>>)>) -> Result<Vec<Probed>> {
    for (start, values) in maps {
        for ((one, layer), value) in probed.iter_mut().zip(layers).zip(&values) {
            let maps = value.view().into_dimensionality::<Ix4>();
            let maps =
                maps.map_err(|_| Error::Model(format!("a layer of shape {:?} has no height and width; choose another", value.shape())))?;
            one.store.append(maps)?;
            if one.surveyed {
                one.look(start, maps, layer)?;
            }
        }
    }
    Ok(probed)
}

fn quantiles(job: &Job, layer: &LayerInfo) -> Quantiles {
    // Twice: a tail is cut back when it has doubled.
    let capacity = TAIL_BYTES / 8 / layer.units.max(1);
    Quantiles::new(layer.units, job.images, layer.spatial[0] * layer.spatial[1], level(job.plan.quantile), capacity)
}

/// Images whose maps are read at a time.
pub(super) fn piece(layer: &LayerInfo) -> usize {
    let image = layer.units * layer.spatial[0] * layer.spatial[1] * 4;
    (PIECE_BYTES / image.max(1)).clamp(1, 64)
}

impl Probed {
    fn look(&mut self, first: usize, maps: ArrayView4<f32>, layer: &LayerInfo) -> Result<()> {
        self.survey.push(first, maps).map_err(|e| Error::Input(format!("layer {}: {e}", layer.name)))
    }

    /// Surveys what is on disk. `progress` is told how many images that was.
    pub(super) fn look_back(&mut self, job: &Job, layer: &LayerInfo, progress: &mut dyn FnMut(usize)) -> Result<()> {
        let mut memory = Vec::new();
        for range in pieces(0..self.store.images(), piece(layer)) {
            job.control.checkpoint()?;
            let maps = self.store.read(range.clone(), memory)?;
            self.look(range.start, maps.view(), layer)?;
            memory = maps.into_raw_vec_and_offset().0;
            progress(range.end);
        }
        self.surveyed = true;
        Ok(())
    }
}
