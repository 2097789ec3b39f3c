//! Colours of maps: promotion against suppression, and a monotone ramp for class activation maps. Both keep their
//! order for colour-blind eyes; signs and numbers carry the same information without colour.

use super::explain::psr::Kind;

/// Promotion: orange.
pub const PROMOTION: [u8; 3] = [255, 146, 20];
/// Suppression: blue.
pub const SUPPRESSION: [u8; 3] = [40, 130, 255];
/// Balanced: grey.
pub const BALANCED: [u8; 3] = [190, 190, 190];

/// Colour of a cell's type; nothing for inert cells.
pub fn kind_colour(kind: Kind) -> Option<[u8; 3]> {
    match kind {
        Kind::Promotion => Some(PROMOTION),
        Kind::Suppression => Some(SUPPRESSION),
        Kind::Balanced => Some(BALANCED),
        Kind::Inert => None,
    }
}

/// Sign of a cell's type.
pub fn kind_sign(kind: Kind) -> char {
    match kind {
        Kind::Promotion => '+',
        Kind::Suppression => '-',
        Kind::Balanced => '=',
        Kind::Inert => ' ',
    }
}

/// Dark to bright through purple and orange; lightness rises evenly. `t` from 0 to 1.
pub fn heat(t: f32) -> [u8; 3] {
    const STOPS: [[u8; 3]; 9] = [
        [0, 0, 4],
        [31, 12, 72],
        [85, 15, 109],
        [136, 34, 106],
        [186, 54, 85],
        [227, 89, 51],
        [249, 140, 10],
        [249, 201, 50],
        [252, 255, 164],
    ];
    let x = t.clamp(0.0, 1.0) * (STOPS.len() - 1) as f32;
    let i = (x as usize).min(STOPS.len() - 2);
    blend(STOPS[i], STOPS[i + 1], x - i as f32)
}

/// Purple through white to orange, `t` from -1 (suppression) to 1 (promotion): keeps its order for colour-blind eyes, and its hues on 256 colours,
/// where mixtures of orange and blue with a dark picture shift.
pub fn purple_orange(t: f32) -> [u8; 3] {
    const STOPS: [[u8; 3]; 9] = [
        [45, 0, 75],
        [84, 39, 136],
        [128, 115, 172],
        [178, 171, 210],
        [247, 247, 247],
        [253, 184, 99],
        [224, 130, 20],
        [179, 88, 6],
        [127, 59, 8],
    ];
    let x = (t.clamp(-1.0, 1.0) + 1.0) / 2.0 * (STOPS.len() - 1) as f32;
    let i = (x as usize).min(STOPS.len() - 2);
    blend(STOPS[i], STOPS[i + 1], x - i as f32)
}

/// Blue through black to orange, `t` from -1 (suppression) to 1 (promotion): nothing is dark.
pub fn blue_orange(t: f32) -> [u8; 3] {
    blend([0; 3], if t < 0.0 { SUPPRESSION } else { PROMOTION }, t.abs())
}

/// `a` at 0, `b` at 1.
pub fn blend(a: [u8; 3], b: [u8; 3], t: f32) -> [u8; 3] {
    let t = t.clamp(0.0, 1.0);
    std::array::from_fn(|i| (f32::from(a[i]) + (f32::from(b[i]) - f32::from(a[i])) * t).round() as u8)
}

/// Perceived lightness, 0..1 (Rec. 709 weights on the coded values).
pub fn luma([r, g, b]: [u8; 3]) -> f32 {
    (0.2126 * f32::from(r) + 0.7152 * f32::from(g) + 0.0722 * f32::from(b)) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ramp_gets_lighter_all_the_way() {
        let mut last = -1.0;
        for i in 0..=100 {
            let l = luma(heat(i as f32 / 100.0));
            assert!(l >= last, "step {i}");
            last = l;
        }
    }
}
