//! `psescope sensitivity`: which units an attack moves over a folder of images, and whether those are the interpretable ones.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::{
        args::{AttackArgs, ModelArgs, Print, output_dir, parse_share},
        exit::Done,
        progress,
        session::{Session, interruptible},
    },
    core::{
        dissect::IOU_THRESHOLD,
        error::Error,
        explain::sensitivity::{Settings, analyse, associate, labelled, rotated_association},
        oracle::{LayerInfo, Oracle as _, Units as _},
    },
    engine::{
        concepts, files,
        study::{
            self, Response,
            journal::Journal,
            measure::{self, Measured, Plan},
            target_word,
        },
        triage::listing,
    },
    report::{
        json::params,
        sensitivity::{Layer, Study},
    },
};

/// Over a folder: which units an attack moves, and whether those are the interpretable ones.
#[derive(Debug, Args)]
pub struct SensitivityCommand {
    /// ONNX model.
    model: PathBuf,
    /// Folder of images, read recursively, or a list file.
    folder: PathBuf,
    #[command(flatten)]
    study: StudyArgs,
    #[command(flatten)]
    attack: AttackArgs,
    #[command(flatten)]
    print: Print,
    /// Write units.csv (a row per layer, response and unit), layers.csv and sensitivity.json into this folder; a study that was cut short continues there.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Strongest units shown per layer.
    #[arg(long, value_name = "N", default_value_t = 5, help_heading = "Output")]
    top: usize,
    /// Leave out the scatter plots.
    #[arg(long, help_heading = "Output")]
    no_plot: bool,
    #[command(flatten)]
    model_args: ModelArgs,
}

/// What is measured and how it is tested.
#[derive(Debug, Args)]
#[command(next_help_heading = "Study")]
struct StudyArgs {
    /// Layer to study; may be repeated. Without it, the last layer at every resolution.
    #[arg(long = "layer", value_name = "L")]
    layers: Vec<String>,
    /// Concepts of the units: a NetDissect result file, as LAYER=FILE when several layers are studied; may be repeated. Without it,
    /// dissections kept on this machine are used.
    #[arg(long = "labels-from", value_name = "[LAYER=]CSV")]
    labels_from: Vec<String>,
    /// Attacks on each image with different seeds, averaged before anything is tested. Says something only for attacks that use the seed.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    repeats: u16,
    /// Noise perturbations of the same norms per attack: the control.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    noises: u16,
    /// Use attacks that missed their goal as well.
    #[arg(long)]
    include_failed: bool,
    /// False discovery rate.
    #[arg(long, value_name = "Q", default_value_t = 0.05, value_parser = parse_share)]
    level: f64,
    /// IoU from which a unit counts as interpretable; .04 is a convention, .02 to .10 are always shown.
    #[arg(long, value_name = "X", default_value_t = IOU_THRESHOLD, value_parser = parse_share)]
    iou: f64,
    /// Random sign patterns and bootstrap resamples.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    draws: u32,
    /// Random rotations of the channels, with labels.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(0..=1000))]
    rotations: u16,
    /// Use only the first N images of the folder.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// Measured images, and unreadable ones with the reason.
type Gathered = (Vec<Measured>, Vec<(String, String)>);

/// What became of one image.
#[derive(serde::Serialize, serde::Deserialize)]
enum Entry {
    Measured(Measured),
    Unreadable(String, String),
}

impl SensitivityCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        self.attack.for_folder()?;
        let mut session = Session::open(&self.model, &self.model_args)?;
        let layers = choose(&session, &self.study.layers)?;
        let plan = Plan {
            request: self.attack.request(&session.subject.labels)?,
            layers: layers.iter().map(|l| l.name.clone()).collect(),
            repeats: self.study.repeats.into(),
            noises: self.study.noises.into(),
            include_failed: self.study.include_failed,
        };
        let about = self.about(&session, &plan)?;
        let (images, unreadable) = self.gather(&mut session, &plan, &about)?;
        let used = images.iter().filter(|m| m.counts()).count();
        if used < 2 {
            let text = format!(
                "{used} of {} attacked images reached the goal, and a study needs two; use a stronger attack, more images or --include-failed",
                images.len()
            );
            return Err(Error::Input(text).into());
        }
        let study = self.analyse(&session, layers, &images, &unreadable, about)?;
        if let Some(dir) = &self.out {
            for (name, text) in
                [("units.csv", study.units_csv()), ("layers.csv", study.layers_csv()), ("sensitivity.json", study.to_json().to_string())]
            {
                files::save(&dir.join(name), text.as_bytes())?;
            }
        }
        self.print.say(|| study.to_json(), || study.units_csv(), || study.to_text(self.top, !self.no_plot))?;
        Ok(Done::Yes)
    }

    /// Everything that decides the measurements: the head of the journal and of the report.
    fn about(&self, session: &Session, plan: &Plan) -> anyhow::Result<Value> {
        Ok(json!({
            "model": session.model, "model_sha256": session.subject.sha256, "folder": self.folder.display().to_string(),
            "provider": session.provider, "preprocessing": session.subject.preprocess.describe(),
            "attack": plan.request.attack, "params": params(&plan.request.checked()?.1), "target": target_word(&plan.request),
            "seed": plan.request.seed, "repeats": plan.repeats, "noises": plan.noises, "include_failed": plan.include_failed,
            "layer_names": plan.layers,
        }))
    }

    /// Measures every image, those of an earlier try left out.
    fn gather(&self, session: &mut Session, plan: &Plan, about: &Value) -> anyhow::Result<Gathered> {
        let mut paths = listing::of_path(&self.folder)?;
        paths.truncate(self.study.limit.unwrap_or(usize::MAX));
        let (mut journal, mut done) = match &self.out {
            Some(dir) => {
                output_dir(dir)?;
                let (journal, done) = Journal::open::<Entry>(&dir.join("journal.jsonl"), about)?;
                (Some(journal), done)
            }
            None => (None, Vec::new()),
        };
        let control = interruptible();
        let _bound = control.bind(session.network.interrupt());
        let bar = progress::bar(paths.len(), "images");
        let (mut images, mut unreadable) = (Vec::new(), Vec::new());
        for path in paths.iter().map(|item| &item.path) {
            let name = study::name(&self.folder, path);
            bar.set_message(name.clone());
            let known = |e: &Entry| matches!(e, Entry::Measured(m) if m.name == name) || matches!(e, Entry::Unreadable(n, _) if *n == name);
            let entry = match done.iter().position(known) {
                Some(at) => done.swap_remove(at),
                None => {
                    let entry = match measure::measure(&mut session.network, &session.subject, path, &name, plan, &control) {
                        Ok(measured) => Entry::Measured(measured),
                        Err(Error::Input(why)) => Entry::Unreadable(name, why),
                        Err(error) => return Err(error.into()),
                    };
                    journal.as_mut().map(|j| j.add(&entry)).transpose()?;
                    entry
                }
            };
            match entry {
                Entry::Measured(measured) => images.push(measured),
                Entry::Unreadable(name, why) => unreadable.push((name, why)),
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok((images, unreadable))
    }

    fn analyse<'a>(
        &self,
        session: &Session,
        layers: Vec<LayerInfo>,
        images: &'a [Measured],
        unreadable: &'a [(String, String)],
        about: Value,
    ) -> anyhow::Result<Study<'a>> {
        let s = &self.study;
        let settings =
            Settings { level: s.level, draws: s.draws as usize, rotations: s.rotations.into(), iou: s.iou, seed: self.attack.seed };
        let mut out = Vec::new();
        let bar = progress::bar(layers.len() * 2, "tests");
        for (index, info) in layers.iter().enumerate() {
            let labels = self.labels(session, &layers, info)?;
            let concepts = labels.as_ref().map(|l| labelled(l, info.units)).unwrap_or_default();
            for response in Response::ALL {
                let sample = measure::sample(images, index, response);
                let result = analyse(&sample, &settings);
                let association = labels.as_ref().and_then(|_| associate(&result, &concepts, &settings));
                let rotation = match (response, &association) {
                    (Response::Mean, Some(_)) => rotated_association(&sample, &concepts, settings.rotations, settings.seed),
                    _ => None,
                };
                let origin = labels.as_ref().map(|l| l.origin().to_owned());
                out.push(Layer { info: info.clone(), response, result, concepts: concepts.clone(), origin, association, rotation });
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        Ok(Study { about, images, unreadable, settings, layers: out })
    }

    fn labels(
        &self,
        session: &Session,
        layers: &[LayerInfo],
        layer: &LayerInfo,
    ) -> anyhow::Result<Option<crate::core::dissect::ConceptLabels>> {
        for given in &self.study.labels_from {
            let (name, file) = match given.split_once('=') {
                Some((name, file)) => (Some(name), file),
                None => (None, given.as_str()),
            };
            match name {
                Some(name) if layers.iter().all(|l| l.name != name) => {
                    return Err(Error::Parameter(format!(
                        "--labels-from names the layer '{name}', which is not studied; add --layer '{name}'"
                    ))
                    .into());
                }
                Some(name) if name != layer.name => {}
                None if layers.len() > 1 => {
                    let text = format!("several layers are studied; write --labels-from LAYER={file}, or choose one with --layer");
                    return Err(Error::Parameter(text).into());
                }
                _ => return Ok(Some(concepts::concepts_from(Path::new(file), layer)?)),
            }
        }
        Ok(if self.study.labels_from.is_empty() { concepts::concepts_for(&session.subject.sha256, &layer.name) } else { None })
    }
}

/// The layers asked for, or the usual ones.
pub fn choose(session: &Session, names: &[String]) -> anyhow::Result<Vec<LayerInfo>> {
    let known = session.network.unit_layers();
    if names.is_empty() {
        return Ok(measure::usual_layers(&known, session.network.classes()));
    }
    let find = |name: &String| {
        let some = || known.iter().rev().take(6).map(|l| l.name.as_str()).collect::<Vec<_>>().join(", ");
        let missing = || {
            Error::Parameter(format!("there is no layer '{name}' with units; the last ones are {}; `psescope inspect` lists them", some()))
        };
        Ok(known.iter().find(|l| l.name == *name).cloned().ok_or_else(missing)?)
    };
    names.iter().map(find).collect()
}
