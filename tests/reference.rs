//! EfficientNet-Lite0 against results of established libraries (foolbox 3, torch float32 gradients, pytorch-grad-cam style maps), kept in
//! `tests/golden/lite0_*.npz`. Final pixels of sign attacks are not compared: they amplify rounding. Skipped without the model.

mod common;

use std::{fs::File, sync::Arc};

use common::{distance, engines, lite0, root};
use ndarray::{Array1, Array3, ArrayD, Axis};
use ndarray_npy::NpzReader;
use psescope::{
    core::{
        explain::{
            cam::{self, Method},
            psr::{self, Grid},
        },
        oracle::{Objective, Oracle as _},
    },
    engine::{
        command::{AttackRequest, Target},
        control::Control,
        run,
        subject::{Subject, SubjectOptions},
    },
    runtime::Network,
};

struct Reference {
    x0: Array3<f32>,
    gradient_sign: Array3<i8>,
    adv: Array3<f32>,
    label: usize,
    target: usize,
    l2: f64,
    ratios: [Array1<f64>; 3],
    cams: ArrayD<f32>,
}

fn reference(name: &str) -> Reference {
    let file = File::open(root().join(format!("tests/golden/lite0_{name}.npz"))).expect("the reference file");
    let mut npz = NpzReader::new(file).expect("an npz file");
    let pixels: Array3<u8> = npz.by_name("x0").expect("x0");
    let classes: Array1<i64> = npz.by_name("classes").expect("classes");
    let l2: Array1<f64> = npz.by_name("l2").expect("l2");
    Reference {
        x0: pixels.mapv(|v| f32::from(v) / 255.0),
        gradient_sign: npz.by_name("gradient_sign").expect("gradient_sign"),
        adv: npz.by_name("adv").expect("adv"),
        label: classes[0] as usize,
        target: classes[1] as usize,
        l2: l2[0],
        ratios: ["s", "b", "r"].map(|k| npz.by_name(k).expect("a ratio")),
        cams: npz.by_name("cams").expect("cams"),
    }
}

/// Runs `check` on every engine, photo and network.
fn everywhere(check: impl Fn(&mut Network, &Reference, &str)) {
    let Some(model) = lite0() else { return };
    let subject = Subject::open(&model, &SubjectOptions::default()).expect("the model opens");
    for engine in engines() {
        for name in ["chelsea", "coffee"] {
            let mut network = subject.network(&engine).expect("a network");
            check(&mut network, &reference(name), &format!("{name} on {}", engine.describe()));
        }
    }
}

#[test]
fn the_first_gradient_has_the_same_signs() {
    everywhere(|network, reference, name| {
        let labels = [reference.target];
        let evaluation =
            network.gradient(reference.x0.view().insert_axis(Axis(0)), Objective::CrossEntropy { labels: &labels }).expect("it runs");
        let same = evaluation.grad.iter().zip(&reference.gradient_sign).filter(|(g, s)| g.signum() as i8 == **s).count();
        let share = same as f64 / reference.gradient_sign.len() as f64;
        assert!(share >= 0.999, "{name}: {share}");
    });
}

#[test]
fn ifgsm_reaches_the_same_class_at_the_same_distance() {
    everywhere(|network, reference, name| {
        let params = [("eps", "8/255"), ("alpha", "1/255"), ("steps", "10")].map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec();
        let request = AttackRequest {
            attack: "ifgsm".into(),
            params,
            target: Target::Class(reference.target),
            label: Some(reference.label),
            seed: 0,
            within: None,
        };
        let clean = network.logits(reference.x0.view().insert_axis(Axis(0))).expect("it runs").row(0).to_owned();
        let prepared = run::prepare(&request, Arc::new(reference.x0.clone()), clean.view(), None).expect("a good request");
        assert!(prepared.run(network, &Control::default(), |_| {}).expect("it runs"), "{name}");
        let last = prepared.trace.step(10).expect("recorded");
        assert_eq!(last.predicted, reference.target, "{name}");
        assert!((f64::from(last.l2) / reference.l2 - 1.0).abs() < 0.02, "{name}: {} against {}", last.l2, reference.l2);
    });
}

#[test]
fn exact_ratios_of_a_stored_image_agree() {
    everywhere(|network, reference, name| {
        let problem = psr::Question {
            clean: reference.x0.view(),
            adversarial: reference.adv.view(),
            classes: (reference.label, reference.target),
            grid: Grid::by_count(224, 224, 14).expect("a grid"),
            settings: psr::Settings { floor: 0.1, threshold: 1.0, mode: psr::Mode::Exact },
        };
        let map = psr::evaluate(network, &problem, &mut |_| Ok(())).expect("a map");
        let [s, b, r] = &reference.ratios;
        for (i, cell) in map.cells.iter().enumerate() {
            let cell = cell.expect("evaluated");
            for (ours, theirs) in [(cell.s, s[i]), (cell.b, b[i]), (cell.r, r[i])] {
                assert!((f64::from(ours) - theirs).abs() < 0.02, "{name}, cell {i}: {cell:?} against {theirs}");
            }
        }
    });
}

#[test]
fn raw_maps_agree() {
    everywhere(|network, reference, name| {
        let methods = [Method::Cam, Method::GradCam, Method::LayerCam];
        let mut at = 0;
        for image in [&reference.x0, &reference.adv] {
            for method in methods {
                for class in [reference.label, reference.target] {
                    let map = cam::compute(network, image.view(), method, None, class).expect("a map");
                    let theirs = reference.cams.index_axis(Axis(0), at).to_owned();
                    let d = distance(&map.defined().into_dyn(), &theirs);
                    assert!(d.cosine > 0.9999, "{name}, {method:?} of {class}: {d:?}");
                    at += 1;
                }
            }
        }
    });
}
