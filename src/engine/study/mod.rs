//! Studies over a folder of images: what is measured on each, in which order, and how a study that was cut short continues.

pub mod journal;
pub mod measure;
pub mod recovery;

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::command::{AttackRequest, Target};

/// The name of an image in a study: its path below the folder, so that it does not depend on where the folder lies.
pub fn name(folder: &Path, image: &Path) -> String {
    image.strip_prefix(folder).unwrap_or(image).to_string_lossy().into_owned()
}

/// Which number a unit answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Response {
    /// Mean over positions.
    Mean,
    /// Maximum over positions.
    Max,
}

impl Response {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Mean, Self::Max];

    /// Word used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Max => "max",
        }
    }
}

/// The seed of one attack or control on one image: the study's, moved by the file's name (FNV-1a) and the repetition, so that it does not
/// depend on what else is in the folder.
pub fn seed(study: u64, name: &str, repeat: usize) -> u64 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    study.wrapping_add(u64::from(hash)).wrapping_add(repeat as u64)
}

/// How the target is chosen, in a word for reports.
pub fn target_word(request: &AttackRequest) -> String {
    match request.target {
        Target::Untargeted => "untargeted".into(),
        Target::Class(class) => format!("class {class}"),
        Target::Random => "random".into(),
        Target::Second => "second".into(),
        Target::LeastLikely => "least-likely".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_follow_the_file_and_not_the_folder() {
        assert_eq!(seed(3, "a.jpg", 0), seed(3, "a.jpg", 0));
        assert_ne!(seed(3, "a.jpg", 0), seed(3, "b.jpg", 0));
        assert_eq!(seed(4, "a.jpg", 0), seed(3, "a.jpg", 1));
    }
}
