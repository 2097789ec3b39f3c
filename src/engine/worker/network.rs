//! Questions about layers and units, answered on the analyst's lane.

use std::sync::Arc;

use super::Worker;
use crate::{
    core::{
        error::{Error, Result},
        oracle::Units,
    },
    engine::{
        command::RunId,
        control::Control,
        event::Event,
        inspect::{self, Answer, Ask, Known, News, Publish},
    },
};

impl Worker {
    /// Answers a question about a step; a question that was stopped is answered by saying so.
    pub(super) fn inspect(&mut self, run: RunId, step: usize, ask: Ask, control: &Control) -> Result<()> {
        let answer = match self.inspected(run, step, &ask, control) {
            Err(Error::Stopped) => Answer::Stopped,
            other => other?,
        };
        self.tell(Event::Network { run, step, ask, answer });
        Ok(())
    }

    fn inspected(&mut self, run: RunId, step: usize, ask: &Ask, control: &Control) -> Result<Answer> {
        let trace = self.trace(run)?;
        let (open, events) = self.analyst(control)?;
        let _bound = control.bind(open.analyst.interrupt());
        let (subject, reference) = (Arc::clone(&open.subject), &mut open.reference);
        let mut spread = |network: &mut dyn Units, layer: &str, publish: Publish| {
            let Some(reference) = reference else { return Ok(None) };
            let all = reference.len();
            reference.spread(&subject, network, layer, &mut |done| publish(News::Part(done, all))).map(Some)
        };
        let mut known = Known { model_sha256: &subject.sha256, spread: &mut spread };
        let what = match ask {
            Ask::Over { .. } => "layers over the steps",
            Ask::Exact { .. } => "measuring units",
            Ask::Units { .. } => "reference images",
            _ => "masks of growing size",
        };
        inspect::answer(&mut open.analyst, &trace, step, ask, &mut known, &mut |news| {
            drop(events.send(match news {
                News::Growing(answer) => Event::Network { run, step, ask: ask.clone(), answer },
                News::Part(done, all) => super::progress(what, done, all),
            }));
            control.checkpoint()
        })
    }
}
