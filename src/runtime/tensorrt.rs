//! TensorRT: where its engines are kept, for which batches they are built, and what is said while that takes minutes.
//!
//! An engine belongs to one graph, one precision and one range of batches. The folder is named after all of them: TensorRT's own
//! file names do not depend on the weights, so two models of one architecture would otherwise share an engine.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use ort::ep;
use sha2::{Digest, Sha256};

use super::{backend::Shapes, options::RuntimeOptions, paths};
use crate::core::onnx::{Dim, ValueInfo};

/// Smallest, usual and largest shapes of the inputs that depend on the batch, as the provider wants them:
/// `image:1x3x224x224,labels:1`. `None` when nothing depends on it.
pub fn profile(shapes: &Shapes) -> Option<[String; 3]> {
    let open = |i: &&ValueInfo| i.ty.shape.as_ref().is_some_and(|s| s.iter().any(|d| d.fixed().is_none()));
    let inputs: Vec<&ValueInfo> = shapes.inputs.iter().filter(open).collect();
    let at = |batch: usize| -> Option<String> {
        let mut text = String::new();
        for input in &inputs {
            let dims: Option<Vec<String>> = input.ty.shape.iter().flatten().map(|d: &Dim| Some(d.at(batch)?.to_string())).collect();
            let comma = if text.is_empty() { "" } else { "," };
            let _ = write!(text, "{comma}{}:{}", input.name, dims?.join("x"));
        }
        (!text.is_empty()).then_some(text)
    };
    Some([at(1)?, at(shapes.usual.clamp(1, shapes.most.max(1)))?, at(shapes.most.max(1))?])
}

/// Folder of the engines of one graph; `None` when there is no home folder.
pub fn folder(root: Option<PathBuf>, model: &[u8], profile: Option<&[String; 3]>, fp16: bool) -> Option<PathBuf> {
    let hash = Sha256::digest(model);
    let range = Sha256::digest(format!("{profile:?}"));
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let precision = if fp16 { "fp16" } else { "fp32" };
    Some(root?.join("tensorrt").join(format!("{}-{}-{precision}", hex(&hash[..16]), hex(&range[..4]))))
}

/// Whether a folder holds a built engine.
fn built(folder: &Path) -> bool {
    let engine = |e: std::fs::DirEntry| e.path().extension().is_some_and(|x| x == "engine");
    std::fs::read_dir(folder).is_ok_and(|d| d.flatten().any(engine))
}

/// The provider for one graph. Says what is about to take minutes.
pub fn provider(device: u32, options: &RuntimeOptions, graph: Option<(&[u8], &Shapes)>) -> ep::TensorRT {
    let mut provider = ep::TensorRT::default().with_device_id(device as i32).with_fp16(options.fp16);
    if let Some(limit) = options.gpu_memory_limit {
        provider = provider.with_max_workspace_size(limit);
    }
    let Some((model, shapes)) = graph else { return provider };
    let profile = profile(shapes);
    let folder = folder(paths::cache_dir(), model, profile.as_ref(), options.fp16).filter(|f| std::fs::create_dir_all(f).is_ok());
    if let Some([min, usual, most]) = &profile {
        provider = provider.with_profile_min_shapes(min).with_profile_opt_shapes(usual).with_profile_max_shapes(most);
    }
    let kept = folder.as_ref().is_some_and(|f| built(f));
    if !kept {
        let place =
            folder.as_ref().map_or_else(|| "but there is no cache folder to keep them in".into(), |f| format!("kept in {}", f.display()));
        options.listener.say(format!("TensorRT builds its engines for this graph, which takes minutes; {place}"));
    }
    if let Some(folder) = folder {
        // Timings hold for every graph on the same card: one cache for all.
        let timings = folder.parent().unwrap_or(&folder).to_path_buf();
        provider = provider
            .with_engine_cache(true)
            .with_engine_cache_path(folder.display())
            .with_timing_cache(true)
            .with_timing_cache_path(timings.display());
    }
    provider
}

/// What people must know about half precision.
pub const FP16: &str = "--fp16: TensorRT may compute in half precision; gradients lose small components and signs may differ (psescope doctor --self-test --device tensorrt --fp16 measures it)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::onnx::{DType, TensorType};

    fn input(name: &str, dims: &[Dim]) -> ValueInfo {
        ValueInfo { name: name.into(), ty: TensorType { dtype: DType::F32, shape: Some(dims.to_vec()) } }
    }

    #[test]
    fn profiles_name_every_input_that_depends_on_the_batch() {
        let inputs = [
            input("image", &[Dim::Batch(1), Dim::Fixed(3), Dim::Fixed(8), Dim::Fixed(8)]),
            input("labels", &[Dim::Batch(1)]),
            input("kappa", &[]),
            input("tokens", &[Dim::Batch(4), Dim::Fixed(5)]),
        ];
        let found = profile(&Shapes { inputs: &inputs, usual: 1, most: 16, resident: false }).unwrap();
        assert_eq!(found[0], "image:1x3x8x8,labels:1,tokens:4x5");
        assert_eq!(found[2], "image:16x3x8x8,labels:16,tokens:64x5");
        assert_eq!(profile(&Shapes { inputs: &inputs[2..3], usual: 1, most: 16, resident: false }), None);
    }

    #[test]
    fn engines_are_kept_by_weights_range_and_precision() {
        let at = |model: &[u8], fp16| folder(Some("/c".into()), model, None, fp16).unwrap();
        assert_ne!(at(b"a", false), at(b"b", false));
        assert_ne!(at(b"a", false), at(b"a", true));
        let ranged = folder(Some("/c".into()), b"a", Some(&["x:1".into(), "x:2".into(), "x:3".into()]), false);
        assert_ne!(ranged.unwrap(), at(b"a", false));
        assert!(at(b"a", false).starts_with("/c/tensorrt"));
        assert_eq!(folder(None, b"a", None, false), None);
    }

    #[test]
    fn a_folder_without_an_engine_is_no_cache() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!built(dir.path()));
        std::fs::write(dir.path().join("TensorrtExecutionProvider_x.engine"), b"x").unwrap();
        assert!(built(dir.path()));
    }
}
