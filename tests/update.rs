//! Attacks whose update runs in the graph do what the loop on the host does: on the embedded engine, and on ONNX Runtime where there
//! is one.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;
#[path = "update/faults.rs"]
mod faults;

use std::sync::Arc;

use common::engines;
use ndarray::{Array1, Array2, Array3};
use psescope::{
    core::{
        attack::{self, Outcome, Problem, Recorder, Step},
        error::Result,
        graph::{Layout, Prepared, UpdateRule},
        oracle::Oracle,
        tensor::norm::Norms,
    },
    engine::{
        control::Control,
        recorder::TraceRecorder,
        selftest::models::{self, SIDE},
        trace::Trace,
    },
    runtime::{Affine, EngineChoice, Network, Runtime, RuntimeOptions, backend::Backend},
};

fn affine(bgr: bool) -> Affine {
    Affine::normalise(&[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225], bgr)
}

/// What an attack recorded.
#[derive(Default, Clone)]
struct Tape {
    images: Vec<Array3<f32>>,
    logits: Vec<Array1<f32>>,
    losses: Vec<f32>,
    terms: Vec<Vec<(&'static str, f32)>>,
    norms: Vec<Norms>,
    clean: Array3<f32>,
    remote: usize,
}

impl Recorder for Tape {
    fn step(&mut self, step: Step) -> Result<()> {
        self.remote += usize::from(step.image.is_remote());
        self.norms.push(step.image.norms(&self.clean));
        self.images.push(step.image.array()?.into_owned());
        self.logits.push(step.logits.to_owned());
        self.losses.push(step.loss);
        self.terms.push(step.terms.to_vec());
        Ok(())
    }
}

fn run(network: &mut Network, name: &str, params: &[(&str, &str)], problem: &Problem) -> (Outcome, Tape) {
    run_on(network, name, params, problem)
}

fn run_on(network: &mut dyn Oracle, name: &str, params: &[(&str, &str)], problem: &Problem) -> (Outcome, Tape) {
    let attack = attack::find(name).unwrap();
    let params = attack::Params::check(attack.params(), params.iter().copied()).unwrap();
    let mut tape = Tape { clean: problem.image.clone(), ..Tape::default() };
    let outcome = attack.run(network, problem, &params, &mut tape).unwrap();
    (outcome, tape)
}

struct Both {
    host: (Outcome, Tape),
    device: (Outcome, Tape),
}

fn both(backend: &Arc<dyn Backend>, model: &Arc<Prepared>, bgr: bool, name: &str, params: &[(&str, &str)], problem: &Problem) -> Both {
    let one = |resident| {
        let mut network = Network::new(Arc::clone(model), Arc::clone(backend), affine(bgr)).unwrap().with_resident(resident);
        run(&mut network, name, params, problem)
    };
    Both { host: one(false), device: one(true) }
}

fn problem(backend: &Arc<dyn Backend>, model: &Arc<Prepared>, bgr: bool, targeted: bool, mask: bool) -> Problem {
    let image = models::image(3);
    let mut network = Network::new(Arc::clone(model), Arc::clone(backend), affine(bgr)).unwrap();
    let logits = network.logits(image.view().insert_axis(ndarray::Axis(0))).unwrap();
    let mut order: Vec<usize> = (0..logits.ncols()).collect();
    order.sort_by(|a, b| logits[(0, *b)].total_cmp(&logits[(0, *a)]));
    let mask = mask.then(|| Array2::from_shape_fn((SIDE, SIDE), |(y, x)| f32::from(u8::from(x + y < SIDE))));
    Problem { image, label: order[0], target: targeted.then_some(order[2]), mask, seed: 5 }
}

fn largest(a: &Array3<f32>, b: &Array3<f32>) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The loop ran in the graph and took the [`same`] steps.
fn agree(both: &Both, tolerance: f32, what: &str) {
    assert!(both.device.1.remote > 0, "{what}: nothing ran in the graph");
    same(both, tolerance, what);
}

/// The same steps, each image within `tolerance` of the other's, and norms that fit the image they came with.
fn same(both: &Both, tolerance: f32, what: &str) {
    let ((host, a), (device, b)) = (&both.host, &both.device);
    assert_eq!(a.remote, 0, "{what}: the reference runs here");
    assert_eq!(a.images.len(), b.images.len(), "{what}");
    for (k, (x, y)) in a.images.iter().zip(&b.images).enumerate() {
        assert!(largest(x, y) <= tolerance, "{what}: step {k} differs by {}", largest(x, y));
        let exact = Norms::of((y - &b.clean).view());
        let told = b.norms[k];
        assert_eq!(told.l0, exact.l0, "{what}: step {k}");
        for (t, e) in [(told.l1, exact.l1), (told.l2, exact.l2), (told.linf, exact.linf)] {
            assert!((t - e).abs() <= 1e-6 * e.max(1e-3), "{what}: step {k}: {t} for {e}");
        }
        let (loss, other) = (a.losses[k], b.losses[k]);
        assert!((loss - other).abs() <= 2e-3 * loss.abs().max(1.0) * tolerance.max(1e-3) * 1e3, "{what}: step {k}: loss {loss}, {other}");
        let names = |t: &[(&'static str, f32)]| t.iter().map(|t| t.0).collect::<Vec<_>>();
        assert_eq!(names(&a.terms[k]), names(&b.terms[k]), "{what}");
    }
    assert_eq!((host.success, host.step), (device.success, device.step), "{what}");
    assert!(largest(&host.image, &device.image) <= tolerance, "{what}");
    let predicted = |l: &Array1<f32>| (0..l.len()).max_by(|i, j| l[*i].total_cmp(&l[*j]));
    assert_eq!(predicted(&host.logits), predicted(&device.logits), "{what}");
}

#[test]
fn gradient_sign_is_the_same_to_the_last_bit() {
    for backend in engines() {
        for name in models::NAMES {
            let model = Arc::new(models::network(name).unwrap());
            for (attack, params) in [
                ("ifgsm", vec![("steps", "6"), ("eps", "8/255")]),
                ("pgd", vec![("steps", "5"), ("restarts", "2")]),
                ("mifgsm", vec![("steps", "6"), ("mu", "0.9")]),
            ] {
                for (targeted, mask) in [(false, false), (true, true)] {
                    let problem = problem(&backend, &model, false, targeted, mask);
                    let both = both(&backend, &model, false, attack, &params, &problem);
                    agree(&both, 0.0, &format!("{} {name} {attack} targeted {targeted} mask {mask}", backend.describe()));
                }
            }
        }
    }
}

#[test]
fn l2_steps_agree_to_rounding() {
    for backend in engines() {
        let model = Arc::new(models::network("gated").unwrap());
        for (attack, extra) in [("ifgsm", ("random-start", "no")), ("mifgsm", ("mu", "1"))] {
            let problem = problem(&backend, &model, true, true, true);
            let params = [("steps", "8"), ("norm", "l2"), ("eps", "0.5"), ("alpha", "0.1"), extra];
            let both = both(&backend, &model, true, attack, &params, &problem);
            agree(&both, 1e-6, &format!("{} {attack}", backend.describe()));
        }
    }
}

#[test]
fn cw_agrees_within_the_engines_tanh() {
    for backend in engines() {
        for name in ["residual", "attention"] {
            let model = Arc::new(models::network(name).unwrap());
            let problem = problem(&backend, &model, false, true, name == "residual");
            let params = [("steps", "12"), ("search-steps", "3"), ("c0", "0.1"), ("search", "sequential")];
            let both = both(&backend, &model, false, "cw", &params, &problem);
            agree(&both, 2e-4, &format!("{} {name}", backend.describe()));
        }
    }
}

#[test]
fn ead_agrees_to_rounding_also_with_several_constants_at_once() {
    for backend in engines() {
        let model = Arc::new(models::network("residual").unwrap());
        let problem = problem(&backend, &model, false, false, false);
        for search in ["sequential", "batched"] {
            if search == "batched" && backend.preferred_batch() < 2 {
                continue;
            }
            let params = [("steps", "10"), ("search-steps", "4"), ("c0", "0.1"), ("beta", "0.001"), ("search", search)];
            let both = both(&backend, &model, false, "ead", &params, &problem);
            agree(&both, 1e-6, &format!("{} {search}", backend.describe()));
        }
    }
}

#[test]
fn apgd_agrees_and_goes_back_to_the_same_best_images() {
    for backend in engines() {
        for (name, norm, eps, tolerance) in
            [("residual", "linf", "8/255", 0.0), ("attention", "linf", "0.02", 0.0), ("gated", "l2", "0.5", 2e-6)]
        {
            let model = Arc::new(models::network(name).unwrap());
            for (targeted, mask) in [(false, false), (true, true)] {
                let problem = problem(&backend, &model, false, targeted, mask);
                // Every step has to rise: the step size is halved at each checkpoint, and the image goes back to the best.
                let loss = if name == "attention" { "ce" } else { "dlr" };
                let params = [("steps", "20"), ("norm", norm), ("eps", eps), ("progress", "1"), ("restarts", "2"), ("loss", loss)];
                let both = both(&backend, &model, false, "apgd", &params, &problem);
                let what = format!("{} {name} {norm} targeted {targeted}", backend.describe());
                agree(&both, tolerance, &what);
                let sizes: Vec<f32> = both.device.1.terms.iter().map(|t| t[0].1).collect();
                assert!(sizes.windows(2).filter(|s| s[1] < s[0]).count() >= 3, "{what}: {sizes:?}");
                assert_eq!(sizes, both.host.1.terms.iter().map(|t| t[0].1).collect::<Vec<_>>(), "{what}");
            }
        }
    }
}

#[test]
fn strattack_agrees_also_with_overlapping_windows_and_as_released() {
    let cases: &[(&str, bool, &[(&str, &str)])] = &[
        ("residual", false, &[("group", "4")]),
        ("residual", true, &[("group", "3"), ("stride", "2"), ("eps", "0.4"), ("refine", "no")]),
        ("attention", false, &[("group", "5"), ("variant", "released")]),
        ("gated", true, &[("group", "4"), ("stride", "3"), ("variant", "released"), ("keep", "objective")]),
        ("residual", false, &[("group", "4"), ("tolerance", "0.05"), ("steps", "30"), ("search", "batched")]),
    ];
    for backend in engines() {
        for (name, targeted, extra) in cases {
            let model = Arc::new(models::network(name).unwrap());
            let problem = problem(&backend, &model, false, *targeted, *targeted);
            let mut params = vec![("steps", "12"), ("search-steps", "3"), ("c0", "5"), ("tau", "0.2"), ("eta", "2")];
            params.extend(extra.iter().copied());
            let both = both(&backend, &model, false, "strattack", &params, &problem);
            let what = format!("{} {name} {extra:?}", backend.describe());
            agree(&both, 2e-5, &what);
            let tape = &both.device.1;
            assert_eq!(tape.remote, tape.images.len(), "{what}");
            let changed: Vec<usize> = tape.norms.iter().map(|n| n.l0).collect();
            assert!(changed.iter().any(|n| (1..SIDE * SIDE).contains(n)), "{what}: nothing sparse in {changed:?}");
        }
    }
}

#[test]
fn attacks_on_a_masked_network_stay_there_too() {
    use psescope::core::oracle::{Gated, UnitGate, Units as _};
    for backend in engines() {
        let model = Arc::new(models::network("residual").unwrap());
        let problem = problem(&backend, &model, false, false, false);
        for (name, params, tolerance) in [
            ("ifgsm", &[("steps", "5")][..], 0.0),
            ("ead", &[("steps", "6"), ("search-steps", "2"), ("c0", "1"), ("search", "sequential")], 1e-6),
        ] {
            let one = |resident| {
                let mut network = Network::new(Arc::clone(&model), Arc::clone(&backend), affine(false)).unwrap().with_resident(resident);
                let layer = network.unit_layers().swap_remove(0);
                let gate = UnitGate::zero(&layer.name, layer.units, &[0, 1]);
                run_on(&mut Gated::new(&mut network, vec![gate]), name, params, &problem)
            };
            let both_ = Both { host: one(false), device: one(true) };
            agree(&both_, tolerance, &format!("{} {name}", backend.describe()));
            let free = both(&backend, &model, false, name, params, &problem);
            assert_ne!(free.device.0.image, both_.device.0.image, "the mask changes nothing");
        }
    }
}

/// What `--cuda-graphs` does, without the recording: tensors that stay cycle through buffers that are never freed.
#[test]
fn loops_that_keep_their_buffers_agree_too() {
    let options = RuntimeOptions { engine: EngineChoice::OnnxRuntime, threads: 1, cuda_graphs: true, ..RuntimeOptions::default() };
    let Ok(runtime) = Runtime::open(&options) else {
        assert!(std::env::var("PSESCOPE_TEST_ORT").as_deref() != Ok("required"), "ONNX Runtime is required here");
        eprintln!("skipped: no ONNX Runtime here");
        return;
    };
    assert!(runtime.report().notices.iter().any(|n| n.contains("--cuda-graphs") || n.contains("CUDA")), "{:?}", runtime.report().notices);
    let (backend, model) = (runtime.backend(), Arc::new(models::network("residual").unwrap()));
    let problem = problem(&backend, &model, false, true, false);
    let open = || Network::new(Arc::clone(&model), Arc::clone(&backend), affine(false)).unwrap();
    let (mut here, mut there) = (open().with_resident(false), open().with_resident(true));
    // One network for all: later loops meet buffers of earlier ones, batches of one those of several. Not C&W's batched search: its
    // largest constants take the same path, and which of them is recorded hangs on the last bit.
    for (attack, params, tolerance) in [
        ("ifgsm", vec![("steps", "7")], 0.0),
        ("mifgsm", vec![("steps", "7")], 0.0),
        ("ifgsm", vec![("steps", "7"), ("random-start", "yes")], 0.0),
        ("cw", vec![("steps", "9"), ("search-steps", "3"), ("c0", "0.1"), ("search", "sequential")], 2e-4),
        ("ead", vec![("steps", "9"), ("search-steps", "3"), ("c0", "0.1"), ("search", "batched")], 1e-6),
        ("apgd", vec![("steps", "15"), ("progress", "1"), ("restarts", "2")], 0.0),
        (
            "strattack",
            vec![("steps", "7"), ("search-steps", "3"), ("c0", "5"), ("tau", "0.2"), ("group", "4"), ("search", "batched")],
            2e-5,
        ),
        ("cw", vec![("steps", "9"), ("search-steps", "3"), ("c0", "0.1"), ("search", "sequential")], 2e-4),
    ] {
        let both = Both { host: run(&mut here, attack, &params, &problem), device: run(&mut there, attack, &params, &problem) };
        agree(&both, tolerance, attack);
    }
}

#[test]
fn models_that_take_blue_first_and_channels_last_fit_too() {
    use psescope::core::{
        graph,
        onnx::{Attr, Dim, Node},
    };
    for backend in engines() {
        // The same network behind a transpose: it takes [N, H, W, C].
        let mut g = models::network("residual").unwrap().graph;
        let input = g.inputs[0].name.clone();
        let side = Dim::Fixed(SIDE);
        g.inputs[0].name = "nhwc".into();
        g.inputs[0].ty.shape = Some(vec![Dim::Batch(1), side, side, Dim::Fixed(3)]);
        g.nodes.insert(0, Node::new("Transpose", &["nhwc"], &[&input]).with("perm", Attr::Ints(vec![0, 3, 1, 2])));
        g.types.clear();
        let prepared = graph::normalise(g, &graph::Options::default()).unwrap();
        assert_eq!(prepared.layout, Layout::Nhwc);
        let model = Arc::new(prepared);
        let problem = problem(&backend, &model, true, false, false);
        let both = both(&backend, &model, true, "ifgsm", &[("steps", "4")], &problem);
        agree(&both, 0.0, &backend.describe());
    }
}

#[test]
fn pictures_leave_the_device_only_where_they_are_kept() {
    let backend = engines().swap_remove(0);
    let model = Arc::new(models::network("residual").unwrap());
    let problem = problem(&backend, &model, false, false, false);
    let mut network = Network::new(model, Arc::clone(&backend), affine(false)).unwrap().with_resident(true);
    // A budget of eight frames for forty steps.
    let trace = Arc::new(Trace::new(Arc::new(problem.image.clone()), problem.label, None, 0));
    let mut recorder = TraceRecorder::new(Arc::clone(&trace), Control::default(), |_| ());
    let attack = attack::find("ifgsm").unwrap();
    let params = attack::Params::check(attack.params(), [("steps", "40"), ("eps", "0.02")]).unwrap();
    let outcome = attack.run(&mut network, &problem, &params, &mut recorder).unwrap();
    recorder.finish(&outcome);
    assert_eq!(trace.len(), 41);
    assert_eq!(trace.best(), Some(40));
    assert_eq!(trace.frame(40).unwrap().image, outcome.image);
    assert!(trace.frame(0).is_some() && trace.frames().len() <= 12, "{:?}", trace.frames());
    // A kept frame is the picture of its own step.
    for index in trace.frames() {
        let norms = Norms::of(trace.frame(index).unwrap().delta.view());
        assert!((norms.l1 as f32 - trace.step(index).unwrap().l1).abs() <= 1e-5 * norms.l1 as f32, "{index}");
    }
}

#[test]
fn an_update_needs_a_gradient() {
    use psescope::core::graph::{Instrumentation, Update, instrument};
    let prepared = models::network("residual").unwrap();
    let update = Some(Update { rule: UpdateRule::Adam, masked: false, bgr: false });
    let error = instrument(&prepared, &Instrumentation { update, ..Instrumentation::default() }).unwrap_err();
    assert!(error.to_string().contains("gradient"), "{error}");
}
