//! What a person may choose about execution.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

/// Where graphs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Device {
    /// The first NVIDIA GPU when the library and the machine have one, else the processor. TensorRT is never picked by
    /// itself: building its engines takes minutes.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// NVIDIA GPU with this index.
    Cuda(u32),
    /// TensorRT on the NVIDIA GPU with this index; operators it lacks run on CUDA.
    TensorRt(u32),
}

impl Device {
    /// Whether a GPU was named.
    pub fn is_gpu(self) -> bool {
        matches!(self, Self::Cuda(_) | Self::TensorRt(_))
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("unknown device '{text}'; use auto, cpu, cuda, cuda:N, tensorrt or tensorrt:N (N counts GPUs from 0)");
        let lower = text.trim().to_ascii_lowercase();
        let (kind, index) = match lower.split_once(':') {
            // Two digits are plenty, and i32 is what the providers take.
            Some((kind, n)) if n.len() <= 2 && n.bytes().all(|b| b.is_ascii_digit()) => (kind, Some(n.parse().map_err(|_| bad())?)),
            Some(_) => return Err(bad()),
            None => (lower.as_str(), None),
        };
        match (kind, index) {
            ("auto", None) => Ok(Self::Auto),
            ("cpu", None) => Ok(Self::Cpu),
            ("cuda", n) => Ok(Self::Cuda(n.unwrap_or(0))),
            ("tensorrt", n) => Ok(Self::TensorRt(n.unwrap_or(0))),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
            Self::TensorRt(n) => write!(f, "tensorrt:{n}"),
        }
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

impl TryFrom<String> for Device {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Which engine executes graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineChoice {
    /// ONNX Runtime when one is found, the embedded engine otherwise.
    #[default]
    Auto,
    /// ONNX Runtime or an error.
    OnnxRuntime,
    /// The embedded engine.
    Embedded,
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::OnnxRuntime => "onnxruntime",
            Self::Embedded => "embedded",
        })
    }
}

impl FromStr for EngineChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "onnxruntime" => Ok(Self::OnnxRuntime),
            "embedded" => Ok(Self::Embedded),
            _ => Err(format!("unknown engine '{text}'; use auto, onnxruntime or embedded")),
        }
    }
}

/// Everything `Runtime::open` needs to know. Plain data; reading flags and files is the caller's work.
#[derive(Debug, Clone, Default)]
pub struct RuntimeOptions {
    /// `--ort-lib`: this library or an error. A folder that holds one is accepted.
    pub ort_lib: Option<PathBuf>,
    /// The library named in the configuration file.
    pub config_ort_lib: Option<PathBuf>,
    /// Which engine.
    pub engine: EngineChoice,
    /// Which device.
    pub device: Device,
    /// Threads of one run; 0 = as many as the process may use.
    pub threads: usize,
    /// Most bytes of GPU memory the provider may keep for itself.
    pub gpu_memory_limit: Option<usize>,
    /// Whether `python3` must not be asked where its onnxruntime is.
    pub skip_python: bool,
}

impl RuntimeOptions {
    /// Threads of one run, never 0.
    pub fn thread_count(&self) -> usize {
        if self.threads > 0 { self.threads } else { std::thread::available_parallelism().map_or(1, usize::from) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_round_trip_and_reject_nonsense() {
        for text in ["auto", "cpu", "cuda:0", "cuda:3", "tensorrt:1"] {
            assert_eq!(text.parse::<Device>().unwrap().to_string(), text);
        }
        assert_eq!("CUDA".parse(), Ok(Device::Cuda(0)));
        for text in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cpu:0", "cuda:99999999999", "auto:1"] {
            let message = text.parse::<Device>().unwrap_err();
            assert!(message.contains("cuda:N"), "{message}");
        }
        assert!("fast".parse::<EngineChoice>().unwrap_err().contains("embedded"));
    }
}
