//! The triage screen: Enter with and without a kept run.

use std::path::{Path, PathBuf};

use psescope::{
    engine::{
        recorded::Recorded,
        trace::file::{Run, RunMeta},
        triage::{Row, background::News},
    },
    tui::notice::Severity,
};

use super::*;

/// The folder with a kept run of the weakest image, 1.png; the others have none.
fn with_runs() -> Typist {
    let mut t = triage();
    let kept = Row { run: Some("1-abc.pse".into()), ..triaged(1, true, Some(1), 6.0) };
    t.engine(Event::Triage(
        1,
        Box::new(News::Begun {
            metadata: Default::default(),
            total: 3,
            rows: vec![triaged(0, true, Some(3), 5.0), kept, triaged(2, false, None, 1.0)],
            runs: Some("/state/runs/x".into()),
        }),
    ));
    t
}

/// What is open now is this image.
fn opens(t: &mut Typist, image: &str) {
    let opened = t.model.opened.clone().expect("open");
    t.effects.clear();
    t.engine(Event::Opened(Box::new(Opened { image_path: image.into(), ..(*opened).clone() })));
}

/// A run of eleven steps as a triage keeps it, on seed 7.
fn run(path: &Path) -> Arc<Recorded> {
    let trace = Arc::new(Trace::new(Arc::new(picture()), 0, Some(1), 64 << 20));
    (0..11).for_each(|index| push(&trace, index, Some(1)));
    let meta = RunMeta {
        attack: "mifgsm".into(),
        params: vec![("eps".into(), "4/255".into())],
        seed: 7,
        target: Some(1),
        success: true,
        best: Some(10),
        steps: trace.with_steps(<[_]>::to_vec),
        ..RunMeta::default()
    };
    Arc::new(Recorded { path: path.to_owned(), run: Run { meta, trace, maps: Default::default() }, model: Ok("squeezenet.onnx".into()) })
}

/// The run asked for: its number and file.
fn asked_for(t: &Typist) -> Option<(RunId, PathBuf)> {
    t.commands().into_iter().find_map(|c| match c {
        Command::OpenKept { run, kept, .. } => Some((*run, kept.clone())),
        _ => None,
    })
}

#[test]
fn enter_shows_the_kept_run_with_its_steps_and_attacks_nothing() {
    let mut t = with_runs();
    let before = t.model.request.clone();
    t.keys("<enter>");
    let (id, path) = asked_for(&t).expect("asked for");
    assert_eq!((path.as_path(), t.model.screen), (Path::new("/state/runs/x/1-abc.pse"), Screen::Attack));
    opens(&mut t, "photos/1.png");
    t.engine(Event::Kept { run: id, image: "photos/1.png".into(), recorded: Ok(run(&path)) });
    assert!(!t.commands().iter().any(|c| matches!(c, Command::Attack { .. })), "{:?}", t.effects);
    let shown = t.model.run.as_ref().expect("a run");
    assert_eq!((shown.id, shown.request.attack.as_str(), shown.request.seed, shown.newest), (id, "mifgsm", 7, Some(10)));
    assert_eq!(t.model.cursor, Cursor::At(10), "at its result");
    assert_eq!(t.model.request, before, "the next attack is the folder's, with its own rule for targets");
    t.keys("h");
    assert_eq!(t.model.cursor, Cursor::At(9), "every step is there");
    assert!(t.text(120, 40).contains("9/10"), "{}", t.text(120, 40));
    t.wait(300);
    assert!(t.model.without_model().is_none() && t.model.saved == Some(id), "its model is open, and leaving saves nothing twice");
    // Again: it is there already. Another image without a run is attacked, and why is said.
    t.keys("T<enter>");
    assert!(asked_for(&t).is_none() && t.model.screen == Screen::Attack);
    t.keys("Tj<enter>");
    assert!(t.commands().iter().any(|c| matches!(c, Command::OpenImage(p) if p.ends_with("0.png"))), "{:?}", t.effects);
    assert!(t.text(120, 40).contains("no run of this image was kept; attacking it again"), "{}", t.text(120, 40));
    opens(&mut t, "photos/0.png");
    assert!(t.commands().iter().any(|c| matches!(c, Command::Attack { .. })), "{:?}", t.effects);
}

#[test]
fn a_run_that_is_gone_is_made_again_and_late_answers_are_ignored() {
    let mut t = with_runs();
    t.keys("<enter>");
    let (id, path) = asked_for(&t).expect("asked for");
    opens(&mut t, "photos/1.png");
    t.engine(Event::Kept { run: id, image: "photos/1.png".into(), recorded: Err("its kept run is gone".into()) });
    assert!(t.commands().iter().any(|c| matches!(c, Command::Attack { run, .. } if run.0 > id.0)), "{:?}", t.effects);
    assert!(t.text(120, 40).contains("its kept run is gone; attacking it again"));
    // Something else was opened meanwhile.
    let mut t = with_runs();
    t.keys("<enter>");
    opens(&mut t, "elsewhere.png");
    t.engine(Event::Kept { run: id, image: "photos/1.png".into(), recorded: Ok(run(&path)) });
    assert!(t.model.run.is_none() && t.commands().is_empty(), "{:?}", t.effects);
}

#[test]
fn that_no_more_runs_are_kept_is_said() {
    let mut t = with_runs();
    t.engine(Event::Triage(1, Box::new(News::Unkept("no more runs are kept: those of this folder would take more than 2 GiB".into()))));
    assert!(t.text(120, 40).contains("Enter attacks the others again"), "{}", t.text(120, 40));
    assert!(t.model.notices.log().any(|n| n.severity == Severity::Warn && n.text.contains("2 GiB")));
    t.wait(20_000);
    assert!(t.text(120, 40).contains("2 runs not kept"), "it stays on the screen:\n{}", t.text(120, 40));
    t.keys("j<enter>");
    assert!(t.text(120, 40).contains("more than 2 GiB; attacking it again"), "{}", t.text(120, 40));
}
