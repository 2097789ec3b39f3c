//! The inspector without a terminal: keys typed into the model, effects and frames looked at.

use std::{fmt::Write as _, path::PathBuf, sync::Arc, time::Duration};

use ndarray::{Array1, Array2, Array3, Array4};
use psescope::{
    core::{
        attack::REGISTRY,
        dissect::{ConceptLabels, Levels},
        explain::{
            cam::{CamMap, Method},
            insight::UndoneFacts,
            layers::LayerChange,
            psr::{self, Grid, Mode, PsrMap, Settings},
            units::{Fill, Response, UnitChange, UnitTable},
        },
        oracle::LayerInfo,
    },
    engine::{
        command::{At, Command, RunId, Target},
        event::{Ending, Event, Opened},
        inspect::{Answer, Ask, Over},
        trace::{StepRecord, Trace},
    },
    tui::{
        default_attack,
        dialog::{Dialog, help},
        effect::Effect,
        keymap::{Key, Keymap, SECTIONS},
        model::{Attacks, Cursor, Model},
        msg::Msg,
        screen::Screen,
        theme::{Depth, Theme},
        update,
        view::{ViewCache, render},
    },
};
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier},
};

#[path = "typing/ahead.rs"]
mod ahead;
#[path = "typing/closer.rs"]
mod closer;
#[path = "typing/compare.rs"]
mod compare;
#[path = "typing/dialogs.rs"]
mod dialogs;
#[path = "typing/every_key.rs"]
mod every_key;
#[path = "typing/folder.rs"]
mod folder;
#[path = "typing/frames.rs"]
mod frames;
#[path = "typing/looks.rs"]
mod looks;
#[path = "typing/mouse.rs"]
mod mouse;
#[path = "typing/patch.rs"]
mod patch;

const SIDE: usize = 32;
const LABELS: [&str; 6] = ["giant panda, panda", "gibbon, Hylobates lar", "indri", "badger", "skunk", "熊猫"];

fn picture() -> Array3<f32> {
    Array3::from_shape_fn((3, SIDE, SIDE), |(c, y, x)| if (x / 8 + y / 8 + c) % 2 == 0 { 0.8 } else { 0.2 })
}

struct Typist {
    model: Model,
    effects: Vec<Effect>,
    clock: u64,
}

impl Typist {
    fn closed(depth: Depth, ascii: bool) -> Self {
        let theme = Theme::new("terminal", depth, ascii).expect("built in");
        let keymap = Keymap::new(&[]).expect("no conflicts");
        let paths = (PathBuf::from("squeezenet.onnx"), PathBuf::from("panda.jpg"));
        let model = Model::new(paths.0, paths.1, theme, keymap, Attacks(REGISTRY), default_attack());
        Self { model, effects: Vec::new(), clock: 0 }
    }

    fn open() -> Self {
        Self::opened(Depth::True, false)
    }

    fn opened(depth: Depth, ascii: bool) -> Self {
        let mut typist = Self::closed(depth, ascii);
        let layer = |i: usize| LayerInfo { name: format!("block{i}"), op: "Conv".into(), units: 64, spatial: [8, 8] };
        typist.engine(Event::Opened(Box::new(Opened {
            model: "squeezenet.onnx".into(),
            model_sha256: "0".repeat(64),
            image_path: "panda.jpg".into(),
            provider: "CPU".into(),
            engine: "onnxruntime 1.32".into(),
            preprocessing: "imagenet (preset)".into(),
            notices: vec![],
            labels: Arc::new(LABELS.iter().map(|s| (*s).to_owned()).collect()),
            image: Arc::new(picture()),
            logits: vec![9.0, 5.0, 6.0, 3.0, 2.0, 1.0],
            layers: (1..4).map(layer).collect(),
            has_linear_head: true,
            no_gradient: None,
        })));
        typist
    }

    fn send(&mut self, msg: Msg) {
        self.effects.extend(update(&mut self.model, msg));
    }

    fn engine(&mut self, event: Event) {
        self.send(Msg::Engine(event));
    }

    /// Types keys; the effects of these keys only are kept.
    fn keys(&mut self, keys: &str) -> &mut Self {
        self.effects.clear();
        for key in Key::parse_all(keys).expect("keys") {
            self.send(Msg::Key(key));
        }
        self
    }

    fn wait(&mut self, milliseconds: u64) -> &mut Self {
        self.effects.clear();
        for _ in 0..milliseconds.div_ceil(50) {
            self.clock += 50;
            self.send(Msg::Tick(Duration::from_millis(self.clock)));
        }
        self
    }

    /// The worker begins the attack asked for and records `steps` steps.
    fn begin(&mut self, steps: usize, target: Option<usize>) -> Arc<Trace> {
        let run = self.model.run.as_ref().expect("asked for").id;
        let request = self.model.request.clone();
        let trace = Arc::new(Trace::new(Arc::new(picture()), 0, target, 64 << 20));
        self.engine(Event::Started { run, label: 0, target, request, trace: Arc::clone(&trace) });
        for index in 0..steps {
            push(&trace, index, target);
            self.engine(Event::Step { run, index });
        }
        trace
    }

    fn end(&mut self, ending: Ending) {
        let run = self.model.run.as_ref().expect("running").id;
        self.engine(Event::Ended { run, ending, best: None });
    }

    /// An attack of eleven steps that has ended, its map included.
    fn attacked(depth: Depth, ascii: bool) -> Self {
        let mut typist = Self::opened(depth, ascii);
        typist.keys("<space>");
        typist.begin(11, Some(1));
        typist.end(Ending::Done { success: true });
        typist.wait(300);
        typist.answer();
        typist
    }

    /// Answers the questions for maps that are among the effects.
    fn answer(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            // What is asked for ahead is answered as if it were wanted.
            let effect = match effect {
                Effect::Engine(Command::Ahead(wish)) => {
                    if let Some(control) = wish.control() {
                        control.stop();
                    }
                    Effect::Engine(*wish)
                }
                other => other,
            };
            match effect {
                Effect::Engine(Command::Psr { run, step, cell, settings, .. }) => {
                    self.engine(Event::Psr { run, step, map: Arc::new(map(cell[0], settings, true)), done: true });
                }
                Effect::Engine(Command::Cam { at, method, layer, class, .. }) => {
                    let raw =
                        Array2::from_shape_fn((8, 8), |(y, x)| if class == 0 { (8 * y + x) as f32 / 16.0 } else { (x as f32 - 2.0) / 2.0 });
                    let layer = layer.unwrap_or_else(|| "block3".into());
                    self.engine(Event::Cam { at, map: Arc::new(CamMap { method, layer, class, raw }) });
                }
                Effect::Engine(Command::Network { run, step, ask, .. }) => {
                    let answer = inspected(&ask);
                    self.engine(Event::Network { run, step, ask, answer });
                }
                _ => {}
            }
        }
    }

    fn commands(&self) -> Vec<&Command> {
        self.effects.iter().filter_map(|e| if let Effect::Engine(c) = e { Some(c) } else { None }).collect()
    }

    fn frame(&self, columns: u16, rows: u16) -> Buffer {
        let mut model = self.model.clone();
        model.size = (columns, rows);
        let area = Rect::new(0, 0, columns, rows);
        let mut buf = Buffer::empty(area);
        render(&model, &mut ViewCache::default(), area, &mut buf);
        buf
    }

    fn text(&self, columns: u16, rows: u16) -> String {
        glyphs(&self.frame(columns, rows))
    }
}

fn push(trace: &Trace, index: usize, target: Option<usize>) {
    let f = index as f32;
    let logits = [9.0 - f, 5.0 + 0.5 * f, 6.0, 3.0, 2.0, 1.0];
    let log_sum_exp = logits.iter().map(|v: &f32| v.exp()).sum::<f32>().ln();
    let mut top: Vec<(usize, f32)> = logits.into_iter().enumerate().collect();
    top.sort_by(|a, b| b.1.total_cmp(&a.1));
    let amplitude = f.min(8.0) / 255.0;
    let image = picture().mapv(|v| if v > 0.5 { v - amplitude } else { v + amplitude });
    let record = StepRecord {
        index,
        loss: log_sum_exp - logits[1],
        terms: vec![],
        predicted: top[0].0,
        top,
        true_logit: logits[0],
        target_logit: target.map(|t| logits[t]),
        other_logit: logits[2],
        log_sum_exp,
        l0: if index == 0 { 0 } else { SIDE * SIDE },
        l1: amplitude * (3 * SIDE * SIDE) as f32,
        l2: amplitude * ((3 * SIDE * SIDE) as f32).sqrt(),
        linf: amplitude,
        seconds: 0.1 * f,
    };
    trace.push(record, image.view());
}

fn layer_info(i: usize) -> LayerInfo {
    LayerInfo { name: format!("block{i}"), op: "Conv".into(), units: 8, spatial: [4, 4] }
}

/// What the worker could answer: eight units a layer, unit 3 moves most; zeroing two or more units brings the true class back.
fn inspected(ask: &Ask) -> Answer {
    let response = |mean: f32| Response { mean, max: 2.0 * mean, l2: mean };
    let z = |truth: f32, target: f32| Array1::from_vec(vec![truth, target, 0.0, 0.0, 0.0, 0.0]);
    match ask {
        Ask::Layers { all } => {
            let change = |i: usize| LayerChange {
                info: layer_info(i),
                promoted: i,
                suppressed: 8 - 2 * i,
                unchanged: i,
                promoted_mass: i as f64,
                suppressed_mass: 1.0,
                l2: 2.0,
                relative_change: Some(0.1 * i as f64),
                cosine: Some(1.1 - 0.2 * i as f64),
            };
            Answer::Layers(Arc::new((1..=if *all { 4 } else { 3 }).map(change).collect()))
        }
        Ask::Over { .. } => {
            let steps: Vec<usize> = (0..11).collect();
            let row = |i: usize| (format!("block{i}"), steps.iter().map(|s| Some(1.0 - 0.01 * (i * s) as f64)).collect());
            Answer::Over(Arc::new(Over { cosines: (1..4).map(row).collect(), steps: steps.clone() }), true)
        }
        Ask::Units { layer, classes } => {
            let unit = |k: usize| UnitChange {
                unit: k,
                clean: response(1.0),
                adversarial: response(if k == 3 { 9.0 } else { 1.0 + k as f32 / 10.0 }),
                change: if k == 3 { 8.0 } else { k as f32 / 10.0 },
                standardised: Some(if k == 5 { -4.5 } else { 0.5 }),
                effect_true: -0.5,
                effect_target: k as f32,
                r: 0.0,
                kind: psr::Kind::Promotion,
            };
            let mut layer_of = layer_info(3);
            layer_of.name = layer.clone().unwrap_or(layer_of.name);
            let table = UnitTable {
                layer: layer_of,
                classes: *classes,
                exact: false,
                settings: Settings::default(),
                logits: [z(9.0, 5.0), z(-1.0, 10.0)],
                spread: Some("the concept images".into()),
                units: (0..8).map(unit).collect(),
                maps: Array4::from_shape_fn((2, 8, 4, 4), |(n, k, y, x)| (n * k * (y + x)) as f32),
            };
            let csv = "unit,category,label,score\r\n2,object,dog,0.5\r\n4,part,fur,0.3\r\n6,object,dog,0.2\r\n";
            let levels = Levels { threshold: vec![6.5; 8], mean: vec![1.0; 8], deviation: vec![1.0; 8] };
            let labels = ConceptLabels::from_result_csv(csv.as_bytes(), "own data").expect("a result file").with_levels(Some(levels));
            Answer::Units(Arc::new(table), Some(Arc::new(labels)))
        }
        Ask::Exact { units, .. } => Answer::Exact(units.iter().map(|_| (-0.25, 0.75)).collect()),
        Ask::Mask(mask) => {
            let back = mask.units.len() >= 2;
            Answer::Mask([z(8.0, 5.0), if back { z(7.0, 4.0) } else { z(2.0, 8.0) }])
        }
        Ask::Undo { .. } => Answer::Undo(UndoneFacts { layer: "block3".into(), tried: vec![(1, false, true), (2, true, true)] }),
    }
}

fn map(cell: usize, settings: Settings, whole: bool) -> PsrMap {
    let grid = Grid { height: SIDE, width: SIDE, cell_h: cell, cell_w: cell };
    let raw = |i: usize| [(0.9, 0.05), (0.05, 0.8), (0.5, 0.5), (0.0, 0.0)][(i + i / grid.cols()) % 4];
    let judged = |i: usize| Some(psr::judge(&grid, i, raw(i).0, raw(i).1, &settings)).filter(|_| whole || i < 5);
    PsrMap { grid, settings, cells: (0..grid.len()).map(judged).collect(), classes: (0, 1), forwards: 64, seconds: 0.5 }
}

fn glyphs(buf: &Buffer) -> String {
    let mut out = String::new();
    for y in 0..buf.area.height {
        let mut line = String::new();
        let mut x = 0;
        while x < buf.area.width {
            let symbol = buf[(x, y)].symbol();
            line.push_str(symbol);
            x += (psescope::tui::text::width(symbol) as u16).max(1);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[test]
fn space_starts_the_default_attack_and_then_pauses_it() {
    let mut t = Typist::open();
    t.keys("<space>");
    match t.commands()[..] {
        [Command::Attack { run, request, .. }] => {
            assert_eq!(*run, RunId(1));
            assert_eq!((request.attack.as_str(), &request.target), ("ifgsm", &Target::Untargeted));
        }
        ref other => panic!("{other:?}"),
    }
    t.begin(4, None);
    t.keys("<space>");
    assert!(matches!(t.effects[..], [Effect::Pause(_, true)]));
    assert!(t.text(120, 40).contains("paused"));
    t.keys("<space>");
    assert!(matches!(t.effects[..], [Effect::Pause(_, false)]));
}

#[test]
fn stepping_works_while_the_attack_runs() {
    // The recorded curves cross between steps 2 and 3: the class changes once to 'indri', then to 'gibbon'.
    let cases = [
        ("h", Cursor::At(29)),
        ("hhh", Cursor::At(27)),
        ("H", Cursor::At(20)),
        ("<S-left><S-left>", Cursor::At(10)),
        ("<home>", Cursor::At(0)),
        ("<home>l", Cursor::At(1)),
        ("<home>L", Cursor::At(10)),
        ("<left><right>", Cursor::At(30)),
        (",", Cursor::At(29)),
        (",,.", Cursor::At(29)),
        ("hhh<end>", Cursor::Live),
        ("[", Cursor::At(3)),
        ("[[", Cursor::At(0)),
        ("<home>]", Cursor::At(3)),
        ("<home>]]", Cursor::At(30)),
    ];
    for (keys, expected) in cases {
        let mut t = Typist::open();
        t.keys("<space>");
        let trace = t.begin(31, Some(1));
        t.keys(keys);
        assert_eq!(t.model.cursor, expected, "{keys}");
        push(&trace, 31, Some(1));
        t.engine(Event::Step { run: RunId(1), index: 31 });
        let position = if let Cursor::At(i) = expected { i } else { 31 };
        assert_eq!(t.model.position(), Some(position), "{keys}: new steps move only the live cursor");
    }
}

#[test]
fn escape_stops_and_says_where() {
    let mut t = Typist::open();
    t.keys("<space>");
    t.begin(8, None);
    t.keys("<esc>");
    assert!(matches!(t.effects[..], [Effect::Stop(_)]));
    t.end(Ending::Stopped);
    let total = t.model.run.as_ref().and_then(|r| r.total).expect("known") - 1;
    assert!(t.text(100, 30).contains(&format!("stopped at step 7 of {total}")), "{}", t.text(100, 30));
    assert!(!t.model.running());
}

#[test]
fn events_of_an_older_run_are_ignored() {
    let mut t = Typist::open();
    t.keys("<space>");
    t.begin(3, None);
    t.keys("r");
    assert!(t.effects.iter().any(|e| matches!(e, Effect::Stop(_))));
    assert!(t.commands().iter().any(|c| matches!(c, Command::Attack { run: RunId(2), .. })));
    t.engine(Event::Step { run: RunId(1), index: 99 });
    t.engine(Event::Ended { run: RunId(1), ending: Ending::Stopped, best: None });
    assert_eq!(t.model.newest(), None);
    assert!(t.model.running());
}

#[test]
fn quitting_asks_only_while_running() {
    let mut t = Typist::open();
    assert!(matches!(t.keys("q").effects[..], [Effect::Quit]));
    t.keys("<space>");
    t.begin(2, None);
    assert!(t.keys("q").effects.is_empty());
    assert!(t.text(80, 24).contains("still running"));
    assert!(t.keys("n").effects.is_empty());
    assert!(t.model.dialogs.is_empty());
    assert!(matches!(t.keys("qy").effects[..], [Effect::Quit]));
    assert!(matches!(t.keys("a<C-c>").effects[..], [Effect::Quit]));
    assert!(matches!(t.keys("<C-z>").effects[..], [Effect::Suspend]));
}

#[test]
fn the_form_checks_while_typing_and_runs_what_is_valid() {
    let mut t = Typist::open();
    t.keys("a");
    assert!(t.text(100, 40).contains("ifgsm"));
    t.keys("<C-u>zwei");
    let shown = t.text(100, 40);
    assert!(shown.contains("eps accepts a number"), "{shown}");
    assert!(t.keys("<enter>").commands().is_empty(), "an invalid form does not run");
    t.keys("<C-u>4/255<enter>");
    match t.commands()[..] {
        [Command::Attack { request, .. }] => assert!(request.params.contains(&("eps".into(), "4/255".into()))),
        ref other => panic!("{other:?}"),
    }
    assert!(t.model.dialogs.is_empty());
    assert!(t.keys("a<esc>").commands().is_empty());
}

#[test]
fn a_target_is_found_by_typing_and_kept() {
    let mut t = Typist::open();
    t.keys("tgibb<enter>");
    assert_eq!(t.model.request.target, Target::Class(1));
    t.keys("r");
    assert!(matches!(t.commands()[..], [Command::Attack { request, .. }] if request.target == Target::Class(1)));
    t.keys("t<down><enter>");
    assert_eq!(t.model.request.target, Target::Random);
    // From the form: the target field opens the same list.
    t.keys("a");
    let fields = REGISTRY.iter().find(|a| a.name() == "ifgsm").expect("there").params().len();
    t.keys(&"<tab>".repeat(fields)).keys("indri<enter>");
    assert!(t.text(100, 40).contains("indri #2"), "{}", t.text(100, 40));
    t.keys("<enter>");
    assert!(
        t.commands().iter().any(|c| matches!(c, Command::Attack { request, .. } if request.target == Target::Class(2))),
        "{:?}",
        t.effects
    );
}

#[test]
fn the_map_follows_the_cursor_and_the_newest_question_wins() {
    let mut t = Typist::open();
    t.keys("<space>");
    t.begin(11, Some(1));
    assert!(t.wait(400).commands().is_empty(), "nothing is asked for while the attack flows");
    t.end(Ending::Done { success: true });
    t.wait(200);
    assert!(matches!(t.commands()[..], [Command::Psr { step: 10, cell: [4, 4], settings, .. }] if settings.mode == Mode::Linear));
    t.keys("h").wait(50);
    assert!(t.commands().is_empty(), "not before the cursor rests");
    t.wait(200);
    assert!(matches!(t.effects[..], [Effect::Stop(_), Effect::Engine(Command::Psr { step: 9, .. })]), "{:?}", t.effects);
    t.answer();
    assert!(t.text(120, 40).contains("est."));
    t.keys("E");
    assert!(matches!(t.commands()[..], [Command::Psr { step: 9, settings, .. }] if settings.mode == Mode::Exact));
    let exact = Settings { mode: Mode::Exact, ..Settings::default() };
    t.engine(Event::Psr { run: RunId(1), step: 9, map: Arc::new(map(4, exact, false)), done: false });
    assert!(t.text(120, 40).contains("5/64"), "{}", t.text(120, 40));
    t.engine(Event::Psr { run: RunId(1), step: 9, map: Arc::new(map(4, exact, true)), done: true });
    t.keys("2");
    let shown = t.text(120, 40);
    assert!(shown.contains("exact, 8×8 of 4 px") && shown.contains("rank corr."), "{shown}");
}

#[test]
fn bookmarks_are_set_jumped_to_and_taken_away() {
    let mut t = Typist::attacked(Depth::True, false);
    t.keys("'");
    assert_eq!(t.model.cursor, Cursor::Live, "there is none yet");
    t.keys("hhm");
    t.keys("<home>m<end>'");
    assert_eq!(t.model.position(), Some(0), "round and round");
    t.keys("'");
    assert_eq!(t.model.position(), Some(8));
    t.keys("<home>");
    assert!(t.text(120, 40).lines().rev().nth(1).expect("the line of time").contains('▼'));
    t.keys("m'");
    assert_eq!(t.model.position(), Some(8));
    t.keys("r");
    assert!(t.model.marks.is_empty(), "another run, no bookmarks");
}

#[test]
fn an_untargeted_step_that_is_still_the_true_class_has_no_map() {
    let mut t = Typist::open();
    t.keys("<space>");
    t.begin(3, None);
    t.end(Ending::Done { success: false });
    t.wait(400);
    assert!(t.commands().is_empty(), "{:?}", t.effects);
    assert!(t.text(120, 40).contains("no map here"), "{}", t.text(120, 40));
    t.keys("E");
    assert!(t.commands().is_empty() && t.model.psr.pending().is_none());
    t.keys("r");
    t.begin(11, None);
    t.end(Ending::Done { success: true });
    t.wait(400);
    assert!(matches!(t.commands()[..], [Command::Psr { step: 10, .. }]), "{:?}", t.effects);
}

#[test]
fn a_run_is_saved_under_a_name() {
    let mut t = Typist::open();
    t.keys("S");
    assert!(t.model.dialogs.is_empty(), "there is nothing to save");
    t = Typist::attacked(Depth::True, false);
    t.keys("S");
    assert!(t.text(80, 24).contains("panda-ifgsm.pse"));
    t.keys("<esc>");
    assert!(t.effects.is_empty() && t.model.dialogs.is_empty());
    t.keys("S<C-u>one<enter>");
    let [Effect::Keep(path, meta, trace)] = &t.effects[..] else { panic!("{:?}", t.effects) };
    assert_eq!((path.as_path(), trace.len(), meta.0.success), (std::path::Path::new("one.pse"), 11, true));
    assert!(meta.0.names.contains(&(1, "gibbon, Hylobates lar".into())) && meta.0.params.iter().any(|(n, _)| n == "steps"));
    assert!(t.model.saved.is_some());
    t.send(Msg::NotKept("one.pse exists already; choose another name".into()));
    assert!(t.model.saved.is_none() && t.text(80, 24).contains("exists already"));
}

#[test]
fn hints_say_what_can_be_done_now() {
    let last = |t: &Typist| t.text(80, 24).lines().last().expect("a footer").to_owned();
    let mut t = Typist::open();
    assert!(last(&t).contains("a attack") && last(&t).contains("Space start") && !last(&t).contains("step"), "{}", last(&t));
    t.keys("<space>");
    t.begin(3, Some(1));
    assert!(last(&t).contains("Space pause") && last(&t).contains("Esc stop"), "{}", last(&t));
    t.keys("<space>");
    assert!(last(&t).contains("Space go on"), "{}", last(&t));
    t.end(Ending::Stopped);
    t.wait(6000);
    assert!(last(&t).contains("r again") && !last(&t).contains("stop"), "{}", last(&t));
}

#[test]
fn cells_are_walked_and_sorted() {
    let mut t = Typist::attacked(Depth::True, false);
    t.keys("2<enter>ll j");
    assert_eq!(t.model.pixels.selected, 10);
    assert_eq!(t.model.cursor, Cursor::Live, "arrows move the cell, not time");
    assert!(t.text(120, 40).contains("cell row 1, column 2"));
    t.keys("<esc>h");
    assert_eq!(t.model.cursor, Cursor::At(9));
    t.keys("ls").wait(300);
    assert!(t.text(120, 40).contains("cells by promotion"));
    let cell = t.model.psr.cell;
    t.keys("g");
    assert!(t.model.psr.cell > cell);
    t.keys("GG");
    assert_eq!(t.model.psr.cell, 4, "never below four pixels");
}

#[test]
fn four_activation_maps_are_asked_for_once() {
    let mut t = Typist::attacked(Depth::True, false);
    t.keys("3").wait(300);
    let asked: Vec<(At, usize)> = t
        .commands()
        .iter()
        .map(|c| match c {
            Command::Cam { at, method: Method::Cam, layer: None, class, .. } => (*at, *class),
            other => panic!("{other:?}"),
        })
        .collect();
    let step = At::Step(RunId(1), 10);
    assert_eq!(asked, [(At::Clean, 0), (At::Clean, 1), (step, 0), (step, 1)]);
    t.answer();
    assert!(t.wait(300).commands().is_empty());
    assert!(t.text(120, 40).contains("IS "), "{}", t.text(120, 40));
    t.keys("n");
    assert_eq!(t.commands().len(), 4, "another method, four new maps");
    t.keys("oblock1<enter>");
    assert_eq!(t.commands().len(), 4);
    assert!(t.commands().iter().all(|c| matches!(c, Command::Cam { layer: Some(l), .. } if l == "block1")));
}

#[test]
fn failures_are_shown_and_nothing_is_asked_for_again() {
    let mut t = Typist::open();
    t.keys("<space>");
    t.begin(5, Some(1));
    t.end(Ending::Done { success: false });
    t.wait(300);
    t.engine(Event::Failed("the device is out of memory; choose a larger grid".into()));
    assert!(t.text(100, 30).contains("out of memory"));
    assert!(t.wait(1000).commands().is_empty());
    assert!(t.text(100, 30).contains("out of memory"), "errors stay until a key is pressed");
    t.keys("1");
    assert!(!t.text(100, 30).contains("out of memory"));
    assert!(t.keys("M").text(100, 30).contains("out of memory"));
    let mut t = Typist::closed(Depth::True, false);
    t.engine(Event::Failed("panda.jpg is not an image".into()));
    assert!(t.text(80, 24).contains("panda.jpg is not an image"));
    t.send(Msg::EngineGone);
    assert!(matches!(t.keys("q").effects[..], [Effect::Quit]));
}

#[test]
fn the_runtime_can_change_under_the_header() {
    let mut t = Typist::attacked(Depth::True, false);
    assert!(matches!(t.keys("R").commands()[..], [Command::RescanRuntime]));
    t.engine(Event::Runtime("embedded (tract 0.23)".into(), "CPU".into()));
    assert!(t.text(140, 40).lines().next().expect("header").contains("CPU (embedded (tract 0.23))"));
    assert!(t.model.trace().is_some());
}

#[test]
fn help_contains_every_action() {
    let t = Typist::open();
    let lines = help::lines(&t.model, &help::State::keys(&t.model), 200);
    let text: String = lines.iter().flatten().map(|(part, _)| part.as_str()).collect::<Vec<_>>().join(" ");
    for binding in SECTIONS.iter().flat_map(|s| s.bindings) {
        assert!(text.contains(binding.help), "{}", binding.name);
    }
    let mut t = Typist::open();
    t.keys("?");
    assert!(matches!(t.model.dialogs[..], [Dialog::Help(_)]));
    t.keys("jj<pgdn>q");
    assert!(t.model.dialogs.is_empty());
}

#[test]
fn the_provider_and_the_step_are_in_the_header_at_every_size() {
    let t = Typist::attacked(Depth::True, false);
    for columns in [60, 70, 80, 100, 120, 200] {
        let header = t.text(columns, 24).lines().next().expect("header").to_owned();
        assert!(header.contains("CPU"), "{columns}: {header}");
        assert!(header.contains("step 10/10"), "{columns}: {header}");
    }
}

#[test]
fn every_screen_and_dialog_draws_at_every_size_and_depth() {
    let sizes = [(1, 1), (2, 40), (59, 15), (59, 40), (60, 16), (61, 17), (80, 24), (84, 30), (100, 50), (120, 40), (200, 60), (300, 100)];
    let typed = [
        "",
        "z",
        "<tab><tab>",
        "<left>",
        "a",
        "a<C-u>x",
        "t",
        "t熊",
        "?",
        "M",
        "2",
        "2<enter>jl",
        "2z",
        "3",
        "3z",
        "3v",
        "3o",
        "<home>",
        "4",
        "4i",
        "5",
        "5x",
        "6",
        "6C",
        ":",
        ":step 4",
        ":target 熊",
        "<C-o>",
        "<C-o><tab>",
        "D",
        "y",
    ];
    for (depth, ascii) in [(Depth::True, false), (Depth::Ansi256, true), (Depth::Ansi16, false), (Depth::None, true)] {
        for keys in typed {
            let mut t = Typist::attacked(depth, ascii);
            t.keys(keys).wait(300);
            t.answer();
            for (w, h) in sizes {
                let buf = t.frame(w, h);
                for cell in buf.content().iter().filter(|_| ascii) {
                    let label = cell.symbol().chars().all(|c| ('\u{4e00}'..'\u{a000}').contains(&c));
                    assert!(cell.symbol().is_ascii() || label, "'{}' at {w}x{h} after {keys}", cell.symbol());
                }
                if depth == Depth::None {
                    assert!(buf.content().iter().all(|c| (c.fg, c.bg) == (Color::Reset, Color::Reset)), "{w}x{h} after {keys}");
                }
            }
        }
    }
    for (w, h) in sizes {
        Typist::closed(Depth::True, false).frame(w, h);
        Typist::open().frame(w, h);
    }
}

#[test]
fn too_small_is_said_in_one_sentence() {
    let t = Typist::open();
    assert!(t.text(59, 15).contains("psescope needs 60x16 cells; this terminal has 59x15"));
    assert!(!t.text(60, 16).contains("needs"));
}

/// A row of the triage as the worker tells it.
fn triaged(index: i64, success: bool, flipped: Option<i64>, l2: f32) -> psescope::engine::triage::Row {
    psescope::engine::triage::Row {
        index: Some(index),
        path: Some(format!("photos/{index}.png")),
        predicted_name: Some(LABELS[index as usize].into()),
        predicted_prob: Some(0.9 - index as f32 / 10.0),
        adversarial_name: Some("skunk".into()),
        success: Some(success),
        steps: Some(10),
        flipped_at: flipped,
        l2: Some(l2),
        linf: Some(8.0 / 255.0),
        ..Default::default()
    }
}

/// The triage screen with three finished images of four.
fn triage() -> Typist {
    use psescope::engine::triage::background::News;
    let mut typist = Typist::opened(Depth::None, true);
    typist.model.triage.folder = Some("photos".into());
    typist.keys("T");
    assert!(typist.commands().iter().any(|c| matches!(c, Command::Triage { folder, .. } if folder == std::path::Path::new("photos"))));
    let news = |news| Event::Triage(1, Box::new(news));
    typist.engine(news(News::Begun {
        metadata: [("attack".into(), "ifgsm".into())].into(),
        total: 4,
        rows: vec![triaged(0, true, Some(3), 5.0)],
        runs: None,
    }));
    typist.engine(news(News::Row(Box::new(triaged(2, false, None, 1.0)))));
    typist.engine(Event::Triage(9, Box::new(News::Row(Box::new(triaged(4, true, Some(1), 1.0))))));
    typist.wait(1000);
    typist.engine(news(News::Row(Box::new(triaged(1, true, Some(1), 6.0)))));
    typist
}

/// Paths shown, from top to bottom.
fn shown(typist: &Typist) -> Vec<String> {
    typist.model.triage.visible().iter().map(|r| r.path().to_owned()).collect()
}

#[test]
fn triage_sorts_filters_marks_and_follows_the_selected_image() {
    let mut typist = triage();
    assert_eq!(shown(&typist), ["photos/1.png", "photos/0.png", "photos/2.png"], "the weakest first; another triage's row is ignored");
    typist.keys("j");
    assert_eq!(typist.model.triage.selected.as_deref(), Some("photos/0.png"));
    assert!(
        typist.commands().iter().any(|c| matches!(c, Command::Thumbnail(p) if p.ends_with("0.png")))
            || typist.model.triage.thumbs.asked.is_some()
    );
    typist.keys("ss");
    assert_eq!(shown(&typist), ["photos/0.png", "photos/1.png", "photos/2.png"]);
    assert_eq!(typist.model.triage.selected.as_deref(), Some("photos/0.png"), "sorting keeps the selection");
    typist.keys("o");
    assert_eq!(shown(&typist)[0], "photos/2.png");
    typist.keys("/gibbon<enter>");
    assert_eq!(shown(&typist), ["photos/1.png"]);
    assert_eq!(typist.model.screen, Screen::Triage, "letters of the filter are no keys");
    typist.keys("<esc>mvvv");
    assert_eq!(shown(&typist).len(), 1, "only the marked one: {:?}", typist.model.triage.marks);
    typist.keys("vv");
    assert_eq!(shown(&typist).len(), 3);
}

#[test]
fn triage_opens_the_inspector_on_an_image_and_attacks_it() {
    let mut typist = triage();
    typist.keys("<enter>");
    assert!(matches!(typist.commands()[..], [Command::OpenImage(p), ..] if p.ends_with("1.png")), "{:?}", typist.effects);
    assert_eq!(typist.model.screen, Screen::Attack);
    let opened = typist.model.opened.clone().expect("open");
    typist.effects.clear();
    typist.engine(Event::Opened(Box::new(Opened { image_path: "photos/1.png".into(), ..(*opened).clone() })));
    assert!(typist.commands().iter().any(|c| matches!(c, Command::Attack { .. })), "{:?}", typist.effects);
    typist.keys("T<space>");
    assert!(typist.effects.iter().any(|e| matches!(e, Effect::Pause(_, true))));
    typist.keys("e");
    assert!(matches!(&typist.effects[..], [Effect::Table(stem, rows, _)] if stem.ends_with("psescope-triage-photos") && rows.len() == 3));
    typist.model.request.seed += 1;
    typist.keys("A");
    assert!(typist.commands().iter().any(|c| matches!(c, Command::Triage { .. })) && typist.model.triage.rows.is_empty());
}

#[test]
fn triage_says_what_it_does_at_every_size() {
    for (columns, rows) in [(60, 16), (80, 24), (120, 40), (200, 60)] {
        let text = triage().text(columns, rows);
        for word in ["3/4 images", "1.png", "reached", "held", "flip"] {
            assert!(text.contains(word), "no '{word}' at {columns}x{rows}:\n{text}");
        }
    }
    let mut empty = Typist::opened(Depth::None, true);
    assert!(empty.keys("T").text(80, 24).contains("No folder is open"));
}

#[test]
fn v_changes_the_curves() {
    let mut typist = Typist::attacked(Depth::True, false);
    let shown = |typist: &Typist, words: &str| typist.text(120, 40).contains(words);
    assert!(shown(&typist, "logits over steps"));
    typist.keys("v");
    assert!(shown(&typist, "loss over steps"));
    typist.keys("v");
    // PGD searches no constant, and the chart says so.
    assert!(shown(&typist, "log10 of c over steps") && shown(&typist, "v shows others"));
    typist.keys("v");
    assert!(shown(&typist, "norms over steps") && shown(&typist, "Linf"));
    typist.keys("v");
    assert!(shown(&typist, "logits over steps"));
}

fn asked(t: &Typist) -> Option<Ask> {
    t.commands().into_iter().find_map(|c| if let Command::Network { ask, .. } = c { Some(ask.clone()) } else { None })
}

#[test]
fn layers_are_compared_sorted_filtered_and_opened() {
    let mut t = Typist::open();
    assert!(t.keys("4").text(80, 24).contains("once an attack has run"));
    let mut t = Typist::attacked(Depth::True, false);
    t.keys("4");
    assert_eq!(asked(&t), None, "the cursor has to rest");
    assert_eq!(asked(t.wait(300)), Some(Ask::Layers { all: false }));
    t.answer();
    assert!(t.text(120, 40).contains("parts first at block2"), "{}", t.text(120, 40));
    assert_eq!(asked(t.wait(300)), None, "answers are kept");
    t.keys("i").wait(100);
    assert_eq!(t.model.cursor, Cursor::Live);
    assert!(t.text(120, 40).contains("computing the curve"));
    t.keys("i");
    assert!(matches!(t.effects.as_slice(), [Effect::Stop(_)]), "nobody waits for the curve any more: {:?}", t.effects);
    t.keys("i").answer();
    assert!(t.text(120, 40).contains("cosine at block2 over steps 0 to 10"));
    t.keys("/3");
    assert!(t.text(120, 40).contains("1 of 3 main layers") && t.model.screen == Screen::Layers, "letters of the filter are no keys");
    t.keys("<enter><enter>");
    assert_eq!((t.model.screen, t.model.units.layer.as_deref()), (Screen::Units, Some("block3")));
    t.keys("4<esc>sg<enter>");
    assert_eq!(t.model.units.layer.as_deref(), Some("block3"), "smallest cosine first");
    t.keys("4v");
    assert_eq!(asked(&t), Some(Ask::Layers { all: true }), "the cursor rests already");
}

#[test]
fn units_are_measured_and_masked() {
    let mut t = Typist::attacked(Depth::True, false);
    t.keys("5").wait(300);
    t.answer();
    let text = t.text(120, 40);
    assert!(text.contains("3 fur") && text.contains("est.") && !text.contains("exact") && text.contains("names: own data"), "{text}");
    assert_eq!(t.model.units.layer.as_deref(), Some("block3"));
    assert!(text.contains("above 6.5"), "the level of the dissection is said: {text}");
    // By change over the spread, and back round to the change.
    t.keys("s");
    let wide = t.text(200, 60);
    assert!(wide.contains("by change over sd") && wide.contains("spread in the concept images") && wide.contains("-4.5"), "{wide}");
    let chosen = wide.lines().find_map(|l| l.trim_start_matches('│').trim_start().strip_prefix('>')).unwrap_or_default();
    assert!(chosen.trim_start().starts_with("5 "), "{wide}");
    t.keys("ssss");
    assert!(t.text(120, 40).contains("by change ·"), "{}", t.text(120, 40));
    t.keys("E");
    assert!(matches!(asked(&t), Some(Ask::Exact { units, .. }) if units.len() == 8 && units[0] == 3));
    t.answer();
    assert!(t.text(120, 40).contains("exact") && t.text(120, 40).contains("+0.750"));
    // The chosen unit, then one more; the mask grows, and undoing it takes one step back.
    t.keys("x");
    let mask = |t: &Typist| asked(t).map(|a| if let Ask::Mask(m) = a { (m.units, m.fill) } else { panic!("{a:?}") });
    assert_eq!(mask(&t), Some((vec![3], Fill::Zero)));
    t.answer();
    assert!(t.text(120, 40).contains("The true class is not back."));
    t.keys("j<space>x");
    assert_eq!(mask(&t), Some((vec![3, 7], Fill::Zero)));
    t.answer();
    let text = t.text(120, 40);
    assert!(text.contains("The true class is back; the clean image") && text.contains("(+8.00)"), "{text}");
    t.keys("u");
    assert!(asked(&t).is_none() && t.text(120, 40).contains("1 unit zeroed"), "kept answers are not asked again");
    t.keys("uK5<enter>");
    assert_eq!(mask(&t).map(|m| m.0.len()), Some(5));
    t.keys("uCdog<enter>");
    assert_eq!(mask(&t), Some((vec![1, 5], Fill::Zero)));
    t.keys("P");
    assert_eq!(mask(&t).map(|m| m.1), Some(Fill::Clean));
    t.keys("K99<enter>");
    assert!(t.text(120, 40).contains("'99' is no number of units; give one from 1 to 8"));
    t.keys("/dog");
    assert!(t.text(120, 40).contains("2 of 8 units"));
    t.keys("<esc>6").wait(100);
    assert!(t.text(120, 40).contains("Zeroing 2 units of block3"), "{}", t.text(120, 40));
}

#[test]
fn insight_offers_what_is_missing_and_leads_to_the_evidence() {
    let mut t = Typist::attacked(Depth::True, false);
    t.keys("6").wait(300);
    t.answer();
    let text = t.text(120, 40);
    assert!(text.contains("is now taken for") && text.contains("Not computed: where the network parts ways; c computes it."), "{text}");
    t.keys("jjjc").wait(300);
    assert_eq!(asked(&t), Some(Ask::Layers { all: false }));
    t.answer();
    assert!(t.text(120, 40).contains("part at block2"));
    let mut t = Typist::attacked(Depth::True, false);
    t.keys("6C").wait(300);
    for _ in 0..8 {
        while !t.effects.is_empty() {
            t.answer();
        }
        t.wait(200);
    }
    let text = t.text(120, 50);
    assert!(!text.contains("Not computed"), "{text}");
    // By the change itself: unit 5 only stands out against its spread.
    assert!(text.contains("moved most are 3 (fur"), "{text}");
    assert!(text.contains("part at block2") && text.contains("Zeroing the 2 most moved units of block3"), "{text}");
    for (topic, screen) in [(0, Screen::Attack), (1, Screen::Pixels), (2, Screen::Cam), (3, Screen::Layers), (4, Screen::Units)] {
        t.keys("6g");
        t.keys(&"j".repeat(topic)).keys("<enter>");
        assert_eq!(t.model.screen, screen);
    }
}

#[test]
fn earlier_runs_stand_beside_this_one() {
    let mut t = Typist::attacked(Depth::True, false);
    t.keys("B");
    assert!(t.text(120, 40).contains("no earlier run"), "{}", t.text(120, 40));
    t.keys("r");
    t.begin(4, Some(2));
    t.end(Ending::Done { success: false });
    t.keys("B");
    let text = t.text(120, 40);
    for word in ["A step 10", "A perturbation", "B step 3", "an earlier run", "reach gibbon", "reach indri", "10 of 10", "3 of 3", "est."] {
        assert!(text.contains(word), "no '{word}':\n{text}");
    }
    // The current one follows the cursor, the earlier one stays at its result.
    let text = t.keys("h").text(120, 40);
    assert!(text.contains("A step 10") && text.contains("B step 2") && text.contains("2 of 3"), "{text}");
    assert!(t.keys("B").text(120, 40).contains("promotion / suppression"), "one earlier run only: the next press goes back");
    for (columns, rows) in [(60, 16), (80, 24), (200, 60)] {
        assert!(t.keys("B").text(columns, rows).contains("B step 2"), "{columns}x{rows}");
        t.keys("B");
    }
}

#[test]
fn several_targets_follow_one_another() {
    let mut t = Typist::open();
    let fields = REGISTRY.iter().find(|a| a.name() == "ifgsm").expect("there").params().len();
    t.keys("a").keys(&"<tab>".repeat(fields + 1)).keys("gibbon, nobody");
    assert!(t.text(100, 40).contains("there is no class 'nobody'"), "{}", t.text(100, 40));
    assert!(t.keys("<enter>").commands().is_empty());
    t.keys("<C-u>gibbon, 2<enter>");
    assert!(matches!(t.commands()[..], [Command::Attack { request, .. }] if request.target == Target::Untargeted));
    for class in [1, 2] {
        t.begin(3, None);
        t.effects.clear();
        t.end(Ending::Done { success: true });
        assert!(matches!(t.commands()[..], [Command::Attack { request, .. }] if request.target == Target::Class(class)), "{class}");
    }
    t.begin(3, Some(2));
    t.effects.clear();
    t.end(Ending::Done { success: true });
    assert!(t.commands().is_empty() && t.model.earlier.len() == 2);
    // Stopping one stops those that would follow.
    t.keys("a").keys(&"<tab>".repeat(fields + 1)).keys("1<enter>");
    t.begin(2, None);
    t.end(Ending::Stopped);
    assert!(t.commands().iter().filter(|c| matches!(c, Command::Attack { .. })).count() == 1 && t.model.queue.is_empty());
}
