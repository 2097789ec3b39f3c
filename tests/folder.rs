//! A folder worked through in the inspector, left and reopened: what is finished stays, what is not goes on.
#![cfg(unix)]

use std::{fs, path::PathBuf};

use portable_pty::CommandBuilder;

mod terminal;

use terminal::Terminal;

const PHOTOS: [&str; 6] = ["baseball", "bison", "camera", "chelsea", "chicken", "coffee"];

/// The inspector on a folder, with the state that earlier ones left.
fn inspector(photos: &PathBuf, state: tempfile::TempDir) -> Terminal {
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_psescope"));
    command.arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("onnx/squeezenet1_1.onnx"));
    // One image at a time, however many cores there are.
    command.arg(photos);
    command.args(["--threads", "2"]);
    Terminal::within(state, command, 120, 40, &[])
}

/// Images done according to the screen.
fn done(screen: &str) -> Option<usize> {
    let (before, _) = screen.split_once(&format!("/{} images", PHOTOS.len()))?;
    before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Files of kept runs.
fn runs(terminal: &Terminal) -> Vec<PathBuf> {
    let all = fs::read_dir(terminal.state.path().join("psescope/runs")).expect("a folder").flatten();
    all.flat_map(|folder| fs::read_dir(folder.path()).expect("a folder of runs").flatten().map(|e| e.path())).collect()
}

/// Lines of the only journal: the settings, then a line for every finished image.
fn journal(terminal: &Terminal) -> Vec<String> {
    let folder = terminal.state.path().join("psescope/triage");
    let files: Vec<PathBuf> = fs::read_dir(folder).expect("a folder").flatten().map(|e| e.path()).collect();
    assert_eq!(files.len(), 1, "one triage, one journal: {files:?}");
    let text = fs::read_to_string(&files[0]).expect("a journal");
    text.split_inclusive('\n').filter(|l| l.ends_with('\n')).map(str::to_owned).collect()
}

#[test]
fn a_folder_goes_on_where_it_was_left_or_killed() {
    let photos = tempfile::tempdir().expect("a folder");
    for name in PHOTOS.map(|n| format!("{n}.jpg")) {
        let from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("samples").join(&name);
        fs::copy(from, photos.path().join(&name)).expect("a photo");
    }
    let photos = photos.path().to_owned();
    // Left in the middle.
    let mut t = inspector(&photos, tempfile::tempdir().expect("a folder"));
    t.until("a finished image", |screen| done(screen).is_some_and(|n| n > 0));
    t.types("q");
    assert!(t.ends().success());
    t.is_given_back();
    let first = journal(&t);
    assert!((2..=PHOTOS.len()).contains(&first.len()), "some are done, not all: {} lines", first.len());
    // Reopened: the rows are there with the listing, and the work goes on; killed.
    let mut t = inspector(&photos, std::mem::replace(&mut t.state, tempfile::tempdir().expect("a folder")));
    t.until("the listing", |screen| done(screen).is_some());
    assert!(done(&t.text()) >= Some(first.len() - 1), "finished rows come first:\n{}", t.text());
    t.until("one more", |screen| done(screen) >= Some(first.len()));
    t.signal("-KILL");
    t.ends();
    let second = journal(&t);
    assert_eq!(second[..first.len()], first, "nothing finished is done again");
    assert!(second.len() > first.len());
    // To the end.
    let mut t = inspector(&photos, std::mem::replace(&mut t.state, tempfile::tempdir().expect("a folder")));
    t.shows(&format!("all {} images of the folder are done", PHOTOS.len()));
    t.shows("done · by weakness");
    t.shows("bison.jpg");
    t.types("q");
    assert!(t.ends().success());
    let kept = runs(&t);
    assert_eq!(kept.len(), PHOTOS.len(), "one run an image: {kept:?}");
    let last = journal(&t);
    assert_eq!(last[..second.len()], second, "nothing finished is done again, even after a kill");
    assert_eq!(last.len(), PHOTOS.len() + 1, "every image once");
    // Reopened once more: Enter shows the run of an earlier process, with all its steps, and attacks nothing.
    let mut t = inspector(&photos, std::mem::replace(&mut t.state, tempfile::tempdir().expect("a folder")));
    t.shows("done · by weakness");
    t.types("z/chelsea\r");
    t.shows(">  chelsea.jpg");
    t.types("\r");
    t.shows("pictures 11/11");
    assert!(t.text().contains("chelsea.jpg") && t.text().contains("ifgsm eps 8/255"), "{}", t.text());
    t.types("\x1b[D");
    t.shows("9/10");
    // The inspector is whole: what needs the model works on the kept run.
    t.types("3");
    t.shows("C(x',");
    t.until("maps of the kept run", |screen| screen.contains("IS 0."));
    // One that is gone is made again, and why is said.
    let file = kept.iter().find(|f| f.to_string_lossy().contains("coffee")).expect("its run");
    fs::remove_file(file).expect("it goes");
    t.types("T");
    t.shows(">  chelsea.jpg");
    t.types("\x1b");
    t.shows("bison.jpg");
    t.types("/coffee\r");
    t.shows(">  coffee.jpg");
    t.types("\r");
    t.shows("its kept run is gone; attacking it again");
    t.has_steps();
    t.types("\x03");
    t.ends();
}
