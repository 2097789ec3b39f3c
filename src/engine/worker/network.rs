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
        inspect::{self, Answer, Ask, Known, Publish},
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
        let mut spread = |network: &mut dyn Units, layer: &str, publish: &mut Publish| {
            let found = reference.as_mut().map(|r| r.spread(&subject, network, layer, &mut |_| publish(None)));
            found.transpose()
        };
        let mut known = Known { model_sha256: &subject.sha256, spread: &mut spread };
        inspect::answer(&mut open.analyst, &trace, step, ask, &mut known, &mut |growing| {
            if let Some(answer) = growing {
                drop(events.send(Event::Network { run, step, ask: ask.clone(), answer }));
            }
            control.checkpoint()
        })
    }
}
