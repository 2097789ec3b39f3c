//! The manual: clap's own sections, and what it cannot know (examples as they are typed, exit status, environment, files).

use std::{fmt::Write as _, fs, path::Path};

use anyhow::anyhow;
use clap::CommandFactory;
use clap_mangen::Man;

use crate::{cli::Cli, core::error::Error, engine::files};

const ENVIRONMENT: &[(&str, &str)] = &[
    ("PSESCOPE_*", "Every setting of the configuration that has one; the options above name theirs, psescope doctor lists them all."),
    ("ORT_DYLIB_PATH", "The ONNX Runtime library to use; --ort-lib goes before it."),
    ("VIRTUAL_ENV, CONDA_PREFIX", "Python environments that are searched for ONNX Runtime."),
    ("NO_COLOR, COLORTERM, TERM", "Colours of the interface, unless --color says them."),
    ("XDG_CONFIG_HOME, XDG_CACHE_HOME, XDG_STATE_HOME", "Where the files below are kept."),
];

const FILES: &[(&str, &str)] = &[
    ("~/.config/psescope/config.toml", "The configuration; psescope generate config prints one with every key."),
    ("./psescope.toml", "A configuration for one folder; it goes before the person's own."),
    ("~/.cache/psescope", "Gradient graphs, dissections, and the ONNX Runtime that psescope runtime install fetched."),
    ("~/.local/state/psescope/last.pse", "The last run of the inspector that was not saved by name."),
    ("~/.local/state/psescope/psescope.log", "What the inspector had to say."),
];

/// The page of the program, or of one of its commands, in roff.
pub fn page(command: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let mut program = Cli::command();
    program.build();
    let (examples, codes) = split(&program);
    let chosen = match command {
        None => program,
        Some(name) => {
            let known = format!("there is no command '{name}'; choose one of {}", commands().join(", "));
            program.find_subcommand(name).cloned().ok_or_else(|| anyhow!(Error::Parameter(known)))?
        }
    };
    let own = chosen.get_after_help().map(ToString::to_string);
    let has_commands = chosen.has_subcommands();
    let man = Man::new(chosen);
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if has_commands {
        man.render_subcommands_section(&mut out)?;
    }
    let mut text = String::new();
    match command {
        None => {
            as_typed(&mut text, "EXAMPLES", &examples);
            list(&mut text, "ENVIRONMENT", ENVIRONMENT);
            list(&mut text, "FILES", FILES);
        }
        Some(_) => as_typed(&mut text, "EXAMPLES", own.as_deref().unwrap_or_default()),
    }
    let codes: Vec<(&str, &str)> = codes.trim_end_matches('.').split("; ").filter_map(|c| c.split_once(' ')).collect();
    list(&mut text, "EXIT STATUS", &codes);
    out.extend(text.into_bytes());
    if command.is_none() {
        man.render_version_section(&mut out)?;
    }
    Ok(out)
}

fn commands() -> Vec<String> {
    let program = Cli::command();
    program.get_subcommands().map(|c| c.get_name().to_owned()).collect()
}

/// Every page, as files of a folder.
pub fn write_all(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::Input(format!("cannot make {}: {e}; give another folder", folder.display())))?;
    files::save(&folder.join("psescope.1"), &page(None)?)?;
    for name in commands() {
        files::save(&folder.join(format!("psescope-{name}.1")), &page(Some(&name))?)?;
    }
    Ok(())
}

/// What stands behind the program's help: examples, and exit codes as `0 done; 1 ...`.
fn split(program: &clap::Command) -> (String, String) {
    let text = program.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (examples, codes) = text.split_once("Exit codes: ").unwrap_or((&text, ""));
    (examples.to_owned(), codes.to_owned())
}

/// Lines that must stay as they are.
fn as_typed(out: &mut String, title: &str, text: &str) {
    let text = text.strip_prefix("Examples:").unwrap_or(text).trim_matches('\n');
    if text.trim().is_empty() {
        return;
    }
    let _ = writeln!(out, ".SH {title}\n.nf");
    text.lines().for_each(|line| out.push_str(&(escaped(line) + "\n")));
    out.push_str(".fi\n");
}

fn list(out: &mut String, title: &str, entries: &[(&str, &str)]) {
    if !entries.is_empty() {
        let _ = writeln!(out, ".SH {title}");
    }
    for (name, text) in entries {
        let _ = writeln!(out, ".TP\n\\fB{}\\fR\n{}", escaped(name), escaped(text));
    }
}

/// Text that roff prints as it is: neither hyphens nor a leading dot mean anything.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
