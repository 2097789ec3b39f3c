//! The colours of maps, chosen so that every kind of colour vision can tell them apart: docs/colours in the style notes measured orange and
//! blue on black as the safest pair. Colour is never the only carrier: signs go with it.

/// Promotion of the target.
pub const PROMOTION: [u8; 3] = [230, 159, 0];
/// Suppression of the true class.
pub const SUPPRESSION: [u8; 3] = [0, 114, 178];
/// Both.
pub const BALANCED: [u8; 3] = [153, 153, 153];
