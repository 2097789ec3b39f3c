//! The model of a recorded run, opened as it was when the run was recorded.

use std::path::Path;

use super::{args::ModelArgs, session::Session};
use crate::{
    core::error::Error,
    engine::{
        findings::logits_of,
        recorded::check_logits,
        trace::{Trace, file::RunMeta},
    },
};

/// Opens a model and checks that it is the one, with the preprocessing, that the run was recorded with.
pub fn open_model(meta: &RunMeta, trace: &Trace, path: &Path, args: &ModelArgs) -> anyhow::Result<Session> {
    let mut session = Session::open(path, args)?;
    if session.subject.sha256 != meta.model_sha256 {
        return Err(Error::Model(format!(
            "{} is not the model this run was recorded on (its contents differ); give the original file",
            path.display()
        ))
        .into());
    }
    let logits = logits_of(&mut session.network, trace.clean.view())?;
    check_logits(meta, logits.view(), &session.subject.preprocess.describe())?;
    Ok(session)
}
