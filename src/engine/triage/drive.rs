//! Many images at once. On a processor every lane has a network of its own with few threads: one image fills one core better than many
//! cores share one image. On a device the lanes share one network, whose requests meet in batches (see [`super::gather`]).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::{RecvTimeoutError, unbounded};

use super::{
    Item, Row, Settings,
    assess::{Contender, Examined, Keeping, assess},
    gather::{self, Client},
    runs::Runs,
};
use crate::{
    core::error::{Error, Result},
    engine::{
        command::{AttackRequest, Target},
        control::Control,
        subject::Subject,
    },
    runtime::{
        Network, Runtime, RuntimeOptions,
        backend::{Backend, Interrupt},
        interrupt::Group,
        quiet,
    },
};

/// More networks than this side by side cost memory rather than save time.
const MOST_LANES: usize = 16;

/// The same attack on a second model.
#[derive(Clone)]
pub struct Rival {
    /// The model.
    pub subject: Arc<Subject>,
    /// The attack, with classes in its numbering.
    pub request: AttackRequest,
}

impl Rival {
    /// The attack on `first`, brought to another model: a target class is found there by its name. True classes are each model's own
    /// predictions.
    pub fn of(subject: Arc<Subject>, first: &Subject, request: &AttackRequest) -> Result<Self> {
        let target = match request.target {
            Target::Class(class) => {
                let name = first.labels.name(class);
                let missing = |_| {
                    Error::Parameter(format!(
                        "the target '{name}' is no class of {}; choose one that both models know, or a rule such as least-likely",
                        subject.path.display()
                    ))
                };
                let same = class < subject.labels.len() && subject.labels.name(class) == name;
                Target::Class(if same { class } else { subject.labels.find(&name).map_err(missing)? })
            }
            ref rule => rule.clone(),
        };
        Ok(Self { subject, request: AttackRequest { target, label: None, ..request.clone() } })
    }
}

/// How many images are worked on at once; 0 chooses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    /// Networks side by side, each with its share of the threads.
    pub jobs: usize,
    /// Images whose requests are run as one batch on one network.
    pub batch: usize,
}

/// Models and settings of a triage.
#[derive(Clone)]
pub struct Job {
    /// The model.
    pub subject: Arc<Subject>,
    /// A second one to compare with.
    pub rival: Option<Rival>,
    /// What is done to every image.
    pub settings: Settings,
    /// Where the first model's runs are kept, if they are.
    pub runs: Option<Arc<Runs>>,
}

/// An engine made ready for a triage.
pub struct Setup {
    backend: Arc<dyn Backend>,
    first: Network,
    lanes: usize,
    batched: bool,
    /// Engine and provider that really run.
    pub provider: String,
    /// What people should know about the engine, one sentence each.
    pub notices: Vec<String>,
}

/// A network with threads of its own, or a share of one.
enum Lane {
    Own(Box<Network>),
    Make,
    Shared(Client, Option<Client>),
}

impl Setup {
    /// Opens the engine and decides how images are run side by side.
    pub fn open(job: &Job, options: &RuntimeOptions, pace: Pace, images: usize) -> Result<Self> {
        let threads = options.thread_count().max(1);
        let lanes = if pace.jobs > 0 { pace.jobs } else { threads.min(MOST_LANES) }.clamp(1, images.max(1));
        let share = RuntimeOptions { threads: if pace.batch > 1 { threads } else { (threads / lanes).max(1) }, ..options.clone() };
        let runtime = Runtime::open(&share)?;
        let backend = runtime.backend();
        let first = job.subject.network(&backend)?;
        let batched = pace.batch > 1 || (pace.batch == 0 && pace.jobs == 0 && first.provider() != "CPU");
        let lanes = match (batched, pace.batch) {
            (false, _) => lanes,
            (true, 0) => backend.preferred_batch().clamp(1, images.max(1)),
            (true, batch) => batch.clamp(1, images.max(1)),
        };
        let provider = format!("{} ({})", first.provider(), backend.describe());
        let notices = runtime.report().notices.clone();
        Ok(Self { backend, first, lanes, batched, provider, notices })
    }

    /// How many images are worked on at once, and whether in batches.
    pub fn pace(&self) -> (usize, bool) {
        (self.lanes, self.batched)
    }

    /// Works through the images; `on_row` gets the rows as they are finished, in no particular order. Ends early when `control` is
    /// stopped, when `on_row` fails, or when the engine does.
    pub fn run(self, job: &Job, items: &[Item], control: &Control, on_row: &mut dyn FnMut(Row) -> Result<()>) -> Result<()> {
        let group = Arc::new(Group::default());
        group.add(&self.first.interrupt());
        let as_interrupt: Arc<dyn Interrupt> = group.clone();
        let _bound = control.bind(as_interrupt);
        let next = AtomicUsize::new(0);
        let keeping = job.runs.as_deref().map(|runs| Keeping { runs, provider: &self.provider });
        let (rows, finished) = unbounded();
        thread::scope(|scope| {
            let mut lanes = Vec::new();
            if self.batched {
                let mut first = self.first;
                let (clients, server) = gather::clients(&first, self.lanes);
                scope.spawn(move || server.serve(&mut first));
                let mut rivals = Vec::new();
                if let Some(rival) = &job.rival {
                    let mut network = rival.subject.network(&self.backend)?;
                    group.add(&network.interrupt());
                    let (clients, server) = gather::clients(&network, self.lanes);
                    scope.spawn(move || server.serve(&mut network));
                    rivals = clients;
                }
                let mut rivals = rivals.into_iter();
                lanes.extend(clients.into_iter().map(|c| Lane::Shared(c, rivals.next())));
            } else {
                lanes.push(Lane::Own(Box::new(self.first)));
                lanes.resize_with(self.lanes, || Lane::Make);
            }
            for lane in lanes {
                let (rows, next, group, backend) = (rows.clone(), &next, &group, &self.backend);
                scope.spawn(move || {
                    let done = work(lane, (job, keeping), items, next, (backend, group), control, &|row| rows.send(Ok(row)).is_ok());
                    if let Err(error) = done {
                        let _ = rows.send(Err(error));
                    }
                });
            }
            drop(rows);
            let outcome = collect(&finished, control, on_row);
            if outcome.is_err() {
                // The others are in the middle of their images.
                next.store(items.len(), Ordering::SeqCst);
                control.stop();
            }
            outcome
        })
    }
}

type Finished = crossbeam_channel::Receiver<Result<Row>>;

fn collect(finished: &Finished, control: &Control, on_row: &mut dyn FnMut(Row) -> Result<()>) -> Result<()> {
    loop {
        match finished.recv_timeout(Duration::from_millis(100)) {
            Ok(row) => on_row(row?)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if control.stopped() => return Err(Error::Stopped),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// One lane: takes the next image until there is none.
fn work(
    lane: Lane,
    (job, keeping): (&Job, Option<Keeping>),
    items: &[Item],
    next: &AtomicUsize,
    (backend, group): (&Arc<dyn Backend>, &Group),
    control: &Control,
    put: &dyn Fn(Row) -> bool,
) -> Result<()> {
    let own = |subject: &Subject| -> Result<Box<dyn Examined>> {
        let network = subject.network(backend)?;
        group.add(&network.interrupt());
        Ok(Box::new(network))
    };
    let second = || job.rival.as_ref().map(|rival| own(&rival.subject)).transpose();
    let (mut network, mut other): (Box<dyn Examined>, Option<Box<dyn Examined>>) = match lane {
        Lane::Own(network) => (network, second()?),
        Lane::Make => (own(&job.subject)?, second()?),
        Lane::Shared(client, rival) => (Box::new(client), rival.map(|c| Box::new(c) as Box<dyn Examined>)),
    };
    loop {
        let Some(item) = items.get(next.fetch_add(1, Ordering::SeqCst)) else { return Ok(()) };
        control.checkpoint()?;
        let model = Contender { subject: &job.subject, network: &mut *network, request: &job.settings.request };
        let rival = job.rival.as_ref().zip(other.as_deref_mut());
        let rival = rival.map(|(rival, network)| Contender { subject: &rival.subject, network, request: &rival.request });
        let row = match catch_unwind(AssertUnwindSafe(|| assess(item, (model, keeping), rival, &job.settings, control))) {
            Ok(row) => row?,
            Err(panic) => Row {
                index: Some(item.index as i64),
                path: Some(item.path.to_string_lossy().into_owned()),
                error: Some(format!("an internal error ended the work on this image ({})", quiet::said(panic))),
                ..Row::default()
            },
        };
        if !put(row) {
            return Ok(());
        }
    }
}
