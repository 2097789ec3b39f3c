//! Small pictures of the images on the screen: read in the background one after the other, and kept within a bound.

use std::{
    collections::{HashMap, VecDeque},
    path::{Path, PathBuf},
    sync::Arc,
};

use ndarray::Array3;

use crate::{core::tensor::image::shrunk, tui::model::Model};

/// Pictures kept: more than rows fit on any screen. About 200 kB each.
const KEPT: usize = 128;
/// Pixels of the longer side of a picture in a row, before it is fitted to its cells.
const SMALL: usize = 32;

/// A picture for the selected image, and a smaller one for its row.
#[derive(Debug, Clone)]
pub struct Thumb {
    /// `[C, H, W]`, 0 to 1.
    pub image: Arc<Array3<f32>>,
    /// The same, smaller.
    pub small: Array3<f32>,
}

/// Pictures by path; nothing for a file that is none.
#[derive(Debug, Clone, Default)]
pub struct Thumbs {
    kept: HashMap<PathBuf, Option<Thumb>>,
    order: VecDeque<PathBuf>,
    /// Picture asked for.
    pub asked: Option<PathBuf>,
}

impl Thumbs {
    /// What is known about the picture of a file.
    pub fn get(&self, path: &Path) -> Option<Option<&Thumb>> {
        self.kept.get(path).map(Option::as_ref)
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Keeps a picture; the one kept longest makes room.
    pub fn keep(&mut self, path: PathBuf, image: Option<Arc<Array3<f32>>>) {
        self.asked = None;
        let thumb = image.map(|image| Thumb { small: shrunk(image.view(), SMALL), image });
        if self.kept.insert(path.clone(), thumb).is_none() {
            self.order.push_back(path);
        }
        while self.order.len() > KEPT {
            if let Some(oldest) = self.order.pop_front() {
                self.kept.remove(&oldest);
            }
        }
    }
}

/// The next picture to ask for: of the selected image, then of the rows on the screen from top to bottom.
pub fn wanted(model: &Model) -> Option<PathBuf> {
    let thumbs = &model.triage.thumbs;
    if thumbs.asked.is_some() {
        return None;
    }
    let lacking = |path: &PathBuf| thumbs.get(path).is_none();
    super::view::pictured(model).into_iter().find(lacking)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_bounded_and_the_newest_stay() {
        let mut thumbs = Thumbs::default();
        let image = Arc::new(Array3::from_elem((3, 128, 96), 0.5));
        for i in 0..2 * KEPT {
            thumbs.keep(format!("{i}.png").into(), (i % 2 == 0).then(|| Arc::clone(&image)));
            thumbs.keep(format!("{i}.png").into(), (i % 2 == 0).then(|| Arc::clone(&image)));
        }
        assert_eq!((thumbs.len(), thumbs.is_empty()), (KEPT, false));
        assert!(thumbs.get(Path::new("0.png")).is_none(), "long gone");
        let last = thumbs.get(Path::new(&format!("{}.png", 2 * KEPT - 2))).flatten().unwrap();
        assert_eq!(last.small.dim(), (3, 32, 24));
        assert!(matches!(thumbs.get(Path::new(&format!("{}.png", 2 * KEPT - 1))), Some(None)), "known to be no picture");
    }
}
