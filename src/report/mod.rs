//! What leaves the program. Reports of a recorded run are one file each and one line in [`REGISTRY`].

pub mod chart;
pub mod csv;
pub mod dissection;
pub mod explain;
pub mod facts;
pub mod figure;
pub mod html;
pub mod json;
pub mod network;
pub mod npy;
pub mod npz;
pub mod panels;
pub mod picture;
pub mod recovery;
pub mod run_json;
pub mod scatter;
pub mod sensitivity;
pub mod svg;
pub mod text;
pub mod triage_html;
pub mod triage_settings;
pub mod triage_text;

use crate::{core::error::Result, engine::findings::Findings};

/// How a report is written.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Pixels per unit of a picture; the figure is 1080 units wide.
    pub scale: f32,
}

impl Default for Options {
    /// Twice: 2160 pixels, which prints sharply across a page.
    fn default() -> Self {
        Self { scale: 2.0 }
    }
}

/// A kind of report.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// Name on the command line.
    pub name: &'static str,
    /// Ending of its files.
    pub ending: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Whether it shows maps, which may have to be computed first.
    pub maps: bool,
    /// The file's contents.
    pub bytes: fn(&Findings, &Options) -> Result<Vec<u8>>,
}

/// Every kind of report of a run.
pub static REGISTRY: &[Format] = &[
    Format { name: "html", ending: "html", help: "One page with pictures, maps, tables and charts.", maps: true, bytes: html::bytes },
    Format {
        name: "png",
        ending: "png",
        help: "A figure for a paper or a slide, with legend and labels.",
        maps: true,
        bytes: figure::bytes,
    },
    Format { name: "npz", ending: "npz", help: "All arrays for NumPy: images, frames, curves, maps.", maps: true, bytes: npz::bytes },
    Format { name: "json", ending: "json", help: "Every number: parameters, steps, scores, maps.", maps: true, bytes: run_json::bytes },
    Format { name: "csv", ending: "csv", help: "One row per step: loss, logits, prediction, norms, time.", maps: false, bytes: csv::bytes },
];

/// The kind of report with this name.
pub fn find(name: &str) -> Option<&'static Format> {
    REGISTRY.iter().find(|f| f.name == name)
}
