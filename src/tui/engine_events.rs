//! What the worker says, taken into the model. Events of older runs are ignored.

use std::sync::Arc;

use super::{
    dialog::export,
    effect::Effect,
    kept,
    model::{Busy, Cursor, Model, Run},
    network,
    notice::Severity,
    open, psr, run,
    screen::{cam, cam_charts, closer, triage, versus},
};
use crate::engine::{
    browse::Kind,
    command::{AttackRequest, RunId},
    event::{Ending, Event, Opened},
    remember::Recent,
    trace::Trace,
};

/// Takes one event.
pub fn update(model: &mut Model, event: Event) -> Vec<Effect> {
    match event {
        Event::Progress { what, done, all } => {
            // Fewer parts than before: the same work on another picture.
            let same = |b: &&Busy| b.what == what && b.parts.is_some_and(|(before, of)| before <= done && of == all);
            let since = model.busy.as_ref().filter(same).map_or(model.now, |b| b.since);
            model.busy = Some(Busy { what, since, parts: Some((done, all)) });
        }
        Event::Busy(what) => {
            // Another try: what went wrong before is in the log.
            model.open_error = None;
            model.busy = Some(Busy { what, since: model.now, parts: None });
        }
        Event::Idle => model.busy = None,
        Event::Opened(opened) => return opened_now(model, *opened),
        Event::Failed(why) => failed(model, why),
        Event::Notice(text) => model.tell(Severity::Info, text),
        Event::Started { run, label, target, request, trace } => started(model, run, (label, target), request, trace),
        Event::Step { run, index } => {
            if let Some(current) = current(model, run) {
                current.newest = Some(current.newest.map_or(index, |n| n.max(index)));
            }
        }
        Event::Ended { run, ending, best } => return ended(model, run, ending, best),
        Event::Psr { run, step, map, done } => {
            cam_charts::arrived(model, run, &map, done);
            psr::arrived(model, run, step, map, done);
        }
        Event::Cam { at, map } => cam::arrived(model, at, map),
        Event::Faithfulness { at, map, result } => cam::believed(model, at, &map, result),
        Event::Timeline { run, cell, moments, done } => psr::timed(model, run, cell, moments, done),
        Event::Viewing { run, recorded } => {
            let path = recorded.path.clone();
            kept::viewing(model, run, recorded);
            return vec![Effect::Remember(vec![Recent { kind: Kind::Run, path }])];
        }
        Event::Kept { run, image, recorded } => return triage::kept(model, run, &image, recorded),
        Event::Revived(opened) => kept::revived(model, *opened),
        Event::Completed(findings) => return export::completed(model, findings),
        Event::Network { run, step, ask, answer } => network::arrived(model, run, step, ask, answer),
        Event::Triage(number, news) => triage::arrived(model, number, *news),
        Event::Thumbnail(path, image) => triage::pictured(model, path, image),
        Event::Runtime(engine, provider) => {
            model.tell(Severity::Info, format!("now running on {engine}, {provider}"));
            (model.engine, model.provider) = (engine, provider);
        }
    }
    Vec::new()
}

fn current(model: &mut Model, run: RunId) -> Option<&mut Run> {
    model.run.as_mut().filter(|r| r.id == run)
}

fn opened_now(model: &mut Model, opened: Opened) -> Vec<Effect> {
    model.generation += 1;
    model.busy = None;
    model.open_error = None;
    if model.image_path == opened.image_path {
        versus::keep(model);
    } else {
        model.earlier.clear();
    }
    open::moved_to(model, &opened);
    model.attack.against = None;
    model.queue.clear();
    model.run = None;
    model.cursor = Cursor::Live;
    model.marks.clear();
    model.replay = None;
    (model.engine, model.provider) = (opened.engine.clone(), opened.provider.clone());
    (model.model_path, model.image_path) = (opened.model.clone(), opened.image_path.clone());
    let (_, h, w) = opened.image.dim();
    psr::reset(model, h.min(w));
    closer::fit(model, [h, w]);
    model.cam.reset(opened.has_linear_head);
    model.network.reset();
    (model.layers, model.units, model.insight) = Default::default();
    for notice in &opened.notices {
        model.tell(Severity::Warn, notice.clone());
    }
    if let Some(why) = &opened.no_gradient {
        model.tell(Severity::Warn, format!("this model cannot be attacked: {why}"));
    }
    // A recorded run speaks of files that may be elsewhere: it is remembered as a run.
    let files = [(Kind::Image, &opened.image_path), (Kind::Model, &opened.model)];
    let recent: Vec<Recent> = files.into_iter().map(|(kind, path)| Recent { kind, path: path.clone() }).collect();
    let remember = (!opened.is_recorded()).then_some(Effect::Remember(recent));
    model.opened = Some(Arc::new(opened));
    remember.into_iter().collect()
}

fn failed(model: &mut Model, why: String) {
    model.busy = None;
    psr::failed(model);
    export::failed(model, &why);
    model.cam.failed();
    network::failed(model);
    if let Some(run) = model.run.as_mut().filter(|r| r.trace.is_none() && r.ending.is_none()) {
        run.ending = Some(Ending::Failed(why.clone()));
    }
    if model.opened.is_none() {
        model.open_error = Some(why.clone());
    }
    model.tell(Severity::Error, why);
}

fn started(model: &mut Model, run: RunId, classes: (usize, Option<usize>), request: AttackRequest, trace: Arc<Trace>) {
    if let Some(current) = current(model, run) {
        (current.label, current.target) = classes;
        current.request = request;
        current.trace = Some(trace);
    }
}

fn ended(model: &mut Model, run: RunId, ending: Ending, best: Option<usize>) -> Vec<Effect> {
    let Some(current) = current(model, run) else { return Vec::new() };
    current.ending = Some(ending.clone());
    current.best = best;
    current.paused = false;
    let newest = current.newest.unwrap_or(0);
    let total = current.total.map_or(newest, |t| t.max(newest + 1).saturating_sub(1));
    let target = current.target;
    let flipped = current.trace.as_ref().and_then(|t| t.flipped_at());
    let lost = target.and_then(|class| current.trace.as_ref()?.with_steps(|s| s.iter().rposition(|r| r.predicted == class)));
    let next = if matches!(ending, Ending::Done { .. }) { model.queue.pop_front() } else { None };
    match ending {
        Ending::Done { success } => {
            if let Some(best) = best.filter(|b| *b != newest && model.cursor == Cursor::Live) {
                model.cursor = Cursor::At(best);
            }
            let text = match (success, target, flipped) {
                (true, Some(t), _) => format!("reached {} (shown: step {})", model.short_label(t), best.unwrap_or(newest)),
                (true, None, Some(at)) => format!("the prediction flipped at step {at}"),
                (true, None, None) => "done".into(),
                (false, Some(t), _) if lost.is_some() => format!(
                    "reached {} at step {} but lost it again: step back to it, or try a smaller alpha (a)",
                    model.short_label(t),
                    lost.unwrap_or(0)
                ),
                (false, Some(t), Some(at)) => format!("left the true class at step {at}, but did not reach {}", model.short_label(t)),
                (false, ..) => "the attack ended and the prediction held: try more steps or a larger eps (a)".into(),
            };
            model.tell(if success { Severity::Info } else { Severity::Warn }, text);
        }
        Ending::Stopped => model.tell(Severity::Info, format!("stopped at step {newest} of {total}")),
        Ending::Failed(why) => model.tell(Severity::Error, why),
    }
    if next.is_none() {
        model.queue.clear();
    }
    next.map(|request| run::start(model, request)).unwrap_or_default()
}
