//! A journal of finished images: one JSON line each after a line that says what is being done. A study that was cut short reads it and
//! goes on with the images that are missing.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    core::error::{Error, Result},
    runtime::files,
};

/// An open journal.
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens a journal and gives what it holds. `settings` must be what it was begun with. A last line that was cut off is dropped.
    pub fn open<T: DeserializeOwned>(path: &Path, settings: &Value) -> Result<(Self, Vec<T>)> {
        let fail = |e: std::io::Error| Error::Input(format!("cannot write {}: {e}; give a folder you may write to", path.display()));
        let mut done = Vec::new();
        let mut whole = String::new();
        if path.exists() {
            let mut lines = BufReader::new(File::open(path).map_err(fail)?).lines();
            let first = lines.next().transpose().map_err(fail)?.unwrap_or_default();
            if serde_json::from_str::<Value>(&first).ok().as_ref() != Some(settings) {
                return Err(Error::Parameter(format!(
                    "{} belongs to a study with other settings, model or version; give another --out or delete it",
                    path.display()
                )));
            }
            whole = format!("{first}\n");
            for line in lines {
                let line = line.map_err(fail)?;
                let Ok(entry) = serde_json::from_str(&line) else { break };
                done.push(entry);
                whole.push_str(&line);
                whole.push('\n');
            }
        }
        if whole.is_empty() {
            whole = format!("{settings}\n");
        }
        // Written anew, so that a line that was cut off does not run into the next one.
        files::replace(path, whole.as_bytes()).map_err(fail)?;
        let file = OpenOptions::new().append(true).open(path).map_err(fail)?;
        Ok((Self { path: path.to_owned(), file }, done))
    }

    /// Adds a finished entry; it is on the disk when this returns.
    pub fn add(&mut self, entry: &impl Serialize) -> Result<()> {
        let fail = |e: std::io::Error| Error::Input(format!("cannot write {}: {e}; is the disk full?", self.path.display()));
        let line = serde_json::to_string(entry).map_err(|e| fail(e.into()))?;
        writeln!(self.file, "{line}").and_then(|()| self.file.sync_data()).map_err(fail)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    #[test]
    fn continues_after_a_cut_and_refuses_other_settings() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let settings = json!({"model": "m", "draws": 3});
        let (mut journal, done) = Journal::open::<u32>(&path, &settings).unwrap();
        assert!(done.is_empty());
        journal.add(&7u32).unwrap();
        journal.add(&8u32).unwrap();
        drop(journal);
        let mut text = fs::read_to_string(&path).unwrap();
        text.truncate(text.len() - 2);
        text.push_str("{cut");
        fs::write(&path, text).unwrap();
        let (mut journal, done) = Journal::open::<u32>(&path, &settings).unwrap();
        assert_eq!(done, [7]);
        journal.add(&9u32).unwrap();
        assert_eq!(Journal::open::<u32>(&path, &settings).unwrap().1, [7, 9]);
        let refused = Journal::open::<u32>(&path, &json!({"model": "other"})).err().unwrap();
        assert!(refused.to_string().contains("other settings"));
    }
}
