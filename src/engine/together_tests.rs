//! Attacks together against attacks alone, on an analytic model.

use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::{Array1, Array3};

use super::*;
use crate::{
    core::attack::{REGISTRY, testing::Linear},
    engine::{
        command::{AttackRequest, Target},
        run::prepare,
    },
};

const SHAPE: [usize; 3] = [3, 8, 8];

/// Counts the calls, and says that it likes many images.
struct Counted(Linear, usize);

impl Oracle for Counted {
    fn classes(&self) -> usize {
        self.0.classes()
    }

    fn image_shape(&self) -> [usize; 3] {
        SHAPE
    }

    fn logits(&mut self, images: ArrayView4<f32>) -> Result<Array2<f32>> {
        self.1 += 1;
        self.0.logits(images)
    }

    fn gradient(&mut self, images: ArrayView4<f32>, objective: Objective) -> Result<Evaluation> {
        self.1 += 1;
        self.0.gradient(images, objective)
    }
}

fn subject() -> (Counted, Arc<Array3<f32>>, Array1<f32>) {
    let (mut model, image) = Linear::random(SHAPE, 6, 0.5, 41);
    let logits = model.logits(image.view().insert_axis(Axis(0))).expect("analytic").row(0).to_owned();
    (Counted(model, 0), Arc::new(image), logits)
}

fn several(attack: &str, targets: &[Target]) -> Vec<Prepared> {
    several_with(attack, &[], targets)
}

fn several_with(attack: &str, extra: &[(&str, &str)], targets: &[Target]) -> Vec<Prepared> {
    let (_, image, logits) = subject();
    let names = crate::core::attack::find(attack).expect("registered").params();
    let small = |n: &str| names.iter().any(|p| p.name == n);
    let params = [("steps", "30"), ("search-steps", "3")].into_iter().filter(|(n, _)| small(n));
    let params: Vec<_> = params.chain(extra.iter().copied()).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let request = |target: &Target| AttackRequest {
        attack: attack.into(),
        params: params.clone(),
        target: target.clone(),
        label: None,
        seed: 3,
        within: None,
    };
    targets.iter().map(|t| prepare(&request(t), Arc::clone(&image), logits.view(), None).expect("sound")).collect()
}

#[test]
fn together_gives_what_each_gives_alone_in_fewer_calls() {
    let targets = [Target::Class(2), Target::Class(4), Target::Untargeted, Target::LeastLikely];
    let plain = REGISTRY.iter().map(|attack| (attack, &[][..]));
    let apgd = REGISTRY.iter().filter(|attack| attack.name() == "apgd").map(|attack| (attack, &[("loss", "dlr")][..]));
    for (attack, extra) in plain.chain(apgd) {
        let (mut model, ..) = subject();
        let alone = several_with(attack.name(), extra, &targets);
        let want: Vec<bool> = alone.iter().map(|p| p.run(&mut model, &Control::default(), |_| {}).expect("runs")).collect();
        let single = model.1;
        let (mut model, ..) = subject();
        let joint = several_with(attack.name(), extra, &targets);
        let steps = AtomicUsize::new(0);
        let got = run(&joint, &mut model, &Control::default(), |_, _| {
            steps.fetch_add(1, Ordering::Relaxed);
        });
        let got: Vec<bool> = got.into_iter().map(|r| r.expect("runs")).collect();
        assert_eq!(got, want, "{}", attack.name());
        assert!(model.1 < single, "{}: {} calls instead of {single}", attack.name(), model.1);
        for (a, b) in alone.iter().zip(&joint) {
            assert_eq!(a.trace.len(), b.trace.len(), "{}", attack.name());
            let image = |p: &Prepared| p.trace.frame(p.trace.best().expect("ended")).expect("kept").image.clone();
            assert_eq!(image(a), image(b), "{} {:?}", attack.name(), a.problem.target);
        }
        assert_eq!(steps.into_inner(), joint.iter().map(|p| p.trace.len()).sum::<usize>());
    }
}

#[test]
fn stopping_and_failing_reach_every_attack() {
    let runs = several("cw", &[Target::Class(1), Target::Class(2), Target::Class(3)]);
    let control = Control::default();
    let (mut model, ..) = subject();
    let ended = run(&runs, &mut model, &control, |_, step| {
        if step == 2 {
            control.stop();
        }
    });
    assert!(ended.iter().all(|r| matches!(r, Err(Error::Stopped))));
    assert!(runs.iter().all(|p| !p.trace.is_empty() && p.trace.len() < 10));

    struct Broken(Linear);
    impl Oracle for Broken {
        fn classes(&self) -> usize {
            6
        }
        fn image_shape(&self) -> [usize; 3] {
            SHAPE
        }
        fn logits(&mut self, images: ArrayView4<f32>) -> Result<Array2<f32>> {
            self.0.logits(images)
        }
        fn gradient(&mut self, _: ArrayView4<f32>, _: Objective) -> Result<Evaluation> {
            Err(Error::Engine("out of memory".into()))
        }
    }
    let runs = several("pgd", &[Target::Class(1), Target::Class(2)]);
    let ended = run(&runs, &mut Broken(subject().0.0), &Control::default(), |_, _| {});
    assert!(ended.iter().all(|r| matches!(r, Err(Error::Engine(text)) if text == "out of memory")));
}

#[test]
fn nine_thousand_steps_stay_within_the_frames_budget() {
    let (mut model, image, logits) = subject();
    let params = [("steps", "1000"), ("search-steps", "9")].map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec();
    let request = AttackRequest { attack: "cw".into(), params, target: Target::Class(3), label: None, seed: 0, within: None };
    let budget = 64 << 10;
    let prepared = prepare(&request, Arc::clone(&image), logits.view(), None).expect("sound").with_budget(budget);
    assert!(prepared.run(&mut model, &Control::default(), |_| {}).expect("runs"));
    let trace = &prepared.trace;
    // One more when the best image's frame was dropped before it was known to be the result.
    assert!((9000..=9001).contains(&trace.len()));
    let bytes = trace.frames().len() * image.len() * 2 * size_of::<f32>();
    assert!(bytes <= budget + budget / 8, "{bytes} bytes of frames");
    let best = trace.best().expect("ended");
    let (frame, record) = (trace.frame(best).expect("the best is kept"), trace.step(best).expect("recorded"));
    assert_eq!(record.predicted, 3);
    assert!(
        (crate::core::tensor::Norms::between(image.view(), frame.image.view()).expect("same shape").l2 - f64::from(record.l2)).abs() < 1e-5
    );
    assert!(trace.frame(0).is_some() && trace.frame(trace.len() - 1).is_some());
}
