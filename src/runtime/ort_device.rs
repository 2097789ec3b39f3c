//! Execution providers: registering them, finding the NVIDIA libraries they need, and saying what is wrong when they fail.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use ort::{
    ep::{self, ExecutionProvider, ExecutionProviderDispatch},
    util::preload_dylib,
};

use super::{
    options::{Device, RuntimeOptions},
    quiet::{guarded, one_line},
};

/// Folders of pip's `nvidia-*` packages, relative to `site-packages/nvidia`: CUDA 13 keeps everything in one, CUDA 12 one per part.
const NVIDIA_FOLDERS: &[&str] = &["cu13", "cuda_runtime", "nvjitlink", "cublas", "cuda_nvrtc", "curand", "cufft", "cudnn"];

/// Libraries in an order in which each comes after those it needs.
const NVIDIA_LIBRARIES: &[&str] = &[
    "libcudart.so.",
    "libnvJitLink.so.",
    "libcublasLt.so.",
    "libcublas.so.",
    "libnvrtc.so.",
    "libcurand.so.",
    "libcufft.so.",
    "libcudnn_graph.so.",
    "libcudnn_engines_precompiled.so.",
    "libcudnn_engines_runtime_compiled.so.",
    "libcudnn_heuristic.so.",
    "libcudnn_ops.so.",
    "libcudnn_cnn.so.",
    "libcudnn_adv.so.",
    "libcudnn.so.",
    "libnvinfer.so.",
    "libnvinfer_plugin.so.",
    "libnvonnxparser.so.",
];

/// Loads pip's NVIDIA libraries so that the CUDA provider finds them although no loader path names them. What is absent is
/// left to the loader. `ort`'s own helper knows one CUDA version only and stops at the first gap.
pub fn preload_nvidia(sites: &[PathBuf]) {
    let mut folders: Vec<PathBuf> =
        sites.iter().flat_map(|s| NVIDIA_FOLDERS.iter().map(|f| s.join("nvidia").join(f).join("lib"))).collect();
    folders.extend(sites.iter().map(|s| s.join("tensorrt_libs")));
    let mut files: Vec<PathBuf> =
        folders.iter().filter_map(|d| std::fs::read_dir(d).ok()).flat_map(|d| d.flatten().map(|e| e.path())).collect();
    files.sort();
    for stem in NVIDIA_LIBRARIES {
        let named = |p: &&PathBuf| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(stem));
        if let Some(file) = files.iter().find(named) {
            match preload_dylib(file) {
                Ok(()) => tracing::debug!("preloaded {}", file.display()),
                Err(e) => tracing::warn!("could not preload {}: {e}", file.display()),
            }
        }
    }
}

/// `site-packages` folders that may hold NVIDIA libraries: the library's own, then the active environments'.
pub fn site_packages_of(library: &Path, vars: &dyn Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let own = library.ancestors().find(|a| a.file_name().is_some_and(|n| n == "site-packages")).map(Path::to_path_buf);
    let mut sites: Vec<PathBuf> = own.into_iter().collect();
    for root in ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(|v| vars(v)) {
        let entries = std::fs::read_dir(root.join("lib")).map(|d| d.flatten().map(|e| e.path()).collect::<Vec<_>>()).unwrap_or_default();
        sites.extend(entries.into_iter().map(|p| p.join("site-packages")).filter(|p| p.is_dir() && !sites.contains(p)).collect::<Vec<_>>());
    }
    sites
}

/// Providers the loaded library was built with, by their short names.
pub fn available() -> Vec<&'static str> {
    let mut names = Vec::new();
    if ep::TensorRT::default().is_available_here() {
        names.push("TensorRT");
    }
    if ep::CUDA::default().is_available_here() {
        names.push("CUDA");
    }
    names.push("CPU");
    names
}

trait Available {
    fn is_available_here(&self) -> bool;
}

impl<E: ExecutionProvider> Available for E {
    fn is_available_here(&self) -> bool {
        guarded(|| E::is_available().unwrap_or(false)).unwrap_or(false)
    }
}

/// Providers to register for a device, best first; every one of them is an error when it fails.
pub fn providers(device: Device, options: &RuntimeOptions) -> Vec<ExecutionProviderDispatch> {
    let cuda = |n: u32| {
        // TF32 would change the gradient's signs; exhaustive search would time every kernel again for every batch size.
        let mut p = ep::CUDA::default()
            .with_device_id(n as i32)
            .with_tf32(false)
            .with_conv_algorithm_search(ep::cuda::ConvAlgorithmSearch::Heuristic);
        if let Some(limit) = options.gpu_memory_limit {
            p = p.with_memory_limit(limit);
        }
        p.build().error_on_failure()
    };
    match device {
        Device::Auto | Device::Cpu => Vec::new(),
        Device::Cuda(n) => vec![cuda(n)],
        Device::TensorRt(n) => vec![ep::TensorRT::default().with_device_id(n as i32).build().error_on_failure(), cuda(n)],
    }
}

/// Name of a device as the header shows it.
pub fn shown(device: Device) -> String {
    match device {
        Device::Auto | Device::Cpu => "CPU".into(),
        Device::Cuda(n) => format!("CUDA:{n}"),
        Device::TensorRt(n) => format!("TensorRT:{n}"),
    }
}

/// Name of the provider in profiles.
pub fn provider_name(device: Device) -> &'static str {
    match device {
        Device::Auto | Device::Cpu => "CPUExecutionProvider",
        Device::Cuda(_) => "CUDAExecutionProvider",
        Device::TensorRt(_) => "TensorrtExecutionProvider",
    }
}

/// Why a GPU could not be used, in one sentence.
pub fn explain(device: Device, message: &str) -> String {
    let name = shown(device);
    let way_out = "or use --device cpu";
    if let Some(library) = missing_library(message) {
        let what = match library {
            l if l.starts_with("libcuda.so") => "install the NVIDIA driver",
            l if l.starts_with("libnvinfer") || l.starts_with("libnvonnxparser") => {
                "install TensorRT 10 (tensorrt-cu12 or tensorrt-cu13, version 10)"
            }
            l if l.starts_with("libcudnn") => "install cuDNN 9 (nvidia-cudnn)",
            l if l.starts_with("libonnxruntime_providers") => "install a GPU build (psescope runtime install --gpu)",
            _ => "install the CUDA libraries (onnxruntime-gpu[cuda,cudnn])",
        };
        return format!("{name} cannot be used: {library} is missing; {what} {way_out}");
    }
    let lower = message.to_ascii_lowercase();
    if lower.contains("no cuda-capable device") || lower.contains("cuda failure 100") {
        return format!("{name} cannot be used: no NVIDIA GPU is visible; check nvidia-smi and CUDA_VISIBLE_DEVICES, {way_out}");
    }
    if lower.contains("invalid device ordinal") || lower.contains("cuda failure 101") {
        return format!("{name} cannot be used: there is no GPU with that number; count from 0, {way_out}");
    }
    if lower.contains("driver version is insufficient") || lower.contains("cuda failure 35") {
        return format!("{name} cannot be used: the NVIDIA driver is older than this build of ONNX Runtime needs; update it {way_out}");
    }
    if lower.contains("not enabled in this build") || lower.contains("not compiled") {
        return format!("{name} cannot be used: this ONNX Runtime was built without it; run psescope runtime install --gpu {way_out}");
    }
    format!("{name} cannot be used: {}; {}", one_line(message), way_out.trim_start_matches("or "))
}

/// The library a loader message complains about: the one that cannot be opened, not the one that needs it.
fn missing_library(message: &str) -> Option<&str> {
    let end = message.find(": cannot open shared object")?;
    let start = message[..end].rfind(|c: char| c.is_whitespace() || matches!(c, ':' | '/' | '"' | '\'')).map_or(0, |i| i + 1);
    Some(&message[start..end]).filter(|l| l.contains(".so"))
}

/// How many nodes each provider ran, from ONNX Runtime's profile.
pub fn nodes_by_provider(profile: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let events: Vec<serde_json::Value> = serde_json::from_str(profile).unwrap_or_default();
    for event in events.iter().filter(|e| e["cat"] == "Node" && e["name"].as_str().is_some_and(|n| n.ends_with("_kernel_time"))) {
        if let Some(provider) = event["args"]["provider"].as_str() {
            *counts.entry(provider.to_owned()).or_insert(0) += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_missing_library() {
        let message = "/onnxruntime_src/provider_bridge.cc:2195 Failed to load library libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open shared object file: No such file or directory";
        let text = explain(Device::Cuda(0), message);
        assert!(text.starts_with("CUDA:0 cannot be used: libcublasLt.so.13 is missing; install the CUDA libraries"), "{text}");
        let text = explain(Device::TensorRt(1), "error: libnvinfer.so.10: cannot open shared object file");
        assert!(text.contains("TensorRT:1") && text.contains("install TensorRT 10"), "{text}");
        assert!(explain(Device::Cuda(7), "CUDA failure 101: invalid device ordinal ; GPU=7").contains("no GPU with that number"));
        assert!(explain(Device::Cuda(0), "odd\nthing").contains("odd thing; use --device cpu"));
    }

    #[test]
    fn profiles_are_counted_by_provider() {
        let profile = r#"[{"cat":"Session","name":"x"},
            {"cat":"Node","name":"a_kernel_time","args":{"provider":"CUDAExecutionProvider"}},
            {"cat":"Node","name":"a_fence_before","args":{"provider":"CUDAExecutionProvider"}},
            {"cat":"Node","name":"b_kernel_time","args":{"provider":"CPUExecutionProvider"}}]"#;
        let counts = nodes_by_provider(profile);
        assert_eq!(counts["CUDAExecutionProvider"], 1);
        assert_eq!(counts["CPUExecutionProvider"], 1);
        assert!(nodes_by_provider("damaged").is_empty());
    }

    #[test]
    fn site_packages_of_a_wheel() {
        let sites = site_packages_of(Path::new("/v/lib/python3.12/site-packages/onnxruntime/capi/libonnxruntime.so.1"), &|_| None);
        assert_eq!(sites, [PathBuf::from("/v/lib/python3.12/site-packages")]);
    }
}
