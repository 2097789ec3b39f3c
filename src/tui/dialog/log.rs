//! The log: what the program wrote about its work, filtered by level and by text, followed while it grows.

use ratatui::{buffer::Buffer, layout::Rect};
use tracing::Level;
use tui_input::Input;

use super::{
    Dialog,
    list::{PAGE, input_request},
};
use crate::tui::{
    effect::Effect,
    keymap::{Binding, Context, Key},
    logging::Line,
    model::Model,
    msg::Action,
    text,
    theme::Role,
    view::draw,
    widget::table_state::Go,
};

/// The open log.
#[derive(Debug, Clone)]
pub struct State {
    level: usize,
    query: Input,
    /// Number of the lowest line on the screen; the newest when it follows.
    at: Option<u64>,
}

/// Levels, the coarsest first, and their words.
const LEVELS: [(Level, &str); 5] =
    [(Level::ERROR, "errors"), (Level::WARN, "warnings"), (Level::INFO, "info"), (Level::DEBUG, "debug"), (Level::TRACE, "all")];

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// Scroll.
    Go(Go),
    /// The newest line, following it.
    Follow,
    /// Finer: more lines.
    Finer,
    /// Coarser: fewer lines.
    Coarser,
    /// Leave.
    Close,
}

const fn key(action: Msg, name: &'static str, help: &'static str, hint: &'static str, keys: &'static str) -> Binding {
    Binding { action: Action::Log(action), name, help, hint, keys }
}

/// Keys; everything else is typed into the search.
pub const KEYS: &[Binding] = &[
    key(Msg::Go(Go::Rows(-1)), "log-up", "One line up.", "scroll", "<up> <C-p>"),
    key(Msg::Go(Go::Rows(1)), "log-down", "One line down.", "scroll", "<down> <C-n>"),
    key(Msg::Go(Go::Pages(-1)), "log-page-up", "Ten lines up.", "", "<pgup>"),
    key(Msg::Go(Go::Pages(1)), "log-page-down", "Ten lines down.", "", "<pgdn>"),
    key(Msg::Finer, "log-finer", "Shows lines of one more level.", "level", "<tab>"),
    key(Msg::Coarser, "log-coarser", "Shows one level less.", "level", "<backtab>"),
    key(Msg::Go(Go::First), "log-first", "The oldest line.", "", "<home>"),
    key(Msg::Follow, "log-follow", "The newest line, following the log as it grows.", "follow", "<end>"),
    key(Msg::Close, "log-close", "Closes the log.", "back", "<esc> <enter>"),
];

impl State {
    /// Everything but the finest lines; follows.
    pub fn new() -> Self {
        Self { level: 3, query: Input::default(), at: None }
    }

    /// A key that is not in the table: typed into the search.
    pub fn key(&mut self, key: Key) {
        if let Some(request) = input_request(key) {
            self.query.handle(request);
        }
    }

    /// Whether the newest line is shown as it comes.
    pub fn follows(&self) -> bool {
        self.at.is_none()
    }

    /// Lines that pass level and search, oldest first.
    pub fn lines(&self, model: &Model) -> Vec<Line> {
        let wanted = self.query.value().trim().to_lowercase();
        let fits = |l: &Line| {
            l.level <= LEVELS[self.level].0 && (wanted.is_empty() || l.text.to_lowercase().contains(&wanted) || l.target.contains(&wanted))
        };
        model.log.lines().into_iter().filter(fits).collect()
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    let Some(Dialog::Log(state)) = model.dialogs.last() else { return Vec::new() };
    let lines = state.lines(model);
    let last = lines.len().saturating_sub(1);
    let now = state.at.map_or(last, |at| lines.partition_point(|l| l.number < at).min(last));
    let at = |index: usize| if index >= last { None } else { lines.get(index).map(|l| l.number) };
    let Some(Dialog::Log(state)) = model.dialogs.last_mut() else { return Vec::new() };
    match msg {
        Msg::Go(to) => state.at = at(to.to(now, lines.len(), PAGE)),
        Msg::Follow => state.at = None,
        Msg::Finer => state.level = (state.level + 1).min(LEVELS.len() - 1),
        Msg::Coarser => state.level = state.level.saturating_sub(1),
        Msg::Close => {
            model.dialogs.pop();
        }
    }
    Vec::new()
}

fn role(level: Level) -> (&'static str, Role) {
    match level {
        Level::ERROR => ("error", Role::Error),
        Level::WARN => ("warn ", Role::Warn),
        Level::INFO => ("info ", Role::Accent),
        _ => (if level == Level::DEBUG { "debug" } else { "trace" }, Role::Dim),
    }
}

/// Draws it.
pub fn view(model: &Model, state: &State, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let size = (area.width.saturating_sub(4).min(140), area.height.saturating_sub(2));
    let inner = super::framed(model, "log", size, area, buf);
    let (x, width) = (inner.x + 1, inner.width.saturating_sub(2));
    let lines = state.lines(model);
    let last = lines.len().saturating_sub(1);
    let lowest = state.at.map_or(last, |at| lines.partition_point(|l| l.number < at).min(last));
    let follow = if state.follows() { "following" } else { "End follows" };
    let count = if lines.is_empty() { "none".to_owned() } else { format!("{} of {}", lowest + 1, lines.len()) };
    let status = format!("{}  {count}  {follow} ", LEVELS[state.level].1);
    let after = draw::text(buf, x, inner.y, width, theme.glyph("› ", "> "), theme.style(Role::Key));
    let room = inner.right().saturating_sub(after + text::width(&status) as u16);
    draw::input(buf, Rect { x: after, width: room, height: 1.min(inner.height), y: inner.y }, &state.query, theme.style(Role::Text), true);
    draw::right(buf, Rect { height: 1.min(inner.height), ..inner }, &status, theme.style(Role::Dim));
    let rows = Rect { x, y: inner.y + 2, width, height: inner.height.saturating_sub(4) };
    if lines.is_empty() {
        draw::text(buf, x, rows.y, width, "no lines of this level with this text", theme.style(Role::Dim));
    }
    // From the lowest line upwards, each wrapped.
    let mut bottom = rows.bottom();
    for line in lines.iter().take(lowest + 1).rev() {
        let (word, role) = role(line.level);
        let lead = format!("{:>8.2}s {word} ", line.at.as_secs_f32());
        let indent = text::width(&lead);
        let parts = text::wrap(&line.text, usize::from(width).saturating_sub(indent));
        let shown = (parts.len() as u16).min(bottom.saturating_sub(rows.y));
        let top = bottom - shown;
        for (i, part) in parts.iter().take(usize::from(shown)).enumerate() {
            let y = top + i as u16;
            if i == 0 {
                draw::text(buf, x, y, width, &lead, theme.style(role));
            }
            let from = x + indent as u16;
            draw::text(buf, from, y, inner.right().saturating_sub(from), part, theme.style(Role::Text));
        }
        bottom = top;
        if bottom <= rows.y {
            break;
        }
    }
    let hints = model.keymap.hints(&[Context::Log], theme.ascii);
    draw::hints(theme, &hints, Rect { x, y: inner.bottom().saturating_sub(1), width, height: 1.min(inner.height) }, buf);
}
