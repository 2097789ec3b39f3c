//! The mouse: tabs, rows, cells, the line of time, dialogs, the wheel.

use super::*;

/// Clicks the first place on the screen where this text stands.
fn click(t: &mut Typist, text: &str) {
    let (w, h) = t.model.size;
    let buf = t.frame(w, h);
    for y in 0..h {
        let row: Vec<&str> = (0..w).map(|x| buf[(x, y)].symbol()).collect();
        for x in 0..usize::from(w) {
            if row[x..].concat().starts_with(text) {
                t.effects.clear();
                t.send(Msg::Click(x as u16, y));
                return;
            }
        }
    }
    panic!("'{text}' is not on the screen:\n{}", glyphs(&buf));
}

fn at(keys: &str) -> Typist {
    let mut t = Typist::attacked(Depth::True, false);
    t.model.size = (120, 40);
    t.keys(keys).wait(300);
    t.answer();
    t
}

#[test]
fn tabs_rows_and_steps_are_clicked() {
    let mut t = at("");
    click(&mut t, "5 Units");
    assert_eq!(t.model.screen, Screen::Units);
    t.wait(300);
    t.answer();
    click(&mut t, "4 Layers");
    t.answer();
    t.wait(300);
    t.answer();
    click(&mut t, "block1");
    assert_eq!(t.model.layers.selected.as_deref(), Some("block1"));
    click(&mut t, "├");
    assert_eq!(t.model.cursor, Cursor::At(0));
    let mut t = at("6");
    click(&mut t, "Where on the image");
    assert_eq!(t.model.insight.selected, 2);
    let mut t = triage();
    t.model.size = (120, 40);
    click(&mut t, "2.png");
    assert_eq!(t.model.triage.selected.as_deref(), Some("photos/2.png"));
}

#[test]
fn every_column_of_the_line_of_time_is_a_step() {
    let mut t = at("");
    let mut seen = std::collections::BTreeSet::new();
    for x in 0..120 {
        t.send(Msg::Click(x, 38));
        if let Cursor::At(step) = t.model.cursor {
            assert!(step <= 10);
            seen.insert(step);
            // The mark of the cursor comes to where the click was, or before it on a line of more columns than steps.
            let frame = t.frame(120, 40);
            let mark = (0..120).find(|x| frame[(*x, 38)].symbol() == "●");
            assert!(mark.is_none_or(|m| m >= x || step == 10 || x > 60), "click at {x}, mark at {mark:?}");
        }
    }
    assert_eq!(seen.len(), 11, "{seen:?}");
}

#[test]
fn rows_of_dialogs_are_selected_and_then_taken() {
    let mut t = at("t");
    click(&mut t, "skunk");
    let Some(Dialog::Picker(picker)) = t.model.dialogs.last() else { panic!("a list") };
    assert!(picker.chosen().expect("a row").starts_with("skunk"));
    click(&mut t, "skunk");
    assert_eq!((t.model.request.target.clone(), t.model.dialogs.len()), (Target::Class(4), 0));
    let mut t = at(":screen");
    click(&mut t, "screen-cam");
    click(&mut t, "screen-cam");
    assert_eq!((t.model.screen, t.model.dialogs.len()), (Screen::Cam, 0));
    let mut t = at("t");
    let before = format!("{:?}", t.model.dialogs);
    t.send(Msg::Click(0, 0));
    assert_eq!(format!("{:?}", t.model.dialogs), before, "outside of it nothing happens");
}

#[test]
fn the_wheel_moves_what_is_under_the_fingers() {
    let mut t = at("<home>");
    t.send(Msg::Wheel(1));
    assert_eq!(t.model.cursor, Cursor::At(1));
    let mut t = at("4");
    t.send(Msg::Wheel(1));
    assert_eq!(t.model.layers.selected.as_deref(), Some("block3"), "after the layer where they part");
    let mut t = at("6");
    t.send(Msg::Wheel(1));
    assert_eq!(t.model.insight.selected, 1);
    let mut t = triage();
    t.send(Msg::Wheel(1));
    assert_eq!(t.model.triage.selected.as_deref(), Some("photos/0.png"));
    let mut t = at("?");
    let before = t.text(80, 24);
    t.send(Msg::Wheel(1));
    assert_ne!(t.text(80, 24), before);
    for keys in ["t", ":", "<C-o>", "D", "a", "e"] {
        let mut t = at(keys);
        t.send(Msg::Wheel(1));
        t.send(Msg::Wheel(-1));
        assert_eq!(t.model.dialogs.len(), 1);
    }
}
