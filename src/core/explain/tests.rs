//! Explanations on analytic models: the fixtures of method report H.1 and H.2.

use approx::assert_abs_diff_eq;
use ndarray::{Array1, Array2, Array3, array};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    cam::{self, Method},
    psr::{self, Grid, Kind, Mode, Question, Settings},
};
use crate::core::{
    attack::testing::{Linear, Pooled},
    error::Error,
    oracle::Oracle,
};

fn h1() -> (Linear, Array3<f32>, Array3<f32>) {
    let weights = array![[1.0f32, -2.0, 0.5, 0.0], [0.0, 1.0, 1.0, -1.0], [0.3, 0.3, 0.3, 0.3]];
    let clean = Array3::from_elem((1, 1, 4), 0.5f32);
    let adversarial = &clean + &array![[[-0.4f32, 0.3, 0.2, -0.1]]];
    (Linear::new([1, 1, 4], weights, array![0.7, -0.2, 0.1]), clean, adversarial)
}

fn question<'a>(clean: &'a Array3<f32>, adversarial: &'a Array3<f32>, mode: Mode, cell: usize) -> Question<'a> {
    let (_, h, w) = clean.dim();
    let settings = Settings { mode, ..Settings::default() };
    Question { clean: clean.view(), adversarial: adversarial.view(), classes: (0, 1), grid: Grid::square(h, w, cell).unwrap(), settings }
}

#[test]
fn h1_every_mode_is_exact_on_a_linear_model() {
    for mode in [Mode::Exact, Mode::Linear, Mode::Path] {
        for batch in [1, 3] {
            let (mut model, clean, adversarial) = h1();
            model.batch = batch;
            let map = psr::evaluate(&mut model, &question(&clean, &adversarial, mode, 1), &mut |_| Ok(())).unwrap();
            assert!(map.is_complete() && map.settings.mode == mode);
            let cells: Vec<_> = map.evaluated().copied().collect();
            for (cell, (s, b, r)) in cells.iter().zip([(0.4, 0.0, -2.0), (0.6, 0.3, -1.0), (-0.1, 0.2, 1.0), (0.0, 0.1, 0.0)]) {
                assert_abs_diff_eq!(cell.s_raw, s, epsilon = 1e-6);
                assert_abs_diff_eq!(cell.b_raw, b, epsilon = 1e-6);
                assert_abs_diff_eq!(cell.r, r, epsilon = 1e-5);
            }
            let kinds: Vec<Kind> = cells.iter().map(|c| c.kind).collect();
            assert_eq!(kinds[..3], [Kind::Suppression, Kind::Balanced, Kind::Balanced]);
            let (s, b) = map.totals();
            assert_abs_diff_eq!(s, 0.9, epsilon = 1e-6);
            assert_abs_diff_eq!(b, 0.6, epsilon = 1e-6);
            let z = |x: &Array3<f32>| model.weights.dot(&x.iter().copied().collect::<Array1<f32>>()) + &model.bias;
            let whole = map.whole(z(&clean).view(), z(&adversarial).view());
            assert_eq!(whole.kind, Kind::Balanced);
            let gap = map.additivity_gap(&whole);
            assert!(gap.0.abs() < 1e-6 && gap.1.abs() < 1e-6);
        }
    }
}

#[test]
fn swapping_classes_and_negating_d_negates_every_ratio() {
    let (mut model, clean, adversarial) = h1();
    let map = psr::evaluate(&mut model, &question(&clean, &adversarial, Mode::Exact, 1), &mut |_| Ok(())).unwrap();
    let negated = &clean - &(&adversarial - &clean);
    let swapped = Question { classes: (1, 0), ..question(&clean, &negated, Mode::Exact, 1) };
    let other = psr::evaluate(&mut model, &swapped, &mut |_| Ok(())).unwrap();
    for (a, b) in map.evaluated().zip(other.evaluated()) {
        assert_abs_diff_eq!(a.r, -b.r, epsilon = 1e-4);
    }
}

#[test]
fn untouched_cells_cost_nothing_and_progress_can_stop() {
    let (model, clean) = Linear::random([3, 6, 6], 4, 1.0, 3);
    let mut model = Linear { batch: 2, ..model };
    let mut adversarial = clean.clone();
    adversarial.slice_mut(ndarray::s![.., 0..2, ..]).mapv_inplace(|v| v + 0.1);
    let ask = question(&clean, &adversarial, Mode::Exact, 2);
    let mut seen = Vec::new();
    let map = psr::evaluate(&mut model, &ask, &mut |m| {
        seen.push(m.evaluated().count());
        Ok(())
    })
    .unwrap();
    assert_eq!((map.forwards, model.calls), (4, (4, 0)));
    assert_eq!(seen, [8, 9]);
    assert_eq!(map.shares().inert, map.evaluated().filter(|c| c.kind == Kind::Inert).count() as f32 / 9.0);
    let stopped = psr::evaluate(&mut model, &ask, &mut |_| Err(Error::Stopped));
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert_eq!(model.calls.0, 4 + 3);
    let nothing = psr::evaluate(&mut model, &question(&clean, &clean, Mode::Exact, 2), &mut |_| Ok(())).unwrap();
    assert_eq!((nothing.shares().inert, nothing.forwards), (1.0, 1));
}

#[test]
fn meaningless_questions_are_refused() {
    let (mut model, clean, adversarial) = h1();
    let ask = question(&clean, &adversarial, Mode::Exact, 1);
    let mut refuse = |q: Question| psr::evaluate(&mut model, &q, &mut |_| Ok(())).map(|_| ()).unwrap_err().to_string();
    assert!(refuse(Question { classes: (1, 1), ..ask }).contains("two classes"));
    assert!(refuse(Question { classes: (0, 7), ..ask }).contains("0 to 2"));
    assert!(refuse(Question { settings: Settings { floor: 0.0, ..ask.settings }, ..ask }).contains("floor"));
    assert!(refuse(Question { grid: Grid::square(2, 4, 1).unwrap(), ..ask }).contains("grid"));
    let other = Array3::zeros((1, 2, 2));
    assert!(refuse(Question { adversarial: other.view(), ..ask }).contains("shape"));
}

#[test]
fn orders_visit_every_cell_once() {
    for (h, w, cell) in [(7, 9, 1), (10, 4, 3), (5, 5, 9)] {
        let grid = Grid::square(h, w, cell).unwrap();
        let mut order = psr::coarse_to_fine(&grid);
        if grid.len() > 4 {
            assert_ne!(order, (0..grid.len()).collect::<Vec<_>>());
        }
        order.sort_unstable();
        assert_eq!(order, (0..grid.len()).collect::<Vec<_>>());
    }
    let (mut model, clean, adversarial) = h1();
    let estimate = psr::linear(&mut model, &question(&clean, &adversarial, Mode::Linear, 1)).unwrap();
    assert_eq!(psr::most_influential_first(&estimate), [1, 0, 2, 3]);
    // An order with gaps and strangers still covers everything.
    let map = psr::exact(&mut model, &question(&clean, &adversarial, Mode::Exact, 1), &[2, 2, 99], &mut |_| Ok(())).unwrap();
    assert!(map.is_complete());
    let (s, b) = map.rank_correlation(&estimate);
    assert_abs_diff_eq!(s.unwrap(), 1.0, epsilon = 1e-9);
    assert_abs_diff_eq!(b.unwrap(), 1.0, epsilon = 1e-9);
}

fn h2() -> (Pooled, Array3<f32>) {
    let image = array![[[1.0f32, 2.0], [0.0, 1.0]], [[0.0, 1.0], [3.0, 0.0]]];
    (Pooled { shape: [2, 2, 2], weights: array![[2.0, -1.0], [0.5, 3.0]], bias: array![0.25, 0.0] }, image)
}

fn close(a: &Array2<f32>, b: &Array2<f32>) {
    assert_eq!(a.dim(), b.dim());
    for (a, b) in a.iter().zip(b) {
        assert_abs_diff_eq!(a, b, epsilon = 1e-6);
    }
}

#[test]
fn h2_fixture() {
    let (mut net, image) = h2();
    let mut map = |method| cam::compute(&mut net, image.view(), method, None, 0).unwrap();
    let exact = map(Method::Cam);
    assert_eq!(exact.layer, "features");
    close(&exact.raw, &array![[2.0, 3.0], [-3.0, 2.0]]);
    assert_abs_diff_eq!(exact.raw.mean().unwrap(), 1.0, epsilon = 1e-6);
    let grad = map(Method::GradCam);
    close(&grad.raw, &array![[0.5, 0.75], [-0.75, 0.5]]);
    close(&grad.defined(), &array![[0.5, 0.75], [0.0, 0.5]]);
    close(&map(Method::HiResCam).raw, &grad.raw);
    close(&map(Method::XGradCam).raw, &grad.raw);
    // Negative class weights dropped, over HW.
    close(&map(Method::LayerCam).raw, &array![[0.5, 1.0], [0.0, 0.5]]);
    // Weight HW relu(g) / (2 + S g): g = 2/4, S = 4 for the first channel, the second is negative.
    close(&map(Method::GradCamPlusPlus).raw, &array![[0.5, 1.0], [0.0, 0.5]]);
    let z = net.logits(image.view().insert_axis(ndarray::Axis(0))).unwrap();
    assert_abs_diff_eq!(exact.raw.mean().unwrap() + 0.25, z[(0, 0)], epsilon = 1e-6);
}

#[test]
fn h2_identities_on_random_maps() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let image = Array3::from_shape_simple_fn((6, 5, 4), || rng.random_range(0.0f32..2.0));
    let weights = Array2::from_shape_simple_fn((3, 6), || rng.random_range(-1.0f32..1.0));
    let mut net = Pooled { shape: [6, 5, 4], weights: weights.clone(), bias: Array1::zeros(3) };
    let mut map = |method| cam::compute(&mut net, image.view(), method, None, 1).unwrap().raw;
    let (exact, grad) = (map(Method::Cam), map(Method::GradCam));
    close(&exact, &(&grad * 20.0));
    close(&map(Method::HiResCam), &grad);
    close(&map(Method::XGradCam), &grad);
    let mut want = Array2::<f32>::zeros((5, 4));
    for (k, a) in image.outer_iter().enumerate() {
        let g = weights[(1, k)] / 20.0;
        want.scaled_add(20.0 * g.max(0.0) / (2.0 + a.sum() * g), &a);
    }
    close(&map(Method::GradCamPlusPlus), &want);
}

#[test]
fn h2_eigen_cam_of_rank_one() {
    let m = array![[0.0f32, 1.0, 4.0], [2.0, 0.5, 1.5]];
    let a = [1.0f32, 3.0, 0.5];
    let image = Array3::from_shape_fn((3, 2, 3), |(k, y, x)| a[k] * m[(y, x)]);
    let mut net = Pooled { shape: [3, 2, 3], weights: Array2::ones((2, 3)), bias: Array1::zeros(2) };
    let map = cam::compute(&mut net, image.view(), Method::EigenCam, None, 0).unwrap().raw;
    let length = a.iter().map(|v| v * v).sum::<f32>().sqrt();
    close(&map, &m.mapv(|v| (v - 1.5) * length));
    let flat = Array3::from_elem((3, 2, 3), 0.7f32);
    assert!(cam::compute(&mut net, flat.view(), Method::EigenCam, None, 0).unwrap().raw.iter().all(|v| *v == 0.0));
}

#[test]
fn methods_by_name_and_bad_layers() {
    for m in cam::METHODS {
        assert_eq!(Method::from_name(m.name).unwrap(), m.method);
        assert_eq!(Method::from_name(m.title).unwrap(), m.method);
        assert_eq!(m.method.info().name, m.name);
    }
    assert_eq!(Method::from_name("grad_cam").unwrap(), Method::GradCam);
    assert_eq!(Method::from_name("GradCAMPlusPlus").unwrap(), Method::GradCamPlusPlus);
    assert!(Method::from_name("x").unwrap_err().to_string().contains("gradcam"));
    let (mut net, image) = h2();
    let mut refuse = |method, layer, class| cam::compute(&mut net, image.view(), method, Some(layer), class).unwrap_err().to_string();
    assert!(refuse(Method::GradCam, "nothing", 0).contains("features"));
    assert!(refuse(Method::Cam, "pooled", 0).contains("features"));
    assert!(refuse(Method::Cam, "features", 9).contains("0 to 1"));
}
