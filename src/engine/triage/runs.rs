//! Runs kept beside the rows of a triage: one `RUN.pse` an image, so that a look at an image shows the attack that its row speaks of.
//!
//! A kept run is what `psescope attack --out` would write, but that it holds at most [`FRAMES`] bytes of pictures. A folder of runs has a
//! limit; once that is reached, or the disk is full, no more are kept, and whoever asks is told why.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use super::assess::hash;
use crate::{
    core::error::{Error, Result},
    engine::trace::{
        Trace,
        file::{self, RunMeta},
    },
};

/// Bytes that the runs of one folder take at most, unless it is said otherwise.
pub const LIMIT: u64 = 2 << 30;

/// Bytes of pictures that one kept run holds: 55 steps at 224 by 224. A longer attack keeps every second of them, every fourth, and so on, but
/// always the first, the last, the result and every change of class.
pub const FRAMES: usize = 32 << 20;

/// Bytes of a step's scalars in a file, to guess how large a run becomes.
const STEP: u64 = 900;

/// A folder of kept runs. Shared by all lanes of a triage.
#[derive(Debug)]
pub struct Runs {
    folder: PathBuf,
    limit: u64,
    used: AtomicU64,
    roomy: bool,
    /// Why no more are kept.
    ended: OnceLock<String>,
}

impl Runs {
    /// Opens or makes the folder; what lies in it counts.
    pub fn open(folder: PathBuf, limit: u64) -> Result<Self> {
        let fail = |e| Error::Input(format!("cannot keep runs in {}: {e}; give a folder you may write to", folder.display()));
        fs::create_dir_all(&folder).map_err(fail)?;
        let (used, largest) = size(&folder);
        let roomy = used + largest <= limit;
        // Its time says when it was of use last.
        let _ = File::open(&folder).and_then(|f| f.set_modified(SystemTime::now()));
        Ok(Self { folder, limit, used: AtomicU64::new(used), roomy, ended: OnceLock::new() })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Why no more runs are kept, once that is so: one sentence.
    pub fn ended(&self) -> Option<&str> {
        self.ended.get().map(String::as_str)
    }

    /// Whether there was room for a run like the largest one when the folder was opened.
    pub fn roomy(&self) -> bool {
        self.roomy
    }

    /// Whether a run of this name is there.
    pub fn has(&self, name: &str) -> bool {
        place(&self.folder, name).is_some_and(|path| path.is_file())
    }

    /// Keeps the run of an image, and gives the name of its file. Nothing when there is no room for it, or it cannot be written: the triage goes on.
    pub fn keep(&self, image: &str, meta: &RunMeta, trace: &Trace) -> Option<String> {
        if self.ended().is_some() {
            return None;
        }
        let name = name(image);
        let path = self.folder.join(&name);
        let old = fs::metadata(&path).map_or(0, |m| m.len());
        let pictures = (trace.frames().len() + 2) * trace.clean.len() * size_of::<f32>();
        let guess = pictures as u64 + STEP * meta.steps.len() as u64;
        if self.used.fetch_add(guess, Ordering::SeqCst) + guess > self.limit.saturating_add(old) {
            self.used.fetch_sub(guess, Ordering::SeqCst);
            let _ = self.ended.set(format!("no more runs are kept: those of this folder would take more than {}", amount(self.limit)));
            return None;
        }
        let saved = file::save(&path, meta, trace);
        let new = fs::metadata(&path).map_or(0, |m| m.len());
        self.used.fetch_add(new, Ordering::SeqCst);
        self.used.fetch_sub((guess + old).min(self.used.load(Ordering::SeqCst)), Ordering::SeqCst);
        match saved {
            Ok(()) => Some(name),
            Err(error) => {
                let _ = self.ended.set(format!("no more runs are kept: {error}"));
                None
            }
        }
    }
}

/// Where a run of this name lies. A name that leads out of the folder is none.
pub fn place(folder: &Path, name: &str) -> Option<PathBuf> {
    (Path::new(name).file_name() == Some(name.as_ref())).then(|| folder.join(name))
}

/// Name of the run of an image: the beginning of the image's own name for people, and its path in 16 digits.
fn name(image: &str) -> String {
    let stem = Path::new(image).file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    let stem: String = stem.chars().take(40).map(plain).collect();
    format!("{stem}-{}.pse", &hash(image.as_bytes())[..16])
}

/// Bytes as people say them.
pub fn amount(bytes: u64) -> String {
    let (unit, size) =
        [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)].into_iter().find(|(_, s)| bytes >= *s).unwrap_or(("bytes", 1));
    let text = format!("{:.1}", bytes as f64 / size as f64);
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

/// Bytes of the runs in a folder, and of the largest one; leftovers of processes that were killed while they wrote are taken away.
fn size(folder: &Path) -> (u64, u64) {
    let Ok(entries) = fs::read_dir(folder) else { return (0, 0) };
    let (mut sum, mut largest) = (0, 0);
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let old = || entry.metadata().and_then(|m| m.modified()).is_ok_and(|t| t.elapsed().is_ok_and(|age| age.as_secs() > 3600));
        if name.ends_with(".part") && name.starts_with('.') && old() {
            let _ = fs::remove_file(entry.path());
        } else if name.ends_with(".pse") {
            let bytes = entry.metadata().map_or(0, |m| m.len());
            sum += bytes;
            largest = bytes.max(largest);
        }
    }
    (sum, largest)
}

/// Makes room among the folders of runs below `all`: those that were of use longest ago go, until the others take at most `most` bytes. The folder
/// `but` stays.
pub fn make_room(all: &Path, but: &Path, most: u64) {
    let Ok(entries) = fs::read_dir(all) else { return };
    let mut folders: Vec<(SystemTime, PathBuf, u64)> = entries
        .flatten()
        .filter(|e| e.path() != but && e.file_type().is_ok_and(|t| t.is_dir()))
        .map(|e| (e.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH), e.path(), size(&e.path()).0))
        .collect();
    folders.sort();
    let mut sum: u64 = folders.iter().map(|f| f.2).sum();
    for (_, folder, bytes) in folders {
        if sum <= most {
            return;
        }
        tracing::info!("kept runs of {} make room ({})", folder.display(), amount(bytes));
        if let Err(error) = fs::remove_dir_all(&folder) {
            tracing::warn!("{} cannot be removed: {error}", folder.display());
        }
        sum -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use ndarray::Array3;

    use super::*;
    use crate::{
        core::attack::{Picture, Recorder as _, Step},
        engine::{control::Control, recorder::TraceRecorder},
    };

    /// A run of three steps on an image of 3 by 8 by 8.
    fn run() -> (RunMeta, Arc<Trace>) {
        let clean = Arc::new(Array3::from_elem((3, 8, 8), 0.5));
        let trace = Arc::new(Trace::new(Arc::clone(&clean), 0, None, 1 << 20));
        let mut recorder = TraceRecorder::new(Arc::clone(&trace), Control::default(), |_| {});
        for step in 0..3 {
            let image = clean.mapv(|v| v + step as f32 / 100.0);
            let logits = ndarray::array![1.0, step as f32];
            recorder.step(Step { image: Picture::Here(image.view()), logits: logits.view(), loss: 0.0, terms: &[] }).unwrap();
        }
        let steps = trace.with_steps(<[_]>::to_vec);
        (RunMeta { format: file::VERSION, attack: "pgd".into(), steps, ..RunMeta::default() }, trace)
    }

    #[test]
    fn runs_are_kept_until_the_folder_is_full_and_read_back() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("runs");
        let (meta, trace) = run();
        let runs = Runs::open(folder.clone(), 20 << 10).unwrap();
        let first = runs.keep("/photos/a cat.jpg", &meta, &trace).unwrap();
        assert!(first.starts_with("a_cat-") && first.ends_with(".pse") && runs.has(&first), "{first}");
        assert_eq!(runs.keep("/photos/a cat.jpg", &meta, &trace), Some(first.clone()), "again in its place");
        let back = file::load(&place(&folder, &first).unwrap()).unwrap();
        assert_eq!((back.trace.len(), back.trace.frames()), (3, vec![0, 1, 2]));
        assert_ne!(runs.keep("/others/a cat.jpg", &meta, &trace), Some(first.clone()), "another folder, another file");
        let mut kept = 2;
        while runs.keep(&format!("/photos/{kept}.jpg"), &meta, &trace).is_some() {
            kept += 1;
        }
        assert!((3..10).contains(&kept), "{kept}");
        assert!(runs.ended().unwrap().contains("more than 20 KiB"), "{:?}", runs.ended());
        assert!(size(&folder).0 <= 20 << 10, "{:?} bytes", size(&folder));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), kept, "nothing is left beside them");
        // Another process finds them, and no room.
        let again = Runs::open(folder, 20 << 10).unwrap();
        assert!(again.has(&first) && !again.roomy() && again.ended().is_none() && again.keep("/photos/new.jpg", &meta, &trace).is_none());
    }

    #[test]
    fn a_folder_that_cannot_be_written_ends_the_keeping_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("runs");
        let (meta, trace) = run();
        let runs = Runs::open(folder.clone(), LIMIT).unwrap();
        fs::remove_dir(&folder).unwrap();
        assert_eq!(runs.keep("/photos/a.jpg", &meta, &trace), None);
        assert!(runs.ended().unwrap().contains("cannot write"), "{:?}", runs.ended());
        fs::write(&folder, b"a file").unwrap();
        assert!(Runs::open(folder, LIMIT).unwrap_err().to_string().contains("cannot keep runs"));
    }

    #[test]
    fn names_stay_in_the_folder() {
        for name in ["../last.pse", "/etc/passwd", "a/b.pse", "..", ""] {
            assert_eq!(place(Path::new("/runs"), name), None, "{name}");
        }
        let name = name("/x/\u{1b}[31m猫/../..");
        assert_eq!(place(Path::new("/runs"), &name), Some(Path::new("/runs").join(&name)));
    }

    #[test]
    fn folders_of_long_ago_make_room() {
        let home = tempfile::tempdir().unwrap();
        let of = |name: &str| home.path().join(name);
        for (age, name) in ["new", "old", "own", "oldest"].iter().zip([1, 50, 90, 99]).map(|(n, a)| (a, n)) {
            fs::create_dir(of(name)).unwrap();
            fs::write(of(name).join("x.pse"), vec![0; 1000]).unwrap();
            File::open(of(name)).unwrap().set_modified(SystemTime::now() - Duration::from_secs(age * 100)).unwrap();
        }
        make_room(home.path(), &of("own"), 2000);
        assert_eq!(["new", "old", "own", "oldest"].map(|n| of(n).exists()), [true, true, true, false]);
        make_room(home.path(), &of("own"), 0);
        assert_eq!(["new", "old", "own"].map(|n| of(n).exists()), [false, false, true]);
        assert_eq!((amount(LIMIT), amount(1536), amount(10)), ("2 GiB".into(), "1.5 KiB".into(), "10 bytes".into()));
    }
}
