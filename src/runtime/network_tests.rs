use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::{
    core::{
        graph::{Layout, infer},
        onnx::{Attr, DType, Dim, Graph, Node, TensorData, TensorType, ValueInfo},
    },
    runtime::embedded::Embedded,
};

const K: usize = 5;
const SHAPE: [usize; 3] = [3, 6, 5];

/// Counts loads and prefers small batches.
struct Counting {
    inner: Embedded,
    loads: AtomicUsize,
    batch: usize,
}

impl Backend for Counting {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn load(&self, model: &[u8]) -> Result<Box<dyn Executor>> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.inner.load(model)
    }

    fn preferred_batch(&self) -> usize {
        self.batch
    }
}

fn wave(dims: &[usize], seed: f32) -> TensorData {
    let values: Vec<f32> = (0..dims.iter().product()).map(|i| (seed + 1.7 * i as f32).sin()).collect();
    TensorData::f32(dims, &values)
}

/// Conv, Sigmoid (`map`), average, linear: smooth, so that finite differences are exact enough.
fn prepared(layout: Layout) -> Prepared {
    const N: Dim = Dim::Batch(1);
    let [c, h, w] = SHAPE.map(Dim::Fixed);
    let shape = if layout == Layout::Nchw { vec![N, c, h, w] } else { vec![N, h, w, c] };
    let value = |name: &str, shape: Vec<Dim>| ValueInfo { name: name.into(), ty: TensorType { dtype: DType::F32, shape: Some(shape) } };
    let mut g = Graph { ir_version: 8, opset: 17, ..Graph::default() };
    g.inputs = vec![value("image", shape)];
    g.outputs = vec![value("z", vec![N, Dim::Fixed(K)])];
    g.initializers.insert("w".into(), wave(&[4, 3, 3, 3], 0.3));
    g.initializers.insert("v".into(), wave(&[K, 4], 1.1));
    let mut start = "image";
    if layout == Layout::Nhwc {
        g.nodes.push(Node::new("Transpose", &["image"], &["nchw"]).with("perm", vec![0i64, 3, 1, 2]));
        start = "nchw";
    }
    g.nodes.push(Node::new("Conv", &[start, "w"], &["c"]).with("kernel_shape", Attr::Ints(vec![3, 3])));
    g.nodes.push(Node::new("Sigmoid", &["c"], &["map"]));
    g.nodes.push(Node::new("GlobalAveragePool", &["map"], &["a"]));
    g.nodes.push(Node::new("Flatten", &["a"], &["f"]));
    g.nodes.push(Node::new("Gemm", &["f", "v"], &["z"]).with("transB", 1i64));
    infer::infer(&mut g).unwrap();
    Prepared { graph: g, image: "image".into(), layout, shape: SHAPE, logits: "z".into(), classes: K, notices: Vec::new() }
}

fn network(layout: Layout, bgr: bool, batch: usize) -> (Network, Arc<Counting>) {
    let backend = Arc::new(Counting { inner: Embedded::new(2).unwrap(), loads: AtomicUsize::new(0), batch });
    let affine = Affine { scale: vec![2.0, 1.0, 0.5], offset: vec![0.1, -0.2, 0.3], bgr };
    (Network::new(Arc::new(prepared(layout)), backend.clone(), affine).unwrap(), backend)
}

fn images(n: usize) -> Array4<f32> {
    Array4::from_shape_fn((n, SHAPE[0], SHAPE[1], SHAPE[2]), |(n, c, h, w)| 0.5 + 0.5 * ((n * 90 + c * 30 + h * 5 + w) as f32 * 0.7).sin())
}

fn close(a: f32, b: f32, tolerance: f32, what: &str) {
    assert!((a - b).abs() <= tolerance * (1.0 + a.abs().max(b.abs())), "{what}: {a} {b}");
}

/// Objective values from logits, in plain arithmetic.
fn objective_of(logits: &Array2<f32>, objective: &Objective) -> Vec<f32> {
    let best_other =
        |row: ndarray::ArrayView1<f32>, l: usize| row.iter().enumerate().filter(|(j, _)| *j != l).map(|(_, v)| *v).fold(f32::MIN, f32::max);
    let rows = logits.rows().into_iter().enumerate();
    rows.map(|(n, row)| match objective {
        Objective::CrossEntropy { labels } => row.iter().map(|v| v.exp()).sum::<f32>().ln() - row[labels[n]],
        Objective::Linear { cotangent } => row.iter().zip(cotangent.row(n)).map(|(a, b)| a * b).sum(),
        Objective::Ratio { labels, targets } => crate::core::scalars::ratio(row, labels[n], targets.map(|t| t[n])).0,
        Objective::Margin { labels, targeted, kappa } => {
            let margin = best_other(row, labels[n]) - row[labels[n]];
            (if *targeted { margin } else { -margin }).max(-kappa)
        }
    })
    .collect()
}

#[test]
fn gradients_agree_with_finite_differences_for_every_objective() {
    let cotangent = Array2::from_shape_fn((3, K), |(n, k)| ((n + 2 * k) as f32).cos());
    let labels = [0usize, 3, 4];
    let objectives = [
        Objective::CrossEntropy { labels: &labels },
        Objective::Linear { cotangent: cotangent.view() },
        Objective::Margin { labels: &labels, targeted: true, kappa: 50.0 },
        Objective::Margin { labels: &labels, targeted: false, kappa: 50.0 },
        Objective::Ratio { labels: &labels, targets: None },
        Objective::Ratio { labels: &labels, targets: Some(&[2, 1, 0]) },
    ];
    for layout in [Layout::Nchw, Layout::Nhwc] {
        let (mut net, _) = network(layout, true, 2);
        let x = images(3);
        let logits = net.logits(x.view()).unwrap();
        for objective in objectives {
            let e = net.gradient(x.view(), objective).unwrap();
            assert_eq!(e.grad.dim(), x.dim());
            for (n, expected) in objective_of(&logits, &objective).into_iter().enumerate() {
                close(e.loss[n], expected, 1e-5, "loss");
                close(e.logits[[n, 1]], logits[[n, 1]], 1e-5, "logits");
            }
            for at in [[0, 0, 0, 0], [1, 1, 3, 2], [2, 2, 5, 4], [1, 0, 2, 2]] {
                let moved = |step: f32| {
                    let mut y = x.clone();
                    y[at] += step;
                    y
                };
                let mut value = |step: f32| objective_of(&net.logits(moved(step).view()).unwrap(), &objective)[at[0]];
                let slope = (value(0.02) - value(-0.02)) / 0.04;
                assert!((slope - e.grad[at]).abs() < 2e-4 + 0.01 * slope.abs(), "{layout:?} {objective:?} {at:?}: {slope} {}", e.grad[at]);
            }
        }
    }
}

#[test]
fn layouts_and_pieces_do_not_change_the_result() {
    let x = images(5);
    let labels = [0, 1, 2, 3, 4];
    let run = |layout, batch| {
        let (mut net, _) = network(layout, false, batch);
        net.gradient(x.view(), Objective::CrossEntropy { labels: &labels }).unwrap()
    };
    let whole = run(Layout::Nchw, 8);
    for other in [run(Layout::Nhwc, 8), run(Layout::Nchw, 2), run(Layout::Nchw, 1)] {
        whole.grad.iter().zip(&other.grad).for_each(|(a, b)| close(*a, *b, 1e-5, "gradient"));
        whole.loss.iter().zip(&other.loss).for_each(|(a, b)| close(*a, *b, 1e-5, "loss"));
        assert_eq!(other.logits.dim(), (5, K));
    }
}

#[test]
fn a_layers_gradient_is_that_of_its_linear_head() {
    let (mut net, _) = network(Layout::Nchw, false, 2);
    let x = images(3);
    let tapped = net.layer_gradient(x.view(), "map", 2).unwrap();
    assert_eq!(tapped.activation.dim(), (3, 4, 4, 3));
    let head = wave(&[K, 4], 1.1).to_f64().unwrap();
    for ((_, c, _, _), g) in tapped.gradient.indexed_iter() {
        close(*g, head[2 * 4 + c] as f32 / 12.0, 1e-5, "gradient");
    }
    let value = net.activation(x.view(), "map").unwrap();
    assert_eq!(value, tapped.activation.into_dyn());
    assert!(net.activation(x.view(), "no such layer").is_err());
    assert!(net.layer_gradient(x.view(), "f", 2).unwrap_err().to_string().contains("spatial layer"));
    assert!(net.layer_gradient(x.view(), "map", K).unwrap_err().to_string().contains("class 5"));
}

#[test]
fn graphs_are_loaded_once_and_only_the_last_taps_are_kept() {
    let (mut net, backend) = network(Layout::Nchw, false, 2);
    let x = images(1);
    for _ in 0..3 {
        net.logits(x.view()).unwrap();
        net.gradient(x.view(), Objective::CrossEntropy { labels: &[1] }).unwrap();
    }
    assert_eq!(backend.loads.load(Ordering::SeqCst), 2);
    for layer in ["c", "map", "a", "f", "c"] {
        net.activation(x.view(), layer).unwrap();
    }
    assert_eq!(backend.loads.load(Ordering::SeqCst), 6, "the second use of c loads nothing");
    net.layer_gradient(x.view(), "map", 0).unwrap();
    assert_eq!(net.loaded.iter().filter(|l| !l.spec.taps.is_empty()).count(), KEPT_TAPS);
    net.activation(x.view(), "c").unwrap();
    assert_eq!(backend.loads.load(Ordering::SeqCst), 7, "map was the oldest, c was kept");
}

#[test]
fn unusable_requests_are_sentences() {
    let (mut net, _) = network(Layout::Nchw, false, 2);
    let x = images(2);
    let text = |r: Result<Evaluation>| r.unwrap_err().to_string();
    assert!(text(net.gradient(x.view(), Objective::CrossEntropy { labels: &[1] })).contains("1 labels were given for 2 images"));
    assert!(text(net.gradient(x.view(), Objective::CrossEntropy { labels: &[1, K] })).contains("class 5 does not exist"));
    assert!(text(net.gradient(x.view(), Objective::Margin { labels: &[1, 1], targeted: true, kappa: -1.0 })).contains("kappa"));
    let narrow = Array2::zeros((2, 2));
    assert!(text(net.gradient(x.view(), Objective::Linear { cotangent: narrow.view() })).contains("cotangent"));
    assert!(net.logits(Array4::zeros((1, 3, 5, 6)).view()).is_err());
    assert!(net.logits(Array4::zeros((0, 3, 6, 5)).view()).is_err());
    let wrong = Affine::identity(1);
    assert!(Network::new(net.prepared.clone(), net.backend.clone(), wrong).is_err());
}

#[test]
fn an_interrupted_network_stops_on_every_graph_until_reset() {
    let (mut net, _) = network(Layout::Nchw, false, 2);
    let x = images(1);
    net.logits(x.view()).unwrap();
    net.interrupt().stop();
    assert!(matches!(net.logits(x.view()), Err(Error::Stopped)));
    assert!(matches!(net.gradient(x.view(), Objective::CrossEntropy { labels: &[1] }), Err(Error::Stopped)));
    net.interrupt().reset();
    assert!(net.logits(x.view()).is_ok());
    assert_eq!(net.provider(), "CPU");
}

#[test]
fn big_activations_mean_small_pieces() {
    let mut p = prepared(Layout::Nchw);
    assert_eq!(gradient_batch(&p, 8), 8);
    p.graph.types.insert("map".into(), TensorType { dtype: DType::F32, shape: Some(vec![Dim::Batch(1), Dim::Fixed(30_000_000)]) });
    assert_eq!(gradient_batch(&p, 8), 2);
    p.graph.types.insert("map".into(), TensorType { dtype: DType::F32, shape: Some(vec![Dim::Batch(1), Dim::Fixed(usize::MAX)]) });
    assert_eq!(gradient_batch(&p, 8), 1);
}

#[path = "../../tests/common/faulty.rs"]
#[allow(dead_code, missing_docs, reason = "shared with the integration tests, which use more of it")]
mod faulty;

use faulty::{Fault, Faulty};

fn faulty(fault: Fault) -> (Network, Arc<Faulty>, Arc<std::sync::Mutex<Vec<String>>>) {
    let backend = Arc::new(Faulty::new(Arc::new(Embedded::new(2).unwrap()), fault));
    let said: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let heard = Arc::clone(&said);
    let net = Network::new(Arc::new(prepared(Layout::Nchw)), backend.clone(), Affine::identity(3)).unwrap();
    (net.with_listener(Arc::new(move |text| heard.lock().unwrap().push(text))), backend, said)
}

#[test]
fn out_of_memory_halves_the_batch_and_says_so() {
    let (mut whole, ..) = faulty(Fault::Memory(usize::MAX));
    let (mut net, backend, said) = faulty(Fault::Memory(3));
    let x = images(8);
    assert_eq!(net.logits(x.view()).unwrap(), whole.logits(x.view()).unwrap());
    let texts = said.lock().unwrap().clone();
    assert_eq!(texts.len(), 2, "8 to 4 to 2: {texts:?}");
    assert!(texts[0].contains("8 images") && texts[1].contains("2 are run together"), "{texts:?}");
    // It does not try the large batch again, and keeps its session.
    net.logits(x.view()).unwrap();
    assert_eq!((said.lock().unwrap().len(), backend.loads.load(Ordering::SeqCst)), (2, 1));
    let (mut none, _, said) = faulty(Fault::Memory(0));
    assert!(none.logits(x.view()).unwrap_err().to_string().contains("--device"));
    assert_eq!(said.lock().unwrap().len(), 3, "8, 4, 2, 1");
}

#[test]
fn a_provider_that_fails_in_the_middle_gets_a_new_session() {
    let (mut whole, ..) = faulty(Fault::Memory(usize::MAX));
    let (mut net, backend, said) = faulty(Fault::Run(3));
    let x = images(1);
    let expected = whole.logits(x.view()).unwrap();
    for _ in 0..5 {
        assert_eq!(net.logits(x.view()).unwrap(), expected);
    }
    assert_eq!(backend.loads.load(Ordering::SeqCst), 2);
    let texts = said.lock().unwrap().clone();
    assert!(texts.len() == 1 && texts[0].contains("failure 700") && texts[0].contains("opened again"), "{texts:?}");
    // What fails from the beginning is an error at once.
    let (mut net, backend, _) = faulty(Fault::Run(1));
    assert!(matches!(net.logits(x.view()), Err(Error::Engine(_))));
    assert_eq!(backend.loads.load(Ordering::SeqCst), 1);
}
