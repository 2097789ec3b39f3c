//! Screen 1: the attack as it happens.
//!
//! ```text
//! +- clean ----++- adversarial ++- change x16 -++- promotion / -+
//! |            ||              ||              || suppression   |
//! +- label p --++- label p ----++- L2 Linf ----++- shares ------+
//! +- logits over steps -------------++- best classes -----------+
//! ```

use ratatui::{buffer::Buffer, layout::Rect};

use crate::{
    core::explain::psr::Mode,
    engine::event::{Opened, Scored},
    tui::{
        effect::Effect,
        keymap::Binding,
        layout::{self, Board},
        model::Model,
        msg::Action,
        notice::Severity,
        psr, text,
        theme::Role,
        view::{ViewCache, draw, picture},
        widget::scores,
    },
};

pub use super::charts::Chart;
use super::{charts, versus};

/// Which picture has the focus, and whether it fills the screen.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Picture: clean, adversarial, change, map.
    pub focus: usize,
    /// Whether it fills the screen.
    pub zoom: bool,
    /// What the curves show.
    pub chart: Chart,
    /// How much closer the pictures are: powers of two.
    pub closer: u32,
    /// What is in the middle of closer pictures: row, column, in parts of the image.
    pub centre: [f32; 2],
    /// Which earlier run is shown beside the current one, counted back.
    pub against: Option<usize>,
}

impl Default for State {
    fn default() -> Self {
        Self { focus: 0, zoom: false, chart: Chart::default(), closer: 0, centre: [0.5; 2], against: None }
    }
}

/// Closer than this a pixel would fill the screen.
const CLOSEST: u32 = 4;

/// The part of the pictures that is shown: top, left, height, width; `None` for all of them.
pub fn part(model: &Model) -> Option<[usize; 4]> {
    let (_, h, w) = model.opened.as_ref().filter(|_| model.attack.closer > 0)?.image.dim();
    let factor = 1 << model.attack.closer;
    let (ph, pw) = ((h / factor).max(4).min(h), (w / factor).max(4).min(w));
    let from = |centre: f32, part: usize, all: usize| ((centre * all as f32) as usize).saturating_sub(part / 2).min(all - part);
    Some([from(model.attack.centre[0], ph, h), from(model.attack.centre[1], pw, w), ph, pw])
}

/// Moves closer pictures by a quarter of what is shown.
fn pan(model: &mut Model, down: i8, right: i8) {
    let Some([_, _, ph, pw]) = part(model) else {
        return model.tell(Severity::Info, "the whole picture is shown: Z goes closer");
    };
    let Some((_, h, w)) = model.opened.as_ref().map(|o| o.image.dim()) else { return };
    let moved = |centre: f32, by: i8, part: usize, all: usize| {
        let half = part as f32 / (2 * all) as f32;
        (centre + f32::from(by) * half / 2.0).clamp(half, 1.0 - half)
    };
    let [y, x] = model.attack.centre;
    model.attack.centre = [moved(y, down, ph, h), moved(x, right, pw, w)];
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// Zoom the picture, or back.
    Zoom,
    /// Next picture.
    Next,
    /// Previous picture.
    Previous,
    /// The next kind of curves.
    Chart,
    /// An earlier run beside this one.
    Versus,
    /// Closer, or farther away.
    Closer(bool),
    /// To another part of closer pictures: down, right.
    Pan(i8, i8),
}

const fn key(action: Msg, name: &'static str, help: &'static str, hint: &'static str, keys: &'static str) -> Binding {
    Binding { action: Action::Attack(action), name, help, hint, keys }
}

/// Keys.
pub const KEYS: &[Binding] = &[
    key(Msg::Next, "next-picture", "Moves the focus to the next picture.", "pictures", "<tab>"),
    key(Msg::Previous, "previous-picture", "Moves the focus to the previous picture.", "", "<backtab>"),
    key(Msg::Chart, "chart", "Changes what the curves show: logits, loss, constants of the search, norms.", "", "v"),
    key(Msg::Versus, "versus", "Shows the run before beside this one, then older ones, then none.", "", "B"),
    key(Msg::Zoom, "zoom", "Fills the screen with the picture that has the focus, or goes back.", "", "z"),
    key(Msg::Closer(true), "picture-closer", "Shows a part of all pictures, closer.", "", "Z"),
    key(Msg::Closer(false), "picture-farther", "Shows more of the pictures again.", "", "u"),
    key(Msg::Pan(0, -1), "pan-left", "Moves closer pictures to the left.", "", "<A-left> <A-h>"),
    key(Msg::Pan(0, 1), "pan-right", "Moves closer pictures to the right.", "", "<A-right> <A-l>"),
    key(Msg::Pan(-1, 0), "pan-up", "Moves closer pictures up.", "", "<A-up> <A-k>"),
    key(Msg::Pan(1, 0), "pan-down", "Moves closer pictures down.", "", "<A-down> <A-j>"),
];

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    match msg {
        Msg::Chart => model.attack.chart = model.attack.chart.next(),
        Msg::Versus => {
            if let Some(text) = versus::next(model) {
                model.tell(Severity::Info, text);
            }
        }
        Msg::Closer(true) if model.attack.closer >= CLOSEST => model.tell(Severity::Info, "this is as close as it goes"),
        Msg::Closer(true) => {
            model.attack.closer += 1;
            if model.attack.closer == 1 {
                model.tell(Severity::Info, "Alt with an arrow moves the part that is shown, u goes back");
            }
        }
        Msg::Closer(false) if model.attack.closer == 0 => model.tell(Severity::Info, "the whole picture is shown: Z goes closer"),
        Msg::Closer(false) => model.attack.closer -= 1,
        Msg::Pan(down, right) => pan(model, down, right),
        Msg::Zoom => model.attack.zoom = !model.attack.zoom,
        Msg::Next => model.attack.focus = (model.attack.focus + 1) % 4,
        Msg::Previous => model.attack.focus = (model.attack.focus + 3) % 4,
    }
    Vec::new()
}

/// A click on a picture gives it the focus.
pub fn clicked(model: &mut Model, body: Rect, x: u16, y: u16) {
    let board = layout::board(body, model.attack.focus, model.attack.zoom, true);
    if let Some((pane, _)) = board.panes.iter().find(|(_, r)| r.contains((x, y).into())) {
        model.attack.focus = *pane;
    }
}

/// Draws it.
pub fn view(model: &Model, opened: &Opened, cache: &mut ViewCache, body: Rect, buf: &mut Buffer) {
    let Board { panes, side, wide } = layout::board(body, model.attack.focus, model.attack.zoom, true);
    for (pane, area) in panes {
        let focused = pane == model.attack.focus;
        if let Some(earlier) = versus::other(model) {
            versus::pane(model, earlier, pane, cache, (area, focused), buf);
            continue;
        }
        match pane {
            0 => clean(model, opened, cache, area, focused, buf),
            1 => adversarial(model, opened, cache, area, focused, buf),
            2 => change(model, cache, area, focused, buf),
            _ => map(model, opened, cache, area, focused, buf),
        }
    }
    if let Some(area) = side {
        match versus::other(model) {
            Some(earlier) => versus::table(model, earlier, area, buf),
            None => best_classes(model, area, buf),
        }
    }
    if let Some(area) = wide {
        charts::view(model, area, buf);
    }
}

fn caption(model: &Model, top: Option<&Scored>, width: u16) -> String {
    let Some(top) = top else { return String::new() };
    let prob = text::prob(top.prob);
    let room = usize::from(width).saturating_sub(text::width(&prob) + 6);
    format!("{} {prob}", text::truncate(&model.short_label(top.class), room, model.theme.ellipsis()))
}

fn clean(model: &Model, opened: &Opened, cache: &mut ViewCache, area: Rect, focused: bool, buf: &mut Buffer) {
    let line = caption(model, model.clean_scores(1).first(), area.width);
    let inner = draw::frame(&model.theme, area, &closer(model, "clean"), &line, focused, buf);
    picture::draw_clean(model, opened, cache, (part(model), inner), buf);
}

fn adversarial(model: &Model, opened: &Opened, cache: &mut ViewCache, area: Rect, focused: bool, buf: &mut Buffer) {
    let line = match model.record() {
        Some(_) => caption(model, model.current_scores(1).first(), area.width),
        None => String::new(),
    };
    let inner = draw::frame(&model.theme, area, &closer(model, &adversarial_title(model)), &line, focused, buf);
    if model.frame().is_none() {
        return empty(model, "Space attacks, a chooses how", inner, buf);
    }
    picture::draw_adversarial(model, opened, cache, (part(model), inner), buf);
}

/// The title says how close a picture is.
fn closer(model: &Model, title: &str) -> String {
    match model.attack.closer {
        0 => title.to_owned(),
        n => format!(
            "{title}, {} closer",
            model.theme.glyph(["", "2×", "4×", "8×", "16×"][n.min(4) as usize], ["", "2x", "4x", "8x", "16x"][n.min(4) as usize])
        ),
    }
}

/// The title says so when the step has no picture of its own.
fn adversarial_title(model: &Model) -> String {
    match (model.frame(), model.position()) {
        (Some(frame), Some(position)) if frame.index != position => format!("adversarial, step {}", frame.index),
        _ => "adversarial".into(),
    }
}

fn empty(model: &Model, line: &str, inner: Rect, buf: &mut Buffer) {
    let failed = model.run.as_ref().is_some_and(|r| r.trace.is_none() && r.ending.is_some());
    let line = match &model.run {
        Some(_) if failed => "the attack failed; M shows why",
        Some(_) => "starting",
        None => line,
    };
    draw::centred(buf, inner, &[(line.to_owned(), model.theme.style(Role::Dim))]);
}

fn change(model: &Model, cache: &mut ViewCache, area: Rect, focused: bool, buf: &mut Buffer) {
    let line = match model.record() {
        Some(r) => format!("L2 {}  Linf {}", text::number(r.l2), text::per_255(r.linf)),
        None => String::new(),
    };
    let inner = draw::frame(&model.theme, area, "perturbation", &line, focused, buf);
    match picture::perturbation(model, cache, (part(model), inner), buf) {
        Some(gain) => {
            let times = model.theme.glyph("×", "x");
            draw::frame(&model.theme, area, &closer(model, &format!("perturbation {times}{gain}")), &line, focused, buf);
        }
        None => empty(model, "what the attack adds", inner, buf),
    }
}

fn map(model: &Model, opened: &Opened, cache: &mut ViewCache, area: Rect, focused: bool, buf: &mut Buffer) {
    let title = if area.width >= 27 { "promotion / suppression" } else { "promote/suppress" };
    let inner = draw::frame(&model.theme, area, title, "", focused, buf);
    if model.frame().is_none() {
        return empty(model, "what each part of it does", inner, buf);
    }
    let shown = match part(model) {
        None => picture::psr_map(model, opened, cache, inner, None, buf),
        Some(part) => match picture::adversarial(model, opened, cache, (Some(part), inner)) {
            Some((placed, raster)) => picture::psr_over(model, cache, (placed, &raster, part), inner, None, buf),
            None => None,
        },
    };
    let Some(shown) = shown else { return };
    let s = psr::Summary::of(&shown.map);
    let estimate = match shown.map.settings.mode {
        Mode::Exact if shown.done => "exact",
        Mode::Exact => "so far",
        Mode::Linear | Mode::Path => "est.",
    };
    let line = format!("+{} -{} ={} {estimate}", text::percent(s.share(1)), text::percent(s.share(0)), text::percent(s.share(2)));
    draw::frame(&model.theme, area, title, &line, focused, buf);
}

fn best_classes(model: &Model, area: Rect, buf: &mut Buffer) {
    let arrow = model.theme.glyph("→", "->");
    let title = if model.record().is_some() && area.width >= 32 { format!("top 5, clean {arrow} adversarial") } else { "top 5".into() };
    let inner = draw::frame(&model.theme, area, &title, "", false, buf);
    let list = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let used = if list.width >= 56 || model.record().is_none() { 7 } else { 14 };
    if inner.height >= used + 5 {
        scores::draw(model, Rect { height: used, ..list }, buf);
        numbers(model, Rect { y: list.y + used, height: list.height - used, ..list }, buf);
    } else {
        scores::draw(model, list, buf);
    }
}

fn numbers(model: &Model, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let mut lines: Vec<(String, String)> = Vec::new();
    if let Some(opened) = &model.opened {
        let (c, h, w) = opened.image.dim();
        let x = theme.glyph("×", "x");
        lines.push(("image".into(), format!("{w}{x}{h}{x}{c}, {} classes", opened.logits.len())));
        lines.push(("input".into(), opened.preprocessing.clone()));
    }
    if let (Some(run), Some(r)) = (&model.run, model.record()) {
        let pixels = model.opened.as_ref().map_or(1, |o| o.image.dim().1 * o.image.dim().2);
        let goal = run.target.map_or_else(|| "leave the true class".into(), |t| format!("reach {}", model.short_label(t)));
        lines.insert(0, ("goal".into(), goal));
        lines.push(("loss".into(), text::number(r.loss)));
        lines.push(("changed".into(), format!("{} of {pixels} pixels", r.l0)));
        lines.push(("L1".into(), text::number(r.l1)));
        lines.push(("L2".into(), text::number(r.l2)));
        lines.push(("Linf".into(), format!("{} = {}", text::per_255(r.linf), text::number(r.linf))));
        lines.extend(r.terms.iter().map(|(name, v)| ((*name).to_owned(), text::number(*v))));
        lines.push(("time".into(), text::seconds(r.seconds)));
        lines.push(("seed".into(), run.request.seed.to_string()));
    }
    let room = area.width.saturating_sub(10);
    let mut y = area.y;
    for (name, value) in &lines {
        for (i, line) in text::wrap(value, usize::from(room)).iter().enumerate().take(usize::from(area.bottom().saturating_sub(y))) {
            if i == 0 {
                draw::text(buf, area.x, y, 9.min(area.width), name, theme.style(Role::Dim));
            }
            draw::text(buf, area.x + 10, y, room, line, theme.style(Role::Text));
            y += 1;
        }
    }
}
