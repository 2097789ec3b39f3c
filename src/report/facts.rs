//! What every report says about a run in words.

use crate::{core::explain::psr::Mode, core::explain::psr::PsrMap, engine::findings::Findings};

/// One line: what was done to what.
pub fn title(findings: &Findings) -> String {
    let meta = &findings.meta;
    format!("{} on {}", meta.attack, file_name(&meta.image))
}

/// One sentence: the outcome.
pub fn outcome(findings: &Findings) -> String {
    let meta = &findings.meta;
    let goal = meta.target.map_or_else(|| format!("leave '{}'", meta.name(meta.label)), |t| format!("reach '{}'", meta.name(t)));
    let result = if meta.success { "reached" } else { "not reached" };
    let flipped = findings
        .trace
        .flipped_at()
        .map_or_else(|| "the prediction never changed".into(), |i| format!("the prediction first changed at step {i}"));
    format!("Goal: {goal}, {result}; {flipped}.")
}

/// The norms of the step that is shown, in pixel space 0 to 1.
pub fn norms(findings: &Findings) -> String {
    findings.record().map_or_else(
        |_| String::new(),
        |r| format!("L0 {} pixels, L1 {}, L2 {}, Linf {} = {:.2}/255", r.l0, number(r.l1), number(r.l2), number(r.linf), r.linf * 255.0),
    )
}

/// How a map was evaluated; estimates say so.
pub fn evaluation(map: &PsrMap) -> String {
    match map.settings.mode {
        Mode::Exact => format!("exact, {} forward runs", map.forwards),
        Mode::Linear => "an estimate from one gradient".into(),
        Mode::Path => "an estimate from gradients along the way from the clean image".into(),
    }
}

/// What is known about the recording: name and value.
pub fn provenance(findings: &Findings) -> Vec<(&'static str, String)> {
    let meta = &findings.meta;
    let (c, h, w) = findings.trace.clean.dim();
    let mut rows = vec![
        ("Model", meta.model.clone()),
        ("SHA-256 of the model", meta.model_sha256.clone()),
        ("Image", format!("{} ({w} x {h} x {c})", meta.image)),
        ("Preprocessing", meta.preprocessing.clone()),
        ("Attack", meta.attack.clone()),
        ("True class", named(findings, meta.label)),
        ("Target", meta.target.map_or_else(|| "none: any other class".into(), |t| named(findings, t))),
        ("Seed", meta.seed.to_string()),
        ("Steps", meta.steps.len().saturating_sub(1).to_string()),
        ("Time", format!("{:.2} s", meta.steps.last().map_or(0.0, |s| s.seconds))),
        ("Engine", meta.provider.clone()),
        ("Recorded by", format!("psescope {}", meta.version)),
    ];
    rows.extend((!meta.system.is_empty()).then(|| ("Machine", meta.system.clone())));
    rows.extend(meta.written.map(|t| ("Written", format!("{} UTC", date(t)))));
    rows
}

/// A class as `388 giant panda`.
pub fn named(findings: &Findings, class: usize) -> String {
    format!("{class} {}", findings.meta.name(class))
}

/// The command that does the same again.
pub fn command(findings: &Findings) -> String {
    let meta = &findings.meta;
    let mut words =
        vec!["psescope".into(), "attack".into(), meta.model.clone(), meta.image.clone(), "--attack".into(), meta.attack.clone()];
    words.extend(meta.params.iter().map(|(name, value)| format!("--{name}={value}")));
    words.extend([format!("--true={}", meta.label)]);
    words.extend(meta.target.map(|t| format!("--target={t}")));
    words.push(format!("--seed={}", meta.seed));
    shell(&words)
}

/// The command that recorded the run, when it is known.
pub fn recorded_command(findings: &Findings) -> Option<String> {
    (!findings.meta.command.is_empty()).then(|| shell(&findings.meta.command))
}

/// Words as a shell would read them back.
pub fn shell(words: &[String]) -> String {
    words.iter().map(|w| quote(w)).collect::<Vec<_>>().join(" ")
}

/// A word as a POSIX shell takes it literally.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,+@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// Last part of a path.
pub fn file_name(path: &str) -> String {
    crate::engine::sample::title(path.as_ref())
}

/// A number with four significant digits.
pub fn number(value: f32) -> String {
    if !value.is_finite() {
        return "undefined".into();
    }
    if value == 0.0 {
        return "0".into();
    }
    let digits = (3 - value.abs().log10().floor() as i32).clamp(0, 8) as usize;
    if value.abs() < 1e-4 || value.abs() >= 1e6 { format!("{value:.3e}") } else { format!("{value:.digits$}") }
}

/// `2026-03-01 12:00` from seconds since 1970, proleptic Gregorian (the usual days-from-civil arithmetic, backwards).
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Eras of 400 years that begin on 1 March of the year 0.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day_of_month:02} {:02}:{:02}", rest / 3600, rest % 3600 / 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01 00:00");
        assert_eq!(date(951_782_400), "2000-02-29 00:00");
        assert_eq!(date(1_767_225_599), "2025-12-31 23:59");
    }

    #[test]
    fn words_come_back_from_a_shell() {
        let words = ["a b", "it's", "--eps=8/255", ""].map(str::to_owned);
        assert_eq!(shell(&words), "'a b' 'it'\\''s' --eps=8/255 ''");
    }

    #[test]
    fn numbers_keep_four_digits() {
        assert_eq!([number(0.031_372), number(12.345_6), number(0.0), number(-1234.5)], ["0.03137", "12.35", "0", "-1234"]);
        assert_eq!([number(f32::NAN), number(2e-7)], ["undefined", "2.000e-7"]);
    }
}
