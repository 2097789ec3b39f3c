//! Commands with something typed after them: `step 40`, `attack cw kappa=5`, `target tabby`, `open FILE`. The palette offers them
//! beside the actions of the key table.

use std::path::PathBuf;

use super::{
    dialog::{Dialog, export, files, form, picker, prompt},
    effect::Effect,
    keymap::Context,
    model::{Cursor, Model},
    notice::Severity,
    open::{self, Purpose},
    psr, run,
    screen::{Screen, closer, pixels, units},
    text::unknown,
};
use crate::{
    core::explain::cam::{METHODS, Method},
    engine::{
        browse::Kind,
        command::{AttackRequest, Target},
    },
    report,
};

type Done = Result<Vec<Effect>, String>;

/// A command.
pub struct Command {
    /// First word.
    pub name: &'static str,
    /// What is typed after it.
    pub usage: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Whether it means something without anything after it.
    pub alone: bool,
    /// What could be typed after it, each with a remark.
    pub offers: fn(&Model) -> Vec<(String, String)>,
    /// Whether a text is complete as it stands, whatever it resembles.
    pub accepts: fn(&Model, &str) -> bool,
    /// Does it, or says in one sentence why not.
    pub run: fn(&mut Model, &str) -> Done,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const fn nothing(_: &Model) -> Vec<(String, String)> {
    Vec::new()
}

fn always(_: &Model, _: &str) -> bool {
    true
}

const fn command(name: &'static str, usage: &'static str, help: &'static str, run: fn(&mut Model, &str) -> Done) -> Command {
    Command { name, usage, help, alone: false, offers: nothing, accepts: always, run }
}

const fn file(name: &'static str, usage: &'static str, help: &'static str, run: fn(&mut Model, &str) -> Done) -> Command {
    Command { alone: true, ..command(name, usage, help, run) }
}

/// Every command.
pub static COMMANDS: &[Command] = &[
    Command { offers: places, ..command("step", "N | +N | -N | first | best | live", "goes to a step", step) },
    Command {
        offers: attacks,
        accepts: |m, typed| typed.split_whitespace().next().is_some_and(|name| m.attacks.find(name).is_some()),
        ..command("attack", "NAME [PARAMETER=VALUE ...]", "runs an attack", attack)
    },
    Command {
        offers: targets,
        accepts: |m, typed| target(m, typed).is_ok(),
        ..command("target", "CLASS | rule", "chooses the target of the next attack", set_target)
    },
    command("seed", "N", "seed of the next attack", seed),
    file("open", "[FILE]", "opens a model, an image, a run or a folder", |m, typed| open_file(m, typed, None)),
    file("model", "[FILE.onnx]", "opens another model on the same image", |m, typed| open_file(m, typed, Some(Kind::Model))),
    file("image", "[FILE]", "opens another image", |m, typed| open_file(m, typed, Some(Kind::Image))),
    file("run", "[FILE.pse]", "opens a recorded run", |m, typed| open_file(m, typed, Some(Kind::Run))),
    file("folder", "[DIR]", "works through the images of a folder", |m, typed| open_file(m, typed, Some(Kind::Folder))),
    file("compare", "[FILE.onnx]", "compares with a second model on the folder's images", compare),
    file("save", "[FILE.pse]", "saves the run", save),
    Command {
        alone: true,
        offers: |_| report::REGISTRY.iter().map(|f| (f.name.to_owned(), f.help.to_owned())).collect(),
        accepts: |_, typed| report::REGISTRY.iter().any(|f| typed.split_whitespace().next() == Some(f.name)),
        ..command("export", "KIND [FILE]", "writes a report", write_report)
    },
    Command {
        offers: themes,
        accepts: |m, typed| m.themes.iter().any(|t| t.0 == typed),
        ..command("theme", "NAME", "changes the colours", theme)
    },
    Command {
        offers: |_| MODES.iter().map(|m| (m.0.to_owned(), m.1.to_owned())).collect(),
        accepts: |_, typed| MODES.iter().any(|m| m.0 == typed),
        ..command("map", "exact | linear | path", "evaluates promotion and suppression", map)
    },
    Command {
        offers: |_| METHODS.iter().map(|m| (m.name.to_owned(), m.summary.to_owned())).collect(),
        accepts: |_, typed| METHODS.iter().any(|m| m.name == typed),
        ..command("method", "NAME", "chooses the activation map", method)
    },
    Command {
        offers: layers,
        accepts: |m, typed| m.opened.as_ref().is_some_and(|o| o.layers.iter().any(|l| l.name == typed)),
        ..command("layer", "NAME", "shows the units of a layer, or its activation maps on screen 3", layer)
    },
];

const MODES: [(&str, &str, psr::Msg); 3] = [
    ("exact", "one forward run per cell", psr::Msg::Exact),
    ("linear", "an estimate from one gradient", psr::Msg::Linear),
    ("path", "an estimate from gradients along the way", psr::Msg::Path),
];

/// The command with this name.
pub fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|c| c.name == name)
}

/// Shows the screen (and enters the mode) in which a context's keys work, unless they work already.
pub fn go_where_it_works(model: &mut Model, context: Context) {
    if model.contexts().contains(&context) {
        return;
    }
    let screen = match context {
        Context::Attack => Screen::Attack,
        Context::Pixels | Context::Cells | Context::Closer | Context::PixelCursor => Screen::Pixels,
        Context::Psr => Screen::Pixels,
        Context::Cam => Screen::Cam,
        Context::Layers => Screen::Layers,
        Context::Units => Screen::Units,
        Context::Insight => Screen::Insight,
        Context::Triage => Screen::Triage,
        Context::Time | Context::Run => Screen::Attack,
        _ => return,
    };
    model.screen = screen;
    match context {
        Context::Cells => drop(pixels::update(model, pixels::Msg::Enter)),
        Context::PixelCursor => drop(closer::update(model, closer::Msg::Enter)),
        _ => {}
    }
}

fn places(model: &Model) -> Vec<(String, String)> {
    let Some(newest) = model.newest() else { return Vec::new() };
    let mut out = vec![("first".to_owned(), "the starting image".to_owned())];
    if let Some(best) = model.run.as_ref().and_then(|r| r.best) {
        out.push(("best".to_owned(), format!("step {best}, the result")));
    }
    out.push(("live".to_owned(), format!("step {newest}, the newest")));
    out.extend(model.marks.iter().map(|m| (m.to_string(), "bookmark".to_owned())));
    out
}

fn step(model: &mut Model, typed: &str) -> Done {
    let (Some(position), Some(newest)) = (model.position(), model.newest()) else {
        return Err("nothing to step through yet: a starts an attack".into());
    };
    let by = |text: &str| {
        text.trim().parse::<usize>().map_err(|_| format!("a step is a number from 0 to {newest}, +N, -N, first, best or live"))
    };
    let best = model.run.as_ref().and_then(|r| r.best);
    let to = match typed {
        "first" => 0,
        "live" | "last" | "newest" => {
            model.cursor = Cursor::Live;
            return Ok(Vec::new());
        }
        "best" => best.ok_or_else(|| "there is no result yet: the attack goes on".to_owned())?,
        _ => match (typed.strip_prefix('+'), typed.strip_prefix('-')) {
            (Some(n), _) => position.saturating_add(by(n)?).min(newest),
            (_, Some(n)) => position.saturating_sub(by(n)?),
            _ => by(typed)?,
        },
    };
    if to > newest {
        return Err(format!("step {to} does not exist; the run has steps 0 to {newest}"));
    }
    model.learned.insert("step");
    model.cursor = Cursor::At(to);
    Ok(Vec::new())
}

fn attacks(model: &Model) -> Vec<(String, String)> {
    model.attacks.0.iter().map(|a| (a.name().to_owned(), a.summary().to_owned())).collect()
}

/// Why nothing can be attacked now, if so.
fn ready(model: &Model) -> Result<(), String> {
    if model.opened.is_none() {
        return Err("the model is still being opened".into());
    }
    model.without_model().map_or(Ok(()), Err)
}

fn attack(model: &mut Model, typed: &str) -> Done {
    ready(model)?;
    let mut words = typed.split_whitespace();
    let name = words.next().unwrap_or_default();
    let attack = model.attacks.find(name).ok_or_else(|| {
        let known: Vec<&str> = model.attacks.0.iter().map(|a| a.name()).collect();
        unknown("attack", name, &known)
    })?;
    let names: Vec<&str> = attack.params().iter().map(|s| s.name).collect();
    let mut params: Vec<(String, String)> = model.request.params.iter().filter(|(n, _)| names.contains(&n.as_str())).cloned().collect();
    for word in words {
        let (key, value) = word
            .split_once('=')
            .ok_or_else(|| format!("write parameters as name=value, for instance {}=8/255", names.first().unwrap_or(&"eps")))?;
        let key = key.trim_start_matches('-');
        let spec = attack.params().iter().find(|s| s.name == key).ok_or_else(|| unknown("parameter", key, &names))?;
        spec.parse(value).map_err(|e| e.to_string())?;
        params.retain(|(n, _)| n != key);
        params.push((key.to_owned(), value.to_owned()));
    }
    let request = AttackRequest { attack: attack.name().to_owned(), params, within: None, ..model.request.clone() };
    model.queue.clear();
    Ok(run::start(model, request))
}

fn targets(model: &Model) -> Vec<(String, String)> {
    picker::target_items(model).into_iter().map(|i| (i.text, i.note)).collect()
}

/// A target as typed, or as the list shows it (`tabby, tabby cat  #281`).
fn target(model: &Model, typed: &str) -> Result<Target, String> {
    if let Some((rule, ..)) = picker::RULES.iter().find(|(_, name, _)| *name == typed) {
        return Ok(rule.clone());
    }
    let labels = model.opened.as_ref().map(|o| o.labels.as_slice()).unwrap_or_default();
    let typed = typed.rsplit_once('#').filter(|(_, n)| n.parse::<usize>().is_ok()).map_or(typed, |(_, number)| number);
    let class = form::parse_label(typed, labels)?;
    class.map(Target::Class).ok_or_else(|| "type a class, its number, or untargeted, second, least-likely, random".into())
}

fn set_target(model: &mut Model, typed: &str) -> Done {
    ready(model)?;
    let target = target(model, typed)?;
    picker::set_target(model, target);
    Ok(Vec::new())
}

fn seed(model: &mut Model, typed: &str) -> Done {
    let seed = typed.parse().map_err(|_| "a seed is a whole number from 0".to_owned())?;
    model.request.seed = seed;
    model.tell(Severity::Info, format!("seed {seed}; r runs the attack"));
    Ok(Vec::new())
}

fn open_file(model: &mut Model, typed: &str, kind: Option<Kind>) -> Done {
    if typed.is_empty() {
        return Ok(files::show(model, kind));
    }
    Ok(vec![Effect::Find(open::unquoted(typed), kind, Purpose::Open)])
}

fn compare(model: &mut Model, typed: &str) -> Done {
    if typed.is_empty() {
        return Ok(files::show_for(model, Some(Kind::Model), Purpose::Compare));
    }
    Ok(vec![Effect::Find(open::unquoted(typed), Some(Kind::Model), Purpose::Compare)])
}

fn save(model: &mut Model, typed: &str) -> Done {
    let state = prompt::State::save(model).ok_or_else(|| "there is no run to save yet: a starts an attack".to_owned())?;
    if typed.is_empty() {
        model.dialogs.push(Dialog::Prompt(state));
        return Ok(Vec::new());
    }
    Ok(prompt::save_as(model, PathBuf::from(open::unquoted(typed))))
}

fn write_report(model: &mut Model, typed: &str) -> Done {
    let mut state = export::State::new(model).ok_or_else(|| "there is no run to report yet: a starts an attack".to_owned())?;
    if typed.is_empty() {
        model.dialogs.push(Dialog::Export(state));
        return Ok(Vec::new());
    }
    let (kind, name) = typed.split_once(char::is_whitespace).unwrap_or((typed, ""));
    state.choose(kind, &open::unquoted(name))?;
    model.dialogs.push(Dialog::Export(state));
    Ok(export::update(model, export::Msg::Accept))
}

fn themes(model: &Model) -> Vec<(String, String)> {
    model.themes.iter().map(|(name, look)| (name.clone(), look.as_ref().map_or_else(Clone::clone, |l| l.origin()))).collect()
}

fn theme(model: &mut Model, typed: &str) -> Done {
    let known: Vec<&str> = model.themes.iter().map(|t| t.0.as_str()).collect();
    let look = model.themes.iter().find(|t| t.0 == typed).ok_or_else(|| unknown("theme", typed, &known))?.1.clone()?;
    picker::set_theme(model, look);
    Ok(Vec::new())
}

fn map(model: &mut Model, typed: &str) -> Done {
    let names = MODES.map(|m| m.0);
    let mode = MODES.iter().find(|m| m.0 == typed).ok_or_else(|| unknown("evaluation", typed, &names))?;
    go_where_it_works(model, Context::Psr);
    Ok(psr::update(model, mode.2))
}

fn method(model: &mut Model, typed: &str) -> Done {
    let names: Vec<&str> = METHODS.iter().map(|m| m.name).collect();
    let method = METHODS.iter().find(|m| m.name == typed).ok_or_else(|| unknown("method", typed, &names))?.method;
    let linear_head = model.opened.as_ref().is_some_and(|o| o.has_linear_head);
    if method == Method::Cam && !linear_head {
        return Err("plain CAM needs global average pooling and one linear layer at the end; gradcam works on every network".into());
    }
    model.cam.method = method;
    if method == Method::Cam {
        model.cam.layer = None;
    }
    go_where_it_works(model, Context::Cam);
    Ok(Vec::new())
}

fn layers(model: &Model) -> Vec<(String, String)> {
    let layers = model.opened.as_ref().map(|o| o.layers.as_slice()).unwrap_or_default();
    layers.iter().rev().map(|l| (l.name.clone(), format!("{} {}x{}x{}", l.op, l.units, l.spatial[0], l.spatial[1]))).collect()
}

fn layer(model: &mut Model, typed: &str) -> Done {
    let layers = layers(model);
    let known: Vec<&str> = layers.iter().map(|l| l.0.as_str()).collect();
    if !known.contains(&typed) {
        return Err(if known.len() > 12 {
            format!("there is no layer '{}'; typing a part of its name lists them", super::text::quoted(typed))
        } else {
            unknown("layer", typed, &known)
        });
    }
    if model.screen == Screen::Cam {
        model.cam.set_layer(Some(typed.to_owned()));
    } else {
        units::show(model, typed.to_owned());
    }
    Ok(Vec::new())
}
