//! What a frame costs at 200x60: each screen drawn anew from warm caches, then with the perturbed image of another step, and the bytes that
//! the changed cells take. The goal is below 4 ms for four pictures.
//!
//! `cargo bench --bench frame`; CPU time of one thread on the embedded engine's results.

use std::hint::black_box;

use psescope::tui::{theme::Depth, view::ViewCache};
use ratatui::{
    backend::{Backend as _, CrosstermBackend},
    buffer::Buffer,
};

#[path = "../examples/headless/mod.rs"]
mod headless;

use headless::Inspector;

const SIZE: (u16, u16) = (200, 60);
const FRAMES: usize = 40;
const ROUNDS: usize = 5;

/// Wall-clock milliseconds of a call, the least of some rounds of many: other work on the machine only adds.
fn time(mut work: impl FnMut()) -> f64 {
    let round = |work: &mut dyn FnMut()| {
        let begun = std::time::Instant::now();
        for _ in 0..FRAMES {
            work();
        }
        begun.elapsed().as_secs_f64() * 1e3 / FRAMES as f64
    };
    (0..ROUNDS).map(|_| round(&mut work)).fold(f64::INFINITY, f64::min)
}

/// Bytes that turn one frame into the other on a terminal.
fn bytes(from: &Buffer, to: &Buffer) -> usize {
    let mut out = Vec::new();
    let mut backend = CrosstermBackend::new(&mut out);
    backend.draw(from.diff(to).into_iter()).expect("memory takes it");
    out.len()
}

fn main() {
    let root = env!("CARGO_MANIFEST_DIR");
    let (model, image) = (format!("{root}/onnx/squeezenet1_1.onnx"), format!("{root}/samples/panda.jpg"));
    let mut i = Inspector::open("terminal", Depth::True, SIZE, &model, &image, None);
    i.keys("<space>").settle();
    println!("{:<10} {:>10} {:>10} {:>12} {:>14}", "screen", "same, ms", "step, ms", "whole, bytes", "a step, bytes");
    for (name, keys) in [("attack", "1"), ("pixels", "2"), ("cam", "3"), ("layers", "4"), ("units", "5"), ("insight", "6"), ("triage", "T")]
    {
        i.keys(keys).settle();
        let mut cache = ViewCache::default();
        let empty = Buffer::empty(ratatui::layout::Rect::new(0, 0, SIZE.0, SIZE.1));
        let last = i.frame(&mut cache, SIZE);
        let same = time(|| {
            black_box(last.diff(&i.frame(&mut cache, SIZE)));
        });
        let whole = bytes(&empty, &last);
        let keys = if name == "triage" { ["j", "k"] } else { ["h", "<end>"] };
        i.keys(keys[0]).settle();
        let before = i.frame(&mut cache, SIZE);
        // Nothing is kept of a step that was never shown.
        let step = time(|| {
            black_box(last.diff(&i.frame(&mut ViewCache::default(), SIZE)));
        });
        println!("{name:<10} {same:>10.2} {step:>10.2} {whole:>12} {:>14}", bytes(&last, &before));
        i.keys(keys[1]).settle();
    }
}
