//! Writes the concept data set of our own into a folder.

use std::{fs, io::Cursor, path::Path};

use image::{ImageFormat, RgbImage, codecs::jpeg::JpegEncoder};
use rayon::prelude::*;

use crate::{
    core::{
        dissect::{broden::to_picture, make},
        error::{Error, Result},
    },
    runtime::files,
};

/// Photos with polygons in `samples/parts.json`.
const PHOTOS: [(&str, &[u8]); 6] = [
    ("panda", include_bytes!("../../../samples/panda.jpg")),
    ("polar_bear", include_bytes!("../../../samples/polar_bear.jpg")),
    ("koala", include_bytes!("../../../samples/koala.jpg")),
    ("dog", include_bytes!("../../../samples/dog.jpg")),
    ("scarlet_macaw", include_bytes!("../../../samples/scarlet_macaw.jpg")),
    ("coffee", include_bytes!("../../../samples/coffee.jpg")),
];
const POLYGONS: &str = include_str!("../../../samples/parts.json");
const QUALITY: u8 = 92;
/// Pictures made at a time.
const PIECE: usize = 32;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Pictures.
    pub images: usize,
    /// Labels.
    pub labels: usize,
    /// Categories and how many labels each has.
    pub categories: Vec<(String, u64)>,
}

/// How many pictures there will be.
pub fn count() -> usize {
    make::count(PHOTOS.len())
}

/// Writes the data set; index.csv comes last, so that a folder with one is whole.
pub fn write(folder: &Path, seed: u64, side: usize, progress: &mut dyn FnMut(usize)) -> Result<Summary> {
    if folder.join("index.csv").exists() {
        return Err(Error::Parameter(format!("{} holds concept data already; give an empty folder", folder.display())));
    }
    let table = serde_json::from_str(POLYGONS).map_err(|e| Error::Input(format!("the polygons are not JSON ({e})")))?;
    let photos = PHOTOS.iter().map(|(name, file)| make::Photo::new(name, file, &table)).collect::<Result<Vec<_>>>()?;
    let images = folder.join("images");
    for kind in ["texture", "photo", "composite"] {
        fs::create_dir_all(images.join(kind)).map_err(|e| failed(&images, &e))?;
    }
    let mut set = Vec::with_capacity(count());
    for start in (0..count()).step_by(PIECE) {
        let end = (start + PIECE).min(count());
        let piece: Vec<make::Picture> = (start..end)
            .into_par_iter()
            .map(|index| {
                let mut picture = make::picture(&photos, index, seed, side)?;
                save(&images.join(format!("{}.jpg", picture.name)), &jpeg(&picture.image)?)?;
                // Written: only its size is needed from here on.
                picture.image = RgbImage::new(side as u32, side as u32);
                Ok(picture)
            })
            .collect::<Result<_>>()?;
        set.extend(piece);
        progress(end);
    }
    let made = make::number(&set);
    drop(set);
    made.pictures.par_iter().try_for_each(|(path, numbers)| {
        let mut png = Cursor::new(Vec::new());
        to_picture(numbers).write_to(&mut png, ImageFormat::Png).map_err(|e| Error::Input(format!("{path} cannot be encoded ({e})")))?;
        save(&images.join(path), png.get_ref())
    })?;
    let data = &made.broden;
    save(&folder.join("README.txt"), readme(seed, data.images.len()).as_bytes())?;
    save(&folder.join("label.csv"), data.label_csv().as_bytes())?;
    for (at, category) in data.categories.iter().enumerate() {
        save(&folder.join(format!("c_{}.csv", category.name)), data.code_csv(at).as_bytes())?;
    }
    save(&folder.join("category.csv"), data.category_csv().as_bytes())?;
    save(&folder.join("index.csv"), data.index_csv().as_bytes())?;
    let categories = data.categories.iter().map(|c| (c.name.clone(), c.count)).collect();
    Ok(Summary { images: data.images.len(), labels: data.labels.len(), categories })
}

fn readme(seed: u64, images: usize) -> String {
    format!(
        "psescope's own small concept set, seed {seed}\n\n{images} pictures in the layout of Broden: procedural textures, six photos with hand-drawn \
         polygons (CC0), cut-outs of\nthese photos on textures, colour names by rules in Lab. Composites share six cut-outs: IoU measured on this data\n\
         is not comparable with IoU on Broden.\n"
    )
}

fn jpeg(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    JpegEncoder::new_with_quality(&mut out, QUALITY)
        .encode_image(picture)
        .map_err(|e| Error::Input(format!("a picture cannot be encoded ({e})")))?;
    Ok(out)
}

fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    files::replace(path, bytes).map_err(|e| failed(path, &e))
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::Input(format!("cannot write {}: {error}; give a folder you may write to", path.display()))
}
