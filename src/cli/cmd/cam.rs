//! `psescope cam`: where the evidence for a class lies, whether that can be believed, and whether a perturbation lies there.

use std::{path::PathBuf, sync::Arc};

use clap::{Args, ValueEnum};
use ndarray::{Array2, Array3};

use super::show::print_picture;
use crate::{
    cli::{
        args::ModelArgs,
        case::{self, Case},
        exit::Done,
        progress,
        session::{Session, interruptible},
    },
    core::{
        error::Error,
        explain::{
            cam::{self, CamMap, METHODS, Method},
            faithfulness::{self, Faithfulness},
            interpretability::{self, Interpretability},
            upsample::bilinear,
        },
        oracle::{Layers as _, Oracle as _},
        scalars,
    },
    report::{explain, json, npy, picture},
};

/// Class activation map.
#[derive(Debug, Args)]
pub struct CamCommand {
    /// ONNX model, or a run written by `psescope attack --out`.
    #[arg(value_name = "MODEL | RUN.pse")]
    model: PathBuf,
    /// Image file, or a .npy array [C,H,W] with values 0..1; not with a run.
    image: Option<PathBuf>,
    /// Method; cam where the network ends in global average pooling and a linear layer, else gradcam.
    #[arg(long, value_name = "M", value_parser = clap::builder::PossibleValuesParser::new(METHODS.iter().map(|m| clap::builder::PossibleValue::new(m.name).help(m.summary))))]
    method: Option<String>,
    /// Layer (tensor name, see `psescope inspect`); the last spatial one without it.
    #[arg(long, value_name = "TENSOR")]
    layer: Option<String>,
    /// Class: index or name; the clean prediction without it.
    #[arg(long, value_name = "C")]
    class: Option<String>,
    /// Stored adversarial image (float32 [C,H,W] or [1,C,H,W], pixel space) that --is, --difference and --on adv look at.
    #[arg(long, value_name = "FILE.npy")]
    adv: Option<PathBuf>,
    /// Step of a recorded run that --is, --difference and --on adv look at; its result without it.
    #[arg(long, value_name = "N", conflicts_with_all = ["adv", "image"])]
    step: Option<usize>,
    /// Image the map is taken on.
    #[arg(long, value_enum, default_value_t = On::Clean)]
    on: On,
    /// Interpretability score of the perturbation over the threshold, with its area baseline and lift.
    #[arg(long)]
    is: bool,
    /// Difference C(x',c) - C(x0,c): where the evidence for the class grew and shrank. --npy and --png write it instead of the map.
    #[arg(long)]
    difference: bool,
    /// Deletion, insertion and ROAD curves of the map (about 190 forward runs).
    #[arg(long)]
    faithfulness: bool,
    /// Print one JSON object with the raw map.
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Write the raw map as .npy.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    npy: Option<PathBuf>,
    /// Write the map over the image as PNG.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    png: Option<PathBuf>,
    /// Print the map over the image in the terminal.
    #[arg(long, help_heading = "Output")]
    show: bool,
    #[command(flatten)]
    model_args: ModelArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum On {
    /// The clean image.
    Clean,
    /// The adversarial image.
    Adv,
}

/// Quantile levels of the curve of interpretability scores.
const LEVELS: usize = 20;

/// The images a map is taken on.
struct Pictures {
    session: Session,
    name: String,
    clean: Arc<Array3<f32>>,
    adversarial: Option<Array3<f32>>,
    /// Clean prediction, or the true class of a run.
    label: usize,
}

/// Everything one command found out.
struct Found {
    map: CamMap,
    difference: Option<Array2<f32>>,
    scores: Option<Vec<(f32, Option<Interpretability>)>>,
    faithfulness: Option<Faithfulness>,
}

impl CamCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        let mut pictures = self.open()?;
        let found = self.explain(&mut pictures)?;
        let image = match (self.on, &pictures.adversarial) {
            (On::Adv, Some(adversarial)) => adversarial.view(),
            _ => pictures.clean.view(),
        };
        let overlay = || match &found.difference {
            Some(difference) => picture::difference_overlay(image, difference.view(), 0.75),
            None => picture::cam_overlay(image, found.map.raw.view(), 0.5),
        };
        if let Some(path) = &self.npy {
            match &found.difference {
                Some(difference) => npy::write(path, difference)?,
                None => npy::write(path, &found.map.defined())?,
            }
        }
        if let Some(path) = &self.png {
            picture::save(path, &overlay())?;
        }
        if self.json {
            say_json!(self.to_json(&found, &pictures));
        } else {
            self.print(&found, &pictures)?;
        }
        if self.show {
            print_picture(&overlay())?;
        }
        Ok(Done::Yes)
    }

    fn open(&self) -> anyhow::Result<Pictures> {
        let Some(image) = &self.image else {
            if self.adv.is_some() {
                return Err(Error::Parameter("--adv needs a model and the clean image before it".into()).into());
            }
            let mut case = case::of_run(&self.model, None, &self.model_args)?;
            case.at_step(self.step)?;
            let Case { session, image, clean, adversarial, label, .. } = case;
            return Ok(Pictures { session, name: image, clean, adversarial: Some(adversarial), label });
        };
        let mut session = Session::open(&self.model, &self.model_args)?;
        let (clean, logits) = session.predict(image)?;
        let adversarial = self.adv.as_ref().map(|path| case::stored(path, session.network.image_shape())).transpose()?;
        let label = scalars::predicted(logits.view());
        Ok(Pictures { session, name: image.display().to_string(), clean, adversarial, label })
    }

    fn explain(&self, pictures: &mut Pictures) -> anyhow::Result<Found> {
        let needed =
            if self.on == On::Adv { Some("--on adv") } else { self.is.then_some("--is").or(self.difference.then_some("--difference")) };
        if let Some(flag) = needed.filter(|_| pictures.adversarial.is_none()) {
            let text = format!("{flag} needs an adversarial image; give a RUN.pse instead of the model, or --adv FILE.npy");
            return Err(Error::Parameter(text).into());
        }
        let class = match &self.class {
            Some(text) => pictures.session.subject.labels.find(text)?,
            None => pictures.label,
        };
        let network = &mut pictures.session.network;
        let method = match self.method.as_deref().map(Method::from_name).transpose()? {
            Some(method) => method,
            None if network.linear_head().is_some() => Method::Cam,
            None => Method::GradCam,
        };
        let control = interruptible();
        let _bound = control.bind(network.interrupt());
        let mut map_of = |image: &Array3<f32>, what: &'static str| {
            let bar = progress::bar(0, what);
            let map = cam::compute_with(network, image.view(), method, self.layer.as_deref(), class, &mut |done, all| {
                bar.set_length(all as u64);
                bar.set_position(done as u64);
                control.checkpoint()
            });
            bar.finish_and_clear();
            map
        };
        let wanted = |on: On| self.on == on || self.difference;
        let clean = wanted(On::Clean).then(|| map_of(&pictures.clean, "channels")).transpose()?;
        let adversarial = pictures.adversarial.as_ref().filter(|_| wanted(On::Adv));
        let adversarial = adversarial.map(|x| map_of(x, "channels")).transpose()?;
        let difference = match (&clean, &adversarial) {
            (Some(c), Some(a)) if self.difference => Some(cam::difference(c, a)?),
            _ => None,
        };
        let (map, image) = match (self.on, adversarial, clean, &pictures.adversarial) {
            (On::Adv, Some(map), _, Some(image)) => (map, image),
            (_, _, Some(map), _) => (map, &*pictures.clean),
            _ => return Err(Error::Input("there is no image to map".into()).into()),
        };
        let scores = match &pictures.adversarial {
            Some(adversarial) if self.is => {
                let (_, h, w) = pictures.clean.dim();
                let large = bilinear(map.defined().view(), [h, w]);
                let levels: Vec<f32> = (0..LEVELS).map(|i| i as f32 / LEVELS as f32).collect();
                let percentiles: Vec<f32> = levels.iter().map(|l| l * 100.0).collect();
                let curve = interpretability::curve(large.view(), (adversarial - &*pictures.clean).view(), &percentiles)?;
                Some(levels.into_iter().zip(curve).collect())
            }
            _ => None,
        };
        let faithfulness = if self.faithfulness {
            let bar = progress::bar(0, "images");
            let result = faithfulness::evaluate(network, image.view(), map.defined().view(), class, 0, &mut |done, all| {
                bar.set_length(all as u64);
                bar.set_position(done as u64);
                control.checkpoint()
            })?;
            bar.finish_and_clear();
            Some(result)
        } else {
            None
        };
        Ok(Found { map, difference, scores, faithfulness })
    }

    fn to_json(&self, found: &Found, pictures: &Pictures) -> serde_json::Value {
        let mut out = json::cam(&found.map, &pictures.session.context(&pictures.name));
        out["on"] = if self.on == On::Adv { "adversarial" } else { "clean" }.into();
        out["upsampling"] = "bilinear, half-pixel centres, clamped".into();
        if let Some(difference) = &found.difference {
            out["difference"] = difference.iter().copied().collect::<Vec<f32>>().into();
        }
        if let Some(scores) = &found.scores {
            let point = |(level, score): &(f32, Option<Interpretability>)| {
                let mut out = score.as_ref().map_or_else(|| serde_json::json!({"score": null}), explain::score);
                out["level"] = (*level).into();
                out
            };
            out["is"] = scores.iter().map(point).collect();
        }
        if let Some(f) = &found.faithfulness {
            out["faithfulness"] = explain::faithfulness(f);
        }
        out
    }

    fn print(&self, found: &Found, pictures: &Pictures) -> anyhow::Result<()> {
        let map = &found.map;
        let range = |map: &Array2<f32>| map.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &v| (a.min(v), b.max(v)));
        let ((low, high), (h, w)) = (range(&map.raw), map.raw.dim());
        say!(
            "{} of '{}' at {} ({h} x {w}), raw {low:.4} to {high:.4}",
            map.method.info().name,
            pictures.session.subject.labels.name(map.class),
            map.layer
        );
        if let Some(difference) = &found.difference {
            let (low, high) = range(difference);
            let mean = difference.mean().unwrap_or(0.0);
            say!("C(x',c) - C(x0,c): {low:+.4} to {high:+.4}, mean {mean:+.4}");
        }
        if let Some(scores) = &found.scores {
            say!("{}", explain::scores_text(scores).trim_end());
        }
        if let Some(f) = &found.faithfulness {
            say!("{}", explain::faithfulness_text(f).trim_end());
        }
        Ok(())
    }
}
