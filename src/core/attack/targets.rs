//! Choosing the class to reach from the clean logits.

use ndarray::ArrayView1;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::scalars;
use crate::core::error::{Error, Result};

/// A rule that picks a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The best class other than the true one.
    Second,
    /// The class with the lowest logit other than the true one.
    LeastLikely,
    /// Uniform among the other classes, from the seed.
    Random,
}

/// The class a rule picks; never `label`.
pub fn pick(rule: Rule, clean: ArrayView1<f32>, label: usize, seed: u64) -> Result<usize> {
    let classes = clean.len();
    if classes < 2 || label >= classes {
        return Err(Error::Parameter(format!("a target needs another class than {label}; this model has {classes}")));
    }
    Ok(match rule {
        Rule::Second => scalars::top(clean, 2).into_iter().map(|t| t.0).find(|c| *c != label).unwrap_or(usize::from(label == 0)),
        Rule::LeastLikely => {
            let lowest = (0..classes).filter(|c| *c != label).min_by(|a, b| clean[*a].total_cmp(&clean[*b]));
            lowest.unwrap_or(usize::from(label == 0))
        }
        Rule::Random => {
            let drawn = ChaCha8Rng::seed_from_u64(seed).random_range(0..classes - 1);
            if drawn >= label { drawn + 1 } else { drawn }
        }
    })
}

/// The class with this rank (from 1) when the true one is left out.
pub fn ranked(clean: ArrayView1<f32>, label: usize, rank: usize) -> Result<usize> {
    let order = scalars::top(clean, rank.saturating_add(1).min(clean.len()));
    order.into_iter().map(|t| t.0).filter(|c| *c != label).nth(rank.saturating_sub(1)).ok_or_else(|| {
        let others = clean.len().saturating_sub(1);
        Error::Parameter(format!("there is no class of rank {rank}: this model has {others} classes besides the true one"))
    })
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn every_rule_avoids_the_label() {
        let z = array![0.0f32, 5.0, 4.0, -3.0];
        assert_eq!(pick(Rule::Second, z.view(), 1, 0).unwrap(), 2);
        assert_eq!(pick(Rule::Second, z.view(), 0, 0).unwrap(), 1);
        assert_eq!(pick(Rule::LeastLikely, z.view(), 3, 0).unwrap(), 0);
        let drawn: Vec<usize> = (0..50).map(|s| pick(Rule::Random, z.view(), 2, s).unwrap()).collect();
        assert!([0, 1, 3].iter().all(|c| drawn.contains(c)) && !drawn.contains(&2));
        assert_eq!(pick(Rule::Random, z.view(), 2, 7).unwrap(), pick(Rule::Random, z.view(), 2, 7).unwrap());
        assert!(pick(Rule::Second, array![1.0f32].view(), 0, 0).is_err());
        let ranks: Vec<usize> = (1..4).map(|r| ranked(z.view(), 2, r).unwrap()).collect();
        assert_eq!(ranks, [1, 0, 3]);
        assert_eq!(ranked(z.view(), 1, 1).unwrap(), pick(Rule::Second, z.view(), 1, 0).unwrap());
        assert!(ranked(z.view(), 1, 4).unwrap_err().to_string().contains("3 classes"));
    }
}
