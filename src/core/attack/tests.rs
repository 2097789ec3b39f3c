//! Attacks on analytic models: what every registered attack must do, and the closed forms of method report H.3 to H.9.

use approx::assert_abs_diff_eq;
use ndarray::{Array1, Array2, Array3, Zip, array};

use super::{
    testing::{Linear, Tape},
    *,
};
use crate::core::{error::Error, tensor::Norms};

pub(super) fn problem(image: &Array3<f32>, target: Option<usize>) -> Problem {
    Problem { image: image.clone(), label: 0, target, mask: None, seed: 7 }
}

pub(super) fn run(name: &str, model: &mut Linear, problem: &Problem, given: &[(&str, &str)]) -> (Outcome, Tape) {
    let attack = find(name).unwrap();
    let params = Params::check(attack.params(), given.iter().copied()).unwrap();
    let mut tape = Tape::default();
    let outcome = attack.run(model, problem, &params, &mut tape).unwrap();
    assert!(tape.images.len() <= attack.steps(&params), "{name}: {} steps, announced {}", tape.images.len(), attack.steps(&params));
    assert_eq!(tape.images[outcome.step], outcome.image, "{name}: the outcome's step shows another image");
    assert_eq!(tape.logits[outcome.step], outcome.logits, "{name}");
    (outcome, tape)
}

pub(super) fn settings(name: &str) -> &'static [(&'static str, &'static str)] {
    match name {
        "strattack" => &[("group", "2"), ("tau", "0.1"), ("gamma", "0.1"), ("steps", "40"), ("search-steps", "4")],
        "cw" | "ead" => &[("steps", "200"), ("search-steps", "6"), ("c0", "0.1")],
        _ => &[],
    }
}

pub(super) const SHAPE: [usize; 3] = [3, 8, 8];

#[test]
fn registry_tables_are_sound() {
    let mut names: Vec<&str> = REGISTRY.iter().map(|a| a.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), REGISTRY.len());
    for attack in REGISTRY {
        Params::check(attack.params(), []).unwrap();
        assert!(attack.summary().ends_with('.'));
        for spec in attack.params() {
            assert!(spec.help.ends_with('.'), "{} {}", attack.name(), spec.name);
        }
    }
    assert!(find("ifgsm").is_some() && find("nothing").is_none());
}

#[test]
fn every_attack_fools_the_linear_model_within_its_norm() {
    for attack in REGISTRY {
        let name = attack.name();
        for target in [None, Some(2)] {
            let (mut model, image) = Linear::random(SHAPE, 5, 0.5, 1);
            let (outcome, tape) = run(name, &mut model, &problem(&image, target), settings(name));
            assert!(outcome.success, "{name} {target:?}");
            let predicted = scalars::predicted(outcome.logits.view());
            assert!(target.map_or(predicted != 0, |t| predicted == t), "{name} {target:?}: {predicted}");
            assert!(outcome.image.iter().all(|v| (0.0..=1.0).contains(v)), "{name}");
            let norms = Norms::between(image.view(), outcome.image.view()).unwrap();
            let params = Params::check(attack.params(), settings(name).iter().copied()).unwrap();
            if attack.params().iter().any(|p| p.name == "eps") {
                assert!(norms.linf <= params.float("eps") + 1e-6, "{name}: {norms:?}");
            }
            if !attack.params().iter().any(|p| p.name == "random-start") || !params.flag("random-start") {
                assert_eq!(tape.images[0], image, "{name}: the first step is not the start");
            }
        }
    }
}

#[test]
fn every_attack_respects_the_mask() {
    for attack in REGISTRY {
        let name = attack.name();
        let (mut model, image) = Linear::random(SHAPE, 4, 0.3, 2);
        let mask = Array2::from_shape_fn((8, 8), |(y, _)| f32::from(y < 5));
        let masked = Problem { mask: Some(mask), ..problem(&image, None) };
        let (outcome, tape) = run(name, &mut model, &masked, settings(name));
        assert!(outcome.success, "{name}");
        for step in &tape.images {
            for ((c, y, x), v) in step.indexed_iter() {
                assert!(y < 5 || v.to_bits() == image[(c, y, x)].to_bits(), "{name}: pixel {y},{x} moved");
            }
        }
    }
}

#[test]
fn same_seed_same_result_and_stopping() {
    for attack in REGISTRY {
        let name = attack.name();
        let once = |seed| {
            let (mut model, image) = Linear::random(SHAPE, 4, 0.5, 3);
            run(name, &mut model, &Problem { seed, ..problem(&image, None) }, settings(name)).0.image
        };
        assert_eq!(once(5), once(5), "{name}");
        let (mut model, image) = Linear::random(SHAPE, 4, 0.5, 3);
        let params = Params::check(attack.params(), settings(name).iter().copied()).unwrap();
        let mut tape = Tape { limit: Some(1), ..Tape::default() };
        let stopped = attack.run(&mut model, &problem(&image, None), &params, &mut tape);
        assert!(matches!(stopped, Err(Error::Stopped)), "{name}");
    }
    let pgd = |seed| {
        let (mut model, image) = Linear::random(SHAPE, 4, 50.0, 3);
        run("pgd", &mut model, &Problem { seed, ..problem(&image, None) }, &[("steps", "1")]).0.image
    };
    assert_ne!(pgd(1), pgd(2));
}

#[test]
fn every_attack_survives_a_model_without_gradient() {
    for attack in REGISTRY {
        let name = attack.name();
        let mut model = Linear::new(SHAPE, Array2::zeros((4, 192)), array![1.5, 0.0, -1.0, 0.5]);
        let image = Array3::from_elem(SHAPE, 0.5);
        let (outcome, _) = run(name, &mut model, &problem(&image, None), settings(name));
        assert!(!outcome.success && outcome.image.iter().all(|v| v.is_finite()), "{name}");
    }
}

#[test]
fn bad_problems_are_refused() {
    let (mut model, image) = Linear::random(SHAPE, 4, 0.5, 3);
    for attack in REGISTRY {
        let params = Params::check(attack.params(), []).unwrap();
        let mut refuse = |p: Problem| attack.run(&mut model, &p, &params, &mut Tape::default()).map(|_| ()).unwrap_err().to_string();
        assert!(refuse(problem(&image, Some(0))).contains("true class"));
        assert!(refuse(problem(&image, Some(9))).contains("0 to 3"));
        assert!(refuse(problem(&Array3::zeros((3, 4, 4)), None)).contains("shape"));
        assert!(refuse(problem(&(&image * 3.0), None)).contains("0..1"));
        assert!(refuse(Problem { mask: Some(Array2::ones((2, 2))), ..problem(&image, None) }).contains("mask"));
    }
    let mut flat = Linear::new(SHAPE, Array2::zeros((2, 192)), array![0.75, 0.25]);
    for name in ["cw", "ead", "strattack"] {
        let attack = find(name).unwrap();
        let params = Params::check(attack.params(), []).unwrap();
        let text = attack.run(&mut flat, &problem(&image, None), &params, &mut Tape::default()).unwrap_err().to_string();
        assert!(text.contains("probabilities"), "{name}: {text}");
    }
}

#[test]
fn h9_linf_reaches_the_corner() {
    let eps = 8.0f32 / 255.0;
    for name in ["ifgsm", "pgd", "mifgsm"] {
        let (mut model, image) = Linear::random(SHAPE, 2, 1.0, 4);
        let w = model.difference(1, 0);
        let (outcome, tape) = run(name, &mut model, &problem(&image, None), &[("steps", "20"), ("random-start", "no")]);
        let want = Zip::from(&image).and(&w).map_collect(|x, w| (x + eps * ball::sign(*w)).clamp(0.0, 1.0));
        assert_abs_diff_eq!(outcome.image.as_slice().unwrap(), want.as_slice().unwrap(), epsilon = 1e-6);
        // The margin grows by eps ||w||_1.
        let margin = |z: &Array1<f32>| z[1] - z[0];
        let gain = margin(&outcome.logits) - margin(&tape.logits[0]);
        assert_abs_diff_eq!(gain, eps * w.iter().map(|v| v.abs()).sum::<f32>(), epsilon = 1e-3);
        let (targeted, _) = run(name, &mut model, &problem(&image, Some(1)), &[("steps", "20"), ("random-start", "no")]);
        assert_abs_diff_eq!(targeted.image.as_slice().unwrap(), want.as_slice().unwrap(), epsilon = 1e-6);
    }
}

#[test]
fn h9_l2_reaches_the_sphere() {
    let (mut model, image) = Linear::random(SHAPE, 2, 1.0, 5);
    let w = model.difference(1, 0);
    let unit = w.mapv(|v| v / ball::l2(&w) as f32);
    let (outcome, _) = run("ifgsm", &mut model, &problem(&image, None), &[("norm", "l2"), ("eps", "0.5"), ("alpha", "0.1")]);
    let want = &image + &(&unit * 0.5);
    assert_abs_diff_eq!(outcome.image.as_slice().unwrap(), want.as_slice().unwrap(), epsilon = 1e-5);
    // Shorter than eps stays as it is.
    let (short, _) = run("ifgsm", &mut model, &problem(&image, None), &[("norm", "l2"), ("eps", "5"), ("alpha", "0.1"), ("steps", "2")]);
    assert_abs_diff_eq!(Norms::between(image.view(), short.image.view()).unwrap().l2, 0.2, epsilon = 1e-5);
}

#[test]
fn smallest_eps_is_found_both_ways() {
    let (mut model, image) = Linear::random(SHAPE, 2, 1.0, 6);
    let needed = 1.0 / model.difference(1, 0).iter().map(|v| f64::from(v.abs())).sum::<f64>();
    let want = (needed / 0.001).ceil() * 0.001;
    for how in ["grid", "bisect"] {
        let (outcome, _) = run("ifgsm", &mut model, &problem(&image, None), &[("smallest-eps", how), ("eps", "0.1")]);
        let linf = Norms::between(image.view(), outcome.image.view()).unwrap().linf;
        assert!(outcome.success);
        assert_abs_diff_eq!(linf, want, epsilon = 1e-6);
    }
    let params = Params::check(find("ifgsm").unwrap().params(), [("smallest-eps", "grid"), ("eps", "0.0001")]).unwrap();
    assert!(find("ifgsm").unwrap().run(&mut model, &problem(&image, None), &params, &mut Tape::default()).is_err());
}

#[test]
fn smallest_eps_goes_up_the_published_grid() {
    // L2 in steps of 0.01, ten steps of eps/10 each, up from the smallest: the first that works ends the search.
    let (mut model, image) = Linear::random(SHAPE, 2, 1.0, 6);
    let needed = 1.0 / ball::l2(&model.difference(1, 0));
    let cells = (needed / 0.01).ceil() as usize;
    assert!(cells > 1);
    let given = [("smallest-eps", "grid"), ("norm", "l2"), ("eps", "1")];
    let (outcome, tape) = run("ifgsm", &mut model, &problem(&image, None), &given);
    assert_eq!(tape.images.len(), cells * 11);
    for (i, eps) in tape.term("eps").iter().enumerate() {
        assert_abs_diff_eq!(*eps, (i / 11 + 1) as f32 * 0.01, epsilon = 1e-6);
    }
    let second = Norms::between(image.view(), tape.images[1].view()).unwrap().l2;
    assert_abs_diff_eq!(second, 0.001, epsilon = 1e-6);
    assert_abs_diff_eq!(Norms::between(image.view(), outcome.image.view()).unwrap().l2, cells as f64 * 0.01, epsilon = 1e-5);
    assert!(outcome.success);
}

#[test]
fn h3_cw_finds_the_distance_to_the_boundary() {
    for kappa in ["0", "0.2"] {
        let (mut model, image) = Linear::random([1, 4, 4], 2, 0.4, 8);
        let length = ball::l2(&model.difference(1, 0));
        let want = (0.4 + kappa.parse::<f64>().unwrap()) / length;
        let given = [("steps", "3000"), ("abort-early", "no"), ("kappa", kappa)];
        let (outcome, _) = run("cw", &mut model, &problem(&image, None), &given);
        let l2 = Norms::between(image.view(), outcome.image.view()).unwrap().l2;
        assert!(outcome.success && (l2 / want - 1.0).abs() < 1e-3, "kappa {kappa}: {l2}, not {want}");
    }
}

#[test]
fn cw_moves_saturated_pixels() {
    let (mut model, _) = Linear::random([1, 4, 4], 2, 0.4, 8);
    let image = Array3::from_shape_fn((1, 4, 4), |(_, y, x)| f32::from((x + y) % 2 == 0));
    let z = model.logits(image.view().insert_axis(ndarray::Axis(0))).unwrap();
    model.bias[0] += 0.4 - (z[(0, 0)] - z[(0, 1)]);
    let (outcome, _) = run("cw", &mut model, &problem(&image, None), &[("steps", "2000")]);
    assert!(outcome.success);
}

#[test]
fn h3_multi_class_distance() {
    for (name, slack) in [("cw", 1.005), ("deepfool", 1.03)] {
        let (mut model, image) = Linear::random(SHAPE, 6, 0.5, 9);
        let nearest = (1..6).map(|j| 0.5 * j as f64 / ball::l2(&model.difference(j, 0))).fold(f64::INFINITY, f64::min);
        let given: &[(&str, &str)] = if name == "cw" { &[("steps", "1000"), ("abort-early", "no"), ("lr", "0.001")] } else { &[] };
        let (outcome, _) = run(name, &mut model, &problem(&image, None), given);
        let l2 = Norms::between(image.view(), outcome.image.view()).unwrap().l2;
        assert!(l2 >= nearest * 0.999 && l2 <= nearest * slack, "{name}: {l2}, not {nearest}");
    }
}

/// A two-class model whose hinge stays active (kappa is never reached), so that the optimum of one c is known.
pub(super) fn active(shape: [usize; 3], seed: u64) -> (Linear, Array3<f32>, Array3<f32>) {
    let (mut model, image) = Linear::random(shape, 2, 5.0, seed);
    model.weights *= 0.1;
    let z = model.logits(image.view().insert_axis(ndarray::Axis(0))).unwrap();
    model.bias[1] += z[(0, 0)] - z[(0, 1)] - 5.0;
    let w = model.difference(1, 0);
    (model, image, w)
}

#[test]
fn h4_ead_prox_solves_the_elastic_net() {
    let (mut model, image, w) = active([1, 4, 4], 10);
    let given = [("steps", "4000"), ("search-steps", "1"), ("c0", "2"), ("kappa", "100"), ("beta", "0.1"), ("shrink", "prox")];
    let (outcome, tape) = run("ead", &mut model, &problem(&image, None), &given);
    assert_eq!(outcome.step + 1, tape.images.len());
    for ((got, x), w) in outcome.image.iter().zip(&image).zip(&w) {
        let want = ball::sign(*w) * ((2.0 * w).abs() / 2.0 - 0.05).max(0.0);
        assert_abs_diff_eq!(got - x, want, epsilon = 2e-5);
    }
}

#[test]
fn c2_published_shrinkage_at_a_constant_step_weighs_l1_by_beta_over_lr() {
    // beta/lr, and nothing: a projected gradient descent.
    for (beta, weight) in [("0.002", 0.2), ("0", 0.0)] {
        let (mut model, image, w) = active([1, 4, 4], 10);
        let given =
            [("steps", "4000"), ("search-steps", "1"), ("c0", "2"), ("kappa", "100"), ("beta", beta), ("lr", "0.01"), ("decay", "none")];
        let (outcome, _) = run("ead", &mut model, &problem(&image, None), &given);
        let mut zeros = 0;
        for ((got, x), w) in outcome.image.iter().zip(&image).zip(&w) {
            let change = ball::sign(*w) * ((2.0 * w).abs() / 2.0 - weight / 2.0).max(0.0);
            zeros += usize::from(change == 0.0);
            assert_abs_diff_eq!(*got, (x + change).clamp(0.0, 1.0), epsilon = 2e-5);
        }
        assert_eq!(zeros > 0, weight > 0.0, "the weight decides nothing here");
    }
}

#[test]
fn h4_large_beta_does_nothing_and_fails() {
    let (mut model, image) = Linear::random(SHAPE, 3, 0.5, 11);
    let (outcome, _) = run("ead", &mut model, &problem(&image, None), &[("beta", "100"), ("search-steps", "3"), ("steps", "20")]);
    assert!(!outcome.success);
    assert_eq!(outcome.image, image);
}

#[test]
fn ead_l1_rule_changes_fewer_pixels_than_cw() {
    let (mut model, image) = Linear::random(SHAPE, 3, 0.5, 12);
    let changed = |o: &Outcome| Norms::between(image.view(), o.image.view()).unwrap();
    let ead = changed(&run("ead", &mut model, &problem(&image, None), &[("rule", "l1"), ("beta", "0.01")]).0);
    let cw = changed(&run("cw", &mut model, &problem(&image, None), &[("steps", "300")]).0);
    assert!(ead.l0 < cw.l0 && ead.l1 < cw.l1 && ead.l2 > cw.l2, "{ead:?} {cw:?}");
}

#[test]
fn h6_strattack_closed_forms() {
    let (c, tau) = (1.5f32, 0.15f32);
    for (mode, gamma) in [("exact", 1.0f32), ("released", 2.0)] {
        let (mut model, image, w) = active([3, 4, 4], 13);
        let given = [
            ("steps", "3000"),
            ("search-steps", "1"),
            ("c0", "1.5"),
            ("kappa", "100"),
            ("tau", "0.15"),
            ("gamma", "1"),
            ("group", "2"),
            ("variant", mode),
        ];
        let (outcome, _) = run("strattack", &mut model, &problem(&image, None), &given);
        let d = &outcome.image - &image;
        let mut dropped = 0;
        for window in groups::Groups::new(4, 4, 2, 2, true).windows() {
            let length = window.length(&w) as f32;
            let factor = (1.0 - tau / (c * length)).max(0.0);
            dropped += usize::from(factor == 0.0);
            for channel in 0..3 {
                for (y, x) in [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(y, x)| (window.top + y, window.left + x)) {
                    let want = c * w[(channel, y, x)] / (2.0 * gamma) * factor;
                    assert_abs_diff_eq!(d[(channel, y, x)], want, epsilon = 2e-4);
                }
            }
        }
        assert!(dropped < 4);
    }
}

#[test]
fn h6_without_groups_it_is_a_clipped_ridge() {
    let (mut model, image, w) = active([1, 4, 4], 14);
    let given = [("steps", "3000"), ("search-steps", "1"), ("c0", "8"), ("kappa", "100"), ("tau", "0"), ("gamma", "1"), ("group", "2")];
    let (outcome, _) = run("strattack", &mut model, &problem(&image, None), &given);
    for ((got, x), w) in outcome.image.iter().zip(&image).zip(&w) {
        assert_abs_diff_eq!(*got, (x + 4.0 * w).clamp(0.0, 1.0), epsilon = 3e-4);
    }
}

#[test]
fn overlapping_groups_reach_the_optimum() {
    let (mut model, image, w) = active([1, 6, 6], 15);
    let given = [
        ("steps", "4000"),
        ("search-steps", "1"),
        ("c0", "2"),
        ("kappa", "100"),
        ("tau", "0.1"),
        ("gamma", "1"),
        ("group", "3"),
        ("stride", "2"),
    ];
    let (outcome, _) = run("strattack", &mut model, &problem(&image, None), &given);
    let groups = groups::Groups::new(6, 6, 3, 2, true);
    assert_eq!(groups.classes.len(), 4);
    let objective = |d: &Array3<f32>| {
        let squares: f64 = d.iter().map(|v| f64::from(*v).powi(2)).sum();
        let linear: f64 = d.iter().zip(&w).map(|(d, w)| f64::from(*d) * f64::from(*w)).sum();
        squares - 2.0 * linear + 0.1 * groups.lengths(d).0
    };
    let d = &outcome.image - &image;
    let best = objective(&d);
    assert!(best < -1e-3);
    for i in 0..36 {
        for h in [-0.01f32, 0.01] {
            let mut moved = d.clone();
            moved[(0, i / 6, i % 6)] += h;
            assert!(objective(&moved) > best - 2e-5, "pixel {i} {h}: {} {best}", objective(&moved));
        }
    }
}

#[test]
fn b4_classes_of_disjoint_windows_beat_the_last_writer() {
    // 7 pixels, windows of 3 every 2: all are whole, so that both variants mean the same groups. Released counts gamma twice.
    let (_, image, w) = active([1, 7, 7], 15);
    let groups = groups::Groups::new(7, 7, 3, 2, false);
    let objective = |variant: &str, gamma: &str| {
        let (mut model, ..) = active([1, 7, 7], 15);
        let given = [
            ("steps", "4000"),
            ("search-steps", "1"),
            ("c0", "2"),
            ("kappa", "100"),
            ("tau", "0.1"),
            ("gamma", gamma),
            ("group", "3"),
            ("stride", "2"),
            ("variant", variant),
            ("refine", "no"),
        ];
        let d = run("strattack", &mut model, &problem(&image, None), &given).0.image - &image;
        let squares: f64 = d.iter().map(|v| f64::from(*v).powi(2)).sum();
        let linear: f64 = d.iter().zip(&w).map(|(d, w)| f64::from(*d) * f64::from(*w)).sum();
        squares - 2.0 * linear + 0.1 * groups.lengths(&d).0
    };
    let (exact, released) = (objective("exact", "1"), objective("released", "0.5"));
    assert!(exact < released - 1e-4, "{exact} against {released}");
}

#[test]
fn strattack_stops_when_its_residuals_are_small() {
    let (_, image, w) = active([3, 4, 4], 13);
    let result = |tolerance: &str| {
        let (mut model, ..) = active([3, 4, 4], 13);
        let given = [
            ("steps", "3000"),
            ("search-steps", "1"),
            ("c0", "1.5"),
            ("kappa", "100"),
            ("tau", "0.15"),
            ("group", "2"),
            ("refine", "no"),
            ("tolerance", tolerance),
        ];
        run("strattack", &mut model, &problem(&image, None), &given)
    };
    let (full, _) = result("0");
    let (early, tape) = result("1e-3");
    assert!(tape.images.len() < 2000, "{} steps", tape.images.len());
    let (primal, dual) = (tape.term("primal residual"), tape.term("dual residual"));
    assert_eq!((primal.len(), dual.len()), (tape.images.len() - 1, tape.images.len() - 1));
    assert!(primal[0].max(dual[0]) > 0.01 && primal.last().unwrap().max(*dual.last().unwrap()) < 1e-3);
    assert_abs_diff_eq!(early.image.as_slice().unwrap(), full.image.as_slice().unwrap(), epsilon = 1e-2);
    assert!(w.iter().any(|w| *w != 0.0) && early.image != image);
}

#[test]
fn refinement_lowers_l2_and_adds_no_pixel() {
    for mode in ["exact", "released"] {
        let (mut model, image) = Linear::random(SHAPE, 4, 1.0, 16);
        let result = |model: &mut Linear, refine| {
            let given = [
                ("group", "2"),
                ("tau", "0.3"),
                ("gamma", "0.1"),
                ("steps", "60"),
                ("search-steps", "5"),
                ("variant", mode),
                ("refine", refine),
            ];
            let outcome = run("strattack", model, &problem(&image, None), &given).0;
            assert!(outcome.success, "{mode} {refine}");
            Norms::between(image.view(), outcome.image.view()).unwrap()
        };
        let (plain, refined) = (result(&mut model, "no"), result(&mut model, "yes"));
        assert!(refined.l2 <= plain.l2 && refined.l0 <= plain.l0, "{mode}: {plain:?} {refined:?}");
        assert!(refined.l0 < 64, "{mode}: {refined:?}");
    }
}

#[test]
fn apgd_reaches_the_corner_and_dlr_works() {
    let (mut model, image) = Linear::random(SHAPE, 5, 1.0, 17);
    for (loss, target) in [("ce", None), ("dlr", None), ("dlr", Some(3))] {
        let (outcome, tape) = run("apgd", &mut model, &problem(&image, target), &[("loss", loss), ("eps", "0.1"), ("restarts", "2")]);
        assert!(outcome.success, "{loss} {target:?}");
        assert_eq!(tape.images.len(), 202);
    }
    let (mut pair, image) = Linear::random(SHAPE, 2, 1.0, 18);
    let w = pair.difference(1, 0);
    let (outcome, _) = run("apgd", &mut pair, &problem(&image, None), &[("eps", "0.05")]);
    let gained: f32 = outcome.image.iter().zip(&image).zip(&w).map(|((a, x), w)| (a - x) * w).sum();
    assert!(gained > 0.999 * 0.05 * w.iter().map(|v| v.abs()).sum::<f32>());
    let (early, tape) = run("apgd", &mut pair, &problem(&image, None), &[("eps", "0.05"), ("until-success", "yes")]);
    assert!(early.success && tape.images.len() < 100);
    let dlr = Params::check(find("apgd").unwrap().params(), [("loss", "dlr")]).unwrap();
    assert!(find("apgd").unwrap().run(&mut pair, &problem(&image, None), &dlr, &mut Tape::default()).is_err());
}

#[test]
fn losses_are_those_of_the_recorded_images() {
    let (mut model, image) = Linear::random(SHAPE, 3, 0.5, 19);
    let (_, tape) = run("ifgsm", &mut model, &problem(&image, None), &[]);
    assert_eq!(tape.images.len(), 11);
    for ((image, z), loss) in tape.images.iter().zip(&tape.logits).zip(&tape.losses) {
        let own = model.logits(image.view().insert_axis(ndarray::Axis(0))).unwrap();
        assert_eq!(own.row(0), z.view());
        assert_abs_diff_eq!(*loss, scalars::cross_entropy(z.view(), 0) as f32, epsilon = 1e-6);
    }
    assert!(tape.losses.windows(2).all(|w| w[1] > w[0]));
}
