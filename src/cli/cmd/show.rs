//! `psescope show`: pictures in the shell, outside the full screen.

use std::{io::IsTerminal as _, path::PathBuf};

use clap::Args;
use image::{DynamicImage, RgbImage};
use ndarray::Array3;

use crate::{
    cli::exit::Done,
    core::{error::Error, tensor::image as pixels},
    engine::trace::file,
    report::picture,
};

/// Print pictures in the shell.
#[derive(Debug, Args)]
pub struct ShowCommand {
    /// A run written by `psescope attack --out`, or an image.
    file: PathBuf,
}

impl ShowCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        if self.file.extension().is_some_and(|e| e.eq_ignore_ascii_case("pse")) {
            let run = file::load(&self.file)?;
            let frame = run.trace.best().and_then(|i| run.trace.frame(i));
            let adversarial: Array3<f32> = frame.map_or_else(|| (*run.trace.clean).clone(), |f| f.image.clone());
            let delta = &adversarial - &*run.trace.clean;
            for (title, image) in [
                ("clean", picture::photo(run.trace.clean.view())),
                ("adversarial", picture::photo(adversarial.view())),
                ("perturbation, amplified", picture::perturbation(delta.view())),
            ] {
                println!("{title}");
                print_picture(&image)?;
            }
            return Ok(Done::Yes);
        }
        let bytes = std::fs::read(&self.file)
            .map_err(|e| Error::Input(format!("cannot read {}: {e}; give an image or a run", self.file.display())))?;
        print_picture(&pixels::decode(&bytes)?)?;
        Ok(Done::Yes)
    }
}

/// Prints one picture. Inside tmux only half blocks are used: other protocols would print nothing and say it worked.
pub fn print_picture(picture: &RgbImage) -> anyhow::Result<()> {
    if !std::io::stdout().is_terminal() {
        return Err(Error::Parameter("pictures can only be shown in a terminal; write a file with --png instead".into()).into());
    }
    let multiplexed = ["TMUX", "STY", "ZELLIJ"].iter().any(|v| std::env::var_os(v).is_some());
    let columns = crossterm::terminal::size().map_or(80, |(w, _)| w).min(80);
    let config = viuer::Config {
        absolute_offset: false,
        width: Some(u32::from(columns)),
        use_kitty: !multiplexed,
        use_iterm: !multiplexed,
        ..viuer::Config::default()
    };
    viuer::print(&DynamicImage::ImageRgb8(picture.clone()), &config)
        .map_err(|e| Error::Input(format!("the terminal did not take the picture: {e}; write a file with --png instead")))?;
    Ok(())
}
