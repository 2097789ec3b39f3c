//! ONNX Runtime, loaded while the program runs.
//!
//! A process can hold one ONNX Runtime library: the first one that loads stays. Starting with the embedded engine and
//! switching to ONNX Runtime later works; switching between two libraries needs a restart, and [`OrtBackend::open`] says so.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use ndarray::ArrayD;
use ort::{
    environment::Environment,
    logging::LogLevel,
    session::{RunOptions, Session, SessionInputValue, builder::GraphOptimizationLevel},
    value::{DynValue, TensorRef},
};

use super::{
    backend::{Advanced, Array, Backend, Executor, Feed, Interrupt, Reduce, Resident, Shapes},
    options::{Device, RuntimeOptions},
    ort_device::{self, explain, provider_name, providers},
    ort_replay::Replay,
    ort_resident,
    placement::{self, Placed},
    quiet::{guarded, one_line},
    tensorrt,
};
use crate::core::{
    error::{Error, Result},
    onnx::{DType, Dim, Graph, Node, TensorType, ValueInfo, write},
};

/// Oldest minor version (1.N) that is accepted: the oldest whose wheels carry the shared library.
pub const MINIMUM_MINOR: u32 = ort::MINOR_VERSION;

struct Loaded {
    path: PathBuf,
    minor: u32,
    environment: Environment,
}

/// Kept for the life of the process.
static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

/// Minor version of a library that this process can use; or why it cannot.
pub fn usable(path: &Path) -> Result<u32, String> {
    if let Some(loaded) = &*LOADED.lock().unwrap_or_else(PoisonError::into_inner) {
        let same = loaded.path == path || same_file(&loaded.path, path);
        return if same {
            Ok(loaded.minor)
        } else {
            Err(format!("cannot be used now: {} is loaded already; restart psescope", loaded.path.display()))
        };
    }
    probe(path)
}

/// Minor version of a library, without keeping it; or why it cannot be used.
pub fn probe(path: &Path) -> Result<u32, String> {
    let bare = path.components().count() == 1;
    if !bare && !path.is_file() {
        return Err(if path.is_dir() { "is a folder without an ONNX Runtime library in it" } else { "does not exist" }.into());
    }
    match guarded(|| ort::util::probe(path)) {
        Ok(Some(minor)) if minor < MINIMUM_MINOR => {
            Err(format!("is ONNX Runtime 1.{minor}; psescope needs 1.{MINIMUM_MINOR} or newer (pip install -U onnxruntime)"))
        }
        Ok(Some(minor)) => Ok(minor),
        _ => Err(why_not_loaded(path)),
    }
}

/// Asked only for what did not load as ONNX Runtime: either the loader refuses it, or it is some other library.
fn why_not_loaded(path: &Path) -> String {
    match guarded(|| ort::util::preload_dylib(path)) {
        Ok(Err(e)) => {
            // The loader's own words are the error's cause.
            let text = one_line(&std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string));
            let text = text.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&text).to_owned();
            format!("cannot be loaded ({text})")
        }
        _ => "is not an ONNX Runtime 1.x library".into(),
    }
}

/// Engines at most that part the threads: each has a model and its activations in memory.
const MOST_LANES: usize = 4;

/// ONNX Runtime on one device.
#[derive(Clone)]
pub struct OrtBackend {
    environment: Environment,
    minor: u32,
    path: PathBuf,
    device: Device,
    options: RuntimeOptions,
    notices: Vec<String>,
}

impl OrtBackend {
    /// Loads the library and settles the device. A named device that fails is an error; `Device::Auto` falls back to the
    /// processor and says so in [`OrtBackend::notices`].
    pub fn open(path: &Path, options: &RuntimeOptions) -> Result<Self> {
        let (environment, minor) = environment(path)?;
        let mut backend =
            Self { environment, minor, path: path.to_path_buf(), device: options.device, options: options.clone(), notices: Vec::new() };
        backend.settle_device()?;
        Ok(backend)
    }

    /// The library's file.
    pub fn library(&self) -> &Path {
        &self.path
    }

    /// Device as the header shows it.
    pub fn device_name(&self) -> String {
        ort_device::shown(self.device)
    }

    /// What people should know, one sentence each.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    fn settle_device(&mut self) -> Result<()> {
        let available = ort_device::available();
        if self.device == Device::Auto {
            return self.settle_automatic(&available);
        }
        if self.options.cuda_graphs && !matches!(self.device, Device::Cuda(_)) {
            return Err(Error::Parameter(format!("--cuda-graphs is for CUDA; use --device cuda, or leave it out on {}", self.device)));
        }
        if self.options.fp16 && !matches!(self.device, Device::TensorRt(_)) {
            return Err(Error::Parameter(format!("--fp16 is for TensorRT; use --device tensorrt, or leave --fp16 out on {}", self.device)));
        }
        let wanted = match self.device {
            Device::TensorRt(_) => "TensorRT",
            Device::Cuda(_) => "CUDA",
            Device::Auto | Device::Cpu => "CPU",
        };
        if !available.contains(&wanted) {
            return Err(Error::Engine(explain(self.device, &format!("{wanted} is not enabled in this build"))));
        }
        if self.device.is_gpu() {
            self.preload();
            self.try_device()?;
        } else if self.options.gpu_memory_limit.is_some() {
            self.notices.push("--gpu-memory-limit has no effect on the processor".into());
        }
        self.say_precision();
        Ok(())
    }

    /// The best device that works; every one that does not is named.
    fn settle_automatic(&mut self, available: &[&str]) -> Result<()> {
        let order =
            if super::open::nvidia_driver_present() { ort_device::automatic(available, self.options.fp16) } else { vec![Device::Cpu] };
        if order.len() > 1 {
            self.preload();
        }
        for (at, device) in order.iter().enumerate() {
            self.device = *device;
            if !device.is_gpu() {
                break;
            }
            match self.try_device() {
                Ok(()) => break,
                Err(e) => {
                    let next = order.get(at + 1).copied().map_or_else(|| "CPU".into(), ort_device::shown);
                    self.notices.push(format!("{e}; --device auto goes on with {next}"));
                }
            }
        }
        if self.options.cuda_graphs && !matches!(self.device, Device::Cuda(_)) {
            self.notices.push(format!("--cuda-graphs records nothing: CUDA is not in use, {} is", self.device_name()));
        }
        if self.options.fp16 && !matches!(self.device, Device::TensorRt(_)) {
            self.notices.push(format!("--fp16 has no effect: TensorRT is not in use, {} is", self.device_name()));
        }
        self.say_precision();
        Ok(())
    }

    fn preload(&self) {
        ort_device::preload_nvidia(&ort_device::site_packages_of(&self.path, &|v| std::env::var_os(v).map(PathBuf::from)));
    }

    fn say_precision(&mut self) {
        if self.options.fp16 && matches!(self.device, Device::TensorRt(_)) {
            self.notices.push(tensorrt::FP16.into());
        }
    }

    /// Runs a small graph with the processor forbidden: the only proof that holds for every version of the library. Real
    /// graphs may not forbid it, because providers leave shape arithmetic to the processor.
    fn try_device(&self) -> Result<()> {
        let fail = |e: String| Error::Engine(explain(self.device, &e));
        let session = self.check_session().map_err(|e| fail(e.to_string()))?;
        let mut executor = OrtExecutor::new(session, self.device, None).map_err(|e| fail(e.to_string()))?;
        check_run(&mut executor).map_err(|e| fail(e.to_string()))
    }

    fn check_session(&self) -> ort::Result<Session> {
        let builder = Session::builder(&self.environment)?.with_disable_cpu_fallback()?;
        builder.with_execution_providers(providers(self.device, &self.options, None, false))?.commit_from_memory(&check_graph())
    }

    /// Whether the runs of a graph are recorded and replayed.
    fn replays(&self, shapes: Option<&Shapes>) -> bool {
        self.options.cuda_graphs && shapes.is_some_and(|s| s.resident)
    }

    fn session(&self, model: &[u8], shapes: Option<&Shapes>, profile: Option<&Path>) -> ort::Result<Session> {
        let mut builder = Session::builder(&self.environment)?
            .with_log_level(LogLevel::Warning)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(self.options.thread_count())?
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?
            .with_execution_providers(providers(self.device, &self.options, shapes.map(|s| (model, s)), self.replays(shapes)))?;
        if let Some(profile) = profile {
            builder = builder.with_profiling(profile)?;
        }
        builder.commit_from_memory(model)
    }
}

impl OrtBackend {
    fn executor(&self, model: &[u8], shapes: Option<&Shapes>, profiled: bool) -> Result<OrtExecutor> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let replays = self.replays(shapes);
        // What is recorded runs on the GPU or not at all: nothing to look up in a profile.
        let profile = (profiled && !replays).then(|| {
            std::env::temp_dir().join(format!("psescope-profile-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)))
        });
        let session = self.session(model, shapes, profile.as_deref()).map_err(|e| {
            let text = e.to_string();
            Error::Engine(if replays && self.device.is_gpu() {
                format!("CUDA cannot record the graph, leave --cuda-graphs out: {}", one_line(&text))
            } else if self.device.is_gpu() {
                explain(self.device, &text)
            } else {
                format!("ONNX Runtime cannot load the graph: {}", one_line(&text))
            })
        })?;
        let mut executor = OrtExecutor::new(session, self.device, profile)?;
        executor.replay = replays.then(|| Replay::new(self.device));
        Ok(executor)
    }
}

impl Backend for OrtBackend {
    fn describe(&self) -> String {
        format!("onnxruntime 1.{}", self.minor)
    }

    fn load(&self, model: &[u8]) -> Result<Box<dyn Executor>> {
        Ok(Box::new(self.executor(model, None, self.device.is_gpu())?))
    }

    fn load_for(&self, model: &[u8], shapes: &Shapes) -> Result<Box<dyn Executor>> {
        Ok(Box::new(self.executor(model, Some(shapes), self.device.is_gpu())?))
    }

    fn placement(&self, model: &[u8], shapes: &Shapes, inputs: &[(&str, Array)]) -> Result<Option<Vec<Placed>>> {
        let mut executor = self.executor(model, Some(shapes), true)?;
        // The first run allocates; the mean of several says more about the rest.
        const RUNS: usize = 3;
        for _ in 0..RUNS {
            executor.compute(inputs, &[], |_| ())?;
        }
        Ok(executor.profile().map(|text| placement::of_profile(&text, RUNS)))
    }

    fn prefers_resident(&self) -> bool {
        self.options.update.resident(self.device.is_gpu())
    }

    fn preferred_batch(&self) -> usize {
        if self.device.is_gpu() { 32 } else { 8 }
    }

    fn reduces_in_graph(&self) -> bool {
        self.device.is_gpu()
    }

    fn lanes(&self) -> Vec<Arc<dyn Backend>> {
        let threads = self.options.thread_count();
        if self.device.is_gpu() || threads < 2 {
            return Vec::new();
        }
        let lanes = threads.min(MOST_LANES);
        let lane = |i: usize| -> Arc<dyn Backend> {
            let options = RuntimeOptions { threads: (threads + i) / lanes, ..self.options.clone() };
            Arc::new(Self { options, ..self.clone() })
        };
        (0..lanes).map(lane).collect()
    }
}

/// Loads the library, or returns the one that is loaded.
pub(super) fn environment(path: &Path) -> Result<(Environment, u32)> {
    let mut slot = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(loaded) = &*slot {
        if loaded.path == path || same_file(&loaded.path, path) {
            return Ok((loaded.environment.clone(), loaded.minor));
        }
        return Err(Error::Engine(format!(
            "{} is loaded already and a process can hold only one ONNX Runtime; restart psescope to use {}",
            loaded.path.display(),
            path.display()
        )));
    }
    let fail = |why: String| Error::Engine(format!("{} {why}", path.display()));
    let minor = probe(path).map_err(fail)?;
    let built = guarded(|| -> Result<Environment, String> {
        let builder = ort::init_from(path).map_err(|e| e.to_string())?;
        builder.with_name("psescope").with_telemetry(false).with_logger(Arc::new(log)).build().map_err(|e| e.to_string())
    });
    let environment = built.and_then(|r| r).map_err(|e| fail(format!("cannot be started ({})", one_line(&e))))?;
    environment.set_log_level(LogLevel::Warning);
    *slot = Some(Loaded { path: path.to_path_buf(), minor, environment: environment.clone() });
    Ok((environment, minor))
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// ONNX Runtime's messages go to the log file, never to the terminal.
fn log(level: LogLevel, category: &str, id: &str, place: &str, message: &str) {
    let _ = guarded(|| match level {
        LogLevel::Verbose => tracing::trace!(target: "onnxruntime", category, id, place, "{message}"),
        LogLevel::Info => tracing::debug!(target: "onnxruntime", category, id, place, "{message}"),
        LogLevel::Warning => tracing::warn!(target: "onnxruntime", category, id, place, "{message}"),
        LogLevel::Error | LogLevel::Fatal => tracing::error!(target: "onnxruntime", category, id, place, "{message}"),
    });
}

struct Stop {
    flag: AtomicBool,
    options: RunOptions,
}

impl Interrupt for Stop {
    fn stop(&self) {
        self.flag.store(true, Ordering::SeqCst);
        if let Err(e) = self.options.terminate() {
            tracing::warn!("could not stop the run: {e}");
        }
    }

    fn reset(&self) {
        if let Err(e) = self.options.unterminate() {
            tracing::warn!("could not allow runs again: {e}");
        }
        self.flag.store(false, Ordering::SeqCst);
    }
}

struct OrtExecutor {
    session: Session,
    stop: Arc<Stop>,
    device: Device,
    /// Prefix of the profile of the first run on a GPU, until it has been read.
    profile: Option<PathBuf>,
    /// What the profile said.
    provider: String,
    /// Buffers and recordings, where runs are replayed.
    replay: Option<Replay>,
}

impl OrtExecutor {
    fn new(session: Session, device: Device, profile: Option<PathBuf>) -> Result<Self> {
        let options =
            RunOptions::new().map_err(|e| Error::Engine(format!("ONNX Runtime cannot prepare a run: {}", one_line(&e.to_string()))))?;
        let stop = Arc::new(Stop { flag: AtomicBool::new(false), options });
        Ok(Self { session, stop, device, profile, provider: ort_device::shown(device), replay: None })
    }

    /// Ends the profile and gives its text; `None` when there is none.
    fn profile(&mut self) -> Option<String> {
        self.profile.take()?;
        let file = self.session.end_profiling().ok()?;
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let _ = std::fs::remove_file(&file);
        Some(text)
    }

    /// After the first run on a GPU: counts which provider ran the nodes. None on the GPU although one was asked for is an error.
    fn read_profile(&mut self) -> Result<()> {
        let Some(text) = self.profile() else { return Ok(()) };
        let counts = placement::by_provider(&placement::of_profile(&text, 1));
        let of = |name: &str| counts.iter().find(|c| c.0 == name).map_or(0, |c| c.1);
        let total: usize = counts.iter().map(|c| c.1).sum();
        if total > 0 && total == of("CPU") {
            return Err(Error::Engine(format!("{} ran no part of this graph; use --device cpu", self.provider)));
        }
        if total > 0 && of(provider_name(self.device)) == 0 {
            self.provider = format!("CUDA (no part fits {})", self.provider);
        }
        tracing::info!("nodes by provider: {counts:?}");
        Ok(())
    }

    /// A failure in a sentence; after a stop it is the stop.
    fn failure(&self, error: &ort::Error) -> Error {
        if self.stop.flag.load(Ordering::SeqCst) {
            return Error::Stopped;
        }
        Error::Engine(format!("ONNX Runtime could not run the graph: {}", one_line(&error.to_string())))
    }

    fn stopped(&self) -> Result<()> {
        if self.stop.flag.load(Ordering::SeqCst) { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Computes every output of the graph and shows those asked for: graphs are built with the outputs that are needed.
    fn compute<T>(&mut self, inputs: &[(&str, Array)], outputs: &[&str], with: impl FnOnce(&[Floats]) -> T) -> Result<T> {
        self.stopped()?;
        let inputs: Vec<(&str, Laid)> = inputs.iter().map(|(name, array)| (*name, Laid::of(array))).collect();
        let values = inputs.iter().map(|(name, array)| Ok((Cow::Borrowed(*name), array.value()?))).collect::<ort::Result<Vec<_>>>();
        let values = values.map_err(|e| self.failure(&e))?;
        let stop = Arc::clone(&self.stop);
        let mut results = match self.session.run_with_options(values, &stop.options) {
            Ok(results) => results,
            Err(e) if stop.flag.load(Ordering::SeqCst) => {
                tracing::debug!("stopped: {e}");
                return Err(Error::Stopped);
            }
            Err(e) => return Err(Error::Engine(format!("ONNX Runtime could not run the graph: {}", one_line(&e.to_string())))),
        };
        let values =
            outputs.iter().map(|name| results.remove(name).ok_or_else(|| Error::Engine(format!("the graph has no output '{name}'"))));
        let values = values.collect::<Result<Vec<DynValue>>>()?;
        let arrays = values
            .iter()
            .zip(outputs)
            .map(|(value, name)| floats(value).ok_or_else(|| Error::Engine(format!("output '{name}' is not a tensor of numbers"))));
        let made = with(&arrays.collect::<Result<Vec<Floats>>>()?);
        drop((values, results));
        self.stopped()?;
        Ok(made)
    }
}

impl Executor for OrtExecutor {
    fn run(&mut self, inputs: &[(&str, Array)], outputs: &[&str]) -> Result<Vec<ArrayD<f32>>> {
        let arrays = self.compute(inputs, outputs, |values| values.iter().map(|v| v.to_owned()).collect())?;
        self.read_profile()?;
        Ok(arrays)
    }

    fn reduce(&mut self, inputs: &[(&str, Array)], outputs: &[&str], with: Reduce) -> Result<Vec<ArrayD<f32>>> {
        let made = self.compute(inputs, outputs, |values| with(&values.iter().map(|v| v.view()).collect::<Vec<_>>()))?;
        self.read_profile()?;
        Ok(made)
    }

    fn interrupt(&self) -> Arc<dyn Interrupt> {
        self.stop.clone()
    }

    fn provider(&self) -> String {
        self.provider.clone()
    }

    fn hold(&mut self, array: Array) -> Result<Resident> {
        ort_resident::hold(array, self.device).map_err(|e| self.failure(&e))
    }

    fn advance(&mut self, inputs: &[(&str, Feed)], keep: &[&str], read: &[&str]) -> Result<Advanced> {
        self.stopped()?;
        let stop = Arc::clone(&self.stop);
        let advanced = match &mut self.replay {
            Some(replay) => replay.advance(&mut self.session, inputs, keep, read),
            None => ort_resident::advance(&mut self.session, &stop.options, self.device, inputs, keep, read),
        };
        self.stopped()?;
        let advanced = advanced?;
        self.read_profile()?;
        Ok(advanced)
    }

    fn relax(&mut self) {
        if let Some(replay) = &mut self.replay {
            replay.forget();
        }
    }

    fn fetch(&mut self, resident: &Resident) -> Result<ArrayD<f32>> {
        ort_resident::fetch(resident)
    }
}

/// An input in row-major order; copied only when it was not.
enum Laid<'a> {
    F32(ndarray::CowArray<'a, f32, ndarray::IxDyn>),
    I64(ndarray::CowArray<'a, i64, ndarray::IxDyn>),
}

impl<'a> Laid<'a> {
    fn of(array: &'a Array) -> Self {
        match array {
            Array::F32(a) => Self::F32(a.as_standard_layout()),
            Array::I64(a) => Self::I64(a.as_standard_layout()),
        }
    }

    fn value(&self) -> ort::Result<SessionInputValue<'_>> {
        Ok(match self {
            Self::F32(a) => TensorRef::from_array_view(a.view())?.into(),
            Self::I64(a) => TensorRef::from_array_view(a.view())?.into(),
        })
    }
}

/// Floats in the engine's memory, or converted.
pub(super) type Floats<'a> = ndarray::CowArray<'a, f32, ndarray::IxDyn>;

/// A tensor of numbers as floats.
pub(super) fn floats(value: &DynValue) -> Option<Floats<'_>> {
    if let Ok(a) = value.try_extract_array::<f32>() {
        return Some(a.into());
    }
    if let Ok(a) = value.try_extract_array::<f64>() {
        return Some(a.mapv(|v| v as f32).into());
    }
    value.try_extract_array::<i64>().ok().map(|a| a.mapv(|v| v as f32).into())
}

/// `y = relu(x + x)`: loads and runs in every version, on every provider.
pub(super) fn check_graph() -> Vec<u8> {
    let ty = TensorType { dtype: DType::F32, shape: Some(vec![Dim::Fixed(1), Dim::Fixed(1), Dim::Fixed(2), Dim::Fixed(2)]) };
    let value = |name: &str| ValueInfo { name: name.into(), ty: ty.clone() };
    write::to_bytes(&Graph {
        ir_version: 8,
        opset: 17,
        inputs: vec![value("x")],
        outputs: vec![value("y")],
        nodes: vec![Node::new("Add", &["x", "x"], &["s"]), Node::new("Relu", &["s"], &["y"])],
        ..Graph::default()
    })
}

/// Runs [`check_graph`] and compares.
pub(super) fn check_run(executor: &mut dyn Executor) -> Result<()> {
    let x = ArrayD::from_shape_fn(vec![1, 1, 2, 2], |i| i[2] as f32 - 2.0 * i[3] as f32);
    let expected = x.mapv(|v| (2.0 * v).max(0.0));
    let y = executor.run(&[("x", Array::F32(x))], &["y"])?;
    if y != [expected] { Err(Error::Engine("a check computation gave a wrong result".into())) } else { Ok(()) }
}
