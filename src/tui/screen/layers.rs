//! Screen 4: what the perturbation changes, layer by layer, and where clean and adversarial activations part.

use ratatui::{buffer::Buffer, layout::Rect};

use crate::{
    core::explain::{
        layers::{LayerChange, Settings, turning_point},
        units::Fill,
    },
    engine::inspect::{Answer, Ask, Mask, Over},
    tui::{
        effect::Effect,
        keymap::Binding,
        layout,
        model::Model,
        msg::Action,
        network::{self, Typing},
        notice::Severity,
        screen::{
            masked::{self, Panel},
            units::Applied,
        },
        text,
        theme::{Role, Theme},
        view::draw,
        widget::{
            line_chart::{LineChart, Series},
            table::{Column, Line, Table, room, spark},
            table_state::{Cycle, Go, row_at},
        },
    },
};

/// Order of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// First layer first.
    #[default]
    Network,
    /// Smallest cosine first.
    Cosine,
    /// Largest relative change first.
    Change,
    /// Most promoted units first.
    Promoted,
    /// Most suppressed units first.
    Suppressed,
}

impl Cycle for Sort {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Network, "network"),
        (Self::Cosine, "cosine"),
        (Self::Change, "relative change"),
        (Self::Promoted, "promoted"),
        (Self::Suppressed, "suppressed"),
    ];
}

impl Sort {
    fn key(self, c: &LayerChange) -> f64 {
        let share = |n: usize| -(n as f64) / c.info.units.max(1) as f64;
        match self {
            Self::Network => 0.0,
            Self::Cosine => c.cosine.unwrap_or(f64::INFINITY),
            Self::Change => -c.relative_change.unwrap_or(f64::NEG_INFINITY),
            Self::Promoted => share(c.promoted),
            Self::Suppressed => share(c.suppressed),
        }
    }
}

/// How the table is looked at.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Name of the chosen layer.
    pub selected: Option<String>,
    /// Order.
    pub sort: Sort,
    /// Turned round.
    pub reversed: bool,
    /// Text that names have to contain.
    pub filter: String,
    /// All layers, not only those that everything passes through.
    pub all: bool,
    /// Whether the cosine over the steps is wanted.
    pub over: bool,
    /// The layer that is put back to its activation on the clean image: all its units.
    pub patched: Option<Mask>,
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// Another row.
    Go(Go),
    /// The units of the layer.
    Open,
    /// Put the whole layer back to clean, or take that back.
    Patch,
    /// Next order.
    Sort,
    /// Turn the order round.
    Reverse,
    /// Type a filter.
    Filter,
    /// Forget the filter.
    Clear,
    /// All layers, or the main ones.
    All,
    /// The cosine over the steps.
    Over,
    /// Ask again.
    Again,
}

const fn key(action: Msg, name: &'static str, help: &'static str, hint: &'static str, keys: &'static str) -> Binding {
    Binding { action: Action::Layers(action), name, help, hint, keys }
}

/// Keys.
pub const KEYS: &[Binding] = &[
    key(Msg::Open, "layers-open", "Shows the units of the layer.", "units", "<enter>"),
    key(Msg::Go(Go::Rows(1)), "layers-down", "Next layer.", "layer", "j <down>"),
    key(Msg::Go(Go::Rows(-1)), "layers-up", "Previous layer.", "layer", "k <up>"),
    key(Msg::Patch, "layers-patch", "Puts the whole layer back to its activation on the clean image; again takes that back.", "patch", "P"),
    key(Msg::Over, "layers-over", "Cosine over the kept steps, or hides it.", "over time", "i"),
    key(Msg::Sort, "layers-sort", "Sorts by network order, cosine, relative change, promoted, suppressed units.", "sort", "s"),
    key(Msg::Filter, "layers-filter", "Shows layers whose name or operator contains a text.", "filter", "/"),
    key(Msg::All, "layers-all", "All layers, or those that everything passes through.", "all", "v"),
    key(Msg::Reverse, "layers-reverse", "Turns the order round.", "", "o"),
    key(Msg::Go(Go::Pages(1)), "layers-page-down", "A screenful down.", "", "<pgdn> <C-d>"),
    key(Msg::Go(Go::Pages(-1)), "layers-page-up", "A screenful up.", "", "<pgup> <C-u>"),
    key(Msg::Go(Go::First), "layers-first", "First row.", "", "g"),
    key(Msg::Go(Go::Last), "layers-last", "Last row.", "", "G"),
    key(Msg::Again, "layers-again", "Asks again for what could not be computed.", "", "c"),
    key(Msg::Clear, "layers-clear", "Forgets the filter; without one, what Esc does elsewhere.", "", "<esc>"),
];

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    match msg {
        Msg::Go(to) => go(model, to),
        Msg::Open => {
            if let Some(name) = chosen(model).map(|c| c.info.name.clone()) {
                super::units::show(model, name);
            }
        }
        Msg::Patch => patch(model),
        Msg::Sort => model.layers.sort = model.layers.sort.next(),
        Msg::Reverse => model.layers.reversed = !model.layers.reversed,
        Msg::Filter => {
            let filter = model.layers.filter.clone();
            model.network.begin(Typing::Filter, &filter);
        }
        Msg::Clear if model.layers.filter.is_empty() => return crate::tui::time::update(model, crate::tui::time::Msg::Cancel),
        Msg::Clear => model.layers.filter.clear(),
        Msg::All => model.layers.all = !model.layers.all,
        Msg::Over => model.layers.over = !model.layers.over,
        Msg::Again => model.network.retry(),
    }
    Vec::new()
}

/// What the screen asks the worker.
pub fn wanted(model: &Model) -> Vec<Ask> {
    let all = model.layers.all;
    let mut asks: Vec<Ask> = model.layers.patched.iter().cloned().map(Ask::Mask).collect();
    asks.push(Ask::Layers { all });
    if model.layers.over && !model.running() {
        asks.push(Ask::Over { all });
    }
    asks
}

/// The comparison of the step being looked at, in the order of the network.
pub fn changes(model: &Model, all: bool) -> Option<&[LayerChange]> {
    match network::answer(model, Ask::Layers { all })? {
        Answer::Layers(changes) => Some(changes),
        _ => None,
    }
}

/// Rows on the screen: number in the network, and the change.
fn visible(model: &Model) -> Vec<(usize, &LayerChange)> {
    let state = &model.layers;
    let wanted = state.filter.to_lowercase();
    let fits = |c: &LayerChange| c.info.name.to_lowercase().contains(&wanted) || c.info.op.to_lowercase().contains(&wanted);
    let mut rows: Vec<_> = changes(model, state.all).unwrap_or_default().iter().enumerate().filter(|(_, c)| fits(c)).collect();
    rows.sort_by(|a, b| state.sort.key(a.1).total_cmp(&state.sort.key(b.1)).then(a.0.cmp(&b.0)));
    if state.reversed {
        rows.reverse();
    }
    rows
}

/// Position of the chosen row: the one chosen, else the turning point, else the first.
fn position(model: &Model, rows: &[(usize, &LayerChange)]) -> usize {
    let named = rows.iter().position(|(_, c)| Some(&c.info.name) == model.layers.selected.as_ref());
    let turning = || rows.iter().position(|(i, _)| Some(*i) == turning(model));
    named.or_else(turning).unwrap_or(0)
}

fn turning(model: &Model) -> Option<usize> {
    turning_point(changes(model, model.layers.all)?, Settings::default())
}

/// The chosen layer.
pub fn chosen(model: &Model) -> Option<&LayerChange> {
    let rows = visible(model);
    rows.get(position(model, &rows)).map(|r| r.1)
}

fn go(model: &mut Model, to: Go) {
    let rows = visible(model);
    let to = to.to(position(model, &rows), rows.len(), room(board(model, layout::body(model)).table));
    model.layers.selected = rows.get(to).map(|(_, c)| c.info.name.clone());
}

/// How the units of a whole layer were chosen.
pub const WHOLE: &str = "the whole layer";

/// The patch in force, if it is this mask.
pub fn applied(model: &Model, mask: &Mask) -> Option<Applied> {
    let mask = model.layers.patched.clone().filter(|m| m == mask)?;
    Some(Applied { mask, how: WHOLE.to_owned() })
}

/// Patches the chosen layer, or takes its patch back; a patch of another layer gives way.
fn patch(model: &mut Model) {
    if let Some(why) = model.without_model() {
        return model.tell(Severity::Info, why);
    }
    let Some(info) = chosen(model).map(|c| &c.info) else {
        return model.tell(Severity::Info, "the layers are not there yet");
    };
    let mask = Mask { layer: info.name.clone(), units: (0..info.units).collect(), fill: Fill::Clean };
    model.layers.patched = (model.layers.patched.as_ref() != Some(&mask)).then_some(mask);
    model.network.retry();
}

struct Board {
    line: Rect,
    table: Rect,
    chart: Option<Rect>,
    patch: Option<Rect>,
}

/// Columns of the patch beside the chart, and of the chart that must remain.
const PATCH: (u16, u16) = (58, 50);

fn board(model: &Model, body: Rect) -> Board {
    let patched = model.layers.patched.is_some();
    let line = Rect { height: 1.min(body.height), ..body };
    let rest = Rect { y: body.y + line.height, height: body.height - line.height, ..body };
    let low = match rest.height {
        17.. => (rest.height * 3 / 10).clamp(7, 14),
        // No chart, and the verdict in plain lines.
        height if patched => 4.min(height / 2),
        _ => 0,
    };
    let table = Rect { height: rest.height - low, ..rest };
    let under = (low > 0).then_some(Rect { y: table.bottom(), height: low, ..rest });
    let Some(under) = under.filter(|_| patched) else { return Board { line, table, chart: under, patch: None } };
    if under.width < PATCH.0 + PATCH.1 || low < 7 {
        return Board { line, table, chart: None, patch: Some(under) };
    }
    let chart = Rect { width: under.width - PATCH.0 - 1, ..under };
    Board { line, table, chart: Some(chart), patch: Some(Rect { x: chart.right() + 1, width: PATCH.0, ..under }) }
}

/// A click chooses a row.
pub fn clicked(model: &mut Model, body: Rect, x: u16, y: u16) {
    let rows = visible(model);
    if let Some(at) = row_at(board(model, body).table, (x, y), position(model, &rows), rows.len()) {
        model.layers.selected = Some(rows[at].1.info.name.clone());
    }
}

const COLUMNS: &[Column] = &[
    Column { title: "units", width: 5, right: true, rank: 2 },
    Column { title: "map", width: 7, right: true, rank: 9 },
    Column { title: "prom.", width: 5, right: true, rank: 0 },
    Column { title: "supp.", width: 5, right: true, rank: 0 },
    Column { title: "same", width: 5, right: true, rank: 4 },
    Column { title: "+mass", width: 6, right: true, rank: 5 },
    Column { title: "-mass", width: 6, right: true, rank: 6 },
    Column { title: "change", width: 6, right: true, rank: 1 },
    Column { title: "L2", width: 6, right: true, rank: 8 },
    Column { title: "cosine", width: 6, right: true, rank: 0 },
    Column { title: "over steps", width: 16, right: false, rank: 3 },
    Column { title: "op", width: 12, right: false, rank: 10 },
];

/// Draws the screen.
pub fn view(model: &Model, body: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let places = board(model, body);
    let Some(all) = changes(model, model.layers.all) else {
        let what = network::lacking(model).unwrap_or_else(|| "Comparing clean and adversarial activations of every layer.".into());
        return draw::centred(buf, body, &[(what, theme.style(Role::Dim))]);
    };
    let rows = visible(model);
    summary(model, all, rows.len(), places.line, buf);
    let turning = turning(model);
    let over = over(model);
    let patched = model.layers.patched.as_ref().map(|m| m.layer.as_str());
    let row = |i: usize| Line {
        mark: mark(theme, patched == Some(&rows[i].1.info.name), turning == Some(rows[i].0)),
        ..line(rows[i], turning, theme, over, usize::from(COLUMNS[10].width))
    };
    if rows.is_empty() {
        draw::centred(buf, places.table, &[("No layer fits: Esc forgets the filter.".into(), theme.style(Role::Dim))]);
    } else {
        let position = position(model, &rows);
        // Without curves their column would only take room.
        let columns: Vec<Column> = COLUMNS.iter().map(|c| if c.title == "over steps" && over.is_none() { gone(c) } else { *c }).collect();
        Table { lead: ("layer", 14, 60), columns: &columns, count: rows.len(), position, row: &row, tall: None }.draw(
            theme,
            places.table,
            buf,
        );
    }
    if let Some(area) = places.chart {
        chart(model, all, area, buf);
    }
    if let Some((mask, area)) = model.layers.patched.as_ref().zip(places.patch) {
        let title = format!("{} put back to clean", mask.layer);
        let list = format!("All {} units have their values on the clean image. P on this layer takes that back.", mask.units.len());
        masked::draw(model, Panel { mask: Some(mask), title, list: Some(list), ..Panel::default() }, area, buf);
    }
}

/// The layer put back, the turning point, or both.
fn mark(theme: &Theme, patched: bool, turning: bool) -> &'static str {
    match (patched, turning) {
        (true, true) => theme.glyph("P◆", "PT"),
        (true, false) => "P",
        (false, true) => theme.glyph("◆", "T"),
        (false, false) => "",
    }
}

/// A column that never finds room.
fn gone(column: &Column) -> Column {
    Column { rank: u8::MAX, width: u16::MAX / 2, ..*column }
}

fn over(model: &Model) -> Option<&Over> {
    match network::answer(model, Ask::Over { all: model.layers.all }).filter(|_| model.layers.over)? {
        Answer::Over(over, _) => Some(over),
        _ => None,
    }
}

fn line((at, c): (usize, &LayerChange), turning: Option<usize>, theme: &Theme, over: Option<&Over>, columns: usize) -> Line {
    let optional = |v: Option<f64>, digits: usize| v.map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"));
    let parted = turning.is_some_and(|t| at >= t);
    let row = over.and_then(|o| o.cosines.iter().find(|(name, _)| *name == c.info.name));
    let values: Vec<Option<f32>> = row.map(|(_, v)| v.iter().map(|v| v.map(|v| v as f32)).collect()).unwrap_or_default();
    let plain = |text: String| (text, Role::Text);
    Line {
        mark: "",
        lead: c.info.name.clone(),
        cells: vec![
            plain(c.info.units.to_string()),
            (format!("{}{}{}", c.info.spatial[0], theme.glyph("×", "x"), c.info.spatial[1]), Role::Dim),
            (c.promoted.to_string(), Role::Promotion),
            (c.suppressed.to_string(), Role::Suppression),
            (c.unchanged.to_string(), Role::Dim),
            (text::number(c.promoted_mass as f32), Role::Promotion),
            (text::number(c.suppressed_mass as f32), Role::Suppression),
            plain(optional(c.relative_change, 2)),
            plain(text::number(c.l2 as f32)),
            (optional(c.cosine, 3), if parted { Role::Warn } else { Role::Text }),
            (spark(theme, &values, (0.0, 1.0), columns), Role::Accent),
            (c.info.op.clone(), Role::Dim),
        ],
    }
}

/// One line: the step, the turning point, the order and the filter.
fn summary(model: &Model, all: &[LayerChange], shown: usize, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let dot = theme.glyph(" · ", " | ");
    let threshold = Settings::default().turning;
    let turning = match turning(model).and_then(|i| all.get(i)) {
        Some(c) => {
            format!("{} parts first at {} (cosine {:.3} < {threshold})", theme.glyph("◆", "T"), c.info.name, c.cosine.unwrap_or(0.0))
        }
        None => format!("no cosine below {threshold}"),
    };
    let state = &model.layers;
    let which = if state.all { "all" } else { "main" };
    let order = format!("by {}{}", state.sort.name(), if state.reversed { " reversed" } else { "" });
    let count = if shown == all.len() { format!("{shown} {which} layers") } else { format!("{shown} of {} {which} layers", all.len()) };
    let x = typed(model, &state.filter, area, buf);
    let room = area.right().saturating_sub(x + 1);
    let full = [turning.clone(), count.clone(), order.clone()].join(dot);
    let line = if text::width(&full) <= usize::from(room) { full } else { [turning, order].join(dot) };
    draw::text(buf, x, area.y, room, &text::truncate(&line, usize::from(room), theme.ellipsis()), theme.style(Role::Accent));
}

/// The line being typed, or the filter in force; returns the column after it.
pub(super) fn typed(model: &Model, filter: &str, area: Rect, buf: &mut Buffer) -> u16 {
    let theme = &model.theme;
    let (lead, line) = match model.network.typing {
        Some(Typing::Filter) => ("/", model.network.line.as_str()),
        Some(Typing::Count) => ("mask how many, in this order: ", model.network.line.as_str()),
        Some(Typing::Concept) => ("mask the units of which concept: ", model.network.line.as_str()),
        None if !filter.is_empty() => ("/", filter),
        None => return area.x + 1,
    };
    let x = draw::text(buf, area.x + 1, area.y, area.width.saturating_sub(2), lead, theme.style(Role::Key));
    let x = draw::text(buf, x, area.y, area.right().saturating_sub(x + 1), line, theme.style(Role::Text));
    if model.network.typing.is_none() {
        return x + 2;
    }
    draw::text(buf, x, area.y, area.right().saturating_sub(x), theme.glyph("▏", "_"), theme.style(Role::Focus)) + 2
}

/// The cosine over the layers, or of the chosen layer over the steps.
fn chart(model: &Model, all: &[LayerChange], area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let threshold = Settings::default().turning as f32;
    let values = |v: Option<f64>| v.map_or(f32::NAN, |v| v as f32);
    let Some(here) = chosen(model) else { return };
    let (title, curve, cursor) = match over(model) {
        Some(over) => {
            let row = over.cosines.iter().find(|(name, _)| *name == here.info.name).map_or(&[][..], |(_, v)| v.as_slice());
            let at = model.frame().and_then(|f| over.steps.iter().rposition(|s| *s <= f.index));
            let steps = format!("steps {} to {}", over.steps.first().unwrap_or(&0), over.steps.last().unwrap_or(&0));
            (format!("cosine at {} over {steps}", here.info.name), row.iter().map(|v| values(*v)).collect::<Vec<_>>(), at)
        }
        None => {
            let at = all.iter().position(|c| c.info.name == here.info.name);
            let long = area.width >= 64;
            let title = if long { "cosine of clean and adversarial activation over the layers" } else { "cosine over the layers" };
            (title.to_owned(), all.iter().map(|c| values(c.cosine)).collect(), at)
        }
    };
    let waits = model.layers.over && over(model).is_none();
    let caption = match (waits, model.running()) {
        (true, true) => "the curve over the steps follows when the attack has ended".to_owned(),
        (true, false) => "computing the curve over the steps".to_owned(),
        _ => format!("{}: {} promoted, {} suppressed, {} unchanged", here.info.name, here.promoted, here.suppressed, here.unchanged),
    };
    let inner = draw::frame(theme, area, &title, &caption, false, buf);
    let steps = curve.len();
    let series = [
        Series { mark: "-", role: Role::Dim, dashed: true, values: vec![threshold; steps] },
        Series { mark: "#", role: Role::Accent, dashed: false, values: curve },
    ];
    LineChart { series: &series, cursor, steps }.draw(theme, inner, buf);
}
