//! Choosing an engine: tries the candidates of [`super::discover`] in order and keeps a record of each for `doctor`.

use std::{
    collections::HashMap,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    backend::Backend,
    discover::{Candidate, Disk, Environment, Os, Source, candidate, candidates},
    options::{Device, EngineChoice, RuntimeOptions},
    ort_backend::{self, OrtBackend},
    paths,
};
use crate::core::error::{Error, Result};

/// How long `python3` may take to say where its onnxruntime is.
const PYTHON_PATIENCE: Duration = Duration::from_secs(3);

/// What became of a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "why")]
pub enum Verdict {
    /// In use.
    Chosen,
    /// Cannot be used, in words that follow the path: `is ONNX Runtime 1.15; …`.
    Rejected(String),
    /// An earlier one was chosen.
    NotTried,
}

/// One line of `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// How it was found.
    pub source: Source,
    /// Where it is; empty when there is no file to name.
    pub path: PathBuf,
    /// Whether the CUDA provider lies beside it.
    pub gpu_build: bool,
    /// What became of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What was found and what is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Every library that was considered, in order.
    pub records: Vec<Record>,
    /// Name and version of the engine in use.
    pub engine: String,
    /// Library in use; `None` for the embedded engine.
    pub library: Option<PathBuf>,
    /// Device in use, as the header shows it.
    pub device: String,
    /// Providers the library was built with.
    pub providers: Vec<&'static str>,
    /// What people should know, one sentence each.
    pub notices: Vec<String>,
}

/// The engine in use.
pub struct Runtime {
    backend: Arc<dyn Backend>,
    report: Report,
}

impl Runtime {
    /// Finds and opens the engine that the options ask for.
    pub fn open(options: &RuntimeOptions) -> Result<Self> {
        if options.engine == EngineChoice::Embedded {
            return embedded(options, Vec::new(), Vec::new());
        }
        let choice = survey(options);
        if let Some(Record { path, verdict: Verdict::Rejected(why), .. }) = choice.records.iter().find(|r| r.source == Source::Flag) {
            return Err(Error::Engine(format!("--ort-lib {} {why}", path.display())));
        }
        let mut notices = Vec::new();
        for record in &choice.records {
            if let (true, Verdict::Rejected(why)) = (record.source.is_explicit(), &record.verdict) {
                notices.push(format!("the library named by {} was not used: {} {why}", record.source.label(), record.path.display()));
            }
        }
        let Some(chosen) = choice.chosen else {
            if options.engine == EngineChoice::OnnxRuntime {
                return Err(Error::Engine("no ONNX Runtime was found; run psescope runtime install, or name one with --ort-lib".into()));
            }
            return embedded(options, choice.records, notices);
        };
        let backend = OrtBackend::open(&chosen.path, options)?;
        notices.extend(backend.notices().iter().cloned());
        let report = Report {
            records: choice.records,
            engine: backend.describe(),
            library: Some(backend.library().to_path_buf()),
            device: backend.device_name(),
            providers: super::ort_device::available(),
            notices,
        };
        Ok(Self { backend: Arc::new(backend), report })
    }

    /// Runs on an engine that the caller made, instead of looking for one.
    pub fn on(backend: Arc<dyn Backend>) -> Self {
        let report = Report {
            records: Vec::new(),
            engine: backend.describe(),
            library: None,
            device: "CPU".into(),
            providers: vec!["CPU"],
            notices: Vec::new(),
        };
        Self { backend, report }
    }

    /// Looks again while the program runs, for instance after `psescope runtime install` in another terminal. True when ONNX
    /// Runtime took the place of the embedded engine; graphs must then be loaded anew from [`Runtime::backend`].
    pub fn rescan(&mut self, options: &RuntimeOptions) -> Result<bool> {
        if self.report.library.is_some() || options.engine == EngineChoice::Embedded {
            return Ok(false);
        }
        let found = Self::open(options)?;
        let better = found.report.library.is_some();
        if better {
            *self = found;
        }
        Ok(better)
    }

    /// The engine.
    pub fn backend(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.backend)
    }

    /// What was found and chosen.
    pub fn report(&self) -> &Report {
        &self.report
    }
}

/// Tries the candidates of this machine; nothing stays loaded.
pub fn survey(options: &RuntimeOptions) -> Choice {
    let surroundings = Surroundings::read();
    let env = surroundings.environment(options);
    let mut probe = |path: &Path| ort_backend::usable(path).map(|_| ());
    choose(&env, candidates(&env), &mut probe, &mut ask_python)
}

fn embedded(options: &RuntimeOptions, mut records: Vec<Record>, notices: Vec<String>) -> Result<Runtime> {
    if options.device.is_gpu() {
        return Err(Error::Engine(format!(
            "--device {} needs ONNX Runtime with GPU support and none is in use; run psescope runtime install --gpu, or use --device cpu",
            options.device
        )));
    }
    let mut notices = notices;
    let flags =
        [(options.fp16, "--fp16"), (options.gpu_memory_limit.is_some(), "--gpu-memory-limit"), (options.cuda_graphs, "--cuda-graphs")];
    notices
        .extend(flags.iter().filter(|f| f.0).map(|(_, flag)| format!("{flag} has no effect: the embedded engine runs on the processor")));
    let backend = embedded_backend(options)?;
    records.push(Record { source: Source::Embedded, path: PathBuf::new(), gpu_build: false, verdict: Verdict::Chosen });
    let report = Report { records, engine: backend.describe(), library: None, device: "CPU".into(), providers: vec!["CPU"], notices };
    Ok(Runtime { backend, report })
}

#[cfg(feature = "embedded")]
fn embedded_backend(options: &RuntimeOptions) -> Result<Arc<dyn Backend>> {
    Ok(Arc::new(super::embedded::Embedded::new(options.thread_count())?.with_resident(options.update.resident(false))))
}

#[cfg(not(feature = "embedded"))]
fn embedded_backend(_options: &RuntimeOptions) -> Result<Arc<dyn Backend>> {
    Err(Error::Engine(
        "no ONNX Runtime was found and this build has no embedded engine; run psescope runtime install, or name a library with --ort-lib"
            .into(),
    ))
}

/// The outcome of trying candidates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// One per candidate.
    pub records: Vec<Record>,
    /// The first that works.
    pub chosen: Option<Candidate>,
}

/// Tries candidates in order until one works. After a rejected `--ort-lib` nothing else is tried. `python3` is asked when its
/// turn comes, or up front when a GPU is wanted and no other GPU build is known.
pub fn choose(
    env: &Environment,
    mut list: Vec<Candidate>,
    probe: &mut dyn FnMut(&Path) -> Result<(), String>,
    python: &mut dyn FnMut(&Environment) -> Result<PathBuf, String>,
) -> Choice {
    if env.prefer_gpu && !list.iter().any(|c| c.gpu_build || c.source.is_explicit()) {
        resolve_python_first(env, &mut list, python);
    }
    let mut records: Vec<Record> = Vec::new();
    let mut chosen: Option<Candidate> = None;
    for mut c in list {
        let refused = records.iter().any(|r| r.source == Source::Flag && r.verdict != Verdict::Chosen);
        let verdict = if chosen.is_some() || refused {
            Verdict::NotTried
        } else {
            let answer =
                if c.path.as_os_str().is_empty() { python(env).map(|path| c = candidate(env, Source::Python, path)) } else { Ok(()) };
            let seen = records.iter().any(|r| r.path == c.path && !c.path.as_os_str().is_empty());
            match answer.and_then(|()| if seen { Err("was tried above".into()) } else { probe(&c.path) }) {
                Ok(()) => {
                    chosen = Some(c.clone());
                    Verdict::Chosen
                }
                Err(why) => Verdict::Rejected(why),
            }
        };
        records.push(Record { source: c.source, path: c.path, gpu_build: c.gpu_build, verdict });
    }
    Choice { records, chosen }
}

fn resolve_python_first(env: &Environment, list: &mut Vec<Candidate>, python: &mut dyn FnMut(&Environment) -> Result<PathBuf, String>) {
    let Some(at) = list.iter().position(|c| c.source == Source::Python) else { return };
    let Ok(path) = python(env) else { return };
    let found = candidate(env, Source::Python, path);
    if found.gpu_build {
        list.remove(at);
        list.insert(0, found);
    } else {
        list[at] = found;
    }
}

/// Asks `python3` where its onnxruntime is, without importing it.
fn ask_python(env: &Environment) -> Result<PathBuf, String> {
    const SCRIPT: &str = "import importlib.util as u; s = u.find_spec('onnxruntime'); print(s.origin if s and s.origin else '')";
    let program = if env.os == Os::Windows { "python" } else { "python3" };
    let child = Command::new(program).args(["-c", SCRIPT]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.map_err(|_| format!("is not there ({program} is not installed)"))?;
    let begin = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begin.elapsed() < PYTHON_PATIENCE => std::thread::sleep(Duration::from_millis(5)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("did not answer within {} seconds", PYTHON_PATIENCE.as_secs()));
            }
        }
    };
    let mut text = String::new();
    // A path is short: the pipe cannot have filled up while waiting above.
    if let Some(out) = child.stdout.take() {
        let _ = out.take(64 * 1024).read_to_string(&mut text);
    }
    let origin = Path::new(text.trim());
    if !status.success() || !origin.is_absolute() {
        return Err("has no onnxruntime package".into());
    }
    let capi = origin.with_file_name("capi");
    super::discover::library_in(env, &capi).ok_or_else(|| format!("has an onnxruntime package without a library in {}", capi.display()))
}

/// Whether the NVIDIA driver's control device is there.
pub fn nvidia_driver_present() -> bool {
    Path::new("/dev/nvidiactl").exists() || (cfg!(windows) && Path::new(r"C:\Windows\System32\nvcuda.dll").exists())
}

/// What [`Environment`] borrows from.
struct Surroundings {
    vars: HashMap<String, PathBuf>,
    cwd: PathBuf,
    cache: Option<PathBuf>,
}

impl Surroundings {
    fn read() -> Self {
        let vars = ["ORT_DYLIB_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "ORT_LIB_PATH"];
        Self {
            vars: vars.iter().filter_map(|v| Some(((*v).to_owned(), std::env::var_os(v)?.into()))).collect(),
            cwd: std::env::current_dir().unwrap_or_default(),
            cache: paths::runtime_dir(),
        }
    }

    fn environment<'a>(&'a self, options: &'a RuntimeOptions) -> Environment<'a> {
        Environment {
            vars: &self.vars,
            cwd: &self.cwd,
            cache: self.cache.as_deref(),
            flag: options.ort_lib.as_deref(),
            config: options.config_ort_lib.as_deref(),
            prefer_gpu: options.device.is_gpu() || (options.device == Device::Auto && nvidia_driver_present()),
            ask_python: !options.skip_python,
            os: Os::current(),
            files: &Disk,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn at<'a>(
        vars: &'a HashMap<String, PathBuf>,
        files: &'a BTreeSet<PathBuf>,
        flag: Option<&'a Path>,
        prefer_gpu: bool,
    ) -> Environment<'a> {
        Environment { vars, cwd: Path::new("/w"), cache: None, flag, config: None, prefer_gpu, ask_python: true, os: Os::Linux, files }
    }

    #[test]
    fn the_first_that_works_is_chosen_and_every_candidate_is_recorded() {
        let vars = HashMap::from([("ORT_DYLIB_PATH".to_owned(), PathBuf::from("/old.so"))]);
        let files = BTreeSet::new();
        let env = at(&vars, &files, None, false);
        let mut probed = Vec::new();
        let mut probe = |p: &Path| {
            probed.push(p.to_path_buf());
            if p == Path::new("/old.so") { Err("is ONNX Runtime 1.15".to_owned()) } else { Ok(()) }
        };
        let choice = choose(&env, candidates(&env), &mut probe, &mut |_| Ok("/py/libonnxruntime.so.1".into()));
        assert_eq!(choice.chosen.unwrap().path, Path::new("/py/libonnxruntime.so.1"));
        let verdicts: Vec<_> = choice.records.iter().map(|r| r.verdict.clone()).collect();
        assert_eq!(verdicts, [Verdict::Rejected("is ONNX Runtime 1.15".into()), Verdict::Chosen, Verdict::NotTried, Verdict::NotTried]);
        assert_eq!((choice.records[0].source, choice.records[0].path.as_path()), (Source::Variable, Path::new("/old.so")));
        assert_eq!(probed.len(), 2);
    }

    #[test]
    fn a_bad_flag_ends_the_search() {
        let (vars, files) = (HashMap::new(), BTreeSet::new());
        let env = at(&vars, &files, Some(Path::new("nope.so")), false);
        let choice = choose(&env, candidates(&env), &mut |_| Err("does not exist".into()), &mut |_| unreachable!("must not be asked"));
        assert!(choice.chosen.is_none());
        assert!(choice.records[1..].iter().all(|r| r.verdict == Verdict::NotTried));
    }

    #[test]
    fn with_a_gpu_python_is_asked_first_when_no_gpu_build_is_known() {
        let vars = HashMap::from([("VIRTUAL_ENV".to_owned(), PathBuf::from("/v"))]);
        let cpu = "/v/lib/python3.12/site-packages/onnxruntime/capi/libonnxruntime.so.1.32.0";
        let files: BTreeSet<PathBuf> =
            [cpu, "/g/libonnxruntime.so.1.31.1", "/g/libonnxruntime_providers_cuda.so"].map(PathBuf::from).into();
        let env = at(&vars, &files, None, true);
        let choice = choose(&env, candidates(&env), &mut |_| Ok(()), &mut |_| Ok("/g/libonnxruntime.so.1.31.1".into()));
        assert_eq!(choice.chosen.unwrap().source, Source::Python);
        let choice = choose(&env, candidates(&env), &mut |_| Ok(()), &mut |_| Err("has none".into()));
        assert_eq!(choice.chosen.unwrap().path, Path::new(cpu));
    }
}
