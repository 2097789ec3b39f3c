//! `psescope inspect`: what psescope sees in a model.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::{args::ModelArgs, exit::Done},
    core::graph::{self, Layout},
    engine::subject::Subject,
};

/// What psescope sees in a model.
#[derive(Debug, Args)]
pub struct InspectCommand {
    /// ONNX model.
    model: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model_args: ModelArgs,
}

impl InspectCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        let subject = Subject::open(&self.model, &self.model_args.subject())?;
        if self.json {
            say!("{}", report(&subject));
        } else {
            print(&subject)?;
        }
        Ok(Done::Yes)
    }
}

fn layout(layout: Layout) -> &'static str {
    match layout {
        Layout::Nchw => "NCHW",
        Layout::Nhwc => "NHWC",
    }
}

fn report(subject: &Subject) -> Value {
    let prepared = &subject.prepared;
    let coverage = graph::coverage(prepared);
    let [channels, height, width] = prepared.shape;
    let layers = graph::spatial_layers(prepared);
    json!({
        "schema": "psescope.inspect/1",
        "version": env!("CARGO_PKG_VERSION"),
        "model": subject.path.display().to_string(),
        "sha256": subject.sha256,
        "producer": prepared.graph.producer,
        "opset": prepared.graph.opset,
        "nodes": prepared.graph.nodes.len(),
        "image": {"name": prepared.image, "layout": layout(prepared.layout), "channels": channels, "height": height, "width": width},
        "logits": {"name": prepared.logits, "classes": prepared.classes},
        "layers": layers.iter().map(|l| json!({"name": l.name, "op": l.op, "units": l.units, "spatial": l.spatial})).collect::<Vec<_>>(),
        "linear_head": graph::linear_head(prepared).map(|h| h.layer),
        "gradient": {
            "covered": coverage.covered,
            "missing": coverage.missing.iter().map(|m| json!({"op": m.op, "node": m.node})).collect::<Vec<_>>(),
        },
        "preprocessing": subject.preprocess.describe(),
        "labels": {"source": subject.labels.source(), "first": subject.labels.names().iter().take(5).collect::<Vec<_>>()},
        "notices": subject.notices,
    })
}

fn print(subject: &Subject) -> std::io::Result<()> {
    let prepared = &subject.prepared;
    let [channels, height, width] = prepared.shape;
    say!("{}", subject.path.display());
    say!("  sha256         {}", subject.sha256);
    say!(
        "  producer       {} (opset {}, {} nodes after folding)",
        prepared.graph.producer,
        prepared.graph.opset,
        prepared.graph.nodes.len()
    );
    say!("  image          {}: {channels} x {height} x {width}, {}", prepared.image, layout(prepared.layout));
    say!("  logits         {}: {} classes", prepared.logits, prepared.classes);
    say!("  preprocessing  {}", subject.preprocess.describe());
    say!("  labels         {}", subject.labels.source());
    say!(
        "  linear head    {}",
        graph::linear_head(prepared).map_or_else(|| "none (CAM proper is not possible, Grad-CAM is)".into(), |h| format!("at {}", h.layer))
    );
    let coverage = graph::coverage(prepared);
    let total = coverage.covered + coverage.missing.len();
    say!("  gradient       {} of {total} nodes on the path have rules", coverage.covered);
    for missing in &coverage.missing {
        say!("                 missing: {} at node {}", missing.op, missing.node);
    }
    say!("  layers");
    for layer in graph::spatial_layers(prepared) {
        say!("    {:<40} {:<16} {:>5} units  {} x {}", layer.name, layer.op, layer.units, layer.spatial[0], layer.spatial[1]);
    }
    for notice in &subject.notices {
        say!("  note: {notice}");
    }
    Ok(())
}
