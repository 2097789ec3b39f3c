//! Questions about layers and units, answered on the analyst's lane.

use super::Worker;
use crate::{
    core::error::{Error, Result},
    engine::{
        command::RunId,
        control::Control,
        event::Event,
        inspect::{self, Answer, Ask, News},
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
        let sha256 = open.subject.sha256.clone();
        let what = match ask {
            Ask::Over { .. } => "layers over the steps",
            Ask::Exact { .. } => "measuring units",
            _ => "masks of growing size",
        };
        inspect::answer(&mut open.analyst, &trace, step, ask, &sha256, &mut |news| {
            drop(events.send(match news {
                News::Growing(answer) => Event::Network { run, step, ask: ask.clone(), answer },
                News::Part(done, all) => super::progress(what, done, all),
            }));
            control.checkpoint()
        })
    }
}
