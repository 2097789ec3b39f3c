//! Resizing that agrees with Pillow's antialiased filters, and torchvision's resize-then-crop arithmetic.

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};
use image::RgbImage;

use crate::core::error::{Error, Result};

/// Kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Interpolation {
    /// Nearest neighbour.
    Nearest,
    /// Triangle, antialiased.
    #[default]
    Bilinear,
    /// Cubic with a = -0.5, antialiased.
    Bicubic,
    /// Lanczos with three lobes, antialiased.
    Lanczos,
}

/// How the picture is brought to the model's size.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Fit {
    /// Width and height are scaled separately; the shape of things may change.
    #[default]
    Exact,
    /// The shorter side becomes this many pixels, then the centre is cropped.
    ShorterEdge(usize),
    /// As [`Fit::ShorterEdge`] with `floor(smaller model side / fraction)` pixels.
    CropFraction(f64),
}

/// Kernel and fit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Resize {
    /// Geometry.
    pub fit: Fit,
    /// Kernel.
    pub interpolation: Interpolation,
}

impl Interpolation {
    /// Pillow's number (`resample`) to kernel.
    pub fn from_pillow(code: i64) -> Option<Self> {
        Some(match code {
            0 => Self::Nearest,
            1 => Self::Lanczos,
            2 => Self::Bilinear,
            3 => Self::Bicubic,
            _ => return None,
        })
    }

    /// The kernel with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "nearest" => Self::Nearest,
            "bilinear" => Self::Bilinear,
            "bicubic" => Self::Bicubic,
            "lanczos" => Self::Lanczos,
            _ => return None,
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
            Self::Lanczos => "lanczos",
        }
    }

    fn algorithm(self) -> ResizeAlg {
        match self {
            Self::Nearest => ResizeAlg::Nearest,
            Self::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
            Self::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
            Self::Lanczos => ResizeAlg::Convolution(FilterType::Lanczos3),
        }
    }
}

impl Fit {
    /// Length of the shorter side before the crop, for a model input `[height, width]`; `None` when sized exactly.
    pub fn shorter_edge(self, size: [usize; 2]) -> Option<usize> {
        match self {
            Self::Exact => None,
            Self::ShorterEdge(edge) => Some(edge),
            // The tiny term keeps 224 / (224 / 256) at 256.
            Self::CropFraction(fraction) => Some((size[0].min(size[1]) as f64 / fraction + 1e-9).floor() as usize),
        }
    }
}

/// Brings a picture to `[height, width]`. One that already has this size is returned as it is.
pub fn fit(picture: &RgbImage, size: [usize; 2], resize: &Resize) -> Result<RgbImage> {
    let [height, width] = size;
    if (picture.height() as usize, picture.width() as usize) == (height, width) {
        return Ok(picture.clone());
    }
    let Some(edge) = resize.fit.shorter_edge(size) else {
        return scale(picture, size, resize.interpolation);
    };
    let (h, w) = (picture.height() as usize, picture.width() as usize);
    // torchvision: the longer side is truncated, not rounded.
    let scaled = if h <= w { [edge, edge * w / h] } else { [edge * h / w, edge] };
    let picture = if scaled == [h, w] { picture.clone() } else { scale(picture, scaled, resize.interpolation)? };
    Ok(centre_crop(&picture, size))
}

/// Scales to exactly `[height, width]`.
pub fn scale(picture: &RgbImage, size: [usize; 2], interpolation: Interpolation) -> Result<RgbImage> {
    let [height, width] = size;
    let failed = |e: &dyn std::fmt::Display| Error::Input(format!("the image cannot be resized to {width}x{height}: {e}"));
    if width == 0 || height == 0 || width > 16384 || height > 16384 {
        return Err(failed(&"a side must have 1 to 16384 pixels"));
    }
    let mut resizer = Resizer::new();
    let options = ResizeOptions::new().resize_alg(interpolation.algorithm());
    let mut pass = |from: &RgbImage, width: u32, height: u32| {
        let source = ImageRef::new(from.width(), from.height(), from.as_raw(), PixelType::U8x3).map_err(|e| failed(&e))?;
        let mut target = Image::new(width, height, PixelType::U8x3);
        resizer.resize(&source, &mut target, &options).map_err(|e| failed(&e))?;
        RgbImage::from_raw(width, height, target.into_vec()).ok_or_else(|| failed(&"the resizer returned too few bytes"))
    };
    // Width before height, each rounded to 8 bits: Pillow's order. The other order differs in one value out of eight.
    let wide = pass(picture, width as u32, picture.height())?;
    pass(&wide, width as u32, height as u32)
}

/// The centre `[height, width]`, with torchvision's rounding (half to even); black where the picture is too small.
pub fn centre_crop(picture: &RgbImage, size: [usize; 2]) -> RgbImage {
    let offset = |have: u32, want: usize| ((f64::from(have) - want as f64) / 2.0).round_ties_even() as i64;
    let (left, top) = (offset(picture.width(), size[1]), offset(picture.height(), size[0]));
    RgbImage::from_fn(size[1] as u32, size[0] as u32, |x, y| {
        let (x, y) = (i64::from(x) + left, i64::from(y) + top);
        let inside = x >= 0 && y >= 0 && x < i64::from(picture.width()) && y < i64::from(picture.height());
        if inside { *picture.get_pixel(x as u32, y as u32) } else { image::Rgb([0; 3]) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 37 + y * 11) as u8, (x * x + 3 * y) as u8, ((x ^ y) * 5) as u8]))
    }

    /// `Image.resize((7, 5), …)` of Pillow on the 23x17 pattern.
    #[rustfmt::skip]
    const BILINEAR: [u8; 105] = [
        71, 8, 9, 161, 27, 22, 94, 66, 39, 154, 128, 55, 96, 161, 71, 150, 76, 89, 110, 172, 103, 104, 17, 22, 160, 36, 15, 100, 75, 41, 162, 137, 59, 94, 170, 62, 157, 85, 99, 87, 181, 94, 140, 27, 41, 129, 46, 45, 118, 85, 36, 145, 147, 31, 110, 178, 52, 152, 94, 115, 91, 182, 125, 167, 37, 57, 102, 56, 58, 148, 95, 35, 105, 157, 17, 140, 145, 42, 122, 93, 129, 119, 149, 138, 172, 46, 71, 98, 65, 63, 165, 104, 54, 94, 166, 45, 156, 137, 54, 94, 97, 111, 151, 153, 108,
    ];
    #[rustfmt::skip]
    const BICUBIC: [u8; 105] = [
        61, 6, 7, 173, 23, 22, 86, 64, 39, 161, 131, 55, 90, 167, 71, 154, 63, 88, 113, 179, 105, 101, 16, 23, 169, 33, 10, 91, 74, 42, 173, 141, 63, 84, 177, 60, 166, 73, 101, 80, 190, 92, 144, 26, 40, 128, 43, 46, 117, 84, 36, 150, 151, 28, 105, 188, 48, 159, 84, 119, 83, 192, 126, 174, 36, 57, 94, 53, 60, 153, 94, 32, 100, 165, 9, 144, 144, 35, 121, 88, 139, 116, 149, 143, 177, 46, 73, 88, 63, 64, 175, 104, 56, 84, 176, 46, 165, 135, 52, 84, 94, 113, 157, 156, 105,
    ];

    #[test]
    fn agrees_with_pillow() {
        for (interpolation, want) in [(Interpolation::Bilinear, BILINEAR), (Interpolation::Bicubic, BICUBIC)] {
            let got = scale(&pattern(23, 17), [5, 7], interpolation).unwrap();
            let worst = got.as_raw().iter().zip(&want).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            let differ = got.as_raw().iter().zip(&want).filter(|(a, b)| a != b).count();
            assert!(differ == 0, "{interpolation:?}: worst {worst}, {differ} differ");
        }
    }

    #[test]
    fn agrees_with_pillow_when_enlarging() {
        // First four and last two pixels of Image.resize((31, 40), …), and the sum of all levels.
        let cases = [
            (Interpolation::Bilinear, [0, 0, 0, 23, 1, 3, 50, 2, 7, 78, 4, 10], [199, 151, 27, 222, 20, 30], 361_608i64),
            (Interpolation::Bicubic, [0, 0, 0, 19, 0, 3, 49, 2, 7, 77, 4, 10], [203, 153, 17, 225, 9, 21], 361_785),
            (Interpolation::Lanczos, [0, 0, 0, 18, 0, 4, 51, 2, 8, 76, 4, 9], [204, 147, 12, 225, 3, 16], 362_123),
        ];
        for (interpolation, first, last, sum) in cases {
            let got = scale(&pattern(23, 17), [40, 31], interpolation).unwrap().into_raw();
            let close = |a: &[u8], b: &[u8]| a.iter().zip(b).all(|(a, b)| a.abs_diff(*b) <= 1);
            assert!(close(&got[..12], &first) && close(&got[got.len() - 6..], &last), "{interpolation:?}: {:?}", &got[..12]);
            let total: i64 = got.iter().map(|v| i64::from(*v)).sum();
            assert!((total - sum).abs() < 60, "{interpolation:?}: {total} {sum}");
        }
    }

    #[test]
    fn torchvision_geometry() {
        let resize = |fit| Resize { fit, interpolation: Interpolation::Bilinear };
        let wide = pattern(433, 288);
        let got = fit(&wide, [224, 224], &resize(Fit::CropFraction(0.875))).unwrap();
        // 288 -> 256 makes 433 -> int(256 * 433 / 288) = 384; the crop starts at round(80), round(16).
        let scaled = scale(&wide, [256, 384], Interpolation::Bilinear).unwrap();
        assert_eq!(got.get_pixel(0, 0), scaled.get_pixel(80, 16));
        assert_eq!(got.dimensions(), (224, 224));
        // Halves go to the even neighbour: (9 - 4) / 2 = 2.5 -> 2, (11 - 4) / 2 = 3.5 -> 4.
        let crop = centre_crop(&pattern(9, 11), [4, 4]);
        assert_eq!(crop.get_pixel(0, 0), pattern(9, 11).get_pixel(2, 4));
    }

    #[test]
    fn right_size_is_untouched_and_small_is_padded() {
        let same = fit(&pattern(20, 10), [10, 20], &Resize { fit: Fit::CropFraction(0.5), interpolation: Interpolation::Bicubic }).unwrap();
        assert_eq!(same, pattern(20, 10));
        let padded = centre_crop(&pattern(2, 2), [4, 4]);
        assert_eq!((padded.get_pixel(0, 0).0, padded.get_pixel(1, 1)), ([0; 3], pattern(2, 2).get_pixel(0, 0)));
        assert!(scale(&pattern(2, 2), [0, 4], Interpolation::Bilinear).is_err());
    }
}
