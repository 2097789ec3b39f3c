//! Palette, typed commands, files, log, copying.

use std::path::{Path, PathBuf};

use psescope::{
    engine::{
        browse::{Entry, Kind},
        remember::Recent,
    },
    tui::{copy, open::Purpose},
};

use super::*;

fn said(t: &Typist) -> String {
    t.model.notices.shown().map(|n| n.text.clone()).unwrap_or_default()
}

/// What the palette complains about.
fn complaint(t: &Typist) -> String {
    match t.model.dialogs.last() {
        Some(Dialog::Palette(palette)) => palette.error().unwrap_or_default().to_owned(),
        other => panic!("no palette but {other:?}"),
    }
}

#[test]
fn the_palette_finds_actions_by_name_and_shows_their_keys() {
    let mut t = Typist::attacked(Depth::True, false);
    t.keys(":prevchange");
    let text = t.text(100, 30);
    assert!(text.contains("previous-change") && text.contains('['), "{text}");
    t.keys("<enter>");
    assert!(t.model.dialogs.is_empty() && t.model.cursor == Cursor::At(3), "{:?}", t.model.cursor);
    // Every action that needs no dialog of its own is there.
    t.keys("<C-p>");
    let Some(Dialog::Palette(_)) = t.model.dialogs.last() else { panic!("no palette") };
    let text = t.text(300, 40);
    assert!(text.contains("/1"), "{text}");
    t.keys("<esc>:units-zero<enter>");
    assert_eq!(t.model.screen, Screen::Units, "an action of another screen goes there first");
    t.keys(":pixel-cursor<enter>");
    assert!(t.model.screen == Screen::Pixels && t.model.pixels.in_pixels);
    t.keys(":nothing like this<enter>");
    assert!(t.text(100, 30).contains("nothing matches"));
    t.keys("<esc>");
    assert!(t.model.dialogs.is_empty());
}

#[test]
fn rebound_keys_are_what_the_palette_shows() {
    let mut t = Typist::attacked(Depth::True, false);
    t.model.keymap = Arc::new(Keymap::new(&[("save-run".into(), "<C-s>".into())]).expect("fine"));
    assert!(t.keys(":save-run").text(100, 30).contains("Ctrl-S"));
}

#[test]
fn steps_are_typed() {
    let mut t = Typist::attacked(Depth::True, false);
    t.keys(":step<space>4<enter>");
    assert_eq!(t.model.cursor, Cursor::At(4));
    t.keys(":step<space>+3<enter>");
    assert_eq!(t.model.cursor, Cursor::At(7));
    t.keys(":step<space>-2<enter>:step<space>-1<enter>");
    assert_eq!(t.model.cursor, Cursor::At(4));
    t.keys(":step<space>first<enter>");
    assert_eq!(t.model.cursor, Cursor::At(0));
    t.keys(":step<space>live<enter>");
    assert_eq!(t.model.cursor, Cursor::Live);
    t.keys(":step<space>99<enter>");
    assert_eq!(complaint(&t), "step 99 does not exist; the run has steps 0 to 10");
    t.keys("<C-u>step<space>x<enter>");
    assert!(complaint(&t).contains("a step is a number from 0 to 10"), "{}", complaint(&t));
    t.keys("<esc>");
    let mut t = Typist::open();
    t.keys(":step<space>4<enter>");
    assert!(complaint(&t).contains("a starts an attack"));
}

#[test]
fn attacks_are_typed_with_their_parameters() {
    let asked = |t: &Typist| {
        t.commands().into_iter().find_map(|c| if let Command::Attack { request, .. } = c { Some(request.clone()) } else { None })
    };
    let mut t = Typist::open();
    t.keys(":attack<space>cw<space>steps=50<enter>");
    let request = asked(&t).expect("an attack");
    assert_eq!((request.attack.as_str(), request.params.as_slice()), ("cw", &[("steps".to_owned(), "50".to_owned())][..]));
    t.keys(":attack<space>ifg<enter>");
    assert_eq!(asked(&t).expect("the best match").attack, "ifgsm");
    t.keys(":attack<space>ifgsm<space>stpes=3<enter>");
    assert!(complaint(&t).contains("unknown parameter 'stpes'; did you mean 'steps'?"), "{}", complaint(&t));
    t.keys("<C-u>attack<space>ifgsm<space>eps=much<enter>");
    assert!(complaint(&t).contains("eps"), "{}", complaint(&t));
    t.keys("<C-u>attack<space>zzz<enter>");
    assert!(complaint(&t).contains("unknown attack 'zzz'"), "{}", complaint(&t));
    t.keys("<esc>:target<space>gib<enter>");
    assert_eq!((t.model.request.target.clone(), t.model.dialogs.len()), (Target::Class(1), 0));
    t.keys(":target<space>3<enter>");
    assert_eq!(t.model.request.target, Target::Class(3));
    t.keys(":target<space>second<enter>:seed<space>7<enter>");
    assert_eq!((t.model.request.target.clone(), t.model.request.seed), (Target::Second, 7));
    t.keys(":seed<space>many<enter>");
    assert!(complaint(&t).contains("whole number"));
    t.keys("<esc>r");
    assert_eq!(asked(&t).expect("again").seed, 7);
}

#[test]
fn tab_completes_and_a_command_alone_waits_for_more() {
    let mut t = Typist::attacked(Depth::True, false);
    t.keys(":attack<enter>");
    assert!(t.text(100, 30).contains("attack NAME"), "{}", t.text(100, 30));
    t.keys("bim<tab>");
    assert!(matches!(t.model.dialogs.last(), Some(Dialog::Palette(_))));
    t.keys("<esc>:map<space>ex<enter>");
    assert!(t.commands().iter().any(|c| matches!(c, Command::Psr { settings, .. } if settings.mode == Mode::Exact)));
    t.keys(":method<space>scorecam<enter>");
    assert_eq!((t.model.screen, t.model.cam.method), (Screen::Cam, Method::ScoreCam));
    t.keys(":layer<space>block2<enter>");
    assert_eq!(t.model.cam.layer.as_deref(), Some("block2"));
    t.keys("1:layer<space>block1<enter>");
    assert_eq!((t.model.screen, t.model.units.layer.as_deref()), (Screen::Units, Some("block1")));
    t.keys(":layer<space>nowhere<enter>");
    assert!(complaint(&t).contains("unknown layer"), "{}", complaint(&t));
}

#[test]
fn reports_and_runs_are_written_by_typing() {
    let mut t = Typist::attacked(Depth::True, false);
    t.keys(":export<space>json<space>out.json<enter>");
    let wrote = t.effects.iter().any(|e| {
        matches!(e, Effect::Report(_, path, _) if path == Path::new("out.json")) || matches!(e, Effect::Engine(Command::Complete { .. }))
    });
    assert!(wrote, "{:?}", t.effects);
    t.keys("<esc><esc>");
    t.keys(":export<space>pdf<enter>");
    assert!(complaint(&t).contains("unknown report 'pdf'"), "{}", complaint(&t));
    t.keys("<esc>:save<space>mine<enter>");
    assert!(t.effects.iter().any(|e| matches!(e, Effect::Keep(path, ..) if path == Path::new("mine.pse"))), "{:?}", t.effects);
    let mut t = Typist::open();
    t.keys(":export<enter>");
    assert!(complaint(&t).contains("there is no run to report yet"));
}

fn entry(path: &str, kind: Kind) -> Entry {
    let path = PathBuf::from(path);
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    Entry { hidden: name.starts_with('.'), name, path, kind, size: 2048 }
}

pub(super) fn listing() -> Vec<Entry> {
    vec![
        entry("/pics/more", Kind::Folder),
        entry("/pics/.secret.png", Kind::Image),
        entry("/pics/dog.png", Kind::Image),
        entry("/pics/net.onnx", Kind::Model),
        entry("/pics/old.pse", Kind::Run),
    ]
}

/// The dialog with the folder read that was asked for.
fn browsing(t: &mut Typist, keys: &str) {
    t.keys(keys);
    let asked =
        t.effects.iter().find_map(|e| if let Effect::List(folder) = e { Some(folder.clone()) } else { None }).expect("a folder is read");
    t.send(Msg::Listed(asked, Ok(("/pics".into(), listing()))));
}

#[test]
fn files_of_every_kind_are_found_and_opened() {
    let mut t = Typist::attacked(Depth::True, false);
    browsing(&mut t, "<C-o>");
    let text = t.text(100, 30);
    assert!(text.contains("more/") && text.contains("dog.png") && text.contains("2 KiB") && !text.contains("secret"), "{text}");
    t.keys("dog<enter>");
    assert!(matches!(t.commands()[..], [Command::OpenImage(p)] if p == Path::new("/pics/dog.png")), "{:?}", t.effects);
    browsing(&mut t, "<C-o>");
    t.keys(".sec<enter>");
    assert!(matches!(t.commands()[..], [Command::OpenImage(p)] if p.ends_with(".secret.png")), "a dot shows hidden files");
    browsing(&mut t, "O");
    let text = t.text(100, 30);
    assert!(text.contains("net.onnx") && !text.contains("dog.png"), "models only: {text}");
    t.keys("<enter>");
    assert!(
        matches!(t.commands()[..], [Command::Open { model, image }] if model.ends_with("net.onnx") && image == Path::new("panda.jpg")),
        "{:?}",
        t.effects
    );
    browsing(&mut t, ":run<enter>");
    t.keys("<enter>");
    assert!(matches!(&t.effects[..], [Effect::Load(p)] if p.ends_with("old.pse")), "{:?}", t.effects);
    t.send(Msg::Loaded(Err("old.pse is no run".into())));
    assert_eq!(said(&t), "old.pse is no run");
    // Into a folder, out of it, and the folder itself.
    browsing(&mut t, "<C-o>");
    t.keys("more<enter>");
    assert!(matches!(&t.effects[..], [Effect::List(p)] if p == Path::new("/pics/more")), "{:?}", t.effects);
    t.send(Msg::Listed("/pics/more".into(), Ok(("/pics/more".into(), vec![]))));
    assert!(t.text(100, 30).contains("open in /pics/more"));
    t.keys("<backspace>");
    assert!(matches!(&t.effects[..], [Effect::List(p)] if p == Path::new("/pics")), "{:?}", t.effects);
    t.send(Msg::Listed("/pics".into(), Err("cannot read the folder /pics: denied".into())));
    assert!(t.text(100, 30).contains("denied"), "said in the dialog");
    t.keys("work<enter>");
    assert_eq!((t.model.screen, t.model.triage.folder.as_deref()), (Screen::Triage, Some(Path::new("/pics/more"))));
    assert!(t.commands().iter().any(|c| matches!(c, Command::Triage { .. })));
    assert!(t.effects.iter().any(|e| matches!(e, Effect::Remember(r) if r[0].kind == Kind::Folder)));
}

#[test]
fn paths_are_typed_and_pasted() {
    let mut t = Typist::attacked(Depth::True, false);
    browsing(&mut t, "<C-o>");
    t.keys("more/");
    assert!(matches!(&t.effects[..], [Effect::List(p)] if p == Path::new("/pics/more")), "{:?}", t.effects);
    t.keys("ca");
    t.send(Msg::Listed("/pics/more".into(), Ok(("/pics/more".into(), vec![]))));
    assert!(t.text(100, 30).contains("› ca "), "what was typed meanwhile stays: {}", t.text(100, 30));
    t.keys("<C-u>");
    t.send(Msg::Paste("'/photos/a cat.jpg'".into()));
    t.keys("<enter>");
    assert!(matches!(&t.effects[..], [Effect::Find(p, None, Purpose::Open)] if p == "/photos/a cat.jpg"), "{:?}", t.effects);
    assert!(t.model.dialogs.is_empty());
    t.send(Msg::Found(Purpose::Open, Ok((Kind::Image, "/photos/a cat.jpg".into()))));
    assert!(t.commands().iter().any(|c| matches!(c, Command::OpenImage(p) if p == Path::new("/photos/a cat.jpg"))));
    t.send(Msg::Found(Purpose::Open, Err("cannot open x: no such file".into())));
    assert_eq!(said(&t), "cannot open x: no such file");
    for (line, kind) in [("model", Kind::Model), ("image", Kind::Image), ("run", Kind::Run), ("folder", Kind::Folder)] {
        t.keys(&format!(":{line}<space>~/x.y<enter>"));
        assert!(matches!(&t.effects[..], [Effect::Find(p, Some(k), Purpose::Open)] if p == "~/x.y" && *k == kind), "{:?}", t.effects);
    }
    t.keys(":open<space>x<enter>");
    assert!(matches!(&t.effects[..], [Effect::Find(_, None, Purpose::Open)]), "{:?}", t.effects);
}

#[test]
fn a_path_dropped_on_a_screen_is_opened() {
    let mut t = Typist::attacked(Depth::True, false);
    t.effects.clear();
    t.send(Msg::Paste("'/photos/a cat.jpg' ".into()));
    assert!(matches!(&t.effects[..], [Effect::Find(p, None, Purpose::Open)] if p == "/photos/a cat.jpg"), "{:?}", t.effects);
    t.keys("4/");
    t.send(Msg::Paste("block/2".into()));
    assert!(!t.effects.iter().any(|e| matches!(e, Effect::Find(..))), "a filter is typed");
    assert_eq!(t.model.layers.filter, "block/2");
}

#[test]
fn changes_of_class_and_bookmarks_are_jumped_to() {
    let mut t = Typist::attacked(Depth::True, false);
    let at = |t: &mut Typist, keys: &str| {
        t.keys(keys);
        t.model.position().expect("a step")
    };
    assert_eq!(at(&mut t, "["), 3, "the class changed at step 3");
    assert_eq!(at(&mut t, "["), 0);
    assert_eq!(at(&mut t, "]"), 3);
    assert_eq!(at(&mut t, "]"), 10);
    assert_eq!(at(&mut t, "m<home>llm'"), 10);
    assert_eq!(at(&mut t, "'"), 2, "round and round");
    assert_eq!(at(&mut t, "m'"), 10, "taken away");
    assert!(t.keys("h").text(120, 40).contains('▼'), "the other one is on the line of time");
}

#[test]
fn what_was_opened_lately_comes_first() {
    let mut t = Typist::attacked(Depth::True, false);
    let recent = |kind, path: &str| Recent { kind, path: path.into() };
    t.send(Msg::Recent(vec![
        recent(Kind::Image, "/a/cat.png"),
        recent(Kind::Model, "/m/re\u{1b}[31ms.onnx"),
        recent(Kind::Folder, "/pics"),
    ]));
    t.keys("<C-o>");
    let text = t.text(100, 30);
    assert!(text.contains("[recent]") && text.contains("cat.png  /a") && text.contains("pics/"), "{text}");
    assert!(!text.contains('\u{1b}'));
    t.keys("<down><enter>");
    assert!(matches!(t.commands()[..], [Command::Open { .. }]), "{:?}", t.effects);
    let opened = t.model.opened.clone().expect("open");
    t.effects.clear();
    t.engine(Event::Opened(Box::new(Opened { model: "other.onnx".into(), ..(*opened).clone() })));
    let remembered = t.effects.iter().find_map(|e| if let Effect::Remember(r) = e { Some(r.clone()) } else { None }).expect("remembered");
    assert_eq!(remembered, [recent(Kind::Image, "panda.jpg"), recent(Kind::Model, "other.onnx")]);
}

#[test]
fn another_model_on_the_same_image_is_compared_by_b() {
    let mut t = Typist::attacked(Depth::True, false);
    let opened = t.model.opened.clone().expect("open");
    let params = t.model.request.params.clone();
    t.engine(Event::Opened(Box::new(Opened { model: "other.onnx".into(), ..(*opened).clone() })));
    assert!(said(&t).contains("r runs ifgsm again, then B shows both runs"), "{}", said(&t));
    t.keys("r");
    assert!(
        t.commands().iter().any(|c| matches!(c, Command::Attack { request, .. } if request.attack == "ifgsm" && request.params == params))
    );
    t.begin(11, Some(1));
    t.end(Ending::Done { success: true });
    t.keys("B");
    let text = t.text(160, 50);
    assert!(text.contains("squeezenet.onnx") && text.contains("other.onnx"), "both models are named: {text}");
    // A target the other model does not have is given up, and that is said.
    t.model.request.target = Target::Class(5);
    let few =
        Opened { model: "few.onnx".into(), labels: Arc::new(vec!["a".into(), "b".into()]), logits: vec![1.0, 0.0], ..(*opened).clone() };
    t.engine(Event::Opened(Box::new(few)));
    assert_eq!(t.model.request.target, Target::Untargeted);
    // Another image is another story.
    t.engine(Event::Opened(Box::new(Opened { image_path: "cat.jpg".into(), ..(*opened).clone() })));
    assert!(t.model.earlier.is_empty());
}

#[test]
fn the_log_is_filtered_searched_and_followed() {
    use tracing::Level;
    let mut t = Typist::open();
    let log = t.model.log.clone();
    for i in 0..60 {
        log.push(
            Duration::from_secs(i),
            if i % 10 == 0 { Level::WARN } else { Level::DEBUG },
            "psescope::engine",
            &format!("line {i}\u{1b}[2J"),
        );
    }
    log.push(Duration::from_secs(61), Level::TRACE, "ort", "finest");
    t.keys("D");
    let text = t.text(80, 24);
    assert!(text.contains("line 59") && !text.contains("finest") && text.contains("60 of 60  following"), "{text}");
    log.push(Duration::from_secs(62), Level::INFO, "psescope", "the newest");
    assert!(t.text(80, 24).contains("the newest"), "it follows");
    t.keys("<up><up>");
    let text = t.text(80, 24);
    assert!(!text.contains("the newest") && text.contains("59 of 61"), "{text}");
    log.push(Duration::from_secs(63), Level::INFO, "psescope", "newer still");
    assert!(!t.text(80, 24).contains("newer still"), "scrolled back, the lines stay");
    t.keys("<end>");
    assert!(t.text(80, 24).contains("newer still"));
    t.keys("<tab>");
    assert!(t.text(80, 24).contains("finest"));
    t.keys("<backtab><backtab><backtab>");
    let text = t.text(80, 24);
    assert!(text.contains("line 50") && !text.contains("line 51") && text.contains("warnings"), "{text}");
    t.keys("line<space>3");
    assert!(t.text(80, 24).contains("1 of 1"), "{}", t.text(80, 24));
    t.keys("x");
    assert!(t.text(80, 24).contains("no lines of this level"));
    t.keys("<esc>");
    assert!(t.model.dialogs.is_empty());
}

#[test]
fn what_is_on_the_screen_is_copied_as_a_command() {
    let copied =
        |t: &Typist| t.effects.iter().find_map(|e| if let Effect::Copy(text) = e { Some(text.clone()) } else { None }).expect("copied");
    let mut t = Typist::open();
    t.model.flags = vec!["--preprocess".into(), "my file.json".into()];
    t.keys("y");
    assert!(copied(&t).starts_with("psescope attack squeezenet.onnx panda.jpg --attack ifgsm"), "{}", copied(&t));
    let mut t = Typist::attacked(Depth::True, false);
    t.model.flags = vec!["--preprocess".into(), "my file.json".into()];
    t.model.image_path = "it's.jpg".into();
    t.keys("hhy");
    let line = copied(&t);
    assert!(
        line.contains(r"squeezenet.onnx 'it'\''s.jpg' --attack ifgsm") && line.contains("--eps 8/255") && line.contains("--steps 10"),
        "{line}"
    );
    assert!(line.ends_with("--true 0 --seed 0 --preprocess 'my file.json' --json"), "{line}");
    assert!(said(&t).contains(&line), "shown too, where the terminal ignores the request");
    assert!(
        copied(t.keys("2y")).contains("psescope pse squeezenet.onnx")
            && copied(&t).contains("--mode linear")
            && copied(&t).contains("--step 8")
    );
    t.keys("3n<tab>");
    t.keys("y");
    assert!(
        copied(&t).starts_with("psescope cam squeezenet.onnx") && copied(&t).contains("--method gradcam --class 1 --on clean"),
        "{}",
        copied(&t)
    );
    t.keys("<tab>y");
    let line = copied(&t);
    assert!(line.starts_with("psescope attack ") && line.contains("--out it\\'s") || line.contains("&& psescope cam"), "{line}");
    assert!(line.contains("--on adv --step 8"), "{line}");
    assert!(copied(t.keys("4y")).contains("psescope layers"));
    t.keys("5").wait(300);
    t.answer();
    assert!(
        copied(t.keys("y")).contains("psescope units") && copied(&t).contains("--layer block3 --sort change --step 8"),
        "{}",
        copied(&t)
    );
    t.keys("x").answer();
    t.keys("y");
    assert!(copied(&t).contains("psescope mask") && copied(&t).contains("--units 3 --patch zero"), "{}", copied(&t));
    assert!(copied(t.keys("6y")).contains("psescope insight"));
    let mut t = triage();
    assert!(copied(t.keys("y")).starts_with("psescope triage squeezenet.onnx photos --attack ifgsm"), "{}", copied(&t));
}

#[test]
fn the_value_under_the_cursor_is_copied() {
    let copied = |t: &mut Typist, keys: &str| {
        t.keys(keys);
        t.effects.iter().find_map(|e| if let Effect::Copy(text) = e { Some(text.clone()) } else { None }).expect("copied")
    };
    let mut t = Typist::attacked(Depth::True, false);
    assert_eq!(copied(&mut t, "Y"), copy::summary(&t.model));
    assert!(copied(&mut t, "<A-y>").contains("ifgsm step 10"));
    let cell = copied(&mut t, "2<enter>lY");
    assert!(cell.starts_with("cell row 0 column 1: ") && cell.contains("(estimate)"), "{cell}");
    let pixel = copied(&mut t, "<esc>cY");
    assert!(pixel.starts_with("pixel row ") && pixel.contains("adversarial") && pixel.contains("change"), "{pixel}");
    assert!(copied(&mut t, "<esc>3Y").contains("of the clean image for giant panda #0"));
    t.keys("4").answer();
    t.wait(300).answer();
    assert!(copied(&mut t, "jY").starts_with("block3: cosine 0.5"), "{:?}", t.effects);
    t.keys("5").answer();
    t.wait(300).answer();
    let unit = copied(&mut t, "gY");
    assert!(unit.starts_with("block3 unit 3, fur (part, IoU 0.300): mean 1 clean, 9 adversarial"), "{unit}");
    assert!(!copied(&mut t, "6Y").is_empty());
    assert_eq!(copied(&mut triage(), "jY"), "photos/0.png");
}
