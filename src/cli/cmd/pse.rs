//! `psescope pse`: the promotion-suppression map of a recorded run, of a fresh attack, or of a stored adversarial image.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ndarray::{ArrayView3, Axis};

use crate::{
    cli::{
        args::{ModelArgs, parse_number},
        case::{Case, CaseArgs},
        exit::Done,
        progress,
        session::{Session, interruptible},
    },
    core::{
        error::Error,
        explain::psr::{self, Cell, Grid, Mode, Moment, PsrMap, Question, Settings, Split},
        oracle::Oracle as _,
    },
    engine::{
        analysis,
        region::{self, Region},
    },
    report::{explain, json, picture, text},
};

/// Promotion-suppression map of a perturbation.
#[derive(Debug, Args)]
pub struct PseCommand {
    #[command(flatten)]
    case: CaseArgs,
    /// Step of the run; its result without it. The nearest step whose picture was kept is taken.
    #[arg(long, value_name = "N")]
    step: Option<usize>,
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
    /// Height and width of a cell in pixels, instead of --grid.
    #[arg(long, value_name = "HxW", value_parser = parse_cells, conflicts_with = "grid")]
    cells: Option<[usize; 2]>,
    /// How cells are evaluated: exact (a forward run each), linear (one gradient), path (gradients along the way).
    #[arg(long, value_enum, default_value_t = ModeArg::Exact)]
    mode: ModeArg,
    /// With --mode exact: take the linear estimate too, run its most influential cells first, and print the rank correlation of the two.
    #[arg(long)]
    estimate: bool,
    /// Smallest effect counted, in logits. A convention recalled from the paper.
    #[arg(long, value_name = "X", default_value = "0.1", value_parser = parse_number)]
    psr_floor: f32,
    /// Floor as this fraction of the standard deviation of the clean logits, instead of --psr-floor: keeps its meaning when a model scales its logits.
    #[arg(long, value_name = "X", value_parser = parse_number, conflicts_with = "psr_floor")]
    floor_relative: Option<f32>,
    /// A cell is dominated when |log2(b/s)| exceeds this. A convention recalled from the paper.
    #[arg(long, value_name = "X", default_value = "1", value_parser = parse_number)]
    psr_threshold: f32,
    /// Split the map inside and outside of this region: METHOD:CLASS:LEVEL such as cam:t0:0.7, or a .npy mask [H,W].
    #[arg(long, value_name = "MAP")]
    region: Option<String>,
    /// Follow promotion and suppression over the recorded steps (about 40 of them), and say when one turned into the other.
    #[arg(long)]
    timeline: bool,
}

/// `HxW` in pixels.
fn parse_cells(text: &str) -> Result<[usize; 2], String> {
    let bad = || format!("'{text}' is no cell; write HEIGHTxWIDTH in pixels, for instance 8x16");
    let (h, w) = text.split_once(['x', 'X']).ok_or_else(bad)?;
    let side = |t: &str| t.trim().parse::<usize>().ok().filter(|v| *v > 0).ok_or_else(bad);
    Ok([side(h)?, side(w)?])
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

/// Steps of a run that a timeline looks at.
const MOMENTS: usize = 40;

/// Everything one command found out.
struct Found {
    map: PsrMap,
    whole: Cell,
    /// Rank correlation with the linear estimate: suppression, promotion.
    rank: Option<(Option<f64>, Option<f64>)>,
    split: Option<(Split, Region)>,
    timeline: Option<Vec<Moment>>,
}

impl PseCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        if self.map.estimate && !matches!(self.map.mode, ModeArg::Exact) {
            return Err(Error::Parameter("--estimate compares the exact map with its estimate; use it with --mode exact".into()).into());
        }
        let mut case = self.case.open(&self.model_args)?;
        case.at_step(self.step)?;
        let found = self.explain(&mut case)?;
        let labels = &case.session.subject.names;
        let name = |c: usize| labels.get(c).cloned().unwrap_or_default();
        if let Some(path) = &self.png {
            picture::save(path, &picture::psr_overlay(case.adversarial.view(), &found.map, 0.6))?;
        }
        if self.json {
            say_json!(found.to_json(self.map.floor_relative));
        } else {
            say!("{}", text::pse(&found.map, &found.whole, &name(case.label), &name(case.target)).trim_end());
            found.print_rest()?;
        }
        Ok(Done::Yes)
    }

    fn explain(&self, case: &mut Case) -> anyhow::Result<Found> {
        let (_, height, width) = case.clean.dim();
        let grid = match self.map.cells {
            Some(cell) => Grid::rectangular(height, width, cell)?,
            None => Grid::by_count(height, width, self.map.grid)?,
        };
        let logits = |s: &mut Session, image: ArrayView3<f32>| s.network.logits(image.insert_axis(Axis(0))).map(|z| z.row(0).to_owned());
        let clean = logits(&mut case.session, case.clean.view())?;
        let adversarial = logits(&mut case.session, case.adversarial.view())?;
        let floor = match self.map.floor_relative {
            Some(fraction) if fraction > 0.0 => psr::relative_floor(clean.view(), fraction),
            Some(_) => return Err(Error::Parameter("the relative floor must be above 0, for instance 0.02".into()).into()),
            None => self.map.psr_floor,
        };
        let settings = Settings { floor, threshold: self.map.psr_threshold, mode: self.map.mode.into() };
        let question =
            Question { clean: case.clean.view(), adversarial: case.adversarial.view(), classes: (case.label, case.target), grid, settings };
        let control = interruptible();
        let network = &mut case.session.network;
        let _bound = control.bind(network.interrupt());
        let bar = progress::bar(grid.rows() * grid.cols(), "cells");
        let mut follow = |map: &PsrMap| {
            bar.set_position(map.cells.iter().flatten().count() as u64);
            control.checkpoint()
        };
        let (map, rank) = if self.map.estimate {
            let estimate = psr::linear(network, &question)?;
            let map = psr::exact(network, &question, &psr::most_influential_first(&estimate), &mut follow)?;
            let rank = map.rank_correlation(&estimate);
            (map, Some(rank))
        } else {
            (psr::evaluate(network, &question, &mut follow)?, None)
        };
        bar.finish_and_clear();
        let split = match &self.map.region {
            Some(text) => {
                let classes = (case.label, Some(case.target));
                let found = region::resolve(network, &case.session.subject.labels, case.clean.view(), classes, text, &mut |_, _| {
                    control.checkpoint()
                })?;
                Some((psr::split(network, &question, &map, found.mask.view())?, found))
            }
            None => None,
        };
        let whole = map.whole(clean.view(), adversarial.view());
        let timeline = match (self.map.timeline, &case.trace) {
            (false, _) => None,
            (true, None) => {
                let text = "a timeline needs the steps of an attack; give a RUN.pse or an attack instead of --adv";
                return Err(Error::Parameter(text.into()).into());
            }
            (true, Some(trace)) => {
                let bar = progress::bar(MOMENTS.min(trace.frames().len()), "steps");
                let moments = analysis::timeline(network, trace, &question, clean.view(), MOMENTS, &mut |moments| {
                    bar.set_position(moments.len() as u64);
                    control.checkpoint()
                })?;
                bar.finish_and_clear();
                Some(moments)
            }
        };
        Ok(Found { map, whole, rank, split, timeline })
    }
}

impl Found {
    fn to_json(&self, floor_relative: Option<f32>) -> serde_json::Value {
        let mut out = json::pse(&self.map, &self.whole);
        if let Some(fraction) = floor_relative {
            out["floor_relative"] = fraction.into();
        }
        if let Some((s, b)) = self.rank {
            out["rank_correlation"] = serde_json::json!({"with": "linear", "s": s, "b": b});
        }
        if let Some((split, region)) = &self.split {
            out["region"] = explain::split(split, region);
        }
        if let Some(moments) = &self.timeline {
            out["timeline"] = explain::timeline(moments);
        }
        out
    }

    fn print_rest(&self) -> anyhow::Result<()> {
        if let Some((s, b)) = self.rank {
            let show = |v: Option<f64>| v.map_or("undefined".into(), |v| format!("{v:.3}"));
            say!("rank correlation (Spearman) of the linear estimate with the exact cells: s {}, b {}", show(s), show(b));
        }
        if let Some((split, region)) = &self.split {
            say!("{}", explain::split_text(split, region).trim_end());
        }
        if let Some(moments) = &self.timeline {
            say!("{}", explain::timeline_text(moments).trim_end());
        }
        Ok(())
    }
}
