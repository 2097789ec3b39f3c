//! Explanations on analytic models: the fixtures of method report H.1 and H.2.

use approx::assert_abs_diff_eq;
use ndarray::{Array1, Array2, Array3, array};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    cam::{self, Method},
    faithfulness,
    psr::{self, Grid, Kind, Mode, Question, Settings},
    score_cam,
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

/// Reads its image as an activation but answers the same logits to every image.
struct Constant(Pooled);

impl Oracle for Constant {
    fn classes(&self) -> usize {
        self.0.classes()
    }

    fn image_shape(&self) -> [usize; 3] {
        self.0.shape
    }

    fn logits(&mut self, images: ndarray::ArrayView4<f32>) -> crate::core::error::Result<Array2<f32>> {
        Ok(Array2::from_shape_fn((images.dim().0, self.0.classes()), |(_, c)| c as f32))
    }

    fn gradient(
        &mut self,
        images: ndarray::ArrayView4<f32>,
        objective: crate::core::oracle::Objective,
    ) -> crate::core::error::Result<crate::core::oracle::Evaluation> {
        self.0.gradient(images, objective)
    }
}

#[test]
fn h2_score_cam() {
    let (net, image) = h2();
    // A model that ignores its input gives every channel the same weight.
    let equal = score_cam::weights(&mut Constant(net), image.view(), &image, 1, &mut |_, _| Ok(())).unwrap();
    assert_eq!(equal, [0.5, 0.5]);
    // By hand: masks are min-max per channel, 2x2 at the image's size; the model is GAP and one linear layer.
    let (mut net, image) = h2();
    let masks = [array![[0.5f32, 1.0], [0.0, 0.5]], array![[0.0f32, 1.0 / 3.0], [1.0, 0.0]]];
    let z: Vec<f32> = masks
        .iter()
        .map(|m| {
            let mean = |k: usize| (0..4).map(|p| image[(k, p / 2, p % 2)] * m[(p / 2, p % 2)]).sum::<f32>() / 4.0;
            2.0 * mean(0) - mean(1) + 0.25
        })
        .collect();
    let weight = 1.0 / (1.0 + (z[1] - z[0]).exp());
    let mut seen = Vec::new();
    let map = cam::compute_with(&mut net, image.view(), Method::ScoreCam, None, 0, &mut |done, all| {
        seen.push((done, all));
        Ok(())
    })
    .unwrap();
    let want = Array2::from_shape_fn((2, 2), |(y, x)| weight * image[(0, y, x)] + (1.0 - weight) * image[(1, y, x)]);
    close(&map.raw, &want);
    assert_eq!(seen.last(), Some(&(2, 2)));
    let stopped = cam::compute_with(&mut net, image.view(), Method::ScoreCam, None, 0, &mut |_, _| Err(Error::Stopped));
    assert!(matches!(stopped, Err(Error::Stopped)));
}

#[test]
fn differences_need_maps_of_one_kind() {
    let (mut net, image) = h2();
    let brighter = &image * 2.0;
    let mut map = |image: &Array3<f32>, class| cam::compute(&mut net, image.view(), Method::GradCam, None, class).unwrap();
    let (before, after, other) = (map(&image, 0), map(&brighter, 0), map(&brighter, 1));
    // Grad-CAM of a linear network doubles with its activation; the ReLU is part of the map.
    close(&cam::difference(&before, &after).unwrap(), &before.defined());
    assert!(cam::difference(&before, &other).is_err());
}

#[test]
fn an_exact_map_goes_on_where_another_left_off() {
    let (model, clean) = Linear::random([3, 12, 12], 4, 1.0, 11);
    let mut model = Linear { batch: 3, ..model };
    let mut adversarial = clean.clone();
    // One changed pixel in each quarter but the last, which changes all over.
    for (y, x) in [(1, 2), (3, 9), (8, 4)] {
        adversarial[(1, y, x)] += 0.2;
    }
    adversarial.slice_mut(ndarray::s![.., 6.., 6..]).mapv_inplace(|v| v - 0.1);
    let ask = question(&clean, &adversarial, Mode::Exact, 6);
    let fresh = |model: &mut Linear, cell| {
        let ask = question(&clean, &adversarial, Mode::Exact, cell);
        psr::evaluate(model, &ask, &mut |_| Ok(())).unwrap()
    };
    // Stopped after the first batch: going on costs only the rest, and gives the same map.
    let mut partial = None;
    let stopped = psr::exact(&mut model, &ask, &[0, 1, 2, 3], &mut |map| {
        partial = Some(map.clone());
        Err(Error::Stopped)
    });
    assert!(matches!(stopped, Err(Error::Stopped)));
    let partial = partial.unwrap();
    assert_eq!(partial.evaluated().count(), 3);
    let resumed = psr::exact_from(&mut model, &ask, &[], &[&partial], &mut |_| Ok(())).unwrap();
    let whole = fresh(&mut model, 6);
    assert_eq!((resumed.forwards, whole.forwards), (2, 5));
    assert_eq!(resumed.cells, whole.cells);
    // On a grid cut from it, the three single pixels are known; the four pieces of the last quarter are not.
    let finer = question(&clean, &adversarial, Mode::Exact, 3);
    let carried = psr::exact_from(&mut model, &finer, &[], &[&whole], &mut |_| Ok(())).unwrap();
    assert_eq!(carried.forwards, 1 + 4);
    for (a, b) in carried.evaluated().zip(fresh(&mut model, 3).evaluated()) {
        assert_abs_diff_eq!(a.s_raw, b.s_raw, epsilon = 1e-6);
        assert_eq!(a.kind, b.kind);
    }
    // An estimate is no exact map.
    let estimate = psr::linear(&mut model, &ask).unwrap();
    assert_eq!(psr::exact_from(&mut model, &ask, &[], &[&estimate], &mut |_| Ok(())).unwrap().forwards, 5);
    // Rectangles partition too.
    let grid = Grid::rectangular(12, 12, [2, 5]).unwrap();
    assert_eq!((grid.rows(), grid.cols(), grid.bounds(17)), (6, 3, [10, 10, 2, 2]));
    let map = psr::evaluate(&mut model, &Question { grid, ..ask }, &mut |_| Ok(())).unwrap();
    assert_abs_diff_eq!(map.totals().0, whole.totals().0, epsilon = 1e-5);
}

#[test]
fn inside_and_outside_add_up_on_a_linear_model() {
    let (mut model, clean) = Linear::random([3, 8, 8], 3, 1.0, 5);
    let adversarial = clean.mapv(|v| v + if v > 0.5 { 0.05 } else { -0.04 });
    let ask = question(&clean, &adversarial, Mode::Exact, 2);
    let map = psr::evaluate(&mut model, &ask, &mut |_| Ok(())).unwrap();
    // The region follows the cells, so cells and pixels agree.
    let region = Array2::from_shape_fn((8, 8), |(y, x)| y < 4 && x >= 2);
    let split = psr::split(&mut model, &ask, &map, region.view()).unwrap();
    assert_eq!((split.inside.cells, split.outside.cells), (6, 10));
    assert_abs_diff_eq!(split.area, 24.0 / 64.0);
    assert_abs_diff_eq!(split.inside.change + split.outside.change, 1.0, epsilon = 1e-9);
    for side in [&split.inside, &split.outside] {
        assert_abs_diff_eq!(side.totals.0, f64::from(side.whole.s_raw), epsilon = 1e-4);
        assert_abs_diff_eq!(side.totals.1, f64::from(side.whole.b_raw), epsilon = 1e-4);
    }
    assert_abs_diff_eq!(split.inside.totals.0 + split.outside.totals.0, map.totals().0, epsilon = 1e-9);
    let small = Array2::from_elem((4, 4), true);
    assert!(psr::split(&mut model, &ask, &map, small.view()).is_err());
}

#[test]
fn the_timeline_of_a_linear_model_is_exact() {
    let (mut model, clean, adversarial) = h1();
    let z = |model: &mut Linear, x: &Array3<f32>| model.logits(x.view().insert_axis(ndarray::Axis(0))).unwrap().row(0).to_owned();
    let z0 = z(&mut model, &clean);
    let half = (&clean + &adversarial) / 2.0;
    for (step, image, share) in [(0, &clean, 0.0), (1, &half, 0.5), (2, &adversarial, 1.0)] {
        let now = z(&mut model, image);
        let moment = psr::moment(&mut model, &question(&clean, image, Mode::Linear, 1), step, z0.view(), now.view()).unwrap();
        assert_abs_diff_eq!(moment.whole.s_raw, 0.9 * share, epsilon = 1e-6);
        assert_abs_diff_eq!(moment.totals.1, 0.6 * f64::from(share), epsilon = 1e-6);
    }
}

#[test]
fn a_true_map_is_more_faithful_than_its_opposite() {
    // Only the upper left quarter matters to class 0.
    let weights = Array2::from_shape_fn((2, 3 * 64), |(c, i)| if c == 0 && i % 64 / 8 < 4 && i % 8 < 4 { 0.4 } else { 0.0 });
    let mut model = Linear::new([3, 8, 8], weights, array![-5.0, 0.0]);
    // Bright there and dark elsewhere: what is removed is filled in darker.
    let image = Array3::from_shape_fn((3, 8, 8), |(c, y, x)| if y < 4 && x < 4 { 0.7 + 0.1 * c as f32 } else { 0.1 });
    let map = Array2::from_shape_fn((4, 4), |(y, x)| if y < 2 && x < 2 { 1.0 } else { 0.0 });
    let mut measure = |map: Array2<f32>| faithfulness::evaluate(&mut model, image.view(), map.view(), 0, 7, &mut |_, _| Ok(())).unwrap();
    let (good, bad) = (measure(map.clone()), measure(map.mapv(|v| 1.0 - v)));
    assert!(good.deletion.auc() < good.control.0 && good.insertion.auc() > good.control.1, "{good:?}");
    assert!(bad.deletion.auc() > bad.control.0 && bad.insertion.auc() < bad.control.1, "{bad:?}");
    assert!(good.road() > 0.0 && bad.road() < 0.0, "{} {}", good.road(), bad.road());
    assert_eq!(good, measure(map.clone()), "seeded");
    // The ends are the image and the empty picture.
    let p = |z: f64| 1.0 / (1.0 + (-z).exp());
    let z: f64 = image.indexed_iter().filter(|((_, y, x), _)| *y < 4 && *x < 4).map(|(_, v)| 0.4 * f64::from(*v)).sum::<f64>() - 5.0;
    assert_abs_diff_eq!(good.deletion.scores[0], p(z), epsilon = 1e-5);
    assert_abs_diff_eq!(good.insertion.scores[faithfulness::STEPS], p(z), epsilon = 1e-5);
    assert_abs_diff_eq!(good.insertion.scores[0], p(-5.0), epsilon = 1e-6);
    let curve = faithfulness::Curve { fractions: vec![0.0, 0.5, 1.0], scores: vec![1.0, 0.5, 0.0] };
    assert_abs_diff_eq!(curve.auc(), 0.5);
    assert!(faithfulness::evaluate(&mut model, image.view(), map.view(), 9, 0, &mut |_, _| Ok(())).is_err());
    let stopped = faithfulness::evaluate(&mut model, image.view(), map.view(), 0, 0, &mut |_, _| Err(Error::Stopped));
    assert!(matches!(stopped, Err(Error::Stopped)));
}
