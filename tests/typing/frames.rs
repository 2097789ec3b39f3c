//! Frames: every screen and dialog at four sizes as glyphs, styles and a legend; any size at all; and without colours.

use proptest::prelude::*;
use psescope::tui::screen::attack;

use super::*;

const SIZES: [(u16, u16); 4] = [(60, 16), (80, 24), (120, 40), (200, 60)];

/// A scene: name, and how to get there after an attack.
type Scene = (&'static str, fn(Depth, bool) -> Typist);

/// An attacked image and these keys; what was asked for is answered at every `|` and at the end.
fn after(keys: &str, depth: Depth, ascii: bool) -> Typist {
    let mut t = Typist::attacked(depth, ascii);
    t.model.notices = Default::default();
    for keys in keys.split('|') {
        t.keys(keys);
        for _ in 0..4 {
            t.settle();
        }
    }
    t
}

impl Typist {
    /// Waits and answers whatever is asked meanwhile.
    fn settle(&mut self) {
        self.answer();
        self.wait(300);
        self.answer();
    }
}

/// Every screen and dialog.
const SCENES: [Scene; 23] = [
    ("start", Typist::opened),
    ("attack", |d, a| after("", d, a)),
    ("versus", |d, a| {
        let mut t = after("r", d, a);
        t.begin(4, Some(2));
        t.end(Ending::Done { success: false });
        t.model.notices = Default::default();
        t.keys("B");
        t
    }),
    ("pixels", |d, a| after("2<enter>l", d, a)),
    ("cam", |d, a| after("3", d, a)),
    ("layers", |d, a| after("4|j", d, a)),
    ("units", |d, a| after("5|j<space>x", d, a)),
    ("insight", |d, a| after("6|C", d, a)),
    ("triage", |d, a| {
        let mut t = triage();
        t.model.theme = Theme::new("terminal", d, a).expect("built in");
        t.keys("j");
        t.wait(300);
        t
    }),
    ("triage_compare", |d, a| {
        let mut t = compare::compared();
        t.model.theme = Theme::new("terminal", d, a).expect("built in");
        t.keys("j");
        t.wait(300);
        t
    }),
    ("form", |d, a| after("a", d, a)),
    ("target", |d, a| after("t", d, a)),
    ("help", |d, a| after("?", d, a)),
    ("messages", |d, a| after("M", d, a)),
    ("save", |d, a| after("S", d, a)),
    ("report", |d, a| after("e", d, a)),
    ("palette", |d, a| after(":lay", d, a)),
    ("command", |d, a| after(":target<space>pan", d, a)),
    ("files", |d, a| {
        let mut t = after("<C-o>", d, a);
        t.send(Msg::Listed(".".into(), Ok(("/pics".into(), dialogs::listing()))));
        t
    }),
    ("recent", |d, a| {
        let mut t = after("", d, a);
        let recent = |kind, path: &str| psescope::engine::remember::Recent { kind, path: path.into() };
        use psescope::engine::browse::Kind;
        t.send(Msg::Recent(vec![
            recent(Kind::Image, "/pics/熊猫 on a very long day out in the mountains.png"),
            recent(Kind::Folder, "/pics"),
        ]));
        t.keys("<C-o>");
        t
    }),
    ("log", |d, a| {
        let t = after("D", d, a);
        for (i, level) in [tracing::Level::INFO, tracing::Level::WARN, tracing::Level::ERROR, tracing::Level::DEBUG]
            .into_iter()
            .cycle()
            .take(30)
            .enumerate()
        {
            let text = format!(
                "line {i} of the log, long enough to be broken where the terminal is as narrow as some are, with a word at the end"
            );
            t.model.log.push(Duration::from_millis(1234 * i as u64), level, "psescope", &text);
        }
        t
    }),
    ("theme", |d, a| {
        let mut t = after("", d, a);
        t.send(Msg::Themes(looks::looks()));
        t.keys("<down>");
        t
    }),
    ("quit", |d, a| {
        let mut t = Typist::opened(d, a);
        t.keys("<space>");
        t.begin(3, None);
        t.keys("q");
        t
    }),
];

/// Glyphs, then runs of styles (a letter and a length), then what the letters mean. Pictures are `#` in both: their pixels are tested
/// where they are made.
fn compact(buf: &Buffer) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let picture = |x: u16, y: u16| matches!((buf[(x, y)].symbol(), buf[(x, y)].fg), ("▀" | " ", Color::Rgb(..)));
    let mut known: Vec<(Color, Color, Modifier)> = Vec::new();
    let (mut shown, mut styles) = (String::new(), String::new());
    for y in 0..buf.area.height {
        let (mut line, mut runs, mut x) = (String::new(), Vec::<(char, usize)>::new(), 0);
        while x < buf.area.width {
            let cell = &buf[(x, y)];
            let width = (psescope::tui::text::width(cell.symbol()) as u16).max(1);
            line.push_str(if picture(x, y) { "#" } else { cell.symbol() });
            let style = (cell.fg, cell.bg, cell.modifier);
            let letter = if picture(x, y) {
                '#'
            } else if style == (Color::Reset, Color::Reset, Modifier::empty()) {
                '.'
            } else {
                let at = known.iter().position(|s| *s == style).unwrap_or_else(|| {
                    known.push(style);
                    known.len() - 1
                });
                LETTERS.get(at).map_or('?', |l| char::from(*l))
            };
            match runs.last_mut() {
                Some((last, n)) if *last == letter => *n += usize::from(width),
                _ => runs.push((letter, usize::from(width))),
            }
            x += width;
        }
        let _ = writeln!(shown, "{}", line.trim_end());
        if runs.last().is_some_and(|(l, _)| *l == '.') {
            runs.pop();
        }
        let _ = writeln!(styles, "{}", runs.iter().map(|(l, n)| format!("{l}{n}")).collect::<Vec<_>>().join(" "));
    }
    let legend: String = known
        .iter()
        .enumerate()
        .map(|(i, (fg, bg, modifier))| {
            let modifier = if modifier.is_empty() { String::new() } else { format!(" {modifier:?}") };
            format!("{}: {fg} on {bg}{modifier}\n", LETTERS.get(i).map_or('?', |l| char::from(*l)))
        })
        .collect();
    format!("{shown}\n{styles}\n{legend}")
}

#[test]
fn every_screen_and_dialog_at_four_sizes() {
    for (name, scene) in SCENES {
        let t = scene(Depth::True, false);
        let frames: Vec<String> = SIZES.iter().map(|&(w, h)| format!("== {w}x{h}\n{}", compact(&t.frame(w, h)))).collect();
        insta::assert_snapshot!(name, frames.join("\n"));
    }
}

#[test]
fn without_colour_and_in_ascii() {
    for name in ["attack", "pixels", "triage"] {
        let scene = SCENES.iter().find(|s| s.0 == name).expect("there").1;
        let t = scene(Depth::None, true);
        insta::assert_snapshot!(format!("plain_{name}"), compact(&t.frame(80, 24)));
    }
}

/// Draws into a part of a larger buffer; returns where something outside was touched.
fn outside(t: &Typist, w: u16, h: u16) -> Option<(u16, u16)> {
    let mut model = t.model.clone();
    model.size = (w, h);
    let (area, whole) = (Rect::new(3, 2, w, h), Rect::new(0, 0, w + 7, h + 5));
    let mut buf = Buffer::filled(whole, ratatui::buffer::Cell::new("~"));
    render(&model, &mut ViewCache::default(), area, &mut buf);
    let untouched = ratatui::buffer::Cell::new("~");
    whole.positions().filter(|p| !area.contains(*p)).find(|p| buf[*p] != untouched).map(|p| (p.x, p.y))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_size_stays_in_its_area(w in 1u16..=320, h in 1u16..=120, scene in 0usize..SCENES.len(), ascii: bool) {
        let t = SCENES[scene].1(if ascii { Depth::None } else { Depth::True }, ascii);
        for (w, h) in [(w, h), (w.clamp(60, 100), h.clamp(16, 30)), (w.min(61), h.min(17))] {
            prop_assert_eq!(outside(&t, w, h), None, "{} at {}x{}", SCENES[scene].0, w, h);
        }
    }
}

/// What remains on a screen that shows no colour.
fn colourless(t: &Typist, w: u16, h: u16) -> Vec<(String, Modifier)> {
    t.frame(w, h).content().iter().map(|c| (c.symbol().to_owned(), c.modifier)).collect()
}

#[test]
fn nothing_is_told_by_colour_alone() {
    // Keys that lead somewhere, and a key that changes what is meant: the change shows in glyphs, or bold, reversed, underlined.
    let cases = [
        ("", "<tab>"),
        ("", "h"),
        ("", "m"),
        ("2<enter>", "l"),
        ("2", "s"),
        ("3", "<tab>"),
        ("3", "d"),
        ("4", "j"),
        ("5", "j"),
        ("5", "<space>"),
        ("6|C", "j"),
        ("a", "<tab>"),
        ("t", "<down>"),
        ("e", "<down>"),
        ("1", "2"),
        ("2", "3"),
    ];
    for depth in [Depth::None, Depth::Ansi16] {
        for (there, change) in cases {
            let before = after(there, depth, false);
            let mut then = before;
            let shown: Vec<_> = SIZES[1..].iter().map(|&(w, h)| colourless(&then, w, h)).collect();
            then.keys(change);
            then.settle();
            for (&(w, h), was) in SIZES[1..].iter().zip(&shown) {
                assert!(*was != colourless(&then, w, h), "{change} after '{there}' cannot be seen without colours at {w}x{h}");
            }
        }
    }
    for (name, scene) in SCENES {
        for (w, h) in SIZES {
            let frame = scene(Depth::None, false).frame(w, h);
            assert!(frame.content().iter().all(|c| (c.fg, c.bg) == (Color::Reset, Color::Reset)), "{name} at {w}x{h}");
        }
    }
}

#[test]
fn pictures_of_the_attack_come_closer_and_move() {
    let mut t = after("", Depth::True, false);
    let whole = t.frame(120, 40);
    t.keys("<A-left>");
    assert_eq!(t.frame(120, 40).content()[..120 * 30], whole.content()[..120 * 30], "nothing to move");
    // Squares of eight pixels; sixteen pixels are shown after one key, eight after two.
    t.keys("Z");
    assert_eq!(attack::part(&t.model), Some([8, 8, 16, 16]));
    assert!(t.text(120, 40).contains("2× closer"));
    t.keys("<A-left><A-left><A-left><A-up>");
    assert_eq!(attack::part(&t.model), Some([4, 0, 16, 16]), "the edge stops it");
    t.keys("Z<A-right><A-down>");
    assert_eq!(attack::part(&t.model), Some([10, 6, 8, 8]));
    for (w, h) in SIZES {
        assert!(t.text(w, h).contains("4×"), "{}", t.text(w, h));
    }
    t.keys("uu");
    assert_eq!((attack::part(&t.model), t.frame(120, 40).content() == whole.content()), (None, false));
    t.model.notices = Default::default();
    assert!(t.frame(120, 40) == whole);
}

#[test]
fn promotion_suppression_and_success_have_signs() {
    let t = after("2", Depth::None, false);
    let text = t.text(120, 40);
    let map: String = text.lines().skip(3).take(20).map(|l| l.chars().skip(1).take(60).collect::<String>()).collect();
    for sign in ['+', '-', '='] {
        assert!(map.contains(sign), "no {sign} on the map:\n{text}");
    }
    let mut won = Typist::opened(Depth::None, false);
    won.keys("<space>");
    won.begin(11, Some(1));
    let mut lost = Typist::opened(Depth::None, false);
    lost.keys("<space>");
    lost.begin(2, Some(1));
    won.end(Ending::Done { success: true });
    lost.end(Ending::Done { success: false });
    for (w, h) in SIZES {
        assert!(won.text(w, h).contains("flipped at"), "{}", won.text(w, h));
        assert!(!lost.text(w, h).contains("flipped at"), "{}", lost.text(w, h));
    }
    let triage = (SCENES.iter().find(|s| s.0 == "triage").expect("there").1)(Depth::None, false).text(80, 24);
    assert!(triage.contains("reached") && triage.contains("held"));
}
