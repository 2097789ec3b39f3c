//! What a report of a run is made of, and computing what is missing of it.

use std::sync::Arc;

use ndarray::{ArrayView1, Axis};

use super::{
    event::Scored,
    trace::{
        Frame, StepRecord, Trace,
        file::RunMeta,
        maps::{Maps, StepCam, StepPsr},
    },
};
use crate::core::{
    error::{Error, Result},
    explain::{
        cam::{self, CamMap, Method},
        interpretability::{Interpretability, Threshold, curve, interpretability},
        layers::{self, LayerChange},
        psr::{self, Cell, Grid, PsrMap},
        units::{self, UnitTable},
        upsample::bilinear,
    },
    oracle::{Layers, Units},
    scalars,
};

/// Cells per side of the map where nobody chose a grid.
pub const GRID: usize = 14;

/// Interpretability scores are taken over the hottest thirty percent of a map.
pub const PERCENTILE: f32 = 70.0;

/// A run, the step that is shown in detail, and the explanations there are.
#[derive(Debug, Clone)]
pub struct Findings {
    /// Everything about the run that is not an array.
    pub meta: RunMeta,
    /// The record.
    pub trace: Arc<Trace>,
    /// Explanations.
    pub maps: Maps,
    /// Step shown in detail; it has a picture.
    pub step: usize,
    /// Layer by layer, when the model was there to ask.
    pub layers: Option<Vec<LayerChange>>,
    /// The units of one layer: of the one where the two images part, else of the last.
    pub units: Option<Arc<UnitTable>>,
    /// What is left out and why, one sentence each.
    pub missing: Vec<String>,
}

/// Tells what is computed now, and how far that is (0..1); an error stops it.
pub type Progress<'a> = &'a mut dyn FnMut(&str, f32) -> Result<()>;

impl Findings {
    /// The findings of a step: of the result when none is given, of the nearest step with a picture.
    pub fn new(meta: RunMeta, trace: Arc<Trace>, maps: Maps, step: Option<usize>) -> Result<Self> {
        let last = trace.len().checked_sub(1).ok_or_else(|| Error::Input("this run has no steps; record it again".into()))?;
        let wanted = step.or(trace.best()).unwrap_or(last);
        if wanted > last {
            return Err(Error::Parameter(format!("step {wanted} does not exist: the run has steps 0 to {last}")));
        }
        let step = trace.nearest_frame(wanted).ok_or_else(|| Error::Input("this run has no pictures; record it again".into()))?;
        let missing =
            if step == wanted { Vec::new() } else { vec![format!("Step {wanted} has no picture of its own: step {step} is shown.")] };
        Ok(Self { meta, trace, maps, step, layers: None, units: None, missing })
    }

    /// The picture of the step.
    pub fn frame(&self) -> Result<Arc<Frame>> {
        self.trace.frame(self.step).ok_or_else(|| Error::Input(format!("step {} has no picture any more; choose another", self.step)))
    }

    /// Scalars of the step.
    pub fn record(&self) -> Result<StepRecord> {
        self.trace.step(self.step).ok_or_else(|| Error::Input(format!("step {} does not exist", self.step)))
    }

    /// The class promoted: the target, or what the step is taken for.
    pub fn target(&self) -> Option<usize> {
        let predicted = || self.trace.step(self.step).map(|r| r.predicted).filter(|p| *p != self.meta.label);
        self.meta.target.or_else(predicted)
    }

    /// Best classes of the clean image, when its logits were recorded.
    pub fn clean_scores(&self, count: usize) -> Vec<Scored> {
        let logits = ArrayView1::from(&self.meta.clean_logits);
        let lse = scalars::log_sum_exp(logits);
        let scored = |(class, logit): (usize, f32)| Scored { class, logit, prob: (f64::from(logit) - lse).exp() as f32 };
        scalars::top(logits, count).into_iter().map(scored).collect()
    }

    /// Best classes of the step.
    pub fn scores(&self, count: usize) -> Vec<Scored> {
        let record = self.trace.step(self.step);
        record.iter().flat_map(|r| r.top.iter().take(count).map(|&(class, logit)| Scored { class, logit, prob: r.prob(logit) })).collect()
    }

    /// The promotion-suppression map of the step.
    pub fn psr(&self) -> Option<&Arc<PsrMap>> {
        self.maps.psr_at(self.step)
    }

    /// Effect and type of the whole perturbation under the settings of a map.
    pub fn whole(&self, map: &PsrMap) -> Option<Cell> {
        let (t0, t) = map.classes;
        let (clean, record) = (&self.meta.clean_logits, self.trace.step(self.step)?);
        let now = |class: usize| record.top.iter().find(|(c, _)| *c == class).map(|(_, z)| *z);
        let truth = if t0 == self.meta.label { Some(record.true_logit) } else { now(t0) }?;
        let target = if Some(t) == self.meta.target { record.target_logit } else { now(t) }?;
        Some(psr::effect(clean.get(t0)? - truth, target - clean.get(t)?, &map.settings))
    }

    /// The method whose four maps are shown: the one that has most of them.
    pub fn cam_method(&self) -> Option<Method> {
        let count = |method: Method| self.four(method).iter().flatten().count();
        let best = cam::METHODS.iter().map(|m| m.method).rev().max_by_key(|m| count(*m))?;
        (count(best) > 0).then_some(best)
    }

    /// C(x0,t0), C(x0,t), C(x',t0), C(x',t), as far as they are there.
    pub fn cams(&self) -> [Option<&Arc<CamMap>>; 4] {
        self.cam_method().map_or([None; 4], |method| self.four(method))
    }

    fn four(&self, method: Method) -> [Option<&Arc<CamMap>>; 4] {
        self.asks().map(|(step, class)| self.maps.cam(step, method, class?))
    }

    fn asks(&self) -> [(Option<usize>, Option<usize>); 4] {
        let (truth, target) = (Some(self.meta.label), self.target());
        [(None, truth), (None, target), (Some(self.step), truth), (Some(self.step), target)]
    }

    /// Share of the perturbation in the hottest thirty percent of a map.
    pub fn score(&self, map: &CamMap) -> Option<Interpretability> {
        let frame = self.frame().ok()?;
        let (_, height, width) = frame.delta.dim();
        let large = bilinear(map.defined().view(), [height, width]);
        interpretability(large.view(), frame.delta.view(), Threshold::Percentile(PERCENTILE)).ok()?
    }

    /// The same at every tenth percentile, for a curve: (percentile, score, score if spread evenly).
    pub fn score_curve(&self, map: &CamMap) -> Vec<(f32, f64, f64)> {
        let Ok(frame) = self.frame() else { return Vec::new() };
        let (_, height, width) = frame.delta.dim();
        let large = bilinear(map.defined().view(), [height, width]);
        let at: Vec<f32> = (0..10).map(|i| i as f32 * 10.0).collect();
        let scores = curve(large.view(), frame.delta.view(), &at).unwrap_or_default();
        at.into_iter().zip(scores).filter_map(|(p, s)| s.map(|s| (p, s.score, s.baseline))).collect()
    }

    /// Says that the sections that need the model are left out, and why.
    pub fn without_model(&mut self, why: &str) {
        if self.psr().is_none() {
            self.missing.push(format!("No promotion-suppression map: {why}."));
        }
        if self.cams().iter().all(Option::is_none) {
            self.missing.push(format!("No class activation maps: {why}."));
        }
        if self.layers.is_none() {
            self.missing.push(format!("No layers and units: {why}."));
        }
    }

    /// Computes the sections that are missing. What the model cannot give is left out and said; only a stop is an error.
    pub fn complete(&mut self, network: &mut dyn Units, progress: Progress) -> Result<()> {
        let Some(target) = self.target() else {
            self.missing.push("No maps: the step is still taken for the true class, and the attack names no target.".into());
            return Ok(());
        };
        if self.psr().is_none() {
            let done = self.compute_psr(network, target, progress);
            self.note("promotion-suppression map", done)?;
        }
        let done = self.compute_cams(network, progress);
        self.note("class activation maps", done)?;
        let done = self.compute_layers(network, target, progress);
        self.note("layers and units", done)
    }

    fn note(&mut self, what: &str, done: Result<()>) -> Result<()> {
        match done {
            Err(Error::Stopped) => Err(Error::Stopped),
            Err(error) => {
                self.missing.push(format!("No {what}: {error}."));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn compute_psr(&mut self, network: &mut dyn Layers, target: usize, progress: Progress) -> Result<()> {
        let frame = self.frame()?;
        let (_, height, width) = frame.image.dim();
        let question = psr::Question {
            clean: self.trace.clean.view(),
            adversarial: frame.image.view(),
            classes: (self.meta.label, target),
            grid: Grid::by_count(height, width, GRID)?,
            settings: psr::Settings::default(),
        };
        let total = question.grid.len().max(1) as f32;
        let map = psr::evaluate(network, &question, &mut |map: &PsrMap| {
            progress("promotion-suppression map", map.evaluated().count() as f32 / total)
        })?;
        self.maps.psr.push(StepPsr { step: self.step, map: Arc::new(map) });
        Ok(())
    }

    fn compute_cams(&mut self, network: &mut dyn Layers, progress: Progress) -> Result<()> {
        let usual = if network.linear_head().is_some() { Method::Cam } else { Method::GradCam };
        let method = self.cam_method().unwrap_or(usual);
        let layer = self.cams().iter().flatten().next().map(|m| m.layer.clone());
        for (i, (step, class)) in self.asks().into_iter().enumerate() {
            let Some(class) = class.filter(|c| self.maps.cam(step, method, *c).is_none()) else { continue };
            progress("class activation maps", i as f32 / 4.0)?;
            let frame = self.frame()?;
            let image = if step.is_some() { frame.image.view() } else { self.trace.clean.view() };
            let map = cam::compute(network, image, method, layer.as_deref(), class)?;
            self.maps.cams.push(StepCam { step, map: Arc::new(map) });
        }
        Ok(())
    }
}

impl Findings {
    fn compute_layers(&mut self, network: &mut dyn Units, target: usize, progress: Progress) -> Result<()> {
        progress("layers", 0.0)?;
        let frame = self.frame()?;
        let infos = layers::select(network, "auto")?;
        let (clean, image) = (self.trace.clean.view(), frame.image.view());
        let changes = layers::between(network, &infos, clean, &[image], layers::Settings::default())?.swap_remove(0);
        progress("units", 0.5)?;
        let parted = layers::turning_point(&changes, layers::Settings::default()).unwrap_or(changes.len().saturating_sub(1));
        if let Some(layer) = changes.get(parted) {
            let case = units::Case { clean, adversarial: image, classes: (self.meta.label, target) };
            let table = units::table(network, case, &layer.info.name, None, psr::Settings::default())?;
            self.units = Some(Arc::new(table));
        }
        self.layers = Some(changes);
        progress("units", 1.0)
    }

    /// The layer at which clean and adversarial activation part.
    pub fn turning_point(&self) -> Option<&LayerChange> {
        let changes = self.layers.as_ref()?;
        changes.get(layers::turning_point(changes, layers::Settings::default())?)
    }
}

/// Logits of an image, for [`super::recorded::check_logits`].
pub fn logits_of(network: &mut dyn Layers, image: ndarray::ArrayView3<f32>) -> Result<ndarray::Array1<f32>> {
    Ok(network.logits(image.insert_axis(Axis(0)))?.row(0).to_owned())
}
