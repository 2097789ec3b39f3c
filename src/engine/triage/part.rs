//! Files of finished parts: written whole or not at all, and read together.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::{Shard, journal, row::Row, table};
use crate::{
    core::error::{Error, Result},
    runtime::files,
};

pub use super::table::Metadata;

/// Parquet file of a part.
pub fn parquet(folder: &Path, shard: Shard) -> PathBuf {
    folder.join(format!("{}.parquet", shard.stem()))
}

/// JSONL file of a part.
pub fn jsonl(folder: &Path, shard: Shard) -> PathBuf {
    folder.join(format!("{}.jsonl", shard.stem()))
}

/// Journal of a part in progress.
pub fn journal(folder: &Path, shard: Shard) -> PathBuf {
    folder.join(format!("{}.journal", shard.stem()))
}

/// Writes rows as Parquet.
pub fn write_parquet(path: &Path, rows: &[Row], metadata: &Metadata) -> Result<()> {
    files::save_with(path, |out| table::write(out, rows, metadata).map_err(io::Error::other))
}

/// Writes rows as JSON objects, one a line; the first line holds the settings under `metadata`.
pub fn write_jsonl(path: &Path, rows: &[Row], metadata: &Metadata) -> Result<()> {
    files::save_with(path, |out| {
        writeln!(out, "{}", serde_json::json!({"schema": super::SCHEMA, "metadata": metadata}))?;
        for row in rows {
            writeln!(out, "{}", serde_json::to_string(row)?)?;
        }
        Ok(())
    })
}

/// Every part of a folder, checked to belong together and to be complete, in the order of the listing.
pub fn merged(folder: &Path) -> Result<(Vec<Row>, Metadata)> {
    let fail = |e: io::Error| Error::Input(format!("cannot read {}: {e}; give the --out folder of a triage", folder.display()));
    let entries = fs::read_dir(folder).map_err(fail)?;
    let mut files: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).filter(|p| is_part(p)).collect();
    files.sort();
    let (mut rows, mut first): (Vec<Row>, Option<Metadata>) = (Vec::new(), None);
    let mut numbers = BTreeMap::new();
    for file in &files {
        let (part, mut metadata) = table::read(file)?;
        let shard = metadata.remove("shard").and_then(|s| s.parse::<Shard>().ok());
        let shard = shard.ok_or_else(|| Error::Input(format!("{} does not say which part it is; run it again", file.display())))?;
        numbers.insert(shard.number, shard.count);
        if let Some((key, a, b)) = first.as_ref().and_then(|f| journal::difference(f, &metadata)) {
            let text = format!("{} has another {key} than the other parts ({b}; theirs {a}); keep one triage in a folder", file.display());
            return Err(Error::Input(text));
        }
        rows.extend(part);
        first.get_or_insert(metadata);
    }
    let Some(metadata) = first else {
        return Err(Error::Input(format!(
            "there are no finished parts in {}; run `psescope triage MODEL DIR --out {0}` first",
            folder.display()
        )));
    };
    let count = numbers.values().copied().max().unwrap_or(1);
    if numbers.values().any(|c| *c != count) {
        return Err(Error::Input(format!("{} holds parts of different divisions; keep one triage in a folder", folder.display())));
    }
    let missing = || (0..count).filter(|n| !numbers.contains_key(n));
    if missing().next().is_some() {
        let named: Vec<String> = missing().take(8).map(|n| n.to_string()).collect();
        let more = if missing().nth(8).is_some() { " and others" } else { "" };
        let named = named.join(", ");
        return Err(Error::Input(format!("parts {named}{more} of {count} are not finished yet; run them with --shard I/{count}")));
    }
    rows.sort_by_key(|r| r.index);
    let mut metadata = metadata;
    if count > 1 {
        metadata.insert("parts".into(), count.to_string());
    }
    Ok((rows, metadata))
}

fn is_part(path: &Path) -> bool {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    name.starts_with("part-") && name.ends_with(".parquet")
}
