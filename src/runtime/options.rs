//! What a person may choose about execution.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Where graphs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Device {
    /// The first NVIDIA GPU when the library and the machine have one, else the processor. TensorRT comes first only when half
    /// precision was asked for: building its engines takes minutes, for every graph.
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

/// Where the update of an attack is computed: the few operations between one gradient and the next image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Update {
    /// In the graph on a GPU, in the program on the processor.
    #[default]
    Auto,
    /// In the program: every step carries the gradient here and the image back.
    Host,
    /// In the graph: image and state stay where it runs, a step returns logits and norms.
    Device,
}

impl Update {
    /// Whether images stay where graphs run.
    pub fn resident(self, gpu: bool) -> bool {
        match self {
            Self::Auto => gpu,
            Self::Host => false,
            Self::Device => true,
        }
    }
}

impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Host => "host",
            Self::Device => "device",
        })
    }
}

impl FromStr for Update {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "host" => Ok(Self::Host),
            "device" => Ok(Self::Device),
            _ => Err(format!("unknown update '{text}'; use auto, host or device")),
        }
    }
}

/// Somebody who is told what takes long, one sentence at a time.
#[derive(Clone, Default)]
pub struct Listener(Option<Arc<dyn Fn(String) + Send + Sync>>);

impl Listener {
    /// Tells this function.
    pub fn new(tell: impl Fn(String) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }

    /// Passes a sentence on; without anybody it goes to the log.
    pub fn say(&self, text: String) {
        match &self.0 {
            Some(tell) => tell(text),
            None => tracing::info!("{text}"),
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Listener" } else { "nobody" })
    }
}

/// A number of bytes: `8GB`, `512MiB`, `1.5g` or plain digits. Units of a thousand and of 1024 are told apart by the `i`.
pub fn bytes(text: &str) -> Result<usize, String> {
    let bad = || format!("'{text}' is no amount of memory; write for instance 8GB, 512MiB or a number of bytes");
    let lower = text.trim().to_ascii_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(end);
    let factor: u64 = match unit.trim() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "kib" => 1 << 10,
        "m" | "mb" => 1_000_000,
        "mib" => 1 << 20,
        "g" | "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        "t" | "tb" => 1_000_000_000_000,
        "tib" => 1 << 40,
        _ => return Err(bad()),
    };
    let size = number.parse::<f64>().map_err(|_| bad())? * factor as f64;
    // A provider that may keep less than this cannot run anything.
    if (f64::from(1 << 20)..1e15).contains(&size) { Ok(size as usize) } else { Err(bad()) }
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
    /// Whether TensorRT may compute in half precision.
    pub fp16: bool,
    /// Where attacks' updates are computed.
    pub update: Update,
    /// Whether CUDA records a step of such a loop once and replays it; elsewhere the loop keeps the same buffers and records nothing.
    pub cuda_graphs: bool,
    /// Who is told of what takes long, such as building TensorRT's engines.
    pub listener: Listener,
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
        assert_eq!("Device".parse(), Ok(Update::Device));
        assert!("gpu".parse::<Update>().unwrap_err().contains("host"));
    }

    #[test]
    fn amounts_of_memory() {
        assert_eq!(bytes("8GB"), Ok(8_000_000_000));
        assert_eq!(bytes(" 1.5 gib"), Ok(3 << 29));
        assert_eq!(bytes("2097152"), Ok(2 << 20));
        for text in ["", "GB", "-1GB", "8 parsecs", "1e3GB", "3", "9999999TB", "nan"] {
            assert!(bytes(text).unwrap_err().contains("8GB"), "{text}");
        }
    }
}
