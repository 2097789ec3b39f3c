//! APGD's step. It comes before the network: what it starts from is the last image or the best one, whose gradients are known, so that
//! going back to the best costs nothing and the host only chooses which tensors a run is given.

use super::Pass;
use crate::core::onnx::Dim;

impl Pass<'_> {
    /// `P(x + keep (P(x + step * unit(g)) - x) + (1 - keep)(x - previous))`; with `keep` 0 the image stays as it is.
    pub(super) fn auto(&mut self, clean: &str, l2: bool) -> String {
        let (step, keep, eps) = if l2 {
            let [step, keep, eps] = self.scalars();
            (step, keep, Some(eps))
        } else {
            let [step, keep] = self.scalars();
            (step, keep, None)
        };
        let [pixels, previous, gradient] = ["pixels", "previous", "gradient"].map(|role| self.images(role, Dim::Batch(1)));
        let direction = if l2 { self.unit(&gradient) } else { self.signs(&gradient) };
        let bounds = (!l2).then(|| self.bounds());
        let project = |x: &str| match (&bounds, &eps) {
            (Some((low, high)), _) => self.between(x, low, high),
            (None, Some(eps)) => self.into_ball(x, clean, eps),
            (None, None) => x.to_owned(),
        };
        let b = self.b;
        let z = project(&b.add(&pixels, &b.mul(&direction, &step)));
        let one = self.constant(1.0);
        let forth = b.mul(&b.sub(&z, &pixels), &keep);
        let on = b.mul(&b.sub(&pixels, &previous), &b.sub(&one, &keep));
        let moved = project(&b.add(&pixels, &b.add(&forth, &on)));
        let next = self.select(&b.compare("Greater", &keep, &self.constant(0.0)), &moved, &pixels);
        self.output("next_pixels", &next);
        self.roles["next_pixels"].clone()
    }
}
