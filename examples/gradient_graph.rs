//! Differentiates a model: reads an ONNX file, adds the gradient of the logits with respect to the image, writes ONNX again.
//!
//!     cargo run --example gradient_graph -- onnx/squeezenet1_1.onnx gradient.onnx

use psescope::{
    core::{
        graph::{self, Instrumentation, Loss, instrument},
        onnx::write,
    },
    runtime::model_file,
};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let model = args.next().unwrap_or_else(|| "onnx/squeezenet1_1.onnx".into());
    let output = args.next().unwrap_or_else(|| "gradient.onnx".into());
    let loaded = model_file::load(model.as_ref())?;
    let prepared = graph::normalise(loaded.graph, &graph::Options::default())?;
    let spec = Instrumentation { loss: Loss::None, image_gradient: true, ..Instrumentation::default() };
    let gradient = instrument(&prepared, &spec)?;
    std::fs::write(&output, write::to_bytes(&gradient.graph))?;
    println!("{output}: {} nodes, image gradient '{}'", gradient.graph.nodes.len(), gradient.grad_image.unwrap_or_default());
    Ok(())
}
