//! Every key of the table is pressed where it works: none may panic, and each does something or says why not.

use std::path::PathBuf;

use psescope::{
    engine::browse::{Entry, Kind},
    tui::keymap::Context,
};

use super::*;

/// Screens and dialogs in which the keys of a context work, in different states.
fn places(context: Context) -> Vec<Typist> {
    let on = |keys: &str| {
        let mut t = Typist::attacked(Depth::True, false);
        t.keys(keys).wait(300);
        t.answer();
        t.wait(300);
        t.answer();
        t
    };
    match context {
        Context::Time => {
            let mut running = Typist::open();
            running.keys("<space>");
            running.begin(40, None);
            vec![on("mh"), on("<home>llm]"), on("hhhhm"), running]
        }
        Context::Attack => vec![on("rh"), on("")],
        Context::Run | Context::App | Context::Always => vec![on("")],
        Context::Psr => vec![on("2"), on("2GG"), on("2E")],
        Context::Pixels => vec![on("2"), on("2ZZ")],
        Context::Cells => vec![on("2<enter>jjll"), on("2<enter>jjll<pgdn><pgdn>")],
        Context::Closer => vec![on("2Z"), on("3ZZ")],
        Context::PixelCursor => vec![on("2c"), on("3P")],
        Context::Cam => vec![on("3")],
        Context::Layers => vec![on("4"), on("4j"), on("4G"), on("4/3<enter>"), failed("4")],
        Context::Units => vec![on("5"), on("5jjj"), on("5G"), masked(), on("5/dog<enter>"), layer(), failed("5")],
        Context::Insight => vec![on("6"), on("6jj")],
        Context::Line => vec![on("4/bl")],
        Context::Triage => vec![
            triage(),
            {
                let mut t = triage();
                t.keys("G");
                t
            },
            {
                let mut t = triage();
                t.keys("jj/gib<enter>");
                t
            },
            compare::compared(),
        ],
        Context::Filter => vec![{
            let mut t = triage();
            t.keys("/gib");
            t
        }],
        Context::Form => vec![on("a"), on("a<up>")],
        Context::Picker => vec![on("t"), on("t<down><down><down>")],
        Context::Help => vec![on("?"), on("?<pgdn><pgdn>")],
        Context::Confirm => {
            let mut t = Typist::open();
            t.keys("<space>");
            t.begin(3, None);
            t.keys("q");
            vec![t]
        }
        Context::Prompt => vec![on("S")],
        Context::Export => vec![on("e")],
        Context::Palette => vec![on(":"), on(":<pgdn><pgdn>")],
        Context::Files => {
            let mut t = on("<C-o>");
            let entry =
                |name: String| Entry { path: PathBuf::from("/photos").join(&name), name, kind: Kind::Image, size: 1, hidden: false };
            let entries = (0..30).map(|i| entry(format!("{i}.png"))).collect();
            t.send(Msg::Listed(PathBuf::from("."), Ok((PathBuf::from("/photos"), entries))));
            let mut low = Typist { model: t.model.clone(), effects: vec![], clock: t.clock };
            low.keys("<pgdn><pgdn>");
            vec![t, low]
        }
        Context::Log => {
            let t = on("D");
            for i in 0..40 {
                t.model.log.push(Duration::from_secs(i), tracing::Level::INFO, "psescope", &format!("line {i}"));
            }
            let mut high = Typist { model: t.model.clone(), effects: vec![], clock: t.clock };
            high.keys("<home><down>");
            vec![t, high]
        }
    }
}

/// With a mask in force and a unit selected.
fn masked() -> Typist {
    let mut t = Typist::attacked(Depth::True, false);
    t.keys("5").wait(300);
    t.answer();
    t.keys("xj<space>").answer();
    t
}

/// The units of the second layer.
fn layer() -> Typist {
    let mut t = Typist::attacked(Depth::True, false);
    t.keys("4").wait(300);
    t.answer();
    t.keys("g<down><enter>").wait(300);
    t.answer();
    t
}

/// A question could not be answered.
fn failed(keys: &str) -> Typist {
    let mut t = Typist::attacked(Depth::True, false);
    t.keys(keys).wait(300);
    t.engine(Event::Failed("no".into()));
    t.wait(10_000);
    t
}

/// What can be seen of the state, and what it remembers.
fn state(t: &Typist) -> String {
    let mut model = t.model.clone();
    model.opened = None;
    model.notices = psescope::tui::notice::Notices::default();
    format!("{model:?}{}", t.text(120, 40))
}

#[test]
fn every_key_does_something_or_says_why_not() {
    let mut silent = Vec::new();
    for section in SECTIONS {
        let mut places = places(section.context);
        for place in &mut places {
            // Older messages would hide newer ones of less weight.
            place.wait(12_000);
            assert!(place.model.contexts().contains(&section.context), "{:?} is not where it is tested", section.context);
        }
        let before: Vec<String> = places.iter().map(state).collect();
        for binding in section.bindings {
            for key in Key::parse_all(binding.keys).expect("keys") {
                let mut answered = false;
                for (place, before) in places.iter().zip(&before) {
                    let mut t = Typist { model: place.model.clone(), effects: Vec::new(), clock: place.clock };
                    t.model.notices = psescope::tui::notice::Notices::default();
                    t.send(Msg::Key(key));
                    let told = t.model.notices.shown().is_some();
                    answered |= told || !t.effects.is_empty() || state(&t) != *before;
                    for (w, h) in [(60, 16), (120, 40)] {
                        t.frame(w, h);
                    }
                }
                if !answered {
                    silent.push(format!("{} ({})", binding.name, key.show(true)));
                }
            }
        }
    }
    assert!(silent.is_empty(), "keys that do nothing: {}", silent.join(", "));
}

#[test]
fn no_key_panics_anywhere() {
    let all: Vec<Key> = SECTIONS.iter().flat_map(|s| s.bindings).flat_map(|b| Key::parse_all(b.keys).expect("keys")).collect();
    for screen in ["1", "2", "2<enter>", "2c", "3", "3P", "4", "5", "6", "T", "a", "t", "?", "S", "e", ":", "<C-o>", "D"] {
        for base in [Typist::closed(Depth::None, true), Typist::open(), Typist::attacked(Depth::None, true)] {
            let mut t = base;
            t.keys(screen);
            for key in &all {
                // Twice, since many keys toggle.
                t.send(Msg::Key(*key));
                t.send(Msg::Key(*key));
                t.model.queue.clear();
                if t.model.run.is_none() || t.model.dialogs.len() > 4 {
                    t.model.dialogs.clear();
                }
            }
            t.frame(80, 24);
        }
    }
}
