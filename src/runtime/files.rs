//! Files are written whole or not at all: a temporary one in the same folder, fsync, rename. A device or a pipe is written to, never
//! replaced.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::core::error::{Error, Result};

/// Ending of files in progress.
pub const PART: &str = "part";

/// Puts bytes in the place of a file.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, |out| out.write_all(bytes))
}

/// Puts in the place of a file what a function writes.
pub fn replace_with(path: &Path, content: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()>) -> io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let whole = |file: File| -> io::Result<File> {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        content(&mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)
    };
    if fs::metadata(path).is_ok_and(|m| !m.is_file()) {
        return OpenOptions::new().write(true).open(path).and_then(whole).map(drop);
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let part = folder.join(format!(".{}.{}-{number}.{PART}", name.to_string_lossy(), std::process::id()));
    let written = File::create(&part).and_then(whole).and_then(|file| file.sync_all()).and_then(|()| fs::rename(&part, path));
    written.inspect_err(|_| drop(fs::remove_file(&part)))
}

/// Puts bytes in the place of a file that a person named; the error is a sentence for them.
pub fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    save_with(path, |out| out.write_all(bytes))
}

/// The same with what a function writes.
pub fn save_with(path: &Path, content: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()>) -> Result<()> {
    replace_with(path, content)
        .map_err(|e| Error::Input(format!("cannot write {}: {e}; give a path in a folder you may write to", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        save(&path, b"old").unwrap();
        let failed = save_with(&path, |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("no room"))
        });
        let told = failed.unwrap_err().to_string();
        assert!(told.contains("a.txt") && told.contains("no room") && told.contains("you may write to"), "{told}");
        assert_eq!((fs::read(&path).unwrap(), names(folder.path())), (b"old".to_vec(), vec!["a.txt".to_owned()]));
        save(&path, b"new").unwrap();
        assert_eq!((fs::read(&path).unwrap(), names(folder.path())), (b"new".to_vec(), vec!["a.txt".to_owned()]));
        assert!(save(&folder.path().join("none/b.txt"), b"x").is_err() && save(Path::new("/"), b"x").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_stays_one() {
        use std::os::unix::fs::FileTypeExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let reader = std::thread::spawn({
            let path = path.clone();
            move || fs::read(path).unwrap()
        });
        save(&path, b"through").unwrap();
        assert_eq!(reader.join().unwrap(), b"through");
        assert!(fs::metadata(&path).unwrap().file_type().is_fifo() && names(folder.path()) == ["pipe"]);
    }
}
