//! `psescope triage`: every image of a folder predicted, attacked and explained; one row each.

use std::{
    io::{IsTerminal as _, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        args::{AttackArgs, ModelArgs, output_dir, parse_keep, parse_number},
        exit::Done,
        progress,
        session::interruptible,
        tell,
    },
    core::{
        error::Error,
        explain::psr::{self, Mode},
    },
    engine::{
        keep,
        subject::Subject,
        triage::{
            self, Item, Row, Settings, Shard,
            drive::{Job, Pace, Rival, Setup},
            journal::Journal,
            listing,
            part::{self, Metadata},
            runs::Runs,
            setup,
            summary::{Summary, weakest},
        },
    },
    report::{facts, triage_html, triage_settings::COMMAND, triage_text},
};

/// Rows in the summary's table.
const SHOWN: usize = 10;
/// Folder of kept runs, in the folder of the parts.
const RUNS: &str = "runs";
/// How often progress is told where stderr is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Attack every image of a folder.
///
/// Writes one Parquet file a part into the --out folder. A triage that was ended continues where it stopped when it is started again.
/// Inside a Slurm array every task takes its part by itself.
#[derive(Debug, Args)]
pub struct TriageCommand {
    /// ONNX model.
    model: Option<PathBuf>,
    /// Folder of images (with everything below it), a list of paths (one a line, optionally a tab and the true class), or - for such a list on stdin.
    #[arg(value_name = "DIR|LIST|-")]
    images: Option<PathBuf>,
    #[command(flatten)]
    attack: AttackArgs,
    /// Folder for the parts; made when it is missing.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Work on this part of the images only: 0/4 to 3/4, or 1/4 to 4/4. A Slurm array says so by itself.
    #[arg(long, value_name = "I/N", help_heading = "Output")]
    shard: Option<Shard>,
    /// Write the rows as JSON lines too.
    #[arg(long, help_heading = "Output")]
    jsonl: bool,
    /// Write a sortable page with thumbnails. Without a model: from the finished parts in --out.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    html: Option<PathBuf>,
    /// Write the rows as CSV. Without a model: from the finished parts in --out.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    csv: Option<PathBuf>,
    /// Read the finished parts of this folder together, write them as one triage.parquet there, and sum them up.
    #[arg(long, value_name = "DIR", help_heading = "Output", conflicts_with_all = ["model", "out"])]
    merge: Option<PathBuf>,
    /// Keep every image's run as RUN.pse in the folder `runs` of --out, up to this size in all (4GiB when none is given). The row's
    /// column `run` names the file.
    #[arg(long = "keep-runs", value_name = "SIZE", num_args = 0..=1, require_equals = true, default_missing_value = "4GiB", value_parser = parse_keep, help_heading = "Output")]
    runs: Option<u64>,
    /// Print one JSON object.
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Run the same attack on this model too, and try the images made for MODEL on it.
    #[arg(long, value_name = "MODEL2", help_heading = "Triage")]
    compare: Option<PathBuf>,
    /// Evaluate promotion and suppression with one forward run per cell instead of one gradient.
    #[arg(long, help_heading = "Triage")]
    exact_pse: bool,
    /// Only predict and attack: no promotion and suppression, no interpretability.
    #[arg(long, conflicts_with = "exact_pse", help_heading = "Triage")]
    no_explain: bool,
    /// Cells per side of the promotion-suppression map.
    #[arg(long, value_name = "N", default_value_t = 14, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Triage")]
    grid: u16,
    /// Smallest effect counted, in logits. A convention recalled from the paper.
    #[arg(long, value_name = "X", default_value = "0.1", value_parser = parse_number, help_heading = "Triage")]
    psr_floor: f32,
    /// A cell is dominated when |log2(b/s)| exceeds this. A convention recalled from the paper.
    #[arg(long, value_name = "X", default_value = "1", value_parser = parse_number, help_heading = "Triage")]
    psr_threshold: f32,
    /// Networks side by side, each with its share of the threads; 0 is one per thread, at most 16.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=256), help_heading = "Triage")]
    jobs: u16,
    /// Images that are run as one batch on one network; 0 chooses: only on a GPU.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1024), help_heading = "Triage")]
    batch: u16,
    #[command(flatten)]
    model_args: ModelArgs,
}

/// Rows, what they were made with, and where they are.
struct Finished {
    rows: Vec<Row>,
    metadata: Metadata,
    parquet: PathBuf,
    /// Rows that an earlier process had finished.
    kept: usize,
    /// Wall seconds of this process.
    seconds: f64,
}

impl TriageCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        let finished = match (&self.model, &self.images) {
            (Some(model), Some(images)) => self.work(model, images)?,
            (Some(_), None) => return Err(Error::Parameter("give a folder of images after the model".into()).into()),
            (None, _) => self.gather()?,
        };
        if let Some(path) = &self.html {
            triage_html::write(path, &finished.rows, &finished.metadata)?;
        }
        if let Some(path) = &self.csv {
            triage_text::write_csv(path, &finished.rows)?;
        }
        self.tell(&finished)?;
        Ok(Done::Yes)
    }

    /// From finished parts.
    fn gather(&self) -> anyhow::Result<Finished> {
        let asked =
            Error::Parameter("give a model and a folder of images, or --merge DIR with the --out folder of a finished triage".into());
        let folder = self.merge.as_ref().or(self.out.as_ref()).ok_or(asked)?;
        let (rows, mut metadata) = part::merged(folder)?;
        metadata.insert("shard".into(), Shard::default().to_string());
        let parquet = folder.join("triage.parquet");
        if self.merge.is_some() {
            part::write_parquet(&parquet, &rows, &metadata)?;
            if self.jsonl {
                part::write_jsonl(&folder.join("triage.jsonl"), &rows, &metadata)?;
            }
        }
        let kept = rows.len();
        Ok(Finished { rows, metadata, parquet: if self.merge.is_some() { parquet } else { folder.clone() }, kept, seconds: 0.0 })
    }

    /// Works through a part, or what an earlier process left of it.
    fn work(&self, model: &Path, images: &Path) -> anyhow::Result<Finished> {
        let begun = Instant::now();
        let out = self.out.as_ref().ok_or_else(|| Error::Parameter("say where the results go: --out DIR".into()))?;
        let shard = match self.shard {
            Some(shard) => shard,
            None => Shard::from_slurm(|name| std::env::var(name).ok())?.unwrap_or_default(),
        };
        let listed = if images == Path::new("-") { of_stdin()? } else { listing::of_path(images)? };
        let total = listed.len();
        let items: Vec<Item> = listed.into_iter().filter(|item| shard.has(item.index)).collect();
        let mut job = self.job(model)?;
        let mut metadata = setup::metadata(&job, shard)?;
        metadata.insert("images".into(), total.to_string());
        metadata.insert("source".into(), images.display().to_string());
        metadata.insert(COMMAND.into(), facts::shell(&keep::command_line()));
        output_dir(out)?;
        let (mut journal, old, provider) = self.begin(out, shard, &metadata)?;
        job.runs = self.runs.map(|limit| Runs::open(out.join(RUNS), limit)).transpose()?.map(Arc::new);
        let (old, again): (Vec<Row>, Vec<Row>) = old.into_iter().partition(|row| job.runs.as_ref().is_none_or(|runs| complete(runs, row)));
        if !again.is_empty() {
            tell::note(format!("{} finished images are attacked again, because their runs are to be kept", again.len()));
        }
        let (mut rows, left) = setup::left(old, items);
        metadata.extend(provider.map(|p| ("provider".to_owned(), p)));
        let kept = rows.len();
        if !left.is_empty() {
            let setup = Setup::open(&job, &self.model_args.runtime(), self.pace(), left.len())?;
            metadata.insert("provider".into(), setup.provider.clone());
            for notice in job.subject.notices.iter().chain(&setup.notices) {
                tell::note(notice);
            }
            let control = interruptible();
            let mut progress = Progress::new(kept, kept + left.len());
            let outcome = setup.run(&job, &left, &control, &mut |row| {
                journal.append(&row)?;
                progress.row(&row);
                rows.push(row);
                Ok(())
            });
            progress.finish();
            if let Err(Error::Stopped) = outcome {
                let text = format!("stopped with {} of {} images done; the same command goes on from there", rows.len(), kept + left.len());
                tell::note(text);
            }
            outcome?;
        }
        if let Some(why) = job.runs.as_ref().and_then(|runs| runs.ended()) {
            tell::note(why);
        }
        rows.sort_by_key(|r| r.index);
        let parquet = part::parquet(out, shard);
        if self.jsonl {
            part::write_jsonl(&part::jsonl(out, shard), &rows, &metadata)?;
        }
        part::write_parquet(&parquet, &rows, &metadata)?;
        journal.finish()?;
        Ok(Finished { rows, metadata, parquet, kept, seconds: begun.elapsed().as_secs_f64() })
    }

    /// The journal, and the rows of earlier processes: of the journal, or of the finished part when it is to be written again, then with
    /// the engine that made it.
    fn begin(&self, out: &Path, shard: Shard, metadata: &Metadata) -> anyhow::Result<(Journal, Vec<Row>, Option<String>)> {
        let mut provider = None;
        let (journal, mut rows) = Journal::open(&part::journal(out, shard), metadata)?;
        let finished = part::parquet(out, shard);
        if rows.is_empty() && finished.exists() {
            let (old, then) = triage::table::read(&finished)?;
            if let Some((key, was, now)) = triage::journal::difference(&then, metadata) {
                journal.finish()?;
                return Err(Error::Parameter(format!(
                    "{} was made with another {key} ({was}; now {now}); give the same settings, or another --out folder",
                    finished.display()
                ))
                .into());
            }
            rows = old;
            provider = then.get("provider").cloned();
        }
        Ok((journal, rows, provider))
    }

    fn job(&self, model: &Path) -> anyhow::Result<Job> {
        let subject = Arc::new(Subject::open(model, &self.model_args.subject())?);
        let request = self.attack.request(&subject.labels)?;
        let settings = Settings {
            explain: !self.no_explain,
            grid: usize::from(self.grid),
            psr: psr::Settings {
                floor: self.psr_floor,
                threshold: self.psr_threshold,
                mode: if self.exact_pse { Mode::Exact } else { Mode::Linear },
            }
            .check()?,
            ..Settings::new(request)
        };
        let rival = self.compare.as_deref().map(|path| -> anyhow::Result<Rival> {
            let subject = Arc::new(Subject::open(path, &self.model_args.subject())?);
            // Classes are looked up among the second model's own.
            let request = self.attack.request(&subject.labels).map_err(|e| Error::Parameter(format!("{}: {e}", path.display())))?;
            Ok(Rival { subject, request })
        });
        Ok(Job { subject, rival: rival.transpose()?, settings, runs: None })
    }

    fn pace(&self) -> Pace {
        Pace { jobs: usize::from(self.jobs), batch: usize::from(self.batch) }
    }

    fn tell(&self, finished: &Finished) -> std::io::Result<()> {
        let summary = Summary::of(&finished.rows);
        let worst = weakest(&finished.rows, SHOWN);
        if self.json {
            let new = finished.rows.len() - finished.kept;
            let rate = (new > 0).then(|| new as f64 / finished.seconds.max(1e-9));
            let mut object = json!({"schema": triage::SCHEMA, "version": env!("CARGO_PKG_VERSION")});
            let more = json!({
                "out": finished.parquet.display().to_string(),
                "metadata": finished.metadata,
                "continued": finished.kept,
                "summary": summary,
                "seconds": finished.seconds,
                "images_per_second": rate,
                "weakest": worst,
            });
            if let (Some(object), serde_json::Value::Object(more)) = (object.as_object_mut(), more) {
                object.extend(more);
            }
            say_json!(object);
        } else {
            say!("{}", triage_text::summary(&summary, &worst, &finished.metadata).trim_end());
            say!("written   {}", finished.parquet.display());
            let kept = finished.rows.iter().filter(|r| r.run.is_some()).count();
            if let (Some(out), true) = (&self.out, kept > 0) {
                say!("runs      {kept} of {} kept in {}", finished.rows.len(), out.join(RUNS).display());
            }
        }
        Ok(())
    }
}

/// Whether a finished image needs nothing more: its run is there, or there never will be one.
fn complete(runs: &Runs, row: &Row) -> bool {
    row.error.is_some() || !runs.roomy() || row.run.as_ref().is_some_and(|name| runs.has(name))
}

fn of_stdin() -> anyhow::Result<Vec<Item>> {
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    read.map_err(|e| Error::Input(format!("cannot read the list of images from stdin: {e}; give one path a line")))?;
    let items = listing::of_lines(&text, None);
    if items.is_empty() {
        return Err(Error::Input("the list of images on stdin is empty; give one path a line".into()).into());
    }
    Ok(items)
}

/// A bar on a terminal, a line now and then elsewhere (a cluster's log file).
struct Progress {
    bar: indicatif::ProgressBar,
    terminal: bool,
    begun: Instant,
    told: Instant,
    kept: usize,
    done: usize,
    total: usize,
    errors: usize,
}

impl Progress {
    fn new(kept: usize, total: usize) -> Self {
        let bar = progress::bar(total, "images");
        bar.set_position(kept as u64);
        bar.reset_eta();
        let now = Instant::now();
        Self { bar, terminal: std::io::stderr().is_terminal(), begun: now, told: now, kept, done: kept, total, errors: 0 }
    }

    fn row(&mut self, row: &Row) {
        self.done += 1;
        self.errors += usize::from(row.error.is_some());
        self.bar.set_position(self.done as u64);
        if self.errors > 0 {
            self.bar.set_message(format!("{} with errors", self.errors));
        }
        if !self.terminal && self.told.elapsed() >= LOG_EVERY {
            self.told = Instant::now();
            let rate = (self.done - self.kept) as f64 / self.begun.elapsed().as_secs_f64().max(1e-9);
            let left = (self.total - self.done) as f64 / rate.max(1e-9);
            let text = format!("{} of {} images, {rate:.2} a second, {left:.0} s left, {} with errors", self.done, self.total, self.errors);
            tell::note(text);
        }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
