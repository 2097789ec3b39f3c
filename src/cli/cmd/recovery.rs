//! `psescope recovery`: how many attacked images of a folder masking brings back, and what it costs on clean ones.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::sensitivity::choose;
use crate::{
    cli::{
        args::{AttackArgs, ModelArgs, Print, output_dir},
        exit::Done,
        progress,
        session::{Session, interruptible},
    },
    core::{error::Error, oracle::Layers as _},
    engine::{
        files,
        study::{
            self,
            recovery::{self, Plan, Ranking},
            target_word,
        },
        triage::listing,
    },
    report::{json::params, recovery::Curve},
};

/// Over a folder: how many attacked images come back to their class when the most sensitive units are masked, and at what cost.
#[derive(Debug, Args)]
pub struct RecoveryCommand {
    /// ONNX model.
    model: PathBuf,
    /// Folder of images, read recursively, or a list file.
    folder: PathBuf,
    /// Layer whose units are masked. Without it, the last spatial one that does not hold the classes themselves.
    #[arg(long, value_name = "L", help_heading = "Masking")]
    layer: Option<String>,
    /// Numbers of units to mask.
    #[arg(long, value_name = "K,K,…", value_delimiter = ',', default_value = "0,1,2,5,10,20,50", help_heading = "Masking")]
    top: Vec<usize>,
    /// Random masks of every size: the control. 100 or more for a p-value worth reading.
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = "Masking", value_parser = clap::value_parser!(u16).range(0..=10_000))]
    draws: u16,
    /// From which images the sensitive units are found: others (never the image the mask is tried on) or all (optimistic).
    #[arg(long, value_enum, default_value_t = RankingArg::Others, help_heading = "Masking")]
    ranking: RankingArg,
    /// Run the attack again on every masked network; a defence that was not attacked itself proves nothing.
    #[arg(long, help_heading = "Masking")]
    adaptive: bool,
    /// Use only the first N images of the folder.
    #[arg(long, value_name = "N", help_heading = "Masking")]
    limit: Option<usize>,
    #[command(flatten)]
    attack: AttackArgs,
    #[command(flatten)]
    print: Print,
    /// Write recovery.csv (a row per number of units) and recovery.json into this folder.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: Option<PathBuf>,
    #[command(flatten)]
    model_args: ModelArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RankingArg {
    Others,
    All,
}

impl RecoveryCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        self.attack.for_folder()?;
        let mut session = Session::open(&self.model, &self.model_args)?;
        let plan = self.plan(&session)?;
        if let Some(dir) = &self.out {
            output_dir(dir)?;
        }
        let curve = self.measure(&mut session, &plan)?;
        if let Some(dir) = &self.out {
            files::save(&dir.join("recovery.csv"), curve.to_csv().as_bytes())?;
            files::save(&dir.join("recovery.json"), curve.to_json().to_string().as_bytes())?;
        }
        self.print.say(|| curve.to_json(), || curve.to_csv(), || curve.to_text())?;
        Ok(Done::Yes)
    }

    fn plan(&self, session: &Session) -> anyhow::Result<Plan> {
        let named: Vec<String> = self.layer.iter().cloned().collect();
        let layer = choose(session, &named)?.pop().ok_or_else(|| {
            let some = session.network.spatial_layers().into_iter().map(|l| l.name).collect::<Vec<_>>().join(", ");
            Error::Parameter(format!("no layer was chosen; say --layer with one of {some}"))
        })?;
        let mut top = self.top.clone();
        top.sort_unstable();
        top.dedup();
        if let Some(k) = top.iter().find(|k| **k > layer.units) {
            return Err(Error::Parameter(format!("--top {k} asks for more units than layer '{}' has ({})", layer.name, layer.units)).into());
        }
        let ranking = match self.ranking {
            RankingArg::Others => Ranking::Others,
            RankingArg::All => Ranking::All,
        };
        let request = self.attack.request(&session.subject.labels)?;
        request.checked()?;
        Ok(Plan { request, layer: layer.name, top, draws: self.draws.into(), ranking, adaptive: self.adaptive })
    }

    fn measure(&self, session: &mut Session, plan: &Plan) -> anyhow::Result<Curve> {
        let mut paths = listing::of_path(&self.folder)?;
        paths.truncate(self.limit.unwrap_or(usize::MAX));
        let control = interruptible();
        let _bound = control.bind(session.network.interrupt());
        let bar = progress::bar(paths.len(), "images attacked");
        let (mut images, mut left_out) = (Vec::new(), (0, 0));
        for path in paths.iter().map(|item| &item.path) {
            let name = study::name(&self.folder, path);
            match recovery::attack(&mut session.network, &session.subject, path, &name, plan, &control) {
                Ok(Some(image)) => images.push(image),
                Ok(None) => left_out.0 += 1,
                Err(Error::Input(_)) => left_out.1 += 1,
                Err(error) => return Err(error.into()),
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        if images.len() < 3 {
            let text = format!(
                "{} of {} attacks reached their goal, and a curve needs three; use a stronger attack or more images",
                images.len(),
                paths.len()
            );
            return Err(Error::Input(text).into());
        }
        let bar = progress::bar(images.len(), "images masked");
        let points = recovery::curve(&mut session.network, &images, plan, &control, &mut || bar.inc(1))?;
        bar.finish_and_clear();
        let about = json!({
            "model": session.model, "model_sha256": session.subject.sha256, "folder": self.folder.display().to_string(),
            "provider": session.provider, "preprocessing": session.subject.preprocess.describe(),
            "attack": plan.request.attack, "params": params(&plan.request.checked()?.1), "target": target_word(&plan.request),
            "seed": plan.request.seed, "layer": plan.layer, "ranking": plan.ranking.name(), "replacement": "zero",
        });
        Ok(Curve { about, images: images.len(), left_out, points })
    }
}
