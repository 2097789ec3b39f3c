//! `psescope layers`: what a perturbation changes in the network, layer by layer.

use clap::Args;
use ndarray::ArrayView3;

use crate::{
    cli::{
        args::{ModelArgs, Print, parse_number},
        case::{Case, CaseArgs},
        exit::Done,
        progress,
        session::interruptible,
    },
    core::{
        error::Error,
        explain::layers::{LayerChange, Settings, between, select},
        oracle::{LayerInfo, Oracle as _},
    },
    report::network::{self, LayerReport},
};

/// Promoted and suppressed units, masses, relative change and cosine of every layer.
#[derive(Debug, Args)]
pub struct LayersCommand {
    #[command(flatten)]
    case: CaseArgs,
    /// Layers: auto (ends of blocks that everything passes through), all, or parts of names separated by commas.
    #[arg(long, value_name = "SELECTION", default_value = "auto", help_heading = "Comparison")]
    layers: String,
    /// Step of the run; its result without it. The nearest step whose picture was kept is taken.
    #[arg(long, value_name = "N", help_heading = "Comparison")]
    step: Option<usize>,
    /// Also every kept step of the run.
    #[arg(long, conflicts_with = "step", help_heading = "Comparison")]
    timeline: bool,
    /// A unit is unchanged when its mean response moves by less than this fraction of the layer's typical response.
    #[arg(long, value_name = "X", default_value = "0.01", value_parser = parse_number, help_heading = "Comparison")]
    unit_tolerance: f32,
    /// The turning point is the first layer whose cosine is below this.
    #[arg(long, value_name = "X", default_value = "0.9", value_parser = parse_number, help_heading = "Comparison")]
    turning: f32,
    #[command(flatten)]
    print: Print,
    #[command(flatten)]
    model_args: ModelArgs,
}

impl LayersCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        let settings = Settings { tolerance: decimal(self.unit_tolerance), turning: decimal(self.turning) }.check()?;
        let mut case = self.case.open(&self.model_args)?;
        let step = case.at_step(self.step)?;
        let infos = select(&case.session.network, &self.layers)?;
        let adversarial = case.adversarial.clone();
        let report = LayerReport { step, layers: compared(&mut case, &infos, &[adversarial.view()], settings)?.swap_remove(0) };
        let timeline = if self.timeline { Some(over_steps(&mut case, &infos, settings)?) } else { None };
        let steps = timeline.as_deref();
        self.print.say(
            || network::layers(&report, steps, settings),
            || network::layers_csv(steps.unwrap_or(std::slice::from_ref(&report))),
            || {
                let over: String = steps.unwrap_or_default().iter().map(|entry| step_line(entry, settings)).collect();
                over + &network::layers_text(&report, settings)
            },
        )?;
        Ok(Done::Yes)
    }
}

fn step_line(entry: &LayerReport, settings: Settings) -> String {
    let last = entry.layers.last().and_then(|l| l.cosine).map_or_else(|| "-".into(), |c| format!("{c:.4}"));
    let (step, turning) = (entry.step.unwrap_or(0), entry.turning(settings).unwrap_or("none"));
    format!("step {step:>5}  last cosine {last}  turning point {turning}\n")
}

/// The number a person typed: 0.1 as a 32-bit float is not 0.1.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

fn compared(case: &mut Case, infos: &[LayerInfo], images: &[ArrayView3<f32>], settings: Settings) -> anyhow::Result<Vec<Vec<LayerChange>>> {
    let control = interruptible();
    let _bound = control.bind(case.session.network.interrupt());
    Ok(between(&mut case.session.network, infos, case.clean.view(), images, settings)?)
}

/// Every kept step, a few at a time so that memory stays bounded.
fn over_steps(case: &mut Case, infos: &[LayerInfo], settings: Settings) -> anyhow::Result<Vec<LayerReport>> {
    let trace = case.trace.clone().ok_or_else(|| Error::Parameter("--timeline needs a run: give RUN.pse, or an attack".into()))?;
    let steps = trace.frames();
    let bar = progress::bar(steps.len(), "steps");
    let piece = case.session.network.batch().max(2) * 4;
    let mut out = Vec::with_capacity(steps.len());
    for chunk in steps.chunks(piece) {
        let frames: Vec<_> = chunk.iter().filter_map(|&s| trace.frame(s)).collect();
        let images: Vec<ArrayView3<f32>> = frames.iter().map(|f| f.image.view()).collect();
        let changes = compared(case, infos, &images, settings)?;
        out.extend(frames.iter().zip(changes).map(|(f, layers)| LayerReport { step: Some(f.index), layers }));
        bar.set_position(out.len() as u64);
    }
    bar.finish_and_clear();
    Ok(out)
}
