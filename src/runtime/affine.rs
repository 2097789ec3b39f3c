//! From pixels to what a model takes, and the gradient back: per channel `scale * pixel + offset`, channel order, layout.

use ndarray::{Array4, ArrayD, ArrayView4, ArrayViewD, Axis, Ix4};

use crate::core::{
    error::{Error, Result},
    graph::Layout,
};

/// `model_input[m] = pixel[channel(m)] * scale[m] + offset[m]`, with `m` in the model's channel order. For ImageNet
/// models `scale = 1 / std` and `offset = -mean / std`; for models that take 0..255, `scale = 255`.
#[derive(Debug, Clone, PartialEq)]
pub struct Affine {
    /// One factor per channel of the model's input, none of them 0.
    pub scale: Vec<f32>,
    /// One summand per channel of the model's input.
    pub offset: Vec<f32>,
    /// Whether the model takes blue first.
    pub bgr: bool,
}

impl Affine {
    /// Pixels as they are.
    pub fn identity(channels: usize) -> Self {
        Self { scale: vec![1.0; channels], offset: vec![0.0; channels], bgr: false }
    }

    /// `(pixel - mean) / std` per channel of the model's input, mean and std in pixel units (0..1).
    pub fn normalise(mean: &[f32], std: &[f32], bgr: bool) -> Self {
        Self { scale: std.iter().map(|s| 1.0 / s).collect(), offset: mean.iter().zip(std).map(|(m, s)| -m / s).collect(), bgr }
    }

    /// Checks that it fits a model with this many channels.
    pub fn check(&self, channels: usize) -> Result<()> {
        let fits = self.scale.len() == channels && self.offset.len() == channels;
        if !fits {
            let text = format!(
                "the preprocessing has {} channels and the model takes {channels}; give one mean and std per channel",
                self.scale.len()
            );
            return Err(Error::Parameter(text));
        }
        if self.scale.iter().any(|s| !s.is_finite() || *s == 0.0) || self.offset.iter().any(|o| !o.is_finite()) {
            return Err(Error::Parameter("the preprocessing's mean and std must be finite numbers, and std must not be 0".into()));
        }
        Ok(())
    }

    /// The pixel that becomes 0, per channel of the picture, kept within 0..1.
    pub fn neutral(&self) -> Vec<f32> {
        let mut pixel = vec![0.0; self.scale.len()];
        for (m, (scale, offset)) in self.scale.iter().zip(&self.offset).enumerate() {
            pixel[self.channel(m)] = (-offset / scale).clamp(0.0, 1.0);
        }
        pixel
    }

    fn channel(&self, m: usize) -> usize {
        if self.bgr { self.scale.len() - 1 - m } else { m }
    }

    /// Pixels `[N, C, H, W]` to the model's input in its layout, row-major.
    pub fn forward(&self, pixels: ArrayView4<f32>, layout: Layout) -> ArrayD<f32> {
        self.forward_into(pixels, layout, None)
    }

    /// The same in the memory of an earlier input where that fits: fresh memory costs as much as the arithmetic.
    pub fn forward_into(&self, pixels: ArrayView4<f32>, layout: Layout, memory: Option<ArrayD<f32>>) -> ArrayD<f32> {
        let memory = memory.and_then(|m| m.into_dimensionality::<Ix4>().ok());
        let fits = |m: &Array4<f32>| layout == Layout::Nchw && m.is_standard_layout() && m.dim() == pixels.dim();
        let mut out = memory.filter(fits).unwrap_or_else(|| Array4::zeros(pixels.raw_dim()));
        for (m, mut plane) in out.axis_iter_mut(Axis(1)).enumerate() {
            let (scale, offset) = (self.scale[m], self.offset[m]);
            plane.zip_mut_with(&pixels.index_axis(Axis(1), self.channel(m)), |o, p| *o = p * scale + offset);
        }
        match layout {
            Layout::Nchw => out.into_dyn(),
            Layout::Nhwc => out.permuted_axes([0, 2, 3, 1]).as_standard_layout().into_owned().into_dyn(),
        }
    }

    /// The gradient with respect to the model's input, in its layout, to the gradient with respect to the pixels, row-major.
    pub fn backward(&self, gradient: ArrayViewD<f32>, layout: Layout) -> Result<Array4<f32>> {
        let shape = gradient.shape().to_vec();
        let gradient = gradient.into_dimensionality::<Ix4>().ok().map(|g| match layout {
            Layout::Nchw => g,
            Layout::Nhwc => g.permuted_axes([0, 3, 1, 2]),
        });
        let gradient = gradient.filter(|g| g.dim().1 == self.scale.len());
        let gradient =
            gradient.ok_or_else(|| Error::Engine(format!("the gradient has shape {shape:?}, which is not that of the image")))?;
        // Written once, into memory that was not cleared before.
        let mut out = Vec::with_capacity(gradient.len());
        for image in gradient.outer_iter() {
            for c in 0..self.scale.len() {
                let m = self.channel(c);
                let (plane, scale) = (image.index_axis(Axis(0), m), self.scale[m]);
                match plane.as_slice() {
                    Some(values) => out.extend(values.iter().map(|g| g * scale)),
                    None => out.extend(plane.iter().map(|g| g * scale)),
                }
            }
        }
        Array4::from_shape_vec(gradient.raw_dim(), out).map_err(|e| Error::Engine(format!("the gradient cannot be laid out ({e})")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels() -> Array4<f32> {
        Array4::from_shape_fn((2, 3, 2, 4), |(n, c, h, w)| 0.01 * (n * 24 + c * 8 + h * 4 + w) as f32)
    }

    #[test]
    fn memory_is_used_again_where_it_fits() {
        let affine = Affine::normalise(&[0.1, 0.2, 0.3], &[0.5, 0.6, 0.7], true);
        let pixels = pixels();
        for layout in [Layout::Nchw, Layout::Nhwc] {
            let fresh = affine.forward(pixels.view(), layout);
            for shape in [&[2, 3, 2, 4][..], &[2, 2, 4, 3], &[1, 3, 2, 4], &[5]] {
                let used = ArrayD::from_elem(shape, f32::NAN);
                assert_eq!(affine.forward_into(pixels.view(), layout, Some(used)), fresh);
            }
        }
    }

    #[test]
    fn forward_scales_reorders_and_lays_out() {
        let affine = Affine { scale: vec![2.0, 3.0, 4.0], offset: vec![0.5, 0.0, -1.0], bgr: true };
        let x = pixels();
        let nchw = affine.forward(x.view(), Layout::Nchw);
        let nhwc = affine.forward(x.view(), Layout::Nhwc);
        for ((n, c, h, w), &p) in x.indexed_iter() {
            let m = 2 - c;
            let expected = p * affine.scale[m] + affine.offset[m];
            assert_eq!(nchw[[n, m, h, w]], expected);
            assert_eq!(nhwc[[n, h, w, m]], expected);
        }
        assert!(nhwc.is_standard_layout());
    }

    #[test]
    fn backward_is_the_transpose_of_forward() {
        let affine = Affine { scale: vec![2.0, 3.0, -4.0], offset: vec![0.0; 3], bgr: true };
        for layout in [Layout::Nchw, Layout::Nhwc] {
            let x = pixels();
            let forward = affine.forward(x.view(), layout);
            let cotangent = forward.mapv(|v| (v * 37.0).sin());
            let back = affine.backward(cotangent.view(), layout).unwrap();
            let left: f32 = (&forward * &cotangent).sum();
            let right: f32 = (&x * &back).sum();
            assert!((left - right).abs() < 1e-4, "{left} {right}");
        }
    }

    #[test]
    fn misfits_are_refused() {
        assert!(Affine::identity(3).check(1).is_err());
        assert!(Affine::normalise(&[0.5], &[0.0], false).check(1).is_err());
        assert!(Affine::normalise(&[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225], false).check(3).is_ok());
        assert!(Affine::identity(3).backward(ArrayD::zeros(vec![1, 2, 2, 2]).view(), Layout::Nchw).is_err());
    }
}
