//! Attacks: plain loops that ask an [`Oracle`] and call [`Recorder::step`]. One file per attack, one line in
//! [`REGISTRY`]; flags, forms and help come from each attack's parameter table.

use std::fmt;

use ndarray::{Array2, Array3, ArrayView1, ArrayView3, CowArray, Ix3};

use super::{error::Result, oracle::Oracle, tensor::norm::Norms};

mod admm;
mod apgd;
mod away;
mod ball;
mod constant_search;
mod cw;
mod deepfool;
mod ead;
mod goal;
mod gradient_sign;
mod groups;
mod ifgsm;
mod mifgsm;
mod params;
mod pgd;
mod refinement;

#[cfg(test)]
mod search_tests;
mod strattack;
mod tanh;
pub mod targets;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use super::scalars;
pub use params::{Kind, ParamSpec, Params, Value, fraction};

/// Every attack, in the order shown to people.
pub static REGISTRY: &[&dyn Attack] =
    &[&ifgsm::Ifgsm, &pgd::PGD, &mifgsm::MIFGSM, &cw::Cw, &ead::Ead, &strattack::StrAttack, &deepfool::DeepFool, &apgd::Apgd];

/// The attack with this name.
pub fn find(name: &str) -> Option<&'static dyn Attack> {
    REGISTRY.iter().copied().find(|a| a.name() == name)
}

/// Whether several images at once are worth it: as the attack's `search` parameter says, else by what the engine likes.
pub fn batched(params: &Params, oracle: &dyn Oracle) -> bool {
    match params.has("search").then(|| params.choice("search")) {
        Some("sequential") => false,
        Some("batched") => true,
        _ => oracle.batch() > constant_search::PROFITS,
    }
}

/// What is attacked.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Clean image `[C, H, W]`, pixel space 0..1.
    pub image: Array3<f32>,
    /// True class.
    pub label: usize,
    /// Class to reach; `None` for an untargeted attack.
    pub target: Option<usize>,
    /// Where pixels may change, `[H, W]`, 0 or 1; `None` is everywhere.
    pub mask: Option<Array2<f32>>,
    /// Seed of everything random.
    pub seed: u64,
}

/// An image that stays where the network runs.
pub trait Remote {
    /// Copies it here, `[C, H, W]`.
    fn image(&self) -> Result<Array3<f32>>;

    /// Lengths of its change, from there.
    fn norms(&self) -> Norms;
}

/// The image that a step describes.
#[derive(Clone, Copy)]
pub enum Picture<'a> {
    /// In memory, `[C, H, W]`.
    Here(ArrayView3<'a, f32>),
    /// Where the network runs: copied only for those who ask.
    There(&'a dyn Remote),
}

impl<'a> Picture<'a> {
    /// The image, copied when it is elsewhere.
    pub fn array(&self) -> Result<CowArray<'a, f32, Ix3>> {
        match self {
            Self::Here(image) => Ok((*image).into()),
            Self::There(remote) => Ok(remote.image()?.into()),
        }
    }

    /// The same picture, borrowed for as long as this one is.
    pub fn again(&self) -> Picture<'_> {
        match self {
            Self::Here(image) => Picture::Here(image.view()),
            Self::There(remote) => Picture::There(*remote),
        }
    }

    /// Lengths of the change from `clean`.
    pub fn norms(&self, clean: &Array3<f32>) -> Norms {
        match self {
            Self::Here(image) => Norms::of((image - clean).view()),
            Self::There(remote) => remote.norms(),
        }
    }

    /// Whether asking for it costs a copy from the device.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::There(_))
    }
}

impl fmt::Debug for Picture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(image) => write!(f, "{:?} here", image.shape()),
            Self::There(_) => f.write_str("on the device"),
        }
    }
}

/// One iteration as the attack reports it; the recorder derives probabilities, ranks and norms.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// The image this step describes.
    pub image: Picture<'a>,
    /// Its logits `[K]`.
    pub logits: ArrayView1<'a, f32>,
    /// The attack's own objective at this image.
    pub loss: f32,
    /// Named parts of the objective and search constants (`c`, `distance`, …), for charts.
    pub terms: &'a [(&'static str, f32)],
}

/// Takes every iteration. Recording, pausing and cancelling hang on this one call.
pub trait Recorder {
    /// Records a step; `Err(Error::Stopped)` ends the attack, which must return it unchanged.
    fn step(&mut self, step: Step) -> Result<()>;

    /// The image of the last step once more, for those who saw it only from afar.
    fn last(&mut self, _step: usize, _image: &Array3<f32>) {}
}

/// The image an attack ends with.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Adversarial image `[C, H, W]`, inside 0..1.
    pub image: Array3<f32>,
    /// Its logits `[K]`.
    pub logits: ndarray::Array1<f32>,
    /// Whether it is classified as wished (target reached, or true class left).
    pub success: bool,
    /// Number of the recorded step (from 0) that shows this image: for searches not the last.
    pub step: usize,
}

/// What people are told about an attack.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// Name on the command line.
    pub name: &'static str,
    /// One sentence for help and the form.
    pub summary: &'static str,
    /// Parameters with units, defaults and ranges.
    pub params: &'static [ParamSpec],
}

/// An attack algorithm.
pub trait Attack: Sync {
    /// Name, summary and parameters.
    fn about(&self) -> About;

    /// Name on the command line.
    fn name(&self) -> &'static str {
        self.about().name
    }

    /// One sentence for help and the form.
    fn summary(&self) -> &'static str {
        self.about().summary
    }

    /// Parameters with units, defaults and ranges.
    fn params(&self) -> &'static [ParamSpec] {
        self.about().params
    }

    /// Whether its update can run in the graph, where the network does.
    fn on_device(&self) -> bool {
        false
    }

    /// How many steps will be recorded, for progress: an upper bound.
    fn steps(&self, params: &Params) -> usize;

    /// Runs the attack. The first recorded step is the starting image.
    fn run(&self, oracle: &mut dyn Oracle, problem: &Problem, params: &Params, recorder: &mut dyn Recorder) -> Result<Outcome>;
}
