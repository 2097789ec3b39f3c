//! The attack form, built from the attack's own table of parameters. Checked while typing.

use ratatui::{buffer::Buffer, layout::Rect};
use tui_input::Input;

use super::{Dialog, list::input_request, picker};
use crate::{
    core::attack::{Attack, Kind, ParamSpec},
    engine::command::{AttackRequest, Target},
    tui::{
        effect::Effect,
        keymap::{Binding, Context, Key},
        model::Model,
        msg::Action,
        run, text,
        theme::{Role, Theme},
        view::draw,
    },
};

#[derive(Debug, Clone, Copy)]
enum What {
    Attack,
    Param(&'static ParamSpec),
    Target,
    More,
    Label,
    Seed,
}

#[derive(Debug, Clone)]
struct Field {
    what: What,
    input: Input,
    error: Option<String>,
}

/// The open form.
#[derive(Debug, Clone)]
pub struct State {
    attack: &'static str,
    target: Target,
    fields: Vec<Field>,
    focus: usize,
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Msg {
    /// Previous field.
    Up,
    /// Next field.
    Down,
    /// Previous choice, or left in the text.
    Left,
    /// Next choice, or right in the text.
    Right,
    /// Run.
    Submit,
    /// Leave.
    Close,
}

const fn key_(action: Msg, name: &'static str, help: &'static str, hint: &'static str, keys: &'static str) -> Binding {
    Binding { action: Action::Form(action), name, help, hint, keys }
}

/// Keys; everything else is typed into the field.
pub const KEYS: &[Binding] = &[
    key_(Msg::Submit, "form-run", "Runs the attack.", "run", "<enter>"),
    key_(Msg::Up, "form-up", "Previous field.", "field", "<up> <backtab>"),
    key_(Msg::Down, "form-down", "Next field.", "field", "<down> <tab>"),
    key_(Msg::Left, "form-left", "Previous choice; in a text, one character left.", "choice", "<left>"),
    key_(Msg::Right, "form-right", "Next choice; in a text, one character right.", "choice", "<right>"),
    key_(Msg::Close, "form-close", "Leaves without running.", "back", "<esc>"),
];

const RULES: [(Target, &str); 4] =
    [(Target::Untargeted, "untargeted"), (Target::Second, "second"), (Target::LeastLikely, "least-likely"), (Target::Random, "random")];

/// A target for people.
pub fn target_text(model: &Model, target: &Target) -> String {
    match target {
        Target::Class(class) => format!("{} #{class}", model.short_label(*class)),
        rule => RULES.iter().find(|(t, _)| t == rule).map_or_else(String::new, |(_, name)| (*name).to_owned()),
    }
}

impl State {
    /// A form filled with the model's request; `None` when there is no attack at all.
    pub fn new(model: &Model) -> Option<Self> {
        let request = &model.request;
        let attack = model.attacks.find(&request.attack).or_else(|| model.attacks.0.first().copied())?;
        let label = request.label.map(|l| l.to_string()).unwrap_or_default();
        let mut state = Self { attack: attack.name(), target: request.target.clone(), fields: Vec::new(), focus: 1 };
        state.build(attack, &request.params, &label, &request.seed.to_string());
        Some(state)
    }

    fn build(&mut self, attack: &'static dyn Attack, given: &[(String, String)], label: &str, seed: &str) {
        let field = |what, value: &str| Field { what, input: Input::new(value.to_owned()), error: None };
        let mut fields = vec![field(What::Attack, attack.name())];
        for spec in attack.params() {
            let value = given.iter().rev().find(|(name, _)| name == spec.name).map_or(spec.default, |(_, v)| v);
            fields.push(field(What::Param(spec), value));
        }
        fields.extend([field(What::Target, ""), field(What::More, ""), field(What::Label, label), field(What::Seed, seed)]);
        self.attack = attack.name();
        self.fields = fields;
        self.focus = self.focus.min(self.fields.len() - 1);
    }

    fn params(&self) -> Vec<(String, String)> {
        let param = |f: &Field| match f.what {
            What::Param(spec) => Some((spec.name.to_owned(), f.input.value().trim().to_owned())),
            _ => None,
        };
        self.fields.iter().filter_map(param).collect()
    }

    fn text_of(&self, wanted: fn(&What) -> bool) -> String {
        self.fields.iter().find(|f| wanted(&f.what)).map(|f| f.input.value().trim().to_owned()).unwrap_or_default()
    }
}

fn open(model: &mut Model) -> Option<&mut State> {
    model.dialogs.iter_mut().rev().find_map(|d| match d {
        Dialog::Form(state) => Some(state),
        _ => None,
    })
}

/// The target picker over the form has chosen.
pub fn set_target(model: &mut Model, target: Target) {
    if let Some(state) = open(model) {
        state.target = target;
    }
}

/// A key that is not in the table: typed into the field with the focus.
pub fn key(model: &mut Model, key: Key) {
    let Some(state) = open(model) else { return };
    let what = state.fields[state.focus].what;
    match (what, key.typed()) {
        (What::Target, Some(c)) => {
            let query = if c == ' ' { String::new() } else { c.to_string() };
            let picker = picker::State::targets(model, picker::Purpose::FormTarget, &query);
            model.dialogs.push(Dialog::Picker(picker));
        }
        (_, Some(' ')) if choices(what).is_some() => {
            turn(model, 1);
        }
        (What::Attack, _) => {}
        _ if choices(what).is_some() => {}
        _ => {
            if let Some(request) = input_request(key) {
                state.fields[state.focus].input.handle(request);
                check(model);
            }
        }
    }
}

/// Words a field is chosen from, when it is a choice.
fn choices(what: What) -> Option<&'static [&'static str]> {
    match what {
        What::Param(ParamSpec { kind: Kind::Flag, .. }) => Some(&["no", "yes"]),
        What::Param(ParamSpec { kind: Kind::Choice(words), .. }) => Some(words),
        _ => None,
    }
}

/// Does it.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Effect> {
    let Some(state) = open(model) else { return Vec::new() };
    let count = state.fields.len();
    match msg {
        Msg::Up => state.focus = (state.focus + count - 1) % count,
        Msg::Down => state.focus = (state.focus + 1) % count,
        Msg::Left => turn(model, -1),
        Msg::Right => turn(model, 1),
        Msg::Close => {
            model.dialogs.pop();
        }
        Msg::Submit => return submit(model),
    }
    Vec::new()
}

fn turn(model: &mut Model, by: isize) {
    let attacks = model.attacks;
    let Some(state) = open(model) else { return };
    let step = |i: usize, n: usize| (i as isize + by).rem_euclid(n as isize) as usize;
    let field = &mut state.fields[state.focus];
    match field.what {
        What::Attack => {
            let at = attacks.0.iter().position(|a| a.name() == state.attack).unwrap_or(0);
            let (given, label, seed) =
                (state.params(), state.text_of(|w| matches!(w, What::Label)), state.text_of(|w| matches!(w, What::Seed)));
            state.build(attacks.0[step(at, attacks.0.len())], &given, &label, &seed);
        }
        What::Target => {
            let at = RULES.iter().position(|(t, _)| *t == state.target);
            state.target = at.map_or(Target::Untargeted, |i| RULES[step(i, RULES.len())].0.clone());
        }
        what => match choices(what) {
            Some(words) => {
                let now = field.input.value().trim().to_ascii_lowercase();
                let at = words.iter().position(|w| *w == now || (matches!(now.as_str(), "true" | "on" | "1") && *w == "yes")).unwrap_or(0);
                field.input = Input::new(words[step(at, words.len())].to_owned());
            }
            None => {
                let request = if by < 0 { tui_input::InputRequest::GoToPrevChar } else { tui_input::InputRequest::GoToNextChar };
                field.input.handle(request);
            }
        },
    }
    check(model);
}

fn check(model: &mut Model) {
    let classes = model.opened.as_ref().map(|o| std::sync::Arc::clone(&o.labels));
    let labels = classes.as_ref().map(|l| l.as_slice()).unwrap_or_default();
    let Some(state) = open(model) else { return };
    for field in &mut state.fields {
        let value = field.input.value().trim();
        field.error = match field.what {
            What::Param(spec) => spec.parse(value).err().map(|e| e.to_string()),
            What::More => parse_more(value, labels).err(),
            What::Label => parse_label(value, labels).err(),
            What::Seed => value.parse::<u64>().err().map(|_| format!("seed accepts a whole number from 0, not '{value}'")),
            What::Attack | What::Target => None,
        };
    }
}

/// A class as typed: number or name; nothing for an empty text.
pub fn parse_label(value: &str, labels: &[String]) -> Result<Option<usize>, String> {
    if value.is_empty() {
        return Ok(None);
    }
    if let Ok(index) = value.parse::<usize>() {
        return if index < labels.len() {
            Ok(Some(index))
        } else {
            Err(format!("classes go from 0 to {}", labels.len().saturating_sub(1)))
        };
    }
    let same = |l: &String| l.eq_ignore_ascii_case(value) || text::short_label(l).eq_ignore_ascii_case(value);
    labels.iter().position(same).map(Some).ok_or_else(|| format!("there is no class '{value}'; give its name or number"))
}

/// Further targets: names or numbers with commas between.
fn parse_more(value: &str, labels: &[String]) -> Result<Vec<usize>, String> {
    let parts = value.split(',').map(str::trim).filter(|p| !p.is_empty());
    parts.filter_map(|part| parse_label(part, labels).transpose()).collect()
}

fn submit(model: &mut Model) -> Vec<Effect> {
    check(model);
    let labels = model.opened.as_ref().map(|o| std::sync::Arc::clone(&o.labels));
    let Some(state) = open(model) else { return Vec::new() };
    if let Some(bad) = state.fields.iter().position(|f| f.error.is_some()) {
        state.focus = bad;
        return Vec::new();
    }
    let label = state.text_of(|w| matches!(w, What::Label));
    let more = state.text_of(|w| matches!(w, What::More));
    let labels = labels.as_ref().map(|l| l.as_slice()).unwrap_or_default();
    let request = AttackRequest {
        attack: state.attack.to_owned(),
        params: state.params(),
        target: state.target.clone(),
        label: parse_label(&label, labels).unwrap_or(None),
        seed: state.text_of(|w| matches!(w, What::Seed)).parse().unwrap_or(0),
        within: None,
    };
    let more = parse_more(&more, labels).unwrap_or_default();
    model.dialogs.pop();
    model.queue = more.into_iter().map(|class| AttackRequest { target: Target::Class(class), ..request.clone() }).collect();
    run::start(model, request)
}

struct Row<'a> {
    name: &'a str,
    value: String,
    unit: &'static str,
    choice: bool,
}

fn row<'a>(model: &Model, state: &'a State, field: &'a Field) -> Row<'a> {
    let value = field.input.value().to_owned();
    match field.what {
        What::Attack => Row { name: "attack", value: state.attack.to_owned(), unit: "", choice: true },
        What::Param(spec) => Row { name: spec.name, value, unit: spec.unit, choice: choices(field.what).is_some() },
        What::Target => Row { name: "target", value: target_text(model, &state.target), unit: "", choice: true },
        What::More => Row { name: "then reach", value, unit: "", choice: false },
        What::Label => Row { name: "true class", value, unit: "", choice: false },
        What::Seed => Row { name: "seed", value, unit: "", choice: false },
    }
}

fn explanation(model: &Model, state: &State) -> String {
    match state.fields[state.focus].what {
        What::Attack => model.attacks.find(state.attack).map(|a| a.summary().to_owned()).unwrap_or_default(),
        What::Param(spec) => format!("{} Default {}{}.", spec.help, spec.default, range(spec)),
        What::Target => "Which class to reach: arrows change the rule, typing searches the classes.".into(),
        What::More => "Further targets, names or numbers with commas between: one attack after another; B compares them.".into(),
        What::Label => "The class the attack leads away from: a name or number; empty takes the clean prediction.".into(),
        What::Seed => "Seed of everything random; the same seed gives the same result.".into(),
    }
}

fn range(spec: &ParamSpec) -> String {
    match spec.kind {
        Kind::Float { min, max } => format!(", {min} to {max}"),
        Kind::Int { min, max } => format!(", {min} to {max}"),
        Kind::Flag | Kind::Choice(_) => String::new(),
    }
}

/// Draws it.
pub fn view(model: &Model, state: &State, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    let width = area.width.saturating_sub(4).min(66);
    let errors = state.fields.iter().filter(|f| f.error.is_some()).count();
    let height = ((state.fields.len() + errors) as u16 + 7).min(area.height);
    let inner = super::framed(model, "attack", (width, height), area, buf);
    let room = usize::from(inner.height.saturating_sub(4)).max(1);
    let top = (state.focus + 2).saturating_sub(room).min(state.fields.len().saturating_sub(1));
    let mut y = inner.y;
    let limit = inner.y + room as u16;
    for (i, field) in state.fields.iter().enumerate().skip(top) {
        if y >= limit {
            break;
        }
        field_line(theme, &row(model, state, field), field, i == state.focus, Rect { y, height: 1, ..inner }, buf);
        y += 1;
        if let Some(error) = &field.error
            && y < limit
        {
            let line = format!("{} {error}", theme.glyph("└", "!"));
            let cut = text::truncate(&line, usize::from(inner.width.saturating_sub(16)), theme.ellipsis());
            draw::text(buf, inner.x + 15, y, inner.width.saturating_sub(16), &cut, theme.style(Role::Error));
            y += 1;
        }
    }
    footer(model, state, Rect { y: inner.bottom().saturating_sub(4), height: 4.min(inner.height), ..inner }, buf);
}

fn field_line(theme: &Theme, row: &Row, field: &Field, focused: bool, area: Rect, buf: &mut Buffer) {
    let mark = if focused { theme.glyph("▸", ">") } else { " " };
    let name = format!("{mark} {}", text::pad(row.name, 13, theme.ellipsis()));
    let style = theme.style(if focused { Role::Key } else { Role::Dim });
    let x = draw::text(buf, area.x, area.y, area.width, &name, style);
    let room = area.right().saturating_sub(x);
    let value_style = theme.style(if field.error.is_some() { Role::Error } else { Role::Text });
    if row.choice {
        let (l, r) = (theme.glyph("‹ ", "< "), theme.glyph(" ›", " >"));
        let x = draw::text(buf, x, area.y, room, l, style);
        let cut = text::truncate(&row.value, usize::from(area.right().saturating_sub(x + 3)), theme.ellipsis());
        let x = draw::text(buf, x, area.y, area.right().saturating_sub(x), &cut, theme.style(Role::Text));
        draw::text(buf, x, area.y, area.right().saturating_sub(x), r, style);
        return;
    }
    let unit = text::width(row.unit) as u16;
    let rect = Rect { x: x + 2, y: area.y, width: room.saturating_sub(unit + 4), height: 1 };
    if row.name == "true class" && row.value.is_empty() && !focused {
        draw::text(buf, rect.x, rect.y, rect.width, "the clean prediction", theme.style(Role::Dim));
    } else {
        draw::input(buf, rect, &field.input, value_style, focused);
    }
    if unit > 0 {
        let used = (text::width(&row.value) as u16 + 2).min(rect.width);
        draw::text(buf, rect.x + used, area.y, area.right().saturating_sub(rect.x + used), row.unit, theme.style(Role::Dim));
    }
}

fn footer(model: &Model, state: &State, area: Rect, buf: &mut Buffer) {
    let theme = &model.theme;
    draw::rule(theme, Rect { height: 1.min(area.height), ..area }, buf);
    let error = state.fields[state.focus].error.clone();
    let role = if error.is_some() { Role::Error } else { Role::Text };
    let lines = text::wrap(&error.unwrap_or_else(|| explanation(model, state)), usize::from(area.width.saturating_sub(2)));
    for (i, line) in lines.iter().take(2).enumerate() {
        let last = i == 1 && lines.len() > 2;
        let line = if last {
            format!("{}{}", text::truncate(line, usize::from(area.width.saturating_sub(3)), ""), theme.ellipsis())
        } else {
            line.clone()
        };
        draw::text(buf, area.x + 1, area.y + 1 + i as u16, area.width.saturating_sub(2), &line, theme.style(role));
    }
    let hints = model.keymap.hints(&[Context::Form], theme.ascii);
    draw::hints(
        theme,
        &hints,
        Rect { x: area.x + 1, y: area.bottom().saturating_sub(1), width: area.width.saturating_sub(2), height: 1 },
        buf,
    );
}
