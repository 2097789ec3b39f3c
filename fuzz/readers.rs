//! What each fuzz target does with its bytes. `tests/mutations.rs` runs the same functions, so `cargo test` keeps them building and true.

use std::path::{Path, PathBuf};

use psescope::{
    cli::config::Config,
    core::{
        dissect::{
            ResultTable,
            broden::{Broden, label_picture},
            labels::ConceptLabels,
        },
        error::Error,
        graph::{self, Instrumentation, Loss, Options, TapKind},
        onnx::{read, write},
        tensor::{
            Preprocess, configs, image as picture,
            labels::{self as names, Labels},
        },
    },
    engine::{
        remember,
        trace::file,
        triage::{journal, summary::Summary, table},
    },
    tui::{
        keymap::{Key, Keymap},
        theme::custom,
    },
};

/// A file for the readers that want a path. In memory where there is `/dev/shm`; one for each reader and thread.
fn as_file(reader: &str, data: &[u8]) -> PathBuf {
    let shared = Path::new("/dev/shm");
    let folder = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
    let path = folder.join(format!("psescope-fuzz-{reader}-{}-{:?}", std::process::id(), std::thread::current().id()));
    std::fs::write(&path, data).expect("the folder is writable");
    path
}

/// A model file: reading, writing, normalising, and the gradient graph of whatever survives.
pub fn onnx(data: &[u8]) {
    let mut refuse = |_: &read::External| Err(Error::Model("outside".into()));
    let Ok(graph) = read::parse(data.to_vec().into(), &mut refuse) else { return };
    let _ = write::to_bytes(&graph);
    let Ok(prepared) = graph::normalise(graph, &Options { size: Some([8, 8]), ..Options::default() }) else { return };
    let _ = (graph::coverage(&prepared), graph::unit_layers(&prepared), graph::bad_weights(&prepared));
    let taps = graph::spatial_layers(&prepared).iter().take(1).map(|l| (l.name.clone(), TapKind::ValueAndGradient)).collect();
    let wanted = Instrumentation { loss: Loss::CrossEntropy, image_gradient: true, taps, ..Instrumentation::default() };
    if let Ok(built) = graph::instrument(&prepared, &wanted) {
        let bytes = write::to_bytes(&built.graph);
        read::parse(bytes.into(), &mut refuse).expect("what is written is read back");
    }
}

/// A recorded run.
pub fn run_file(data: &[u8]) {
    let Ok(run) = file::parse(data) else { return };
    let _ = run.result();
    for step in 0..run.trace.len().min(64) {
        let _ = run.trace.nearest_frame(step);
    }
    for class in [run.meta.label].into_iter().chain(run.meta.target) {
        let _ = run.meta.name(class);
    }
}

/// Concept data: the tables and label pictures of a data set, and the result tables of other programs. The parts are parted by a
/// byte that occurs in no text.
pub fn concepts(data: &[u8]) {
    let parts: Vec<&[u8]> = data.split(|b| *b == 0xff).collect();
    let part = |i: usize| parts.get(i).copied().unwrap_or_default();
    if let Ok(data) = Broden::parse(part(0), part(1), part(2), &mut |_| Ok(Some(part(3).to_vec()))) {
        let _ = (data.last_label(), data.names(), data.primary(), data.index_csv(), data.label_csv());
    }
    if let Ok(table) = ResultTable::parse(data) {
        let again = ResultTable::parse(table.to_csv().as_bytes()).expect("what is written is read back");
        assert_eq!(again.rows.len(), table.rows.len());
        let _ = ConceptLabels::from_table(&table, "fuzz");
    }
    let _ = label_picture(data, [2, 2], 100);
}

/// Label lists and preprocessing files.
pub fn labels(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(list) = Labels::parse(text, "fuzz") {
        assert!(list.names().iter().all(|n| !n.chars().any(char::is_control)), "a terminal would obey this");
        let _ = list.find(text);
    }
    let _ = Labels::from_config(text, "fuzz");
    let _ = names::clean(text);
    for size in [None, Some([8, 8])] {
        if let Ok(Some(found)) = configs::parse(text, "fuzz", size) {
            let again = configs::parse(&configs::to_json(&found), "again", size).expect("what is written is read back");
            assert!(again.is_some());
        }
    }
}

/// The configuration file, themes, what is remembered, and the key parser.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(keys) = Key::parse_all(text) {
        for key in keys {
            let _ = (key.show(true), key.show(false), key.typed());
        }
    }
    if let Err(why) = custom::parse(text, Path::new("fuzz.toml")) {
        assert!(!why.chars().any(char::is_control), "a terminal would obey {why:?}");
    }
    let kept = remember::read(text);
    assert!(kept.recent.len() <= 60 && kept.learned.len() <= 60);
    let _ = Keymap::new(&[("quit".into(), text.into())]);
    let path = as_file("config", data);
    if let Ok(config) = Config::load(Some(&path)) {
        let _ = (config.keys(), config.color(), config.seed(), config.attack(), config.params("pgd"), config.ort_lib());
    }
    let _ = std::fs::remove_file(&path);
}

/// Pictures and arrays, under the limits of the loader.
pub fn image(data: &[u8]) {
    if picture::is_npy(data) {
        let _ = picture::read_npy(data);
        let _ = picture::from_npy(data, [3, 2, 2]);
    }
    let preprocess = Preprocess::preset("imagenet", [8, 8]).expect("a preset");
    if let Ok(array) = picture::load(data, &preprocess) {
        assert_eq!(array.dim(), (3, 8, 8));
        assert!(array.iter().all(|v| (0.0..=1.0).contains(v)));
    }
}

/// Triage results and journals.
pub fn triage(data: &[u8]) {
    let path = as_file("triage", data);
    if let Ok((rows, metadata)) = table::read(&path) {
        let _ = Summary::of(&rows);
        let mut again = Vec::new();
        table::write(&mut again, &rows, &metadata).expect("what is read can be written");
    }
    if let Some((settings, rows)) = journal::peek(&path) {
        let _ = Summary::of(&rows);
        let (_, again) = journal::Journal::open(&path, &settings).expect("its own settings fit");
        assert_eq!(again.len(), rows.len());
    }
    let _ = std::fs::remove_file(&path);
}
