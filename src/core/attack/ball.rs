//! Steps, projections and random starts for the L-infinity and L2 balls (method report C.3).

use ndarray::{Array3, Zip};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Params, Problem, goal};
use crate::core::tensor::norm::Sums;

/// The two balls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Norm {
    Linf,
    L2,
}

impl Norm {
    /// The words of the `norm` parameter.
    pub const WORDS: &'static [&'static str] = &["linf", "l2"];

    /// From the `norm` parameter.
    pub fn of(params: &Params) -> Self {
        if params.choice("norm") == "l2" { Self::L2 } else { Self::Linf }
    }

    /// Moves `x` along the direction of unit length (the sign, 0 at 0; or the vector over its Euclidean length) and projects it.
    /// A zero or non-finite direction moves nothing.
    pub fn step(self, x: &mut Array3<f32>, direction: &Array3<f32>, length: f32, clean: &Array3<f32>, eps: f32) {
        match self {
            // One pass: the image's values are all this step costs.
            Self::Linf => Zip::from(x).and(direction).and(clean).for_each(|x, d, c| *x = boxed(*x + length * sign(*d), *c, eps)),
            Self::L2 => {
                let norm = l2(direction);
                if norm > 0.0 && norm.is_finite() {
                    Zip::from(&mut *x).and(direction).for_each(|x, d| *x += length * (f64::from(*d) / norm) as f32);
                }
                self.project(x, clean, eps);
            }
        }
    }

    /// `previous <- P(x + keep (P(x + length * unit(d)) - x) + (1 - keep)(x - previous))`: a step with the momentum of two images.
    /// `memory` is written over.
    #[allow(clippy::too_many_arguments)] // two images, a direction, a ball and two numbers are what the formula has
    pub fn step_on(
        self,
        previous: &mut Array3<f32>,
        x: &Array3<f32>,
        direction: &Array3<f32>,
        [length, keep]: [f32; 2],
        clean: &Array3<f32>,
        eps: f32,
        memory: &mut Array3<f32>,
    ) {
        let mixed = |z: f32, x: f32, previous: f32| x + (keep * (z - x) + (1.0 - keep) * (x - previous));
        match self {
            Self::Linf => Zip::from(previous).and(x).and(direction).and(clean).for_each(|p, x, d, c| {
                let z = boxed(x + length * sign(*d), *c, eps);
                *p = boxed(mixed(z, *x, *p), *c, eps);
            }),
            Self::L2 => {
                memory.assign(x);
                self.step(memory, direction, length, clean, eps);
                Zip::from(&mut *previous).and(x).and(&*memory).for_each(|p, x, z| *p = mixed(*z, *x, *p));
                self.project(previous, clean, eps);
            }
        }
    }

    /// Brings `x` into the ball of radius `eps` around `clean` and into 0..1. L2 vectors are only ever shortened.
    pub fn project(self, x: &mut Array3<f32>, clean: &Array3<f32>, eps: f32) {
        match self {
            Self::Linf => Zip::from(x).and(clean).for_each(|x, c| *x = boxed(*x, *c, eps)),
            Self::L2 => {
                let length = Sums::between(clean, x).squares.sqrt();
                let factor = if length > f64::from(eps) { (f64::from(eps) / length) as f32 } else { 1.0 };
                Zip::from(x).and(clean).for_each(|x, c| *x = (c + (*x - c) * factor).clamp(0.0, 1.0));
            }
        }
    }

    /// Where an attack begins: the image, or a random point of the ball around it that the mask allows. Every restart has
    /// its own stream of the seed.
    pub fn start(self, problem: &Problem, eps: f32, random: bool, restart: u64) -> Array3<f32> {
        let mut x = problem.image.clone();
        if random {
            let mut rng = ChaCha8Rng::seed_from_u64(problem.seed);
            rng.set_stream(restart);
            let (c, h, w) = x.dim();
            let mut offset = self.random([c, h, w], eps, &mut rng);
            goal::mask(problem, &mut offset);
            x += &offset;
            self.project(&mut x, &problem.image, eps);
        }
        x
    }

    /// A point of the ball, uniform in it.
    fn random(self, shape: [usize; 3], eps: f32, rng: &mut impl Rng) -> Array3<f32> {
        match self {
            Self::Linf => Array3::from_shape_simple_fn(shape, || rng.random_range(-1.0f32..=1.0) * eps),
            Self::L2 => {
                let direction = Array3::from_shape_simple_fn(shape, || gaussian(rng));
                let length = l2(&direction).max(f64::MIN_POSITIVE);
                let radius = f64::from(eps) * rng.random::<f64>().powf(1.0 / direction.len() as f64);
                direction.mapv(|v| (f64::from(v) / length * radius) as f32)
            }
        }
    }
}

/// Into the box of half-width `eps` around `clean` and into 0..1. Not `clamp`, whose check of its bounds keeps a loop from running on
/// several pixels at once.
fn boxed(x: f32, clean: f32, eps: f32) -> f32 {
    x.max((clean - eps).max(0.0)).min((clean + eps).min(1.0))
}

/// -1, 0 or 1; 0 for NaN too.
pub(super) fn sign(v: f32) -> f32 {
    f32::from(i8::from(v > 0.0) - i8::from(v < 0.0))
}

/// Euclidean length, f64.
pub(super) fn l2(v: &Array3<f32>) -> f64 {
    sums(v).squares.sqrt()
}

/// Sums over the values.
pub(super) fn sums(v: &Array3<f32>) -> Sums {
    Sums::of(v.as_standard_layout().as_slice().expect("the standard layout is one slice"))
}

/// Standard normal deviate (Box and Muller).
fn gaussian(rng: &mut impl Rng) -> f32 {
    let u: f64 = 1.0 - rng.random::<f64>();
    let v: f64 = rng.random();
    ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
}
