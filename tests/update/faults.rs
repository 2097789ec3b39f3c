//! A loop on the device that runs out of memory, or whose engine fails: the run goes on and ends as it would have.

use std::sync::Mutex;

use psescope::core::error::Error;

use super::*;
use crate::common::faulty::{Fault, Faulty};

/// Engines below the fault: the embedded one, ONNX Runtime, and ONNX Runtime with the buffers of `--cuda-graphs`.
fn below() -> Vec<(String, Arc<dyn Backend>)> {
    let mut all: Vec<(String, Arc<dyn Backend>)> = engines().into_iter().map(|b| (b.describe(), b)).collect();
    let options = RuntimeOptions { engine: EngineChoice::OnnxRuntime, threads: 1, cuda_graphs: true, ..RuntimeOptions::default() };
    if let Ok(runtime) = Runtime::open(&options) {
        all.push(("buffers of CUDA graphs".into(), runtime.backend()));
    }
    all
}

/// A run with a fault: what came of it, what was said, and how many runs of the loop there were.
fn faulted(
    inner: &Arc<dyn Backend>,
    fault: Fault,
    name: &str,
    params: &[(&str, &str)],
    problem: &Problem,
) -> (Result<(Outcome, Tape)>, Vec<String>, usize) {
    let model = Arc::new(models::network("residual").unwrap());
    let faulty = Arc::new(Faulty::new(Arc::clone(inner), fault));
    let loops = Arc::clone(&faulty.loops);
    let said = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&said);
    let network = Network::new(model, faulty, affine(false)).unwrap();
    let mut network = network.with_resident(true).with_listener(Arc::new(move |text| hears.lock().unwrap().push(text)));
    let attack = attack::find(name).unwrap();
    let params = attack::Params::check(attack.params(), params.iter().copied()).unwrap();
    let mut tape = Tape { clean: problem.image.clone(), ..Tape::default() };
    let outcome = attack.run(&mut network, problem, &params, &mut tape).map(|outcome| (outcome, tape));
    let said = said.lock().unwrap().clone();
    (outcome, said, loops.load(std::sync::atomic::Ordering::SeqCst))
}

/// The same on the host, where nothing happens.
fn sound(inner: &Arc<dyn Backend>, name: &str, params: &[(&str, &str)], problem: &Problem) -> (Outcome, Tape) {
    let model = Arc::new(models::network("residual").unwrap());
    let backend: Arc<dyn Backend> = Arc::new(Faulty::new(Arc::clone(inner), Fault::Memory(usize::MAX)));
    run(&mut Network::new(model, backend, affine(false)).unwrap().with_resident(false), name, params, problem)
}

fn case(inner: &Arc<dyn Backend>) -> Problem {
    problem(inner, &Arc::new(models::network("residual").unwrap()), false, true, true)
}

type Params<'a> = &'a [(&'a str, &'a str)];

/// Attack, parameters, tolerance.
const ONE_IMAGE: &[(&str, Params, f32)] = &[
    ("ifgsm", &[("steps", "6")], 0.0),
    ("pgd", &[("steps", "4"), ("restarts", "2"), ("norm", "l2"), ("eps", "0.5"), ("alpha", "0.1")], 2e-6),
    ("mifgsm", &[("steps", "6"), ("mu", "0.9")], 0.0),
    ("apgd", &[("steps", "12"), ("progress", "1")], 0.0),
    ("cw", &[("steps", "6"), ("search-steps", "2"), ("c0", "0.1"), ("search", "sequential")], 2e-4),
    ("ead", &[("steps", "4"), ("search-steps", "2"), ("c0", "0.1"), ("search", "sequential")], 1e-6),
    (
        "strattack",
        &[("steps", "4"), ("search-steps", "2"), ("c0", "5"), ("tau", "0.2"), ("group", "3"), ("stride", "2"), ("search", "sequential")],
        2e-5,
    ),
];

#[test]
fn an_image_that_no_longer_fits_goes_on_here() {
    for (engine, inner) in below() {
        let problem = case(&inner);
        for (name, params, tolerance) in ONE_IMAGE {
            let host = sound(&inner, name, params, &problem);
            for at in [1, 2, 5, 11] {
                let (outcome, said, _) = faulted(&inner, Fault::Short { at, times: usize::MAX }, name, params, &problem);
                let what = format!("{engine} {name}, run {at}");
                let device = outcome.unwrap_or_else(|e| panic!("{what}: {e}"));
                let remote = device.1.remote;
                same(&Both { host: host.clone(), device }, *tolerance, &what);
                // The run may be over before the fault; else it is said once, and only what came before was on the device.
                if said.is_empty() {
                    assert!(at > 6 && remote > 0, "{what}");
                    continue;
                }
                assert!(said.len() == 1 && said[0].contains("ran out of memory") && said[0].contains("goes on"), "{what}: {said:?}");
                assert!(remote < at && remote >= (at - 1) / 2, "{what}: {remote} steps on the device");
            }
        }
    }
}

#[test]
fn an_engine_that_breaks_in_a_loop_goes_on_here() {
    for (engine, inner) in below() {
        let problem = case(&inner);
        for (name, params, tolerance) in ONE_IMAGE {
            let host = sound(&inner, name, params, &problem);
            let (outcome, said, _) = faulted(&inner, Fault::Broken(4), name, params, &problem);
            let device = outcome.unwrap_or_else(|e| panic!("{engine} {name}: {e}"));
            same(&Both { host, device }, *tolerance, &format!("{engine} {name}"));
            assert!(said.len() == 1 && said[0].contains("failure 700") && said[0].contains("same step"), "{said:?}");
            // Nothing to go on with: the failure, and how to do without the device.
            let (outcome, said, _) = faulted(&inner, Fault::Lost(4), name, params, &problem);
            let Err(Error::Engine(why)) = outcome else { panic!("{engine} {name} went on without its images") };
            assert!(why.contains("failure 700") && why.contains("--update host") && said.is_empty(), "{why} {said:?}");
        }
    }
}

#[test]
fn several_images_are_halved_until_they_fit() {
    let ead: Params = &[("steps", "6"), ("search-steps", "4"), ("c0", "0.1"), ("search", "batched")];
    let strattack: Params = &[("steps", "5"), ("search-steps", "4"), ("c0", "1"), ("tau", "0.2"), ("group", "4"), ("search", "batched")];
    for (engine, inner) in below() {
        let problem = case(&inner);
        for (name, params, tolerance) in [("ead", ead, 1e-6), ("strattack", strattack, 2e-5)] {
            let host = sound(&inner, name, params, &problem);
            let (_, _, undisturbed) = faulted(&inner, Fault::Memory(usize::MAX), name, params, &problem);
            for (fault, sentences) in [
                (Fault::Memory(3), &["with 8 images at once; from now on 4", "with 4 images at once; from now on 2"][..]),
                (Fault::Short { at: 3, times: 1 }, &["with 8 images at once; from now on 4"]),
                (Fault::Short { at: 4, times: 2 }, &["with 8 images at once; from now on 4", "with 4 images at once; from now on 2"]),
            ] {
                let (outcome, said, loops) = faulted(&inner, fault, name, params, &problem);
                let what = format!("{engine} {name} {fault:?}");
                let device = outcome.unwrap_or_else(|e| panic!("{what}: {e}"));
                assert!(said.len() == sentences.len() && said.iter().zip(sentences).all(|(a, b)| a.contains(b)), "{what}: {said:?}");
                // Everything stayed on the device, in more runs.
                let steps = if name == "ead" { device.1.images.len() - 1 } else { device.1.images.len() };
                assert!(device.1.remote == steps && loops > undisturbed, "{what}: {} of {steps}, {loops} runs", device.1.remote);
                same(&Both { host: host.clone(), device }, tolerance, &what);
            }
        }
    }
}

#[test]
fn halves_that_still_do_not_fit_go_on_here_together() {
    let params: Params = &[("steps", "6"), ("search-steps", "4"), ("c0", "0.1"), ("search", "batched")];
    for (engine, inner) in below() {
        let problem = case(&inner);
        let host = sound(&inner, "ead", params, &problem);
        let (outcome, said, _) = faulted(&inner, Fault::Short { at: 5, times: usize::MAX }, "ead", params, &problem);
        let device = outcome.unwrap_or_else(|e| panic!("{engine}: {e}"));
        assert!(said.len() == 4 && said[2].contains("one by one") && said[3].contains("goes on"), "{said:?}");
        assert!(device.1.remote == 2, "{}", device.1.remote);
        same(&Both { host: host.clone(), device }, 1e-6, &engine);
        // Halved in the second step; in the third the memory goes for good when the first half, or a bit more, has taken it already.
        for again in [10, 11, 13] {
            let (outcome, said, _) = faulted(&inner, Fault::Twice(3, again), "ead", params, &problem);
            let device = outcome.unwrap_or_else(|e| panic!("{engine}: {e}"));
            assert!(said.last().is_some_and(|s| s.contains("goes on")), "{said:?}");
            assert!((2..=3).contains(&device.1.remote), "{}", device.1.remote);
            same(&Both { host: host.clone(), device }, 1e-6, &format!("{engine}, run {again}"));
        }
    }
}
