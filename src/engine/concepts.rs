//! Names of units: from the person's own dissections, or those shipped for the bundled model.
//!
//! A dissection leaves `concepts/<SHA-256 of the model>/<layer>-<data>.csv` in the cache folder, with a `.json` beside it that says
//! which layer, which data and which rule.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    core::{
        dissect::{ConceptLabels, Levels},
        error::{Error, Result},
        oracle::LayerInfo,
    },
    runtime::{files, paths},
};

/// Largest result file that is read.
const MAX_FILE: u64 = 256 << 20;
/// Extension of the file with thresholds and spreads that stands beside a kept result.
const LEVELS: &str = "units.csv";

/// What stands beside a kept result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Tensor name.
    pub layer: String,
    /// Name of the data folder, and how many of its images.
    pub data: String,
    /// Everything that decides the numbers besides model and layer, hexadecimal.
    pub key: String,
    /// One line for people.
    pub text: String,
}

/// Concepts of a layer's units: the newest of the person's own dissections of this very model file, else the shipped ones.
pub fn concepts_for(model_sha256: &str, layer: &str) -> Option<ConceptLabels> {
    own(&folder(model_sha256)?, layer).or_else(|| shipped(model_sha256, layer))
}

/// Reads a result file that the person names for a layer.
pub fn concepts_from(path: &Path, layer: &LayerInfo) -> Result<ConceptLabels> {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let labels = ConceptLabels::from_result_csv(&read(path)?, &name).map_err(|e| Error::Input(format!("{}: {e}", path.display())))?;
    if labels.len() > layer.units {
        let text = format!("{} speaks of {} units and '{}' has {}", path.display(), labels.len(), layer.name, layer.units);
        return Err(Error::Input(format!("{text}; give the result file of this very layer")));
    }
    let beside = name.strip_suffix("-result.csv").map(|stem| path.with_file_name(format!("{stem}-units.csv")));
    Ok(labels.with_levels(beside.filter(|p| p.is_file()).and_then(|p| levels(&p))))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |e: std::io::Error| {
        Error::Input(format!("cannot read {}: {e}; give a result file of NetDissect or of `psescope dissect`", path.display()))
    };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > MAX_FILE {
        return Err(Error::Input(format!("{} is larger than 256 MiB, which no result file is", path.display())));
    }
    fs::read(path).map_err(failed)
}

/// Folder of a model's kept results; `None` without a home folder or for text that is no hash.
fn folder(model_sha256: &str) -> Option<PathBuf> {
    let plain = !model_sha256.is_empty() && model_sha256.bytes().all(|b| b.is_ascii_hexdigit());
    Some(paths::cache_dir()?.join("concepts").join(plain.then_some(model_sha256)?))
}

fn own(folder: &Path, layer: &str) -> Option<ConceptLabels> {
    let mut found: Vec<(SystemTime, PathBuf, Origin)> = Vec::new();
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let origin = fs::read(&path).ok().and_then(|b| serde_json::from_slice::<Origin>(&b).ok());
        let Some(origin) = origin.filter(|o| o.layer == layer) else { continue };
        let written = entry.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        found.push((written, path.with_extension("csv"), origin));
    }
    found.sort_by_key(|f| std::cmp::Reverse(f.0));
    found.into_iter().find_map(|(_, path, origin)| match ConceptLabels::from_result_csv(&read(&path).ok()?, &origin.text) {
        Ok(labels) => Some(labels.with_levels(levels(&path.with_extension(LEVELS)))),
        Err(error) => {
            tracing::warn!("{}: {error}", path.display());
            None
        }
    })
}

/// What stands beside a result; a missing or damaged file only means that less is shown.
fn levels(path: &Path) -> Option<Levels> {
    let bytes = read(path).ok()?;
    Levels::parse(&bytes).inspect_err(|error| tracing::warn!("{}: {error}", path.display())).ok()
}

fn stem(origin: &Origin) -> String {
    let digest: String = Sha256::digest(&origin.layer).iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!("{digest}-{}", origin.key)
}

/// Keeps a result where [`concepts_for`] finds it. A cache that cannot be written is only logged.
pub fn keep(model_sha256: &str, origin: &Origin, csv: &str, levels: &str) {
    let Some(folder) = folder(model_sha256) else { return };
    if let Err(error) = store(&folder, origin, csv, levels) {
        tracing::warn!("the concepts were not kept in {}: {error}", folder.display());
    }
}

fn store(folder: &Path, origin: &Origin, csv: &str, levels: &str) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let path = folder.join(stem(origin));
    files::replace(&path.with_extension("csv"), csv.as_bytes())?;
    files::replace(&path.with_extension(LEVELS), levels.as_bytes())?;
    files::replace(&path.with_extension("json"), &serde_json::to_vec_pretty(origin)?)
}

/// Concepts that come with the program.
fn shipped(model_sha256: &str, layer: &str) -> Option<ConceptLabels> {
    let (_, csv, levels) = SHIPPED.iter().find(|(name, ..)| model_sha256 == SHIPPED_MODEL && *name == layer)?;
    let labels = ConceptLabels::from_result_csv(csv, SHIPPED_ORIGIN).inspect_err(|e| tracing::warn!("the shipped labels of {layer}: {e}"));
    Some(labels.ok()?.with_levels(Levels::parse(levels).ok()))
}

/// 891f59e7fe6a84554619c63380f434bf0531f0e1d7b48b08a8186367f51b7896-256 of the bundled SqueezeNet.
const SHIPPED_MODEL: &str = "891f59e7fe6a84554619c63380f434bf0531f0e1d7b48b08a8186367f51b7896";
/// `samples/concepts/README.md` has the commands.
const SHIPPED_ORIGIN: &str = "shipped with psescope: dissection on its own small made set (672 images, six cut-outs, no ImageNet concepts), rule original, quantile 0.005";
/// Both files of a layer.
macro_rules! shipped {
    ($layer:literal) => {
        (
            $layer,
            include_bytes!(concat!("../../samples/concepts/", $layer, "-result.csv")),
            include_bytes!(concat!("../../samples/concepts/", $layer, "-units.csv")),
        )
    };
}

/// Layer, result file, thresholds and spreads.
const SHIPPED: &[(&str, &[u8], &[u8])] =
    &[shipped!("conv1.relu"), shipped!("fire3"), shipped!("fire5"), shipped!("fire7"), shipped!("fire8"), shipped!("fire9")];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::dissect::{ResultTable, result::iou};

    #[test]
    fn the_newest_of_a_layer_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let origin =
            |layer: &str, key: &str, text: &str| Origin { layer: layer.into(), data: "d".into(), key: key.into(), text: text.into() };
        let csv = |label: &str| format!("unit,category,label,score\r\n1,object,{label},0.5\r\n");
        let levels = "unit,threshold,mean,deviation\n1,2.5,1,0.5\n";
        store(dir.path(), &origin("a/b:0", "1", "first"), &csv("cat"), levels).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        store(dir.path(), &origin("a/b:0", "2", "second"), &csv("dog"), "rubbish").unwrap();
        store(dir.path(), &origin("other", "1", "third"), &csv("cow"), levels).unwrap();
        let found = own(dir.path(), "a/b:0").unwrap();
        assert_eq!((found.origin(), found.unit(0).unwrap().label.as_str()), ("second", "dog"));
        assert!(found.levels().is_none(), "damaged levels only mean that less is known");
        assert!(own(dir.path(), "c").is_none());
        // A damaged result gives way to the one before.
        fs::write(dir.path().join(format!("{}.csv", stem(&origin("a/b:0", "2", "")))), "rubbish").unwrap();
        let first = own(dir.path(), "a/b:0").unwrap();
        assert_eq!((first.origin(), first.levels().unwrap().threshold[0]), ("first", 2.5));
        assert!(concepts_for("../..", "x").is_none());
    }

    /// The files speak of every unit of their layer, their IoU is that of their counts, and the labels say that they are ours.
    #[test]
    fn the_bundled_model_has_labels() {
        for ((layer, csv, levels), units) in SHIPPED.iter().zip([64, 128, 256, 384, 512, 512]) {
            let table = ResultTable::parse(csv).unwrap();
            assert_eq!(table.to_csv().as_bytes(), *csv, "{layer} is in NetDissect's dialect");
            let mut numbers: Vec<usize> = table.rows.iter().map(|r| r.unit).collect();
            numbers.sort_unstable();
            assert!(numbers.into_iter().eq(1..=units), "{layer}");
            for row in &table.rows {
                let best = row.best.iter().map(|b| iou(b.truth, b.activation, b.intersect)).fold(0.0, f64::max);
                approx::assert_abs_diff_eq!(best, row.score, epsilon = 1e-9);
            }
            assert_eq!(Levels::parse(levels).unwrap().len(), units, "{layer}");
            let labels = shipped(SHIPPED_MODEL, layer).unwrap();
            assert!(labels.levels().is_some_and(|l| l.deviation.iter().any(|d| *d > 0.0)));
            assert!(labels.origin().contains("shipped with psescope") && labels.origin().contains("made set"));
            assert!((0..units).any(|u| labels.unit(u).is_some_and(|c| c.iou >= 0.04)), "{layer} has no named unit");
        }
        let model = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/squeezenet1_1.onnx")).unwrap();
        let sha: String = Sha256::digest(&model).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(sha, SHIPPED_MODEL);
        assert!(shipped(SHIPPED_MODEL, "fire4").is_none() && shipped("00", "fire9").is_none());
    }
}
