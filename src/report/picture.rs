//! Pictures of images, perturbations and maps, as PNG.

use std::{io::Cursor, path::Path};

use image::{ImageFormat, RgbImage};
use ndarray::{ArrayView2, ArrayView3};

use crate::{
    core::{
        colour,
        error::{Error, Result},
        explain::{psr::PsrMap, upsample},
        tensor::image::to_rgb8,
    },
    engine::files,
};

/// Writes a picture: in the format that the name ends in, else as PNG.
pub fn save(path: &Path, picture: &RgbImage) -> Result<()> {
    let format = ImageFormat::from_path(path).unwrap_or(ImageFormat::Png);
    let mut bytes = Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, format)
        .map_err(|e| Error::Parameter(format!("{} cannot be made ({e}); end the name in .png", path.display())))?;
    files::save(path, bytes.get_ref())
}

/// An image in pixel space.
pub fn photo(image: ArrayView3<f32>) -> RgbImage {
    to_rgb8(image)
}

/// A perturbation around mid-grey, amplified so that its largest value is visible.
pub fn perturbation(delta: ArrayView3<f32>) -> RgbImage {
    let scale = gain(delta);
    to_rgb8(delta.mapv(|v| 0.5 + v * scale).view())
}

/// A class activation map, min-max scaled, over the image it belongs to.
pub fn cam_overlay(image: ArrayView3<f32>, raw: ArrayView2<f32>, strength: f32) -> RgbImage {
    let mut picture = to_rgb8(image);
    let (width, height) = picture.dimensions();
    let map = upsample::bilinear(raw, [height as usize, width as usize]);
    let (low, high) = map.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &v| (a.min(v), b.max(v)));
    let range = if high > low { high - low } else { 1.0 };
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let value = (map[[y as usize, x as usize]] - low) / range;
        pixel.0 = colour::blend(pixel.0, colour::heat(value), strength);
    }
    picture
}

/// A signed map over the image: orange above zero, blue below, the picture in grey where nothing changed.
pub fn difference_overlay(image: ArrayView3<f32>, map: ArrayView2<f32>, strength: f32) -> RgbImage {
    let mut picture = to_rgb8(image);
    let (width, height) = picture.dimensions();
    let map = upsample::bilinear(map, [height as usize, width as usize]);
    let limit = map.iter().fold(0.0f32, |a, v| a.max(v.abs())).max(f32::MIN_POSITIVE);
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let value = map[[y as usize, x as usize]] / limit;
        let grey = [(colour::luma(pixel.0) * 150.0) as u8; 3];
        pixel.0 = colour::blend(grey, colour::blue_orange(value.signum()), value.abs() * strength);
    }
    picture
}

/// A promotion-suppression map over the image: orange promotes, blue suppresses, grey does both, inert cells stay as they are.
pub fn psr_overlay(image: ArrayView3<f32>, map: &PsrMap, strength: f32) -> RgbImage {
    let mut picture = to_rgb8(image);
    for cell in map.cells.iter().flatten() {
        let Some(tint) = colour::kind_colour(cell.kind) else { continue };
        let [top, left, height, width] = map.grid.bounds(cell.row * map.grid.cols() + cell.col);
        for (y, x) in (top..top + height).flat_map(|y| (left..left + width).map(move |x| (y, x))) {
            let pixel = picture.get_pixel_mut(x as u32, y as u32);
            pixel.0 = colour::blend(pixel.0, tint, strength);
        }
    }
    picture
}

/// How many times a perturbation is amplified in [`perturbation`].
pub fn gain(delta: ArrayView3<f32>) -> f32 {
    let largest = delta.iter().fold(0.0f32, |a, v| a.max(v.abs()));
    if largest > 0.0 { 0.5 / largest } else { 0.0 }
}

/// The value at which colours of several maps saturate: the 99.5th percentile of their positive parts.
pub fn shared_limit<'a>(maps: impl Iterator<Item = ArrayView2<'a, f32>>) -> f32 {
    let mut all: Vec<f32> = maps.flat_map(|m| m.iter().copied().filter(|v| *v > 0.0).collect::<Vec<_>>()).collect();
    all.sort_by(f32::total_cmp);
    all.get(((all.len() as f32 - 1.0).max(0.0) * 0.995).round() as usize).copied().unwrap_or(1.0)
}

/// A class activation map over its image on a scale from 0 to `limit`; the hotter, the more opaque.
pub fn heat_overlay(image: ArrayView3<f32>, raw: ArrayView2<f32>, limit: f32) -> RgbImage {
    let mut picture = to_rgb8(image);
    let (width, height) = picture.dimensions();
    let map = upsample::bilinear(raw, [height as usize, width as usize]);
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let value = (map[[y as usize, x as usize]] / limit.max(f32::MIN_POSITIVE)).clamp(0.0, 1.0);
        pixel.0 = colour::blend(pixel.0, colour::heat(value), 0.35 + 0.45 * value);
    }
    picture
}

/// A promotion-suppression map over a greyed image: hue by type, opacity by the larger of the two effects, up to the 99.5th percentile.
pub fn psr_strengths(image: ArrayView3<f32>, map: &PsrMap) -> (RgbImage, f32) {
    let mut picture = to_rgb8(image);
    for pixel in picture.pixels_mut() {
        let grey = (colour::luma(pixel.0) * 255.0).round() as u8;
        pixel.0 = colour::blend([grey; 3], [255; 3], 0.25);
    }
    let strong = |c: &crate::core::explain::psr::Cell| c.s.max(c.b);
    let mut strengths: Vec<f32> = map.evaluated().filter(|c| colour::kind_colour(c.kind).is_some()).map(strong).collect();
    strengths.sort_by(f32::total_cmp);
    let limit = strengths.get(((strengths.len() as f32 - 1.0).max(0.0) * 0.995).round() as usize).copied().unwrap_or(1.0);
    for cell in map.evaluated() {
        let Some(tint) = colour::kind_colour(cell.kind) else { continue };
        let alpha = 0.2 + 0.7 * (strong(cell) / limit).min(1.0);
        let [top, left, height, width] = map.grid.bounds(cell.row * map.grid.cols() + cell.col);
        for (y, x) in (top..top + height).flat_map(|y| (left..left + width).map(move |x| (y, x))) {
            let pixel = picture.get_pixel_mut(x as u32, y as u32);
            pixel.0 = colour::blend(pixel.0, tint, alpha);
        }
    }
    (picture, limit)
}
