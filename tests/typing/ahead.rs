//! Maps that are asked for before the cursor comes to them.

use super::*;

/// What was asked for ahead since the effects were taken last, and who is told when it is over.
fn wishes(t: &Typist) -> Vec<&Command> {
    t.commands().into_iter().filter_map(|c| if let Command::Ahead(wish) = c { Some(&**wish) } else { None }).collect()
}

/// What somebody waits for.
fn in_earnest(t: &Typist) -> Vec<&Command> {
    t.commands().into_iter().filter(|c| !matches!(c, Command::Ahead(_))).collect()
}

fn steps(t: &Typist) -> Vec<usize> {
    let step = |c: &Command| match c {
        Command::Psr { step, .. } | Command::Cam { at: At::Step(_, step), .. } => Some(*step),
        _ => None,
    };
    wishes(t).into_iter().filter_map(step).collect()
}

/// Answers until nothing more is asked for; the steps that were asked for ahead, in order.
fn settle(t: &mut Typist) -> Vec<usize> {
    let mut seen = Vec::new();
    for _ in 0..20 {
        seen.extend(steps(t));
        t.answer();
        // As waiting does, but nothing of what was asked is forgotten.
        for _ in 0..4 {
            t.clock += 100;
            t.send(Msg::Tick(Duration::from_millis(t.clock)));
        }
    }
    assert!(t.effects.is_empty(), "it never rests: {:?}", t.effects);
    seen
}

#[test]
fn the_next_steps_in_the_direction_of_travel_are_asked_for_ahead() {
    let mut t = Typist::attacked(Depth::True, false);
    assert_eq!(settle(&mut t), [9, 8], "after an attack there is only the way back");
    t.keys("<left>");
    assert!(in_earnest(&t).is_empty(), "step 9 is there: {:?}", t.commands());
    assert!(psescope::tui::psr::shown(&t.model).is_some_and(|s| s.done));
    assert_eq!(settle(&mut t), [7]);
    t.keys("<home><right><right>");
    assert_eq!(settle(&mut t), [3, 4, 1]);
    assert_eq!(settle(&mut t), Vec::<usize>::new(), "idle is idle");
}

#[test]
fn the_maps_of_screen_3_are_asked_for_ahead() {
    let mut t = Typist::attacked(Depth::True, false);
    settle(&mut t);
    t.keys("3");
    assert_eq!(settle(&mut t), [9, 9, 8, 8], "two classes each");
    t.keys("<left>").wait(300);
    assert!(in_earnest(&t).is_empty(), "{:?}", t.commands());
    // Score-CAM takes long: only what is looked at.
    settle(&mut t);
    while t.model.cam.method != Method::ScoreCam {
        t.keys("n");
    }
    assert_eq!(settle(&mut t), Vec::<usize>::new());
}

#[test]
fn nothing_is_asked_ahead_while_something_else_is_going_on() {
    let mut t = Typist::open();
    t.keys("<space>");
    t.begin(5, Some(1));
    t.keys("<left>");
    settle(&mut t);
    assert!(wishes(&t).is_empty(), "an attack runs");
    let mut t = Typist::attacked(Depth::True, false);
    t.keys("E").wait(300);
    assert!(wishes(&t).len() <= 1, "the exact map is being evaluated: {:?}", t.commands());
}

#[test]
fn a_wish_that_was_overtaken_is_asked_again_but_not_for_ever() {
    let mut t = Typist::attacked(Depth::True, false);
    let mut asked = 0;
    for _ in 0..40 {
        for effect in std::mem::take(&mut t.effects) {
            let Effect::Engine(Command::Ahead(wish)) = effect else { continue };
            asked += 1;
            // Over, without an answer.
            wish.control().expect("it can be stopped").stop();
        }
        t.wait(300);
    }
    assert!((2..=12).contains(&asked), "{asked} times");
    // The step itself is still asked for in earnest.
    t.keys("<left>").wait(300);
    assert!(t.commands().iter().any(|c| matches!(c, Command::Psr { step: 9, .. })), "{:?}", t.commands());
}

#[test]
fn measuring_a_map_ends_when_nobody_looks_at_the_result() {
    for away in ["f", "4", "i"] {
        let mut t = Typist::attacked(Depth::True, false);
        settle(&mut t);
        t.keys("3");
        settle(&mut t);
        t.keys("f");
        let measuring = |t: &Typist| {
            t.commands().into_iter().find_map(|c| if let Command::Faithfulness { control, .. } = c { Some(control.clone()) } else { None })
        };
        assert!(measuring(&t).is_some());
        t.keys(away);
        assert!(t.effects.iter().any(|e| matches!(e, Effect::Stop(_))), "{away}: {:?}", t.effects);
        t.keys(if away == "4" { "3" } else { "f" });
        assert!(measuring(&t).is_some(), "{away}: looked at again, measured again");
    }
}
