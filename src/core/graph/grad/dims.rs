//! Arithmetic on dimensions that may depend on the batch size.

use crate::core::onnx::Dim;

/// The dimension two broadcast dimensions give.
pub fn broadcast_dim(a: Dim, b: Dim) -> Dim {
    match (a, b) {
        (Dim::Fixed(1), d) | (d, Dim::Fixed(1)) => d,
        (Dim::Unknown, d) | (d, Dim::Unknown) => d,
        (a, _) => a,
    }
}

/// The shape that broadcasting two shapes gives.
pub fn broadcast(a: &[Dim], b: &[Dim]) -> Vec<Dim> {
    let rank = a.len().max(b.len());
    let at = |s: &[Dim], i: usize| (i + s.len()).checked_sub(rank).map_or(Dim::Fixed(1), |k| s[k]);
    (0..rank).map(|i| broadcast_dim(at(a, i), at(b, i))).collect()
}

/// Number of elements, as a dimension: `Unknown` when it is not a multiple of the batch size alone.
pub fn product(dims: &[Dim]) -> Dim {
    dims.iter().fold(Dim::Fixed(1), |acc, d| match (acc, *d) {
        (Dim::Fixed(a), Dim::Fixed(b)) => Dim::Fixed(a * b),
        (Dim::Fixed(a), Dim::Batch(b)) | (Dim::Batch(b), Dim::Fixed(a)) => Dim::Batch(a * b),
        _ => Dim::Unknown,
    })
}

/// The shape as the constant operand of a Reshape, with at most one -1; `None` when two sizes are open.
pub fn reshape_target(dims: &[Dim]) -> Option<Vec<i64>> {
    let mut open = 0;
    let target = dims
        .iter()
        .map(|d| {
            d.fixed().map_or_else(
                || {
                    open += 1;
                    -1
                },
                |v| v as i64,
            )
        })
        .collect();
    (open <= 1).then_some(target)
}

/// All sizes when none depends on the batch.
pub fn all_fixed(dims: &[Dim]) -> Option<Vec<usize>> {
    dims.iter().map(|d| d.fixed()).collect()
}

/// An axis that may count from the end.
pub fn axis(a: i64, rank: usize) -> usize {
    if a < 0 { (a + rank as i64).max(0) as usize } else { a as usize }
}
