//! Maps of the steps that will most likely be looked at next, asked for while there is nothing else to do: two steps on in the direction of
//! travel, one back (more of these where that way ends). The worker drops such a wish as soon as anything else is asked ([`Command::Ahead`]).

use std::collections::HashMap;

use super::{
    effect::Effect,
    model::Model,
    psr,
    screen::{Screen, cam},
};
use crate::engine::{
    command::{Command, RunId},
    control::Control,
};

/// Which way time goes, and what was asked for.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Run and frame looked at last.
    at: Option<(RunId, usize)>,
    /// Whether the cursor went back.
    back: bool,
    /// The wish that is not answered yet.
    wish: Option<Control>,
    /// How often each step was asked for from the place looked at now, and its screen: what fails is not tried for ever.
    tries: HashMap<(usize, Screen), u8>,
}

/// Steps that are asked for from one place.
const NEAR: usize = 3;

/// Two maps a step, and each may be overtaken once.
const TRIES: u8 = 4;

/// Called after every message, last.
pub fn follow(model: &mut Model) -> Vec<Effect> {
    let (Some(run), Some(trace)) = (model.run.as_ref().map(|r| r.id), model.trace().cloned()) else { return Vec::new() };
    let Some(here) = model.position().and_then(|at| trace.nearest_frame(at)) else { return Vec::new() };
    if model.ahead.at != Some((run, here)) {
        model.ahead.back = model.ahead.at.is_some_and(|(before, at)| before == run && at > here);
        model.ahead.at = Some((run, here));
        model.ahead.tries.clear();
    }
    if model.ahead.wish.as_ref().is_some_and(|wish| !wish.stopped()) || !idle(model) {
        return Vec::new();
    }
    model.ahead.wish = None;
    let frames = trace.frames();
    let Ok(index) = frames.binary_search(&here) else { return Vec::new() };
    let order = if model.ahead.back { [-1, -2, 1, 2] } else { [1, 2, -1, -2] };
    for step in order.into_iter().filter_map(|by| frames.get(index.checked_add_signed(by)?).copied()).take(NEAR) {
        let tries = model.ahead.tries.get(&(step, model.screen)).copied().unwrap_or(0);
        if tries >= TRIES {
            continue;
        }
        let control = Control::default();
        let wish = match model.screen {
            Screen::Cam => cam::ahead(model, step, &control),
            _ => psr::ahead(model, step, &control),
        };
        if let Some(wish) = wish {
            model.ahead.tries.insert((step, model.screen), tries + 1);
            model.ahead.wish = Some(control);
            return vec![Effect::Engine(Command::Ahead(Box::new(wish)))];
        }
    }
    Vec::new()
}

/// Whether all that the screen shows is there, and nothing runs.
fn idle(model: &Model) -> bool {
    let shown = match model.screen {
        Screen::Attack | Screen::Pixels => psr::at_rest(model),
        Screen::Cam => cam::at_rest(model),
        _ => false,
    };
    shown && !model.running() && model.busy.is_none() && model.without_model().is_none() && !model.network.waiting()
}
