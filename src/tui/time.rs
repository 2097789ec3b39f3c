//! Moving in time: the cursor over the trace, pausing, cancelling.

use std::sync::Arc;

use super::{
    effect::Effect,
    keymap::Binding,
    model::{Cursor, Model},
    msg::Action,
    notice::Severity,
    psr, run,
    screen::triage,
};
use crate::engine::trace::Trace;

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// One frame back.
    Back,
    /// One frame on.
    Forward,
    /// Ten frames back.
    BackTen,
    /// Ten frames on.
    ForwardTen,
    /// To the first step.
    First,
    /// To the newest step, following it.
    Live,
    /// To the previous change of class.
    PreviousChange,
    /// To the next change of class.
    NextChange,
    /// One step back, with or without a picture.
    ScalarBack,
    /// One step on, with or without a picture.
    ScalarForward,
    /// Set a bookmark, or take it away.
    Mark,
    /// To the next bookmark.
    NextMark,
    /// Pause or resume.
    Pause,
    /// Stop the attack.
    Cancel,
}

const fn key(action: Msg, name: &'static str, help: &'static str, hint: &'static str, keys: &'static str) -> Binding {
    Binding { action: Action::Time(action), name, help, hint, keys }
}

/// Keys.
pub const KEYS: &[Binding] = &[
    key(Msg::Back, "step-back", "One recorded picture back; a running attack goes on.", "step", "<left> h"),
    key(Msg::Forward, "step-forward", "One recorded picture on.", "step", "<right> l"),
    key(Msg::Pause, "pause", "Pauses the attack, or lets it go on; starts the first one.", "run/pause", "<space>"),
    key(Msg::BackTen, "back-ten", "Ten pictures back.", "", "H <S-left>"),
    key(Msg::ForwardTen, "forward-ten", "Ten pictures on.", "", "L <S-right>"),
    key(Msg::First, "first", "To the starting image.", "", "<home>"),
    key(Msg::Live, "live", "To the newest step, and follow it while the attack runs.", "", "<end>"),
    key(Msg::PreviousChange, "previous-change", "To the previous change of the predicted class.", "class change", "["),
    key(Msg::NextChange, "next-change", "To the next change of the predicted class.", "class change", "]"),
    key(Msg::Mark, "mark", "Sets a bookmark on this step, or takes it away.", "", "m"),
    key(Msg::NextMark, "next-mark", "To the next bookmark, round and round.", "", "'"),
    key(Msg::ScalarBack, "scalar-back", "One step back even where only numbers were kept.", "", ","),
    key(Msg::ScalarForward, "scalar-forward", "One step on even where only numbers were kept.", "", "."),
    key(
        Msg::Cancel,
        "cancel",
        "Leaves the zoom; stops an exact map; stops the attack, keeping what was recorded; then goes back to the folder that the image came from.",
        "stop",
        "<esc>",
    ),
];

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    match msg {
        Msg::Pause => return pause(model),
        Msg::Cancel => return cancel(model),
        _ => {}
    }
    let (Some(trace), Some(position), Some(newest)) = (model.trace().cloned(), model.position(), model.newest()) else {
        model.tell(Severity::Info, "nothing to step through yet: a starts an attack");
        return Vec::new();
    };
    model.learned.insert("step");
    model.cursor = match msg {
        Msg::Back => by_frames(&trace, position, newest, -1),
        Msg::Forward => by_frames(&trace, position, newest, 1),
        Msg::BackTen => by_frames(&trace, position, newest, -10),
        Msg::ForwardTen => by_frames(&trace, position, newest, 10),
        Msg::First => Cursor::At(0),
        Msg::Live => Cursor::Live,
        Msg::PreviousChange => Cursor::At(changes(&trace, newest).into_iter().rfind(|&i| i < position).unwrap_or(0)),
        Msg::NextChange => Cursor::At(changes(&trace, newest).into_iter().find(|&i| i > position).unwrap_or(newest)),
        Msg::ScalarBack => Cursor::At(position.saturating_sub(1)),
        Msg::ScalarForward => Cursor::At((position + 1).min(newest)),
        Msg::Mark => mark(model, position),
        Msg::NextMark => next_mark(model, position),
        Msg::Pause | Msg::Cancel => model.cursor,
    };
    Vec::new()
}

fn mark(model: &mut Model, position: usize) -> Cursor {
    let set = model.marks.insert(position);
    if !set {
        model.marks.remove(&position);
    }
    let text =
        if set { format!("bookmark on step {position}; ' returns to it") } else { format!("bookmark on step {position} taken away") };
    model.tell(Severity::Info, text);
    Cursor::At(position)
}

fn next_mark(model: &mut Model, position: usize) -> Cursor {
    let next = model.marks.range(position + 1..).next().or(model.marks.first()).copied();
    match next {
        Some(step) => Cursor::At(step),
        None => {
            model.tell(Severity::Info, "no bookmarks yet: m sets one on this step");
            model.cursor
        }
    }
}

/// Steps at which the predicted class differs from the step before.
pub fn changes(trace: &Arc<Trace>, newest: usize) -> Vec<usize> {
    trace.with_steps(|s| {
        let s = &s[..s.len().min(newest + 1)];
        (1..s.len()).filter(|&i| s[i].predicted != s[i - 1].predicted).collect()
    })
}

fn by_frames(trace: &Arc<Trace>, position: usize, newest: usize, by: isize) -> Cursor {
    let frames: Vec<usize> = trace.frames().into_iter().filter(|&i| i <= newest).collect();
    let last = frames.len().saturating_sub(1);
    let index = if by < 0 {
        frames.partition_point(|&f| f < position).saturating_sub(by.unsigned_abs())
    } else {
        (frames.partition_point(|&f| f <= position) + by.unsigned_abs()).saturating_sub(1).min(last)
    };
    Cursor::At(frames.get(index).copied().unwrap_or(position))
}

fn pause(model: &mut Model) -> Vec<Effect> {
    let without = model.without_model();
    let Some(run) = model.run.as_mut() else { return run::start(model, model.request.clone()) };
    if run.ending.is_some() {
        let over = || "this attack is over: r runs it again, a changes its parameters".into();
        model.tell(Severity::Info, without.unwrap_or_else(over));
        return Vec::new();
    }
    run.paused = !run.paused;
    vec![Effect::Pause(run.control.clone(), run.paused)]
}

fn cancel(model: &mut Model) -> Vec<Effect> {
    if model.attack.zoom || model.cam.zoom {
        model.attack.zoom = false;
        model.cam.zoom = false;
        return Vec::new();
    }
    if let Some(effect) = psr::stop(model) {
        model.tell(Severity::Info, "map stopped; the cells so far are kept");
        return vec![effect];
    }
    match model.run.as_mut() {
        Some(run) if run.running() => {
            run.paused = false;
            vec![Effect::Stop(run.control.clone())]
        }
        _ => {
            triage::back(model);
            Vec::new()
        }
    }
}
