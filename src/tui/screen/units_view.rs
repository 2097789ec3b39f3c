//! Screen 5's drawing: the table, the maps of the chosen unit, and the prediction through the mask.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use ndarray::{Array2, s};
use ratatui::{buffer::Buffer, layout::Rect};

use super::{
    masked::{self, Panel},
    units,
};
use crate::{
    core::{
        colour::kind_sign,
        dissect::{Concept, ConceptLabels},
        explain::{
            psr,
            units::{Fill, UnitChange, UnitTable},
            upsample::bilinear,
        },
    },
    engine::event::Opened,
    tui::{
        layout,
        model::Model,
        network,
        screen::layers::typed,
        text,
        theme::{Role, Theme},
        view::{
            ViewCache, draw, picture,
            sharp::{self, Base, Ramp},
        },
        widget::{
            overlay::{self, Smooth, draw_border, draw_heat, draw_signed},
            pixel_grid::{Ink, Placed},
            table::{Column, Line, Table, room, top},
            table_state::{Cycle as _, row_at},
        },
    },
};

const COLUMNS: &[Column] = &[
    Column { title: "clean", width: 6, right: true, rank: 3 },
    Column { title: "adv.", width: 6, right: true, rank: 3 },
    Column { title: "change", width: 6, right: true, rank: 0 },
    Column { title: "sd", width: 6, right: true, rank: 2 },
    Column { title: "max x0", width: 6, right: true, rank: 8 },
    Column { title: "max x'", width: 6, right: true, rank: 8 },
    Column { title: "true", width: 6, right: true, rank: 1 },
    Column { title: "target", width: 6, right: true, rank: 1 },
    Column { title: "PSR", width: 6, right: true, rank: 7 },
    Column { title: "type", width: 7, right: false, rank: 1 },
    Column { title: "category", width: 9, right: false, rank: 5 },
    Column { title: "IoU", width: 4, right: true, rank: 4 },
];

/// Columns that need no names.
const NAMELESS: usize = 10;

struct Board {
    line: Rect,
    table: Rect,
    maps: Option<Rect>,
    mask: Rect,
}

/// Where the names come from, in whole: lines below the first one, when there is room for all of them.
fn origin(model: &Model, body: Rect) -> Vec<String> {
    let labels = network::table(model, model.units.layer.clone()).and_then(|(_, labels)| labels);
    let lines = labels.map_or_else(Vec::new, |l| text::wrap(&told(l), usize::from(body.width.saturating_sub(2))));
    // On a small terminal the rows need the room.
    if body.height >= 16 && lines.len() <= usize::from(body.height / 12) { lines } else { Vec::new() }
}

/// What to know about names.
pub fn told(labels: &ConceptLabels) -> String {
    format!("names: {}; in brackets below IoU .04", labels.origin())
}

fn board(model: &Model, body: Rect) -> Board {
    let line = Rect { height: (1 + origin(model, body).len() as u16).min(body.height), ..body };
    let rest = Rect { y: body.y + line.height, height: body.height - line.height, ..body };
    if rest.width < 76 || rest.height < 13 {
        let low = 4.min(rest.height / 2);
        let table = Rect { height: rest.height - low, ..rest };
        return Board { line, table, maps: None, mask: Rect { y: table.bottom(), height: low, ..rest } };
    }
    let side = (rest.width * 2 / 5).clamp(32, 96);
    let table = Rect { width: rest.width - side - 1, ..rest };
    let right = Rect { x: table.right() + 1, width: side, ..rest };
    // Three square pictures in a row, with a line above and two for the frame.
    let height = ((side - 2) / 3).div_ceil(2) + 3;
    let high = height.min(rest.height - 11);
    Board {
        line,
        table,
        maps: Some(Rect { height: high, ..right }),
        mask: Rect { y: right.y + high, height: right.height - high, ..right },
    }
}

/// Rows that fit into the table.
pub fn rows_shown(model: &Model) -> usize {
    room(board(model, layout::body(model)).table)
}

/// Units whose rows are on the screen.
pub fn on_screen(model: &Model) -> Vec<usize> {
    let rows = units::visible(model);
    let count = rows_shown(model);
    rows.iter().skip(top(units::position(model, &rows), rows.len(), count)).take(count).map(|u| u.unit).collect()
}

/// A click chooses a row.
pub fn clicked(model: &mut Model, body: Rect, x: u16, y: u16) {
    let rows = units::visible(model);
    if let Some(at) = row_at(board(model, body).table, (x, y), units::position(model, &rows), rows.len()) {
        model.units.cursor = Some(rows[at].unit);
    }
}

/// Draws the screen.
pub fn view(model: &Model, opened: &Opened, cache: &mut ViewCache, body: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let places = board(model, body);
    let Some((table, labels)) = network::table(model, model.units.layer.clone()) else {
        let what = network::lacking(model).unwrap_or_else(|| "Looking at the units of this layer.".into());
        return draw::centred(buf, body, &[(what, theme.style(Role::Dim))]);
    };
    let labels = labels.map(AsRef::as_ref);
    let rows = units::visible(model);
    summary(model, table, labels, rows.len(), places.line, buf);
    if rows.is_empty() {
        draw::centred(buf, places.table, &[("No unit fits: Esc forgets the filter.".into(), theme.style(Role::Dim))]);
    } else {
        rows_table(model, &rows, labels, places.table, buf);
    }
    if let Some((area, unit)) = places.maps.zip(units::chosen(model)) {
        maps(model, opened, cache, (table, unit, labels), area, buf);
    }
    mask(model, table, places.mask, buf);
}

fn summary(model: &Model, table: &UnitTable, labels: Option<&ConceptLabels>, shown: usize, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let dot = theme.glyph(" · ", " | ");
    let state = &model.units;
    let count = table.units.len();
    let shown = if shown == count { format!("{count} units") } else { format!("{shown} of {count} units") };
    let order = format!("by {}{}", state.sort.name(), if state.reversed { " reversed" } else { "" });
    let whole = origin(model, layout::body(model));
    let mut parts = vec![table.layer.name.clone()];
    if let Some(labels) = labels.filter(|_| whole.is_empty()) {
        parts.push(format!("names: {} (? says more)", labels.origin_in_short()));
    }
    parts.extend([shown, order]);
    if !state.selection.is_empty() {
        parts.push(format!("{} selected", state.selection.len()));
    }
    if units::measuring(model) {
        parts.push("measuring".into());
    }
    if labels.is_none() {
        parts.push("no concept names".into());
    }
    if let Some(images) = &table.spread {
        parts.push(format!("sd: change over the spread in {images}"));
    }
    let x = typed(model, &state.filter, area, buf);
    let room = area.right().saturating_sub(x + 1);
    draw::text(buf, x, area.y, room, &text::truncate(&parts.join(dot), usize::from(room), theme.ellipsis()), theme.style(Role::Accent));
    for (line, y) in whole.iter().zip(area.y + 1..area.bottom()) {
        draw::text(buf, area.x + 1, y, area.width.saturating_sub(2), line, theme.style(Role::Dim));
    }
}

fn rows_table(model: &Model, rows: &[&UnitChange], labels: Option<&ConceptLabels>, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let exact = units::measured(model);
    let masked: HashSet<usize> = model.units.masks.last().map(|m| m.mask.units.iter().copied().collect()).unwrap_or_default();
    let position = units::position(model, rows);
    // Without names their columns would only take room.
    let columns = if labels.is_some() { COLUMNS } else { &COLUMNS[..NAMELESS] };
    let row = |i: usize| {
        let u = rows[i];
        let selected = model.units.selection.contains(&u.unit);
        let mark = match (i == position, selected, masked.contains(&u.unit)) {
            (true, true, _) => ">*",
            (true, false, true) => ">x",
            (true, ..) => ">",
            (false, true, _) => " *",
            (false, false, true) => " x",
            _ => "",
        };
        let mut line = line(theme, u, labels, &exact);
        line.mark = mark;
        line.cells.truncate(columns.len());
        line
    };
    let lead = if labels.is_some() { ("unit, concept", 15, 40) } else { ("unit", 6, 12) };
    Table { lead, columns, count: rows.len(), position, row: &row, tall: None }.draw(theme, area, buf);
}

/// A concept's name; in brackets where it is only the best match of a unit that matches nothing well.
fn named(concept: &Concept) -> String {
    if concept.detected() { concept.label.clone() } else { format!("({})", concept.label) }
}

fn line(theme: &Theme, u: &UnitChange, labels: Option<&ConceptLabels>, exact: &HashMap<usize, (f32, f32)>) -> Line {
    let concept = labels.and_then(|l| l.unit(u.unit));
    let measured = exact.get(&u.unit).copied();
    let (t0, t) = measured.unwrap_or((u.effect_true, u.effect_target));
    let (r, kind) = measured.map_or((u.r, u.kind), |(t0, t)| {
        let cell = psr::effect(-t0, t, &psr::Settings::default());
        (cell.r, cell.kind)
    });
    let sign = |v: f32| if v > 0.0 { Role::Promotion } else { Role::Suppression };
    let origin = if measured.is_some() { "exact" } else { "est." };
    let plain = |v: f32| (text::number(v), Role::Text);
    Line {
        mark: "",
        lead: concept.map_or_else(|| u.unit.to_string(), |c| format!("{} {}", u.unit, named(c))),
        cells: vec![
            plain(u.clean.mean),
            plain(u.adversarial.mean),
            (text::signed(u.change), sign(u.change)),
            u.standardised.map_or_else(|| (theme.glyph("–", "-").to_owned(), Role::Dim), |v| (text::signed(v), sign(v))),
            plain(u.clean.max),
            plain(u.adversarial.max),
            (text::signed(t0), if t0 == 0.0 { Role::Dim } else { sign(t0) }),
            (text::signed(t), if t == 0.0 { Role::Dim } else { sign(t) }),
            (text::signed(r), overlay::role(kind)),
            (format!("{} {origin}", if theme.ascii && kind_sign(kind) == ' ' { '.' } else { kind_sign(kind) }), overlay::role(kind)),
            (concept.map_or_else(String::new, |c| c.category.clone()), Role::Dim),
            (concept.map_or_else(String::new, |c| format!("{:.2}", c.iou).trim_start_matches('0').to_owned()), Role::Text),
        ],
    }
}

/// The unit's maps on x0 and x' on one scale, and their difference.
fn maps(
    model: &Model,
    opened: &Opened,
    cache: &mut ViewCache,
    (table, unit, labels): (&UnitTable, usize, Option<&ConceptLabels>),
    area: Rect,
    buf: &mut Buffer,
) {
    let theme = &model.theme;
    if unit >= table.maps.dim().1 {
        return;
    }
    let name = labels.and_then(|l| l.unit(unit)).map_or_else(String::new, |c| format!(" {}", named(c)));
    let map = |n: usize| -> Array2<f32> { table.maps.slice(s![n, unit, .., ..]).to_owned() };
    let (clean, now) = (map(0), map(1));
    let difference = &now - &clean;
    let limit = clean.iter().chain(&now).fold(0.0f32, |m, v| m.max(*v));
    let change = difference.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    // The dissection's level for "on", outlined on both maps.
    let threshold = labels.and_then(|l| l.levels()).and_then(|l| l.threshold.get(unit)).copied();
    let outlined = threshold.map_or_else(String::new, |t| format!(", {} above {}", theme.glyph("·", "o"), text::number(t as f32)));
    let caption = format!("0 to {}, change to {}{outlined}", text::number(limit), text::number(change));
    let inner = draw::frame(theme, area, &format!("unit {unit}{name}"), &caption, false, buf);
    let width = inner.width / 3;
    let (_, h, w) = opened.image.dim();
    for (i, title) in ["x0", "x'", "change"].into_iter().enumerate() {
        let column = Rect { x: inner.x + i as u16 * width, width, ..inner };
        draw::centred(buf, Rect { height: 1.min(inner.height), ..column }, &[(title.into(), theme.style(Role::Dim))]);
        let under = Rect { y: inner.y + 1, height: inner.height.saturating_sub(1), width: width.saturating_sub(1), ..column };
        let Some(placed) = Placed::new(w, h, under, Ink::of(theme)) else { continue };
        // On a large picture the photo shows what the unit looks at; on a small one it would only blur the map.
        let large = placed.w >= 20;
        let photo = match i {
            _ if !large => None,
            0 => picture::clean(model, opened, cache, (None, under)),
            _ => picture::adversarial(model, opened, cache, (None, under)),
        };
        let base = photo.as_ref().map(|(_, raster)| raster.as_ref());
        let image = [h, w];
        let smooth = |map, limit, strength| Smooth { map, image, part: [0, 0, h, w], limit, strength };
        let (what, ramp) = match i {
            0 => (smooth(&clean, limit, 0.8), Ramp::Heat),
            1 => (smooth(&now, limit, 0.8), Ramp::Heat),
            _ => (smooth(&difference, change, 0.9), Ramp::Signed),
        };
        match ramp {
            Ramp::Heat => draw_heat(&what, base, &placed, theme, buf),
            Ramp::Signed => draw_signed(&what, base, &placed, theme, buf),
        }
        let on = threshold.filter(|_| i < 2).map(|t| bilinear(what.map.view(), image).mapv(|v| f64::from(v) > t));
        if let Some(on) = &on {
            draw_border(on, what.part, &placed, theme, buf);
        }
        let under = if large { Base::of(model, opened, i > 0) } else { Base::Dark };
        sharp::smooth(model, cache, (&what, ramp, under), on.map(Arc::new), &placed);
    }
}

/// What is masked, and what that does to both predictions and both logits.
fn mask(model: &Model, table: &UnitTable, area: Rect, buf: &mut Buffer) {
    let applied = model.units.masks.last().filter(|m| m.mask.layer == table.layer.name);
    let s = if applied.is_some_and(|m| m.mask.units.len() == 1) { "" } else { "s" };
    let list = applied.map(|m| {
        let list = m.mask.units.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        format!("{} unit{s} {}: {list}", m.mask.units.len(), m.how)
    });
    let title = applied.map_or_else(
        || "what stops it".to_owned(),
        |m| {
            let word = if m.mask.fill == Fill::Zero { "zeroed" } else { "put back to clean" };
            format!("{} unit{s} {word}", m.mask.units.len())
        },
    );
    let panel = Panel {
        mask: applied.map(|m| &m.mask),
        title,
        list,
        keys: "Space selects, x zeroes, P puts back to clean, K the first k, C a concept.",
        more: "Effects on the logits are first-order estimates (est.); E measures those on the screen.",
    };
    masked::draw(model, panel, area, buf);
}
