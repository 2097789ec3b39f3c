//! Effects that read or write files for dialogs, each on a thread of its own, so that a slow disk never stops the interface.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use crossbeam_channel::Sender;

use super::{effect::Effect, msg::Msg, theme::custom};
use crate::engine::{browse, recorded::Recorded, remember};

/// Carries out an effect; what it is answered with goes to `tell`. Gives back an effect that is not of this kind.
pub fn perform(effect: Effect, themes: Option<&Path>, tell: &Sender<Msg>) -> io::Result<Option<Effect>> {
    match effect {
        Effect::List(folder) => answer(tell, move || {
            let found = browse::list(&folder).map_err(|e| e.to_string());
            Msg::Listed(folder, found)
        })?,
        Effect::Find(text, kind, purpose) => {
            answer(tell, move || Msg::Found(purpose, browse::find(&text, kind).map_err(|e| e.to_string())))?
        }
        Effect::Load(path) => answer(tell, move || {
            let read = catch_unwind(AssertUnwindSafe(|| Recorded::open(&path, None).map(Arc::new).map_err(|e| e.to_string())));
            Msg::Loaded(read.unwrap_or_else(|_| Err(format!("an internal error ended the reading of {}", path.display()))))
        })?,
        Effect::Themes => {
            let folder: Option<PathBuf> = themes.map(Path::to_owned);
            answer(tell, move || Msg::Themes(all_themes(folder.as_deref())))?;
        }
        Effect::Remember(opened) => answer(tell, move || Msg::Recent(remember::add(&opened, &[]).recent))?,
        other => return Ok(Some(other)),
    }
    Ok(None)
}

/// Every theme, ready for the model.
pub fn all_themes(folder: Option<&Path>) -> super::model::Themes {
    custom::all(folder).into_iter().map(|(name, look)| (name, look.map(Arc::new))).collect()
}

fn answer(tell: &Sender<Msg>, work: impl FnOnce() -> Msg + Send + 'static) -> io::Result<()> {
    let tell = tell.clone();
    thread::Builder::new().name("files".into()).spawn(move || drop(tell.send(work())))?;
    Ok(())
}
