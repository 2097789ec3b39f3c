//! Explanations of a perturbation: one file each.

pub mod cam;
pub mod interpretability;
pub mod layers;
pub mod psr;
pub mod sensitivity;
pub mod units;
pub mod upsample;

#[cfg(test)]
mod tests;
