//! Looking for files to open: what lies in a folder, and what a path stands for.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{sample, triage::listing};
use crate::core::error::{Error, Result};

/// What a path can be opened as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An ONNX model.
    Model,
    /// An image.
    Image,
    /// A recorded run.
    Run,
    /// A folder of images.
    Folder,
}

impl Kind {
    /// Word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Image => "image",
            Self::Run => "run",
            Self::Folder => "folder",
        }
    }

    /// What a file's ending says.
    pub fn of_file(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "onnx" => Some(Self::Model),
            "pse" => Some(Self::Run),
            _ => listing::is_image(path).then_some(Self::Image),
        }
    }
}

/// Something in a folder that can be opened or entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path.
    pub path: PathBuf,
    /// Name, safe to print.
    pub name: String,
    /// What it is; folders are [`Kind::Folder`].
    pub kind: Kind,
    /// Bytes, for files.
    pub size: u64,
    /// Whether its name begins with a dot.
    pub hidden: bool,
}

/// Entries read at most: a folder of a million files must not stop the interface.
const MOST: usize = 20_000;

/// The folders and the files that can be opened in a folder, folders first, by name. A path that begins with `~` starts at home.
pub fn list(folder: &Path) -> Result<(PathBuf, Vec<Entry>)> {
    let folder = home(folder);
    let fail = |e: std::io::Error| Error::Input(format!("cannot read the folder {}: {e}", folder.display()));
    let absolute = std::path::absolute(&folder).map_err(fail)?;
    // `..` after a link means the link's own parent for the system; only without links may it be folded.
    let shown = fs::canonicalize(&absolute).map_err(fail)?;
    let mut entries: Vec<Entry> = fs::read_dir(&shown).map_err(fail)?.take(MOST).flatten().filter_map(|e| entry(&e)).collect();
    entries.sort_by_cached_key(|e| (e.kind != Kind::Folder, e.name.to_lowercase()));
    Ok((shown, entries))
}

fn entry(found: &fs::DirEntry) -> Option<Entry> {
    let path = found.path();
    let name: String = found.file_name().to_string_lossy().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    // Links are followed; one that leads nowhere is left out.
    let about = fs::metadata(&path).ok()?;
    let kind = if about.is_dir() { Kind::Folder } else { Kind::of_file(&path).filter(|_| about.is_file())? };
    Some(Entry { hidden: name.starts_with('.'), path, name, kind, size: about.len() })
}

/// What a typed path stands for: as it is wanted, or by what it is.
pub fn find(text: &str, wanted: Option<Kind>) -> Result<(Kind, PathBuf)> {
    let path = home(Path::new(text));
    if sample::bytes(&path).is_some() {
        let kind = if path == Path::new(sample::MODEL) { Kind::Model } else { Kind::Image };
        return Ok((kind, path));
    }
    let shown: String = path.display().to_string().chars().filter(|c| !c.is_control()).collect();
    let about = fs::metadata(&path).map_err(|e| Error::Input(format!("cannot open {shown}: {e}")))?;
    match (wanted, about.is_dir()) {
        (Some(Kind::Folder) | None, true) => Ok((Kind::Folder, path)),
        (Some(kind), true) => Err(Error::Input(format!("{shown} is a folder; give a {} file, or type folder {shown}", kind.word()))),
        // A list of images is worked through like a folder.
        (Some(kind), false) => Ok((kind, path)),
        (None, false) => Kind::of_file(&path).map(|kind| (kind, path)).ok_or_else(|| {
            Error::Input(format!("{shown} is neither .onnx, nor .pse, nor an image; type model, image or run before it to say what it is"))
        }),
    }
}

fn home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), etcetera::home_dir()) {
        (Ok(rest), Ok(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_shows_what_can_be_opened_folders_first() {
        let folder = tempfile::TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        for file in ["b.onnx", "A.PNG", ".hidden.jpg", "run.pse", "notes.txt", "c\u{1b}[31m.png"] {
            fs::write(at(file), b"x").unwrap();
        }
        fs::create_dir(at("zoo")).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(at("gone"), at("dangling.png")).unwrap();
        let (_, entries) = list(folder.path()).unwrap();
        let names: Vec<&str> = entries.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["zoo", ".hidden.jpg", "A.PNG", "b.onnx", "c\u{fffd}[31m.png", "run.pse"]);
        assert!(entries[1].hidden && entries[0].kind == Kind::Folder && entries[3].kind == Kind::Model && entries[5].kind == Kind::Run);
        assert!(list(&at("nowhere")).unwrap_err().to_string().contains("cannot read the folder"));
    }

    #[test]
    fn what_is_typed_is_taken_for_what_it_is() {
        let folder = tempfile::TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        fs::write(at("m.onnx"), b"x").unwrap();
        fs::write(at("weights"), b"x").unwrap();
        assert_eq!(find(&at("m.onnx"), None).unwrap().0, Kind::Model);
        assert_eq!(find(&at(""), None).unwrap().0, Kind::Folder);
        assert_eq!(find(sample::IMAGE, None).unwrap().0, Kind::Image);
        assert_eq!(find(&at("weights"), Some(Kind::Model)).unwrap().0, Kind::Model);
        assert!(find(&at("weights"), None).unwrap_err().to_string().contains("neither"));
        assert!(find(&at(""), Some(Kind::Model)).unwrap_err().to_string().contains("is a folder"));
        assert!(find(&at("gone.png"), None).unwrap_err().to_string().contains("cannot open"));
    }
}
