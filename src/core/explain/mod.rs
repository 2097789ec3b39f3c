//! Explanations of a perturbation: one file each.

pub mod cam;
pub mod faithfulness;
mod impute;
pub mod insight;
pub mod interpretability;
pub mod layers;
pub mod psr;
pub mod recovery;
pub mod region;
pub mod score_cam;
pub mod sensitivity;
pub mod units;
pub mod upsample;

#[cfg(test)]
mod tests;
