//! A recorded run that is looked at without its model, and the way back to that model.

use std::path::{Path, PathBuf};

use ndarray::ArrayView1;

use super::{
    sample,
    trace::file::{self, Run, RunMeta},
};
use crate::{
    core::error::{Error, Result},
    runtime::model_file,
};

/// A run read from a file, and what became of its model.
#[derive(Debug)]
pub struct Recorded {
    /// File it was read from.
    pub path: PathBuf,
    /// The run.
    pub run: Run,
    /// Its model, or one sentence that says why it cannot be opened and what to do.
    pub model: std::result::Result<PathBuf, String>,
}

impl Recorded {
    /// Reads a run and looks for its model: the file given, else where the run says, from here or from the run's own folder.
    pub fn open(path: &Path, given: Option<&Path>) -> Result<Self> {
        let run = file::load(path)?;
        let model = find_model(&run.meta, path, given);
        Ok(Self { path: path.to_owned(), run, model })
    }

    /// What stands in the way of everything that needs the model, and what to do about it.
    pub fn without_model(&self) -> String {
        match &self.model {
            Ok(model) => format!("this is a recorded run without its model: O opens {}, which is the same file", sample::title(model)),
            Err(why) => why.clone(),
        }
    }
}

/// The model a run was recorded on: a file with the same contents.
pub fn find_model(meta: &RunMeta, run: &Path, given: Option<&Path>) -> std::result::Result<PathBuf, String> {
    let recorded = PathBuf::from(&meta.model);
    let same = |path: &Path| match sample::bytes(path) {
        Some(bytes) => model_file::sha256(bytes) == meta.model_sha256,
        None => path.is_file() && model_file::sha256_of(path).is_ok_and(|hash| hash == meta.model_sha256),
    };
    if let Some(given) = given {
        return match same(given) {
            true => Ok(given.to_owned()),
            false => {
                Err(format!("{} is not the model this run was recorded on (its contents differ); give the original file", given.display()))
            }
        };
    }
    let beside = run.parent().unwrap_or(Path::new("."));
    let candidates = [Some(recorded.clone()), Some(beside.join(&recorded)), recorded.file_name().map(|name| beside.join(name))];
    if let Some(found) = candidates.iter().flatten().find(|path| same(path)) {
        return Ok(found.clone());
    }
    Err(match candidates.iter().flatten().find(|path| path.is_file()) {
        Some(other) => {
            format!("{} is not the model this run was recorded on (its contents differ); give the original with --model", other.display())
        }
        None => format!("the model of this run, {}, is not there; give it with --model", recorded.display()),
    })
}

/// Refuses a model that is opened with other preprocessing than the run was recorded with: its logits of the clean image tell.
pub fn check_logits(meta: &RunMeta, logits: ArrayView1<f32>, preprocessing: &str) -> Result<()> {
    let recorded = &meta.clean_logits;
    if recorded.is_empty() {
        return Ok(());
    }
    let scale = recorded.iter().fold(1.0f32, |m, v| m.max(v.abs()));
    let far = |(a, b): (&f32, &f32)| (a - b).abs() > 0.02 * scale;
    if recorded.len() != logits.len() || logits.iter().zip(recorded).any(far) {
        return Err(Error::Parameter(format!(
            "the model does not give the recorded logits of the clean image: the run was recorded with preprocessing '{}' and it is '{preprocessing}' now; give the same --preprocess, --mean, --std, --size and --layout",
            meta.preprocessing
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_found_by_its_contents() {
        let folder = tempfile::TempDir::new().unwrap();
        let (run, model) = (folder.path().join("run.pse"), folder.path().join("m.onnx"));
        std::fs::write(&model, b"weights").unwrap();
        let meta = RunMeta { model: "elsewhere/m.onnx".into(), model_sha256: model_file::sha256(b"weights"), ..RunMeta::default() };
        assert_eq!(find_model(&meta, &run, None), Ok(model.clone()));
        std::fs::write(&model, b"other weights").unwrap();
        assert!(find_model(&meta, &run, None).unwrap_err().contains("contents differ"));
        assert!(find_model(&meta, &run, Some(&model)).unwrap_err().contains("contents differ"));
        std::fs::remove_file(&model).unwrap();
        assert!(find_model(&meta, &run, None).unwrap_err().contains("--model"));
    }

    #[test]
    fn other_logits_are_refused() {
        let meta = RunMeta { clean_logits: vec![1.0, 12.0], ..RunMeta::default() };
        let check = |logits: &[f32]| check_logits(&meta, logits.into(), "preset unit");
        assert!(check(&[1.001, 12.001]).is_ok());
        assert!(check(&[1.0, 14.0]).unwrap_err().to_string().contains("--preprocess"));
        assert!(check(&[1.0]).is_err());
    }
}
