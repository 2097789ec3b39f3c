//! What a step of an attack costs beside the bare runs of the engine that it cannot do without, interleaved in one process.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use ndarray::{Array3, Axis};

use super::{Bench, Found, Mark};
use crate::{
    core::{
        attack::{self, Params, Problem, scalars},
        error::{Error, Result},
        graph::{self, Instrumentation, Instrumented, Loss},
        onnx::write,
        oracle::Oracle,
        stats,
    },
    engine::{control::Control, recorder::TraceRecorder, run::FRAME_BUDGET, subject::Subject, trace::Trace},
    runtime::{
        Network,
        backend::{Array, Backend, Executor},
    },
};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// Time on the wall.
    Wall,
    /// Processor time of all threads of this process.
    Cpu,
}

impl Clock {
    /// Processor time where the system tells it in nanoseconds, else the wall.
    pub fn finest() -> Self {
        if scheduled().is_some() { Self::Cpu } else { Self::Wall }
    }

    /// Seconds since some moment.
    pub fn now(self) -> f64 {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        let wall = || START.get_or_init(Instant::now).elapsed();
        match self {
            Self::Wall => wall().as_secs_f64(),
            Self::Cpu => scheduled().unwrap_or_else(wall).as_secs_f64(),
        }
    }
}

/// Time that the threads of this process spent on processors, as Linux counts it.
fn scheduled() -> Option<Duration> {
    let mut total = 0u64;
    for thread in fs::read_dir("/proc/self/task").ok()? {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        total += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(total))
}

/// A picture with structure in the network's size: the checks need no file.
pub fn photo(network: &Network) -> Array3<f32> {
    let [c, h, w] = network.image_shape();
    let wave = |c: usize, y: usize, x: usize| {
        let (y, x) = (y as f32 / h as f32, x as f32 / w as f32);
        0.5 + 0.2 * (11.0 * x + 3.0 * c as f32).sin() * (7.0 * y).cos() + 0.2 * (53.0 * (x * y + 0.3 * x)).sin()
    };
    Array3::from_shape_fn((c, h, w), |(c, y, x)| wave(c, y, x).clamp(0.02, 0.98))
}

/// Cost of a step.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Seconds of the bare runs that a step needs, median.
    pub bare: f64,
    /// Seconds of a step, median.
    pub step: f64,
    /// Median of the ratios of neighbouring measurements.
    pub ratio: f64,
}

/// The graphs a step runs, loaded by themselves, with inputs that were made once.
struct Bare {
    executor: Box<dyn Executor>,
    inputs: Vec<(String, Array)>,
    outputs: Vec<String>,
}

impl Bare {
    fn new(backend: &Arc<dyn Backend>, subject: &Subject, loss: Loss, image: &Array3<f32>, label: usize) -> Result<Self> {
        let gradient = loss != Loss::None;
        let made = graph::instrument(&subject.prepared, &Instrumentation { loss, image_gradient: gradient, ..Instrumentation::default() })?;
        let executor = backend.load(&write::to_bytes(&made.graph))?;
        let mut outputs = vec![made.logits.clone()];
        outputs.extend([&made.grad_image, &made.loss].into_iter().flatten().cloned());
        let inputs = made.graph.inputs.iter().map(|i| (i.name.clone(), input(&made, &i.name, subject, image, label))).collect();
        Ok(Self { executor, inputs, outputs })
    }

    fn run(&mut self) -> Result<()> {
        let inputs: Vec<(&str, Array)> = self.inputs.iter().map(|(n, a)| (n.as_str(), a.clone())).collect();
        let outputs: Vec<&str> = self.outputs.iter().map(String::as_str).collect();
        self.executor.run(&inputs, &outputs).map(drop)
    }
}

fn input(made: &Instrumented, name: &str, subject: &Subject, image: &Array3<f32>, label: usize) -> Array {
    if name == made.image {
        return Array::F32(subject.affine().forward(image.view().insert_axis(Axis(0)), subject.prepared.layout));
    }
    if made.labels.as_ref().is_some_and(|l| l.0 == name) {
        return Array::I64(ndarray::arr1(&[label as i64]).into_dyn());
    }
    let scalar = made.graph.inputs.iter().any(|i| i.name == name && i.ty.shape.as_ref().is_some_and(Vec::is_empty));
    if scalar { Array::F32(ndarray::arr0(0.0).into_dyn()) } else { Array::F32(ndarray::arr1(&[1.0]).into_dyn()) }
}

/// What an attack is measured with.
struct Plan {
    attack: &'static dyn attack::Attack,
    params: Params,
    loss: Loss,
    /// Whether every step has a forward run beside its gradient.
    forward: bool,
    /// The runs of a whole attack beside those: of the gradient graph, and forward.
    once: [usize; 2],
}

/// The runs that an attack of some steps cannot do without.
fn plan(name: &str, steps: usize) -> Result<Plan> {
    let attack = attack::find(name).ok_or_else(|| Error::Parameter(format!("there is no attack '{name}'")))?;
    let has = |name: &str| attack.params().iter().any(|p| p.name == name);
    let (search, steps) = (has("search-steps"), steps.to_string());
    let mut given = vec![("steps", steps.as_str())];
    if search {
        given.extend([("search-steps", "1"), ("search", "sequential")]);
    }
    if has("refine") {
        given.push(("refine", "no"));
    }
    let loss = if search { Loss::Margin } else { Loss::CrossEntropy };
    // Gradient sign ends, EAD and StrAttack begin with a forward run, APGD begins with a gradient, C&W has neither.
    let once = match name {
        "cw" => [0, 0],
        "apgd" => [1, 0],
        _ => [0, 1],
    };
    let params = Params::check(attack.params(), given)?;
    Ok(Plan { attack, params, loss, forward: matches!(name, "ead" | "strattack"), once })
}

/// Measures an attack's step with its usual recorder, on the host or in the graph (`resident`). `rounds` pairs of measurements.
pub fn measure(
    backend: &Arc<dyn Backend>,
    subject: &Subject,
    name: &str,
    resident: bool,
    clock: Clock,
    steps: usize,
    rounds: usize,
) -> Result<Cost> {
    let Plan { attack, params, loss, forward: second, once } = plan(name, steps)?;
    let mut network = subject.network(backend)?.with_resident(resident);
    let image = photo(&network);
    let clean = network.logits(image.view().insert_axis(Axis(0)))?;
    let label = scalars::predicted(clean.row(0));
    let problem = Problem { image: image.clone(), label, target: None, mask: None, seed: 1 };
    let mut gradient = Bare::new(backend, subject, loss, &image, label)?;
    let mut forward = Bare::new(backend, subject, Loss::None, &image, label)?;
    let (mut bare, mut whole, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let begun = clock.now();
        for _ in 0..steps {
            gradient.run()?;
            if second {
                forward.run()?;
            }
        }
        (0..once[0]).try_for_each(|_| gradient.run())?;
        (0..once[1]).try_for_each(|_| forward.run())?;
        let without = clock.now() - begun;
        let trace = Arc::new(Trace::new(Arc::new(image.clone()), label, None, FRAME_BUDGET));
        let begun = clock.now();
        let mut recorder = TraceRecorder::new(trace, Control::default(), |_| ());
        attack.run(&mut network, &problem, &params, &mut recorder)?;
        let with = clock.now() - begun;
        // The first round loads graphs and warms caches.
        if round > 0 {
            bare.push(without / steps as f64);
            whole.push(with / steps as f64);
            ratios.push(with / without);
        }
    }
    let [bare, step, ratio] = [bare, whole, ratios].map(|values| stats::median(&values));
    Ok(Cost { bare, step, ratio })
}

/// The check of one attack: wall time, on the host and in the graph.
pub(super) fn check(bench: &Bench, name: &str) -> Result<Found> {
    let goal = if bench.gpu { 1.10 } else { 1.03 };
    let of = |resident| measure(&bench.backend, bench.subject, name, resident, Clock::Wall, 10, 7);
    let (host, device) = (of(false)?, of(true)?);
    let ms = |s: f64| 1e3 * s;
    let text = format!(
        "bare {:.2} ms; host {:.2} ms, {:.3} times; in the graph {:.2} ms, {:.3} times (goal {goal:.2})",
        ms(host.bare),
        ms(host.step),
        host.ratio,
        ms(device.step),
        device.ratio,
    );
    let used = if bench.gpu { device.ratio } else { host.ratio };
    let verdict = if used <= goal { Mark::Passed } else { Mark::Slow };
    let figures = [("bare_ms", ms(host.bare)), ("host_ratio", host.ratio), ("device_ratio", device.ratio), ("goal", goal)];
    Ok(Found::new(verdict, text, &figures))
}
