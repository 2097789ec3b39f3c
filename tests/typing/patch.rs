//! A whole layer put back to clean on screen 4, and the same key that takes that back.

use super::*;

fn masks(t: &Typist) -> Vec<(String, usize, Fill)> {
    let of = |c: &Command| match c {
        Command::Network { ask: Ask::Mask(m), .. } => Some((m.layer.clone(), m.units.len(), m.fill)),
        _ => None,
    };
    t.commands().into_iter().filter_map(of).collect()
}

fn compared() -> Typist {
    let mut t = Typist::attacked(Depth::True, false);
    t.keys("4").wait(300);
    t.answer();
    t
}

#[test]
fn a_layer_is_put_back_at_once_and_taken_back_with_the_same_key() {
    let mut t = compared();
    t.wait(10_000);
    assert!(t.text(80, 24).contains("P patch"), "{}", t.text(80, 24));
    t.keys("P");
    assert_eq!(masks(&t), [("block2".to_owned(), 8, Fill::Clean)], "asked at once, without a rest");
    assert!(t.text(120, 40).contains("computing"));
    t.answer();
    for (columns, rows) in [(80, 24), (120, 40), (200, 60), (60, 16)] {
        let text = t.text(columns, rows);
        let words =
            ["block2 put back to clean", "The true class is back", "x' gibbon 0.98 → giant panda", "true logit on x' -1.00 → 7.00 (+8.00)"];
        // A small window has room for the predictions only.
        for words in words.into_iter().take(if rows < 24 { 3 } else { 4 }) {
            assert!(text.contains(words), "no '{words}' at {columns}x{rows}:\n{text}");
        }
    }
    let wide = t.text(200, 60);
    assert!(wide.contains("P◆ block2") && wide.contains("All 8 units") && wide.contains("over the layers"), "{wide}");
    // It follows the cursor: another step is another question, and what was known is not asked again.
    t.keys("h").wait(300);
    assert_eq!(masks(&t).len(), 1);
    t.answer();
    t.keys("l").wait(300);
    assert_eq!(masks(&t), []);
    // Another layer takes its place; the same key on it takes it back.
    t.keys("jP").wait(50);
    assert_eq!(masks(&t), [("block3".to_owned(), 8, Fill::Clean)]);
    t.answer();
    assert!(t.text(120, 40).contains("block3 put back to clean"));
    t.keys("P");
    let text = t.text(120, 40);
    assert!(t.model.layers.patched.is_none() && masks(&t).is_empty() && !text.contains("put back to clean"), "{text}");
}

#[test]
fn the_command_of_a_patch_is_copied_and_the_palette_knows_it() {
    let mut t = compared();
    t.keys(":layers-patch<enter>");
    assert_eq!(masks(&t).len(), 1);
    t.keys("y");
    let copied = t.effects.iter().find_map(|e| if let Effect::Copy(text) = e { Some(text.clone()) } else { None }).expect("copied");
    assert!(copied.starts_with("psescope mask ") && copied.contains("--layer block2 --all --patch clean --step 10"), "{copied}");
    t.keys("Py");
    let copied = t.effects.iter().find_map(|e| if let Effect::Copy(text) = e { Some(text.clone()) } else { None }).expect("copied");
    assert!(copied.starts_with("psescope layers "), "{copied}");
    assert!(t.keys("?").text(120, 60).contains("Puts the whole layer back to its activation on the clean image"));
}

#[test]
fn insight_speaks_of_a_layer_only_where_something_could_have_passed_it() {
    let undone = |logits: [[f32; 6]; 2]| {
        let mut t = compared();
        t.keys("P");
        let run = t.model.run.as_ref().expect("a run").id;
        let ask = Ask::Mask(t.model.layers.patched.clone().expect("patched"));
        let answer = Answer::Mask(logits.map(|z| Array1::from_vec(z.to_vec())));
        t.engine(Event::Network { run, step: 10, ask, answer });
        let shown = t.text(120, 40);
        t.keys("6").wait(300);
        let text = t.text(120, 50);
        t.keys("G<enter>");
        (shown, text, t.model.screen)
    };
    let clean = [9.0, 5.0, 6.0, 3.0, 2.0, 1.0];
    let (shown, text, _) = undone([clean, clean]);
    assert!(shown.contains("Everything passes here: x' now gives the logits of x0."), "{shown}");
    assert!(text.contains("Not computed: what would undo it"), "true of every attack:\n{text}");
    let (shown, text, screen) = undone([clean, [8.0, 5.0, 6.0, 3.0, 2.0, 1.0]]);
    assert!(shown.contains("The true class is back; the clean image keeps it."), "{shown}");
    assert!(text.contains("What undoes it · 4 Layers") && text.contains("(the whole layer) brings the true class back"), "{text}");
    assert_eq!(screen, Screen::Layers);
    let (shown, text, _) = undone([clean, [1.0, 5.0, 6.0, 3.0, 2.0, 1.0]]);
    assert!(shown.contains("The true class is not back.") && text.contains("The one mask tried"), "{shown}\n{text}");
}
