//! What a triage begins with: the settings that its rows depend on, and the images that are left to do.

use std::collections::HashMap;

use serde_json::json;

use super::{Item, Row, SCHEMA, Shard, assess, drive::Job, part::Metadata};
use crate::{
    core::{
        attack::{self, Params},
        error::{Error, Result},
    },
    engine::{
        command::{AttackRequest, Target},
        subject::image_bytes,
    },
};

/// The metadata of a part's files, as text. Two processes with equal settings make equal rows.
pub fn metadata(job: &Job, shard: Shard) -> Result<Metadata> {
    let settings = &job.settings;
    let request = &settings.request;
    let target = match &request.target {
        Target::Untargeted => "none".to_owned(),
        Target::Class(class) => class.to_string(),
        Target::Random => "random".into(),
        Target::Second => "second".into(),
        Target::LeastLikely => "least-likely".into(),
    };
    let psr = &settings.psr;
    let explain = match settings.explain {
        true => json!({"mode": psr.mode.name(), "grid": settings.grid, "floor": psr.floor, "threshold": psr.threshold, "percentile": settings.percentile})
            .to_string(),
        false => "none".into(),
    };
    let mut pairs = vec![
        ("schema", SCHEMA.to_owned()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("model", job.subject.path.display().to_string()),
        ("model_sha256", job.subject.sha256.clone()),
        ("preprocessing", job.subject.preprocess.describe()),
        ("attack", request.attack.clone()),
        ("params", params(request)?),
        ("target", target),
        ("true", request.label.map_or_else(|| "prediction".into(), |l| l.to_string())),
        ("seed", request.seed.to_string()),
        ("explain", explain),
        ("shard", shard.to_string()),
    ];
    if let Some(region) = &request.within {
        pairs.push(("within", region.clone()));
    }
    if let Some(rival) = &job.rival {
        pairs.push(("compare", rival.subject.path.display().to_string()));
        pairs.push(("compare_sha256", rival.subject.sha256.clone()));
    }
    Ok(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
}

/// Parameters with the defaults filled in, as a JSON object of texts.
fn params(request: &AttackRequest) -> Result<String> {
    let attack = attack::find(&request.attack).ok_or_else(|| Error::Parameter(format!("there is no attack '{}'", request.attack)))?;
    let params = Params::check(attack.params(), request.params.iter().map(|(n, v)| (n.as_str(), v.as_str())))?;
    let object: serde_json::Map<_, _> = params.iter().map(|(name, _, text)| (name.to_owned(), json!(text))).collect();
    Ok(serde_json::Value::Object(object).to_string())
}

/// Splits images into rows that earlier processes finished and images that are left. A file that changed since, or could not be read
/// then, is left; positions follow the listing of now.
pub fn left(old: Vec<Row>, items: Vec<Item>) -> (Vec<Row>, Vec<Item>) {
    let mut old: HashMap<String, Row> = old.into_iter().map(|row| (row.path().to_owned(), row)).collect();
    let (mut done, mut left) = (Vec::new(), Vec::new());
    for item in items {
        let row = old.remove(item.path.to_string_lossy().as_ref());
        let same = |row: &Row| row.sha256.is_some() && image_bytes(&item.path).ok().map(|b| assess::hash(&b)) == row.sha256;
        match row.filter(same) {
            Some(row) => done.push(Row { index: Some(item.index as i64), ..row }),
            None => left.push(item),
        }
    }
    (done, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_and_unread_files_are_done_again() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        for name in ["a", "b", "d"] {
            std::fs::write(path(name), name).unwrap();
        }
        let row = |name: &str, sha: Option<&str>| Row {
            index: Some(7),
            path: Some(path(name).to_string_lossy().into_owned()),
            sha256: sha.map(|s| assess::hash(s.as_bytes())),
            ..Row::default()
        };
        let old = vec![row("a", Some("a")), row("b", Some("another content")), row("c", None), row("gone", Some("gone"))];
        let items = ["a", "b", "c", "d"].iter().enumerate().map(|(index, n)| Item { index, path: path(n), label: None }).collect();
        let (done, left) = left(old, items);
        assert_eq!(done.iter().map(|r| (r.path().to_owned(), r.index)).collect::<Vec<_>>(), [(path("a").display().to_string(), Some(0))]);
        assert_eq!(left.iter().map(|i| i.path.clone()).collect::<Vec<_>>(), [path("b"), path("c"), path("d")]);
    }
}
