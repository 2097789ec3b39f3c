//! `psescope doctor`: what was found on this machine, what was chosen, and why.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::{args::ModelArgs, config, exit::Done, progress, session::interruptible},
    core::error::Error,
    engine::{
        sample,
        selftest::{self, Mark},
        subject::Subject,
    },
    runtime::{
        Runtime,
        discover::Source,
        doctor::{self, Doctor},
        open::{Record, Verdict},
        paths,
    },
    tui,
};

/// What was found on this machine, what was chosen, and why.
#[derive(Debug, Args)]
pub struct DoctorCommand {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Run the checks of this machine's engine (gradients, updates in the graph, batches, maps, cost of a step) on this model, or on the
    /// bundled one. Ends with 4 when one of them fails.
    #[arg(long, value_name = "MODEL", num_args = 0..=1, default_missing_value = sample::MODEL)]
    self_test: Option<PathBuf>,
    #[command(flatten)]
    model_args: ModelArgs,
}

impl DoctorCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        if let Some(model) = &self.self_test {
            return self.test(model);
        }
        let found = doctor::gather(&self.model_args.runtime());
        let said = config::current();
        let terminal = tui::doctor::report(&tui::doctor::Wishes {
            color: said.color(),
            graphics: said.graphics().unwrap_or_default(),
            theme: said.theme(),
            themes: config::themes_dir().as_deref(),
        });
        if self.json {
            let settings: Vec<Value> = config::origins().iter().map(|o| json!({"key": o.key, "value": o.value, "from": o.from})).collect();
            let object = json!({
                "schema": "psescope.doctor/1",
                "version": env!("CARGO_PKG_VERSION"),
                "runtime": found,
                "settings": settings,
                "configuration": config::current().files(),
                "terminal": terminal,
            });
            say_json!(object);
            return Ok(Done::Yes);
        }
        say!("psescope {}", found.version);
        section("engine", &engine(&found))?;
        section("ONNX Runtime libraries, in the order tried", &found.libraries.iter().map(library).collect::<Vec<_>>())?;
        section("settings", &settings())?;
        section("files", &files(&found))?;
        section("terminal", &terminal.into_iter().map(|(name, value)| row(name, &value)).collect::<Vec<_>>())?;
        let notes: Vec<String> = found.notices.iter().map(|n| format!("  {n}")).chain(advice(&found)).collect();
        if !notes.is_empty() {
            section("notes", &notes)?;
        }
        Ok(Done::Yes)
    }
}

impl DoctorCommand {
    /// Runs the checks and prints a table, or an object.
    fn test(&self, model: &Path) -> anyhow::Result<Done> {
        let options = self.model_args.runtime();
        let runtime = Runtime::open(&options)?;
        let about = doctor::from_report(&options, Ok(runtime.report().clone()));
        let subject = Subject::open(model, &self.model_args.subject())?;
        let control = interruptible();
        let bar = progress::spinner("self-test");
        let checks = selftest::run(&runtime, &subject, options.fp16, &mut |name| {
            bar.set_message(name.to_owned());
            control.checkpoint()
        })?;
        bar.finish_and_clear();
        let failed = checks.iter().filter(|c| c.verdict == Mark::Failed).count();
        let card = about.cards.first().map_or("none", String::as_str);
        if self.json {
            say_json!(json!({
                "schema": "psescope.selftest/1",
                "version": env!("CARGO_PKG_VERSION"),
                "model": model.display().to_string(),
                "sha256": subject.sha256,
                "cards": about.cards,
                "runtime": about,
                "fp16": options.fp16,
                "passed": failed == 0,
                "checks": checks,
            }));
        } else {
            say!("psescope {}: {} on {}", env!("CARGO_PKG_VERSION"), runtime.report().engine, runtime.report().device);
            say!(
                "card {card}, {} threads, model {}, {}",
                about.threads,
                sample::title(model),
                if options.fp16 { "half precision" } else { "single precision" }
            );
            for notice in &about.notices {
                say!("note: {notice}");
            }
            say!("");
            for check in &checks {
                let word = match check.verdict {
                    Mark::Passed => "passed",
                    Mark::Failed => "FAILED",
                    Mark::Slow => "slow",
                };
                say!("{word:<7} {:<20} {:>6.1} s  {}", check.name, check.seconds, check.text);
            }
            let slow = checks.iter().filter(|c| c.verdict == Mark::Slow).count();
            let more = if slow > 0 { format!("; {slow} above the goal for speed, which a busy machine causes too") } else { String::new() };
            say!("\n{} of {} checks passed{more}", checks.len() - failed - slow, checks.len());
        }
        if failed > 0 {
            return Err(Error::Engine(format!("{failed} of {} checks failed on {}", checks.len(), runtime.report().device)).into());
        }
        Ok(Done::Yes)
    }
}

fn section(title: &str, lines: &[String]) -> std::io::Result<()> {
    say!("\n{title}");
    for line in lines {
        say!("{line}");
    }
    Ok(())
}

fn row(name: &str, value: &str) -> String {
    format!("  {name:<13} {value}")
}

fn engine(found: &Doctor) -> Vec<String> {
    let mut lines = match &found.engine {
        Ok(engine) => vec![row("in use", &format!("{engine} on {}", found.device.as_deref().unwrap_or("CPU")))],
        Err(why) => vec![row("in use", &format!("none: {why}"))],
    };
    if let Some(library) = &found.library {
        lines.push(row("library", &library.display().to_string()));
    }
    if !found.providers.is_empty() {
        lines.push(row("providers", &found.providers.join(", ")));
    }
    lines.push(row("threads", &found.threads.to_string()));
    lines.push(row("embedded", if found.embedded { "part of this build, used when no library is" } else { "not part of this build" }));
    let devices: Vec<_> = found.nvidia_devices.iter().map(|d| d.display().to_string()).collect();
    let nvidia = match (found.nvidia_driver, devices.is_empty()) {
        (false, _) => "no driver found".into(),
        (true, true) => "driver found, but no GPU is visible (/dev/nvidia0 is missing)".into(),
        (true, false) => format!("driver found, GPUs {}", if found.cards.is_empty() { devices } else { found.cards.clone() }.join(", ")),
    };
    lines.push(row("NVIDIA", &nvidia));
    lines
}

/// One library: verdict, where it comes from, which file, why not.
fn library(record: &Record) -> String {
    let (verdict, why) = match &record.verdict {
        Verdict::Chosen => ("chosen", String::new()),
        Verdict::Rejected(why) => ("rejected", why.clone()),
        Verdict::NotTried => ("not tried", String::new()),
    };
    let path = match (record.path.as_os_str().is_empty(), record.source) {
        (true, Source::Python) if record.verdict == Verdict::NotTried => "(was not asked)".into(),
        (true, _) => String::new(),
        (false, _) => record.path.display().to_string(),
    };
    let gpu = if record.gpu_build { "(GPU build)" } else { "" };
    let words = [path.as_str(), gpu, why.as_str()].into_iter().filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ");
    format!("  {verdict:<13} {:<16} {words}", record.source.label()).trim_end().to_owned()
}

fn settings() -> Vec<String> {
    let origins = config::origins();
    let widths = origins.iter().map(|o| (o.key.len(), o.value.chars().count().min(40)));
    let (key, value) = widths.fold((13, 8), |(k, v), (a, b)| (k.max(a), v.max(b)));
    let line = |o: &config::Origin| format!("  {:<key$} {:<value$}  {}", o.key, o.value, o.from);
    origins.iter().map(line).collect()
}

fn files(found: &Doctor) -> Vec<String> {
    let show = |path: Option<&Path>| path.map_or_else(|| "none (there is no home folder)".into(), |p| p.display().to_string());
    let read = config::current().files();
    let configuration = match (read, &found.config) {
        ([], Some(folder)) => format!("none (looked for {} and ./psescope.toml)", folder.join("config.toml").display()),
        ([], None) => "none (looked for ./psescope.toml)".into(),
        (files, _) => files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", then "),
    };
    let cache = match (&found.cache, std::env::var_os("PSESCOPE_NO_CACHE").is_some_and(|v| !v.is_empty())) {
        (Some(folder), true) => format!("{} (gradient graphs are not kept: PSESCOPE_NO_CACHE is set)", folder.display()),
        (folder, _) => show(folder.as_deref()),
    };
    let libraries: Option<PathBuf> = paths::runtime_dir();
    vec![
        row("configured in", &configuration),
        row("cache", &cache),
        row("libraries", &show(libraries.as_deref())),
        row("log", &show(found.state.as_deref())),
    ]
}

/// What could be better, and how.
fn advice(found: &Doctor) -> Vec<String> {
    let mut advice = Vec::new();
    if found.library.is_none() {
        advice.push("  psescope runtime install fetches ONNX Runtime, which is several times faster than the embedded engine".into());
    }
    let gpu = found.device.as_deref().is_some_and(|d| d != "CPU");
    if found.nvidia_driver && !found.nvidia_devices.is_empty() && !gpu && found.engine.is_ok() {
        advice.push("  a GPU is visible but not used; psescope runtime install --gpu fetches a library that can".into());
    }
    advice
}
