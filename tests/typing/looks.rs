//! Themes, names of all widths, and progress with rate and time left.

use psescope::{
    core::tensor::labels::Labels,
    tui::theme::{Look, custom},
};

use super::*;

pub(super) fn looks() -> Vec<(String, Result<Arc<Look>, String>)> {
    let mine = custom::parse("base = \"light\"\n[colors]\nfocus = \"#123456\"", std::path::Path::new("mine.toml")).expect("a theme");
    let builtin = ["terminal", "dark", "light", "high-contrast"].map(|n| (n.to_owned(), Ok(Arc::new(Look::builtin(n).expect("built in")))));
    builtin
        .into_iter()
        .chain([("mine".to_owned(), Ok(Arc::new(mine))), ("broken".to_owned(), Err("broken.toml:1: no".to_owned()))])
        .collect()
}

#[test]
fn themes_are_shown_while_choosing_and_taken_back() {
    let mut t = Typist::attacked(Depth::True, false);
    t.keys("<C-t>");
    assert!(matches!(&t.effects[..], [Effect::Themes]));
    t.send(Msg::Themes(looks()));
    t.keys("<down>");
    assert_eq!(t.model.theme.name(), "dark", "what is selected is shown");
    let frame = t.frame(80, 24);
    assert!(frame.content().iter().any(|c| c.fg == Color::Rgb(110, 200, 210)));
    assert!(frame.content().iter().all(|c| c.bg != Color::Reset && c.fg != Color::Reset), "readable on any terminal");
    t.keys("<esc>");
    assert_eq!(t.model.theme.name(), "terminal");
    t.send(Msg::Themes(looks()));
    t.keys("mine<enter>");
    assert_eq!(t.model.theme.name(), "mine");
    assert!(t.frame(80, 24).content().iter().any(|c| c.fg == Color::Rgb(0x12, 0x34, 0x56)));
    t.send(Msg::Themes(looks()));
    t.keys("broken<enter>");
    assert!(t.model.notices.shown().expect("said").text.contains("broken.toml:1"));
    assert_eq!(t.model.theme.name(), "mine");
    t.keys(":theme<space>high<enter>");
    assert_eq!(t.model.theme.name(), "high-contrast");
    t.keys(":theme<space>zzz<enter>");
    assert!(t.text(100, 30).contains("unknown theme 'zzz'"));
}

#[test]
fn every_theme_and_depth_draws_every_screen() {
    for (name, look) in looks() {
        let Ok(look) = look else { continue };
        for depth in [Depth::True, Depth::Ansi256, Depth::Ansi16, Depth::None] {
            let mut t = Typist::attacked(depth, false);
            t.model.theme.look = Arc::clone(&look);
            for keys in ["1", "2", "3", "4", "5", "6", "T", ":", "<esc>?"] {
                let buf = t.keys(keys).frame(100, 30);
                let rgb = buf.content().iter().any(|c| matches!(c.fg, Color::Rgb(..)) || matches!(c.bg, Color::Rgb(..)));
                assert!(!rgb || depth == Depth::True, "{name} at {depth:?}");
                let coloured = buf.content().iter().any(|c| (c.fg, c.bg) != (Color::Reset, Color::Reset));
                assert!(coloured == (depth != Depth::None), "{name} at {depth:?}");
            }
        }
    }
}

/// Columns of every line, as a terminal counts them, and the columns of its frames.
fn lines(buf: &Buffer) -> Vec<String> {
    glyphs(buf).lines().map(str::to_owned).collect()
}

#[test]
fn wide_and_joined_names_keep_the_frames_straight() {
    let names =
        ["大熊猫, パンダ", "🐼 panda", "👩‍🔬 scientist", "e\u{301}te\u{301} 🇩🇪", "한국어 이름이 아주 아주 아주 길다", "ｆｕｌｌｗｉｄｔｈ"];
    // As a label file says it.
    let labels = Labels::parse(&names.join("\n"), "labels.txt").expect("labels");
    for (w, h) in [(60, 16), (80, 24), (120, 40), (200, 60)] {
        for keys in ["", "t", "2", "3", "6", "a", ":target<space>"] {
            let mut plain = Typist::attacked(Depth::True, false);
            plain.keys(keys);
            let mut t = Typist::attacked(Depth::True, false);
            let opened = Arc::make_mut(t.model.opened.as_mut().expect("open"));
            opened.labels = Arc::new(labels.names().to_vec());
            t.keys(keys);
            let (wide, narrow) = (t.frame(w, h), plain.frame(w, h));
            for (y, line) in lines(&wide).iter().enumerate() {
                assert!(psescope::tui::text::width(line) <= usize::from(w), "line {y} after {keys} at {w}x{h}: {line}");
            }
            // The right edges of frames stand where they stand with plain names.
            for y in 0..h {
                let edge = |b: &Buffer| ["│", "┃", "╮", "┓", "╯", "┛"].contains(&b[(w - 1, y)].symbol());
                assert_eq!(edge(&wide), edge(&narrow), "line {y} after {keys} at {w}x{h}:\n{}", glyphs(&wide));
            }
        }
    }
}

#[test]
fn long_work_says_how_fast_it_is_and_how_long_it_will_take() {
    let mut t = Typist::attacked(Depth::True, false);
    t.keys("3").wait(200);
    t.engine(Event::Busy("opening x".into()));
    t.wait(2000);
    assert!(t.text(120, 40).contains("opening x  2.0 s"), "{}", t.text(120, 40));
    let progress = |done, all| Event::Progress { what: "Score-CAM".into(), done, all };
    t.engine(progress(10, 100));
    t.wait(2000);
    t.engine(progress(20, 100));
    let text = t.text(120, 40);
    assert!(text.contains("Score-CAM  20/100  10.00/s  8.0 s left"), "{text}");
    // The next map counts from the beginning.
    t.engine(progress(1, 100));
    t.wait(500);
    t.engine(progress(2, 100));
    assert!(t.text(120, 40).contains("2/100  4.00/s  24 s left"), "{}", t.text(120, 40));
    t.engine(Event::Idle);
    assert!(!t.text(120, 40).contains("left"));
}

#[test]
fn first_run_hints_go_away_once_followed() {
    let mut t = Typist::attacked(Depth::True, false);
    assert!(t.text(120, 40).contains("step, 2 and 3 explain it"));
    t.keys("h");
    assert!(!t.text(120, 40).contains("2 and 3 explain it") && t.model.learned.contains("step"));
    // What was followed in an earlier session is not said again.
    let mut t = Typist::open();
    t.model.learned.insert("step");
    t.keys("<space>");
    t.begin(11, Some(1));
    t.end(Ending::Done { success: true });
    t.wait(6000);
    assert!(!t.text(120, 40).contains("2 and 3 explain it"));
    let known = psescope::tui::model::HINTS;
    t.keys("?<esc>t<esc>2:<esc><C-o><esc>rB");
    assert!(t.model.learned.iter().all(|hint| known.contains(hint)), "hints that would be forgotten: {:?}", t.model.learned);
}
