//! Preprocessing from what lies beside or inside a model: Hugging Face `preprocessor_config.json`, timm `config.json`,
//! ONNX metadata. Texts in, [`Preprocess`] out.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    preprocess::Preprocess,
    resize::{Fit, Interpolation, Resize},
};
use crate::core::error::{Error, Result};

/// Reads a JSON configuration found beside a model. `name` is the file's name, for messages; `size` the model's own
/// `[height, width]` when it has one (it wins over the file's). `Ok(None)` when the file says nothing of images.
pub fn parse(text: &str, name: &str, size: Option<[usize; 2]>) -> Result<Option<Preprocess>> {
    let json: Value = serde_json::from_str(text).map_err(|e| Error::Input(format!("{name} is not valid JSON: {e}")))?;
    let pretrained = json.get("pretrained_cfg").unwrap_or(&json);
    if pretrained.get("mean").is_some() && pretrained.get("std").is_some() {
        return timm(pretrained, name, size).map(Some);
    }
    if json.get("image_mean").is_some() || json.get("do_rescale").is_some() || json.get("do_normalize").is_some() {
        return hugging_face(&json, name, size).map(Some);
    }
    Ok(None)
}

/// Reads ONNX metadata properties. Understood, in this order:
/// `psescope.preprocess` (a preset name or a timm-style JSON object); `mean` and `std` (lists of numbers, 0..1 unless
/// `scale` says 255); Ultralytics classifiers (`author` Ultralytics, `task` classify: 0..1, no mean); Windows ML image
/// keys (`Image.NominalPixelRange`, `Image.BitmapPixelFormat`).
pub fn from_metadata(metadata: &BTreeMap<String, String>, size: [usize; 2]) -> Result<Option<Preprocess>> {
    let key = |k: &str| metadata.get(k).map(String::as_str);
    let named = |p: Preprocess, key: &str| Preprocess { source: format!("ONNX metadata {key}"), ..p };
    if let Some(text) = key("psescope.preprocess") {
        let own = if text.trim_start().starts_with('{') {
            parse(text, "ONNX metadata psescope.preprocess", Some(size))?
        } else {
            Some(Preprocess::preset(text.trim(), size)?)
        };
        return Ok(own.map(|p| named(p, "psescope.preprocess")));
    }
    if let (Some(mean), Some(std)) = (key("mean").and_then(numbers), key("std").and_then(numbers)) {
        let mut p = Preprocess::preset("imagenet", size)?;
        (p.mean, p.std) = (mean, std);
        p.scale = key("scale").and_then(|t| t.trim().parse().ok()).unwrap_or(1.0);
        return named(p, "mean and std").check().map(Some);
    }
    if key("author").is_some_and(|a| a.eq_ignore_ascii_case("ultralytics")) && key("task") == Some("classify") {
        let mut p = Preprocess::preset("unit", size)?;
        p.resize.fit = Fit::ShorterEdge(size[0].min(size[1]));
        return Ok(Some(named(p, "of Ultralytics")));
    }
    let range = match key("Image.NominalPixelRange") {
        Some("NominalRange_0_255") => Preprocess { scale: 255.0, ..Preprocess::preset("unit", size)? },
        Some("Normalized_0_1") => Preprocess::preset("unit", size)?,
        Some("Normalized_1_1") => Preprocess::preset("inception", size)?,
        _ => return Ok(None),
    };
    let bgr = key("Image.BitmapPixelFormat").is_some_and(|f| f.to_ascii_lowercase().starts_with("bgr"));
    Ok(Some(named(Preprocess { bgr, ..range }, "Image.NominalPixelRange")))
}

/// The settings as a `preprocessor_config.json`, which [`parse`] and other programs read back.
pub fn to_json(p: &Preprocess) -> String {
    let [height, width] = p.size;
    let resample = (0..=5).find(|code| Interpolation::from_pillow(*code) == Some(p.resize.interpolation));
    let size = match p.resize.fit.shorter_edge(p.size) {
        Some(edge) => serde_json::json!({"shortest_edge": edge}),
        None => serde_json::json!({"height": height, "width": width}),
    };
    let mut json = serde_json::json!({
        "do_resize": true, "size": size, "resample": resample,
        "do_rescale": true, "rescale_factor": f64::from(p.scale) / 255.0,
        "do_normalize": true, "image_mean": p.mean, "image_std": p.std,
        "do_flip_channel_order": p.bgr, "num_channels": p.mean.len(),
    });
    if p.resize.fit != Fit::Exact {
        json["do_center_crop"] = true.into();
        json["crop_size"] = serde_json::json!({"height": height, "width": width});
    }
    json.to_string()
}

fn timm(json: &Value, name: &str, size: Option<[usize; 2]>) -> Result<Preprocess> {
    let own = json.get("input_size").and_then(floats).filter(|v| v.len() == 3).map(|v| [v[1] as usize, v[2] as usize]);
    let size = size.or(own).ok_or_else(|| missing(name, "input_size"))?;
    let interpolation = json.get("interpolation").and_then(Value::as_str).unwrap_or("bilinear");
    let interpolation = Interpolation::from_name(interpolation).unwrap_or(Interpolation::Bicubic);
    let fraction = json.get("crop_pct").and_then(Value::as_f64).unwrap_or(0.875);
    let fit = match json.get("crop_mode").and_then(Value::as_str) {
        Some("squash") => Fit::Exact,
        _ => Fit::CropFraction(fraction),
    };
    let mean = json.get("mean").and_then(floats).ok_or_else(|| missing(name, "mean"))?;
    let std = json.get("std").and_then(floats).ok_or_else(|| missing(name, "std"))?;
    Preprocess { size, resize: Resize { fit, interpolation }, scale: 1.0, mean, std, bgr: false, source: name.to_owned() }.check()
}

fn hugging_face(json: &Value, name: &str, size: Option<[usize; 2]>) -> Result<Preprocess> {
    let flag = |key: &str, default: bool| json.get(key).and_then(Value::as_bool).unwrap_or(default);
    let resized = json.get("size").and_then(hf_size);
    let cropped = json.get("crop_size").and_then(hf_size);
    let crop = flag("do_center_crop", cropped.is_some()) && cropped.is_some();
    let own = if crop { cropped } else { resized };
    let size = match (size, own) {
        (Some(size), _) => size,
        (None, Some(HfSize::Exact(size))) => size,
        (None, Some(HfSize::Shortest(edge))) => [edge, edge],
        (None, None) => return Err(missing(name, "size")),
    };
    let shrink = json.get("crop_pct").and_then(Value::as_f64);
    let fit = match (resized, shrink) {
        // ConvNeXt: below 384 pixels the shorter edge is enlarged by crop_pct and the centre taken.
        (Some(HfSize::Shortest(edge)), Some(fraction)) if edge < 384 && fraction > 0.0 => {
            Fit::ShorterEdge((edge as f64 / fraction) as usize)
        }
        (Some(HfSize::Shortest(_)), Some(_)) => Fit::Exact,
        (Some(HfSize::Shortest(edge)), None) => Fit::ShorterEdge(edge),
        (Some(HfSize::Exact(resized)), _) if crop && resized[0] == resized[1] && resized != size => {
            Fit::CropFraction(size[0] as f64 / resized[0] as f64)
        }
        _ => Fit::Exact,
    };
    let interpolation = json.get("resample").and_then(Value::as_i64).and_then(Interpolation::from_pillow).unwrap_or_default();
    let factor = if flag("do_rescale", true) { json.get("rescale_factor").and_then(Value::as_f64).unwrap_or(1.0 / 255.0) } else { 1.0 };
    let scale = (255.0 * factor) as f32;
    let shift = if flag("rescale_offset", false) { 1.0 } else { 0.0 };
    let (mut mean, mut std) = match flag("do_normalize", true) {
        true => (
            json.get("image_mean").and_then(floats).ok_or_else(|| missing(name, "image_mean"))?,
            json.get("image_std").and_then(floats).ok_or_else(|| missing(name, "image_std"))?,
        ),
        false => (vec![0.0; 3], vec![1.0; 3]),
    };
    if mean.len() == 1 && std.len() == 1 && json.get("num_channels").and_then(Value::as_u64).unwrap_or(3) == 3 {
        (mean, std) = (vec![mean[0]; 3], vec![std[0]; 3]);
    }
    mean.iter_mut().for_each(|m| *m += shift);
    let bgr = flag("do_flip_channel_order", false);
    Preprocess { size, resize: Resize { fit, interpolation }, scale, mean, std, bgr, source: name.to_owned() }.check()
}

#[derive(Clone, Copy)]
enum HfSize {
    Shortest(usize),
    Exact([usize; 2]),
}

fn hf_size(value: &Value) -> Option<HfSize> {
    let side = |v: &Value| v.as_u64().filter(|n| (1..=16384).contains(n)).map(|n| n as usize);
    if let Some(edge) = side(value) {
        // A bare number is a square in the processors that write one.
        return Some(HfSize::Exact([edge, edge]));
    }
    if let Some(edge) = value.get("shortest_edge").and_then(side) {
        return Some(HfSize::Shortest(edge));
    }
    Some(HfSize::Exact([side(value.get("height")?)?, side(value.get("width")?)?]))
}

fn floats(value: &Value) -> Option<Vec<f32>> {
    match value {
        Value::Number(n) => Some(vec![n.as_f64()? as f32]),
        Value::Array(items) if (1..=64).contains(&items.len()) => items.iter().map(|v| v.as_f64().map(|f| f as f32)).collect(),
        _ => None,
    }
}

/// `[0.1, 0.2]`, `0.1,0.2` or `0.1 0.2`.
fn numbers(text: &str) -> Option<Vec<f32>> {
    let inner = text.trim().trim_start_matches(['[', '(']).trim_end_matches([']', ')']);
    let values: Option<Vec<f32>> = inner.split([',', ' ']).filter(|t| !t.is_empty()).map(|t| t.parse().ok()).collect();
    values.filter(|v| (1..=64).contains(&v.len()))
}

fn missing(name: &str, key: &str) -> Error {
    Error::Input(format!("{name} has no usable '{key}'; give the preprocessing with --preprocess, --mean and --std"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vit_and_resnet_of_hugging_face() {
        let vit = r#"{"do_normalize":true,"do_resize":true,"image_mean":[0.5,0.5,0.5],"image_std":[0.5,0.5,0.5],"resample":2,"size":224}"#;
        let p = parse(vit, "preprocessor_config.json", None).unwrap().unwrap();
        assert_eq!((p.size, p.resize.fit, p.scale, p.resize.interpolation), ([224, 224], Fit::Exact, 1.0, Interpolation::Bilinear));
        let clip = r#"{"crop_size":{"height":224,"width":224},"do_center_crop":true,"do_rescale":true,"rescale_factor":0.00392156862745098,
            "image_mean":[0.48,0.45,0.40],"image_std":[0.26,0.26,0.27],"resample":3,"size":{"shortest_edge":256}}"#;
        let p = parse(clip, "preprocessor_config.json", None).unwrap().unwrap();
        assert_eq!((p.size, p.resize.fit, p.resize.interpolation), ([224, 224], Fit::ShorterEdge(256), Interpolation::Bicubic));
        approx::assert_abs_diff_eq!(p.scale, 1.0, epsilon = 1e-6);
        let convnext = r#"{"crop_pct":0.875,"do_normalize":true,"image_mean":[0.485,0.456,0.406],"image_std":[0.229,0.224,0.225],"resample":3,"size":{"shortest_edge":224}}"#;
        assert_eq!(parse(convnext, "x", None).unwrap().unwrap().resize.fit, Fit::ShorterEdge(256));
        let offset = r#"{"do_rescale":true,"rescale_factor":0.00784313725490196,"rescale_offset":true,"do_normalize":false,"size":{"height":240,"width":240},"resample":0}"#;
        let (scale, shift) = parse(offset, "x", None).unwrap().unwrap().affine();
        approx::assert_abs_diff_eq!(scale[0], 2.0, epsilon = 1e-6);
        assert_eq!(shift[0], -1.0);
    }

    #[test]
    fn timm_and_unrelated() {
        let timm = r#"{"architecture":"resnet50","pretrained_cfg":{"mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225],"input_size":[3,224,224],"interpolation":"bicubic","crop_pct":0.95}}"#;
        let p = parse(timm, "config.json", None).unwrap().unwrap();
        assert_eq!(p.resize.fit.shorter_edge(p.size), Some(235));
        assert_eq!(p.source, "config.json");
        assert!(parse(r#"{"id2label":{"0":"a"}}"#, "config.json", None).unwrap().is_none());
        assert!(parse("{", "config.json", None).unwrap_err().to_string().contains("not valid JSON"));
        assert!(parse(r#"{"mean":[0.5],"std":[0.0],"input_size":[1,28,28]}"#, "config.json", None).is_err());
    }

    #[test]
    fn what_is_written_is_read_back() {
        for (name, _) in crate::core::tensor::preprocess::PRESETS {
            let p = Preprocess::preset(name, [60, 64]).unwrap();
            let again = parse(&to_json(&p), "x", Some([60, 64])).unwrap().unwrap();
            assert_eq!((&again.mean, &again.std, again.scale, again.bgr), (&p.mean, &p.std, p.scale, p.bgr), "{name}");
            assert_eq!(again.resize.interpolation, p.resize.interpolation, "{name}");
            assert_eq!(again.resize.fit.shorter_edge([60, 64]), p.resize.fit.shorter_edge([60, 64]), "{name}");
        }
    }

    #[test]
    fn metadata() {
        let of = |pairs: &[(&str, &str)]| {
            let map = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            from_metadata(&map, [64, 64]).unwrap()
        };
        assert!(of(&[("author", "me")]).is_none());
        assert_eq!(of(&[("psescope.preprocess", "tf")]).unwrap().scale, 255.0);
        assert_eq!(of(&[("mean", "[0.1, 0.2, 0.3]"), ("std", "1 1 1")]).unwrap().mean, [0.1, 0.2, 0.3]);
        assert_eq!(of(&[("author", "Ultralytics"), ("task", "classify")]).unwrap().resize.fit, Fit::ShorterEdge(64));
        let ml = of(&[("Image.NominalPixelRange", "NominalRange_0_255"), ("Image.BitmapPixelFormat", "Bgr8")]).unwrap();
        assert!(ml.bgr && ml.scale == 255.0);
    }
}
