//! Samples whose answer is known by construction.

use ndarray::{Array2, Array3, Axis};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{rotation::rotate, *};

const IMAGES: usize = 24;

/// Unit k answers uniformly in 0..1 and is moved by `moves[k]`, with a little noise of its own; `f64::NAN` makes it dead.
fn sample(moves: &[f64], seed: u64) -> Sample {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let shape = (IMAGES, moves.len());
    let alive = |k: usize| f64::from(u8::from(!moves[k].is_nan()));
    let clean = Array2::from_shape_fn(shape, |(_, k)| rng.random::<f64>() * alive(k));
    let change = Array2::from_shape_fn(shape, |(_, k)| {
        let jitter = rng.random_range(-0.05..0.05);
        if moves[k].is_nan() { 0.0 } else { moves[k] + jitter }
    });
    let noise = Array2::from_shape_fn(shape, |(_, k)| rng.random_range(0.0..0.05) * alive(k));
    Sample { size: change.mapv(f64::abs), clean, change, noise }
}

fn concepts(iou: impl Iterator<Item = f64>) -> Vec<Option<Concept>> {
    iou.enumerate().map(|(i, iou)| Some(Concept { label: format!("c{i}"), category: ["object", "colour"][i % 2].into(), iou })).collect()
}

#[test]
fn moved_units_are_found_and_dead_ones_left_out() {
    let moves = [0.4, 0.0, -0.4, 0.0, f64::NAN, 0.0];
    let result = analyse(&sample(&moves, 1), &Settings::default());
    assert_eq!((result.tested, result.significant, result.promoted), (5, 2, 1));
    assert!(result.units[4].dead && result.units[4].p.is_none() && result.units[4].sensitivity.is_none());
    assert!(result.units[0].d_z.expect("defined") > 5.0 && result.units[2].d_z.expect("defined") < -5.0);
    assert_eq!(result.units[0].rank_biserial, Some(1.0));
    assert!(result.units[0].q_by.expect("tested") >= result.units[0].q.expect("tested"));
    assert!(result.units[0].p_family.expect("tested") < 0.01 && result.units[1].p_family.expect("tested") > 0.05);
    assert_eq!(result.beyond_noise, 2);
    assert_eq!(result.by_effect[2], 2);
}

#[test]
fn pure_noise_keeps_the_promised_rate() {
    let mut found = 0;
    for seed in 0..20 {
        found += usize::from(analyse(&sample(&[0.0; 40], 100 + seed), &Settings { draws: 50, ..Settings::default() }).significant > 0);
    }
    assert!(found <= 4, "{found} of 20 layers without any effect show one at a rate of 5 %");
}

#[test]
fn association_follows_the_construction() {
    let moves: Vec<f64> = (0..60).map(|k| 0.1 + f64::from(k) / 60.0).collect();
    let sample = sample(&moves, 2);
    let settings = Settings { draws: 300, ..Settings::default() };
    let layer = analyse(&sample, &settings);
    let rising = associate(&layer, &concepts((0..60).map(|k| f64::from(k) * 0.002)), &settings).expect("defined");
    assert!(rising.spearman.r > 0.95 && rising.spearman.p < 1e-10);
    let interval = rising.interval.expect("defined");
    assert!(interval.low > 0.9 && interval.low <= rising.spearman.r && interval.high >= rising.spearman.r);
    let at = rising.thresholds.iter().find(|t| t.iou == 0.04).expect("the convention is among them");
    assert_eq!((at.interpretable, at.other), (40, 20));
    assert!(at.auc.expect("defined") > 0.99);
    assert!(rising.partial.expect("defined").r > 0.9, "activation and firing rate do not explain it");
    assert!(rising.noise.expect("defined").r.abs() < 0.4);
    assert!(rising.categories.expect("two categories").test.p > 0.05, "categories alternate, so they do not differ");
    let falling = associate(&layer, &concepts((0..60).map(|k| 0.2 - f64::from(k) * 0.002)), &settings).expect("defined");
    assert!(falling.spearman.r < -0.95 && falling.thresholds.last().expect("limits").auc.expect("defined") < 0.1);
    assert!(associate(&layer, &concepts((0..60).map(|_| 0.05)), &settings).is_none(), "constant IoU has no rank correlation");
}

#[test]
fn rotation_destroys_what_belongs_to_single_units() {
    let moves: Vec<f64> = (0..60).map(|k| f64::from(k) / 60.0).collect();
    let sample = sample(&moves, 3);
    let labels = concepts((0..60).map(|k| f64::from(k) * 0.002));
    let rotation = rotated_association(&sample, &labels, 20, 5).expect("defined");
    assert!(rotation.mean.abs() < 0.15 && rotation.high < 0.6 && rotation.low > -0.6, "{rotation:?}");
    assert_eq!(rotated_association(&sample, &labels, 20, 5), Some(rotation));
}

#[test]
fn a_rotation_is_orthogonal_and_uniform() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut q = Array2::<f64>::eye(7);
    rotate(&mut q, &mut rng);
    let product = q.dot(&q.t());
    for ((i, j), v) in product.indexed_iter() {
        approx::assert_abs_diff_eq!(*v, f64::from(u8::from(i == j)), epsilon = 1e-12);
    }
    // Every entry of a uniform orthogonal matrix has mean 0 and mean square 1/K.
    let (mut sum, mut squares) = (Array2::<f64>::zeros((3, 3)), Array2::<f64>::zeros((3, 3)));
    for _ in 0..4000 {
        let mut q = Array2::<f64>::eye(3);
        rotate(&mut q, &mut rng);
        squares += &q.mapv(|v| v * v);
        sum += &q;
    }
    assert!(sum.iter().all(|v| (v / 4000.0).abs() < 0.05) && squares.iter().all(|v| (v / 4000.0 - 1.0 / 3.0).abs() < 0.03));
}

#[test]
fn noise_keeps_every_norm_and_loses_the_aim() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let clean = Array3::from_shape_simple_fn((3, 9, 7), || rng.random_range(0.2f32..0.8));
    let delta = Array3::from_shape_simple_fn((3, 9, 7), || if rng.random::<f32>() < 0.5 { 0.0 } else { rng.random_range(-0.1f32..0.1) });
    let noisy = matched_noise(clean.view(), (&clean + &delta).view(), 7);
    let found = &noisy - &clean;
    let norms = |d: &Array3<f32>| {
        let by_pixel = d.mapv(f32::abs).sum_axis(Axis(0));
        [
            by_pixel.iter().filter(|v| **v > 1e-6).count() as f32,
            by_pixel.sum(),
            d.iter().map(|v| v * v).sum::<f32>().sqrt(),
            d.iter().fold(0.0, |m, v| v.abs().max(m)),
        ]
    };
    for (a, b) in norms(&found).iter().zip(norms(&delta)) {
        approx::assert_relative_eq!(*a, b, max_relative = 1e-4);
    }
    let aim = (&found * &delta).sum() / (norms(&delta)[2]).powi(2);
    assert!(aim.abs() < 0.4 && found != delta);
    assert_eq!(matched_noise(clean.view(), (&clean + &delta).view(), 7), noisy);
    let white = Array3::from_elem((3, 9, 7), 1.0f32);
    assert!(matched_noise(white.view(), (&white - 0.1f32).view(), 1).iter().all(|v| (v - 0.9).abs() < 1e-6), "signs turn to stay inside");
}
