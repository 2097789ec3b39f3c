//! `psescope export`: reports of a recorded run.

use std::{path::PathBuf, sync::Arc};

use clap::{ArgGroup, Args};

use crate::{
    cli::{args::ModelArgs, exit::Done, progress, recorded, session::interruptible, tell},
    core::error::Error,
    engine::{files, findings::Findings, recorded::Recorded, trace::file::Run},
    report::{self, Options, run_json},
};

/// Reports of a recorded run.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("report").required(true).multiple(true))]
pub struct ExportCommand {
    /// A run written by `psescope attack --out`, or saved in the inspector.
    run: PathBuf,
    /// One self-contained page with pictures, maps, tables and charts.
    #[arg(long, value_name = "FILE", group = "report", help_heading = "Output")]
    html: Option<PathBuf>,
    /// A figure for a paper or a slide, with legend and labels.
    #[arg(long, value_name = "FILE", group = "report", help_heading = "Output")]
    png: Option<PathBuf>,
    /// All arrays for NumPy: images, frames, curves, maps.
    #[arg(long, value_name = "FILE", group = "report", help_heading = "Output")]
    npz: Option<PathBuf>,
    /// One row per step as comma-separated values.
    #[arg(long, value_name = "FILE", group = "report", help_heading = "Output")]
    csv: Option<PathBuf>,
    /// Print every number as one JSON object.
    #[arg(long, group = "report", help_heading = "Output")]
    json: bool,
    /// Step shown in detail; the result without it.
    #[arg(long, value_name = "N")]
    step: Option<usize>,
    /// Size of the PNG: 1 is 1080 pixels wide.
    #[arg(long, value_name = "X", default_value_t = 2.0)]
    scale: f32,
    /// The model of the run, when it is not where it was. With the model, maps that were not recorded are computed.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Use only what was recorded, even where the model is at hand.
    #[arg(long, conflicts_with = "model")]
    no_model: bool,
    #[command(flatten)]
    model_args: ModelArgs,
}

impl ExportCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        if !(0.25..=8.0).contains(&self.scale) {
            return Err(Error::Parameter(format!("--scale accepts 0.25 to 8, not {}", self.scale)).into());
        }
        let opened = Recorded::open(&self.run, self.model.as_deref())?;
        if let (Some(_), Err(why)) = (&self.model, &opened.model) {
            return Err(Error::Model(why.clone()).into());
        }
        let Recorded { run: Run { meta, trace, maps }, model, .. } = opened;
        let findings = Findings::new(meta, trace, maps, self.step)?;
        let files = [("html", &self.html), ("png", &self.png), ("npz", &self.npz), ("csv", &self.csv)];
        let wanted = || files.iter().filter_map(|(name, path)| Some((report::find(name)?, path.as_ref()?)));
        let needs_maps = self.json || wanted().any(|(format, _)| format.maps);
        let findings = if needs_maps { self.complete(findings, model)? } else { findings };
        let options = Options { scale: self.scale };
        for (format, path) in wanted() {
            files::save(path, &(format.bytes)(&findings, &options)?)?;
            // With --json, stdout belongs to the object.
            tell::complain(format_args!("wrote {}", path.display()));
        }
        if needs_maps {
            for missing in &findings.missing {
                tell::note(missing);
            }
        }
        if self.json {
            say_json!(run_json::export(&findings));
        }
        Ok(Done::Yes)
    }

    /// Computes what the recording lacks, when its model is there.
    fn complete(&self, mut findings: Findings, model: Result<PathBuf, String>) -> anyhow::Result<Findings> {
        if self.no_model {
            findings.without_model("it was not recorded, and the model was not to be used");
            return Ok(findings);
        }
        let path = match model {
            Ok(path) => path,
            Err(why) => {
                findings.without_model(&why);
                return Ok(findings);
            }
        };
        let mut session = recorded::open_model(&findings.meta, &findings.trace, &path, &self.model_args)?;
        let control = interruptible();
        let _bound = control.bind(session.network.interrupt());
        let bar = progress::bar(100, "% of the maps");
        findings.complete(&mut session.network, &mut |_, part| {
            bar.set_position((part * 100.0) as u64);
            control.checkpoint()
        })?;
        bar.finish_and_clear();
        Ok(findings)
    }
}

/// The findings of a run as it was recorded.
pub fn as_recorded(run: Run) -> anyhow::Result<Findings> {
    Ok(Findings::new(run.meta, Arc::clone(&run.trace), run.maps, None)?)
}
