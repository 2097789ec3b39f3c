//! Constants searched several at once: the same images as alone, no worse results, fewer calls.

use ndarray::{Array2, Array3, ArrayView4};

use super::{
    ball,
    testing::{Linear, Tape},
    tests::{SHAPE, problem, run, settings},
    *,
};
use crate::core::{
    oracle::{Evaluation, Objective},
    tensor::Norms,
};

/// Writes down the images it is asked about, row by row.
struct Spy {
    model: Linear,
    gradients: Vec<Vec<Array3<f32>>>,
    calls: usize,
}

impl Oracle for Spy {
    fn classes(&self) -> usize {
        self.model.classes()
    }

    fn image_shape(&self) -> [usize; 3] {
        self.model.image_shape()
    }

    fn logits(&mut self, images: ArrayView4<f32>) -> Result<Array2<f32>> {
        self.calls += 1;
        self.model.logits(images)
    }

    fn gradient(&mut self, images: ArrayView4<f32>, objective: Objective) -> Result<Evaluation> {
        self.calls += 1;
        self.gradients.push(images.outer_iter().map(|i| i.to_owned()).collect());
        self.model.gradient(images, objective)
    }

    fn batch(&self) -> usize {
        self.model.batch
    }
}

const SEARCHERS: [&str; 3] = ["cw", "ead", "strattack"];

fn spied(name: &str, batch: usize, given: &[(&str, &str)]) -> (Spy, Outcome, Tape) {
    let (mut model, image) = Linear::random(SHAPE, 4, 0.5, 31);
    model.batch = batch;
    let mut spy = Spy { model, gradients: Vec::new(), calls: 0 };
    let attack = find(name).unwrap();
    let all: Vec<_> = settings(name).iter().chain(given).copied().collect();
    let params = Params::check(attack.params(), all).unwrap();
    let mut tape = Tape::default();
    let outcome = attack.run(&mut spy, &problem(&image, None), &params, &mut tape).unwrap();
    (spy, outcome, tape)
}

#[test]
fn constants_tried_at_once_do_not_influence_each_other() {
    for name in SEARCHERS {
        let (together, _, tape) = spied(name, 4, &[("search", "batched"), ("search-steps", "1"), ("c0", "0.05")]);
        assert_eq!(together.gradients[0].len(), 4, "{name}");
        assert!(tape.term("at once").iter().all(|n| *n == 4.0));
        let first: Vec<_> = together.gradients.iter().take_while(|g| g.len() == 4).collect();
        assert!(first.len() > 20, "{name}");
        for (row, c) in ["0.05", "0.5", "5", "50"].iter().enumerate() {
            let given = [("search", "sequential"), ("search-steps", "1"), ("c0", c)];
            let (alone, ..) = spied(name, 4, &given);
            for (k, (batch, single)) in first.iter().zip(&alone.gradients).enumerate().take(30) {
                assert_eq!(batch[row], single[0], "{name}: c {c}, step {k}");
            }
        }
    }
}

#[test]
fn every_step_of_a_batch_is_the_best_of_its_images() {
    for name in SEARCHERS {
        let (_, outcome, tape) = spied(name, 8, &[("search", "batched")]);
        assert!(outcome.success, "{name}");
        assert_eq!(tape.images[outcome.step], outcome.image, "{name}");
        let params = Params::check(find(name).unwrap().params(), settings(name).iter().copied()).unwrap();
        // log2(9) halvings a round.
        let rounds = (params.int("search-steps") as f64 / 9f64.log2()).ceil() as usize;
        let stages = if name == "strattack" { 2 } else { 1 };
        assert!(tape.images.len() <= params.int("steps") as usize * rounds * stages + 1, "{name}: {}", tape.images.len());
    }
}

#[test]
fn automatic_is_sequential_unless_the_engine_wants_many_images() {
    for name in SEARCHERS {
        let of = |batch, search| {
            let (spy, outcome, tape) = spied(name, batch, &[("search", search)]);
            (spy.calls, outcome.image, tape.images.len())
        };
        let (sequential, auto, on_gpu, batched) = (of(8, "sequential"), of(8, "auto"), of(32, "auto"), of(32, "batched"));
        assert_eq!(sequential, auto, "{name}");
        assert_eq!(on_gpu, batched, "{name}");
        assert!(batched.0 < sequential.0, "{name}: {} calls instead of {}", batched.0, sequential.0);
    }
}

#[test]
fn h3_both_searches_reach_the_boundary() {
    for search in ["sequential", "batched"] {
        let (mut model, image) = Linear::random([1, 4, 4], 2, 0.4, 8);
        model.batch = 8;
        let want = 0.4 / ball::l2(&model.difference(1, 0));
        let given = [("steps", "2000"), ("abort-early", "no"), ("search", search)];
        let (outcome, _) = run("cw", &mut model, &problem(&image, None), &given);
        let l2 = Norms::between(image.view(), outcome.image.view()).unwrap().l2;
        assert!(outcome.success && (l2 / want - 1.0).abs() < 1e-3, "{search}: {l2}, not {want}");
    }
}

#[test]
fn lanes_that_end_early_leave_the_others_going() {
    let (spy, outcome, _) = spied("cw", 8, &[("search", "batched"), ("abort-early", "yes")]);
    assert!(outcome.success);
    let sizes: Vec<usize> = spy.gradients.iter().map(Vec::len).collect();
    assert!(sizes.contains(&8) && sizes.iter().any(|n| *n < 8 && *n > 0), "{sizes:?}");
}

#[test]
fn the_released_strattack_cannot_be_batched() {
    let (mut model, image) = Linear::random(SHAPE, 4, 0.5, 31);
    model.batch = 32;
    let attack = find("strattack").unwrap();
    let params = |search| Params::check(attack.params(), [("variant", "released"), ("search", search), ("steps", "5")]).unwrap();
    let refused = attack.run(&mut model, &problem(&image, None), &params("batched"), &mut Tape::default()).unwrap_err();
    assert!(refused.to_string().contains("search sequential"), "{refused}");
    let mut tape = Tape::default();
    attack.run(&mut model, &problem(&image, None), &params("auto"), &mut tape).unwrap();
    assert!(tape.term("at once").is_empty());
}
