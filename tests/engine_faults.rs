//! What becomes of a run when its engine fails, panics or runs out of memory in the middle of it.
#![cfg(feature = "embedded")]

mod common;

use std::sync::Arc;

use psescope::{
    core::explain::psr::{Mode, PsrMap},
    engine::{
        command::{RunId, Target},
        event::{Ending, Event},
        keep,
        trace::{
            Trace,
            file::{self, RunMeta},
        },
    },
};

use common::{faulty::Fault, session::Session};

const SIX: &[(&str, &str)] = &[("eps", "8/255"), ("steps", "6")];

/// Attacks once: its record, how it ended, and what was said meanwhile.
fn attacked(session: &mut Session, run: u64) -> (Arc<Trace>, Ending, Vec<String>) {
    session.attack(run, SIX, Target::Untargeted);
    let trace = session.started(run);
    let mut said = Vec::new();
    let ending = session.until("Ended", |e| match e {
        Event::Ended { run: ended, ending, .. } if ended == RunId(run) => Some(ending),
        Event::Notice(text) => {
            said.push(text);
            None
        }
        _ => None,
    });
    (trace, ending, said)
}

/// A record is worth something when it can be written and read.
fn is_kept(trace: &Trace, steps: usize) {
    assert_eq!(trace.len(), steps);
    assert!(trace.best().is_some_and(|best| best < steps));
    let folder = tempfile::tempdir().expect("a folder");
    let meta = RunMeta { format: file::VERSION, steps: trace.with_steps(<[_]>::to_vec), ..RunMeta::default() };
    file::save(&folder.path().join("kept.pse"), &meta, trace).expect("saved");
    let read = file::load(&folder.path().join("kept.pse")).expect("it can be read");
    assert_eq!(read.trace.frames(), trace.frames());
    assert!(keep::save_new(&folder.path().join("kept.pse"), &meta, trace, &Default::default()).is_err(), "never over another run");
}

#[test]
fn a_panic_in_the_worker_ends_the_attack_and_nothing_else() {
    let mut session = Session::faulty(Fault::Panic(4));
    let (trace, ending, _) = attacked(&mut session, 1);
    let Ending::Failed(why) = ending else { panic!("{ending:?}") };
    assert!(why.contains("internal error") && why.contains("on purpose") && why.contains("kept"), "{why}");
    is_kept(&trace, 3);
    // Looking at it and attacking again work.
    session.map(1, 2, 60, Mode::Linear);
    session.until("Psr", |e| matches!(e, Event::Psr { step: 2, done: true, .. }).then_some(()));
    let (trace, ending, _) = attacked(&mut session, 2);
    assert!(matches!(ending, Ending::Done { .. }) && trace.len() == 7, "{ending:?}");
}

#[test]
fn a_panic_while_explaining_is_a_sentence() {
    let mut session = Session::faulty(Fault::Panic(7));
    let (_, ending, _) = attacked(&mut session, 1);
    assert!(matches!(ending, Ending::Done { .. }));
    // Class activation maps ask for the logits, the layer and its gradient: the seventh gradient run.
    let cam = |session: &Session| {
        session.send(psescope::engine::command::Command::Cam {
            at: psescope::engine::command::At::Clean,
            method: psescope::core::explain::cam::Method::GradCam,
            layer: None,
            class: 0,
            control: Default::default(),
        });
    };
    cam(&session);
    let why = session.failed();
    assert!(why.contains("internal error") && why.contains("nothing recorded was lost"), "{why}");
    cam(&session);
    session.until("Cam", |e| matches!(e, Event::Cam { .. }).then_some(()));
}

#[test]
fn an_engine_that_fails_once_is_opened_again_and_the_run_is_the_same() {
    let (sound, _, _) = attacked(&mut Session::faulty(Fault::Memory(usize::MAX)), 1);
    let (trace, ending, said) = attacked(&mut Session::faulty(Fault::Once(3)), 1);
    assert!(matches!(ending, Ending::Done { .. }), "{ending:?}");
    assert!(said.len() == 1 && said[0].contains("failure 700") && said[0].contains("opened again"), "{said:?}");
    assert_eq!(trace.len(), sound.len());
    for step in 0..sound.len() {
        assert_eq!(trace.frame(step).expect("kept").image, sound.frame(step).expect("kept").image, "step {step}");
    }
}

#[test]
fn an_engine_that_fails_for_good_ends_the_run_and_it_is_kept() {
    let mut session = Session::faulty(Fault::ForGood(5));
    let (trace, ending, said) = attacked(&mut session, 1);
    let Ending::Failed(why) = ending else { panic!("{ending:?}") };
    assert!(why.contains("failure 700"), "{why}");
    // Tried once more, and said so.
    assert_eq!(said.len(), 1, "{said:?}");
    is_kept(&trace, 4);
}

#[test]
fn a_device_without_memory_gets_half_the_batch_and_says_so() {
    let exact = |fault: Fault| -> (Arc<PsrMap>, Vec<String>) {
        let mut session = Session::faulty(fault);
        attacked(&mut session, 1);
        session.map(1, 6, 57, Mode::Exact);
        let mut said = Vec::new();
        let map = session.until("Psr", |e| match e {
            Event::Psr { map, done: true, .. } => Some(map),
            Event::Notice(text) => {
                said.push(text);
                None
            }
            Event::Failed(why) => panic!("{why}"),
            _ => None,
        });
        (map, said)
    };
    let (whole, nothing) = exact(Fault::Memory(usize::MAX));
    let (halved, said) = exact(Fault::Memory(2));
    assert!(nothing.is_empty(), "{nothing:?}");
    assert!(said.len() == 2 && said.iter().all(|s| s.contains("ran out of memory") && s.contains("run together")), "{said:?}");
    assert_eq!(format!("{:?}", halved.cells), format!("{:?}", whole.cells));
}

#[test]
fn a_loop_on_the_device_that_runs_out_of_memory_is_told_and_the_run_is_the_same() {
    let (sound, _, _) = attacked(&mut Session::faulty(Fault::Memory(usize::MAX)), 1);
    let mut session = Session::faulty(Fault::Short { at: 3, times: usize::MAX });
    for run in [1, 2] {
        let (trace, ending, said) = attacked(&mut session, run);
        assert!(matches!(ending, Ending::Done { .. }), "{ending:?}");
        // The next attack stays on the host, and nothing is left to say.
        assert_eq!(
            said.iter().filter(|s| s.contains("ran out of memory") && s.contains("goes on")).count(),
            usize::from(run == 1),
            "{said:?}"
        );
        assert_eq!(trace.len(), sound.len());
        for step in 0..sound.len() {
            assert_eq!(trace.frame(step).expect("kept").image, sound.frame(step).expect("kept").image, "run {run} step {step}");
        }
    }
    let mut session = Session::faulty(Fault::Lost(4));
    let (trace, ending, _) = attacked(&mut session, 1);
    let Ending::Failed(why) = ending else { panic!("{ending:?}") };
    assert!(why.contains("failure 700") && why.contains("--update host"), "{why}");
    is_kept(&trace, 3);
}
