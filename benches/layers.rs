//! What the layer table costs beside the forward runs it rests on, and how long a masked or patched prediction takes.
//!
//! The denominator is two forward runs of the model as it is, of the clean and of the adversarial image. `new` is the table of a pair of images
//! that was not asked about before, `next` the table of another adversarial image beside the same clean one, as when stepping: the clean
//! image's maps are known then. `masked` and `patched` are both predictions with ten units of the last layer zeroed, and with the layer put back to
//! clean. One thread except where said; processor time, blocks in turn, median of the ratios.
//!
//! `cargo bench --bench layers [-- MODEL.onnx …] [ROUNDS]`

use std::path::{Path, PathBuf};

use ndarray::{Array3, Array4, Axis};
use psescope::{
    core::{
        explain::layers::select,
        graph::{Instrumentation, instrument},
        onnx::write::to_bytes,
        oracle::{Layers as _, Replacement, UnitGate, Units as _},
    },
    engine::{
        sample,
        selftest::cost::Clock,
        subject::{Subject, SubjectOptions},
    },
    runtime::{
        Network, Runtime, RuntimeOptions,
        backend::{Array, Backend},
    },
};

/// Runs of each kind in a block.
const BLOCK: usize = 6;

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Seconds of `BLOCK` calls, each.
fn timed(clock: Clock, mut call: impl FnMut()) -> f64 {
    let begun = clock.now();
    (0..BLOCK).for_each(|_| call());
    (clock.now() - begun) / BLOCK as f64
}

/// Pairs of images that differ a little, and never repeat.
fn shifted(image: &Array3<f32>, by: usize) -> Array3<f32> {
    image.mapv(|v| (v + by as f32 * 1e-4).fract())
}

fn tables(backend: &dyn Backend, subject: &Subject, network: &mut Network, image: &Array3<f32>, rounds: usize) {
    let clock = Clock::finest();
    // The model as it is, without anything around it.
    let made = instrument(subject.prepared.as_ref(), &Instrumentation::default()).expect("a forward graph");
    let mut executor = backend.load(&to_bytes(&made.graph)).expect("the engine loads it");
    let input = subject.affine().forward(image.view().insert_axis(Axis(0)), subject.prepared.layout);
    let inputs = [(made.image.as_str(), Array::F32(input))];
    let mut bare = || drop(executor.run(&inputs, &[made.logits.as_str()]).expect("a forward run"));
    for selection in ["auto", "all"] {
        let infos = select(network, selection).expect("layers");
        let names: Vec<&str> = infos.iter().map(|l| l.name.as_str()).collect();
        let values: usize = infos.iter().map(|l| l.units * l.spatial[0] * l.spatial[1]).sum();
        let (mut count, mut runs, mut new, mut next) = (0, Vec::new(), Vec::new(), Vec::new());
        for round in 0..=rounds {
            let two = timed(clock, || {
                bare();
                bare();
            });
            let mut fresh = || {
                count += 1;
                shifted(image, count)
            };
            let pairs: Vec<_> = (0..BLOCK).map(|_| (fresh(), fresh())).collect();
            let mut at = pairs.iter();
            let first = timed(clock, || {
                let (clean, other) = at.next().expect("one pair per call");
                network.responses(other.view().insert_axis(Axis(0)), &names, Some(clean.view())).expect("responses");
            });
            let (clean, _) = pairs.last().expect("pairs");
            let others: Vec<_> = (0..BLOCK).map(|_| fresh()).collect();
            let mut at = others.iter();
            let again = timed(clock, || {
                let other = at.next().expect("one image per call");
                network.responses(other.view().insert_axis(Axis(0)), &names, Some(clean.view())).expect("responses");
            });
            // The first round loads graphs and warms caches.
            if round > 0 {
                runs.push(two);
                new.push(first / two);
                next.push(again / two);
            }
        }
        println!(
            "{selection:<5} {:>3} layers, {:5.2} M values  two forward runs {:7.2} ms  new {:.2}  next {:.2}",
            names.len(),
            values as f64 / 1e6,
            1e3 * median(runs),
            median(new),
            median(next)
        );
    }
}

/// Wall-clock milliseconds of a masked and of a patched prediction of both images: the first, which loads the gated graph, and later ones.
fn feedback(network: &mut Network, image: &Array3<f32>, rounds: usize) -> [[f64; 2]; 2] {
    let both: Array4<f32> = ndarray::stack(Axis(0), &[image.view(), shifted(image, 40).view()]).expect("same size");
    let last = network.spatial_layers().pop().expect("a layer with maps");
    let clean = network.activation(image.view().insert_axis(Axis(0)), &last.name).expect("its maps");
    let zero = UnitGate::zero(&last.name, last.units, &(0..10).collect::<Vec<_>>());
    let patch = UnitGate { layer: last.name, mask: ndarray::Array2::zeros((1, last.units)), replacement: Replacement::Activation(clean) };
    [zero, patch].map(|gate| {
        let mut call = || drop(network.gated_logits(both.view(), std::slice::from_ref(&gate)).expect("logits"));
        let begun = Clock::Wall.now();
        call();
        let first = Clock::Wall.now() - begun;
        let later = median((0..rounds.max(3)).map(|_| timed(Clock::Wall, &mut call)).collect());
        [1e3 * first, 1e3 * later]
    })
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = arguments.iter().find_map(|a| a.parse().ok()).unwrap_or(9);
    let mut models: Vec<PathBuf> = arguments.iter().filter(|a| a.ends_with(".onnx")).map(PathBuf::from).collect();
    if models.is_empty() {
        models = ["onnx/squeezenet1_1.onnx", "onnx/efficientnet-lite0.onnx"].iter().map(|m| root.join(m)).filter(|m| m.is_file()).collect();
    }
    for model in models {
        let subject = Subject::open(&model, &SubjectOptions::default()).expect("the model opens");
        let image = subject.image(&root.join("samples/panda.jpg")).expect("the sample photo");
        for threads in [1, 2] {
            let runtime = Runtime::open(&RuntimeOptions { threads, ..RuntimeOptions::default() }).expect("an engine");
            let backend = runtime.backend();
            let mut network = subject.network(&backend).expect("a network");
            if threads == 1 {
                println!("{} on {}", sample::title(&model), backend.describe());
                tables(backend.as_ref(), &subject, &mut network, &image, rounds);
            } else {
                let [masked, patched] = feedback(&mut network, &image, rounds);
                println!("{threads} threads, wall, first and later ones: masked {masked:.1?} ms, patched {patched:.1?} ms");
            }
        }
    }
}
