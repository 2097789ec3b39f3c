//! Flags that several subcommands share.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use ndarray::ArrayView1;
use serde_json::Value;

use super::config;
use crate::{
    core::{
        attack::{self, Kind, fraction, scalars, targets},
        error::Error,
        graph::Layout,
        tensor::labels::Labels,
    },
    engine::{
        command::{AttackRequest, Target},
        subject::SubjectOptions,
    },
    runtime::{
        Device, EngineChoice, RuntimeOptions,
        options::{self, Listener, Update},
    },
};

/// How the model is read and run.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// Preprocessing: a preset (imagenet, inception, caffe, tf, unit, cifar10, lite) or a preprocessor_config.json / config.json.
    #[arg(long, value_name = "P", env = "PSESCOPE_PREPROCESS")]
    pub preprocess: Option<String>,
    /// Per-channel mean on the 0..1 scale, RGB, comma-separated; one number serves all channels.
    #[arg(long, value_delimiter = ',', value_name = "R,G,B", allow_hyphen_values = true)]
    pub mean: Option<Vec<f32>>,
    /// Per-channel standard deviation on the 0..1 scale, RGB, comma-separated.
    #[arg(long, value_delimiter = ',', value_name = "R,G,B")]
    pub std: Option<Vec<f32>>,
    /// Input size, for models that leave it open.
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    pub size: Option<[usize; 2]>,
    /// Order of the model's input dimensions, when the guess is wrong.
    #[arg(long, value_name = "nchw|nhwc", value_parser = parse_layout)]
    pub layout: Option<Layout>,
    /// Class names: one a line, or JSON.
    #[arg(long, value_name = "FILE", env = "PSESCOPE_LABELS")]
    pub labels: Option<PathBuf>,
    /// Gradient graph exported elsewhere (onnx/export_gradient.py), used instead of compiling one.
    #[arg(long, value_name = "FILE")]
    pub grad_model: Option<PathBuf>,
    /// Where to run: auto, cpu, cuda[:N], tensorrt[:N].
    #[arg(long, default_value = "auto", value_name = "DEVICE", env = "PSESCOPE_DEVICE")]
    pub device: Device,
    /// ONNX Runtime library to use.
    #[arg(long, value_name = "PATH")]
    pub ort_lib: Option<PathBuf>,
    /// Engine: auto, onnxruntime, embedded.
    #[arg(long, default_value = "auto", value_name = "ENGINE", env = "PSESCOPE_ENGINE")]
    pub engine: EngineChoice,
    /// Threads for one run; 0 is one per physical core.
    #[arg(long, default_value_t = 0, value_name = "N", env = "PSESCOPE_THREADS")]
    pub threads: usize,
    /// Most GPU memory to keep: 8GB, 512MiB or bytes.
    #[arg(long, value_name = "SIZE", value_parser = options::bytes)]
    pub gpu_memory_limit: Option<usize>,
    /// Let TensorRT compute in half precision: faster, less accurate gradients.
    #[arg(long)]
    pub fp16: bool,
    /// Where an attack's update is computed: host, device (in the graph: the image stays there), auto (device on GPUs).
    #[arg(long, default_value = "auto", value_name = "WHERE", env = "PSESCOPE_UPDATE")]
    pub update: Update,
    /// Let CUDA record a step of an attack once and replay it (the update has to be on the device).
    #[arg(long)]
    pub cuda_graphs: bool,
}

impl ModelArgs {
    /// Options of the runtime.
    pub fn runtime(&self) -> RuntimeOptions {
        RuntimeOptions {
            ort_lib: self.ort_lib.clone(),
            config_ort_lib: config::current().ort_lib(),
            engine: self.engine,
            device: self.device,
            threads: self.threads,
            gpu_memory_limit: self.gpu_memory_limit,
            fp16: self.fp16,
            update: self.update,
            cuda_graphs: self.cuda_graphs,
            listener: Listener::new(super::tell::note),
            ..RuntimeOptions::default()
        }
    }

    /// The flags that say the same, for another command line.
    pub fn flags(&self) -> Vec<String> {
        let list = |v: &Vec<f32>| v.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let file = |p: &PathBuf| p.display().to_string();
        let layout = self.layout.map(|l| if l == Layout::Nchw { "nchw" } else { "nhwc" }.to_owned());
        let given = [
            ("--preprocess", self.preprocess.clone()),
            ("--mean", self.mean.as_ref().map(list)),
            ("--std", self.std.as_ref().map(list)),
            ("--size", self.size.map(|[h, w]| format!("{w}x{h}"))),
            ("--layout", layout),
            ("--labels", self.labels.as_ref().map(file)),
            ("--grad-model", self.grad_model.as_ref().map(file)),
            ("--device", (self.device != Device::default()).then(|| self.device.to_string())),
            ("--ort-lib", self.ort_lib.as_ref().map(file)),
            ("--engine", (self.engine != EngineChoice::default()).then(|| self.engine.to_string())),
            ("--threads", (self.threads != 0).then(|| self.threads.to_string())),
            ("--gpu-memory-limit", self.gpu_memory_limit.map(|bytes| bytes.to_string())),
            ("--update", (self.update != Update::default()).then(|| self.update.to_string())),
        ];
        let switches = [("--fp16", self.fp16), ("--cuda-graphs", self.cuda_graphs)];
        let word = |(name, value): (&str, Option<String>)| Some((name.to_owned(), value?));
        // A value that begins with a dash is joined to its flag.
        given
            .into_iter()
            .filter_map(word)
            .flat_map(|(name, value)| if value.starts_with('-') { vec![format!("{name}={value}")] } else { vec![name, value] })
            .chain(switches.iter().filter(|s| s.1).map(|s| s.0.to_owned()))
            .collect()
    }

    /// Options of opening a model and its images.
    pub fn subject(&self) -> SubjectOptions {
        SubjectOptions {
            preprocess: self.preprocess.clone(),
            mean: self.mean.clone(),
            std: self.std.clone(),
            size: self.size,
            layout: self.layout,
            labels: self.labels.clone(),
            grad_model: self.grad_model.clone(),
            keep: Vec::new(),
            cache: true,
        }
    }
}

/// What is attacked, and how: the table of every registered attack becomes flags.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Attack")]
pub struct AttackArgs {
    /// Attack to run.
    #[arg(long = "attack", value_name = "NAME", default_value = "ifgsm", value_parser = clap::builder::PossibleValuesParser::new(attack::REGISTRY.iter().map(|a| a.name())))]
    pub attack: String,
    /// Class to reach: index, name, random, second, least-likely. Without it the attack is untargeted. `psescope attack` takes several:
    /// repeated, separated by commas, or top5 for the five best classes besides the true one; untargeted may be among them.
    #[arg(long, value_name = "T")]
    pub target: Vec<String>,
    /// True class: index or name. Without it, the clean prediction.
    #[arg(long = "true", value_name = "LABEL")]
    pub label: Option<String>,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// Change pixels only here: a map of the clean image, METHOD:CLASS:LEVEL such as cam:t0:0.7 (the hottest 30 %; CLASS is t0, t, an index or a name; max:0.5 as LEVEL means above half the maximum), or a .npy mask [H,W].
    #[arg(long, value_name = "MAP")]
    pub within: Option<String>,
    #[command(flatten)]
    pub params: AttackParams,
}

impl AttackArgs {
    /// Refuses what has no meaning for many images.
    pub fn for_folder(&self) -> anyhow::Result<()> {
        if self.label.is_none() {
            return Ok(());
        }
        let text = "--true names one class for all images of the folder; leave it out, each image's clean prediction is its class";
        Err(Error::Parameter(text.into()).into())
    }

    /// The request, with names turned into classes. Several targets are refused.
    pub fn request(&self, labels: &Labels) -> anyhow::Result<AttackRequest> {
        match self.requests(labels, None)?.as_slice() {
            [one] => Ok(one.clone()),
            _ => Err(Error::Parameter("this command takes one --target; psescope attack takes several".into()).into()),
        }
    }

    /// One request for each target. The best classes (top5) need the clean logits.
    pub fn requests(&self, labels: &Labels, clean: Option<ArrayView1<f32>>) -> anyhow::Result<Vec<AttackRequest>> {
        let label = self.label.as_deref().map(|l| labels.find(l)).transpose()?;
        let mut targets = Vec::new();
        for text in &self.target {
            targets.extend(parse_targets(text, labels, label, clean)?);
        }
        if self.target.is_empty() {
            targets.push(Target::Untargeted);
        }
        // Flags of other attacks are refused by name, so a typo in `--attack` does not pass silently.
        let request = |target| AttackRequest {
            attack: self.attack.clone(),
            params: self.params.0.clone(),
            target,
            label,
            seed: self.seed,
            within: self.within.clone(),
        };
        Ok(targets.into_iter().map(request).collect())
    }
}

/// A target, or several separated by commas. Names may hold commas themselves: the whole text comes first.
fn parse_targets(text: &str, labels: &Labels, label: Option<usize>, clean: Option<ArrayView1<f32>>) -> anyhow::Result<Vec<Target>> {
    let whole = parse_target(text, labels, label, clean);
    if whole.is_ok() || !text.contains(',') {
        return whole;
    }
    let parts: Result<Vec<_>, _> = text.split(',').map(|part| parse_target(part, labels, label, clean)).collect();
    Ok(parts?.concat())
}

fn parse_target(text: &str, labels: &Labels, label: Option<usize>, clean: Option<ArrayView1<f32>>) -> anyhow::Result<Vec<Target>> {
    let best = text.trim().strip_prefix("top").and_then(|n| n.parse::<usize>().ok());
    Ok(match (text.trim(), best) {
        ("untargeted", _) => vec![Target::Untargeted],
        ("random", _) => vec![Target::Random],
        ("second", _) => vec![Target::Second],
        ("least-likely", _) => vec![Target::LeastLikely],
        (_, Some(0)) => return Err(Error::Parameter("top0 is no target; give top1 or more".into()).into()),
        (text, Some(count)) => {
            let clean = clean.ok_or_else(|| Error::Parameter(format!("{text} is for psescope attack alone; give one class here")))?;
            let label = label.unwrap_or_else(|| scalars::predicted(clean));
            (1..=count).map(|rank| targets::ranked(clean, label, rank).map(Target::Class)).collect::<Result<_, _>>()?
        }
        (name, None) => vec![Target::Class(labels.find(name)?)],
    })
}

/// Attack parameters as typed: name and text.
#[derive(Debug, Clone, Default)]
pub struct AttackParams(pub Vec<(String, String)>);

/// Every parameter name once, with the attacks that have it and their defaults.
fn table() -> Vec<(attack::ParamSpec, Vec<(&'static str, &'static str)>)> {
    let mut table: Vec<(attack::ParamSpec, Vec<_>)> = Vec::new();
    for attack in attack::REGISTRY {
        for spec in attack.params() {
            let user = (attack.name(), spec.default);
            match table.iter_mut().find(|(s, _)| s.name == spec.name) {
                Some((_, users)) => users.push(user),
                None => table.push((*spec, vec![user])),
            }
        }
    }
    table
}

/// `ifgsm, pgd; default 2`, or `default 10 for ifgsm; 100 for cw, ead` where attacks differ.
fn users_and_defaults(users: &[(&'static str, &'static str)]) -> String {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for (attack, default) in users {
        match groups.iter_mut().find(|(d, _)| d == default) {
            Some((_, attacks)) => attacks.push(attack),
            None => groups.push((default, vec![attack])),
        }
    }
    match groups.as_slice() {
        [(default, attacks)] => format!("{}; default {default}", attacks.join(", ")),
        several => {
            let each = several.iter().map(|(default, attacks)| format!("{default} for {}", attacks.join(", "))).collect::<Vec<_>>();
            format!("default {}", each.join("; "))
        }
    }
}

impl Args for AttackParams {
    fn augment_args(command: Command) -> Command {
        table().into_iter().fold(command, |command, (spec, users)| {
            let unit = if spec.unit.is_empty() { String::new() } else { format!("{}; ", spec.unit) };
            let help = format!("{} [{unit}{}]", spec.help, users_and_defaults(&users));
            let arg = Arg::new(spec.name).long(spec.name).help(help.clone()).help_heading("Attack parameters").action(ArgAction::Set);
            command.arg(match spec.kind {
                Kind::Flag => arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("yes|no"),
                Kind::Int { .. } => arg.value_name("N").allow_hyphen_values(true),
                Kind::Float { .. } => arg.value_name("X").allow_hyphen_values(true),
                Kind::Choice(words) => arg.value_name("WORD").help(format!("{help}: {}", words.join(", "))),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for AttackParams {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given =
            table().into_iter().filter_map(|(spec, _)| matches.get_one::<String>(spec.name).map(|v| (spec.name.to_owned(), v.clone())));
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// `WxH` to height, width.
/// Room for kept runs: an amount of memory, or 0 for none.
pub fn parse_keep(text: &str) -> Result<u64, String> {
    if text.trim() == "0" { Ok(0) } else { options::bytes(text).map(|size| size as u64) }
}

fn parse_size(text: &str) -> Result<[usize; 2], String> {
    let bad = || format!("'{text}' is no size; write WIDTHxHEIGHT, for instance 224x224");
    let (w, h) = text.split_once(['x', 'X']).ok_or_else(bad)?;
    let side = |t: &str| t.parse::<usize>().ok().filter(|v| (1..=8192).contains(v)).ok_or_else(bad);
    Ok([side(h)?, side(w)?])
}

fn parse_layout(text: &str) -> Result<Layout, String> {
    match text.to_ascii_lowercase().as_str() {
        "nchw" => Ok(Layout::Nchw),
        "nhwc" => Ok(Layout::Nhwc),
        _ => Err("write nchw or nhwc".into()),
    }
}

/// A number or a fraction such as 8/255, for flags.
pub fn parse_number(text: &str) -> Result<f32, String> {
    fraction(text).map(|v| v as f32).ok_or_else(|| format!("'{text}' is no number"))
}

/// A share of a whole that is neither nothing nor all of it, for flags.
pub fn parse_share(text: &str) -> Result<f64, String> {
    fraction(text).filter(|v| *v > 0.0 && *v < 1.0).ok_or_else(|| format!("'{text}' is not between 0 and 1; 0.05 would be"))
}

/// An IoU that units must reach, 0 for all of them, for flags.
pub fn parse_iou(text: &str) -> Result<f64, String> {
    fraction(text).filter(|v| (0.0..=1.0).contains(v)).ok_or_else(|| format!("'{text}' is no IoU from 0 to 1; 0.04 is usual"))
}

/// How a command prints its result; text for people without a flag.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Output")]
pub struct Print {
    /// Print one JSON object.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print comma-separated values.
    #[arg(long)]
    csv: bool,
}

impl Print {
    /// Whether the result is for people.
    pub fn is_text(self) -> bool {
        !self.json && !self.csv
    }

    /// Prints what is asked for, and makes only that.
    pub fn say(self, json: impl FnOnce() -> Value, csv: impl FnOnce() -> String, text: impl FnOnce() -> String) -> std::io::Result<()> {
        match (self.json, self.csv) {
            (true, _) => say_json!(json()),
            (false, true) => say!("{}", csv().trim_end()),
            (false, false) => say!("{}", text().trim_end()),
        }
        Ok(())
    }
}

/// Creates a folder for output, saying what to do when that fails.
pub fn output_dir(path: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(path)
        .map_err(|e| Error::Input(format!("cannot create {}: {e}; give a folder you may write to", path.display())))
        .context("output")
}
