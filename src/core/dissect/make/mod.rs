//! A small concept data set of our own: procedural textures, photos with hand-drawn polygons, cut-outs of those photos on textures, and
//! colour names per pixel. Everything follows from the seed. Composites share a handful of cut-outs, so IoU on this data says less than on
//! Broden and is not comparable with it.

mod colour;
mod cutout;
mod tables;
mod texture;

pub use colour::name as colour_name;
pub use cutout::Photo;
pub use tables::{Made, number};
pub use texture::KINDS as TEXTURES;

use image::RgbImage;
use ndarray::Array2;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::core::{error::Result, tensor::resize};

/// Pictures of each kind of texture.
const PER_TEXTURE: usize = 20;
/// Crops of each photo.
const PER_PHOTO: usize = 12;
/// Composites with each photo's cut-out.
const PER_CUTOUT: usize = 40;

/// One picture with its labels by name; an empty name is unlabelled.
#[derive(Debug, Clone)]
pub struct Picture {
    /// File stem, relative to `images`.
    pub name: String,
    /// The picture, square.
    pub image: RgbImage,
    /// Category and names per pixel of a picture of half the size.
    pub planes: Vec<(&'static str, Array2<String>)>,
    /// Category and name for the whole picture.
    pub whole: Vec<(&'static str, String)>,
}

/// How many pictures are made with this many photos.
pub fn count(photos: usize) -> usize {
    TEXTURES.len() * PER_TEXTURE + photos * (PER_PHOTO + PER_CUTOUT)
}

/// Picture number `index` of the set, `side` pixels square.
pub fn picture(photos: &[Photo], index: usize, seed: u64, side: usize) -> Result<Picture> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index as u64);
    let seg = side / 2;
    let textures = TEXTURES.len() * PER_TEXTURE;
    let mut picture = if index < textures {
        let kind = index / PER_TEXTURE;
        let texture = texture::Texture::random(kind, side, &mut rng);
        let image = RgbImage::from_fn(side as u32, side as u32, |x, y| image::Rgb(texture.at(f64::from(x), f64::from(y))));
        let name = TEXTURES[kind];
        Picture {
            name: format!("texture/{name}_{:02}", index % PER_TEXTURE),
            image,
            planes: Vec::new(),
            whole: vec![("texture", name.to_owned())],
        }
    } else {
        let (photo, turn) = ((index - textures) % photos.len(), (index - textures) / photos.len());
        if turn < PER_PHOTO {
            photos[photo].crop(turn, side, seg, &mut rng)?
        } else {
            let texture = texture::Texture::random(rng.random_range(0..TEXTURES.len()), side, &mut rng);
            photos[photo].composite(turn - PER_PHOTO, side, seg, &texture, &mut rng)
        }
    };
    let small = resize::scale(&picture.image, [seg, seg], resize::Interpolation::Bilinear)?;
    let colours = Array2::from_shape_fn((seg, seg), |(y, x)| format!("{}-c", colour::name(small.get_pixel(x as u32, y as u32).0)));
    picture.planes.push(("color", colours));
    Ok(picture)
}

#[cfg(test)]
#[path = "../make_tests.rs"]
mod tests;
