//! The journal of a part: a line for its settings, then a line for every finished image. Whatever ends the process, a later one
//! continues after the last whole line.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{row::Row, table::Metadata};
use crate::core::error::{Error, Result};

/// Lines are handed to the system one by one, which a killed process cannot take back; this often they are forced to the disk,
/// against a machine that dies.
const SYNC: Duration = Duration::from_secs(1);

/// Settings that may differ between the processes that work on one part: they change no value.
const FREE: &[&str] = &["version", "model", "provider", "images", "source", "compare", "command", "parts"];

/// An open journal. Locked: two processes cannot work on one part.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    synced: Instant,
}

/// What keeps two sets of settings from being one triage: `Some((key, first, second))`.
pub fn difference<'a>(a: &'a Metadata, b: &'a Metadata) -> Option<(&'a str, &'a str, &'a str)> {
    fn get<'a>(of: &'a Metadata, key: &str) -> &'a str {
        of.get(key).map_or("", String::as_str)
    }
    a.keys().chain(b.keys()).filter(|k| !FREE.contains(&k.as_str())).map(|k| (k.as_str(), get(a, k), get(b, k))).find(|(_, x, y)| x != y)
}

impl Journal {
    /// Opens or makes the journal of these settings, and reads what is in it.
    pub fn open(path: &Path, settings: &Metadata) -> Result<(Self, Vec<Row>)> {
        let fail = |e: &dyn std::fmt::Display| Error::Input(format!("cannot use {}: {e}; give a folder you may write to", path.display()));
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(|e| fail(&e))?;
        if taken(&file) {
            return Err(Error::Input(format!("another process is working on {}; wait for it or stop it", path.display())));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| fail(&e))?;
        let (header, rows, whole) = parse(&bytes);
        if let Some((key, then, now)) = header.as_ref().and_then(|h| difference(h, settings)) {
            return Err(Error::Parameter(format!(
                "{} was begun with another {key} ({then}; now {now}); give the same settings, or another --out folder",
                path.display()
            )));
        }
        // A line cut off in the middle is an image to be done again.
        file.set_len(whole as u64).and_then(|()| file.seek(SeekFrom::End(0))).map_err(|e| fail(&e))?;
        let mut journal = Self { file, path: path.to_owned(), synced: Instant::now() };
        if header.is_none() {
            journal.line(&serde_json::to_string(settings).map_err(|e| fail(&e))?)?;
        }
        Ok((journal, rows))
    }

    /// Writes a finished image down.
    pub fn append(&mut self, row: &Row) -> Result<()> {
        let text = serde_json::to_string(row).map_err(|e| self.fail(&e))?;
        self.line(&text)
    }

    /// Removes the journal, its part being written.
    pub fn finish(self) -> Result<()> {
        fs::remove_file(&self.path).map_err(|e| self.fail(&e))
    }

    fn line(&mut self, text: &str) -> Result<()> {
        let written = self.file.write_all(format!("{text}\n").as_bytes());
        let written = written.and_then(|()| if self.synced.elapsed() > SYNC { self.sync() } else { Ok(()) });
        written.map_err(|e| self.fail(&e))
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.synced = Instant::now();
        self.file.sync_data()
    }

    fn fail(&self, e: &dyn std::fmt::Display) -> Error {
        Error::Input(format!("cannot write {}: {e}; make room or give another --out folder", self.path.display()))
    }
}

/// Whether somebody else holds the lock. A process that is just being started by this one holds it too, for a moment.
fn taken(file: &File) -> bool {
    (0..20).all(|try_again| {
        if try_again > 0 {
            thread::sleep(Duration::from_millis(10));
        }
        matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock))
    })
}

/// Settings and rows without opening the journal for writing: for looking at work in progress.
pub fn peek(path: &Path) -> Option<(Metadata, Vec<Row>)> {
    let (header, rows, _) = parse(&fs::read(path).ok()?);
    Some((header?, rows))
}

/// Settings, rows, and how many bytes of whole valid lines they took.
fn parse(bytes: &[u8]) -> (Option<Metadata>, Vec<Row>, usize) {
    let (mut header, mut rows, mut whole) = (None, Vec::new(), 0);
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        if !line.ends_with(b"\n") {
            break;
        }
        let valid = if header.is_none() {
            header = serde_json::from_slice::<Metadata>(line).ok();
            header.is_some()
        } else {
            serde_json::from_slice::<Row>(line).map(|row| rows.push(row)).is_ok()
        };
        if !valid {
            break;
        }
        whole += line.len();
    }
    (header, rows, whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(attack: &str) -> Metadata {
        [("attack", attack), ("schema", "psescope.triage/1"), ("version", "0")].map(|(k, v)| (k.into(), v.into())).into()
    }

    fn row(index: i64) -> Row {
        Row { index: Some(index), path: Some(format!("{index}\n.png")), l2: Some(0.1 + index as f32), ..Row::default() }
    }

    #[test]
    fn cut_off_anywhere_it_keeps_every_whole_line() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("j");
        let (mut journal, none) = Journal::open(&path, &settings("pgd")).unwrap();
        assert!(none.is_empty());
        (0..3).for_each(|i| journal.append(&row(i)).unwrap());
        drop(journal);
        let whole = fs::read(&path).unwrap();
        let ends: Vec<usize> = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1).collect();
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (mut journal, rows) = Journal::open(&path, &settings("pgd")).unwrap();
            let kept = ends.iter().filter(|e| **e <= cut).count().saturating_sub(1);
            assert_eq!(rows, (0..kept as i64).map(row).collect::<Vec<_>>(), "cut at {cut}");
            journal.append(&row(9)).unwrap();
            drop(journal);
            assert_eq!(peek(&path).unwrap().1.last(), Some(&row(9)), "cut at {cut}");
        }
    }

    #[test]
    fn other_settings_and_a_second_process_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("j");
        let (journal, _) = Journal::open(&path, &settings("pgd")).unwrap();
        assert!(Journal::open(&path, &settings("pgd")).unwrap_err().to_string().contains("another process"));
        drop(journal);
        let text = Journal::open(&path, &settings("cw")).unwrap_err().to_string();
        assert!(text.contains("another attack (pgd; now cw)"), "{text}");
        let newer = Metadata::from_iter(settings("pgd").into_iter().chain([("version".into(), "1".into())]));
        Journal::open(&path, &newer).unwrap().0.finish().unwrap();
        assert!(!path.exists());
    }
}
