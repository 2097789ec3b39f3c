//! What every headless command opens: an engine, a model, an image, and a way to be interrupted.

use std::{path::Path, sync::Arc, thread};

use ndarray::{Array1, Array3, Axis};

use super::{args::ModelArgs, tell};
use crate::{
    core::{attack, error::Result, oracle::Oracle as _},
    engine::{command::AttackRequest, control::Control, subject::Subject},
    report::json::Context,
    runtime::{Network, Runtime, options::Update},
};

/// An open model.
pub struct Session {
    /// Model, preprocessing, labels.
    pub subject: Subject,
    /// Its network, on the chosen engine.
    pub network: Network,
    /// Engine and provider that really run.
    pub provider: String,
    /// Model path as typed.
    pub model: String,
    /// Device as typed.
    pub device: String,
    /// Where updates were asked to run.
    update: Update,
}

impl Session {
    /// Finds an engine and opens the model on it. Notices go to stderr.
    pub fn open(model: &Path, args: &ModelArgs) -> Result<Self> {
        let subject = Subject::open(model, &args.subject())?;
        let runtime = Runtime::open(&args.runtime())?;
        let backend = runtime.backend();
        for notice in subject.notices.iter().chain(&runtime.report().notices) {
            tell::note(notice);
        }
        let say = |text| tell::note(text);
        let network = subject.network(&backend)?.with_listener(Arc::new(say));
        let provider = format!("{} ({})", network.provider(), backend.describe());
        Ok(Self { subject, network, provider, model: model.display().to_string(), device: args.device.to_string(), update: args.update })
    }

    /// Says so when an update in the graph was asked for and this attack has none.
    pub fn say_update(&self, request: &AttackRequest) {
        let able = attack::find(&request.attack).is_none_or(attack::Attack::on_device);
        if self.update == Update::Device && !able {
            let name = &request.attack;
            tell::note(format_args!("{name} has no update in the graph; its steps are computed on the host"));
        }
    }

    /// Opens an image and runs it once.
    pub fn predict(&mut self, image: &Path) -> Result<(Arc<Array3<f32>>, Array1<f32>)> {
        let image = Arc::new(self.subject.image(image)?);
        let logits = self.network.logits(image.view().insert_axis(Axis(0)))?.row(0).to_owned();
        self.network.check_finite(image.view(), &logits.to_vec())?;
        Ok((image, logits))
    }

    /// Names for reports.
    pub fn context<'a>(&'a self, image: &'a str) -> Context<'a> {
        Context { model: &self.model, image, device: &self.device, provider: &self.provider, labels: &self.subject.names }
    }
}

/// A control that Ctrl-C and SIGTERM stop; a second signal ends the process at once.
pub fn interruptible() -> Control {
    let control = Control::default();
    #[cfg(unix)]
    {
        use signal_hook::{consts, iterator::Signals};
        if let Ok(mut signals) = Signals::new([consts::SIGINT, consts::SIGTERM, consts::SIGHUP]) {
            let control = control.clone();
            thread::spawn(move || {
                for _ in signals.forever() {
                    if control.stopped() {
                        std::process::exit(130);
                    }
                    control.stop();
                }
            });
        }
    }
    control
}
