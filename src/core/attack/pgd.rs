//! PGD: Madry et al. 2018 (arXiv 1706.06083). The loop of IFGSM from a random point of the ball, with restarts.

use super::{
    About,
    gradient_sign::{self, GradientSign},
};

/// Projected gradient descent with random start.
pub(super) static PGD: GradientSign = GradientSign(About {
    name: "pgd",
    summary: "Projected gradient descent from a random start, with restarts.",
    params: &[
        gradient_sign::EPS,
        gradient_sign::ALPHA,
        gradient_sign::steps("40"),
        gradient_sign::NORM,
        gradient_sign::random_start("yes"),
        gradient_sign::RESTARTS,
    ],
});
