//! Analytic models for tests: everything about them is known in closed form.

use ndarray::{Array1, Array2, Array3, Array4, ArrayD, ArrayView1, ArrayView4, Axis};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Recorder, Step, scalars};
use crate::core::{
    error::{Error, Result},
    oracle::{Evaluation, LayerGradient, LayerInfo, Layers, LinearHead, Objective, Oracle},
};

/// `Z = W vec(x) + b`.
pub struct Linear {
    pub shape: [usize; 3],
    pub weights: Array2<f32>,
    pub bias: Array1<f32>,
    pub batch: usize,
    /// Images run forward, and with gradient.
    pub calls: (usize, usize),
}

impl Linear {
    pub fn new(shape: [usize; 3], weights: Array2<f32>, bias: Array1<f32>) -> Self {
        Self { shape, weights, bias, batch: 4, calls: (0, 0) }
    }

    /// Random weights, and an image of middling pixels that class 0 wins by `margin` over the runner-up.
    pub fn random(shape: [usize; 3], classes: usize, margin: f32, seed: u64) -> (Self, Array3<f32>) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let pixels = shape.iter().product();
        let weights = Array2::from_shape_simple_fn((classes, pixels), || rng.random_range(-1.0f32..1.0));
        let image = Array3::from_shape_simple_fn(shape, || rng.random_range(0.3f32..0.7));
        let mut model = Self::new(shape, weights, Array1::zeros(classes));
        let z = model.row(image.iter().copied());
        for class in 1..classes {
            model.bias[class] = z[0] - z[class] - margin * class as f32;
        }
        (model, image)
    }

    /// Difference of two classes' weights, in the image's shape.
    pub fn difference(&self, a: usize, b: usize) -> Array3<f32> {
        (&self.weights.row(a) - &self.weights.row(b)).into_shape_with_order(self.shape).unwrap()
    }

    fn row(&self, image: impl Iterator<Item = f32>) -> Array1<f32> {
        let x: Vec<f64> = image.map(f64::from).collect();
        let z = |w: ArrayView1<f32>, b: f32| (w.iter().zip(&x).map(|(w, x)| f64::from(*w) * x).sum::<f64>() + f64::from(b)) as f32;
        self.weights.outer_iter().zip(&self.bias).map(|(w, b)| z(w, *b)).collect()
    }

    fn run(&self, images: ArrayView4<f32>) -> Array2<f32> {
        let mut out = Array2::zeros((images.dim().0, self.weights.dim().0));
        for (image, mut z) in images.outer_iter().zip(out.outer_iter_mut()) {
            z.assign(&self.row(image.iter().copied()));
        }
        out
    }
}

/// Value and gradient with respect to the logits.
fn objective(z: ArrayView1<f32>, n: usize, objective: &Objective) -> (f32, Array1<f32>) {
    let mut g = Array1::zeros(z.len());
    match objective {
        Objective::CrossEntropy { labels } => {
            g.assign(&(0..z.len()).map(|c| scalars::prob(z, c) as f32).collect::<Array1<f32>>());
            g[labels[n]] -= 1.0;
            (scalars::cross_entropy(z, labels[n]) as f32, g)
        }
        Objective::Linear { cotangent } => (z.dot(&cotangent.row(n)), cotangent.row(n).to_owned()),
        Objective::Ratio { labels, targets } => scalars::ratio(z, labels[n], targets.map(|t| t[n])),
        Objective::Margin { labels, targeted, kappa } => {
            let own = labels[n];
            let other = (0..z.len()).filter(|c| *c != own).max_by(|a, b| z[*a].total_cmp(&z[*b])).unwrap();
            let sign = if *targeted { 1.0 } else { -1.0 };
            let margin = sign * (z[other] - z[own]);
            if margin > -kappa {
                g[other] = sign;
                g[own] = -sign;
            }
            (margin.max(-kappa), g)
        }
    }
}

impl Oracle for Linear {
    fn classes(&self) -> usize {
        self.weights.dim().0
    }

    fn image_shape(&self) -> [usize; 3] {
        self.shape
    }

    fn logits(&mut self, images: ArrayView4<f32>) -> Result<Array2<f32>> {
        self.calls.0 += images.dim().0;
        Ok(self.run(images))
    }

    fn gradient(&mut self, images: ArrayView4<f32>, wanted: Objective) -> Result<Evaluation> {
        self.calls.1 += images.dim().0;
        let logits = self.run(images);
        let mut grad = Array4::zeros(images.raw_dim());
        let mut loss = Array1::zeros(logits.dim().0);
        for (n, z) in logits.outer_iter().enumerate() {
            let (value, g) = objective(z, n, &wanted);
            loss[n] = value;
            grad.index_axis_mut(Axis(0), n).assign(&g.dot(&self.weights).into_shape_with_order(self.shape).unwrap());
        }
        Ok(Evaluation { logits, loss, grad })
    }

    fn batch(&self) -> usize {
        self.batch
    }
}

/// The image is the last activation; then global average pooling and one linear layer.
pub struct Pooled {
    pub shape: [usize; 3],
    pub weights: Array2<f32>,
    pub bias: Array1<f32>,
}

impl Pooled {
    fn flat(&self) -> Linear {
        let [_, h, w] = self.shape;
        let n = h * w;
        let weights = Array2::from_shape_fn((self.weights.dim().0, self.shape[0] * n), |(c, i)| self.weights[(c, i / n)] / n as f32);
        Linear::new(self.shape, weights, self.bias.clone())
    }
}

impl Oracle for Pooled {
    fn classes(&self) -> usize {
        self.bias.len()
    }

    fn image_shape(&self) -> [usize; 3] {
        self.shape
    }

    fn logits(&mut self, images: ArrayView4<f32>) -> Result<Array2<f32>> {
        self.flat().logits(images)
    }

    fn gradient(&mut self, images: ArrayView4<f32>, objective: Objective) -> Result<Evaluation> {
        self.flat().gradient(images, objective)
    }
}

impl Layers for Pooled {
    fn spatial_layers(&self) -> Vec<LayerInfo> {
        let [units, h, w] = self.shape;
        let layer = |name: &str, spatial| LayerInfo { name: name.into(), op: "Relu".into(), units, spatial };
        vec![layer("features", [h, w]), layer("pooled", [1, 1])]
    }

    fn linear_head(&self) -> Option<LinearHead> {
        Some(LinearHead { layer: "features".into(), weights: self.weights.clone(), bias: self.bias.clone() })
    }

    fn activation(&mut self, images: ArrayView4<f32>, layer: &str) -> Result<ArrayD<f32>> {
        assert_eq!(layer, "features");
        Ok(images.to_owned().into_dyn())
    }

    fn layer_gradient(&mut self, images: ArrayView4<f32>, layer: &str, class: usize) -> Result<LayerGradient> {
        assert_eq!(layer, "features");
        let mut cotangent = Array2::zeros((images.dim().0, self.classes()));
        cotangent.column_mut(class).fill(1.0);
        let e = self.gradient(images, Objective::Linear { cotangent: cotangent.view() })?;
        Ok(LayerGradient { logits: e.logits, activation: images.to_owned(), gradient: e.grad })
    }
}

/// Keeps every step; stops after `limit`.
#[derive(Default)]
pub struct Tape {
    pub images: Vec<Array3<f32>>,
    pub logits: Vec<Array1<f32>>,
    pub losses: Vec<f32>,
    pub terms: Vec<Vec<(&'static str, f32)>>,
    pub limit: Option<usize>,
}

impl Tape {
    /// A term at every step that has it.
    pub fn term(&self, name: &str) -> Vec<f32> {
        self.terms.iter().flat_map(|terms| terms.iter().filter(|t| t.0 == name).map(|t| t.1)).collect()
    }
}

impl Recorder for Tape {
    fn step(&mut self, step: Step) -> Result<()> {
        if self.limit.is_some_and(|n| self.images.len() >= n) {
            return Err(Error::Stopped);
        }
        self.images.push(step.image.array()?.into_owned());
        self.logits.push(step.logits.to_owned());
        self.losses.push(step.loss);
        self.terms.push(step.terms.to_vec());
        Ok(())
    }
}
