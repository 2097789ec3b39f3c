//! The images of a folder, in an order that does not depend on the file system.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::core::error::{Error, Result};

const ENDINGS: [&str; 11] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "npy"];

/// Image files in a folder and the folders inside, sorted by path; links to folders are not followed.
pub fn images(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    walk(folder, &mut found)?;
    if found.is_empty() {
        return Err(Error::Input(format!("{} holds no images; give a folder with .jpg, .png, … or .npy files", folder.display())));
    }
    found.sort();
    Ok(found)
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let fail = |e: std::io::Error| Error::Input(format!("cannot read the folder {}: {e}; give a folder of images", folder.display()));
    for entry in fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let path = entry.path();
        if entry.file_type().map_err(fail)?.is_dir() {
            walk(&path, found)?;
        } else if path.extension().is_some_and(|e| ENDINGS.iter().any(|known| e.eq_ignore_ascii_case(known))) {
            found.push(path);
        }
    }
    Ok(())
}

/// The path below the folder: names an image independently of where the folder lies.
pub fn name(folder: &Path, image: &Path) -> String {
    image.strip_prefix(folder).unwrap_or(image).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_recursive_and_only_images() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("b")).unwrap();
        for file in ["z.PNG", "a.jpg", "notes.txt", "b/c.npy"] {
            fs::write(dir.path().join(file), b"").unwrap();
        }
        let names: Vec<String> = images(dir.path()).unwrap().iter().map(|p| name(dir.path(), p)).collect();
        assert_eq!(names, ["a.jpg", "b/c.npy", "z.PNG"]);
        fs::create_dir(dir.path().join("empty")).unwrap();
        assert!(images(&dir.path().join("empty")).unwrap_err().to_string().contains("holds no images"));
        assert!(images(&dir.path().join("absent")).is_err());
    }
}
