//! One network for many attacks: each attack is still a plain loop over its own oracle, but the requests of all of them meet in a
//! server that runs them as one batch. Where a device is only busy with many images at once, this is what keeps it busy, for every
//! attack alike.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use ndarray::{Array2, Array3, Array4, ArrayD, ArrayView3, ArrayView4, Axis, Slice, concatenate};

use super::assess::Examined;
use crate::core::{
    error::{Error, Result},
    oracle::{Evaluation, LayerGradient, LayerInfo, Layers, LinearHead, Objective, Oracle, Responses},
};

/// How long the server waits for more requests once it has one.
const PATIENCE: Duration = Duration::from_millis(3);

/// What a client wants to know about its images.
#[derive(Debug, Clone)]
enum Ask {
    Logits,
    CrossEntropy(Vec<usize>),
    Linear(Array2<f32>),
    Margin {
        labels: Vec<usize>,
        targeted: bool,
        kappa: f32,
    },
    Ratio {
        labels: Vec<usize>,
        targets: Option<Vec<usize>>,
    },
    Activation(String),
    LayerGradient(String, usize),
    /// The image is the adversarial one; this is the clean one.
    Pair(Array3<f32>, Vec<String>),
}

enum Answer {
    Logits(Array2<f32>),
    Evaluation(Evaluation),
    Activation(ArrayD<f32>),
    LayerGradient(LayerGradient),
    Pair(Responses),
}

struct Request {
    images: Array4<f32>,
    ask: Ask,
    reply: Sender<Result<Answer>>,
}

/// What clients may know without asking.
struct Facts {
    classes: usize,
    shape: [usize; 3],
    batch: usize,
    layers: Vec<LayerInfo>,
    compared: Vec<LayerInfo>,
    head: Option<LinearHead>,
}

/// An oracle whose requests are run together with those of its clones' owners.
pub struct Client {
    facts: Arc<Facts>,
    to: Sender<Request>,
    live: Arc<AtomicUsize>,
}

/// The end that runs the requests.
pub struct Server {
    from: Receiver<Request>,
    live: Arc<AtomicUsize>,
}

/// `count` clients of a network, and the server to be run beside them with that network.
pub fn clients(network: &dyn Examined, count: usize) -> (Vec<Client>, Server) {
    let facts = Arc::new(Facts {
        classes: network.classes(),
        shape: network.image_shape(),
        batch: network.batch(),
        layers: network.spatial_layers(),
        compared: network.compared_layers(),
        head: network.linear_head(),
    });
    let (to, from) = unbounded();
    let live = Arc::new(AtomicUsize::new(count));
    let client = || Client { facts: Arc::clone(&facts), to: to.clone(), live: Arc::clone(&live) };
    ((0..count).map(|_| client()).collect(), Server { from, live })
}

impl Drop for Client {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Server {
    /// Serves until the last client is gone.
    pub fn serve(self, network: &mut dyn Examined) {
        while let Ok(first) = self.from.recv() {
            let mut waiting = vec![first];
            while waiting.len() < self.live.load(Ordering::SeqCst)
                && let Ok(next) = self.from.recv_timeout(PATIENCE)
            {
                waiting.push(next);
            }
            while !waiting.is_empty() {
                let lead = waiting.remove(0);
                let (mut group, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|r| lead.ask.joins(&r.ask));
                group.insert(0, lead);
                answer(network, group);
                waiting = rest;
            }
        }
    }
}

impl Ask {
    /// Whether both can be answered by one run.
    fn joins(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Logits, Self::Logits) | (Self::CrossEntropy(_), Self::CrossEntropy(_)) | (Self::Linear(_), Self::Linear(_)) => true,
            (Self::Margin { targeted, kappa, .. }, Self::Margin { targeted: t, kappa: k, .. }) => targeted == t && kappa == k,
            (Self::Ratio { targets: a, .. }, Self::Ratio { targets: b, .. }) => a.is_some() == b.is_some(),
            (Self::Activation(a), Self::Activation(b)) => a == b,
            (Self::LayerGradient(a, c), Self::LayerGradient(b, d)) => (a, c) == (b, d),
            _ => false,
        }
    }
}

/// Runs a group that belongs together and hands each its rows.
fn answer(network: &mut dyn Examined, group: Vec<Request>) {
    let sizes: Vec<usize> = group.iter().map(|r| r.images.len_of(Axis(0))).collect();
    let outcome = run(network, &group).map(|all| split(all, &sizes));
    match outcome {
        // A client that stopped waiting was stopped.
        Ok(parts) => group.into_iter().zip(parts).for_each(|(request, part)| drop(request.reply.send(Ok(part)))),
        Err(error) => group.into_iter().for_each(|request| drop(request.reply.send(Err(again(&error))))),
    }
}

fn run(network: &mut dyn Examined, group: &[Request]) -> Result<Answer> {
    let views: Vec<_> = group.iter().map(|r| r.images.view()).collect();
    let images = concatenate(Axis(0), &views).map_err(|e| Error::Input(format!("images of different shapes cannot share a batch: {e}")))?;
    let labels = || -> Vec<usize> {
        let of = |r: &Request| match &r.ask {
            Ask::CrossEntropy(labels) | Ask::Margin { labels, .. } | Ask::Ratio { labels, .. } => labels.clone(),
            _ => Vec::new(),
        };
        group.iter().flat_map(of).collect()
    };
    Ok(match &group[0].ask {
        Ask::Logits => Answer::Logits(network.logits(images.view())?),
        Ask::CrossEntropy(_) => Answer::Evaluation(network.gradient(images.view(), Objective::CrossEntropy { labels: &labels() })?),
        Ask::Margin { targeted, kappa, .. } => {
            let objective = Objective::Margin { labels: &labels(), targeted: *targeted, kappa: *kappa };
            Answer::Evaluation(network.gradient(images.view(), objective)?)
        }
        Ask::Ratio { targets, .. } => {
            let of = |r: &Request| if let Ask::Ratio { targets: Some(targets), .. } = &r.ask { targets.clone() } else { Vec::new() };
            let all: Vec<usize> = group.iter().flat_map(of).collect();
            let objective = Objective::Ratio { labels: &labels(), targets: targets.as_ref().map(|_| &all[..]) };
            Answer::Evaluation(network.gradient(images.view(), objective)?)
        }
        Ask::Linear(_) => {
            let rows: Vec<_> = group.iter().filter_map(|r| if let Ask::Linear(c) = &r.ask { Some(c.view()) } else { None }).collect();
            let cotangent = concatenate(Axis(0), &rows).map_err(|e| Error::Input(format!("cotangents of different shapes: {e}")))?;
            Answer::Evaluation(network.gradient(images.view(), Objective::Linear { cotangent: cotangent.view() })?)
        }
        Ask::Activation(layer) => Answer::Activation(network.activation(images.view(), layer)?),
        // Never joined by another: the clean image belongs to one adversarial image.
        Ask::Pair(clean, layers) => {
            let layers: Vec<&str> = layers.iter().map(String::as_str).collect();
            Answer::Pair(network.pair(clean.view(), images.index_axis(Axis(0), 0), &layers)?)
        }
        Ask::LayerGradient(layer, class) => Answer::LayerGradient(network.layer_gradient(images.view(), layer, *class)?),
    })
}

/// The rows of each request.
fn split(all: Answer, sizes: &[usize]) -> Vec<Answer> {
    let mut start = 0;
    let ranges = sizes.iter().map(|size| {
        let range = Slice::from(start..start + size);
        start += size;
        range
    });
    ranges
        .map(|rows| match &all {
            Answer::Logits(z) => Answer::Logits(z.slice_axis(Axis(0), rows).to_owned()),
            Answer::Evaluation(e) => Answer::Evaluation(Evaluation {
                logits: e.logits.slice_axis(Axis(0), rows).to_owned(),
                loss: e.loss.slice_axis(Axis(0), rows).to_owned(),
                grad: e.grad.slice_axis(Axis(0), rows).to_owned(),
            }),
            Answer::Activation(a) => Answer::Activation(a.slice_axis(Axis(0), rows).to_owned()),
            Answer::Pair(responses) => Answer::Pair(responses.clone()),
            Answer::LayerGradient(g) => Answer::LayerGradient(LayerGradient {
                logits: g.logits.slice_axis(Axis(0), rows).to_owned(),
                activation: g.activation.slice_axis(Axis(0), rows).to_owned(),
                gradient: g.gradient.slice_axis(Axis(0), rows).to_owned(),
            }),
        })
        .collect()
}

/// The same error for another receiver.
fn again(error: &Error) -> Error {
    match error {
        Error::Stopped => Error::Stopped,
        Error::Input(text) => Error::Input(text.clone()),
        Error::Parameter(text) => Error::Parameter(text.clone()),
        Error::Model(text) => Error::Model(text.clone()),
        Error::MissingRules(missing) => Error::MissingRules(missing.clone()),
        Error::Engine(text) => Error::Engine(text.clone()),
    }
}

impl Client {
    fn ask(&self, images: ArrayView4<f32>, ask: Ask) -> Result<Answer> {
        let gone = || Error::Engine("the network that the images share is gone; start again".into());
        let (reply, answer) = bounded(1);
        self.to.send(Request { images: images.to_owned(), ask, reply }).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

fn mixed_up<T>() -> Result<T> {
    Err(Error::Engine("a shared network answered another question; start again".into()))
}

impl Oracle for Client {
    fn classes(&self) -> usize {
        self.facts.classes
    }

    fn image_shape(&self) -> [usize; 3] {
        self.facts.shape
    }

    fn logits(&mut self, images: ArrayView4<f32>) -> Result<Array2<f32>> {
        if let Answer::Logits(z) = self.ask(images, Ask::Logits)? { Ok(z) } else { mixed_up() }
    }

    fn gradient(&mut self, images: ArrayView4<f32>, objective: Objective) -> Result<Evaluation> {
        let ask = match objective {
            Objective::CrossEntropy { labels } => Ask::CrossEntropy(labels.to_vec()),
            Objective::Linear { cotangent } => Ask::Linear(cotangent.to_owned()),
            Objective::Margin { labels, targeted, kappa } => Ask::Margin { labels: labels.to_vec(), targeted, kappa },
            Objective::Ratio { labels, targets } => Ask::Ratio { labels: labels.to_vec(), targets: targets.map(<[usize]>::to_vec) },
        };
        if let Answer::Evaluation(e) = self.ask(images, ask)? { Ok(e) } else { mixed_up() }
    }

    fn batch(&self) -> usize {
        self.facts.batch
    }
}

impl Layers for Client {
    fn spatial_layers(&self) -> Vec<LayerInfo> {
        self.facts.layers.clone()
    }

    fn linear_head(&self) -> Option<LinearHead> {
        self.facts.head.clone()
    }

    fn activation(&mut self, images: ArrayView4<f32>, layer: &str) -> Result<ArrayD<f32>> {
        if let Answer::Activation(a) = self.ask(images, Ask::Activation(layer.to_owned()))? { Ok(a) } else { mixed_up() }
    }

    fn layer_gradient(&mut self, images: ArrayView4<f32>, layer: &str, class: usize) -> Result<LayerGradient> {
        if let Answer::LayerGradient(g) = self.ask(images, Ask::LayerGradient(layer.to_owned(), class))? { Ok(g) } else { mixed_up() }
    }
}

impl Examined for Client {
    fn compared_layers(&self) -> Vec<LayerInfo> {
        self.facts.compared.clone()
    }

    fn pair(&mut self, clean: ArrayView3<f32>, adversarial: ArrayView3<f32>, layers: &[&str]) -> Result<Responses> {
        let ask = Ask::Pair(clean.to_owned(), layers.iter().map(|l| (*l).to_owned()).collect());
        if let Answer::Pair(responses) = self.ask(adversarial.insert_axis(Axis(0)), ask)? { Ok(responses) } else { mixed_up() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, Array3};

    /// Logits `[mean, -mean]`; counts its runs and their sizes.
    #[derive(Default)]
    struct Counting(Vec<usize>);

    impl Oracle for Counting {
        fn classes(&self) -> usize {
            2
        }

        fn image_shape(&self) -> [usize; 3] {
            [1, 2, 2]
        }

        fn logits(&mut self, images: ArrayView4<f32>) -> Result<Array2<f32>> {
            self.0.push(images.len_of(Axis(0)));
            if images.iter().any(|v| v.is_nan()) {
                return Err(Error::Input("a pixel is no number".into()));
            }
            Ok(Array2::from_shape_fn((images.len_of(Axis(0)), 2), |(n, k)| {
                images.index_axis(Axis(0), n).mean().unwrap_or(0.0) * if k == 0 { 1.0 } else { -1.0 }
            }))
        }

        fn gradient(&mut self, images: ArrayView4<f32>, objective: Objective) -> Result<Evaluation> {
            let logits = self.logits(images)?;
            let loss = match objective {
                Objective::Ratio { labels, targets: Some(targets) } => {
                    labels.iter().zip(targets).map(|(l, t)| (10 * l + t) as f32).collect()
                }
                _ => Array1::zeros(logits.nrows()),
            };
            Ok(Evaluation { loss, logits, grad: images.to_owned() })
        }
    }

    impl Layers for Counting {
        fn spatial_layers(&self) -> Vec<LayerInfo> {
            Vec::new()
        }

        fn linear_head(&self) -> Option<LinearHead> {
            None
        }

        fn activation(&mut self, images: ArrayView4<f32>, _: &str) -> Result<ArrayD<f32>> {
            Ok(images.to_owned().into_dyn())
        }

        fn layer_gradient(&mut self, images: ArrayView4<f32>, _: &str, class: usize) -> Result<LayerGradient> {
            let scaled = images.mapv(|v| v * class as f32);
            Ok(LayerGradient { logits: self.logits(images)?, activation: images.to_owned(), gradient: scaled })
        }
    }

    impl Examined for Counting {
        fn compared_layers(&self) -> Vec<LayerInfo> {
            Vec::new()
        }

        fn pair(&mut self, clean: ArrayView3<f32>, adversarial: ArrayView3<f32>, _: &[&str]) -> Result<Responses> {
            let logits = ndarray::array![[clean.sum()], [adversarial.sum()]];
            Ok(Responses { logits, layers: Vec::new() })
        }
    }

    #[test]
    fn requests_meet_in_one_run_and_everyone_gets_their_own_rows() {
        let mut network = Counting::default();
        let (clients, server) = clients(&network, 6);
        std::thread::scope(|scope| {
            for (i, mut client) in clients.into_iter().enumerate() {
                scope.spawn(move || {
                    let image = Array3::from_elem([1, 2, 2], i as f32).insert_axis(Axis(0));
                    for _ in 0..20 {
                        assert_eq!(client.logits(image.view()).unwrap()[(0, 0)], i as f32);
                        let class = i % 2;
                        let e = client.gradient(image.view(), Objective::CrossEntropy { labels: &[class] }).unwrap();
                        assert_eq!((e.logits[(0, 1)], e.grad[(0, 0, 1, 1)]), (-(i as f32), i as f32));
                        let ratio = Objective::Ratio { labels: &[class], targets: Some(&[i]) };
                        assert_eq!(client.gradient(image.view(), ratio).unwrap().loss[0], (10 * class + i) as f32);
                        let g = client.layer_gradient(image.view(), "x", class).unwrap();
                        assert_eq!(g.gradient[(0, 0, 0, 0)], (i * class) as f32);
                        let ones = Array3::ones([1, 2, 2]);
                        let pair = client.pair(ones.view(), image.index_axis(Axis(0), 0), &[]).unwrap();
                        assert_eq!((pair.logits[(0, 0)], pair.logits[(1, 0)]), (4.0, 4.0 * i as f32));
                    }
                });
            }
            server.serve(&mut network);
        });
        assert_eq!(network.0.iter().sum::<usize>(), 6 * 20 * 4, "nothing runs twice");
        assert!(network.0.iter().any(|n| *n > 1), "requests are run together: {:?}", network.0);
    }

    #[test]
    fn a_failure_reaches_everybody_it_concerns() {
        let mut network = Counting::default();
        let (mut clients, server) = clients(&network, 1);
        let mut client = clients.remove(0);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let bad = Array4::from_elem([1, 1, 2, 2], f32::NAN);
                assert!(matches!(client.logits(bad.view()), Err(Error::Input(_))));
                assert!(client.logits(Array4::zeros([1, 1, 2, 2]).view()).is_ok(), "the server goes on");
            });
            server.serve(&mut network);
        });
    }
}
