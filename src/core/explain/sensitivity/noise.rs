//! A perturbation with the norms of an attack's but none of its aim.

use ndarray::{Array3, ArrayView3};
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// The perturbation's pixels moved to random places, each with a random sign, on the clean image: L0, L1, L2 and L-infinity are those of
/// the attack. A pixel that would leave 0..1 has its sign turned; what still leaves is cut off, which is the only way a norm can shrink.
pub fn matched_noise(clean: ArrayView3<f32>, adversarial: ArrayView3<f32>, seed: u64) -> Array3<f32> {
    let (channels, height, width) = clean.dim();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut from: Vec<usize> = (0..height * width).collect();
    from.shuffle(&mut rng);
    let mut out = clean.to_owned();
    for (to, from) in from.into_iter().enumerate() {
        let (y, x) = (to / width, to % width);
        let delta = |c: usize| adversarial[(c, from / width, from % width)] - clean[(c, from / width, from % width)];
        let sign = if rng.random::<bool>() { 1.0 } else { -1.0 };
        let inside = |sign: f32| (0..channels).filter(|c| (0.0..=1.0).contains(&(clean[(*c, y, x)] + sign * delta(*c)))).count();
        let sign = if inside(-sign) > inside(sign) { -sign } else { sign };
        for c in 0..channels {
            out[(c, y, x)] = (clean[(c, y, x)] + sign * delta(c)).clamp(0.0, 1.0);
        }
    }
    out
}
