//! `psescope [MODEL [IMAGE]]`: the inspector.

use std::path::PathBuf;

use clap::Args;

use crate::{
    cli::{
        args::ModelArgs,
        config::{self, Config},
        exit::Done,
    },
    engine::{command::AttackRequest, sample, triage::listing, worker},
    tui::{self, theme::Depth},
};

/// The terminal inspector.
#[derive(Debug, Args)]
pub struct Inspector {
    /// ONNX model; the bundled SqueezeNet without it.
    model: Option<PathBuf>,
    /// Image, or a folder of images for the triage screen; the bundled panda without it.
    image: Option<PathBuf>,
    /// Colours: never, 16, 256, true; found out from the environment without it.
    #[arg(long, value_name = "DEPTH", value_parser = Depth::parse, help_heading = "Terminal")]
    color: Option<Depth>,
    /// Only ASCII characters.
    #[arg(long, help_heading = "Terminal")]
    ascii: bool,
    /// Colours of the interface: terminal, dark, light, high-contrast.
    #[arg(long, value_name = "NAME", default_value = "terminal", help_heading = "Terminal")]
    theme: String,
    /// Listen to the mouse (text can then only be selected with Shift).
    #[arg(long, help_heading = "Terminal")]
    mouse: bool,
    #[command(flatten)]
    model_args: ModelArgs,
}

impl Inspector {
    /// Opens the inspector; `verbose` is for its log file.
    pub fn run(self, verbose: u8) -> anyhow::Result<Done> {
        let model = self.model.unwrap_or_else(|| sample::MODEL.into());
        let given = self.image.unwrap_or_else(|| sample::IMAGE.into());
        let folder = given.is_dir().then(|| given.clone());
        let image = match &folder {
            Some(folder) => listing::of_path(folder)?.swap_remove(0).path,
            None => given,
        };
        let config = config::current();
        let options = tui::Options {
            color: self.color,
            configured_color: config.color(),
            ascii: self.ascii,
            theme: self.theme,
            mouse: self.mouse,
            folder,
            keys: config.keys(),
            attack: first_attack(config),
            verbosity: verbose,
            ..tui::Options::new(model, image)
        };
        let engine = worker::spawn(worker::Options { runtime: self.model_args.runtime(), subject: self.model_args.subject() });
        tui::run(engine, options)?;
        Ok(Done::Yes)
    }
}

/// The attack that is offered first: the configured one, else the interface's own choice.
fn first_attack(config: &Config) -> AttackRequest {
    let mut request = tui::default_attack();
    if let Some(name) = config.attack().filter(|name| *name != request.attack) {
        request = AttackRequest { attack: name.to_owned(), params: Vec::new(), ..request };
    }
    for (name, text) in config.params(&request.attack) {
        request.params.retain(|(n, _)| *n != name);
        request.params.push((name, text));
    }
    AttackRequest { seed: config.seed().unwrap_or(request.seed), ..request }
}
