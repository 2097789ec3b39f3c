//! How far the units of a layer spread over a folder of reference images: what a change is to be measured against.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use ndarray::{Array2, Axis, concatenate};

use super::{subject::Subject, triage::listing};
use crate::core::{
    error::{Error, Result},
    explain::units::{self, Spread},
    oracle::Units,
};

/// Images read unless another number is asked for.
pub const LIMIT: usize = 200;

/// A folder (or list file) of images, and the spreads computed from it so far.
#[derive(Debug)]
pub struct Reference {
    path: PathBuf,
    images: Vec<PathBuf>,
    known: HashMap<String, Spread>,
}

impl Reference {
    /// The first `limit` images of a folder. An error with fewer than two.
    pub fn open(path: &Path, limit: usize) -> Result<Self> {
        let images: Vec<PathBuf> = listing::of_path(path)?.into_iter().take(limit.max(2)).map(|item| item.path).collect();
        if images.len() < 2 {
            return Err(Error::Input(format!("{} holds fewer than two images; give a folder with more", path.display())));
        }
        Ok(Self { path: path.to_owned(), images, known: HashMap::new() })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there is no image; never, as opening such a folder is refused.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Spread of every unit's mean response; computed once per layer. `progress` gets the number of images done and may end the work.
    pub fn spread(
        &mut self,
        subject: &Subject,
        network: &mut dyn Units,
        layer: &str,
        progress: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Spread> {
        if let Some(known) = self.known.get(layer) {
            return Ok(known.clone());
        }
        let mut means: Vec<Array2<f32>> = Vec::new();
        let mut done = 0;
        for paths in self.images.chunks(network.batch().max(1)) {
            let images = paths.iter().map(|path| subject.image(path)).collect::<Result<Vec<_>>>()?;
            let views: Vec<_> = images.iter().map(|i| i.view()).collect();
            let batch = ndarray::stack(Axis(0), &views).map_err(|e| Error::Input(format!("the reference images differ in size ({e})")))?;
            means.push(units::means(network, batch.view(), layer)?);
            done += paths.len();
            progress(done)?;
        }
        let views: Vec<_> = means.iter().map(|m| m.view()).collect();
        let all = concatenate(Axis(0), &views).map_err(|e| Error::Engine(format!("the layer changed its size ({e})")))?;
        let origin = format!("{} images of {}", self.images.len(), self.path.display());
        let spread = Spread { deviation: units::deviation(&all), origin };
        self.known.insert(layer.to_owned(), spread.clone());
        Ok(spread)
    }
}
