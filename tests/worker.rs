//! The real worker on the bundled model and photo, with the embedded engine.

mod common;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use psescope::{
    core::explain::{
        cam::Method,
        psr::{Mode, Settings},
        units::Fill,
    },
    engine::{
        command::{At, AttackRequest, Command, RunId, Target},
        control::Control,
        event::{Ending, Event},
        inspect::{Answer, Ask, Mask},
        keep, sample,
        trace::file,
    },
};

use common::{
    root,
    session::{PATIENCE, Session},
};

/// Steps enough that no attack here ends by itself.
const LONG: &[(&str, &str)] = &[("steps", "5000")];

#[test]
fn a_model_opens_and_an_attack_tells_its_start_steps_and_end() {
    let (mut session, opened) = Session::open();
    assert_eq!(opened.logits.len(), 1000);
    assert_eq!(opened.labels.len(), 1000);
    assert_eq!(opened.model_sha256.len(), 64);
    assert!(opened.engine.contains("tract"), "{}", opened.engine);
    assert!(opened.no_gradient.is_none() && opened.has_linear_head);
    session.attack(1, &[("steps", "3")], Target::Second);
    let trace = session.started(1);
    let mut seen = Vec::new();
    let (ending, best) = session.until("Ended", |e| match e {
        Event::Step { index, .. } => {
            seen.push(index);
            None
        }
        Event::Ended { ending, best, .. } => Some((ending, best)),
        _ => None,
    });
    assert!(matches!(ending, Ending::Done { .. }), "{ending:?}");
    assert_eq!(seen, (0..trace.len()).collect::<Vec<_>>());
    assert!(best.is_some_and(|b| trace.frame(b).is_some()));
    // Maps of the clean image and of a step.
    let class = trace.label;
    for at in [At::Clean, At::Step(RunId(1), 2)] {
        session.send(Command::Cam { at, method: Method::GradCam, layer: None, class, control: Control::default() });
        let map = session.until("Cam", |e| match e {
            Event::Cam { at: of, map } if of == at => Some(map),
            _ => None,
        });
        assert!(map.raw.iter().all(|v| v.is_finite()) && map.class == class);
    }
    // A layer that does not exist is a sentence, and nothing more.
    session.send(Command::Cam {
        at: At::Clean,
        method: Method::GradCam,
        layer: Some("nowhere".into()),
        class,
        control: Control::default(),
    });
    assert!(session.failed().contains("nowhere"));
}

/// Every record may hold 192 MiB of pictures: a day of attacks on one image must not keep them all.
#[test]
fn old_runs_are_let_go() {
    let (mut session, _) = Session::open();
    let mut traces = Vec::new();
    for run in 1..=4 {
        session.attack(run, &[("steps", "1")], Target::Second);
        traces.push(std::sync::Arc::downgrade(&session.started(run)));
        session.ended(run);
    }
    // The thread of an attack lets go of its record a moment after it told the end.
    let end = Instant::now() + PATIENCE;
    while traces[..2].iter().any(|t| t.upgrade().is_some()) {
        assert!(Instant::now() < end, "the first records are still held");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(traces[3].upgrade().is_some(), "the newest can be asked about");
    session.map(4, 1, 60, Mode::Linear);
    session.until("Psr", |e| matches!(e, Event::Psr { run: RunId(4), done: true, .. }).then_some(()));
}

#[test]
fn looking_at_a_step_does_not_wait_for_the_attack() {
    let (mut session, _) = Session::open();
    let control = session.attack(1, LONG, Target::Untargeted);
    let trace = session.started(1);
    session.stepped(1, 2);
    // Running.
    session.map(1, 2, 60, Mode::Linear);
    session.until("Psr", |e| matches!(e, Event::Psr { step: 2, done: true, .. }).then_some(()));
    session.send(Command::Cam { at: At::Step(RunId(1), 2), method: Method::GradCam, layer: None, class: 0, control: Control::default() });
    session.until("Cam", |e| matches!(e, Event::Cam { .. }).then_some(()));
    // Paused: it stands still, and maps still come.
    control.set_paused(true);
    let mut standing = trace.len();
    let end = Instant::now() + PATIENCE;
    loop {
        std::thread::sleep(Duration::from_millis(500));
        if trace.len() == standing {
            break;
        }
        assert!(Instant::now() < end, "it never paused");
        standing = trace.len();
    }
    session.map(1, standing - 1, 60, Mode::Linear);
    session.until("Psr", |e| matches!(e, Event::Psr { step, done: true, .. } if step == standing - 1).then_some(()));
    session.send(Command::Cam {
        at: At::Step(RunId(1), standing - 1),
        method: Method::GradCam,
        layer: None,
        class: 1,
        control: Control::default(),
    });
    session.until("Cam", |e| matches!(e, Event::Cam { .. }).then_some(()));
    assert_eq!(trace.len(), standing);
    // On again, and stopped.
    control.set_paused(false);
    session.stepped(1, standing);
    control.stop();
    assert_eq!(session.ended(1), Ending::Stopped);
    // What it amounts to is a step that left the true class, if there is one.
    let best = trace.best().and_then(|b| trace.step(b)).expect("a result");
    assert!(best.predicted != trace.label || trace.flipped_at().is_none());
}

#[test]
fn a_newer_map_stops_the_older_one_and_skips_those_in_between() {
    let (mut session, _) = Session::open();
    session.attack(1, &[("steps", "2")], Target::Untargeted);
    session.ended(1);
    let first = session.map(1, 1, 8, Mode::Exact);
    session.until("the first cells", |e| matches!(e, Event::Psr { done: false, .. }).then_some(()));
    let second = session.map(1, 1, 10, Mode::Exact);
    session.map(1, 2, 60, Mode::Linear);
    session.until("Psr", |e| match e {
        Event::Psr { map, done: true, .. } if map.settings.mode == Mode::Exact => panic!("a map that nobody waits for was finished"),
        Event::Psr { step: 2, done: true, .. } => Some(()),
        Event::Failed(why) => panic!("{why}"),
        _ => None,
    });
    assert!(first.stopped() && second.stopped());
    // The engine is not left stopped.
    session.map(1, 1, 60, Mode::Linear);
    session.until("Psr", |e| matches!(e, Event::Psr { step: 1, done: true, .. }).then_some(()));
}

#[test]
fn a_real_request_overtakes_one_that_nobody_waits_for() {
    let (mut session, _) = Session::open();
    session.attack(1, &[("steps", "3")], Target::Untargeted);
    session.ended(1);
    let wish = |step: usize, cell: usize, mode: Mode| {
        let control = Control::default();
        let settings = Settings { floor: 0.1, threshold: 1.0, mode };
        let (run, cell) = (RunId(1), [cell, cell]);
        let map = Command::Psr { run, step, cell, settings, known: vec![], estimate: None, control: control.clone() };
        session.send(Command::Ahead(Box::new(map)));
        control
    };
    // One that is being worked on, and one behind it.
    let (first, second) = (wish(1, 8, Mode::Exact), wish(2, 8, Mode::Exact));
    session.until("the first cells", |e| matches!(e, Event::Psr { done: false, .. }).then_some(()));
    session.map(1, 3, 60, Mode::Linear);
    session.until("Psr", |e| match e {
        Event::Psr { map, done: true, .. } if map.settings.mode == Mode::Exact => panic!("what nobody waits for was finished first"),
        Event::Psr { step: 3, done: true, .. } => Some(()),
        Event::Failed(why) => panic!("{why}"),
        _ => None,
    });
    assert!(first.stopped() && second.stopped());
}

#[test]
fn what_is_asked_ahead_is_answered_when_nothing_else_is() {
    let (mut session, _) = Session::open();
    session.attack(1, &[("steps", "2")], Target::Untargeted);
    session.ended(1);
    let control = Control::default();
    let wish = Command::Cam { at: At::Step(RunId(1), 1), method: Method::GradCam, layer: None, class: 0, control: control.clone() };
    session.send(Command::Ahead(Box::new(wish)));
    session.until("Cam", |e| matches!(e, Event::Cam { at: At::Step(RunId(1), 1), .. }).then_some(()));
    session.until("Idle", |e| matches!(e, Event::Idle).then_some(()));
    assert!(control.stopped(), "it is over");
    // What fails is not told.
    let nowhere = Some("nowhere".to_owned());
    let control = Control::default();
    let wish = Command::Cam { at: At::Clean, method: Method::GradCam, layer: nowhere, class: 0, control: control.clone() };
    session.send(Command::Ahead(Box::new(wish)));
    session.until("Idle", |e| match e {
        Event::Failed(why) => panic!("{why}"),
        Event::Idle => Some(()),
        _ => None,
    });
    assert!(control.stopped());
}

#[test]
fn a_second_attack_stops_the_first_even_while_it_is_paused() {
    let (mut session, _) = Session::open();
    let first = session.attack(1, LONG, Target::Untargeted);
    session.started(1);
    session.stepped(1, 1);
    first.set_paused(true);
    session.attack(2, &[("steps", "1")], Target::Untargeted);
    assert_eq!(session.ended(1), Ending::Stopped);
    session.started(2);
    assert!(matches!(session.ended(2), Ending::Done { .. }));
    // Both runs can be looked at.
    session.map(1, 1, 60, Mode::Linear);
    session.until("Psr", |e| matches!(e, Event::Psr { run: RunId(1), done: true, .. }).then_some(()));
}

#[test]
fn bad_parameters_end_the_run_with_the_sentence() {
    let (mut session, _) = Session::open();
    session.attack(1, &[("steps", "many")], Target::Untargeted);
    let Ending::Failed(why) = session.ended(1) else { panic!("it ran") };
    assert!(why.contains("steps") && why.contains("many"), "{why}");
    session.attack(2, &[("steps", "1")], Target::Class(4000));
    let Ending::Failed(why) = session.ended(2) else { panic!("it ran") };
    assert!(why.contains("4000") && why.contains("999"), "{why}");
    session.attack(3, &[("steps", "1")], Target::Untargeted);
    assert!(matches!(session.ended(3), Ending::Done { .. }));
}

#[test]
fn a_bad_path_leaves_everything_as_it_was_and_a_good_one_ends_the_attack() {
    let (mut session, _) = Session::open();
    session.attack(1, LONG, Target::Untargeted);
    session.stepped(1, 1);
    session.send(Command::OpenImage(PathBuf::from("no/such/photo.jpg")));
    assert!(session.failed().contains("photo.jpg"));
    session.send(Command::Open { model: "no/such/model.onnx".into(), image: sample::IMAGE.into() });
    assert!(session.failed().contains("model.onnx"));
    session.stepped(1, 3);
    // Another model while it runs: the attack ends, then the model is there.
    session.send(Command::Open { model: sample::MODEL.into(), image: root().join("samples/koala.jpg") });
    assert_eq!(session.ended(1), Ending::Stopped);
    let opened = session.until("Opened", |e| if let Event::Opened(o) = e { Some(o) } else { None });
    assert!(opened.image_path.ends_with("koala.jpg"));
    session.attack(2, &[("steps", "1")], Target::Untargeted);
    assert!(matches!(session.ended(2), Ending::Done { .. }));
}

#[test]
fn looking_for_a_runtime_where_there_is_none_is_a_notice() {
    let (mut session, _) = Session::open();
    session.send(Command::RescanRuntime);
    session.until("Notice", |e| match e {
        Event::Notice(text) => {
            assert!(text.contains("tract"), "{text}");
            Some(())
        }
        Event::Failed(why) => panic!("{why}"),
        _ => None,
    });
    session.attack(1, &[("steps", "1")], Target::Untargeted);
    assert!(matches!(session.ended(1), Ending::Done { .. }));
}

#[test]
fn leaving_ends_the_threads_even_in_the_middle_of_everything() {
    let (mut session, _) = Session::open();
    session.attack(1, LONG, Target::Untargeted);
    session.stepped(1, 1);
    session.map(1, 1, 8, Mode::Exact);
    session.send(Command::Shutdown);
    let end = Instant::now() + PATIENCE;
    while session.handle.events.recv_timeout(end.saturating_duration_since(Instant::now())).is_ok() {}
    assert!(Instant::now() < end, "the events' end is still open");
}

#[test]
fn layers_units_and_masks_of_a_step() {
    let (mut session, _) = Session::open();
    session.attack(1, &[("eps", "8/255"), ("steps", "2")], Target::Untargeted);
    let trace = session.started(1);
    session.ended(1);
    let step = trace.frames().last().copied().expect("frames");
    let predicted = trace.step(step).expect("a step").predicted;
    let other = if predicted == trace.label { predicted + 1 } else { predicted };
    let classes = (trace.label, other);
    let mut ask = |ask: Ask| {
        session.send(Command::Network { run: RunId(1), step, ask: ask.clone(), control: Control::default() });
        session.until("Network", |e| match e {
            Event::Network { ask: answered, answer, .. } if answered == ask && !matches!(answer, Answer::Over(_, false)) => Some(answer),
            _ => None,
        })
    };
    let Answer::Layers(layers) = ask(Ask::Layers { all: false }) else { panic!("layers") };
    assert!(layers.len() > 3 && layers.iter().all(|c| c.cosine.is_some_and(|v| v < 1.0)));
    let Answer::Over(over, true) = ask(Ask::Over { all: false }) else { panic!("over") };
    assert_eq!((over.steps.len(), over.cosines.len()), (trace.frames().len(), layers.len()));
    let last = over.cosines.last().and_then(|(_, row)| row.last().copied().flatten()).expect("a cosine");
    assert!((last - layers.last().and_then(|c| c.cosine).expect("a cosine")).abs() < 1e-5);
    let Answer::Units(table, _) = ask(Ask::Units { layer: None, classes }) else { panic!("units") };
    let layer = table.layer.name.clone();
    let Answer::Exact(effects) = ask(Ask::Exact { layer: layer.clone(), classes, units: vec![0, 1] }) else { panic!("exact") };
    assert_eq!(effects.len(), 2);
    // Every unit put back to its clean map: the clean image's logits.
    let all: Vec<usize> = (0..table.units.len()).collect();
    let Answer::Mask(patched) = ask(Ask::Mask(Mask { layer: layer.clone(), units: all, fill: Fill::Clean })) else { panic!("mask") };
    for (a, b) in patched[1].iter().zip(&table.logits[0]) {
        assert!((a - b).abs() < 1e-2 * b.abs().max(1.0), "{a} {b}");
    }
    // One unit put back is what its measured effect says.
    let Answer::Mask(one) = ask(Ask::Mask(Mask { layer, units: vec![1], fill: Fill::Clean })) else { panic!("mask") };
    assert!((table.logits[1][classes.0] - one[1][classes.0] - effects[1].0).abs() < 1e-2);
}

#[test]
fn a_kept_run_opens_with_its_image_or_says_why_not() {
    let (mut session, opened) = Session::open();
    session.attack(1, &[("steps", "2")], Target::Second);
    let trace = session.started(1);
    assert!(matches!(session.ended(1), Ending::Done { .. }));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("kept.pse");
    let request = AttackRequest {
        attack: "ifgsm".into(),
        params: vec![("steps".into(), "2".into())],
        target: Target::Second,
        label: None,
        seed: 0,
        within: None,
    };
    let mut meta = keep::meta((&*opened).into(), &request, &trace);
    file::save(&file, &meta, &trace).expect("written");
    let open = |session: &mut Session, run: u64, kept: PathBuf| {
        session.send(Command::OpenKept { run: RunId(run), model: sample::MODEL.into(), image: sample::IMAGE.into(), kept });
        let opened = session.until("Opened", |e| if let Event::Opened(o) = e { Some(o) } else { None });
        let recorded = session.until("Kept", |e| match e {
            Event::Kept { run: of, recorded, .. } if of == RunId(run) => Some(recorded),
            _ => None,
        });
        (opened, recorded)
    };
    let (again, recorded) = open(&mut session, 7, file.clone());
    let recorded = recorded.expect("the run");
    assert_eq!((recorded.run.trace.len(), &again.logits), (trace.len(), &opened.logits));
    assert!(!again.is_recorded() && again.engine.contains("tract"), "the model is open: {}", again.engine);
    // What needs the model works on the run, and another attack on the image.
    session.map(7, 1, 56, Mode::Linear);
    session.until("Psr", |e| matches!(e, Event::Psr { run, done: true, .. } if run == RunId(7)).then_some(()));
    session.attack(8, &[("steps", "1")], Target::Untargeted);
    assert_eq!(session.started(8).label, trace.label);
    assert!(matches!(session.ended(8), Ending::Done { .. }));
    // Gone, damaged, of another model, of other preprocessing: the image is open all the same.
    fs::write(folder.path().join("damaged.pse"), b"no run").expect("written");
    meta.model_sha256 = "0".repeat(64);
    file::save(&folder.path().join("other.pse"), &meta, &trace).expect("written");
    (meta.model_sha256, meta.clean_logits[3]) = (opened.model_sha256.clone(), 1000.0);
    file::save(&folder.path().join("elsewise.pse"), &meta, &trace).expect("written");
    for (name, why) in [("gone", "is gone"), ("damaged", "not a usable run"), ("other", "another model"), ("elsewise", "--preprocess")] {
        let (again, recorded) = open(&mut session, 9, folder.path().join(format!("{name}.pse")));
        let said = recorded.expect_err("not usable");
        assert!(said.contains(why) && again.image == opened.image, "{said}");
    }
}
