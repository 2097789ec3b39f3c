//! From the bytes of a file to pixels, under limits: a hostile header must not exhaust memory.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};
use ndarray::{Array3, ArrayD, ArrayView3, Ix3, IxDyn, s};
use ndarray_npy::ReadNpyExt;

use super::{preprocess::Preprocess, resize};
use crate::core::error::{Error, Result};

/// Largest image that is decoded, in pixels.
pub const MAX_PIXELS: u64 = 64_000_000;

/// Most memory that decoding may take, in bytes.
pub const MAX_ALLOC: u64 = 1 << 30;

/// Decodes an image file (PNG, JPEG, WebP, BMP, GIF, TIFF, PNM) to 8-bit RGB with its EXIF orientation applied.
/// Grey becomes RGB; transparency is dropped, as Pillow's `convert('RGB')` does.
pub fn decode(bytes: &[u8]) -> Result<RgbImage> {
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| Error::Input(format!("the image cannot be read: {e}")))?;
    let Some(format) = reader.format() else {
        return Err(Error::Input(match bytes.is_empty() {
            true => "the file is empty; give a PNG, JPEG, WebP, BMP, GIF, TIFF or PNM image".into(),
            false => "this is not an image psescope can read; give a PNG, JPEG, WebP, BMP, GIF, TIFF or PNM file, or a .npy array".into(),
        }));
    };
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ALLOC);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| failure(&e))?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS || decoder.total_bytes() > MAX_ALLOC {
        return Err(Error::Input(format!("the image is {width}x{height}: more than 64 megapixels; make it smaller first")));
    }
    if width == 0 || height == 0 {
        return Err(Error::Input("the image has no pixels".into()));
    }
    let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| failure(&e))?;
    if format == ImageFormat::Jpeg && !jpeg_is_whole(bytes) {
        return Err(Error::Input("the image is cut off: the JPEG data ends too early; copy the file again".into()));
    }
    picture.apply_orientation(orientation);
    Ok(picture.into_rgb8())
}

/// Decodes, resizes and crops to the model's input: `[C, H, W]`, 0..1. An image that already has that size is used
/// pixel for pixel.
pub fn load(bytes: &[u8], preprocess: &Preprocess) -> Result<Array3<f32>> {
    let picture = resize::fit(&decode(bytes)?, preprocess.size, &preprocess.resize)?;
    to_array(&picture, preprocess.channels())
}

/// 8-bit RGB to `[C, H, W]`, 0..1, with 3 channels, or 1 by Pillow's luma (ITU-R 601, the same integer arithmetic).
pub fn to_array(picture: &RgbImage, channels: usize) -> Result<Array3<f32>> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let raw = picture.as_raw();
    match channels {
        3 => {
            let levels: [f32; 256] = std::array::from_fn(|v| v as f32 / 255.0);
            let (pixels, _) = raw.as_chunks::<3>();
            let mut planes = Vec::with_capacity(raw.len());
            for channel in 0..3 {
                planes.extend(pixels.iter().map(|p| levels[usize::from(p[channel])]));
            }
            Ok(Array3::from_shape_vec((3, height, width), planes).expect("three planes of the picture's size"))
        }
        1 => Ok(Array3::from_shape_fn((1, height, width), |(_, y, x)| {
            let p = &raw[(y * width + x) * 3..][..3];
            let luma = (u32::from(p[0]) * 19595 + u32::from(p[1]) * 38470 + u32::from(p[2]) * 7471 + 0x8000) >> 16;
            luma as f32 / 255.0
        })),
        other => Err(Error::Model(format!(
            "the model wants images with {other} channels; psescope makes 1 (grey) or 3 (RGB) from a picture, give a .npy array instead"
        ))),
    }
}

/// `[C, H, W]`, 0..1, to 8-bit RGB, rounding to the nearest level; one channel becomes grey.
pub fn to_rgb8(image: ArrayView3<f32>) -> RgbImage {
    let (channels, height, width) = image.dim();
    let level = |v: f32| (v.clamp(0.0, 1.0) * 255.0).round() as u8;
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let at = |c: usize| level(image[(c, y as usize, x as usize)]);
        image::Rgb(if channels >= 3 { [at(0), at(1), at(2)] } else { [at(0); 3] })
    })
}

/// Whether the bytes look like a NumPy `.npy` file.
pub fn is_npy(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x93NUMPY")
}

/// Reads a float `.npy` array as an image of exactly the wanted shape `[C, H, W]`; see [`from_array`].
pub fn from_npy(bytes: &[u8], shape: [usize; 3]) -> Result<Array3<f32>> {
    from_array(read_npy(bytes)?, shape)
}

/// Reads a float32 or float64 `.npy` array of any shape. The header is checked against the file's length first.
pub fn read_npy(bytes: &[u8]) -> Result<ArrayD<f32>> {
    let bad = |why: String| Error::Input(format!("the .npy array cannot be used: {why}"));
    if !is_npy(bytes) {
        return Err(bad("it does not begin like a NumPy file".into()));
    }
    let claimed = npy_values(bytes).ok_or_else(|| bad("its header is damaged".into()))?;
    if claimed.checked_mul(4).is_none_or(|n| n > bytes.len()) {
        return Err(bad("it is shorter than its header says".into()));
    }
    let single = ArrayD::<f32>::read_npy(bytes);
    match single {
        Ok(array) => Ok(array),
        Err(ndarray_npy::ReadNpyError::WrongDescriptor(_)) => {
            ArrayD::<f64>::read_npy(bytes).map(|a| a.mapv(|v| v as f32)).map_err(|e| bad(format!("{e}; save it as float32")))
        }
        Err(e) => Err(bad(e.to_string())),
    }
}

/// Takes an array as an image: `[C, H, W]` or `[1, C, H, W]` of the wanted shape, finite, 0..1.
pub fn from_array(array: ArrayD<f32>, shape: [usize; 3]) -> Result<Array3<f32>> {
    let given = array.shape().to_vec();
    let wanted = IxDyn(&shape);
    let squeezed = if given.len() == 4 && given[0] == 1 { array.index_axis_move(ndarray::Axis(0), 0) } else { array };
    if squeezed.raw_dim() != wanted {
        return Err(Error::Input(format!("the array has shape {given:?}; this model's images are {shape:?} (channels, height, width)")));
    }
    let (low, high) = squeezed.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    if squeezed.iter().any(|v| !v.is_finite()) || low < -1e-6 || high > 1.0 + 1e-6 {
        return Err(Error::Input(format!(
            "the array's values run from {low} to {high}; pixels must be finite and between 0 and 1, before any mean or std"
        )));
    }
    let image = squeezed.into_dimensionality::<Ix3>().map_err(|e| Error::Input(e.to_string()))?;
    Ok(image.mapv(|v| v.clamp(0.0, 1.0)).as_standard_layout().into_owned())
}

fn failure(error: &ImageError) -> Error {
    Error::Input(match error {
        ImageError::Limits(_) => "the image needs more memory than allowed (64 megapixels, 1 GiB); make it smaller first".into(),
        ImageError::Unsupported(_) => format!("this kind of image is not supported ({error}); convert it to PNG or JPEG"),
        ImageError::IoError(_) => "the image is cut off: the file ends too early; copy it again".into(),
        _ => format!("the image is damaged ({}); copy or convert it again", error.to_string().replace(['\n', '\r'], " ")),
    })
}

/// A JPEG is whole when an end marker follows its last start of scan: coded data cannot contain either marker.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|w| w == [0xFF, marker]);
    match (last(0xDA), last(0xD9)) {
        (Some(scan), Some(end)) => end > scan,
        _ => false,
    }
}

/// Number of values a `.npy` header claims.
fn npy_values(bytes: &[u8]) -> Option<usize> {
    let header = &bytes[..bytes.len().min(4096)];
    let key = b"'shape':";
    let start = header.windows(key.len()).position(|w| w == key)? + key.len();
    let rest = &header[start..];
    let open = rest.iter().position(|b| *b == b'(')?;
    let close = rest.iter().position(|b| *b == b')')?;
    let text = std::str::from_utf8(rest.get(open + 1..close)?).ok()?;
    text.split(',').map(str::trim).filter(|t| !t.is_empty()).try_fold(1usize, |n, t| n.checked_mul(t.parse().ok()?))
}

/// An image `[C, H, W]` made smaller by a whole factor, so that its longer side has at most `most` pixels: the mean of every block.
pub fn shrunk(image: ArrayView3<f32>, most: usize) -> Array3<f32> {
    let (channels, height, width) = image.dim();
    let by = height.max(width).div_ceil(most.max(1)).max(1);
    Array3::from_shape_fn((channels, height.div_ceil(by), width.div_ceil(by)), |(c, y, x)| {
        let block = image.slice(s![c, y * by..(y * by + by).min(height), x * by..(x * by + by).min(width)]);
        block.sum() / block.len() as f32
    })
}

#[cfg(test)]
mod tests {
    use image::{Rgba, RgbaImage};
    use ndarray::{Array, Array4};
    use ndarray_npy::WriteNpyExt;

    use super::*;

    fn encode(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        picture.write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    #[test]
    fn alpha_is_dropped_and_grey_becomes_rgb() {
        let rgba = RgbaImage::from_pixel(2, 1, Rgba([200, 100, 50, 0]));
        assert_eq!(decode(&encode(&rgba.into(), ImageFormat::Png)).unwrap().get_pixel(0, 0).0, [200, 100, 50]);
        let grey = image::GrayImage::from_pixel(2, 1, image::Luma([7]));
        assert_eq!(decode(&encode(&grey.into(), ImageFormat::Png)).unwrap().get_pixel(1, 0).0, [7, 7, 7]);
    }

    #[test]
    fn luma_is_pillows() {
        let p = RgbImage::from_pixel(1, 1, image::Rgb([200, 100, 50]));
        // Image.new('RGB', (1, 1), (200, 100, 50)).convert('L').getpixel((0, 0)) is 124
        assert_eq!(to_array(&p, 1).unwrap()[(0, 0, 0)], 124.0 / 255.0);
        assert!(to_array(&p, 4).is_err());
    }

    #[test]
    fn bad_files_give_one_sentence() {
        for bytes in [&b""[..], b"hello, not an image", b"\x89PNG\r\n\x1a\n rubbish"] {
            let text = decode(bytes).unwrap_err().to_string();
            assert!(!text.contains('\n') && text.len() < 200, "{text}");
        }
        let noise = RgbImage::from_fn(64, 64, |x, y| image::Rgb([(x * 7 + y * 13) as u8, (x * y) as u8, (x ^ y) as u8]));
        for format in [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::WebP,
            ImageFormat::Bmp,
            ImageFormat::Gif,
            ImageFormat::Tiff,
            ImageFormat::Pnm,
        ] {
            let whole = encode(&noise.clone().into(), format);
            assert!(decode(&whole).is_ok(), "{format:?}");
            let cut = &whole[..whole.len() * 2 / 3];
            let text = decode(cut).map(|_| ()).unwrap_err().to_string();
            assert!(!text.contains('\n'), "{format:?}: {text}");
            for n in 0..whole.len().min(200) {
                let _ = decode(&whole[..n]);
            }
        }
    }

    #[test]
    fn huge_header_is_refused() {
        let mut bytes = b"P6\n40000 40000\n255\n".to_vec();
        bytes.extend([0; 64]);
        assert!(decode(&bytes).unwrap_err().to_string().contains("64 megapixels"));
    }

    #[test]
    fn round_trip_rgb() {
        let p = RgbImage::from_fn(5, 4, |x, y| image::Rgb([(x * 50) as u8, (y * 60) as u8, 255]));
        assert_eq!(to_rgb8(to_array(&p, 3).unwrap().view()), p);
    }

    #[test]
    fn npy_images() {
        let image = Array::linspace(0.0f32, 1.0, 12).into_shape_with_order((3, 2, 2)).unwrap();
        let mut bytes = Vec::new();
        image.write_npy(&mut bytes).unwrap();
        assert_eq!(from_npy(&bytes, [3, 2, 2]).unwrap(), image);
        assert!(from_npy(&bytes, [3, 4, 4]).unwrap_err().to_string().contains("channels, height, width"));
        assert!(from_npy(&bytes[..bytes.len() - 3], [3, 2, 2]).is_err());
        let mut double = Vec::new();
        image.mapv(f64::from).write_npy(&mut double).unwrap();
        assert_eq!(from_npy(&double, [3, 2, 2]).unwrap(), image);
        let mut scaled = Vec::new();
        (&image * 255.0).write_npy(&mut scaled).unwrap();
        assert!(from_npy(&scaled, [3, 2, 2]).unwrap_err().to_string().contains("between 0 and 1"));
        assert!(from_array(Array4::<f32>::zeros((1, 3, 2, 2)).into_dyn(), [3, 2, 2]).is_ok());
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.contains("(3, 2, 2)"));
        let at = bytes.windows(9).position(|w| w == b"(3, 2, 2)").unwrap();
        let mut hostile = bytes.clone();
        hostile[at..at + 9].copy_from_slice(b"(9999999)");
        assert!(read_npy(&hostile).unwrap_err().to_string().contains("shorter"));
    }

    #[test]
    fn shrunk_images_hold_the_mean_of_their_blocks() {
        let image = Array3::from_shape_fn((1, 5, 4), |(_, y, x)| (4 * y + x) as f32);
        assert_eq!(shrunk(image.view(), 5), image);
        let small = shrunk(image.view(), 3);
        assert_eq!(small, ndarray::array![[[2.5, 4.5], [10.5, 12.5], [16.5, 18.5]]]);
        assert_eq!(shrunk(image.view(), 0).dim(), shrunk(image.view(), 1).dim());
    }
}
