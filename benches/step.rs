//! What a step of each attack costs beside the bare runs of the engine that it needs: processor time of this process, one thread,
//! both in turn, median of the ratios. `cargo bench --bench step [-- MODEL.onnx] [ROUNDS]`. At most 1.03 is the goal on a processor.

use std::path::PathBuf;

use psescope::{
    engine::{
        sample,
        selftest::cost::{Clock, measure},
        subject::{Subject, SubjectOptions},
    },
    runtime::{Runtime, RuntimeOptions},
};

/// Steps of one measurement.
const STEPS: usize = 30;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let model = arguments.iter().find(|a| a.ends_with(".onnx")).map_or_else(|| sample::MODEL.into(), PathBuf::from);
    let rounds = arguments.iter().find_map(|a| a.parse().ok()).unwrap_or(9);
    let subject = Subject::open(&model, &SubjectOptions::default()).expect("the model opens");
    let runtime = Runtime::open(&RuntimeOptions { threads: 1, ..RuntimeOptions::default() }).expect("an engine");
    let (backend, clock) = (runtime.backend(), Clock::finest());
    println!("{} on {}, {clock:?} time, {STEPS} steps, median of {rounds}", sample::title(&model), backend.describe());
    for attack in ["ifgsm", "mifgsm", "apgd", "cw", "ead", "strattack"] {
        for (place, resident) in [("host", false), ("graph", true)] {
            let cost = measure(&backend, &subject, attack, resident, clock, STEPS, rounds).expect("it runs");
            println!("{attack:<9} {place:<5}  bare {:7.2} ms  step {:7.2} ms  ratio {:.3}", 1e3 * cost.bare, 1e3 * cost.step, cost.ratio);
        }
    }
}
