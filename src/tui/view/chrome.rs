//! What surrounds every screen: header, tabs with progress, the line of time, hints and messages.

use std::{path::Path, time::Duration};

use ratatui::{buffer::Buffer, layout::Rect};

use super::draw;
use crate::{
    core::explain::psr::Mode,
    engine::{event::Ending, sample},
    tui::{
        dialog::help,
        model::{Busy, Cursor, Model, Run},
        notice::{Notice, Severity},
        psr,
        screen::{SCREENS, Screen},
        text,
        theme::Role,
        widget::timeline::Timeline,
    },
};

/// What is open on the left, the run on the right.
pub fn header(model: &Model, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let x = draw::text(buf, area.x + 1, area.y, area.width, "psescope", theme.style(Role::Focus)) + 2;
    let room = usize::from((area.right() - 1).saturating_sub(x));
    let (lefts, rights) = (open_lines(model), run_lines(model));
    // The longest pair that fits; the provider is never left out.
    let fits = |(l, r): &(usize, usize)| text::width(&lefts[*l]) + text::width(&rights[*r]) + 2 <= room;
    let pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 1), (2, 2)];
    let (l, r) = pairs.into_iter().find(fits).unwrap_or((2, 2));
    let right = text::truncate(&rights[r], room, theme.ellipsis());
    let left = text::truncate(&lefts[l], room.saturating_sub(text::width(&right) + 2), theme.ellipsis());
    draw::text(buf, x, area.y, room as u16, &left, theme.style(Role::Text));
    draw::right(buf, Rect { width: area.width.saturating_sub(1), ..area }, &right, theme.style(Role::Accent));
}

/// What is open, from all to the least.
fn open_lines(model: &Model) -> [String; 3] {
    let dot = model.theme.glyph(" · ", " | ");
    let (image, name) = (sample::title(&model.image_path), title(&model.model_path));
    // Both bundled: said once.
    let image = if name.ends_with(SAMPLE) { image.trim_end_matches(SAMPLE).to_owned() } else { image };
    if model.engine.is_empty() {
        return [format!("{name}{dot}{image}"), format!("{name}{dot}{image}"), name];
    }
    let provider = &model.provider;
    [
        format!("{name}{dot}{image}{dot}{provider} ({})", model.engine),
        format!("{name}{dot}{image}{dot}{provider}"),
        format!("{provider}{dot}{name}"),
    ]
}

const SAMPLE: &str = " (sample)";

/// A model's name for people: its file without `.onnx`.
fn title(path: &Path) -> String {
    sample::title(path).replacen(".onnx", "", 1)
}

/// The run, from all to the least.
fn run_lines(model: &Model) -> [String; 3] {
    let dot = model.theme.glyph(" · ", " | ");
    let Some(run) = &model.run else { return Default::default() };
    let step = model.position().map(|position| format!("step {position}/{}", total(run)));
    let state = match run.trace.as_ref().and_then(|t| t.flipped_at()) {
        Some(at) => Some(format!("flipped at {at}")),
        None if run.ending.is_some() && run.trace.is_some() => Some("held".into()),
        None => None,
    };
    let join = |name: Option<String>| [name, step.clone(), state.clone()].into_iter().flatten().collect::<Vec<_>>().join(dot);
    [join(Some(attack_name(run))), join(Some(run.request.attack.clone())), join(None)]
}

fn attack_name(run: &Run) -> String {
    let eps = run.request.params.iter().find(|(n, _)| n == "eps").map(|(_, v)| format!(" eps {v}")).unwrap_or_default();
    format!("{}{eps}", run.request.attack)
}

/// Number of the last step: what is expected while running, what there is after.
fn total(run: &Run) -> usize {
    let newest = run.newest.unwrap_or(0);
    if run.ending.is_some() { newest } else { run.total.map_or(newest, |t| t.saturating_sub(1).max(newest)) }
}

/// A tab: in full where there is width for all of them; else all but the open one are cut short, or only their keys are left.
fn tab_text(model: &Model, screen: Screen) -> String {
    let (open, wide) = (screen == model.screen, model.size.0);
    let title = match screen.title() {
        title if open || wide >= 110 => format!(" {title}"),
        title if wide >= 76 => format!(" {}", title.get(..3).unwrap_or(title)),
        _ => String::new(),
    };
    if open && model.theme.ascii { format!("[{}{title}]", screen.key()) } else { format!(" {}{title} ", screen.key()) }
}

/// The tab at a column.
pub fn tab_at(model: &Model, x: u16) -> Option<Screen> {
    let mut left = 1;
    SCREENS.into_iter().find(|s| {
        let right = left + text::width(&tab_text(model, *s)) as u16;
        let hit = (left..right).contains(&x);
        left = right;
        hit
    })
}

/// Tabs on the left, progress on the right.
pub fn tabs(model: &Model, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let mut x = area.x + 1;
    for screen in SCREENS {
        let style = theme.style(if screen == model.screen { Role::Tab } else { Role::Dim });
        x = draw::text(buf, x, area.y, area.right().saturating_sub(x), &tab_text(model, screen), style);
    }
    let (line, role) = progress(model);
    let room = area.right().saturating_sub(x + 2);
    let fits = text::width(&line) <= usize::from(room);
    let short = |line: &str| line.split_once(": ").or(line.split_once("  ")).map(|(short, _)| short.to_owned());
    let line = if fits { line } else { short(&line).unwrap_or(line) };
    let line = text::truncate(&line, usize::from(room), theme.ellipsis());
    draw::right(buf, Rect { width: area.width.saturating_sub(1), ..area }, &line, theme.style(role));
}

fn spinner(model: &Model) -> &'static str {
    const DOTS: [&str; 4] = ["◐", "◓", "◑", "◒"];
    const BARS: [&str; 4] = ["|", "/", "-", "\\"];
    let tick = (model.now.as_millis() / 120) as usize;
    if model.theme.ascii { BARS[tick % BARS.len()] } else { DOTS[tick % DOTS.len()] }
}

fn progress(model: &Model) -> (String, Role) {
    if let Some(run) = model.run.as_ref().filter(|r| r.running()) {
        return run_progress(model, run);
    }
    if let Some(pending) = model.psr.pending() {
        return (map_progress(model, pending), Role::Accent);
    }
    if let Some(busy) = &model.busy {
        return (format!("{} {}", spinner(model), busy_line(busy, model.now)), Role::Accent);
    }
    if model.network.waiting() {
        return (format!("{} layers and units", spinner(model)), Role::Accent);
    }
    match model.run.as_ref().and_then(|r| r.ending.as_ref()) {
        Some(Ending::Done { .. }) if !model.learned.contains("step") => {
            let line = if model.theme.ascii { "Left/Right step, 2 and 3 explain" } else { "←→ step, 2 and 3 explain it" };
            (format!("done: {line}"), Role::Good)
        }
        Some(Ending::Done { success: true }) => (model.theme.glyph("✓ done", "done").into(), Role::Good),
        Some(Ending::Done { success: false }) => ("done, goal not reached".into(), Role::Warn),
        Some(Ending::Stopped) => ("stopped".into(), Role::Warn),
        Some(Ending::Failed(_)) => ("failed".into(), Role::Error),
        None => (String::new(), Role::Dim),
    }
}

/// What is being done, how far it is, how fast, and how long it will still take; without parts, how long it has taken.
pub fn busy_line(busy: &Busy, now: Duration) -> String {
    let since = now.saturating_sub(busy.since).as_secs_f32();
    let Some((done, all)) = busy.parts else {
        return if since > 1.0 { format!("{}  {}", busy.what, text::seconds(since)) } else { busy.what.clone() };
    };
    let mut line = format!("{}  {done}/{all}", busy.what);
    if done > 0 && since > 0.3 {
        let rate = done as f32 / since;
        line.push_str(&format!("  {}/s  {} left", text::number(rate), text::seconds(all.saturating_sub(done) as f32 / rate)));
    }
    line
}

fn run_progress(model: &Model, run: &Run) -> (String, Role) {
    if run.paused {
        return (model.theme.glyph("‖ paused, Space goes on", "paused, Space goes on").into(), Role::Warn);
    }
    let Some(newest) = run.newest else { return (format!("{} starting", spinner(model)), Role::Accent) };
    let seconds = run.trace.as_ref().and_then(|t| t.step(newest)).map_or(0.0, |r| r.seconds);
    let mut line = format!("{} step {newest} of {}", spinner(model), total(run));
    if newest > 0 && seconds > 0.0 {
        let rate = newest as f32 / seconds;
        let left = total(run).saturating_sub(newest) as f32 / rate;
        line.push_str(&format!("  {}/s  {} left", text::number(rate), text::seconds(left)));
    }
    (line, Role::Accent)
}

fn map_progress(model: &Model, pending: &psr::Pending) -> String {
    let name = match pending.key.mode {
        Mode::Exact => "exact map",
        Mode::Linear => "linear map",
        Mode::Path => "path map",
    };
    let partial = psr::shown(model).filter(|s| !s.done && s.map.settings.mode == pending.key.mode);
    let Some(shown) = partial else { return format!("{} {name}", spinner(model)) };
    let guessed = shown.estimated.iter().filter(|g| **g).count();
    let (known, all) = (shown.map.cells.iter().flatten().count() - guessed, shown.map.cells.len());
    let elapsed = model.now.saturating_sub(pending.since).as_secs_f32();
    let rate = known as f32 / elapsed.max(1e-3);
    let left = if known > 0 { format!("  {} left", text::seconds((all - known) as f32 / rate)) } else { String::new() };
    format!("{} {name} {known}/{all}  {}/s{left}", spinner(model), text::number(rate))
}

/// The line of time, or what to do first.
pub fn timeline(model: &Model, area: Rect, buf: &mut Buffer) {
    let area = Rect { x: area.x + 1, width: area.width.saturating_sub(2), ..area };
    let (Some(run), Some(position)) = (&model.run, model.position()) else {
        if model.opened.is_some() && model.run.is_none() {
            let words = match model.screen {
                Screen::Triage => [("Enter", " opens the image with its run, "), ("c", " compares with a second model")],
                _ => [("Space", " starts the default attack, "), ("a", " chooses one")],
            };
            let mut x = area.x;
            for (key, what) in words {
                x = draw::text(buf, x, area.y, area.right() - x, key, model.theme.style(Role::Key));
                x = draw::text(buf, x, area.y, area.right() - x, what, model.theme.style(Role::Dim));
            }
        }
        return;
    };
    if let Some(line) = line_of_time(model, run, position) {
        line.draw(&model.theme, area, buf);
    }
}

fn line_of_time<'a>(model: &'a Model, run: &'a Run, position: usize) -> Option<Timeline<'a>> {
    let trace = run.trace.as_ref()?;
    let newest = run.newest.unwrap_or(0);
    let best = run.best.filter(|_| run.ending.is_some());
    let live = run.running() && model.cursor == Cursor::Live;
    Some(Timeline { trace, position, newest, total: total(run), best, marks: &model.marks, live })
}

/// The step at a column of the line of time.
pub fn step_at(model: &Model, area: Rect, x: u16) -> Option<usize> {
    let area = Rect { x: area.x + 1, width: area.width.saturating_sub(2), ..area };
    line_of_time(model, model.run.as_ref()?, model.position()?)?.step_at(&model.theme, area, x)
}

/// Before anything is open.
pub fn opening(model: &Model, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let lines = match &model.open_error {
        Some(why) => vec![(why.clone(), theme.style(Role::Error)), (String::from("R tries again, q leaves"), theme.style(Role::Dim))],
        None if model.busy.is_none() => vec![(String::from("nothing is open; q leaves"), theme.style(Role::Dim))],
        None => vec![
            (format!("{} opening {}", spinner(model), title(&model.model_path)), theme.style(Role::Text)),
            (String::from("building the gradient graph and starting the engine"), theme.style(Role::Dim)),
        ],
    };
    draw::centred(buf, area, &lines);
}

/// Hints that make sense in the present state, with words that fit it.
fn present(model: &Model) -> Vec<(String, &'static str)> {
    let recorded = model.trace().is_some_and(|t| !t.is_empty());
    let recording = model.without_model().is_some();
    let word = |word: &'static str| match (word, &model.run) {
        ("open model", _) => recording.then_some(word),
        ("attack" | "again" | "target" | "exact map" | "method" | "layer", _) if recording => None,
        ("export", _) => (recorded && !model.running()).then_some(word),
        // While it runs, what can be done about that comes first.
        ("again" | "target" | "pictures" | "class change" | "grid" | "exact map", _) if model.running() => None,
        ("run/pause", None) => Some("start"),
        ("run/pause", Some(run)) if run.paused => Some("go on"),
        ("run/pause", Some(run)) if run.running() => Some("pause"),
        ("run/pause", Some(_)) => None,
        ("sort" | "rows" | "mark" | "show" | "inspect" | "filter", _) if model.screen == Screen::Triage => {
            (!model.triage.rows.is_empty()).then_some(word)
        }
        ("pause", _) if model.screen == Screen::Triage && model.triage.paused => Some("go on"),
        ("pause", _) if model.screen == Screen::Triage => model.triage.running().then_some(word),
        ("stop", _) => (model.running() || model.psr.pending().is_some_and(|p| p.key.mode == Mode::Exact)).then_some(word),
        ("step" | "class change" | "grid" | "exact map" | "cells" | "sort" | "pictures", _) => recorded.then_some(word),
        ("again", None) => None,
        _ => Some(word),
    };
    let hints = model.keymap.hints(&model.contexts(), model.theme.ascii);
    hints.into_iter().filter_map(|(keys, w)| Some((keys, word(w)?))).collect()
}

/// Hints of what can be done now; a message takes their place while it is fresh.
pub fn footer(model: &Model, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let inner = Rect { x: area.x + 1, width: area.width.saturating_sub(2), ..area };
    // Why nothing is open is said in the middle of the screen already.
    let said = |n: &&Notice| model.opened.is_none() && model.open_error.as_ref() == Some(&n.text);
    if let Some(notice) = model.notices.shown().filter(|n| !said(n)) {
        let (word, role) = help::severity(notice.severity);
        let lead = if notice.severity == Severity::Info { String::new() } else { format!("{word}: ") };
        let lines = text::wrap(&format!("{lead}{}", notice.text), usize::from(inner.width));
        let rows = (lines.len() as u16).min(4);
        let over = Rect { y: area.bottom() - rows, height: rows, ..area };
        draw::clear(over, buf);
        for (i, line) in lines.iter().take(usize::from(rows)).enumerate() {
            draw::text(buf, inner.x, over.y + i as u16, inner.width, line, theme.style(role));
        }
        return;
    }
    if !model.dialogs.is_empty() {
        return;
    }
    let (last, first): (Vec<_>, Vec<_>) = present(model).into_iter().partition(|(_, w)| matches!(*w, "help" | "quit"));
    let reserved: u16 = last.iter().map(|(k, w)| (text::width(k) + text::width(w) + 3) as u16).sum();
    let x = draw::hints(theme, &first, Rect { width: inner.width.saturating_sub(reserved), ..inner }, buf);
    draw::hints(theme, &last, Rect { x, width: inner.right().saturating_sub(x), ..inner }, buf);
}
