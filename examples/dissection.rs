//! What the units of a layer stand for: dissects one layer on a small made concept set and prints its best labels.
//!
//!     cargo run --example dissection -- onnx/squeezenet1_1.onnx fire9

use std::path::PathBuf;

use psescope::{
    core::{
        dissect::{IOU_THRESHOLD, QUANTILE, labels::display_name, tally::Rule},
        oracle::Layers as _,
    },
    engine::{
        control::Control,
        dissect::{Data, Plan, Stage, made, run},
        subject::{Subject, SubjectOptions},
    },
    runtime::{Runtime, RuntimeOptions},
};

/// Side of the made pictures: small, so that making them takes a moment; `psescope dissect --make-data` makes them at 227 pixels.
const SIDE: usize = 96;
/// Pictures that are looked at; their order in the index is random.
const PICTURES: usize = 160;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let model = args.next().unwrap_or_else(|| "onnx/squeezenet1_1.onnx".into());
    let subject = Subject::open(model.as_ref(), &SubjectOptions::default())?;
    let runtime = Runtime::open(&RuntimeOptions::default())?;
    let mut network = subject.network(&runtime.backend())?;
    let layers = network.spatial_layers();
    let wanted = args.next();
    let layer = layers.iter().rfind(|l| wanted.as_ref().is_none_or(|w| *w == l.name));
    let layer = layer.ok_or_else(|| anyhow::anyhow!("the model has no such layer; psescope inspect lists them"))?.clone();

    let folder = PathBuf::from("target/tmp/dissection-example");
    let concepts = folder.join("concepts");
    if !concepts.join("index.csv").is_file() {
        let summary = made::write(&concepts, 0, SIDE, &mut |_| ())?;
        println!("{} pictures with {} labels in {}", summary.images, summary.labels, concepts.display());
    }
    let data = Data::open(&concepts)?;
    let plan = Plan {
        layers: vec![layer],
        quantile: QUANTILE,
        rule: Rule::Original,
        by_field: true,
        compat_label0: false,
        limit: Some(PICTURES),
        batch: 0,
        out: folder.join("results"),
        tops: 3,
        keep_activations: false,
        keep_results: false,
        force: true,
    };
    let mut progress = |stage: Stage| {
        if let Stage::Probe(done, _) = stage {
            eprint!("\r{done} of {PICTURES} pictures ");
        }
    };
    for done in run(&subject, &mut network, &data, &plan, &Control::default(), &mut progress)? {
        let (units, concepts) = done.table.interpretable(IOU_THRESHOLD);
        eprintln!();
        println!("{}: {units} of {} units agree with {concepts} concepts (IoU >= {IOU_THRESHOLD})", done.layer.name, done.layer.units);
        for row in done.table.rows.iter().take(12) {
            println!("unit {:>4}  {:<20} {:<9} IoU {:.3}", row.unit - 1, display_name(&row.label), row.category, row.score);
        }
        println!("{}; {}", done.csv.display(), data.origin);
    }
    Ok(())
}
