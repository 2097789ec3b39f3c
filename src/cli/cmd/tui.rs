//! `psescope [MODEL [IMAGE]]`: the inspector.

use std::{path::PathBuf, sync::Arc};

use clap::Args;

use crate::{
    cli::{
        args::{ModelArgs, parse_keep},
        config::{self, Config},
        exit::Done,
    },
    core::error::Error,
    engine::{command::AttackRequest, recorded::Recorded, sample, triage::listing, worker},
    tui::{self, graphics::Wish, theme::Depth},
};

/// The terminal inspector.
#[derive(Debug, Args)]
pub struct Inspector {
    /// ONNX model, or a recorded run; the bundled SqueezeNet without it.
    model: Option<PathBuf>,
    /// Image, or a folder of images for the triage screen; the bundled panda without it.
    image: Option<PathBuf>,
    /// Folder of images: screen 5 gives changes of units over each unit's standard deviation there.
    #[arg(long, value_name = "DIR")]
    reference: Option<PathBuf>,
    #[command(flatten)]
    terminal: Terminal,
    #[command(flatten)]
    model_args: ModelArgs,
}

/// How the interface looks and listens.
#[derive(Debug, Args)]
pub struct Terminal {
    /// Colours: never, 16, 256, true; found out from the environment without it.
    #[arg(long, value_name = "DEPTH", value_parser = Depth::parse, help_heading = "Terminal")]
    color: Option<Depth>,
    /// Only ASCII characters.
    #[arg(long, help_heading = "Terminal")]
    ascii: bool,
    /// Pictures at rest: auto, blocks, kitty, iterm2, sixel; auto asks the terminal, except inside tmux, screen and zellij.
    #[arg(long, value_name = "PROTOCOL", default_value = "auto", value_parser = Wish::parse, help_heading = "Terminal")]
    graphics: Wish,
    /// Colours of the interface: terminal, dark, light, high-contrast, a theme of your own (psescope generate theme), or its file.
    #[arg(long, value_name = "NAME", default_value = "terminal", help_heading = "Terminal")]
    theme: String,
    /// Listen to the mouse (text can then only be selected with Shift).
    #[arg(long, help_heading = "Terminal")]
    mouse: bool,
    /// Room for the runs that a folder worked through on screen T keeps in the state folder, so that Enter shows them at once; 0 keeps none.
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = parse_keep, help_heading = "Triage")]
    keep_runs: u64,
}

impl Inspector {
    /// Opens the inspector; `verbose` is for its log file.
    pub fn run(self, verbose: u8) -> anyhow::Result<Done> {
        let recorded = match &self.model {
            Some(path) if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("pse")) => {
                if self.image.is_some() {
                    return Err(Error::Parameter("a recorded run holds its image: give the run alone".into()).into());
                }
                Some(Arc::new(Recorded::open(path, None)?))
            }
            _ => None,
        };
        let given = self.image.unwrap_or_else(|| sample::IMAGE.into());
        let folder = given.is_dir().then(|| given.clone());
        let image = match &folder {
            Some(folder) => listing::of_path(folder)?.swap_remove(0).path,
            None => given,
        };
        inspect(&self.terminal, &self.model_args, self.reference, verbose, |options| match recorded {
            Some(recorded) => options.recorded = Some(recorded),
            None => {
                options.model = self.model.unwrap_or_else(|| sample::MODEL.into());
                (options.image, options.folder) = (image, folder);
            }
        })
    }
}

/// Opens the inspector; `subject` says on what.
pub fn inspect(
    terminal: &Terminal,
    model_args: &ModelArgs,
    reference: Option<PathBuf>,
    verbose: u8,
    subject: impl FnOnce(&mut tui::Options),
) -> anyhow::Result<Done> {
    let config = config::current();
    let mut options = tui::Options {
        color: terminal.color,
        configured_color: config.color(),
        ascii: terminal.ascii,
        graphics: terminal.graphics,
        theme: terminal.theme.clone(),
        themes: config::themes_dir(),
        flags: model_args.flags(),
        mouse: terminal.mouse,
        keys: config.keys(),
        attack: first_attack(config),
        verbosity: verbose,
        ..tui::Options::new(PathBuf::new(), PathBuf::new())
    };
    subject(&mut options);
    if let Some(recorded) = &options.recorded {
        let meta = &recorded.run.meta;
        (options.model, options.image) = (meta.model.clone().into(), meta.image.clone().into());
    }
    let (runtime, subject) = (model_args.runtime(), model_args.subject());
    let engine = worker::spawn(worker::Options { runtime, subject, reference, keep_runs: terminal.keep_runs });
    tui::run(engine, options)?;
    Ok(Done::Yes)
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
