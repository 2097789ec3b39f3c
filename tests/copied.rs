//! What `y` copies is run in a shell, and gives what was on the screen: the interface's own state on the real engine, no terminal.

#![cfg(unix)]

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use psescope::{
    core::{attack::REGISTRY, explain::units::Fill},
    engine::{
        Handle, browse,
        command::Command as Ask,
        inspect::{Answer, Ask as Question},
        keep,
        recorded::Recorded,
        sample, worker,
    },
    runtime::{EngineChoice, RuntimeOptions},
    tui::{
        copy, default_attack,
        effect::Effect,
        keymap::{Key, Keymap},
        model::{Attacks, Model},
        msg::Msg,
        network,
        open::Purpose,
        psr,
        theme::{Depth, Theme},
        update,
    },
};
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(240);

/// The interface's state with the worker behind it.
struct Person {
    model: Model,
    engine: Handle,
    begun: Instant,
    copied: Option<String>,
}

impl Person {
    fn new() -> Self {
        let runtime = RuntimeOptions { engine: EngineChoice::Embedded, ..RuntimeOptions::default() };
        let engine = worker::spawn(worker::Options { runtime, ..worker::Options::default() });
        let theme = Theme::new("terminal", Depth::None, true).expect("built in");
        let keymap = Keymap::new(&[]).expect("no conflicts");
        let mut request = default_attack();
        request.params.push(("steps".into(), "3".into()));
        let (net, image): (PathBuf, PathBuf) = (sample::MODEL.into(), sample::IMAGE.into());
        let mut model = Model::new(net.clone(), image.clone(), theme, keymap, Attacks(REGISTRY), request);
        model.flags = vec!["--engine".into(), "embedded".into()];
        engine.commands.send(Ask::Open { model: net, image }).expect("the worker lives");
        Self { model, engine, begun: Instant::now(), copied: None }
    }

    fn send(&mut self, msg: Msg) {
        for effect in update(&mut self.model, msg) {
            match effect {
                Effect::Engine(command) => self.engine.commands.send(command).expect("the worker lives"),
                Effect::Stop(control) => control.stop(),
                Effect::Copy(text) => self.copied = Some(text),
                Effect::Find(text, kind, purpose) => self.send(Msg::Found(purpose, browse::find(&text, kind).map_err(|e| e.to_string()))),
                Effect::Load(path) => self.send(Msg::Loaded(Recorded::open(&path, None).map(Arc::new).map_err(|e| e.to_string()))),
                Effect::Keep(path, kept, trace) => keep::save_new(&path, &kept.0, &trace, &kept.1).expect("saved"),
                _ => {}
            }
        }
    }

    fn keys(&mut self, keys: &str) {
        for key in Key::parse_all(keys).expect("keys") {
            self.send(Msg::Key(key));
        }
    }

    /// Takes in what the worker says until this holds.
    fn until(&mut self, what: &str, holds: impl Fn(&Model) -> bool) {
        while !holds(&self.model) {
            assert!(self.begun.elapsed() < PATIENCE, "no {what}: {:?}", self.model.notices.log().map(|n| &n.text).collect::<Vec<_>>());
            if let Ok(event) = self.engine.events.recv_timeout(Duration::from_millis(50)) {
                self.send(Msg::Engine(event));
            }
            self.send(Msg::Tick(self.begun.elapsed()));
        }
    }

    /// What `y` copies here, run by a shell in an empty folder.
    fn run(&mut self, home: &TempDir) -> (String, Value) {
        self.copied = None;
        self.keys("y");
        let line = self.copied.clone().expect("copied");
        let program = PathBuf::from(env!("CARGO_BIN_EXE_psescope"));
        let path = format!("{}:{}", program.parent().expect("a folder").display(), std::env::var("PATH").unwrap_or_default());
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).current_dir(home.path()).env("PATH", path).env("HOME", home.path());
        for variable in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
            shell.env(variable, home.path());
        }
        let output = shell.output().expect("a shell");
        assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
        // Where two commands follow one another, the second is the one that answers.
        let text = String::from_utf8(output.stdout).expect("text");
        let json = text.lines().rev().find_map(|l| serde_json::from_str(l).ok()).unwrap_or_else(|| panic!("no JSON from {line}: {text}"));
        (line, json)
    }
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-4 * a.abs().max(b.abs()).max(1.0)
}

fn number(json: &Value, path: &str) -> f64 {
    json.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {json}"))
}

/// Logit of a class of the adversarial image through a mask of this kind.
fn masked(model: &Model, fill: Fill, class: usize) -> Option<f32> {
    network::answers(model).find_map(|(ask, answer)| match (ask, answer) {
        (Question::Mask(mask), Answer::Mask(logits)) if mask.fill == fill => Some(logits[1][class]),
        _ => None,
    })
}

#[test]
fn copied_commands_give_what_is_on_the_screen() {
    let home = TempDir::new().expect("a folder");
    let mut person = Person::new();
    person.until("model", |m| m.opened.is_some());
    person.keys("<space>");
    person.until("end of the attack", |m| m.run.as_ref().is_some_and(|r| r.ending.is_some()));
    let result = person.model.record().expect("a step");
    let (line, json) = person.run(&home);
    assert!(line.starts_with("psescope attack"), "{line}");
    assert!(same(number(&json, "/norms/l2"), result.l2.into()), "{line}");
    assert!(same(number(&json, "/adversarial/top/0/logit"), result.top[0].1.into()), "{line}");

    // A step before the result, an estimate on another grid.
    person.keys("<home>l2gg");
    person.until("map", |m| {
        psr::shown(m).is_some_and(|s| s.done && s.map.grid.cell_h == psr::cell(m)[0]) && m.frame().is_some_and(|f| f.index == 1)
    });
    let shown = psr::shown(&person.model).expect("a map").map;
    let (line, json) = person.run(&home);
    assert!(line.contains("--step 1"), "{line}");
    let cells = json["cells"].as_array().expect("cells");
    assert_eq!(cells.len(), shown.cells.len(), "{line}");
    for (cell, ours) in cells.iter().zip(&shown.cells) {
        let ours = ours.expect("complete");
        assert!(
            same(number(cell, "/s_raw"), ours.s_raw.into()) && same(number(cell, "/b_raw"), ours.b_raw.into()),
            "{line}\n{cell}\n{ours:?}"
        );
    }

    // The map of the adversarial image for the true class, at this step.
    person.keys("3<tab><tab>");
    let run = person.model.run.as_ref().expect("a run").id;
    person.until("maps", |m| m.cam.kept(run).iter().filter(|c| c.step == Some(1)).count() >= 2);
    let truth = person.model.true_class().expect("a class");
    let ours = person.model.cam.kept(run).into_iter().find(|c| c.step == Some(1) && c.map.class == truth).expect("a map").map;
    let (line, json) = person.run(&home);
    let raw: Vec<f64> = json["raw"].as_array().expect("raw").iter().filter_map(Value::as_f64).collect();
    assert_eq!(raw.len(), ours.raw.len(), "{line}");
    assert!(raw.iter().zip(&ours.raw).all(|(a, b)| (a - f64::from(*b)).abs() < 1e-3), "{line}");

    let answered = |m: &Model, wanted: fn(&Answer) -> bool| network::answers(m).any(|(_, a)| wanted(a));
    person.keys("4");
    person.until("layers", |m| answered(m, |a| matches!(a, Answer::Layers(_))));
    let Some((_, Answer::Layers(ours))) = network::answers(&person.model).find(|(_, a)| matches!(a, Answer::Layers(_))) else { panic!() };
    let cosines: Vec<(String, Option<f64>)> = ours.iter().map(|c| (c.info.name.clone(), c.cosine)).collect();
    let (line, json) = person.run(&home);
    let rows = json["layers"].as_array().expect("layers");
    assert_eq!(rows.len(), cosines.len(), "{line}");
    for (row, (name, cosine)) in rows.iter().zip(&cosines) {
        assert!(row["name"] == **name && same(number(row, "/cosine"), cosine.expect("defined")), "{line}\n{row}");
    }

    // The chosen layer put back to clean, and taken back with the same key.
    person.keys("P");
    person.until("patch", |m| masked(m, Fill::Clean, truth).is_some());
    let ours = masked(&person.model, Fill::Clean, truth).expect("answered");
    let (line, json) = person.run(&home);
    assert!(line.contains("--all --patch clean") && json["selection"]["by"] == "all", "{line}\n{json}");
    assert!(same(number(&json, "/after/adversarial/true_logit"), ours.into()), "{line}\n{json}");
    person.keys("P");

    person.keys("5");
    person.until("units", |m| answered(m, |a| matches!(a, Answer::Units(..))));
    let table = network::table(&person.model, person.model.units.layer.clone()).expect("a table").0.clone();
    let (line, json) = person.run(&home);
    let rows = json["units"].as_array().expect("units");
    assert_eq!(rows.len(), table.units.len(), "{line}");
    for row in rows.iter().take(20) {
        let unit = &table.units[number(row, "/unit") as usize];
        assert!(
            same(number(row, "/effect_target"), unit.effect_target.into()) && same(number(row, "/change"), unit.change.into()),
            "{line}\n{row}"
        );
    }

    person.keys("<space><space>x");
    person.until("mask", |m| masked(m, Fill::Zero, truth).is_some());
    let ours = masked(&person.model, Fill::Zero, truth).expect("answered");
    let (line, json) = person.run(&home);
    assert!(line.starts_with("psescope mask") && same(number(&json, "/after/adversarial/true_logit"), ours.into()), "{line}\n{json}");

    person.keys("6");
    let (line, json) = person.run(&home);
    assert!(line.contains("psescope insight") && line.contains("--step 1"), "{line}");
    let said = copy::value(&person.model);
    assert!(json["sentences"].as_array().expect("sentences").iter().any(|s| s["text"] == *said), "{line}\n{said}\n{json}");
}

#[test]
fn images_runs_and_models_are_opened_without_leaving() {
    let home = TempDir::new().expect("a folder");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut person = Person::new();
    person.until("model", |m| m.opened.is_some());
    // Two colons of a path and its blanks are no keys: typed as they are.
    let line = |command: &str, path: &Path| {
        format!(":{command}<space>{}<enter>", path.display().to_string().replace('<', "<lt>").replace(' ', "<space>"))
    };
    person.keys(&line("image", &root.join("samples/dog.jpg")));
    person.until("the dog", |m| m.image_path.ends_with("dog.jpg"));
    person.keys(":attack<space>ifgsm<space>steps=2<enter>");
    person.until("end of the attack", |m| m.run.as_ref().is_some_and(|r| r.ending.is_some()));
    let l2 = person.model.record().expect("a step").l2;
    let file = home.path().join("kept.pse");
    person.keys(&line("save", &file));
    // Another model on the same image keeps the run for B.
    let net = home.path().join("the same net.onnx");
    std::fs::copy(root.join("onnx/squeezenet1_1.onnx"), &net).expect("copied");
    person.keys(&line("model", &net));
    person.until("the other model", |m| m.model_path == net && m.opened.is_some() && m.run.is_none());
    assert!(person.model.image_path.ends_with("dog.jpg"));
    person.keys("r");
    person.until("the same attack", |m| m.run.as_ref().is_some_and(|r| r.ending.is_some()));
    assert_eq!(person.model.earlier.len(), 1);
    person.keys("B");
    assert!(psescope::tui::screen::versus::other(&person.model).expect("beside").title().contains("squeezenet1_1"));
    // What was saved comes back, and its command reads the file.
    person.keys(&line("open", &file));
    person.until("the recorded run", |m| m.replay.is_some());
    assert_eq!(person.model.record().expect("a step").l2, l2);
    person.keys("O");
    person.until("its model", |m| m.without_model().is_none());
    person.keys("4");
    person.until("layers", |m| network::answers(m).any(|(_, a)| matches!(a, Answer::Layers(_))));
    let (line, json) = person.run(&home);
    assert!(line.contains("kept.pse") && !line.contains("--attack"), "{line}");
    let Some((_, Answer::Layers(ours))) = network::answers(&person.model).find(|(_, a)| matches!(a, Answer::Layers(_))) else { panic!() };
    assert!(same(number(&json, "/layers/0/cosine"), ours[0].cosine.expect("defined")), "{line}");
    // What is no such file is said in one sentence, and nothing is lost.
    person.keys(":open<space>/nowhere.png<enter>");
    assert!(person.model.notices.shown().expect("said").text.contains("cannot open /nowhere.png"));
    let text = home.path().join("broken.pse");
    std::fs::write(&text, "no run").expect("written");
    person.keys(&format!(":run<space>{}<enter>", text.display()));
    assert!(person.model.notices.shown().expect("said").text.contains("broken.pse") && person.model.run.is_some());
}

#[test]
fn a_folder_on_two_models_is_copied_too() {
    let home = TempDir::new().expect("a folder");
    let photos = home.path().join("photos");
    std::fs::create_dir(&photos).expect("a folder");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["panda.jpg", "dog.jpg"] {
        std::fs::copy(root.join("samples").join(name), photos.join(name)).expect("copied");
    }
    let mut person = Person::new();
    person.until("model", |m| m.opened.is_some());
    // Another input size and another list of classes: images cannot be handed over.
    person.send(Msg::Found(Purpose::Compare, Ok((browse::Kind::Model, root.join("tests/corpus/good/tiny.onnx")))));
    person.send(Msg::Found(Purpose::Open, Ok((browse::Kind::Folder, photos))));
    person.until("end of the triage", |m| m.triage.ended.is_some());
    assert_eq!(person.model.triage.ended, Some(None));
    let (line, json) = person.run(&home);
    assert!(line.contains("psescope triage") && line.contains("tiny.onnx"), "{line}");
    let (rows, state) = (json["weakest"].as_array().expect("rows"), &person.model.triage);
    assert_eq!((rows.len(), state.rows.len()), (2, 2), "{line}");
    for row in rows {
        let ours = state.rows.iter().find(|r| Some(r.path()) == row["path"].as_str()).expect("the same image");
        assert!(ours.error.is_none() && ours.compare_success.is_some() && ours.compare_transfers.is_none(), "{ours:?}");
        assert_eq!(row["compare_predicted_name"].as_str(), ours.compare_predicted_name.as_deref());
        assert_eq!(row["flipped_at"].as_i64(), ours.flipped_at);
        assert!(same(number(row, "/l2"), ours.l2.unwrap_or(0.0).into()), "{line}");
        assert!(same(number(row, "/compare_l2"), ours.compare_l2.unwrap_or(0.0).into()), "{line}");
    }
}
