//! Attacks an image and keeps the run: what `psescope attack --out` does.
//!
//!     cargo run --example attack -- onnx/squeezenet1_1.onnx samples/panda.jpg run.pse

use std::sync::Arc;

use ndarray::Axis;
use psescope::{
    core::oracle::Oracle as _,
    engine::{
        command::{AttackRequest, Target},
        control::Control,
        keep::{self, About},
        run,
        subject::{Subject, SubjectOptions},
        trace::file,
    },
    runtime::{Runtime, RuntimeOptions},
};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let model = args.next().unwrap_or_else(|| "onnx/squeezenet1_1.onnx".into());
    let image_path = args.next().unwrap_or_else(|| "samples/panda.jpg".into());
    let output = args.next().unwrap_or_else(|| "run.pse".into());
    let subject = Subject::open(model.as_ref(), &SubjectOptions::default())?;
    let runtime = Runtime::open(&RuntimeOptions::default())?;
    let mut network = subject.network(&runtime.backend())?;
    let image = Arc::new(subject.image(image_path.as_ref())?);
    let clean = network.logits(image.view().insert_axis(Axis(0)))?.row(0).to_owned();
    let params = vec![("eps".to_owned(), "8/255".to_owned())];
    let request = AttackRequest { attack: "ifgsm".into(), params, target: Target::Second, label: None, seed: 0, within: None };
    let prepared = run::prepare(&request, image, clean.view(), None)?;
    let success = prepared.run(&mut network, &Control::default(), |step| println!("step {step}"))?;
    let about = About {
        model,
        model_sha256: &subject.sha256,
        image: image_path,
        preprocessing: subject.preprocess.describe(),
        provider: network.provider(),
        labels: &subject.names,
        clean_logits: clean.as_slice().unwrap_or_default(),
    };
    file::save(output.as_ref(), &keep::meta(about, &request, &prepared.trace), &prepared.trace)?;
    println!("{output}: {}", if success { "target reached" } else { "target not reached" });
    Ok(())
}
