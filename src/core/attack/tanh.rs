//! tanh for whole images: branch-free, so that the compiler runs several pixels at once. The library's takes most of a C&W step's own
//! time.

/// Largest magnitude at which the series is used: its first left-out term is below half a unit in the last place there.
const SMALL: f32 = 0.25;

/// tanh within two units in the last place.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let size = x.abs();
    // Near 0: x (1 - x^2/3 + 2 x^4/15 - 17 x^6/315 + 62 x^8/2835), exact to relative precision.
    let z = x * x;
    let series = x * (1.0 + z * (-1.0 / 3.0 + z * (2.0 / 15.0 + z * (-17.0 / 315.0 + z * (62.0 / 2835.0)))));
    // Elsewhere (1 - e) / (1 + e) with e = exp(-2 |x|).
    let e = decay(2.0 * size.min(20.0));
    let far = ((1.0 - e) / (1.0 + e)).copysign(x);
    // What is not a number goes through the series.
    if size >= SMALL { far } else { series }
}

/// exp(-y) for y from 0 to 40, within a unit in the last place or so: 2^-n times a polynomial on the rest.
#[inline(always)]
fn decay(y: f32) -> f32 {
    // Adding this rounds to an integer that is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts: the first has trailing zeros, so that its multiples are exact.
    const HIGH: f32 = 0.693_359_4;
    const LOW: f32 = -2.121_944_4e-4;
    let shifted = -y * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (-y - n * HIGH) - n * LOW;
    let tail = 1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0))));
    let p = 1.0 + r * (1.0 + r * (0.5 + r * tail));
    // n lies between -58 and 0: 2^n is a normal number.
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    p * f32::from_bits(exponent << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_to_the_last_place_everywhere() {
        let mut worst = 0.0f64;
        for i in -400_000..=400_000i32 {
            let x = i as f32 * 5e-5;
            let exact = f64::from(x).tanh();
            let unit = f64::from(f32::EPSILON) * exact.abs().max(f64::from(f32::MIN_POSITIVE));
            worst = worst.max((f64::from(tanh(x)) - exact).abs() / unit);
        }
        assert!(worst < 2.0, "{worst} units");
        // Between the steps of the sweep, near 0 and at the ends.
        for x in [1e-30f32, -3e-8, 0.249_999_99, 0.25, -0.250_000_03, 9.010_913, 88.0, f32::INFINITY] {
            let exact = f64::from(x).tanh();
            assert!((f64::from(tanh(x)) - exact).abs() <= 2.0 * f64::from(f32::EPSILON) * exact.abs(), "{x}");
            assert_eq!(tanh(-x), -tanh(x), "odd at {x}");
        }
        assert_eq!(tanh(0.0), 0.0);
        assert!(tanh(f32::NAN).is_nan());
    }
}
