//! The headless command that does what is on the screen, ready for a POSIX shell.

use std::path::{Path, PathBuf};

use crate::{
    core::{
        attack::{Kind, ParamSpec, Params},
        explain::{psr::Mode, units::Fill},
    },
    engine::{
        command::{AttackRequest, Target},
        sample,
    },
    report::facts::quote,
    tui::{
        model::{Model, Run},
        psr,
        screen::{Screen, cam, units::Sort},
    },
};

/// The command for the open screen at the step being looked at.
pub fn command(model: &Model) -> String {
    let mut line = Line::default();
    if model.screen == Screen::Triage
        && let Some(folder) = &model.triage.folder
    {
        let request = model.triage.request.as_ref().unwrap_or(&model.request);
        line.words(["psescope", "triage"]).path(&model.model_path).path(folder);
        match (&model.triage.rival, &request.target) {
            // Two models may number their classes differently.
            (Some(_), Target::Class(class)) => {
                line.attack(model, request, &Target::Untargeted, None).option("--target", &model.label(*class))
            }
            (_, target) => line.attack(model, request, target, None),
        };
        if let Some(rival) = &model.triage.rival {
            line.word("--compare").path(rival);
        }
        let out = PathBuf::from(format!("psescope-triage-{}", sample::stem(folder)));
        return line.flags(model).word("--out").path(&out).word("--json").done();
    }
    let Some(run) = model.run.as_ref().filter(|r| r.trace.is_some()) else {
        line.words(["psescope", "attack"]).path(&model.model_path).path(&model.image_path);
        line.attack(model, &model.request, &model.request.target, model.request.label);
        return line.flags(model).word("--json").done();
    };
    match model.screen {
        Screen::Attack | Screen::Triage => attack(model, run, &mut line, None),
        Screen::Pixels => pixels_map(model, run, &mut line),
        Screen::Cam => activation_map(model, run, &mut line),
        Screen::Layers => {
            if let Some(mask) = &model.layers.patched {
                line.case("mask", model, run).option("--layer", &mask.layer).word("--all");
                line.option("--patch", "clean").step(model);
                return line.flags(model).word("--json").done();
            }
            line.case("layers", model, run);
            line.option("--layers", if model.layers.all { "all" } else { "auto" });
            if model.layers.over {
                line.word("--timeline");
            } else {
                line.step(model);
            }
        }
        Screen::Units => network_units(model, run, &mut line),
        Screen::Insight => {
            line.case("insight", model, run);
            line.option("--mode", mode(model.psr.mode));
            if let Some(layer) = &model.units.layer {
                line.option("--layer", layer);
            }
            line.step(model);
        }
    }
    line.flags(model).word("--json").done()
}

fn attack(model: &Model, run: &Run, line: &mut Line, out: Option<&Path>) {
    line.words(["psescope", "attack"]).path(&model.model_path).path(&model.image_path).run(model, run);
    if let Some(out) = out {
        line.word("--out").path(out);
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Exact => "exact",
        Mode::Linear => "linear",
        Mode::Path => "path",
    }
}

fn pixels_map(model: &Model, run: &Run, line: &mut Line) {
    line.case("pse", model, run);
    let [height, width] = psr::cell(model);
    line.option("--cells", &format!("{height}x{width}"));
    // What is shown may be the estimate while the exact map is not there.
    let shown = psr::shown(model).map_or(model.psr.mode, |s| s.map.settings.mode);
    line.option("--mode", mode(shown));
    match model.psr.relative {
        Some(fraction) => line.option("--floor-relative", &fraction.to_string()),
        None => line.option("--psr-floor", &model.psr.floor.to_string()),
    };
    line.option("--psr-threshold", &model.psr.threshold.to_string()).step(model);
    if model.pixels.strip {
        line.word("--timeline");
    }
}

/// The map with the focus.
fn activation_map(model: &Model, run: &Run, line: &mut Line) {
    let adversarial = model.cam.focus >= 2;
    let recorded = recorded(model, run);
    if adversarial && recorded.is_none() {
        // The command takes an attacked image from a recorded run only.
        let file = PathBuf::from(format!("{}-{}.pse", sample::stem(&model.image_path), run.request.attack));
        attack(model, run, line, Some(&file));
        line.flags(model).raw("&&").words(["psescope", "cam"]).path(&file);
    } else {
        line.words(["psescope", "cam"]);
        match recorded {
            Some(file) => line.path(&file),
            None => line.path(&model.model_path).path(&model.image_path),
        };
    }
    line.option("--method", model.cam.method.info().name);
    if let Some(layer) = &model.cam.layer {
        line.option("--layer", layer);
    }
    if let Some((truth, other)) = cam::classes(model) {
        line.option("--class", &(if model.cam.focus.is_multiple_of(2) { truth } else { other }).to_string());
    }
    line.option("--on", if adversarial { "adv" } else { "clean" });
    if adversarial {
        line.step(model);
        if model.cam.difference {
            line.word("--difference");
        }
    }
    match model.cam.chart {
        cam::Chart::Faithfulness => drop(line.word("--faithfulness")),
        cam::Chart::Scores if adversarial => drop(line.word("--is")),
        _ => {}
    }
}

fn network_units(model: &Model, run: &Run, line: &mut Line) {
    let state = &model.units;
    if let Some(mask) = state.masks.last().map(|m| &m.mask) {
        line.case("mask", model, run).option("--layer", &mask.layer);
        let units: Vec<String> = mask.units.iter().map(ToString::to_string).collect();
        line.option("--units", &units.join(","));
        line.option("--patch", if mask.fill == Fill::Zero { "zero" } else { "clean" }).step(model);
        return;
    }
    line.case("units", model, run);
    if let Some(layer) = &state.layer {
        line.option("--layer", layer);
    }
    let sort = match state.sort {
        // The command sorts by the standardised change itself where it is given reference images.
        Sort::Change | Sort::Standardised => "change",
        Sort::Effect => "effect",
        Sort::Concept => "iou",
        Sort::Unit => "unit",
    };
    line.option("--sort", sort).step(model);
}

/// The file of the run on the screen, when it was read from one.
fn recorded(model: &Model, run: &Run) -> Option<PathBuf> {
    model.replay.as_ref().filter(|r| r.run == run.id).map(|r| r.recorded.path.clone())
}

/// A command line that grows.
#[derive(Debug, Default)]
struct Line(Vec<String>);

impl Line {
    fn raw(&mut self, text: &str) -> &mut Self {
        self.0.push(text.to_owned());
        self
    }

    fn word(&mut self, word: &str) -> &mut Self {
        self.raw(&quote(word))
    }

    fn words<const N: usize>(&mut self, words: [&str; N]) -> &mut Self {
        self.0.extend(words.map(quote));
        self
    }

    fn path(&mut self, path: &Path) -> &mut Self {
        let text = path.to_string_lossy();
        // A name that begins with a dash is no flag.
        if text.starts_with('-') { self.word(&format!("./{text}")) } else { self.word(&text) }
    }

    fn option(&mut self, name: &str, value: &str) -> &mut Self {
        if value.starts_with('-') || value.is_empty() { self.word(&format!("{name}={value}")) } else { self.word(name).word(value) }
    }

    /// A command that explains the run: from its file, or by attacking again.
    fn case(&mut self, command: &str, model: &Model, run: &Run) -> &mut Self {
        self.words(["psescope", command]);
        match recorded(model, run) {
            Some(file) => self.path(&file),
            None => self.path(&model.model_path).path(&model.image_path).run(model, run),
        }
    }

    /// The attack of a run, with everything that was resolved meanwhile.
    fn run(&mut self, model: &Model, run: &Run) -> &mut Self {
        self.attack(model, &run.request, &run.request.target, Some(run.label))
    }

    fn attack(&mut self, model: &Model, request: &AttackRequest, target: &Target, label: Option<usize>) -> &mut Self {
        self.option("--attack", &request.attack);
        if let Some(attack) = model.attacks.find(&request.attack) {
            let given = request.params.iter().map(|(n, v)| (n.as_str(), v.as_str()));
            // Defaults too: a configuration elsewhere may have others.
            match Params::check(attack.params(), given) {
                Ok(params) => params.iter().for_each(|(name, _, text)| self.parameter(attack.params(), name, text)),
                Err(_) => request.params.iter().for_each(|(name, text)| self.parameter(attack.params(), name, text)),
            }
        }
        let target = match target {
            Target::Untargeted => None,
            Target::Class(class) => Some(class.to_string()),
            Target::Random => Some("random".to_owned()),
            Target::Second => Some("second".to_owned()),
            Target::LeastLikely => Some("least-likely".to_owned()),
        };
        if let Some(target) = target {
            self.option("--target", &target);
        }
        if let Some(label) = label {
            self.option("--true", &label.to_string());
        }
        self.option("--seed", &request.seed.to_string());
        if let Some(region) = &request.within {
            self.option("--within", region);
        }
        self
    }

    fn parameter(&mut self, specs: &[ParamSpec], name: &str, text: &str) {
        let flag = specs.iter().any(|s| s.name == name && matches!(s.kind, Kind::Flag));
        if flag {
            self.word(&format!("--{name}={text}"));
        } else {
            self.option(&format!("--{name}"), text);
        }
    }

    /// The step that is shown.
    fn step(&mut self, model: &Model) -> &mut Self {
        match model.frame() {
            Some(frame) => self.option("--step", &frame.index.to_string()),
            None => self,
        }
    }

    /// What the program was started with.
    fn flags(&mut self, model: &Model) -> &mut Self {
        self.0.extend(model.flags.iter().map(|f| quote(f)));
        self
    }

    fn done(&self) -> String {
        self.0.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn the_shell_gives_every_word_back() {
        for word in [
            "plain",
            "",
            "two words",
            "it's",
            "$HOME",
            "`x`",
            "a\\b",
            "*",
            "~",
            "#1",
            "熊猫",
            "a\nb",
            "!x",
            "-",
            "8/255",
            "\"",
            "a;b",
            "x&&y",
        ] {
            let output = std::process::Command::new("sh").args(["-c", &format!("printf %s {}", quote(word))]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}
