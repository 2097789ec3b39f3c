//! Execution providers: registering them, finding the NVIDIA libraries they need, and saying what is wrong when they fail.

use std::path::{Path, PathBuf};

use ort::{
    ep::{self, ExecutionProvider, ExecutionProviderDispatch},
    util::preload_dylib,
};

use super::{
    backend::Shapes,
    options::{Device, RuntimeOptions},
    quiet::{guarded, one_line},
    tensorrt,
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
/// left to the loader. `ort`'s own helper knows one CUDA version only and stops at the first gap. Returns the files that were
/// loaded, and why others were not.
pub fn preload_nvidia(sites: &[PathBuf]) -> Vec<Result<PathBuf, String>> {
    let mut folders: Vec<PathBuf> =
        sites.iter().flat_map(|s| NVIDIA_FOLDERS.iter().map(|f| s.join("nvidia").join(f).join("lib"))).collect();
    folders.extend(sites.iter().map(|s| s.join("tensorrt_libs")));
    let mut files: Vec<PathBuf> =
        folders.iter().filter_map(|d| std::fs::read_dir(d).ok()).flat_map(|d| d.flatten().map(|e| e.path())).collect();
    files.sort();
    let mut loaded = Vec::new();
    for stem in NVIDIA_LIBRARIES {
        let named = |p: &&PathBuf| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(stem));
        if let Some(file) = files.iter().find(named) {
            loaded.push(match preload_dylib(file) {
                Ok(()) => {
                    tracing::debug!("preloaded {}", file.display());
                    Ok(file.clone())
                }
                Err(e) => {
                    let why = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
                    tracing::warn!("could not preload {}: {why}", file.display());
                    Err(why)
                }
            });
        }
    }
    loaded
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
/// TensorRT builds its engines for the graph that is given; CUDA records runs when `replays`.
pub fn providers(
    device: Device,
    options: &RuntimeOptions,
    graph: Option<(&[u8], &Shapes)>,
    replays: bool,
) -> Vec<ExecutionProviderDispatch> {
    let cuda = |n: u32| {
        // TF32 would change the gradient's signs; exhaustive search would time every kernel again for every batch size.
        let mut p = ep::CUDA::default()
            .with_device_id(n as i32)
            .with_tf32(false)
            .with_conv_algorithm_search(ep::cuda::ConvAlgorithmSearch::Heuristic);
        if let Some(limit) = options.gpu_memory_limit {
            p = p.with_memory_limit(limit);
        }
        if replays {
            p = p.with_cuda_graph(true);
        }
        p.build().error_on_failure()
    };
    match device {
        Device::Auto | Device::Cpu => Vec::new(),
        Device::Cuda(n) => vec![cuda(n)],
        Device::TensorRt(n) => vec![tensorrt::provider(n, options, graph).build().error_on_failure(), cuda(n)],
    }
}

/// What `--device auto` tries, best first, on a machine with an NVIDIA driver. TensorRT only when half precision was asked for:
/// it takes minutes to build its engines, for every graph.
pub fn automatic(available: &[&str], fp16: bool) -> Vec<Device> {
    let mut order = Vec::new();
    if fp16 && available.contains(&"TensorRT") {
        order.push(Device::TensorRt(0));
    }
    if available.contains(&"CUDA") {
        order.push(Device::Cuda(0));
    }
    order.push(Device::Cpu);
    order
}

/// Name of a device as the header shows it.
pub fn shown(device: Device) -> String {
    match device {
        Device::Auto | Device::Cpu => "CPU".into(),
        Device::Cuda(n) => format!("CUDA:{n}"),
        Device::TensorRt(n) => format!("TensorRT:{n}"),
    }
}

/// Name of the provider, as [`super::placement`] counts it.
pub fn provider_name(device: Device) -> &'static str {
    match device {
        Device::Auto | Device::Cpu => "CPU",
        Device::Cuda(_) => "CUDA",
        Device::TensorRt(_) => "TensorRT",
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

#[cfg(test)]
#[path = "ort_device_tests.rs"]
mod tests;
