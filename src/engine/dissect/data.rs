//! A folder in the layout of Broden.

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use ndarray::{Array4, ArrayViewMut4};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::{
    core::{
        dissect::{
            broden::{Broden, Item, label_picture},
            tally::ImageLabels,
        },
        error::{Error, Result},
        tensor::{
            image as pixels,
            labels::clean_to,
            preprocess::Preprocess,
            resize::{Fit, Resize},
        },
    },
    engine::subject::Subject,
};

/// Largest table, and largest picture.
const MAX_TABLE: u64 = 1 << 30;
const MAX_PICTURE: u64 = 64 << 20;

/// Concept data.
#[derive(Debug, Clone)]
pub struct Data {
    /// Folder as given.
    pub root: PathBuf,
    /// Its tables.
    pub broden: Broden,
    /// One line for people: the first line of README.txt, or the folder's name.
    pub origin: String,
    /// Hash of the tables, hexadecimal.
    pub key: String,
}

impl Data {
    /// Reads the tables.
    pub fn open(root: &Path) -> Result<Self> {
        if !root.join("index.csv").is_file() {
            let text = "has no index.csv; give a folder in the layout of Broden, or make one with `psescope dissect --make-data DIR`";
            return Err(Error::Input(format!("{} {text}", root.display())));
        }
        let mut digest = Sha256::new();
        let mut table = |name: &str| -> Result<Vec<u8>> {
            let bytes = read(&root.join(name), MAX_TABLE)?;
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(&bytes);
            Ok(bytes)
        };
        let (index, categories, labels) = (table("index.csv")?, table("category.csv")?, table("label.csv")?);
        let broden = Broden::parse(&index, &categories, &labels, &mut |category| {
            let name = format!("c_{category}.csv");
            if root.join(&name).is_file() { table(&name).map(Some) } else { Ok(None) }
        })
        .map_err(|e| Error::Input(format!("{}: {e}", root.display())))?;
        let key = digest.finalize().iter().take(16).map(|b| format!("{b:02x}")).collect();
        let name = root.canonicalize().ok().and_then(|p| Some(p.file_name()?.to_string_lossy().into_owned()));
        let line =
            read(&root.join("README.txt"), 1 << 20).ok().and_then(|b| Some(String::from_utf8_lossy(&b).lines().next()?.trim().to_owned()));
        let origin = line.filter(|l| !l.is_empty()).or(name).unwrap_or_else(|| root.display().to_string());
        let origin = clean_to(&origin, 160);
        Ok(Self { root: root.to_owned(), broden, origin, key })
    }

    /// Path of a picture of the data set.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join("images").join(relative)
    }

    /// The images from..to as the model takes them, `[N, C, H, W]`. Nothing is cropped, so that label pictures fit.
    pub fn images(&self, subject: &Subject, range: Range<usize>) -> Result<Array4<f32>> {
        let [c, h, w] = subject.prepared.shape;
        let mut all = Array4::zeros((range.len(), c, h, w));
        self.images_into(subject, range, all.view_mut())?;
        Ok(all)
    }

    /// The same into memory that is there already.
    pub fn images_into(&self, subject: &Subject, range: Range<usize>, mut all: ArrayViewMut4<f32>) -> Result<()> {
        let resize = Resize { fit: Fit::Exact, ..subject.preprocess.resize };
        let preprocess = Preprocess { resize, ..subject.preprocess.clone() };
        let entries = &self.broden.images[range];
        all.outer_iter_mut().into_par_iter().zip(entries).try_for_each(|(mut place, entry)| {
            let path = self.path(&entry.image);
            let image =
                pixels::load(&read(&path, MAX_PICTURE)?, &preprocess).map_err(|e| Error::Input(format!("{}: {e}", path.display())))?;
            if image.dim() != place.dim() {
                return Err(Error::Engine(format!("an image of shape {:?} was made for a model of {:?}", image.shape(), place.shape())));
            }
            place.assign(&image);
            Ok(())
        })
    }

    /// The labels of an image.
    pub fn labels(&self, image: usize) -> Result<ImageLabels> {
        let entry = &self.broden.images[image];
        let last = self.broden.last_label();
        let mut labels = ImageLabels { pixels: (entry.seg[0] * entry.seg[1]) as u64, ..ImageLabels::default() };
        for item in entry.cells.iter().flatten() {
            match item {
                Item::Whole(number) => labels.whole.push(*number),
                Item::Picture(name) => {
                    let path = self.path(name);
                    let numbers = label_picture(&read(&path, MAX_PICTURE)?, entry.seg, last);
                    labels.planes.push(numbers.map_err(|e| Error::Input(format!("{}: {e}", path.display())))?);
                }
            }
        }
        Ok(labels)
    }
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let failed = |why: String| Error::Input(format!("cannot read {}: {why}; the concept data is not whole, copy it again", path.display()));
    let meta = fs::metadata(path).map_err(|e| failed(e.to_string()))?;
    if !meta.is_file() || meta.len() > most {
        return Err(failed(format!("it is not a file of at most {} MiB", most >> 20)));
    }
    fs::read(path).map_err(|e| failed(e.to_string()))
}
