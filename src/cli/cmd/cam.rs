//! `psescope cam`: where the evidence for a class lies.

use std::path::PathBuf;

use clap::Args;

use super::show::print_picture;
use crate::{
    cli::{args::ModelArgs, exit::Done, session::Session},
    core::{
        attack::scalars,
        explain::cam::{self, METHODS, Method},
        oracle::Layers as _,
    },
    report::{json, npy, picture},
};

/// Class activation map.
#[derive(Debug, Args)]
pub struct CamCommand {
    /// ONNX model.
    model: PathBuf,
    /// Image file, or a .npy array [C,H,W] with values 0..1.
    image: PathBuf,
    /// Method; cam where the network ends in global average pooling and a linear layer, else gradcam.
    #[arg(long, value_name = "M", value_parser = clap::builder::PossibleValuesParser::new(METHODS.iter().map(|m| m.name)))]
    method: Option<String>,
    /// Layer (tensor name, see `psescope inspect`); the last spatial one without it.
    #[arg(long, value_name = "TENSOR")]
    layer: Option<String>,
    /// Class: index or name; the prediction without it.
    #[arg(long, value_name = "C")]
    class: Option<String>,
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

impl CamCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        let mut session = Session::open(&self.model, &self.model_args)?;
        let (image, logits) = session.predict(&self.image)?;
        let class = match &self.class {
            Some(text) => session.subject.labels.find(text)?,
            None => scalars::predicted(logits.view()),
        };
        let method = match self.method.as_deref().map(Method::from_name).transpose()? {
            Some(method) => method,
            None if session.network.linear_head().is_some() => Method::Cam,
            None => Method::GradCam,
        };
        let map = cam::compute(&mut session.network, image.view(), method, self.layer.as_deref(), class)?;
        let overlay = || picture::cam_overlay(image.view(), map.raw.view(), 0.5);
        if let Some(path) = &self.npy {
            npy::write(path, &map.defined())?;
        }
        if let Some(path) = &self.png {
            picture::save(path, &overlay())?;
        }
        let path = self.image.display().to_string();
        if self.json {
            say!("{}", json::cam(&map, &session.context(&path)));
        } else {
            let (low, high) = map.raw.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &v| (a.min(v), b.max(v)));
            let (h, w) = map.raw.dim();
            say!(
                "{} of '{}' at {} ({h} x {w}), raw {low:.4} to {high:.4}",
                map.method.info().name,
                session.subject.labels.name(class),
                map.layer
            );
        }
        if self.show {
            print_picture(&overlay())?;
        }
        Ok(Done::Yes)
    }
}
