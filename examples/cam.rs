//! Where a network looks: Grad-CAM of the predicted class, as numbers.
//!
//!     cargo run --example cam -- onnx/squeezenet1_1.onnx samples/panda.jpg

use ndarray::Axis;
use psescope::{
    core::{
        attack::scalars,
        explain::cam::{self, Method},
        oracle::Oracle as _,
    },
    engine::subject::{Subject, SubjectOptions},
    runtime::{Runtime, RuntimeOptions},
};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let model = args.next().unwrap_or_else(|| "onnx/squeezenet1_1.onnx".into());
    let image = args.next().unwrap_or_else(|| "samples/panda.jpg".into());
    let subject = Subject::open(model.as_ref(), &SubjectOptions::default())?;
    let runtime = Runtime::open(&RuntimeOptions::default())?;
    let mut network = subject.network(&runtime.backend())?;
    let image = subject.image(image.as_ref())?;
    let class = scalars::predicted(network.logits(image.view().insert_axis(Axis(0)))?.row(0));
    let map = cam::compute(&mut network, image.view(), Method::GradCam, None, class)?;
    println!("{} at {}, {:?}", subject.names[class], map.layer, map.raw.dim());
    for row in map.defined().rows() {
        println!("{}", row.iter().map(|v| format!("{v:9.3}")).collect::<String>());
    }
    Ok(())
}
