//! `psescope grad`: write the gradient graph of a model.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::{
    cli::{args::ModelArgs, exit::Done},
    core::{
        graph::{self, Instrumentation, Loss, TapKind},
        onnx::write,
    },
    engine::{
        files,
        selftest::directional::{Check, directional},
        subject::{Subject, SubjectOptions},
    },
    runtime::Runtime,
};

const SCHEMA: &str = "psescope.grad/1";

/// Write the gradient graph of a model.
#[derive(Debug, Args)]
pub struct GradCommand {
    /// ONNX model.
    model: PathBuf,
    /// Where to write the graph. Not needed when --grad-model names a graph that is only to be checked.
    #[arg(short, long, value_name = "OUT.onnx", required_unless_present = "grad_model")]
    output: Option<PathBuf>,
    /// Loss head inside the graph: none (the cotangent of the logits is an input), ce, margin.
    #[arg(long, value_enum, default_value_t = LossArg::None)]
    loss: LossArg,
    /// Also output this tensor and its gradient; may be given several times.
    #[arg(long = "tap", value_name = "TENSOR")]
    taps: Vec<String>,
    /// Verify the gradient by directional finite differences and print the error.
    #[arg(long)]
    check: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model_args: ModelArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LossArg {
    None,
    Ce,
    Margin,
}

impl GradCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        let subject = Subject::open(&self.model, &SubjectOptions { keep: self.taps.clone(), ..self.model_args.subject() })?;
        let loss = match self.loss {
            LossArg::None => Loss::None,
            LossArg::Ce => Loss::CrossEntropy,
            LossArg::Margin => Loss::Margin,
        };
        let Some(output) = &self.output else {
            // Only a graph exported elsewhere is to be checked.
            print_check(&checked(&subject, &self.model_args)?, self.json)?;
            return Ok(Done::Yes);
        };
        let taps = self.taps.iter().map(|t| (t.clone(), TapKind::ValueAndGradient)).collect();
        let coverage = graph::coverage(&subject.prepared);
        let built =
            graph::instrument(&subject.prepared, &Instrumentation { loss, image_gradient: true, taps, ..Instrumentation::default() })?;
        files::save(output, &write::to_bytes(&built.graph))?;
        let check = self.check.then(|| checked(&subject, &self.model_args)).transpose()?;
        if self.json {
            say_json!(json!({
                "schema": SCHEMA,
                "version": env!("CARGO_PKG_VERSION"),
                "nodes": built.graph.nodes.len(),
                "image": built.image,
                "logits": built.logits,
                "cotangent": built.cotangent,
                "labels": built.labels.as_ref().map(|l| &l.0),
                "weights": built.labels.as_ref().map(|l| &l.1),
                "loss": built.loss,
                "grad_image": built.grad_image,
                "taps": built.taps.iter().map(|(value, gradient)| json!({"value": value, "gradient": gradient})).collect::<Vec<_>>(),
                "covered": coverage.covered,
                "missing": coverage.missing.iter().map(|m| json!({"op": m.op, "node": m.node})).collect::<Vec<_>>(),
                "check": check.as_ref().map(check_json),
            }));
            return Ok(Done::Yes);
        }
        say!("{}: {} nodes, {} differentiable nodes covered", output.display(), built.graph.nodes.len(), coverage.covered);
        say!("  image {}  logits {}  gradient {}", built.image, built.logits, built.grad_image.as_deref().unwrap_or("-"));
        if let Some(check) = &check {
            print_check(check, false)?;
        }
        Ok(Done::Yes)
    }
}

fn checked(subject: &Subject, args: &ModelArgs) -> anyhow::Result<Check> {
    let mut network = subject.network(&Runtime::open(&args.runtime())?.backend())?;
    Ok(directional(&mut network, &subject.affine())?)
}

fn check_json(check: &Check) -> serde_json::Value {
    json!({"directions": check.directions, "relative_error": check.error, "float64": check.float64})
}

fn print_check(check: &Check, json: bool) -> std::io::Result<()> {
    if json {
        say_json!(json!({"schema": SCHEMA, "version": env!("CARGO_PKG_VERSION"), "check": check_json(check)}));
    } else {
        let how = if check.float64 { "in float64" } else { "in float32, which limits it to about 1e-3" };
        say!("  finite differences along {} directions {how}: relative error {:.2e}", check.directions, check.error);
    }
    Ok(())
}
