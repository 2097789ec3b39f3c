//! `psescope show`: pictures in the shell, outside the full screen.

use std::{io::IsTerminal as _, path::PathBuf};

use clap::Args;
use image::{DynamicImage, RgbImage};
use ndarray::Array3;

use super::export::as_recorded;
use crate::{
    cli::exit::Done,
    core::{error::Error, tensor::image as pixels},
    engine::trace::file,
    report::{picture, run_json},
};

/// Print pictures in the shell.
#[derive(Debug, Args)]
pub struct ShowCommand {
    /// A run written by `psescope attack --out`, or an image.
    file: PathBuf,
    /// Print what a run is as one JSON object, without pictures.
    #[arg(long)]
    json: bool,
}

impl ShowCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        if self.file.extension().is_some_and(|e| e.eq_ignore_ascii_case("pse")) {
            let run = file::load(&self.file)?;
            if self.json {
                say_json!(run_json::run(&as_recorded(run)?));
                return Ok(Done::Yes);
            }
            in_terminal("psescope export RUN.pse --png FILE writes them")?;
            let adversarial: Array3<f32> = run.result().map_or_else(|| (*run.trace.clean).clone(), |f| f.image.clone());
            let delta = &adversarial - &*run.trace.clean;
            for (title, image) in [
                ("clean", picture::photo(run.trace.clean.view())),
                ("adversarial", picture::photo(adversarial.view())),
                ("perturbation, amplified", picture::perturbation(delta.view())),
            ] {
                say!("{title}");
                print_picture(&image)?;
            }
            return Ok(Done::Yes);
        }
        if self.json {
            return Err(Error::Parameter("--json describes a recorded run (.pse), not a picture".into()).into());
        }
        let bytes = std::fs::read(&self.file)
            .map_err(|e| Error::Input(format!("cannot read {}: {e}; give an image or a run", self.file.display())))?;
        let picture = pixels::decode(&bytes)?;
        in_terminal("this one is a file already")?;
        print_picture(&picture)?;
        Ok(Done::Yes)
    }
}

/// Prints one picture. A graphics protocol is used only where the environment names the terminal: asking an unknown one leaves its answer on
/// the screen, and inside a multiplexer such protocols print nothing and say it worked.
pub fn print_picture(picture: &RgbImage) -> anyhow::Result<()> {
    in_terminal("--png FILE writes a file instead")?;
    let (use_kitty, use_iterm) = protocols(|name| std::env::var(name).ok());
    let columns = crossterm::terminal::size().map_or(80, |(w, _)| w).min(80);
    let config =
        viuer::Config { absolute_offset: false, width: Some(u32::from(columns)), use_kitty, use_iterm, ..viuer::Config::default() };
    viuer::print(&DynamicImage::ImageRgb8(picture.clone()), &config)
        .map_err(|e| Error::Input(format!("the terminal did not take the picture: {e}; try another terminal")))?;
    Ok(())
}

/// Refuses to print pictures into a file or a pipe; `instead` says what to do.
fn in_terminal(instead: &str) -> anyhow::Result<()> {
    if std::io::stdout().is_terminal() {
        return Ok(());
    }
    Err(Error::Parameter(format!("pictures can only be shown in a terminal; {instead}")).into())
}

/// Whether the terminal is known to speak kitty's and iTerm2's protocols.
fn protocols(env: impl Fn(&str) -> Option<String>) -> (bool, bool) {
    if ["TMUX", "STY", "ZELLIJ"].into_iter().any(|v| env(v).is_some()) {
        return (false, false);
    }
    let program = env("TERM_PROGRAM").unwrap_or_default();
    let term = env("TERM").unwrap_or_default();
    let kitty = env("KITTY_WINDOW_ID").is_some() || term.contains("kitty") || program == "ghostty";
    (kitty, matches!(program.as_str(), "iTerm.app" | "WezTerm"))
}

#[cfg(test)]
mod tests {
    use super::protocols;

    #[test]
    fn protocols_need_a_known_terminal_and_no_multiplexer() {
        let with = |set: &'static [(&'static str, &'static str)]| {
            protocols(move |n| set.iter().find(|(k, _)| *k == n).map(|(_, v)| (*v).to_owned()))
        };
        assert_eq!(with(&[("TERM", "xterm-256color")]), (false, false));
        assert_eq!(with(&[("TERM", "xterm-kitty")]), (true, false));
        assert_eq!(with(&[("TERM_PROGRAM", "iTerm.app")]), (false, true));
        assert_eq!(with(&[("TERM", "xterm-kitty"), ("TMUX", "/tmp/x,1,0")]), (false, false));
    }
}
