//! The whole path on the bundled model and photo: prediction, attack, maps; and the two engines against each other.

mod common;

use std::sync::Arc;

use common::{engines, lite0, root};
use ndarray::{Array2, Axis};
use psescope::{
    core::{
        attack::scalars,
        explain::{
            cam::{self, Method},
            psr,
        },
        oracle::{Layers as _, Objective, Oracle as _},
    },
    engine::{
        analysis,
        command::{AttackRequest, Target},
        control::Control,
        run,
        subject::{Subject, SubjectOptions},
    },
};

fn subject() -> Subject {
    Subject::open(&root().join("onnx/squeezenet1_1.onnx"), &SubjectOptions::default()).expect("the bundled model opens")
}

fn request(attack: &str, target: Target) -> AttackRequest {
    AttackRequest { attack: attack.into(), params: vec![("steps".into(), "6".into())], target, label: None, seed: 0, within: None }
}

#[test]
fn every_sample_photo_is_recognised_or_close() {
    let subject = subject();
    let manifest: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(root().join("samples/manifest.json")).expect("manifest")).expect("JSON");
    let engine = engines().pop().expect("an engine");
    let mut network = subject.network(&engine).expect("a network");
    let (mut first, mut five, mut all) = (0, 0, 0);
    for entry in manifest.as_array().expect("a list") {
        let image = subject.image(&root().join("samples").join(entry["file"].as_str().expect("a name"))).expect("the photo opens");
        let logits = network.logits(image.view().insert_axis(Axis(0))).expect("it runs");
        let class = entry["imagenet"].as_u64().expect("a class") as usize;
        let top = scalars::top(logits.row(0), 5);
        first += usize::from(top[0].0 == class);
        five += usize::from(top.iter().any(|t| t.0 == class));
        all += 1;
    }
    assert!(first * 10 >= all * 6 && five * 10 >= all * 9, "{first} and {five} of {all}");
}

#[test]
fn an_attack_is_recorded_stepped_and_explained() {
    let subject = subject();
    for engine in engines() {
        let mut network = subject.network(&engine).expect("a network");
        let image = Arc::new(subject.image(&root().join("samples/panda.jpg")).expect("the photo opens"));
        let clean = network.logits(image.view().insert_axis(Axis(0))).expect("it runs").row(0).to_owned();
        assert_eq!(scalars::predicted(clean.view()), 388, "a giant panda");

        let prepared = run::prepare(&request("ifgsm", Target::Second), Arc::clone(&image), clean.view(), None).expect("a good request");
        let success = prepared.run(&mut network, &Control::default(), |_| {}).expect("it runs");
        assert!(success, "six steps of 8/255 reach the runner-up on {}", engine.describe());
        let trace = &prepared.trace;
        assert_eq!(trace.len(), 7);
        assert!(trace.flipped_at().is_some());
        assert!(trace.step(6).expect("recorded").linf <= 8.0 / 255.0 + 1e-6);

        let settings = |mode| psr::Settings { floor: 0.1, threshold: 1.0, mode };
        let mut last = None;
        let asked = analysis::PsrRequest { step: 6, cell: [57, 57], settings: settings(psr::Mode::Exact), known: &[], estimate: None };
        analysis::psr(&mut network, trace, &asked, &mut |map, done| {
            if done {
                last = Some(map.clone());
            }
            Ok(())
        })
        .expect("a map");
        let map = last.expect("published");
        assert!(map.cells.iter().all(Option::is_some));

        let adversarial = trace.frame(6).expect("kept");
        let head = network.linear_head().expect("GAP + linear");
        let cam = cam::compute(&mut network, adversarial.image.view(), Method::Cam, None, 388).expect("a map");
        let logits = network.logits(adversarial.image.view().insert_axis(Axis(0))).expect("it runs");
        let mean = cam.raw.mean().expect("not empty") + head.bias[388];
        assert!((mean - logits[[0, 388]]).abs() < 1e-2, "mean of CAM plus bias is the logit: {mean} against {}", logits[[0, 388]]);
    }
}

#[test]
fn stopping_keeps_what_was_recorded() {
    let subject = subject();
    let engine = engines().remove(0);
    let mut network = subject.network(&engine).expect("a network");
    let image = Arc::new(subject.image(&root().join("samples/panda.jpg")).expect("the photo opens"));
    let clean = network.logits(image.view().insert_axis(Axis(0))).expect("it runs").row(0).to_owned();
    let prepared = run::prepare(&request("ifgsm", Target::Untargeted), image, clean.view(), None).expect("a good request");
    let control = Control::default();
    let stop = control.clone();
    let outcome = prepared.run(&mut network, &control, |index| {
        if index == 2 {
            stop.stop();
        }
    });
    assert!(matches!(outcome, Err(psescope::core::error::Error::Stopped)));
    assert_eq!(prepared.trace.len(), 3);
    assert_eq!(prepared.trace.best(), Some(2));
}

#[test]
fn the_engines_agree() {
    let engines = engines();
    if engines.len() < 2 {
        eprintln!("skipped: only one engine on this machine");
        return;
    }
    let models = [Some(root().join("onnx/squeezenet1_1.onnx")), lite0()];
    for model in models.into_iter().flatten() {
        let subject = Subject::open(&model, &SubjectOptions::default()).expect("the model opens");
        let image = subject.image(&root().join("samples/koala.jpg")).expect("the photo opens");
        let batch = image.view().insert_axis(Axis(0));
        let results: Vec<_> = engines
            .iter()
            .map(|engine| {
                let mut network = subject.network(engine).expect("a network");
                let mut cotangent = Array2::zeros((1, network.classes()));
                cotangent[[0, 105]] = 1.0;
                network.gradient(batch, Objective::Linear { cotangent: cotangent.view() }).expect("it runs")
            })
            .collect();
        let logits = common::distance(&results[0].logits.clone().into_dyn(), &results[1].logits.clone().into_dyn());
        let grad = common::distance(&results[0].grad.clone().into_dyn(), &results[1].grad.clone().into_dyn());
        assert!(logits.relative < 1e-4, "{}: {logits:?}", model.display());
        assert!(grad.cosine > 0.9999, "{}: {grad:?}", model.display());
    }
}
