//! `Resize` and `Upsample`: output sizes, and which input elements each output element reads with which weights.

use super::super::args::{Args, Fail, Res, bad};
use super::axes::axis;

/// Input indices and their weights.
pub type Taps = Vec<(usize, f64)>;

/// How one axis is resampled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AxisScale {
    /// Input size.
    pub input: usize,
    /// Output size.
    pub output: usize,
    /// Output over input, as the operator uses it (not always the ratio of the sizes).
    pub scale: f64,
    /// Region of interest for `tf_crop_and_resize`.
    pub roi: [f64; 2],
}

/// A resampling with everything resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Resampling {
    /// One entry per axis.
    pub axes: Vec<AxisScale>,
    /// `nearest`, `linear` or `cubic`.
    pub mode: String,
    /// `coordinate_transformation_mode`.
    pub coordinates: String,
    /// `nearest_mode`; `simple` is the rule of opset 10 and below.
    pub nearest: String,
    /// Cubic coefficient.
    pub cubic: f64,
    /// Whether taps outside the input are left out.
    pub exclude_outside: bool,
    /// Whether the filter widens when shrinking.
    pub antialias: bool,
    /// Value outside the region of interest.
    pub extrapolation: f64,
}

impl Resampling {
    /// Reads a `Resize` or `Upsample` node over an input of this shape.
    pub fn of(args: &Args, input: &[usize]) -> Res<Self> {
        let old = args.node.op == "Upsample" || args.opset < 11;
        let text = |name: &str, default: &str| args.node.text(name, default);
        Ok(Self {
            axes: axes(args, input, old)?,
            mode: if text("mode", "nearest") == "bilinear" { "linear".into() } else { text("mode", "nearest") },
            coordinates: if old { "asymmetric".into() } else { text("coordinate_transformation_mode", "half_pixel") },
            nearest: if old { "simple".into() } else { text("nearest_mode", "round_prefer_floor") },
            cubic: args.float("cubic_coeff_a", -0.75),
            exclude_outside: args.int("exclude_outside", 0) != 0,
            antialias: args.int("antialias", 0) != 0,
            extrapolation: args.float("extrapolation_value", 0.0),
        })
    }

    /// Output shape.
    pub fn shape(&self) -> Vec<usize> {
        self.axes.iter().map(|a| a.output).collect()
    }

    /// For each output index along `axis`, the input indices it reads and their weights; `None` where the
    /// extrapolation value is taken.
    pub fn taps(&self, axis: usize) -> Res<Vec<Option<Taps>>> {
        let a = &self.axes[axis];
        if a.input == a.output && a.scale == 1.0 && self.coordinates != "tf_crop_and_resize" {
            return Ok((0..a.output).map(|i| Some(vec![(i, 1.0)])).collect());
        }
        (0..a.output)
            .map(|i| {
                let x = self.source(a, i)?;
                if self.coordinates == "tf_crop_and_resize" && (x < 0.0 || x > (a.input - 1) as f64) {
                    return Ok(None);
                }
                self.weights(a, x).map(Some)
            })
            .collect()
    }

    /// Input coordinate of output index `i`. For `nearest`, where a rounding error picks another element, every step is
    /// rounded to float32 as runtimes do.
    fn source(&self, a: &AxisScale, i: usize) -> Res<f64> {
        let round = |v: f64| if self.mode == "nearest" { f64::from(v as f32) } else { v };
        let (x, input, output, scale) = (i as f64, a.input as f64, a.output as f64, round(a.scale));
        let half_pixel = round(round((x + 0.5) / scale) - 0.5);
        Ok(match self.coordinates.as_str() {
            "half_pixel" => half_pixel,
            "half_pixel_symmetric" => {
                let adjustment = round(output / round(scale * input));
                round(round(input / 2.0 * round(1.0 - adjustment)) + half_pixel)
            }
            "pytorch_half_pixel" if a.output > 1 => half_pixel,
            "pytorch_half_pixel" => 0.0,
            "align_corners" if a.output > 1 => round(x * (input - 1.0) / (output - 1.0)),
            "align_corners" => 0.0,
            "asymmetric" => round(x / scale),
            "tf_half_pixel_for_nn" => round((x + 0.5) / scale),
            "tf_crop_and_resize" if a.output > 1 => a.roi[0] * (input - 1.0) + x * (a.roi[1] - a.roi[0]) * (input - 1.0) / (output - 1.0),
            "tf_crop_and_resize" => 0.5 * (a.roi[0] + a.roi[1]) * (input - 1.0),
            other => return bad(format!("uses the coordinate mode '{other}', which is not supported")),
        })
    }

    fn weights(&self, a: &AxisScale, x: f64) -> Res<Taps> {
        let last = a.input as i64 - 1;
        let at = |i: i64| i.clamp(0, last) as usize;
        match self.mode.as_str() {
            "nearest" => Ok(vec![(at(self.round(x, a.scale)? as i64), 1.0)]),
            "linear" | "cubic" => {
                let stretch = if self.antialias && a.scale < 1.0 { 1.0 / a.scale } else { 1.0 };
                let half = if self.mode == "linear" { 1.0 } else { 2.0 } * stretch;
                let first = (x - half).floor() as i64 + 1;
                let end = (x + half).ceil() as i64;
                let kernel = |d: f64| if self.mode == "linear" { (1.0 - d.abs()).max(0.0) } else { cubic(d, self.cubic) };
                let mut taps: Vec<(i64, f64)> = (first..end).map(|i| (i, kernel((i as f64 - x) / stretch))).collect();
                if self.exclude_outside {
                    taps.retain(|(i, _)| (0..=last).contains(i));
                }
                let total: f64 = taps.iter().map(|t| t.1).sum();
                let mut merged: Taps = Vec::with_capacity(taps.len());
                for (i, w) in taps {
                    let i = at(i);
                    match merged.iter_mut().find(|(j, _)| *j == i) {
                        Some((_, sum)) => *sum += w / total,
                        None => merged.push((i, w / total)),
                    }
                }
                merged.retain(|t| t.1 != 0.0);
                Ok(merged)
            }
            other => bad(format!("uses the mode '{other}', which is not supported")),
        }
    }

    fn round(&self, x: f64, scale: f64) -> Res<f64> {
        Ok(match self.nearest.as_str() {
            "round_prefer_floor" => (x - 0.5).ceil(),
            "round_prefer_ceil" => (x + 0.5).floor(),
            "floor" => x.floor(),
            "ceil" => x.ceil(),
            "simple" if scale < 1.0 => x.ceil(),
            "simple" => x.floor(),
            other => return bad(format!("uses the nearest mode '{other}', which is not supported")),
        })
    }
}

/// Keys' cubic convolution kernel.
fn cubic(d: f64, a: f64) -> f64 {
    let d = d.abs();
    if d <= 1.0 {
        ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    } else if d < 2.0 {
        ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
    } else {
        0.0
    }
}

fn axes(args: &Args, input: &[usize], old: bool) -> Res<Vec<AxisScale>> {
    let rank = input.len();
    let floats = |i: usize| -> Res<Option<Vec<f64>>> {
        Ok(args.optional(i)?.filter(|v| !v.is_empty()).map(|v| v.to_floats().into_iter().collect()))
    };
    let (scales, sizes, roi) = if old {
        let attribute = match args.node.attrs.get("scales") {
            Some(crate::core::onnx::Attr::Floats(s)) => Some(s.iter().map(|&v| f64::from(v)).collect()),
            _ => floats(1)?,
        };
        (attribute, None, None)
    } else {
        (
            floats(2)?,
            floats(3)?,
            if args.node.text("coordinate_transformation_mode", "") == "tf_crop_and_resize" { floats(1)? } else { None },
        )
    };
    let listed: Vec<usize> = match args.node.ints("axes") {
        Some(list) => list.iter().map(|&a| axis(a, rank)).collect::<Res<_>>()?,
        None => (0..rank).collect(),
    };
    let mut out: Vec<AxisScale> = input.iter().map(|&d| AxisScale { input: d, output: d, scale: 1.0, roi: [0.0, 1.0] }).collect();
    let given = sizes.as_ref().or(scales.as_ref()).ok_or_else(|| Fail::Bad("has neither scales nor sizes".into()))?;
    if given.len() != listed.len() {
        return bad("has a number of scales or sizes that differs from its axes");
    }
    let policy = args.node.text("keep_aspect_ratio_policy", "stretch");
    let ratios = || listed.iter().zip(given).map(|(&a, &s)| s / input[a] as f64);
    let common = match policy.as_str() {
        "not_larger" => Some(ratios().fold(f64::INFINITY, f64::min)),
        "not_smaller" => Some(ratios().fold(0.0, f64::max)),
        _ => None,
    };
    for (k, &a) in listed.iter().enumerate() {
        let slot = &mut out[a];
        if sizes.is_some() {
            (slot.scale, slot.output) = match common {
                Some(s) => (s, (s * slot.input as f64).round() as usize),
                None => (given[k] / slot.input as f64, given[k] as usize),
            };
        } else {
            slot.scale = given[k];
            slot.output = (given[k] * slot.input as f64).floor() as usize;
        }
        if let Some(r) = roi.as_ref().filter(|r| r.len() == 2 * listed.len()) {
            slot.roi = [r[k], r[listed.len() + k]];
            if sizes.is_none() {
                slot.output = (slot.input as f64 * (slot.roi[1] - slot.roi[0]) * given[k]).floor() as usize;
            }
        }
    }
    Ok(out)
}
