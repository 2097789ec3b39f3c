//! Recorded runs: shown without their model, opened again with it, and completed for a report.

use std::{path::Path, sync::Arc};

use ndarray::{Array1, ArrayView1};

use super::Worker;
use crate::{
    core::error::{Error, Result},
    engine::{
        command::RunId,
        control::Control,
        event::{Event, Opened},
        findings::Findings,
        recorded::{self, Recorded},
        sample,
        subject::Subject,
        trace::file::{self, Run},
    },
};

/// Number of a recorded run; attacks on its image get larger ones.
const RECORDED: RunId = RunId(1);

impl Worker {
    /// Shows a run; nothing is opened that would need an engine.
    pub(super) fn view(&mut self, recorded: Arc<Recorded>) -> Result<()> {
        self.stop_running();
        self.open = None;
        self.runs = vec![(RECORDED, Arc::clone(&recorded.run.trace))];
        self.tell(Event::Opened(Box::new(opened(&recorded.run))));
        self.tell(Event::Viewing { run: RECORDED, recorded: Arc::clone(&recorded) });
        self.recorded = Some(recorded);
        Ok(())
    }

    /// Opens the model of the recorded run, on the recorded clean image.
    pub(super) fn revive(&mut self) -> Result<()> {
        let recorded = self.recorded.clone().ok_or_else(|| Error::Input("there is no recorded run whose model could be opened".into()))?;
        let model = recorded.model.as_ref().map_err(|why| Error::Input(why.clone()))?;
        self.tell(Event::Busy(format!("opening {}", sample::title(model))));
        let subject = self.subject(model)?;
        if subject.sha256 != recorded.run.meta.model_sha256 {
            return Err(Error::Model(format!("{} has changed since; give the original file", model.display())));
        }
        let image = Arc::clone(&recorded.run.trace.clean);
        let (open, opened) = self.ready(subject, image, Path::new(&recorded.run.meta.image))?;
        recorded::check_logits(&recorded.run.meta, open.logits.view(), &opened.preprocessing)?;
        self.open = Some(open);
        self.tell(Event::Revived(Box::new(opened)));
        Ok(())
    }

    /// Opens an image of a folder with the run that its triage kept. When that run cannot be shown, the image is open all the same.
    pub(super) fn open_kept(&mut self, run: RunId, model: &Path, image: &Path, kept: &Path) -> Result<()> {
        let subject = match &self.open {
            Some(open) if open.subject.path == model => Arc::clone(&open.subject),
            _ => {
                self.tell(Event::Busy(format!("opening {}", sample::title(model))));
                self.subject(model)?
            }
        };
        let recorded = match self.take_up(&subject, image, kept) {
            Ok(recorded) => {
                self.runs = vec![(run, Arc::clone(&recorded.run.trace))];
                Ok(recorded)
            }
            Err(error) => {
                self.install(subject, image)?;
                Err(error.to_string())
            }
        };
        self.tell(Event::Kept { run, image: image.to_owned(), recorded });
        Ok(())
    }

    /// Opens the clean image of a kept run, in which the model has to see the same.
    fn take_up(&mut self, subject: &Arc<Subject>, image: &Path, kept: &Path) -> Result<Arc<Recorded>> {
        let other = |what: &str| Error::Input(format!("its kept run is {what}"));
        if !kept.is_file() {
            return Err(other("gone"));
        }
        let run = file::load(kept)?;
        let clean = Arc::clone(&run.trace.clean);
        if run.meta.model_sha256 != subject.sha256 || clean.shape() != subject.prepared.shape {
            return Err(other("of another model"));
        }
        let preprocessing = subject.preprocess.describe();
        let check = |logits: ArrayView1<f32>| recorded::check_logits(&run.meta, logits, &preprocessing);
        let mut opened = self.settle(Arc::clone(subject), clean, image, &check)?;
        let logits = &run.meta.clean_logits;
        if let Some(open) = self.open.as_mut().filter(|_| !logits.is_empty()) {
            // As they were when it was attacked: another engine may differ in the last bits.
            open.logits = Array1::from(logits.clone());
            opened.logits.clone_from(logits);
        }
        self.tell(Event::Opened(Box::new(opened)));
        Ok(Arc::new(Recorded { path: kept.to_owned(), run, model: Ok(subject.path.clone()) }))
    }

    /// Completes findings as far as the model allows; without a model they come back as they are.
    pub(super) fn complete(&mut self, mut findings: Box<Findings>, control: &Control) -> Result<()> {
        match &mut self.open {
            None => {
                let why = self.recorded.as_ref().and_then(|r| r.model.as_ref().err().cloned());
                findings.without_model(&why.unwrap_or_else(|| "the model of this recorded run is not open (O opens it)".into()));
            }
            Some(open) => {
                let events = self.events.clone();
                let _bound = control.bind(open.analyst.interrupt());
                findings.complete(&mut open.analyst, &mut |what, part| {
                    drop(events.send(super::progress(&format!("{what} for the report"), (part * 100.0) as usize, 100)));
                    control.checkpoint()
                })?;
            }
        }
        self.tell(Event::Completed(findings));
        Ok(())
    }
}

/// What a run says about the model and image that are not open.
fn opened(run: &Run) -> Opened {
    let meta = &run.meta;
    let logits = if meta.clean_logits.is_empty() { first_logits(run) } else { meta.clean_logits.clone() };
    let named = meta.names.iter().map(|(class, _)| class + 1).max().unwrap_or(0);
    let mut labels: Vec<String> = (0..logits.len().max(named)).map(|class| format!("class {class}")).collect();
    for (class, name) in &meta.names {
        labels[*class].clone_from(name);
    }
    Opened {
        model: meta.model.clone().into(),
        model_sha256: meta.model_sha256.clone(),
        image_path: meta.image.clone().into(),
        provider: Opened::RECORDED.into(),
        engine: meta.provider.clone(),
        preprocessing: meta.preprocessing.clone(),
        notices: Vec::new(),
        labels: Arc::new(labels),
        image: Arc::clone(&run.trace.clean),
        logits,
        layers: Vec::new(),
        has_linear_head: false,
        no_gradient: None,
    }
}

/// Files of the first release keep no clean logits: the first step's best classes stand in, what is left of the probability is spread over
/// the others.
fn first_logits(run: &Run) -> Vec<f32> {
    let Some(first) = run.trace.step(0) else { return Vec::new() };
    let classes = run.meta.names.iter().map(|(class, _)| *class).chain(first.top.iter().map(|t| t.0)).max().map_or(0, |c| c + 1);
    let known: f64 = first.top.iter().map(|&(_, z)| f64::from(first.prob(z))).sum();
    let others = classes.saturating_sub(first.top.len()).max(1) as f64;
    let rest = ((1.0 - known).max(1e-12) / others).ln() + f64::from(first.log_sum_exp);
    let mut logits = vec![rest as f32; classes];
    for &(class, logit) in &first.top {
        logits[class] = logit;
    }
    logits
}
