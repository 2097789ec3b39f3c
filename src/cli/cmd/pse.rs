//! `psescope pse`: the promotion-suppression map of a recorded run, of a fresh attack, or of a stored adversarial image.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ndarray::{Array3, Axis};

use crate::{
    cli::{
        args::{ModelArgs, parse_number},
        case::{Case, CaseArgs},
        exit::Done,
        progress,
        session::{Session, interruptible},
    },
    core::{
        explain::psr::{self, Grid, Mode, PsrMap, Question, Settings},
        oracle::Oracle as _,
    },
    report::{json, picture, text},
};

/// Promotion-suppression map of a perturbation.
#[derive(Debug, Args)]
pub struct PseCommand {
    #[command(flatten)]
    case: CaseArgs,
    #[command(flatten)]
    map: MapArgs,
    /// Print one JSON object.
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Write the map over the adversarial image as PNG.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    png: Option<PathBuf>,
    #[command(flatten)]
    model_args: ModelArgs,
}

/// Grid and ratio.
#[derive(Debug, Args)]
#[command(next_help_heading = "Map")]
struct MapArgs {
    /// Cells per side; the last row and column take what is left.
    #[arg(long, value_name = "N", default_value_t = 14)]
    grid: usize,
    /// How cells are evaluated: exact (a forward run each), linear (one gradient), path (gradients along the way).
    #[arg(long, value_enum, default_value_t = ModeArg::Exact)]
    mode: ModeArg,
    /// Smallest effect counted, in logits. A convention recalled from the paper.
    #[arg(long, value_name = "X", default_value = "0.1", value_parser = parse_number)]
    psr_floor: f32,
    /// A cell is dominated when |log2(b/s)| exceeds this. A convention recalled from the paper.
    #[arg(long, value_name = "X", default_value = "1", value_parser = parse_number)]
    psr_threshold: f32,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModeArg {
    Exact,
    Linear,
    Path,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Exact => Self::Exact,
            ModeArg::Linear => Self::Linear,
            ModeArg::Path => Self::Path,
        }
    }
}

impl PseCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        let mut case = self.case.open(&self.model_args)?;
        let map = self.explain(&mut case)?;
        let logits =
            |s: &mut Session, image: &Array3<f32>| s.network.logits(image.view().insert_axis(Axis(0))).map(|z| z.row(0).to_owned());
        let (clean, adversarial) = (logits(&mut case.session, &case.clean)?, logits(&mut case.session, &case.adversarial)?);
        let whole = map.whole(clean.view(), adversarial.view());
        let labels = &case.session.subject.names;
        let name = |c: usize| labels.get(c).cloned().unwrap_or_default();
        if let Some(path) = &self.png {
            picture::save(path, &picture::psr_overlay(case.adversarial.view(), &map, 0.6))?;
        }
        if self.json {
            say!("{}", json::pse(&map, &whole));
        } else {
            say!("{}", text::pse(&map, &whole, &name(case.label), &name(case.target)).trim_end());
        }
        Ok(Done::Yes)
    }

    fn explain(&self, case: &mut Case) -> anyhow::Result<PsrMap> {
        let (_, height, width) = case.clean.dim();
        let grid = Grid::by_count(height, width, self.map.grid)?;
        let settings = Settings { floor: self.map.psr_floor, threshold: self.map.psr_threshold, mode: self.map.mode.into() };
        let question =
            Question { clean: case.clean.view(), adversarial: case.adversarial.view(), classes: (case.label, case.target), grid, settings };
        let bar = progress::bar(grid.rows() * grid.cols(), "cells");
        let control = interruptible();
        let _bound = control.bind(case.session.network.interrupt());
        let map = psr::evaluate(&mut case.session.network, &question, &mut |map: &PsrMap| {
            bar.set_position(map.cells.iter().flatten().count() as u64);
            control.checkpoint()
        })?;
        bar.finish_and_clear();
        Ok(map)
    }
}
