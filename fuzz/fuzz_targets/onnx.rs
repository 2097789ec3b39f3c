//! A model file: reading, writing, normalising, and the gradient graph of whatever survives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use psescope::core::{
    error::Error,
    graph::{self, Instrumentation, Loss, Options, TapKind},
    onnx::{read, write},
};

fuzz_target!(|data: &[u8]| {
    let mut refuse = |_: &read::External| Err(Error::Model("outside".into()));
    let Ok(graph) = read::parse(data.to_vec().into(), &mut refuse) else { return };
    let _ = write::to_bytes(&graph);
    let Ok(prepared) = graph::normalise(graph, &Options { size: Some([8, 8]), ..Options::default() }) else { return };
    let _ = graph::coverage(&prepared);
    let layers = graph::spatial_layers(&prepared);
    let _ = graph::unit_layers(&prepared);
    let taps = layers.iter().take(1).map(|l| (l.name.clone(), TapKind::ValueAndGradient)).collect();
    let wanted = Instrumentation { loss: Loss::CrossEntropy, image_gradient: true, taps, ..Instrumentation::default() };
    if let Ok(built) = graph::instrument(&prepared, &wanted) {
        let bytes = write::to_bytes(&built.graph);
        read::parse(bytes.into(), &mut refuse).expect("what is written is read back");
    }
});
