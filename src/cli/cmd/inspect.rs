//! `psescope inspect`: what psescope sees in a model.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::{args::ModelArgs, exit::Done},
    core::{
        error::Error,
        graph::{self, Layout},
    },
    engine::subject::Subject,
    runtime::{
        Runtime,
        placement::{Placed, by_provider},
    },
};

/// What psescope sees in a model.
#[derive(Debug, Args)]
pub struct InspectCommand {
    /// ONNX model.
    model: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Run forward pass and gradient once and show which provider runs which operators.
    #[arg(long)]
    placement: bool,
    #[command(flatten)]
    model_args: ModelArgs,
}

/// Where the graphs of a model ran.
struct Placement {
    provider: String,
    engine: String,
    /// Graph, and its operators by provider; `None` when the engine does not tell.
    graphs: Vec<(&'static str, Option<Vec<Placed>>)>,
    notices: Vec<String>,
}

impl Placement {
    /// Runs both graphs. A model without a gradient has the forward graph alone.
    fn of(subject: &Subject, args: &ModelArgs) -> Result<Self, Error> {
        let runtime = Runtime::open(&args.runtime())?;
        let backend = runtime.backend();
        let network = subject.network(&backend)?;
        let mut graphs = vec![("forward", network.placement(false)?)];
        if subject.no_gradient().is_none() {
            graphs.push(("gradient", network.placement(true)?));
        }
        Ok(Self { provider: network.provider(), engine: backend.describe(), graphs, notices: runtime.report().notices.clone() })
    }

    fn json(&self) -> Value {
        let graphs = self.graphs.iter().map(|(name, placed)| {
            let providers = placed
                .as_deref()
                .map(|p| by_provider(p).into_iter().map(|(p, n)| (p, n.into())).collect::<serde_json::Map<String, Value>>());
            json!({"graph": name, "providers": providers, "operators": placed})
        });
        json!({"provider": self.provider, "engine": self.engine, "graphs": graphs.collect::<Vec<_>>()})
    }

    fn print(&self) -> std::io::Result<()> {
        say!("  placement      on {} ({}), batch 1, mean of three runs", self.provider, self.engine);
        for notice in &self.notices {
            say!("  note: {notice}");
        }
        for (graph, placed) in &self.graphs {
            let Some(placed) = placed else {
                say!("    {graph}: this engine has one provider, the processor, and runs everything there");
                continue;
            };
            let total: usize = placed.iter().map(|p| p.nodes).sum();
            let counts: Vec<String> = by_provider(placed).into_iter().map(|(p, n)| format!("{n} on {p}")).collect();
            say!("    {graph}: {total} nodes after the engine's fusions, {}", counts.join(", "));
            for p in placed {
                say!(
                    "      {:<10} {:<28} {:>5} {} {:>9.3} ms",
                    p.provider,
                    p.op,
                    p.nodes,
                    if p.nodes == 1 { "node " } else { "nodes" },
                    p.ms
                );
            }
        }
        Ok(())
    }
}

impl InspectCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        let subject = Subject::open(&self.model, &self.model_args.subject())?;
        let placement = self.placement.then(|| Placement::of(&subject, &self.model_args)).transpose()?;
        if self.json {
            let mut report = report(&subject);
            if let (Some(placement), Some(object)) = (&placement, report.as_object_mut()) {
                object.insert("placement".into(), placement.json());
            }
            say_json!(report);
        } else {
            print(&subject)?;
            if let Some(placement) = placement {
                placement.print()?;
            }
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
