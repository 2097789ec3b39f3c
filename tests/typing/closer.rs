//! Going closer to the pictures of screens 2 and 3: the same part, the same pixel, the same keys.

use psescope::tui::screen::closer;

use super::*;

fn on(keys: &str) -> Typist {
    let mut t = Typist::attacked(Depth::True, false);
    t.keys(keys).wait(300);
    t.answer();
    t.wait(300);
    t
}

#[test]
fn both_screens_show_the_same_part_and_the_same_pixel() {
    let mut t = on("3");
    t.answer();
    t.keys("Z");
    assert!(t.text(120, 40).contains("clean 2×"), "{}", t.text(120, 40));
    t.keys("P<right><down><S-right>");
    let pixel = t.model.pixels.pixel;
    assert!(t.model.pixels.in_pixels && t.text(120, 40).contains(&format!("pixel x {}, y {}", pixel[1], pixel[0])));
    t.keys("2");
    assert!(t.text(120, 40).contains(&format!("pixel x {}, y {}", pixel[1], pixel[0])));
    assert!(t.text(120, 40).contains("step 10 2×"), "{}", t.text(120, 40));
    t.keys("<esc>");
    assert!(!t.model.pixels.in_pixels && t.model.screen == Screen::Pixels);
    t.keys("u3");
    assert!(!t.text(120, 40).contains("2×"));
}

#[test]
fn the_cursor_on_screen_3_tells_the_values_of_the_four_maps() {
    let mut t = on("3");
    t.answer();
    t.keys("P");
    let side = picture().dim().1;
    t.model.pixels.pixel = [side - 1, side - 1];
    // The corner of the map of class 0 is (8 * 7 + 7) / 16, that of class 1 (7 - 2) / 2.
    for (name, value) in [("C(x0,t0)", "+3.94"), ("C(x0,t)", "+2.50"), ("C(x',t0)", "+3.94"), ("C(x',t)", "+2.50")] {
        let line = t.text(120, 40).lines().find(|l| l.contains(&format!("{name} ")) && l.contains(value)).map(str::to_owned);
        assert!(line.is_some(), "{name} {value} in\n{}", t.text(120, 40));
    }
    t.model.pixels.pixel = [0, 0];
    assert!(t.text(120, 40).lines().any(|l| l.contains("C(x0,t) ") && l.contains("-1.00")), "{}", t.text(120, 40));
    // The classes are chosen where the cursor is off.
    t.keys("<esc>c");
    assert_eq!(t.model.dialogs.len(), 1);
}

#[test]
fn closer_pictures_move_by_a_quarter_and_stop_at_the_edge() {
    for screen in ["2", "3"] {
        let mut t = on(screen);
        t.keys("<A-right>");
        assert!(t.text(120, 40).contains("Z goes closer"), "{}", t.text(120, 40));
        t.keys("ZZ");
        let part = |t: &Typist| closer::part(&t.model, t.model.opened.as_ref().expect("open"));
        let side = picture().dim().1;
        let [top, left, h, w] = part(&t);
        assert_eq!([h, w], [side / 4; 2]);
        t.keys("<A-right>");
        assert_eq!(part(&t), [top, left + w / 4, h, w]);
        t.keys("<A-up><A-h>");
        assert_eq!(part(&t), [top - h / 4, left, h, w]);
        for _ in 0..20 {
            t.keys("<A-down><A-l>");
        }
        assert_eq!(part(&t), [side - h, side - w, h, w]);
        // One press leads back from the edge.
        t.keys("<A-k>");
        assert_eq!(part(&t), [side - h - h / 4, side - w, h, w]);
        assert_eq!(t.model.position(), Some(10), "time stands still");
    }
}

#[test]
fn closer_maps_are_the_cut_of_the_whole_one() {
    let mut t = on("3z");
    t.answer();
    t.keys("ZZ");
    let whole = {
        let mut w = on("3z");
        w.answer();
        w
    };
    assert_ne!(t.frame(120, 40), whole.frame(120, 40));
    // Without colour, too.
    let mut glyphs = Typist::attacked(Depth::None, true);
    glyphs.keys("3").wait(300);
    glyphs.answer();
    let before = glyphs.text(80, 24);
    glyphs.keys("ZZ");
    assert_ne!(glyphs.text(80, 24), before);
}

#[test]
fn with_the_cell_cursor_the_cell_moves_along() {
    let mut t = on("2<enter>");
    t.keys("ZZ");
    let before = t.model.pixels.selected;
    t.keys("<A-down><A-right>");
    assert_ne!(t.model.pixels.selected, before);
    let cell = psescope::tui::psr::cell(&t.model);
    let [y, x] = t.model.pixels.pixel;
    assert_eq!(t.model.pixels.selected, y / cell[0] * picture().dim().2.div_ceil(cell[1]) + x / cell[1]);
}

#[test]
fn a_smaller_image_leaves_no_cursor_outside() {
    let mut t = on("2P");
    let side = picture().dim().1;
    t.model.pixels.pixel = [side - 1, side - 1];
    let mut opened = (**t.model.opened.as_ref().expect("open")).clone();
    opened.image = Arc::new(picture().slice(ndarray::s![.., ..side / 2, ..side / 2]).to_owned());
    opened.image_path = "small.jpg".into();
    t.engine(Event::Opened(Box::new(opened)));
    t.keys("Y");
    t.frame(120, 40);
    assert!(t.model.pixels.pixel.iter().all(|v| *v < side / 2));
}
