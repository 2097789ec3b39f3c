//! What is remembered from one start to the next: files opened lately and hints that were followed. `remembered.json` in the state
//! folder; a file that cannot be read counts as empty, and entries that cannot be read are left out.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{browse::Kind, files, keep, sample};

/// A file that was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recent {
    /// As what.
    pub kind: Kind,
    /// Where it lies.
    pub path: PathBuf,
}

/// Everything remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Files opened lately, the newest first.
    pub recent: Vec<Recent>,
    /// Names of hints that were followed.
    pub learned: Vec<String>,
}

/// Files remembered.
const KEPT: usize = 60;
/// A file larger than this was not written by us.
const LARGEST: u64 = 1 << 20;

fn file() -> Option<PathBuf> {
    keep::state_dir().map(|d| d.join("remembered.json"))
}

/// What is remembered on this machine.
pub fn load() -> Remembered {
    file().map(|f| load_from(&f)).unwrap_or_default()
}

/// Adds what was opened (the first is the newest) and which hints were followed, and gives what is remembered now. Other inspectors may have written
/// meanwhile, so the file is read again first. That it cannot be written is no error: nothing depends on it.
pub fn add(opened: &[Recent], learned: &[&str]) -> Remembered {
    file().map(|f| add_to(&f, opened, learned)).unwrap_or_default()
}

fn load_from(file: &Path) -> Remembered {
    let small = fs::metadata(file).is_ok_and(|m| m.len() <= LARGEST);
    if small { read(&fs::read_to_string(file).unwrap_or_default()) } else { Remembered::default() }
}

/// What a file says, as far as it can be read.
pub fn read(text: &str) -> Remembered {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let rows = |key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let recent = rows("recent").into_iter().filter_map(|row| serde_json::from_value(row).ok()).take(KEPT).collect();
    let learned = rows("learned").into_iter().filter_map(|row| row.as_str().map(ToOwned::to_owned)).take(KEPT).collect();
    Remembered { recent, learned }
}

fn add_to(file: &Path, opened: &[Recent], learned: &[&str]) -> Remembered {
    let mut all = load_from(file);
    for new in opened.iter().rev().filter(|r| sample::bytes(&r.path).is_none()) {
        let new = Recent { path: whole(&new.path), kind: new.kind };
        // JSON holds text only.
        if new.path.to_str().is_none() {
            continue;
        }
        all.recent.retain(|r| *r != new);
        all.recent.insert(0, new);
    }
    all.recent.truncate(KEPT);
    for hint in learned {
        if !all.learned.iter().any(|l| l == hint) {
            all.learned.push((*hint).to_owned());
        }
    }
    let text = serde_json::json!({ "recent": all.recent, "learned": all.learned }).to_string();
    if let Err(error) = write(file, &text) {
        tracing::debug!("{} cannot be written: {error}", file.display());
    }
    all
}

/// From the root on, so that it is found from every folder; links stay, unless `..` has to be followed.
fn whole(path: &Path) -> PathBuf {
    let up = path.components().any(|c| c == std::path::Component::ParentDir);
    let followed = up.then(|| fs::canonicalize(path).ok()).flatten();
    followed.or_else(|| std::path::absolute(path).ok()).unwrap_or_else(|| path.to_owned())
}

/// Whole or not at all: a second inspector never reads half a file.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    files::replace(file, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recent(kind: Kind, path: &str) -> Recent {
        Recent { kind, path: path.into() }
    }

    #[test]
    fn the_newest_stands_first_once_and_the_list_is_bounded() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("state/remembered.json");
        let paths = |r: &Remembered| r.recent.iter().map(|r| r.path.display().to_string()).collect::<Vec<_>>();
        add_to(&file, &[recent(Kind::Model, "/m.onnx"), recent(Kind::Image, "/a.png")], &["step"]);
        let now = add_to(&file, &[recent(Kind::Image, "/b.png"), recent(Kind::Image, sample::IMAGE)], &["step", "help"]);
        assert_eq!(paths(&now), ["/b.png", "/m.onnx", "/a.png"]);
        assert_eq!(paths(&add_to(&file, &[recent(Kind::Image, "/a.png")], &[])), ["/a.png", "/b.png", "/m.onnx"]);
        assert_eq!(load_from(&file).learned, ["step", "help"]);
        for i in 0..2 * KEPT {
            add_to(&file, &[recent(Kind::Image, &format!("/{i}.png"))], &[]);
        }
        let all = load_from(&file);
        assert_eq!((all.recent.len(), all.recent[0].path.display().to_string()), (KEPT, format!("/{}.png", 2 * KEPT - 1)));
        assert_eq!(fs::read_dir(folder.path().join("state")).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn broken_files_count_as_empty_and_broken_entries_are_left_out() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("remembered.json");
        for text in [
            "",
            "{",
            "[]",
            "null",
            "{\"recent\": 3, \"learned\": {}}",
            "\u{0}\u{1}",
            "{\"recent\": [1, {\"kind\": \"spoon\", \"path\": \"/x\"}]}",
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(load_from(&file), Remembered::default(), "{text:?}");
        }
        fs::write(&file, "{\"recent\": [{\"kind\": \"model\"}, {\"kind\": \"run\", \"path\": \"/r.pse\", \"more\": 1}]}").unwrap();
        assert_eq!(load_from(&file).recent, [recent(Kind::Run, "/r.pse")]);
        fs::write(&file, vec![b' '; 2 << 20]).unwrap();
        assert_eq!(load_from(&file), Remembered::default());
        assert_eq!(add_to(&file, &[recent(Kind::Run, "/r.pse")], &[]).recent.len(), 1, "and it is replaced");
    }
}
