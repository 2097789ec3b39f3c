//! The images of a triage: a folder with everything below it, a list file, or lines from a stream.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::core::error::{Error, Result};

/// Endings of files that are taken for images in a folder.
pub const ENDINGS: &[&str] = &["png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "pnm", "ppm", "pgm", "npy"];

/// An image to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Position in the whole listing.
    pub index: usize,
    /// File.
    pub path: PathBuf,
    /// True class as written after a tab in a list: index or name.
    pub label: Option<String>,
}

/// Whether the ending is one of [`ENDINGS`].
pub fn is_image(path: &Path) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| ENDINGS.contains(&e.to_ascii_lowercase().as_str()))
}

/// Images of a folder, a single image, or a list file (one path a line, optionally a tab and the true class).
pub fn of_path(path: &Path) -> Result<Vec<Item>> {
    let fail = |e: std::io::Error| Error::Input(format!("cannot read {}: {e}; give a folder of images or a list file", path.display()));
    let meta = fs::metadata(path).map_err(fail)?;
    let items = if meta.is_dir() {
        let mut files = Vec::new();
        walk(path, &mut BTreeSet::new(), &mut files)?;
        files.sort();
        numbered(files.into_iter().map(|path| (path, None)))
    } else if is_image(path) {
        numbered([(path.to_owned(), None)])
    } else {
        let bytes = fs::read(path).map_err(fail)?;
        let text = String::from_utf8(bytes).map_err(|_| {
            Error::Input(format!("{} is neither an image nor a text list; give a folder or a list of paths", path.display()))
        })?;
        of_lines(&text, path.parent())
    };
    if items.is_empty() {
        return Err(Error::Input(format!("there are no images in {}; psescope reads {}", path.display(), ENDINGS.join(", "))));
    }
    Ok(items)
}

/// Images named in lines. A relative path that does not exist is looked for beside the list.
pub fn of_lines(text: &str, beside: Option<&Path>) -> Vec<Item> {
    let lines = text.lines().map(|l| l.trim_end_matches('\r')).filter(|l| !l.trim().is_empty());
    numbered(lines.map(|line| {
        let (path, label) = line.split_once('\t').map_or((line, None), |(p, l)| (p, Some(l.trim().to_owned())));
        let given = PathBuf::from(path.trim());
        let found = beside.map(|folder| folder.join(&given)).filter(|p| !given.exists() && p.exists());
        (found.unwrap_or(given), label.filter(|l| !l.is_empty()))
    }))
}

fn numbered(items: impl IntoIterator<Item = (PathBuf, Option<String>)>) -> Vec<Item> {
    items.into_iter().enumerate().map(|(index, (path, label))| Item { index, path, label }).collect()
}

/// Everything below a folder; hidden entries are left out, and folders reached twice through links are entered once.
fn walk(folder: &Path, seen: &mut BTreeSet<PathBuf>, files: &mut Vec<PathBuf>) -> Result<()> {
    let fail = |e: std::io::Error| Error::Input(format!("cannot read {}: {e}; give a folder you may read", folder.display()));
    if !seen.insert(folder.canonicalize().map_err(fail)?) {
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.file_name().is_none_or(|n| n.to_string_lossy().starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            walk(&path, seen, files)?;
        } else if is_image(&path) {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_walked_and_sorted() {
        let home = tempfile::tempdir().unwrap();
        for name in ["b.png", "a/z.JPG", "a/y.txt", ".hidden/c.png", "a/b/x.npy"] {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"x").unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(home.path(), home.path().join("a/again")).unwrap();
        let items = of_path(home.path()).unwrap();
        let names: Vec<_> = items.iter().map(|i| i.path.strip_prefix(home.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a/b/x.npy", "a/z.JPG", "b.png"]);
        assert_eq!(items[2].index, 2);
        let list = home.path().join("list.txt");
        fs::write(&list, "b.png\tgiant panda\r\n\nmissing.png\n").unwrap();
        let items = of_path(&list).unwrap();
        assert_eq!((items[0].path.clone(), items[0].label.as_deref()), (home.path().join("b.png"), Some("giant panda")));
        assert_eq!(items[1].path, PathBuf::from("missing.png"), "a missing image is found out later, as a row with its error");
        assert!(of_path(&home.path().join("a/y.txt")).is_ok_and(|i| i.len() == 1));
        assert!(of_path(&home.path().join(".hidden/none")).is_err());
    }
}
