//! What is kept of the run on the screen when it is saved or reported, and how a recorded run comes onto the screen.

use std::sync::Arc;

use super::{
    model::{Cursor, Model, Replay, Run},
    psr,
};
use crate::engine::{
    command::{AttackRequest, RunId, Target},
    control::Control,
    event::{Ending, Opened},
    keep,
    recorded::Recorded,
    trace::{Trace, file::RunMeta, maps::Maps},
};

/// The run with its bookmarks and the explanations computed so far.
pub fn kept(model: &Model) -> Option<(RunMeta, Maps, Arc<Trace>)> {
    let (opened, run) = (model.opened.as_ref()?, model.run.as_ref()?);
    let trace = run.trace.clone()?;
    let mut meta = match &model.replay {
        Some(replay) if replay.run == run.id => replay.recorded.run.meta.clone(),
        _ => keep::meta(opened.as_ref().into(), &run.request, &trace),
    };
    meta.marks = model.marks.iter().copied().filter(|&m| m < meta.steps.len()).collect();
    let maps = Maps { psr: model.psr.kept(run.id), cams: model.cam.kept(run.id) };
    Some((meta, maps, trace))
}

/// A recorded run is shown.
pub fn viewing(model: &mut Model, id: RunId, recorded: Arc<Recorded>) {
    let meta = &recorded.run.meta;
    let target = meta.target.map_or(Target::Untargeted, Target::Class);
    let request = AttackRequest {
        attack: meta.attack.clone(),
        params: meta.params.clone(),
        target,
        label: Some(meta.label),
        seed: meta.seed,
        within: meta.within.clone(),
    };
    let newest = meta.steps.len().checked_sub(1);
    model.request = request.clone();
    model.last_run = model.last_run.max(id.0);
    model.saved = Some(id);
    model.marks = meta.marks.iter().copied().collect();
    model.cursor = meta.best.map_or(Cursor::Live, Cursor::At);
    model.run = Some(Run {
        id,
        request,
        control: Control::default(),
        label: meta.label,
        target: meta.target,
        trace: Some(Arc::clone(&recorded.run.trace)),
        newest,
        total: newest.map(|n| n + 1),
        paused: false,
        ending: Some(Ending::Done { success: meta.success }),
        best: meta.best,
    });
    model.psr.restore(id, &recorded.run.maps.psr);
    model.cam.restore(id, &recorded.run.maps.cams);
    model.replay = Some(Replay { run: id, recorded, open: false });
}

/// The run that a triage kept of the image just opened is shown; the next attack is the one of the folder.
pub fn of_folder(model: &mut Model, id: RunId, recorded: Arc<Recorded>) {
    let next = model.triage.request.clone().unwrap_or_else(|| model.request.clone());
    viewing(model, id, recorded);
    model.request = next;
    if let Some(replay) = &mut model.replay {
        replay.open = true;
    }
}

/// The model of the recorded run is open: everything works from here on, the run stays.
pub fn revived(model: &mut Model, opened: Opened) {
    model.busy = None;
    (model.engine, model.provider) = (opened.engine.clone(), opened.provider.clone());
    model.model_path.clone_from(&opened.model);
    model.cam.revived(opened.has_linear_head);
    if model.psr.cell == 0 {
        let (_, h, w) = opened.image.dim();
        psr::reset(model, h.min(w));
    }
    if let Some(replay) = &mut model.replay {
        replay.open = true;
    }
    model.opened = Some(Arc::new(opened));
}
