//! Pictures of images, perturbations and maps, as PNG.

use std::path::Path;

use image::RgbImage;
use ndarray::{ArrayView2, ArrayView3};

use crate::core::{
    colour,
    error::{Error, Result},
    explain::{psr::PsrMap, upsample},
    tensor::image::to_rgb8,
};

/// Writes a PNG.
pub fn save(path: &Path, picture: &RgbImage) -> Result<()> {
    picture.save(path).map_err(|e| Error::Input(format!("cannot write {}: {e}; give a path in a folder you may write to", path.display())))
}

/// An image in pixel space.
pub fn photo(image: ArrayView3<f32>) -> RgbImage {
    to_rgb8(image)
}

/// A perturbation around mid-grey, amplified so that its largest value is visible.
pub fn perturbation(delta: ArrayView3<f32>) -> RgbImage {
    let largest = delta.iter().fold(0.0f32, |a, v| a.max(v.abs()));
    let scale = if largest > 0.0 { 0.5 / largest } else { 0.0 };
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
