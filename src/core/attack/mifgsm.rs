//! MI-FGSM: Dong et al. 2018 (arXiv 1710.06081). The loop of IFGSM on an accumulated direction.

use super::{
    About, Kind, ParamSpec,
    gradient_sign::{self, GradientSign},
};

/// Momentum iterative gradient sign.
pub(super) static MIFGSM: GradientSign = GradientSign(About {
    name: "mifgsm",
    summary: "Gradient sign with momentum: steadier directions, better transfer to other models.",
    params: &[
        gradient_sign::EPS,
        gradient_sign::ALPHA,
        gradient_sign::steps("10"),
        gradient_sign::NORM,
        gradient_sign::random_start("no"),
        ParamSpec {
            name: "mu",
            kind: Kind::Float { min: 0.0, max: 10.0 },
            default: "1",
            unit: "",
            help: "How much of the earlier direction is kept each step.",
        },
    ],
});
