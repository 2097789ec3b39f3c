//! The triage screen with two models, and beginning a triage.

use std::path::Path;

use psescope::{
    engine::{
        browse::{Entry, Kind},
        triage::{Row, background::News},
    },
    tui::{
        open::Purpose,
        screen::triage::{Show, Sort},
        widget::table_state::Cycle as _,
    },
};

use super::*;

/// A row of both models: the second's class, whether the attack reaches its goal there and when, and whether the image fools it.
fn both(row: Row, class: &str, reached: bool, flipped: Option<i64>, transfers: bool) -> Row {
    Row {
        compare_predicted_name: Some(class.into()),
        compare_predicted_prob: Some(0.5),
        compare_success: Some(reached),
        compare_flipped_at: flipped,
        compare_l2: row.l2.map(|l2| l2 + 0.25),
        compare_transfers: Some(transfers),
        compare_transfer_name: Some(if transfers { "skunk" } else { class }.into()),
        ..row
    }
}

/// The folder of three images on two models, the second chosen by typing its path.
pub fn compared() -> Typist {
    let mut t = triage();
    t.keys("c");
    assert!(t.text(100, 30).contains("compare with a model"), "the file dialog says what it is for");
    t.send(Msg::Listed(".".into(), Ok(("/nets".into(), nets()))));
    t.keys("lite<enter>");
    let asked = |c: &&Command| matches!(c, Command::Triage { rival: Some(r), .. } if r == Path::new("/nets/lite0.onnx"));
    assert!(t.commands().iter().any(asked), "{:?}", t.effects);
    assert!(t.effects.iter().any(|e| matches!(e, Effect::Stop(_))), "the triage of one model stops");
    let number = t.model.triage.number;
    let news = |news| Event::Triage(number, Box::new(news));
    t.engine(news(News::Begun {
        metadata: [("attack".into(), "ifgsm".into()), ("compare".into(), "/nets/lite0.onnx".into())].into(),
        total: 4,
        rows: vec![both(triaged(0, true, Some(3), 5.0), "giant panda, panda", true, Some(3), true)],
        runs: None,
    }));
    t.engine(news(News::Row(Box::new(both(triaged(2, false, None, 1.0), "tabby", false, None, false)))));
    t.wait(1000);
    t.engine(news(News::Row(Box::new(both(triaged(1, true, Some(1), 6.0), "siamang", false, None, false)))));
    t.model.notices = Default::default();
    t
}

fn nets() -> Vec<Entry> {
    let entry = |name: &str, kind| Entry { path: Path::new("/nets").join(name), name: name.into(), kind, size: 1, hidden: false };
    vec![entry("lite0.onnx", Kind::Model), entry("squeezenet.onnx", Kind::Model), entry("photo.png", Kind::Image)]
}

#[test]
fn two_models_are_compared_sorted_and_filtered_by_what_differs() {
    let mut t = compared();
    let orders = |t: &mut Typist, key: &str, now: &dyn Fn(&Typist) -> &'static str| -> Vec<&'static str> {
        (0..Sort::ALL.len() + Show::ALL.len()).map(|_| now(t.keys(key))).collect()
    };
    assert!(orders(&mut t, "s", &|t| t.model.triage.sort.name()).contains(&"disagreement"));
    assert!(orders(&mut t, "v", &|t| t.model.triage.show.name()).contains(&"differing"));
    (t.model.triage.sort, t.model.triage.show) = (Sort::Disagreement, Show::All);
    assert_eq!(shown(&t), ["photos/1.png", "photos/2.png", "photos/0.png"], "class and goal differ, then the class, then nothing");
    t.model.triage.show = Show::Differing;
    assert_eq!(shown(&t), ["photos/1.png", "photos/2.png"]);
    t.model.triage.show = Show::Transferring;
    assert_eq!(shown(&t), ["photos/0.png"]);
    t.model.triage.show = Show::All;
    t.keys("/siamang<enter>");
    assert_eq!(shown(&t), ["photos/1.png"], "classes of the second model are searched too");
    let text = t.text(200, 60);
    assert!(text.contains("the same attack on it: held, never"), "{text}");
    t.keys("<esc>m");
    t.keys("y");
    let copied = t.effects.iter().find_map(|e| if let Effect::Copy(text) = e { Some(text.clone()) } else { None }).expect("copied");
    assert!(copied.contains("--compare /nets/lite0.onnx") && copied.contains("--out psescope-triage-photos"), "{copied}");
    // Back to one model: what is about the images stays, what is about two models goes.
    t.keys("C");
    assert!(t.commands().iter().any(|c| matches!(c, Command::Triage { rival: None, .. })), "{:?}", t.effects);
    let state = &t.model.triage;
    assert_eq!((state.sort, state.show, state.rival.is_none(), state.marks.len()), (Sort::Weakness, Show::All, true, 1));
    assert!(!orders(&mut t, "s", &|t| t.model.triage.sort.name()).contains(&"disagreement"));
    assert!(!orders(&mut t, "v", &|t| t.model.triage.show.name()).contains(&"differing"));
    t.model.notices = Default::default();
    assert!(t.keys("C").text(100, 30).contains("no second model"));
}

#[test]
fn both_classes_and_what_differs_are_there_at_every_size() {
    for (columns, rows, words) in [
        (60, 16, &["clean 1", "clean 2", "differs", "gibbon", "siamang", "both", "class"][..]),
        (80, 24, &["goal 1", "goal 2", "flips", "1/-", "3/3", "2 differ"]),
        (120, 40, &["transfers", "yes", "2 is lite0.onnx"]),
        (200, 60, &["L2 1", "L2 2", "L2 diff", "+0.25", "adversarial 1", "taken by 2 for"]),
    ] {
        let text = compared().text(columns, rows);
        for word in words {
            assert!(text.contains(word), "no '{word}' at {columns}x{rows}:\n{text}");
        }
    }
}

#[test]
fn a_second_model_that_cannot_be_used_ends_it_with_its_reason() {
    let mut t = compared();
    t.keys("A");
    t.model.request.seed += 1;
    t.keys("A");
    let ended = News::Ended(Some("the second model: it is no model".into()));
    t.engine(Event::Triage(t.model.triage.number, Box::new(ended)));
    t.model.notices = Default::default();
    let text = t.text(100, 30);
    assert!(text.contains("the second model: it is no model") && text.contains("images | ended"), "{text}");
    assert!(t.keys("C").commands().iter().any(|c| matches!(c, Command::Triage { rival: None, .. })), "{:?}", t.effects);
}

#[test]
fn only_models_are_compared_with() {
    let mut t = triage();
    t.keys(":compare<space>~/other.onnx<enter>");
    assert!(matches!(&t.effects[..], [Effect::Find(p, Some(Kind::Model), Purpose::Compare)] if p == "~/other.onnx"), "{:?}", t.effects);
    t.send(Msg::Found(Purpose::Compare, Ok((Kind::Image, "/pics/a.png".into()))));
    assert!(t.text(120, 30).contains("/pics/a.png is no model") && t.model.triage.rival.is_none());
    t.send(Msg::Found(Purpose::Compare, Ok((Kind::Model, "/nets/other.onnx".into()))));
    assert_eq!(t.model.triage.rival.as_deref(), Some(Path::new("/nets/other.onnx")));
    // Before there is a folder the model is only remembered.
    let mut t = Typist::opened(Depth::None, true);
    t.keys(":compare<enter>");
    assert!(t.text(100, 30).contains("compare with a model"));
    t.keys("<esc>");
    t.send(Msg::Found(Purpose::Compare, Ok((Kind::Model, "/nets/other.onnx".into()))));
    assert_eq!((t.model.screen, t.commands().len()), (Screen::Triage, 0));
    t.send(Msg::Found(Purpose::Open, Ok((Kind::Folder, "/pics".into()))));
    assert!(t.commands().iter().any(|c| matches!(c, Command::Triage { rival: Some(_), .. })), "{:?}", t.effects);
}

#[test]
fn f_and_again_say_when_there_is_nothing_to_do() {
    // The folder of the open image.
    let mut t = Typist::opened(Depth::None, true);
    t.model.image_path = "photos/0.png".into();
    assert!(t.keys("T").text(80, 24).contains("f works through photos;"));
    t.keys("f");
    assert!(t.commands().iter().any(|c| matches!(c, Command::Triage { folder, .. } if folder == Path::new("photos"))));
    for key in ["f", "A"] {
        t.effects.clear();
        t.model.notices = Default::default();
        t.keys(key);
        assert!(t.commands().is_empty() && t.text(120, 24).contains("already; a chooses another attack"), "{key}: {:?}", t.effects);
    }
    // Another attack, or work that ended, begins again.
    t.model.request.seed += 1;
    t.keys("f");
    assert!(t.commands().iter().any(|c| matches!(c, Command::Triage { .. })), "{:?}", t.effects);
    t.engine(Event::Triage(t.model.triage.number, Box::new(News::Ended(None))));
    t.effects.clear();
    t.keys("f");
    assert!(t.commands().iter().any(|c| matches!(c, Command::Triage { .. })), "{:?}", t.effects);
    // An image in the folder one is in.
    let mut t = Typist::opened(Depth::None, true);
    t.model.image_path = "0.png".into();
    t.keys("Tf");
    assert!(t.commands().iter().any(|c| matches!(c, Command::Triage { folder, .. } if folder == Path::new("."))), "{:?}", t.effects);
    // The bundled image lies in none: a folder is asked for.
    let mut t = Typist::opened(Depth::None, true);
    t.model.image_path = psescope::engine::sample::IMAGE.into();
    assert!(t.keys("T").text(80, 24).contains("f chooses one"));
    t.keys("f");
    assert!(matches!(t.model.dialogs.last(), Some(Dialog::Files(_))) && t.effects.iter().any(|e| matches!(e, Effect::List(_))));
}

#[test]
fn a_folder_waits_for_a_model_that_can_be_attacked_and_follows_it() {
    let mut t = triage();
    let opened = t.model.opened.clone().expect("open");
    // Another model: its rows are its own.
    t.effects.clear();
    t.engine(Event::Opened(Box::new(Opened { model: "other.onnx".into(), ..(*opened).clone() })));
    assert!(t.commands().iter().any(|c| matches!(c, Command::Triage { .. })) && t.model.triage.rows.is_empty(), "{:?}", t.effects);
    // One without gradients.
    t.effects.clear();
    let why = Some("the operator Foo has no gradient rule".to_owned());
    t.engine(Event::Opened(Box::new(Opened { model: "third.onnx".into(), no_gradient: why, ..(*opened).clone() })));
    assert!(!t.commands().iter().any(|c| matches!(c, Command::Triage { .. })), "{:?}", t.effects);
    t.model.notices = Default::default();
    assert!(t.text(100, 30).contains("This model cannot be attacked: the operator Foo"));
}
