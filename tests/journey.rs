//! The five minutes of the README, key by key, in a pseudo-terminal on the embedded engine. Every step waits for words that only that
//! step shows; the machine that runs this may be slow.
#![cfg(unix)]

use std::{fs, path::Path};

use portable_pty::CommandBuilder;

mod terminal;

use terminal::Terminal;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Types what the README says to type: the words between back ticks of its numbered step.
fn step(number: usize) -> Vec<String> {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).expect("it is there");
    let section = readme.split("## Five minutes").nth(1).expect("the section").split("\n## ").next().expect("its text");
    let mark = format!("\n{number}. ");
    let text = section.split(&mark).nth(1).unwrap_or_else(|| panic!("no step {number}"));
    let text = text.split(&format!("\n{}. ", number + 1)).next().expect("its text");
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// A key by its name in the README.
fn key(name: &str) -> &str {
    match name {
        "Enter" => "\r",
        "Esc" => "\x1b",
        "Left" => "\x1b[D",
        "Home" => "\x1b[H",
        "End" => "\x1b[F",
        "Tab" => "\t",
        other => other,
    }
}

#[test]
fn five_minutes_with_the_readme() {
    let mut t = Terminal::run(CommandBuilder::new(env!("CARGO_BIN_EXE_psescope")), 120, 40);
    // 1. The sample.
    assert_eq!(step(1), ["psescope"]);
    t.opens();
    // 2. Attack it, and step through.
    let keys = step(2);
    assert_eq!(keys, ["a", "Enter", "Left", "End"]);
    t.types(key(&keys[0]));
    t.shows("random-start");
    t.types(key(&keys[1]));
    t.shows("flipped at");
    t.shows("step 10/10");
    t.shows("red panda");
    t.types(key(&keys[2]));
    t.shows("step 9/10");
    t.types(key(&keys[3]));
    t.shows("step 10/10");
    // 3. Which cells promote, which suppress.
    let keys = step(3);
    assert_eq!(keys, ["2", "Enter"]);
    t.types(key(&keys[0]));
    t.shows("+ promotes  - suppresses");
    t.shows("cells by strength");
    t.shows("suppress");
    t.until("a cell of each kind with its place", |screen| {
        let table = screen.split("cells by strength").nth(1).unwrap_or_default();
        let signs: Vec<&str> = table.lines().filter_map(|l| l.split("││").nth(1).or_else(|| l.split("│ ").nth(1))).collect();
        signs.iter().any(|l| l.contains(" + ")) && signs.iter().any(|l| l.contains(" - "))
    });
    t.types(key(&keys[1]));
    t.shows("PgUp table");
    t.types("\x1b");
    t.hides("PgUp table");
    // 4. The units that changed most.
    let keys = step(4);
    assert_eq!(keys, ["5"]);
    t.types(key(&keys[0]));
    t.shows("fire9 · 512 units · by change");
    t.until("units in order of their change", |screen| {
        let rows: Vec<f32> = screen
            .lines()
            .filter(|l| l.contains("est."))
            .filter_map(|l| l.split_whitespace().find_map(|w| w.strip_prefix('+').and_then(|n| n.parse().ok())))
            .collect();
        rows.len() >= 10 && rows[..10].windows(2).all(|w| w[0] >= w[1])
    });
    // 5. Masking undoes it.
    let keys = step(5);
    assert_eq!(keys, ["P", "K", "150", "Enter"]);
    t.types(key(&keys[0]));
    t.shows("The true class is not back");
    t.types(key(&keys[1]));
    t.shows("Enter take");
    t.types(key(&keys[2]));
    t.shows("150");
    t.types(key(&keys[3]));
    t.shows("The true class is back");
    t.types("q");
    assert!(t.ends().success());
    t.is_given_back();
}

#[test]
fn the_three_weakest_images_of_a_folder() {
    assert_eq!(step(6), ["psescope onnx/squeezenet1_1.onnx samples", "Enter", "1"]);
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["panda.jpg", "dog.jpg", "crab.jpg", "koala.jpg"] {
        fs::copy(Path::new(ROOT).join("samples").join(name), folder.path().join(name)).expect("copied");
    }
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_psescope"));
    command.args([Path::new(ROOT).join("onnx/squeezenet1_1.onnx").as_os_str(), folder.path().as_os_str()]);
    let mut t = Terminal::run(command, 120, 40);
    t.shows("by weakness");
    t.shows("4/4 images");
    t.until("the weakest first", |screen| {
        let rows: Vec<&str> = screen.lines().filter(|l| l.contains(".jpg") && (l.contains("reached") || l.contains("held"))).collect();
        rows.len() == 4
    });
    let flips: Vec<u32> = t
        .text()
        .lines()
        .filter(|l| l.contains(".jpg") && l.contains("reached"))
        .filter_map(|l| l.split("reached").nth(1).and_then(|rest| rest.split_whitespace().next()).and_then(|n| n.parse().ok()))
        .collect();
    assert!(flips.len() >= 3 && flips.windows(2).all(|w| w[0] <= w[1]), "{flips:?} in\n{}", t.text());
    t.types("\r");
    t.shows("flipped at");
    t.shows("logits over steps");
    t.types("q");
    t.ends();
    t.is_given_back();
}
