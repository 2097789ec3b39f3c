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
    t.wait(300).answer();
    assert!(t.model.without_model().is_none() && t.model.saved == Some(id), "its model is open, and leaving saves nothing twice");
    // Esc leads back where Enter came from, once there is nothing to leave or to stop.
    t.keys("z<esc>");
    assert_eq!(t.model.screen, Screen::Attack, "the zoom first");
    t.keys("3<esc>");
    assert_eq!(t.model.screen, Screen::Triage);
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
    t.keys("1<esc>");
    assert_eq!(t.model.screen, Screen::Attack, "this image did not come from the folder");
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

/// A picture of a folder's image: bright above, dark below.
fn thumb() -> Arc<Array3<f32>> {
    Arc::new(Array3::from_shape_fn((3, 64, 64), |(_, y, _)| if y < 32 { 1.0 } else { 0.0 }))
}

/// Answers all wishes for pictures, and says in which order they came.
fn pictures(t: &mut Typist) -> Vec<String> {
    let mut asked = Vec::new();
    while let Some(path) = t.model.triage.thumbs.asked.clone() {
        asked.push(path.display().to_string());
        t.engine(Event::Thumbnail(path, Some(thumb())));
    }
    asked
}

#[test]
fn rows_have_pictures_on_large_terminals_or_where_a_key_says_so() {
    let mut t = triage();
    t.keys("<down>");
    assert_eq!(pictures(&mut t), ["photos/0.png"], "of what was selected, nothing else");
    let short = t.text(120, 39);
    t.send(Msg::Resize(120, 40));
    assert_eq!(pictures(&mut t), ["photos/1.png", "photos/2.png"], "now every row on the screen has one");
    let text = t.text(120, 40);
    let line = |text: &str, what: &str| text.lines().position(|l| l.contains(what)).expect("there");
    let rows = |text: &str| line(text, " 0.png   ") - line(text, " 1.png   ");
    assert_eq!((rows(&short), rows(&text)), (1, 5));
    assert!(text.contains("@@@@@@@@"), "glyphs without colour:\n{text}");
    assert!(text.contains("flipped at 1 of 10 steps; L2 6.00"), "more about every image:\n{text}");
    t.keys("z");
    assert_eq!(rows(&t.text(120, 40)), 1, "the key wins over the size");
    t.send(Msg::Resize(80, 24));
    assert!(t.text(80, 24).contains("2.png") && t.keys("z").text(80, 24).contains("flipped at 1"), "{}", t.text(80, 24));
    t.keys("k");
    assert_eq!(t.model.triage.selected.as_deref(), Some("photos/1.png"));
    t.send(Msg::Resize(60, 16));
    assert!(t.keys("z").text(60, 16).contains("need a larger terminal"), "{}", t.text(60, 16));
    for (columns, rows) in [(60, 16), (61, 40), (110, 20), (300, 100)] {
        t.send(Msg::Resize(columns, rows));
        assert!(t.text(columns, rows).contains("1.png"));
    }
    // Filtering to nothing and back.
    t.send(Msg::Resize(120, 40));
    assert!(t.keys("/nothing<enter>").text(120, 40).contains("No image fits"));
    assert!(t.keys("<esc>").text(120, 40).contains("1.png"));
}

#[test]
fn only_rows_on_the_screen_are_read_and_a_click_finds_its_row() {
    let mut t = triage();
    let many = (0..400).map(|i| Row { path: Some(format!("photos/{i}.png")), ..triaged(i % 5, true, Some(3), 5.0) }).collect();
    t.engine(Event::Triage(1, Box::new(News::Begun { metadata: Default::default(), total: 400, rows: many, runs: None })));
    t.keys("ss");
    pictures(&mut t);
    t.send(Msg::Resize(120, 40));
    let first = pictures(&mut t);
    assert!((4..12).contains(&first.len()), "{first:?}");
    t.keys("<pgdn>");
    let second = pictures(&mut t);
    assert!(!second.is_empty() && second.len() < 12 && second.iter().all(|p| !first.contains(p)), "{second:?}");
    // Any line of a row is the row.
    let place = |t: &Typist, name: &str| {
        let text = t.text(120, 40);
        let y = text.lines().position(|l| l.contains(name)).expect("on the screen");
        (text, y as u16)
    };
    t.keys("g");
    let (_, y) = place(&t, "1.png");
    for below in 0..4 {
        t.keys("g");
        t.send(Msg::Click(20, y + below));
        assert_eq!(t.model.triage.selected.as_deref(), Some("photos/1.png"), "{below} lines below");
    }
    assert!(t.model.triage.thumbs.len() < 40);
}
