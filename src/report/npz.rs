//! All arrays of a run as one `.npz` file.

use std::io::Cursor;

use ndarray::{Array1, Array3, Array4, Axis};
use ndarray_npy::{NpzWriter, WritableElement, WriteNpzError};

use super::Options;
use crate::{
    core::error::{Error, Result},
    engine::{findings::Findings, trace::StepRecord},
};

/// Number of a step, as NumPy has it.
fn index(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The file: `x0`, `adv`, `delta` `[C,H,W]`, `frames` `[F,C,H,W]` with `frame_steps` `[F]`, one array per scalar of the steps, the maps.
pub fn bytes(findings: &Findings, _: &Options) -> Result<Vec<u8>> {
    let mut file = NpzWriter::new_compressed(Cursor::new(Vec::new()));
    fill(&mut file, findings)
        .and_then(|()| Ok(file.finish()?.into_inner()))
        .map_err(|e| Error::Input(format!("the arrays cannot be packed: {e}; write them with `psescope attack --npy` instead")))
}

type File = NpzWriter<Cursor<Vec<u8>>>;

fn fill(file: &mut File, findings: &Findings) -> std::result::Result<(), WriteNpzError> {
    let trace = &findings.trace;
    file.add_array("x0", &*trace.clean)?;
    if let Some(frame) = trace.frame(findings.step) {
        file.add_array("adv", &frame.image)?;
        file.add_array("delta", &frame.delta)?;
    }
    let kept: Vec<_> = trace.frames().into_iter().filter_map(|i| trace.frame(i)).collect();
    let (c, h, w) = trace.clean.dim();
    let mut frames = Array4::<f32>::zeros((kept.len(), c, h, w));
    for (mut slot, frame) in frames.axis_iter_mut(Axis(0)).zip(&kept) {
        slot.assign(&frame.delta);
    }
    file.add_array("frames", &frames)?;
    file.add_array("frame_steps", &kept.iter().map(|f| index(f.index)).collect::<Array1<i64>>())?;
    file.add_array("step", &Array1::from_elem(1, index(findings.step)))?;
    scalars(file, findings)?;
    file.add_array("clean_logits", &Array1::from(findings.meta.clean_logits.clone()))?;
    if let Some(map) = findings.psr() {
        let raw = Array3::from_shape_fn((2, map.grid.rows(), map.grid.cols()), |(which, row, col)| {
            map.cells[row * map.grid.cols() + col].map_or(f32::NAN, |cell| if which == 0 { cell.s_raw } else { cell.b_raw })
        });
        file.add_array("pse_raw", &raw)?;
    }
    for (map, name) in findings.cams().into_iter().zip(["cam_x0_true", "cam_x0_target", "cam_adv_true", "cam_adv_target"]) {
        if let Some(map) = map {
            file.add_array(name, &map.raw)?;
        }
    }
    Ok(())
}

/// One number of a step.
type Scalar = fn(&StepRecord) -> f32;

fn scalars(file: &mut File, findings: &Findings) -> std::result::Result<(), WriteNpzError> {
    let steps = &findings.meta.steps;
    let columns: [(&str, Scalar); 9] = [
        ("loss", |s| s.loss),
        ("true_logit", |s| s.true_logit),
        ("target_logit", |s| s.target_logit.unwrap_or(f32::NAN)),
        ("other_logit", |s| s.other_logit),
        ("log_sum_exp", |s| s.log_sum_exp),
        ("l1", |s| s.l1),
        ("l2", |s| s.l2),
        ("linf", |s| s.linf),
        ("seconds", |s| s.seconds),
    ];
    for (name, column) in columns {
        add(file, name, steps.iter().map(column))?;
    }
    add(file, "l0", steps.iter().map(|s| index(s.l0)))?;
    add(file, "predicted", steps.iter().map(|s| index(s.predicted)))
}

fn add<T: WritableElement>(file: &mut File, name: &str, values: impl Iterator<Item = T>) -> std::result::Result<(), WriteNpzError> {
    file.add_array(name, &values.collect::<Array1<T>>())
}
