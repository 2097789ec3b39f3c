//! What a network does to pixels before its first layer, as data: `model[c] = (pixel[c] * scale - mean[c]) / std[c]`.

use super::resize::{Fit, Interpolation, Resize};
use crate::core::error::{Error, Result};

/// From pixel space (RGB, 0..1) to what the model takes. `mean` and `std` are in the model's channel order (BGR when
/// `bgr`) and in units of `scale`.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocess {
    /// Height and width of the model's input.
    pub size: [usize; 2],
    /// How a picture gets there.
    pub resize: Resize,
    /// Largest pixel value before mean and std: 1 or 255.
    pub scale: f32,
    /// Subtracted, one per channel.
    pub mean: Vec<f32>,
    /// Divided by, one per channel.
    pub std: Vec<f32>,
    /// Whether channel 0 of the model is blue.
    pub bgr: bool,
    /// Where these settings came from, for instance `preset imagenet` or `preprocessor_config.json`.
    pub source: String,
}

/// Names of the presets, with one sentence each.
pub const PRESETS: &[(&str, &str)] = &[
    ("imagenet", "0..1, ImageNet mean and std (torchvision, most of timm), shorter edge size/0.875, bilinear"),
    ("inception", "0..1, mean and std 0.5, shorter edge size/0.875, bicubic (Inception, ViT)"),
    ("caffe", "0..255, BGR, mean 103.939 116.779 123.68, std 1 (VGG and ResNet of Keras and Caffe)"),
    ("tf", "0..255 to -1..1 by x/127.5 - 1, sized exactly (MobileNet and Xception of Keras)"),
    ("unit", "0..1 as it is: the model does the rest itself"),
    ("cifar10", "0..1, CIFAR-10 mean and std, sized exactly"),
    ("lite", "0..255, (x - 127) / 128, bicubic, shorter edge size + 32 (EfficientNet-Lite)"),
];

/// SHA-256 of model files that psescope ships or fetches, and their preset: the files themselves do not say. All of them
/// are resized like EfficientNet-Lite (bicubic, shorter edge size + 32), which is what they were checked with.
const KNOWN: &[(&str, &str, &str)] = &[
    ("891f59e7fe6a84554619c63380f434bf0531f0e1d7b48b08a8186367f51b7896", "unit", "squeezenet1_1.onnx"),
    ("6d02b8da342634a4ce3a682ef8baf7e12f402958f27952daa649bc6d02e6f333", "lite", "efficientnet-lite0.onnx"),
];

impl Preprocess {
    /// A preset for a model input of `[height, width]`.
    pub fn preset(name: &str, size: [usize; 2]) -> Result<Self> {
        let exact = Fit::Exact;
        let fraction = Fit::CropFraction(0.875);
        let (fit, interpolation, scale, mean, std, bgr): (_, _, _, [f32; 3], [f32; 3], _) = match name.to_ascii_lowercase().as_str() {
            "imagenet" => (fraction, Interpolation::Bilinear, 1.0, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], false),
            "inception" => (fraction, Interpolation::Bicubic, 1.0, [0.5; 3], [0.5; 3], false),
            "caffe" => (fraction, Interpolation::Bilinear, 255.0, [103.939, 116.779, 123.68], [1.0; 3], true),
            "tf" => (exact, Interpolation::Bilinear, 255.0, [127.5; 3], [127.5; 3], false),
            "unit" => (fraction, Interpolation::Bilinear, 1.0, [0.0; 3], [1.0; 3], false),
            "cifar10" => (exact, Interpolation::Bilinear, 1.0, [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616], false),
            "lite" => (Fit::ShorterEdge(size[0].min(size[1]) + 32), Interpolation::Bicubic, 255.0, [127.0; 3], [128.0; 3], false),
            other => {
                let names = PRESETS.iter().map(|(n, _)| *n).collect::<Vec<_>>().join(", ");
                return Err(Error::Parameter(format!("there is no preprocessing preset '{other}'; choose one of {names}")));
            }
        };
        let (mean, std) = (mean.to_vec(), std.to_vec());
        let source = format!("preset {}", name.to_ascii_lowercase());
        Ok(Self { size, resize: Resize { fit, interpolation }, scale, mean, std, bgr, source })
    }

    /// Settings of a model file that is known by its SHA-256 (lower-case hex). Nothing is guessed from names.
    pub fn known(sha256: &str, size: [usize; 2]) -> Option<Self> {
        let (_, preset, file) = KNOWN.iter().find(|(hash, _, _)| *hash == sha256)?;
        let known = Self::preset(preset, size).ok()?;
        let resize = Self::preset("lite", size).ok()?.resize;
        Some(Self { source: format!("preset {preset}, known file {file}"), resize, ..known })
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.mean.len()
    }

    /// Replaces mean and std (either may be absent) and checks them; one value is used for every channel.
    pub fn with_mean_std(mut self, mean: Option<&[f32]>, std: Option<&[f32]>) -> Result<Self> {
        let channels = self.channels();
        let fill = |given: &[f32], name: &str| match given.len() {
            1 => Ok(vec![given[0]; channels]),
            n if n == channels => Ok(given.to_vec()),
            n => Err(Error::Parameter(format!("{name} has {n} values; give 1 or {channels}"))),
        };
        if let Some(mean) = mean {
            self.mean = fill(mean, "mean")?;
        }
        if let Some(std) = std {
            self.std = fill(std, "std")?;
        }
        self.check()
    }

    /// Fits these settings to a model with this many channels: three values become one by averaging, one is repeated.
    pub fn with_channels(mut self, channels: usize) -> Result<Self> {
        let adapt = |values: &[f32]| match (values.len(), channels) {
            (n, m) if n == m => Ok(values.to_vec()),
            (1, m) => Ok(vec![values[0]; m]),
            (n, 1) => Ok(vec![values.iter().sum::<f32>() / n as f32]),
            (n, m) => Err(Error::Parameter(format!(
                "the preprocessing has {n} channels and the model {m}; give --mean and --std with {m} values"
            ))),
        };
        self.mean = adapt(&self.mean)?;
        self.std = adapt(&self.std)?;
        self.bgr &= channels == 3;
        self.check()
    }

    /// The settings when they can be used: finite, std above 0, a positive size.
    pub fn check(self) -> Result<Self> {
        let bad = |why: &str| Err(Error::Parameter(format!("the preprocessing from {} cannot be used: {why}", self.source)));
        if self.mean.is_empty() || self.mean.len() != self.std.len() {
            return bad("mean and std must have one value per channel");
        }
        if self.mean.iter().chain([&self.scale]).any(|v| !v.is_finite()) || self.std.iter().any(|v| !v.is_finite() || *v <= 0.0) {
            return bad("mean must be finite and std above 0");
        }
        if self.scale <= 0.0 {
            return bad("the pixel range must be above 0");
        }
        if self.size.iter().any(|s| !(1..=16384).contains(s)) {
            return bad("a side must have 1 to 16384 pixels");
        }
        if self.bgr && self.mean.len() != 3 {
            return bad("BGR needs three channels");
        }
        if let Fit::CropFraction(f) = self.resize.fit
            && !(f > 0.01 && f <= 4.0)
        {
            return bad("the crop fraction must lie between 0.01 and 4");
        }
        if let Fit::ShorterEdge(e) = self.resize.fit
            && !(1..=16384).contains(&e)
        {
            return bad("the shorter edge must have 1 to 16384 pixels");
        }
        Ok(self)
    }

    /// Per model channel, in the model's order: `model = pixel * scale + offset`, pixels 0..1.
    pub fn affine(&self) -> (Vec<f32>, Vec<f32>) {
        let scale = self.std.iter().map(|s| (f64::from(self.scale) / f64::from(*s)) as f32).collect();
        let offset = self.mean.iter().zip(&self.std).map(|(m, s)| (-f64::from(*m) / f64::from(*s)) as f32).collect();
        (scale, offset)
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        let list = |values: &[f32]| match values.iter().all(|v| *v == values[0]) {
            true => values[0].to_string(),
            false => values.iter().map(|v| v.to_string()).collect::<Vec<_>>().join(" "),
        };
        let fit = match self.resize.fit.shorter_edge(self.size) {
            None => "exact".to_owned(),
            Some(edge) => format!("shorter edge {edge}, centre crop"),
        };
        let [height, width] = self.size;
        let order = match (self.channels(), self.bgr) {
            (1, _) => "grey",
            (_, true) => "BGR",
            (_, false) => "RGB",
        };
        let mean_std = if self.mean.iter().all(|m| *m == 0.0) && self.std.iter().all(|s| *s == 1.0) {
            String::new()
        } else {
            format!(", mean {} std {}", list(&self.mean), list(&self.std))
        };
        format!("{width}x{height} {order} 0..{}{mean_std}, {} {fit} ({})", self.scale, self.resize.interpolation.name(), self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_check_and_describe() {
        for (name, _) in PRESETS {
            let p = Preprocess::preset(name, [224, 224]).unwrap().check().unwrap();
            assert!(p.describe().contains(name), "{}", p.describe());
        }
        let text = Preprocess::preset("nope", [1, 1]).unwrap_err().to_string();
        assert!(text.contains("imagenet, inception"));
    }

    #[test]
    fn affine_of_lite_and_caffe() {
        let lite = Preprocess::preset("lite", [224, 224]).unwrap();
        let (scale, offset) = lite.affine();
        assert_eq!((scale[0], offset[0]), (255.0 / 128.0, -127.0 / 128.0));
        assert_eq!(lite.resize.fit.shorter_edge(lite.size), Some(256));
        let caffe = Preprocess::preset("caffe", [224, 224]).unwrap();
        assert!(caffe.bgr && !lite.bgr);
        assert_eq!(caffe.affine().1[0], -103.939);
        assert_eq!(caffe.resize.fit.shorter_edge([224, 224]), Some(256));
    }

    #[test]
    fn channels_adapt() {
        let grey = Preprocess::preset("caffe", [28, 28]).unwrap().with_channels(1).unwrap();
        assert_eq!((grey.channels(), grey.bgr), (1, false));
        assert!(Preprocess::preset("imagenet", [28, 28]).unwrap().with_channels(4).is_err());
        let own = Preprocess::preset("unit", [28, 28]).unwrap().with_mean_std(Some(&[0.5]), Some(&[0.1, 0.2, 0.3])).unwrap();
        assert_eq!(own.mean, [0.5; 3]);
        assert!(Preprocess::preset("unit", [28, 28]).unwrap().with_mean_std(None, Some(&[0.0])).is_err());
    }

    #[test]
    fn known_files_by_hash_only() {
        let p = Preprocess::known(KNOWN[1].0, [224, 224]).unwrap();
        assert_eq!(p.scale, 255.0);
        assert!(p.source.contains("efficientnet-lite0"));
        assert!(Preprocess::known("00", [224, 224]).is_none());
    }
}
