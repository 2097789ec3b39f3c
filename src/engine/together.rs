//! Several attacks at once over one network. Each runs in a thread of its own against a stand-in; when all of them wait, what
//! they asked for is answered in as few batches as possible. No attack knows of the others, and the order of the answers does
//! not depend on the threads' luck.

use std::{sync::Arc, thread};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use ndarray::{Array2, Array4, ArrayView2, ArrayView4, Axis, Slice, concatenate};

use super::{control::Control, run::Prepared};
use crate::core::{
    error::{Error, Result},
    oracle::{Evaluation, Objective, Oracle},
};

/// What a stand-in asks for.
struct Ask {
    images: Array4<f32>,
    wanted: Wanted,
}

/// What is wanted of some images.
enum Wanted {
    Logits,
    CrossEntropy(Vec<usize>),
    Linear(Array2<f32>),
    Margin { labels: Vec<usize>, targeted: bool, kappa: f32 },
    Ratio { labels: Vec<usize>, targets: Option<Vec<usize>> },
}

/// Logits alone, or with loss and gradient.
enum Answer {
    Logits(Array2<f32>),
    Gradient(Evaluation),
}

/// From a thread to the one that owns the network; `None` is the end.
type Message = (usize, Option<Ask>);
type Reply = Result<Answer, Arc<Error>>;

impl Wanted {
    /// Whether both can be answered by one call.
    fn fits(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Logits, Self::Logits) | (Self::CrossEntropy(_), Self::CrossEntropy(_)) | (Self::Linear(_), Self::Linear(_)) => true,
            (Self::Margin { targeted: a, kappa: p, .. }, Self::Margin { targeted: b, kappa: q, .. }) => {
                a == b && p.to_bits() == q.to_bits()
            }
            (Self::Ratio { targets: a, .. }, Self::Ratio { targets: b, .. }) => a.is_some() == b.is_some(),
            _ => false,
        }
    }

    fn labels(&self) -> &[usize] {
        match self {
            Self::CrossEntropy(labels) | Self::Margin { labels, .. } | Self::Ratio { labels, .. } => labels,
            Self::Logits | Self::Linear(_) => &[],
        }
    }

    fn targets(&self) -> &[usize] {
        if let Self::Ratio { targets: Some(targets), .. } = self { targets } else { &[] }
    }

    fn cotangent(&self) -> Option<ArrayView2<'_, f32>> {
        match self {
            Self::Linear(cotangent) => Some(cotangent.view()),
            _ => None,
        }
    }
}

/// The network as one of the attacks sees it.
struct StandIn {
    place: usize,
    classes: usize,
    shape: [usize; 3],
    batch: usize,
    asks: Sender<Message>,
    replies: Receiver<Reply>,
}

impl StandIn {
    fn ask(&self, images: ArrayView4<f32>, wanted: Wanted) -> Result<Answer> {
        let gone = |_| Error::Engine("the network is gone; run the attack again".into());
        let ask = Ask { images: images.to_owned(), wanted };
        self.asks.send((self.place, Some(ask))).map_err(|_| gone(()))?;
        self.replies.recv().map_err(|_| gone(()))?.map_err(|e| repeat(&e))
    }
}

/// An error that several attacks share.
fn repeat(error: &Error) -> Error {
    match error {
        Error::Input(text) => Error::Input(text.clone()),
        Error::Model(text) => Error::Model(text.clone()),
        Error::MissingRules(rules) => Error::MissingRules(rules.clone()),
        Error::Parameter(text) => Error::Parameter(text.clone()),
        Error::Engine(text) => Error::Engine(text.clone()),
        Error::Stopped => Error::Stopped,
    }
}

impl Oracle for StandIn {
    fn classes(&self) -> usize {
        self.classes
    }

    fn image_shape(&self) -> [usize; 3] {
        self.shape
    }

    fn logits(&mut self, images: ArrayView4<f32>) -> Result<Array2<f32>> {
        match self.ask(images, Wanted::Logits)? {
            Answer::Logits(logits) => Ok(logits),
            Answer::Gradient(e) => Ok(e.logits),
        }
    }

    fn gradient(&mut self, images: ArrayView4<f32>, objective: Objective) -> Result<Evaluation> {
        let wanted = match objective {
            Objective::CrossEntropy { labels } => Wanted::CrossEntropy(labels.to_vec()),
            Objective::Linear { cotangent } => Wanted::Linear(cotangent.to_owned()),
            Objective::Margin { labels, targeted, kappa } => Wanted::Margin { labels: labels.to_vec(), targeted, kappa },
            Objective::Ratio { labels, targets } => Wanted::Ratio { labels: labels.to_vec(), targets: targets.map(<[usize]>::to_vec) },
        };
        match self.ask(images, wanted)? {
            Answer::Gradient(e) => Ok(e),
            Answer::Logits(_) => Err(Error::Engine("the network answered without a gradient; run the attack again".into())),
        }
    }

    fn batch(&self) -> usize {
        self.batch
    }
}

/// Runs all of them to the end: for each whether it reached its goal. `notify` is told run and step.
pub fn run(runs: &[Prepared], oracle: &mut dyn Oracle, control: &Control, notify: impl Fn(usize, usize) + Sync) -> Vec<Result<bool>> {
    let (asks, inbox) = unbounded::<Message>();
    let share = (oracle.batch() / runs.len().max(1)).max(1);
    let (classes, shape) = (oracle.classes(), oracle.image_shape());
    thread::scope(|scope| {
        let mut replies = Vec::new();
        let mut threads = Vec::new();
        for (place, prepared) in runs.iter().enumerate() {
            let (reply, own) = bounded(1);
            replies.push(reply);
            let mut network = StandIn { place, classes, shape, batch: share, asks: asks.clone(), replies: own };
            let notify = &notify;
            threads.push(scope.spawn(move || {
                // Says goodbye even when the attack panics: the others must not wait for it.
                let _end = Goodbye(place, network.asks.clone());
                prepared.run(&mut network, control, |step| notify(place, step))
            }));
        }
        drop(asks);
        serve(oracle, &inbox, &replies);
        let broken = || Err(Error::Engine("an internal error ended this attack; its steps are kept".into()));
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| broken())).collect()
    })
}

struct Goodbye(usize, Sender<Message>);

impl Drop for Goodbye {
    fn drop(&mut self) {
        // Nobody listening means that all is over anyway.
        let _ = self.1.send((self.0, None));
    }
}

/// Answers until every attack has ended.
fn serve(oracle: &mut dyn Oracle, inbox: &Receiver<Message>, replies: &[Sender<Reply>]) {
    let mut waiting: Vec<Option<Ask>> = replies.iter().map(|_| None).collect();
    let mut going = replies.len();
    let mut asked = 0;
    while going > 0 {
        let Ok((place, ask)) = inbox.recv() else { return };
        match ask {
            Some(ask) => {
                waiting[place] = Some(ask);
                asked += 1;
            }
            None => going -= 1,
        }
        if asked < going || asked == 0 {
            continue;
        }
        asked = 0;
        let mut left: Vec<(usize, Ask)> = waiting.iter_mut().enumerate().filter_map(|(i, a)| Some((i, a.take()?))).collect();
        while !left.is_empty() {
            let first = left.remove(0);
            let (same, other): (Vec<_>, Vec<_>) = left.into_iter().partition(|(_, a)| a.wanted.fits(&first.1.wanted));
            left = other;
            let group: Vec<(usize, Ask)> = std::iter::once(first).chain(same).collect();
            answer(oracle, &group, replies);
        }
    }
}

/// One call for a group of requests of the same kind, and everybody's part of what it gave.
fn answer(oracle: &mut dyn Oracle, group: &[(usize, Ask)], replies: &[Sender<Reply>]) {
    let views: Vec<_> = group.iter().map(|(_, a)| a.images.view()).collect();
    let labels: Vec<usize> = group.iter().flat_map(|(_, a)| a.wanted.labels()).copied().collect();
    let cotangents: Vec<_> = group.iter().filter_map(|(_, a)| a.wanted.cotangent()).collect();
    let images = concatenate(Axis(0), &views).expect("images of one network have one shape");
    let joined = (!cotangents.is_empty()).then(|| concatenate(Axis(0), &cotangents).expect("one logit per class"));
    let outcome = match (&group[0].1.wanted, &joined) {
        (Wanted::Logits, _) => oracle.logits(images.view()).map(Answer::Logits),
        (Wanted::Margin { targeted, kappa, .. }, _) => {
            oracle.gradient(images.view(), Objective::Margin { labels: &labels, targeted: *targeted, kappa: *kappa }).map(Answer::Gradient)
        }
        (Wanted::Ratio { targets, .. }, _) => {
            let all: Vec<usize> = group.iter().flat_map(|(_, a)| a.wanted.targets()).copied().collect();
            let targets = targets.as_ref().map(|_| &all[..]);
            oracle.gradient(images.view(), Objective::Ratio { labels: &labels, targets }).map(Answer::Gradient)
        }
        (_, Some(cotangent)) => oracle.gradient(images.view(), Objective::Linear { cotangent: cotangent.view() }).map(Answer::Gradient),
        (_, None) => oracle.gradient(images.view(), Objective::CrossEntropy { labels: &labels }).map(Answer::Gradient),
    };
    let outcome = outcome.map_err(Arc::new);
    let mut start = 0;
    for (place, ask) in group {
        let rows = Slice::from(start..start + ask.images.dim().0);
        start += ask.images.dim().0;
        let part = match &outcome {
            Ok(Answer::Logits(logits)) => Ok(Answer::Logits(logits.slice_axis(Axis(0), rows).to_owned())),
            Ok(Answer::Gradient(e)) => Ok(Answer::Gradient(Evaluation {
                logits: e.logits.slice_axis(Axis(0), rows).to_owned(),
                loss: e.loss.slice_axis(Axis(0), rows).to_owned(),
                grad: e.grad.slice_axis(Axis(0), rows).to_owned(),
            })),
            Err(error) => Err(Arc::clone(error)),
        };
        // A thread that is gone has said so.
        let _ = replies[*place].send(part);
    }
}

#[cfg(test)]
#[path = "together_tests.rs"]
mod tests;
