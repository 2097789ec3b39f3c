//! What dissecting a layer costs beside the engine's bare forward runs of the same images: decoding, labels, thresholds, counts and result
//! files included, pages not. Wall and processor time, both in turn in one process.
//!
//! `cargo bench --bench dissect [-- MODEL.onnx LAYER] [THREADS] [ROUNDS]`; 1000 pictures of 227 px, two threads. At most 1.5 is the goal.

use std::{fmt::Write as _, fs, path::Path, time::Instant};

use psescope::{
    core::{
        dissect::{QUANTILE, tally::Rule},
        graph::{Instrumentation, instrument},
        onnx::write::to_bytes,
        oracle::Layers as _,
    },
    engine::{
        control::Control,
        dissect::{Data, Plan, made, run},
        sample,
        subject::{Subject, SubjectOptions},
    },
    runtime::{Runtime, RuntimeOptions, backend::Array},
};

const IMAGES: usize = 1000;
const SIDE: usize = 227;

/// Seconds on the wall and CPU seconds of this process.
fn now() -> [f64; 2] {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let stat = fs::read_to_string("/proc/self/stat").expect("a Linux system");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    let cpu = (fields[11].parse::<f64>().expect("ticks") + fields[12].parse::<f64>().expect("ticks")) / 100.0;
    [START.get_or_init(Instant::now).elapsed().as_secs_f64(), cpu]
}

fn since(begun: [f64; 2]) -> [f64; 2] {
    let end = now();
    [end[0] - begun[0], end[1] - begun[1]]
}

fn median(values: &[[f64; 2]]) -> [f64; 2] {
    [0, 1].map(|i| {
        let mut sorted: Vec<f64> = values.iter().map(|v| v[i]).collect();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    })
}

/// The made set, its rows repeated until there are enough.
fn data(folder: &Path) -> Data {
    made::write(folder, 0, SIDE, &mut |_| ()).expect("the data is made");
    let index = fs::read_to_string(folder.join("index.csv")).expect("its index");
    let (head, rows) = index.split_once('\n').expect("a heading");
    let mut longer = format!("{head}\n");
    for row in rows.lines().cycle().take(IMAGES) {
        writeln!(longer, "{row}").expect("memory");
    }
    fs::write(folder.join("index.csv"), longer).expect("the index");
    Data::open(folder).expect("concept data")
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let model = arguments.iter().find(|a| a.ends_with(".onnx")).map_or_else(|| sample::MODEL.into(), std::path::PathBuf::from);
    let numbers: Vec<usize> = arguments.iter().filter_map(|a| a.parse().ok()).collect();
    let threads = numbers.first().copied().unwrap_or(2);
    let rounds = numbers.get(1).copied().unwrap_or(5);
    let folder = tempfile::tempdir().expect("a folder");
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("threads");
    let data = data(&folder.path().join("data"));
    let subject = Subject::open(&model, &SubjectOptions::default()).expect("the model opens");
    let runtime = Runtime::open(&RuntimeOptions { threads, ..RuntimeOptions::default() }).expect("an engine");
    let backend = runtime.backend();
    let mut network = subject.network(&backend).expect("a network");
    let layers = network.spatial_layers();
    let named = arguments.iter().find_map(|a| layers.iter().find(|l| l.name == *a));
    let layer = named.or(layers.last()).expect("a layer with maps").clone();
    let batch = backend.preferred_batch();
    let made = instrument(subject.prepared.as_ref(), &Instrumentation::default()).expect("a forward graph");
    let mut executor = backend.load(&to_bytes(&made.graph)).expect("the engine loads it");
    let images = data.images(&subject, 0..batch).expect("pictures");
    let inputs = vec![(made.image.as_str(), Array::F32(subject.affine().forward(images.view(), subject.prepared.layout)))];
    let plan = Plan {
        layers: vec![layer.clone()],
        quantile: QUANTILE,
        rule: Rule::Original,
        by_field: true,
        compat_label0: false,
        limit: None,
        batch: 0,
        out: folder.path().join("out"),
        tops: 6,
        keep_activations: false,
        keep_results: false,
        force: true,
    };
    println!(
        "{} on {}, {threads} threads, {} ({} units of {}x{}), {IMAGES} pictures, median of {rounds}",
        sample::title(&model),
        backend.describe(),
        layer.name,
        layer.units,
        layer.spatial[0],
        layer.spatial[1]
    );
    let (mut bare, mut whole, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let begun = now();
        for _ in 0..IMAGES.div_ceil(batch) {
            executor.run(&inputs, &[made.logits.as_str()]).expect("a forward run");
        }
        let without = since(begun);
        let begun = now();
        run(&subject, &mut network, &data, &plan, &Control::default(), &mut |_| ()).expect("a dissection");
        let with = since(begun);
        // The first round loads graphs and warms caches.
        if round > 0 {
            bare.push(without);
            whole.push(with);
            ratios.push([with[0] / without[0], with[1] / without[1]]);
        }
    }
    let [bare, whole, ratio] = [median(&bare), median(&whole), median(&ratios)];
    for (i, kind) in ["wall", "processor"].iter().enumerate() {
        println!("{kind:<9}  bare {:6.2} s  dissection {:6.2} s  ratio {:.2}", bare[i], whole[i], ratio[i]);
    }
}
