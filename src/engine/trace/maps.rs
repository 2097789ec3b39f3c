//! Explanations kept with a run, so that it can be looked at without its model. Optional entries of `RUN.pse`: tensors `maps/<n>`, and a
//! JSON list under the metadata key `psescope.maps` that says what each of them is.

use std::sync::Arc;

use ndarray::Array2;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::file::floats;
use crate::core::explain::{
    cam::{CamMap, Method},
    psr::{Grid, Mode, PsrMap, Settings, judge},
};

/// Metadata key of the list.
pub(super) const META: &str = "psescope.maps";

/// A promotion-suppression map of a step.
#[derive(Debug, Clone)]
pub struct StepPsr {
    /// Step of the run.
    pub step: usize,
    /// The map.
    pub map: Arc<PsrMap>,
}

/// A class activation map.
#[derive(Debug, Clone)]
pub struct StepCam {
    /// Step of the run; `None` for the clean image.
    pub step: Option<usize>,
    /// The map.
    pub map: Arc<CamMap>,
}

/// Explanations of a run.
#[derive(Debug, Clone, Default)]
pub struct Maps {
    /// Promotion-suppression maps, complete ones only.
    pub psr: Vec<StepPsr>,
    /// Class activation maps.
    pub cams: Vec<StepCam>,
}

impl Maps {
    /// The map of a step: the exact one, else the estimate along the path, else the linear one; of these the finest.
    pub fn psr_at(&self, step: usize) -> Option<&Arc<PsrMap>> {
        let rank = |map: &PsrMap| match map.settings.mode {
            Mode::Exact => 2,
            Mode::Path => 1,
            Mode::Linear => 0,
        };
        self.psr.iter().filter(|m| m.step == step).map(|m| &m.map).max_by_key(|m| (rank(m), m.cells.len()))
    }

    /// The map of an image for a class by a method; of several layers the last one computed.
    pub fn cam(&self, step: Option<usize>, method: Method, class: usize) -> Option<&Arc<CamMap>> {
        self.cams.iter().rev().find(|c| c.step == step && c.map.method == method && c.map.class == class).map(|c| &c.map)
    }
}

/// What a stored array is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Entry {
    /// `[2, rows, cols]`: raw suppression, raw promotion.
    Psr {
        tensor: String,
        step: usize,
        cell: [usize; 2],
        floor: f32,
        threshold: f32,
        mode: String,
        classes: (usize, usize),
        forwards: usize,
        seconds: f32,
    },
    /// `[h, w]` of the layer, before any ReLU.
    Cam { tensor: String, step: Option<usize>, method: String, layer: String, class: usize },
}

/// An array to be written.
pub(super) struct Stored {
    pub name: String,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// The list and its arrays.
pub(super) fn encode(maps: &Maps) -> (Vec<Entry>, Vec<Stored>) {
    let (mut index, mut arrays) = (Vec::new(), Vec::new());
    let mut store = |shape: Vec<usize>, values: &mut dyn Iterator<Item = f32>| {
        let name = format!("maps/{}", arrays.len());
        arrays.push(Stored { name: name.clone(), shape, bytes: values.flat_map(f32::to_le_bytes).collect() });
        name
    };
    for StepPsr { step, map } in maps.psr.iter().filter(|m| m.map.cells.iter().all(Option::is_some)) {
        let known = || map.cells.iter().flatten();
        let tensor = store(vec![2, map.grid.rows(), map.grid.cols()], &mut known().map(|c| c.s_raw).chain(known().map(|c| c.b_raw)));
        let Settings { floor, threshold, mode } = map.settings;
        index.push(Entry::Psr {
            tensor,
            step: *step,
            cell: [map.grid.cell_h, map.grid.cell_w],
            floor,
            threshold,
            mode: mode.name().into(),
            classes: map.classes,
            forwards: map.forwards,
            seconds: map.seconds,
        });
    }
    for StepCam { step, map } in &maps.cams {
        let tensor = store(map.raw.shape().to_vec(), &mut map.raw.iter().copied());
        let (method, layer) = (map.method.info().name.to_owned(), map.layer.clone());
        index.push(Entry::Cam { tensor, step: *step, method, layer, class: map.class });
    }
    (index, arrays)
}

/// Reads them back for an image of `[height, width]` and a run of so many steps.
pub(super) fn decode(text: &str, tensors: &SafeTensors, image: [usize; 2], steps: usize) -> Result<Maps, String> {
    let index: Vec<Entry> = serde_json::from_str(text).map_err(|e| format!("its list of maps: {e}"))?;
    let mut maps = Maps::default();
    for entry in index {
        match entry {
            Entry::Psr { tensor, step, cell, floor, threshold, mode, classes, forwards, seconds } => {
                let settings = Settings { floor, threshold, mode: Mode::from_name(&mode).map_err(|e| e.to_string())? };
                let settings = settings.check().map_err(|e| e.to_string())?;
                let grid = Grid { height: image[0], width: image[1], cell_h: cell[0], cell_w: cell[1] };
                let values = values(tensors, &tensor, &[2, grid.rows(), grid.cols()])?;
                if cell.contains(&0) || step >= steps {
                    return Err(format!("its map '{tensor}' does not fit the run"));
                }
                let (s, b) = values.split_at(grid.len());
                let cells = s.iter().zip(b).enumerate().map(|(i, (s, b))| Some(judge(&grid, i, *s, *b, &settings))).collect();
                maps.psr.push(StepPsr { step, map: Arc::new(PsrMap { grid, settings, cells, classes, forwards, seconds }) });
            }
            Entry::Cam { tensor, step, method, layer, class } => {
                let shape = tensors.tensor(&tensor).map_err(|e| e.to_string())?.shape().to_vec();
                let [h, w] = *shape else { return Err(format!("its map '{tensor}' has the wrong shape")) };
                if h == 0 || w == 0 || step.is_some_and(|s| s >= steps) {
                    return Err(format!("its map '{tensor}' does not fit the run"));
                }
                let raw = Array2::from_shape_vec((h, w), values(tensors, &tensor, &shape)?).map_err(|e| e.to_string())?;
                let method = Method::from_name(&method).map_err(|e| e.to_string())?;
                let layer = layer.chars().filter(|c| !c.is_control()).collect();
                maps.cams.push(StepCam { step, map: Arc::new(CamMap { method, layer, class, raw }) });
            }
        }
    }
    Ok(maps)
}

fn values(tensors: &SafeTensors, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
    let tensor = tensors.tensor(name).map_err(|e| e.to_string())?;
    if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
        return Err(format!("its map '{name}' has the wrong shape"));
    }
    Ok(floats(tensor.data()))
}
