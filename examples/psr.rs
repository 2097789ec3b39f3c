//! Explains a recorded run: which cells of the perturbation suppress the true class, which promote the target.
//!
//!     cargo run --example psr -- run.pse

use ndarray::Axis;
use psescope::{
    core::{
        attack::scalars,
        explain::psr::{self, Grid, Question, Settings},
        oracle::Oracle as _,
    },
    engine::{
        subject::{Subject, SubjectOptions},
        trace::file,
    },
    runtime::{Runtime, RuntimeOptions},
};

fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "run.pse".into());
    let run = file::load(path.as_ref())?;
    let subject = Subject::open(run.meta.model.as_ref(), &SubjectOptions::default())?;
    let runtime = Runtime::open(&RuntimeOptions::default())?;
    let mut network = subject.network(&runtime.backend())?;
    let frame = run.result().ok_or_else(|| anyhow::anyhow!("{path} holds no frames"))?;
    let reached = scalars::predicted(network.logits(frame.image.view().insert_axis(Axis(0)))?.row(0));
    let (_, height, width) = frame.image.dim();
    let question = Question {
        clean: run.trace.clean.view(),
        adversarial: frame.image.view(),
        classes: (run.meta.label, run.meta.target.unwrap_or(reached)),
        grid: Grid::by_count(height, width, 7)?,
        settings: Settings::default(),
    };
    let map = psr::evaluate(&mut network, &question, &mut |_| Ok(()))?;
    for row in map.cells.chunks(map.grid.cols()) {
        println!("{}", row.iter().flatten().map(|cell| format!("{:>12}", cell.kind.name())).collect::<String>());
    }
    println!("{:?}", map.shares());
    Ok(())
}
