//! Regions of an image by name or from a file: where an attack may change pixels, and what a perturbation is split by.

use std::{fs, path::Path};

use ndarray::{Array2, ArrayD, ArrayView3, Ix2};
use ndarray_npy::ReadNpyExt as _;

use crate::core::{
    error::{Error, Result},
    explain::{
        cam::{self, CamMap},
        interpretability,
        region::{ClassRef, RegionSpec},
        upsample::bilinear,
    },
    oracle::Layers,
    tensor::labels::Labels,
};

/// Pixels, and where they come from.
#[derive(Debug, Clone)]
pub struct Region {
    /// As asked for.
    pub text: String,
    /// `[H, W]`, true within.
    pub mask: Array2<bool>,
    /// The map it was cut out of, unless it came from a file.
    pub map: Option<CamMap>,
    /// Value of the enlarged map above which a pixel lies within.
    pub nu: Option<f32>,
}

impl Region {
    /// Share of the pixels within.
    pub fn area(&self) -> f64 {
        self.mask.iter().filter(|b| **b).count() as f64 / self.mask.len().max(1) as f64
    }

    /// 1 within, 0 outside: the mask that attacks take.
    pub fn weights(&self) -> Array2<f32> {
        self.mask.mapv(|b| if b { 1.0 } else { 0.0 })
    }
}

/// Cuts out the region that `text` names: a map of the clean image ([`RegionSpec`]), or a `.npy` file `[H, W]` whose values above 0 are within.
/// `classes` are the true class and the target, when there is one. `progress` is for methods that take long.
pub fn resolve(
    network: &mut dyn Layers,
    labels: &Labels,
    image: ArrayView3<f32>,
    classes: (usize, Option<usize>),
    text: &str,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Region> {
    let (_, h, w) = image.dim();
    let file = Path::new(text);
    let region = if file.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy")) {
        Region { text: text.to_owned(), mask: from_file(file, [h, w])?, map: None, nu: None }
    } else {
        let spec = RegionSpec::parse(text)?;
        let class = match &spec.class {
            ClassRef::Truth => classes.0,
            ClassRef::Target => classes.1.ok_or_else(|| {
                Error::Parameter(format!("'{text}' means the target's map, but the attack names no target; add --target or use t0"))
            })?,
            ClassRef::Named(name) => labels.find(name)?,
        };
        let map = cam::compute_with(network, image, spec.method, spec.layer.as_deref(), class, progress)?;
        let large = bilinear(map.defined().view(), [h, w]);
        let (mask, nu) = interpretability::region(large.view(), spec.threshold)?;
        Region { text: spec.to_string(), mask, map: Some(map), nu: Some(nu) }
    };
    match region.mask.iter().any(|b| *b) {
        true => Ok(region),
        false => Err(Error::Parameter(format!("the region '{text}' holds no pixel; lower its level or choose another map"))),
    }
}

fn from_file(path: &Path, size: [usize; 2]) -> Result<Array2<bool>> {
    let name = path.display();
    let bytes = fs::read(path).map_err(|e| Error::Input(format!("cannot read {name}: {e}; give a .npy mask [H, W]")))?;
    let numbers = ArrayD::<f32>::read_npy(bytes.as_slice()).map(|a| a.mapv(|v| v > 0.0));
    let numbers = numbers.or_else(|_| ArrayD::<bool>::read_npy(bytes.as_slice()));
    let numbers = numbers.or_else(|_| ArrayD::<u8>::read_npy(bytes.as_slice()).map(|a| a.mapv(|v| v > 0)));
    let mask =
        numbers.map_err(|_| Error::Input(format!("{name} is no .npy array of float32, uint8 or bool; save the mask as one of these")))?;
    let shape = mask.shape().to_vec();
    let mask = mask.into_dimensionality::<Ix2>().ok().filter(|m| m.shape() == size);
    mask.ok_or_else(|| Error::Input(format!("the mask {name} has shape {shape:?} and the model's input {size:?}; give height by width")))
}
