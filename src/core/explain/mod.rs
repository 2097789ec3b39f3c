//! Explanations of a perturbation: one file each.

pub mod cam;
pub mod psr;
