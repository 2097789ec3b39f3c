//! What an exact promotion-suppression map costs beside the bare forward runs of the engine: process CPU time, blocks of both interleaved.
//!
//! `cargo bench --bench psr [-- MODEL.onnx]`; one thread, 196 cells. The goal is a ratio of at most 1.05.

use std::{env, path::PathBuf, sync::Arc};

use ndarray::{Array3, Array4, Axis};
use psescope::{
    core::{
        explain::psr::{self, Grid, Question, Settings},
        graph::{Instrumentation, instrument},
        onnx::write::to_bytes,
        oracle::Oracle as _,
    },
    engine::subject::{Subject, SubjectOptions},
    runtime::{Runtime, RuntimeOptions, backend::Array},
};

const CELLS: usize = 14;
const ROUNDS: usize = 7;

/// CPU seconds of this process, user and system.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("a Linux system");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    (fields[11].parse::<f64>().expect("ticks") + fields[12].parse::<f64>().expect("ticks")) / 100.0
}

fn main() {
    let given = env::args().skip(1).find(|a| a.ends_with(".onnx"));
    let model = given.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("onnx/squeezenet1_1.onnx"), PathBuf::from);
    let subject = Subject::open(&model, &SubjectOptions::default()).expect("the model opens");
    let runtime = Runtime::open(&RuntimeOptions { threads: 1, ..RuntimeOptions::default() }).expect("an engine");
    let backend = runtime.backend();
    let mut network = subject.network(&backend).expect("a network");
    let [c, h, w] = network.image_shape();
    let clean = Array3::from_shape_fn((c, h, w), |(c, y, x)| ((c * 31 + y * 7 + x * 13) % 97) as f32 / 97.0);
    let adversarial = clean.mapv(|v| if v > 0.5 { v - 0.03 } else { v + 0.03 });
    let grid = Grid::by_count(h, w, CELLS).expect("a grid");
    let question = Question { clean: clean.view(), adversarial: adversarial.view(), classes: (0, 1), grid, settings: Settings::default() };

    let batch = backend.preferred_batch();
    let made = instrument(subject.prepared.as_ref(), &Instrumentation::default()).expect("a forward graph");
    let mut executor = backend.load(&to_bytes(&made.graph)).expect("the engine loads it");
    let images = Array4::from_shape_fn((batch, c, h, w), |(_, c, y, x)| adversarial[(c, y, x)]);
    let inputs = vec![(made.image.as_str(), Array::F32(subject.affine().forward(images.view(), subject.prepared.layout)))];
    let single = vec![(
        made.image.as_str(),
        Array::F32(subject.affine().forward(images.slice_axis(Axis(0), (..1).into()), subject.prepared.layout)),
    )];
    let runs = grid.len() / batch;
    let rest = 1 + grid.len() % batch;
    let _ = executor.run(&inputs, &[&made.logits]);
    let _ = psr::evaluate(&mut network, &question, &mut |_| Ok(()));

    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let begun = cpu();
        for _ in 0..runs {
            executor.run(&inputs, &[&made.logits]).expect("it runs");
        }
        for _ in 0..rest {
            executor.run(&single, &[&made.logits]).expect("it runs");
        }
        let bare = cpu() - begun;
        let begun = cpu();
        let map = psr::evaluate(&mut network, &question, &mut |_| Ok(())).expect("a map");
        let whole = cpu() - begun;
        assert_eq!(map.forwards, grid.len() + 1);
        println!("{} forward runs: bare {bare:.2} s, exact map {whole:.2} s, ratio {:.3}", map.forwards, whole / bare);
        ratios.push(whole / bare);
    }
    ratios.sort_by(f64::total_cmp);
    let name = model.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    println!("{name} on {}, batch {batch}: median ratio {:.3}", Arc::clone(&backend).describe(), ratios[ROUNDS / 2]);
}
