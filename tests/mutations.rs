//! Random damage to good and to malformed files, through the readers themselves: nothing may panic. The same damage every time;
//! `PSESCOPE_MUTATIONS=100000` tries more. `fuzz/` looks further, guided by coverage.
#![allow(missing_docs, reason = "tests")]

use std::{fs, path::Path};

use psescope::core::dissect::broden::{Broden, label_picture};
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

#[path = "../fuzz/readers.rs"]
mod readers;

fn seeds(folders: &[&str]) -> Vec<Vec<u8>> {
    fn walk(path: &Path, out: &mut Vec<Vec<u8>>) {
        if path.is_dir() {
            let mut inside: Vec<_> = fs::read_dir(path).expect("readable").map(|e| e.expect("readable").path()).collect();
            inside.sort();
            inside.iter().for_each(|p| walk(p, out));
        } else {
            out.push(fs::read(path).expect("readable"));
        }
    }
    let mut out = Vec::new();
    for folder in folders {
        walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut out);
    }
    assert!(!out.is_empty());
    out
}

/// Numbers that have broken readers before.
const EDGES: [u64; 8] = [0, 1, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX];

fn damage(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng, others: &[Vec<u8>]) {
    for _ in 0..rng.random_range(1..5) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = (rng.next_u32() & 0xff) as u8,
            2 => bytes.truncate(at),
            3 => {
                let edge = EDGES[rng.random_range(0..EDGES.len())].to_le_bytes();
                let count = (bytes.len() - at).min([1, 2, 4, 8][rng.random_range(0..4)]);
                bytes[at..at + count].copy_from_slice(&edge[..count]);
            }
            4 => {
                let end = (at + rng.random_range(0..32)).min(bytes.len());
                bytes.drain(at..end);
            }
            5 => {
                let end = (at + rng.random_range(0..32)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let other = &others[rng.random_range(0..others.len())];
                let from = rng.random_range(0..=other.len());
                let piece = other[from..(from + 64).min(other.len())].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

/// Damages seed after seed and hands each to the reader.
fn survive(folders: &[&str], usual: usize, reader: impl Fn(&[u8])) {
    let seeds = seeds(folders);
    let tries = std::env::var("PSESCOPE_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(usual);
    for number in 0..tries as u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(number);
        let mut bytes = seeds[rng.random_range(0..seeds.len())].clone();
        damage(&mut bytes, &mut rng, &seeds);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| reader(&bytes)));
        if caught.is_err() {
            let kept = std::env::temp_dir().join(format!("psescope-mutation-{number}"));
            let _ = fs::write(&kept, &bytes);
            panic!("mutation {number} of {folders:?} panics; it is kept in {}", kept.display());
        }
    }
}

#[test]
fn models() {
    survive(&["tests/corpus/model", "tests/corpus/good", "tests/corpus/good"], 3000, readers::onnx);
}

#[test]
fn runs() {
    survive(&["tests/corpus/run"], 2000, readers::run_file);
}

#[test]
fn pictures() {
    survive(&["tests/corpus/image", "tests/golden/dissect/images"], 600, |bytes| {
        readers::image(bytes);
        let _ = label_picture(bytes, [31, 37], 301);
    });
}

#[test]
fn labels_and_preprocessing() {
    survive(&["tests/corpus/labels", "tests/corpus/preprocess"], 2000, readers::labels);
}

#[test]
fn configurations_keys_and_themes() {
    survive(&["tests/corpus/config", "tests/corpus/theme"], 2000, readers::config);
}

#[test]
fn concept_tables() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dissect");
    let table = |name: &str| fs::read(golden.join(name)).expect("readable");
    let (index, categories, labels) = (table("index.csv"), table("category.csv"), table("label.csv"));
    survive(&["tests/corpus/concepts", "tests/golden/dissect/index.csv", "tests/golden/dissect/label.csv"], 2000, |bytes| {
        readers::concepts(bytes);
        // The fuzz target has to invent all the tables; here two of three are good.
        for (i, c, l) in [(bytes, &*categories, &*labels), (&*index, bytes, &*labels), (&*index, &*categories, bytes)] {
            if let Ok(data) = Broden::parse(i, c, l, &mut |_| Ok(Some(bytes.to_vec()))) {
                let _ = (data.last_label(), data.names(), data.primary(), data.index_csv());
            }
        }
    });
}

#[test]
fn triage_results() {
    survive(&["tests/corpus/triage"], 1000, readers::triage);
    // Damage to a good table, of which most is behind the footer's first guard.
    survive(&["tests/corpus/good_triage"], 2000, readers::triage);
}
