//! `psescope dissect`: which concepts the units of a layer agree with.

use std::{path::PathBuf, time::Instant};

use anyhow::Context as _;
use clap::{Args, builder::PossibleValuesParser};
use serde_json::{Value, json};

use crate::{
    cli::{
        args::{ModelArgs, output_dir, parse_share},
        exit::Done,
        progress,
        session::{Session, interruptible},
    },
    core::{
        dissect::{IOU_THRESHOLD, QUANTILE, labels::display_name, tally::Rule},
        error::Error,
        oracle::{LayerInfo, Layers as _},
    },
    engine::dissect::{Data, Dissected, Plan, Stage, made, run, run::file_stem},
    report::dissection,
};

/// Which concepts the units of a layer agree with.
#[derive(Debug, Args)]
pub struct DissectCommand {
    /// ONNX model.
    #[arg(required_unless_present = "make_data")]
    model: Option<PathBuf>,
    /// Concept data in the layout of Broden.
    #[arg(long, value_name = "BRODEN_DIR", required_unless_present = "make_data")]
    data: Option<PathBuf>,
    /// Layers (tensor names, see `psescope inspect`); the last spatial one without it.
    #[arg(long, value_name = "L", num_args = 1..)]
    layer: Vec<String>,
    /// Share of a unit's values above its threshold.
    #[arg(long, default_value_t = QUANTILE, value_name = "Q", value_parser = parse_share)]
    quantile: f64,
    /// IoU from which a unit counts as interpretable.
    #[arg(long, default_value_t = IOU_THRESHOLD, value_name = "IOU", value_parser = parse_share)]
    iou: f64,
    /// Folder for results; a run that was interrupted goes on there.
    #[arg(long, value_name = "DIR", required_unless_present = "make_data")]
    out: Option<PathBuf>,
    /// Images that count in a union: those with the label's category (original), those where the mask meets it (lite), or all-images.
    #[arg(long, default_value = "original", value_name = "RULE", value_parser = PossibleValuesParser::new(Rule::NAMES.map(|(n, _)| n)))]
    rule: String,
    /// How maps are enlarged: by receptive fields where they can be computed, or plain like a picture.
    #[arg(long, default_value = "field", value_name = "HOW", value_parser = ["field", "plain"])]
    upsampling: String,
    /// Count label 0 of whole images, as published results do.
    #[arg(long)]
    compat_label0: bool,
    /// Images per run of the network; 0 chooses.
    #[arg(long, default_value_t = 0, value_name = "N")]
    batch: usize,
    /// Only the first images of the index.
    #[arg(long, value_name = "N")]
    limit: Option<std::num::NonZeroUsize>,
    /// Best images shown per unit in the HTML page.
    #[arg(long, default_value_t = 6, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=50))]
    tops: u8,
    /// Write no HTML pages.
    #[arg(long)]
    no_html: bool,
    /// Keep the raw activations (float32 images x units x h x w).
    #[arg(long)]
    keep_activations: bool,
    /// Begin anew whatever is in the folder.
    #[arg(long)]
    force: bool,
    /// Print one JSON object.
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Write a small concept data set of our own into this folder instead (colours, textures, cut-outs on textures).
    #[arg(long, value_name = "DIR", help_heading = "Making data", conflicts_with_all = ["model", "data", "layer", "out"])]
    make_data: Option<PathBuf>,
    /// Seed of the made data.
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = "Making data", requires = "make_data")]
    seed: u64,
    /// Side of the made pictures in pixels; label pictures have half of it.
    #[arg(long, default_value_t = 227, value_name = "PX", help_heading = "Making data", requires = "make_data", value_parser = clap::value_parser!(u32).range(64..=1024))]
    side: u32,
    #[command(flatten)]
    model_args: ModelArgs,
}

impl DissectCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        match (&self.make_data, &self.model, &self.data, &self.out) {
            (Some(folder), ..) => self.make(folder),
            (None, Some(model), Some(data), Some(out)) => self.dissect(model, data, out),
            _ => Err(Error::Parameter("give a model, --data and --out, or --make-data".into()).into()),
        }
    }

    fn make(&self, folder: &std::path::Path) -> anyhow::Result<Done> {
        output_dir(folder)?;
        let bar = progress::bar(made::count(), "images");
        let summary = made::write(folder, self.seed, self.side as usize, &mut |n| bar.set_position(n as u64))?;
        bar.finish_and_clear();
        if self.json {
            let categories: Value = summary.categories.iter().map(|(name, labels)| (name.clone(), json!(labels))).collect();
            say_json!(
                json!({"schema": "psescope.concept-data/1", "version": env!("CARGO_PKG_VERSION"), "folder": folder, "seed": self.seed,
                       "images": summary.images, "labels": summary.labels, "categories": categories})
            );
        } else {
            let categories: Vec<String> = summary.categories.iter().map(|(name, n)| format!("{n} {name}")).collect();
            say!("{} images with {} labels ({}) in {}", summary.images, summary.labels, categories.join(", "), folder.display());
        }
        Ok(Done::Yes)
    }

    fn dissect(&self, model: &std::path::Path, data: &std::path::Path, out: &std::path::Path) -> anyhow::Result<Done> {
        let started = Instant::now();
        let data = Data::open(data)?;
        let mut session = Session::open(model, &self.model_args)?;
        let layers = choose(&session.network.spatial_layers(), &self.layer)?;
        let plan = Plan {
            layers,
            quantile: self.quantile,
            rule: Rule::NAMES.iter().find(|(n, _)| *n == self.rule).map_or(Rule::Original, |(_, r)| *r),
            by_field: self.upsampling == "field",
            compat_label0: self.compat_label0,
            limit: self.limit.map(std::num::NonZeroUsize::get),
            batch: self.batch,
            out: out.to_owned(),
            tops: usize::from(self.tops),
            keep_activations: self.keep_activations,
            keep_results: true,
            force: self.force,
        };
        let images = plan.limit.unwrap_or(usize::MAX).min(data.broden.images.len());
        let control = interruptible();
        let bound = control.bind(session.network.interrupt());
        let bar = progress::bar(images, "images");
        let mut counting = String::new();
        let result = run(&session.subject, &mut session.network, &data, &plan, &control, &mut |stage| match stage {
            Stage::Probe(done, before) => {
                if bar.position() == 0 && before > 0 {
                    bar.set_position(before as u64);
                    bar.reset_eta();
                }
                bar.set_position(done as u64);
            }
            Stage::Count(layer, done) => {
                if counting != layer {
                    layer.clone_into(&mut counting);
                    bar.reset();
                    bar.set_message(format!("counting {layer}"));
                }
                bar.set_position(done as u64);
            }
        });
        bar.finish_and_clear();
        drop(bound);
        let done = result.map_err(|e| match e {
            Error::Stopped => anyhow::Error::from(e).context("the same command goes on where this one stopped"),
            other => other.into(),
        })?;
        let pages = if self.no_html { Vec::new() } else { self.pages(&mut session, &data, &plan, &done)? };
        if self.json {
            say_json!(self.summary(&session, &data, images, &done, &pages, started.elapsed().as_secs_f64()));
        } else {
            self.print(&data, images, &done)?;
        }
        Ok(Done::Yes)
    }

    /// One HTML page per layer.
    fn pages(&self, session: &mut Session, data: &Data, plan: &Plan, done: &[Dissected]) -> anyhow::Result<Vec<PathBuf>> {
        let mut pages = Vec::new();
        for layer in done {
            let path = plan.out.join(format!("{}.html", file_stem(&layer.layer.name)));
            let about = dissection::About { model: &session.model, iou: self.iou, plan };
            dissection::write(&path, &session.subject, &mut session.network, data, layer, &about)
                .with_context(|| format!("page of {}", layer.layer.name))?;
            pages.push(path);
        }
        Ok(pages)
    }

    fn summary(&self, session: &Session, data: &Data, images: usize, done: &[Dissected], pages: &[PathBuf], seconds: f64) -> Value {
        let layers: Vec<Value> = done
            .iter()
            .enumerate()
            .map(|(i, d)| {
                let (units, labels) = d.table.interpretable(self.iou);
                let categories: Value =
                    d.table.categories.iter().map(|c| (c.clone(), json!(dissection::units_of(&d.table, c, self.iou)))).collect();
                json!({"name": d.layer.name, "op": d.layer.op, "units": d.layer.units, "spatial": d.layer.spatial,
                       "interpretable": units, "labels": labels, "by_category": categories,
                       "upsampling": d.details.upsampling, "thresholds_exact": d.details.rank_error == 0.0,
                       "threshold_rank_error": d.details.rank_error, "cached": d.cached, "result": d.csv, "html": pages.get(i)})
            })
            .collect();
        json!({"schema": "psescope.dissect/1", "version": env!("CARGO_PKG_VERSION"), "model": session.model,
               "model_sha256": session.subject.sha256, "device": session.device, "provider": session.provider,
               "data": {"folder": data.root, "origin": data.origin, "images": images, "key": data.key},
               "quantile": self.quantile, "iou": self.iou, "rule": self.rule, "compat_label0": self.compat_label0,
               "layers": layers, "seconds": seconds})
    }

    fn print(&self, data: &Data, images: usize, done: &[Dissected]) -> anyhow::Result<()> {
        say!("{images} images of {}, rule {}, quantile {}", data.origin, self.rule, self.quantile);
        for d in done {
            let (units, labels) = d.table.interpretable(self.iou);
            let note = if d.cached { " (computed before)" } else { "" };
            say!("{}: {units} of {} units cover {labels} concepts with IoU >= {}{note}", d.layer.name, d.layer.units, self.iou);
            if d.details.rank_error > 0.0 {
                say!("  thresholds are estimates: their rank has a standard error of {:.1e}", d.details.rank_error);
            }
            for row in d.table.rows.iter().filter(|r| !r.label.is_empty()).take(8) {
                say!("  unit {:>4}  {:<20} {:<9} IoU {:.4}", row.unit - 1, display_name(&row.label), row.category, row.score);
            }
            say!("  {}", d.csv.display());
        }
        Ok(())
    }
}

/// The layers of these names; the last one without names.
fn choose(all: &[LayerInfo], names: &[String]) -> anyhow::Result<Vec<LayerInfo>> {
    let Some(last) = all.last() else {
        return Err(Error::Model("the model has no layer with height and width, so nothing can be dissected".into()).into());
    };
    if names.is_empty() {
        return Ok(vec![last.clone()]);
    }
    let mut chosen: Vec<LayerInfo> = Vec::new();
    for name in names {
        let layer = all.iter().find(|l| l.name == *name).ok_or_else(|| {
            Error::Parameter(format!("there is no spatial layer '{name}'; `psescope inspect` lists them, the last is '{}'", last.name))
        })?;
        if !chosen.contains(layer) {
            chosen.push(layer.clone());
        }
    }
    Ok(chosen)
}
