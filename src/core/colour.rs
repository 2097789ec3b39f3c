//! The colours of maps, chosen so that every kind of colour vision can tell them apart: docs/colours in the style notes measured orange and
//! blue on black as the safest pair. Colour is never the only carrier: signs go with it.

/// Promotion of the target.
pub const PROMOTION: [u8; 3] = [230, 159, 0];
/// Suppression of the true class.
pub const SUPPRESSION: [u8; 3] = [0, 114, 178];
/// Both.
pub const BALANCED: [u8; 3] = [153, 153, 153];

/// Dark to light, for values 0..1: lightness rises all the way, so that it reads without hue. Anchors every quarter, linear between.
pub fn sequential(value: f32) -> [u8; 3] {
    const ANCHORS: [[f32; 3]; 5] =
        [[0.0, 0.0, 24.0], [80.0, 18.0, 110.0], [182.0, 55.0, 84.0], [244.0, 137.0, 28.0], [252.0, 253.0, 191.0]];
    let at = if value.is_finite() { value.clamp(0.0, 1.0) * 4.0 } else { 0.0 };
    let (low, part) = ((at as usize).min(3), at - (at as usize).min(3) as f32);
    std::array::from_fn(|c| (ANCHORS[low][c] * (1.0 - part) + ANCHORS[low + 1][c] * part).round() as u8)
}
