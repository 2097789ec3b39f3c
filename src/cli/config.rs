//! The configuration: `./psescope.toml` over `$XDG_CONFIG_HOME/psescope/config.toml`, or the one file that `--config` names.
//!
//! What a file says becomes the default of the flag of the same name before the arguments are parsed, so flags and `PSESCOPE_*`
//! variables win by themselves. What is no flag's default (the library, colours, keys) is asked for here.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use clap::{ArgMatches, Command, parser::ValueSource};
use serde::Deserialize;
use toml::{Spanned, Value};

use super::args::parse_keep;
use crate::{
    core::{
        attack,
        error::{Error, Result},
    },
    runtime::{Device, EngineChoice, paths},
    tui::{
        graphics::Wish,
        keymap::{Keymap, SECTIONS},
        text::unknown,
        theme::{Depth, custom},
    },
};

/// The project's file, in the folder where psescope is started.
const PROJECT: &str = "psescope.toml";
/// The person's file, in the configuration folder.
const USER: &str = "config.toml";

/// What `psescope generate config` prints: every key with its default.
pub const TEMPLATE: &str = r#"# Configuration of psescope. Lines that start with '#' show defaults; remove the '#' to change one.
#
# Read from $XDG_CONFIG_HOME/psescope/config.toml, and over it from ./psescope.toml; --config FILE is read instead of both.
# Flags and PSESCOPE_* variables win over these files. Relative paths start at the folder of the file.

# ONNX Runtime library to use (not read from ./psescope.toml), and engine: auto, onnxruntime, embedded.
# ort_lib = "/usr/lib/libonnxruntime.so"
# engine = "auto"

# Where to run: auto, cpu, cuda, cuda:N, tensorrt, tensorrt:N. Threads of one run; 0 is one per physical core.
# device = "auto"
# threads = 0

# Preprocessing (imagenet, inception, caffe, tf, unit, cifar10, lite, or a JSON file) and class names of every model that is opened.
# preprocess = "imagenet"
# labels = "labels.txt"

# Colours: never, 16, 256, true. Theme: terminal, dark, light, high-contrast, or NAME for themes/NAME.toml beside this file
# (psescope generate theme prints one to start from).
# Pictures at rest: auto, blocks, kitty, iterm2, sixel.
# color = "true"
# theme = "terminal"
# ascii = false
# graphics = "auto"
# mouse = false

# Room for the runs that screen T keeps of a folder in the state folder, so that Enter shows them at once; 0 keeps none.
# keep_runs = "2GiB"

# Other keys for actions; psescope generate keys lists the names.
[keys]
# step-back = "h <left>"

# What attacks do when no flag says otherwise. A parameter is used by every attack that has it.
[attack]
# name = "ifgsm"
# seed = 0
# eps = "8/255"
# steps = 10
"#;

/// Keys outside the tables, and what holds when nothing is said. A value becomes the default of the flag of the same name.
const KEYS: [(&str, &str); 12] = [
    ("ort_lib", "searched"),
    ("engine", "auto"),
    ("device", "auto"),
    ("threads", "0"),
    ("preprocess", "from the model"),
    ("labels", "from the model"),
    ("color", "detected"),
    ("theme", "terminal"),
    ("ascii", "false"),
    ("graphics", "auto"),
    ("mouse", "false"),
    ("keep_runs", "2GiB"),
];

/// A file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    ort_lib: Option<Spanned<String>>,
    engine: Option<Spanned<String>>,
    device: Option<Spanned<String>>,
    threads: Option<Spanned<u16>>,
    preprocess: Option<Spanned<String>>,
    labels: Option<Spanned<String>>,
    color: Option<Spanned<String>>,
    theme: Option<Spanned<String>>,
    ascii: Option<Spanned<bool>>,
    graphics: Option<Spanned<String>>,
    mouse: Option<Spanned<bool>>,
    keep_runs: Option<Spanned<String>>,
    keys: BTreeMap<String, Spanned<String>>,
    attack: BTreeMap<String, Spanned<Value>>,
}

/// One value, as text, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// As a person would type it after the flag.
    pub value: String,
    /// File.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// Everything the files say.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Values outside the tables, by key.
    settings: BTreeMap<&'static str, Setting>,
    /// Keys of actions.
    keys: BTreeMap<String, Setting>,
    /// Defaults of attacks.
    attack: BTreeMap<String, Setting>,
    /// Files that were read, the one that wins last.
    files: Vec<PathBuf>,
}

/// A value in use and where it comes from, for `doctor`.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Key.
    pub key: String,
    /// Value, or what holds when nothing is said.
    pub value: String,
    /// Flag, variable, file and line, or default.
    pub from: String,
}

static CURRENT: OnceLock<(Config, Vec<Origin>)> = OnceLock::new();

/// The configuration of this process; empty until the arguments are parsed.
pub fn current() -> &'static Config {
    &CURRENT.get_or_init(Default::default).0
}

/// Where each value comes from.
pub fn origins() -> &'static [Origin] {
    &CURRENT.get_or_init(Default::default).1
}

/// Keeps the configuration for [`current`]; its first caller decides.
pub fn install(config: Config, matches: &ArgMatches) -> &'static Config {
    let origins = config.origins(matches);
    &CURRENT.get_or_init(|| (config, origins)).0
}

impl Config {
    /// Reads the named file, or the person's and the project's. Files that are not there say nothing, except the named one.
    pub fn load(named: Option<&Path>) -> Result<Self> {
        if let Some(path) = named {
            return Self::read(path);
        }
        let mut config = Self::default();
        for path in [paths::config_dir().map(|d| d.join(USER)), Some(PROJECT.into())].into_iter().flatten().filter(|p| p.is_file()) {
            let over = Self::read(&path)?;
            if let (true, Some(library)) = (path == Path::new(PROJECT), over.settings.get("ort_lib")) {
                return Err(Error::Parameter(format!(
                    "{PROJECT}:{}: ort_lib is only taken from your own configuration, because a folder must not choose the code that runs; \
                     move it there or give --ort-lib",
                    library.line
                )));
            }
            config.settings.extend(over.settings);
            config.keys.extend(over.keys);
            config.attack.extend(over.attack);
            config.files.extend(over.files);
        }
        config.check_keys()?;
        Ok(config)
    }

    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::Parameter(format!("cannot read the configuration {}: {e}; check --config", path.display())))?;
        let config = Self::parse(&text, path)?;
        config.check_keys()?;
        Ok(config)
    }

    fn parse(text: &str, path: &Path) -> Result<Self> {
        let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
        let fail = |line: usize, what: String| Error::Parameter(format!("{}:{line}: {what}", path.display()));
        let file: File = toml::from_str(text).map_err(|e| {
            let at = e.span().map_or(1, |s| line(s.start));
            fail(at, unknown_key(e.message()).unwrap_or_else(|| first_line(e.message())))
        })?;
        let setting = |value: String, at: usize| Setting { value, file: path.to_owned(), line: line(at) };
        let mut config = Self { files: vec![path.to_owned()], ..Self::default() };
        for (key, value) in file.values() {
            let Some((value, at)) = value else { continue };
            check(key, &value).map_err(|what| fail(line(at), what))?;
            config.settings.insert(key, setting(located(key, value, path), at));
        }
        let actions: Vec<&str> = SECTIONS.iter().flat_map(|s| s.bindings).map(|b| b.name).collect();
        for (name, keys) in file.keys {
            if !actions.contains(&name.as_str()) {
                return Err(fail(line(keys.span().start), unknown("action", &name, &actions)));
            }
            let at = keys.span().start;
            config.keys.insert(name, setting(keys.into_inner(), at));
        }
        for (name, value) in file.attack {
            let at = value.span().start;
            let text = attack_value(&name, value.get_ref()).map_err(|what| fail(line(at), what))?;
            config.attack.insert(name, setting(text, at));
        }
        Ok(config)
    }

    /// Refuses keys that cannot be read or mean two things.
    fn check_keys(&self) -> Result<()> {
        let Some(first) = self.keys.values().next() else { return Ok(()) };
        let wrong = |what| Error::Parameter(format!("{}: [keys]: {what}", first.file.display()));
        Keymap::new(&self.keys()).map(drop).map_err(wrong)
    }

    /// A value outside the tables.
    fn get(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(|s| s.value.as_str())
    }

    /// The configured library.
    pub fn ort_lib(&self) -> Option<PathBuf> {
        self.get("ort_lib").map(PathBuf::from)
    }

    /// The configured way to show pictures.
    pub fn graphics(&self) -> Option<Wish> {
        self.get("graphics").and_then(|g| Wish::parse(g).ok())
    }

    /// The configured colour depth.
    pub fn color(&self) -> Option<Depth> {
        self.get("color").and_then(|c| Depth::parse(c).ok())
    }

    /// The configured theme.
    pub fn theme(&self) -> &str {
        self.get("theme").unwrap_or("terminal")
    }

    /// Rebound keys: action, keys.
    pub fn keys(&self) -> Vec<(String, String)> {
        self.keys.iter().map(|(name, keys)| (name.clone(), keys.value.clone())).collect()
    }

    /// The attack to run when none is named.
    pub fn attack(&self) -> Option<&str> {
        self.attack.get("name").map(|s| s.value.as_str())
    }

    /// The configured seed.
    pub fn seed(&self) -> Option<u64> {
        self.attack.get("seed").and_then(|s| s.value.parse().ok())
    }

    /// Configured parameters that this attack has.
    pub fn params(&self, attack: &str) -> Vec<(String, String)> {
        let specs = attack::find(attack).map_or(&[][..], |a| a.params());
        let known = self.attack.iter().filter(|(name, _)| specs.iter().any(|s| s.name == *name));
        known.map(|(name, s)| (name.clone(), s.value.clone())).collect()
    }

    /// Makes the values the defaults of the flags of the same name. `matches` were parsed without them and say which attack is meant.
    pub fn as_defaults(&self, command: Command, matches: &ArgMatches) -> Command {
        let leaf = leaf(matches);
        let named = leaf.try_get_one::<String>("attack").ok().flatten();
        let attack = match (leaf_source(leaf, "attack"), self.attack()) {
            (None | Some(ValueSource::DefaultValue), Some(configured)) => configured,
            _ => named.map_or("", String::as_str),
        };
        let mut defaults: Vec<(String, String)> = Vec::new();
        let flags = self.settings.iter().filter(|(key, _)| !["ort_lib", "color"].contains(key));
        defaults.extend(flags.map(|(key, s)| ((*key).to_owned(), s.value.clone())));
        defaults.extend(self.attack().map(|a| ("attack".to_owned(), a.to_owned())));
        defaults.extend(self.seed().map(|s| ("seed".to_owned(), s.to_string())));
        defaults.extend(self.params(attack));
        with_defaults(command, &defaults)
    }

    fn origins(&self, matches: &ArgMatches) -> Vec<Origin> {
        let leaf = leaf(matches);
        let one = |key: &str, default: &str| {
            let setting = self.settings.get(key);
            let raw = leaf.try_get_raw(key).ok().flatten().and_then(|mut v| v.next()).map(|v| v.to_string_lossy().into_owned());
            let (value, from) = match leaf_source(leaf, key) {
                Some(ValueSource::CommandLine) => (raw, format!("--{}", key.replace('_', "-"))),
                Some(ValueSource::EnvVariable) => (raw, format!("PSESCOPE_{}", key.to_uppercase())),
                _ => (setting.map(|s| s.value.clone()).or(raw), setting.map_or_else(|| "default".into(), ToString::to_string)),
            };
            Origin { key: key.into(), value: value.unwrap_or_else(|| default.to_owned()), from }
        };
        let tables = [("keys", &self.keys), ("attack", &self.attack)];
        let rows = tables.into_iter().flat_map(|(table, rows)| {
            rows.iter().map(move |(key, s)| Origin { key: format!("{table}.{key}"), value: s.value.clone(), from: s.to_string() })
        });
        KEYS.iter().map(|(key, default)| one(key, default)).chain(rows).collect()
    }

    /// Files that were read.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

impl File {
    /// Values outside the tables: key, text, position.
    fn values(&self) -> Vec<(&'static str, Option<(String, usize)>)> {
        fn of<T: ToString>(value: &Option<Spanned<T>>) -> Option<(String, usize)> {
            value.as_ref().map(|v| (v.get_ref().to_string(), v.span().start))
        }
        vec![
            ("ort_lib", of(&self.ort_lib)),
            ("engine", of(&self.engine)),
            ("device", of(&self.device)),
            ("threads", of(&self.threads)),
            ("preprocess", of(&self.preprocess)),
            ("labels", of(&self.labels)),
            ("color", of(&self.color)),
            ("theme", of(&self.theme)),
            ("ascii", of(&self.ascii).filter(|v| v.0 == "true")),
            ("graphics", of(&self.graphics)),
            ("mouse", of(&self.mouse).filter(|v| v.0 == "true")),
            ("keep_runs", of(&self.keep_runs)),
        ]
    }
}

/// Folder of the person's own themes.
pub fn themes_dir() -> Option<PathBuf> {
    paths::config_dir().map(|d| d.join("themes"))
}

fn check(key: &str, value: &str) -> Result<(), String> {
    match key {
        "engine" => value.parse::<EngineChoice>().map(drop),
        "device" => value.parse::<Device>().map(drop),
        "color" => Depth::parse(value).map(drop),
        // One given by its path is read when it is used.
        "theme" if !value.ends_with(".toml") => custom::find(value, themes_dir().as_deref()).map(drop),
        "graphics" => Wish::parse(value).map(drop),
        "keep_runs" => parse_keep(value).map(drop),
        _ => Ok(()),
    }
}

/// Paths start at the file's folder, or at the home folder after `~/`.
fn located(key: &str, value: String, file: &Path) -> String {
    let folder = file.parent().filter(|p| !p.as_os_str().is_empty());
    let path = match value.strip_prefix("~/") {
        Some(rest) => etcetera::home_dir().ok().map(|home| home.join(rest)),
        None => folder.map(|f| f.join(&value)),
    };
    // A preset of the same name is more likely meant than a file that is not there.
    let file = |p: &PathBuf| match key {
        "ort_lib" | "labels" => true,
        "preprocess" => p.is_file(),
        "theme" => value.ends_with(".toml"),
        _ => false,
    };
    let path = path.filter(file);
    path.map_or(value, |p| p.to_string_lossy().into_owned())
}

fn attack_value(name: &str, value: &Value) -> Result<String, String> {
    let text = match value {
        Value::String(s) => s.clone(),
        Value::Integer(i) => i.to_string(),
        Value::Float(f) => f.to_string(),
        Value::Boolean(b) => b.to_string(),
        _ => return Err(format!("{name} is a number, a word, or true or false")),
    };
    match name {
        "name" => {
            let names: Vec<&str> = attack::REGISTRY.iter().map(|a| a.name()).collect();
            if names.contains(&text.as_str()) { Ok(text) } else { Err(unknown("attack", &text, &names)) }
        }
        "seed" => text.parse::<u64>().map(|_| text).map_err(|_| "seed is a whole number from 0".into()),
        _ => {
            let specs = || attack::REGISTRY.iter().flat_map(|a| a.params());
            let known: Vec<&str> = ["name", "seed"].into_iter().chain(specs().map(|s| s.name)).collect();
            let mut same = specs().filter(|s| s.name == name).peekable();
            if same.peek().is_none() {
                return Err(unknown("key", name, &known));
            }
            same.try_for_each(|s| s.parse(&text).map(drop)).map_err(|e| e.to_string()).map(|()| text)
        }
    }
}

/// The name in serde's message about an unknown field, as our sentence.
fn unknown_key(message: &str) -> Option<String> {
    let name = message.strip_prefix("unknown field `")?.split('`').next()?;
    let known: Vec<&str> = KEYS.iter().map(|k| k.0).chain(["keys", "attack"]).collect();
    Some(unknown("key", name, &known))
}

fn first_line(message: &str) -> String {
    message.lines().collect::<Vec<_>>().join(", ")
}

/// The matches of the subcommand that runs.
fn leaf(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, inner)| leaf(inner))
}

fn leaf_source(matches: &ArgMatches, id: &str) -> Option<ValueSource> {
    matches.try_contains_id(id).ok().filter(|present| *present).and_then(|_| matches.value_source(id))
}

fn with_defaults(command: Command, defaults: &[(String, String)]) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|s| s.get_name().to_owned()).collect();
    let command = command.mut_args(|arg| match defaults.iter().find(|(id, _)| arg.get_id() == id.as_str()) {
        // clap keeps defaults for the life of the process, which parses its arguments once.
        Some((_, value)) => arg.default_value(&*value.clone().leak()),
        None => arg,
    });
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, |sub| with_defaults(sub, defaults)))
}

/// Arguments parsed with the configuration's values as defaults.
pub fn parse(command: &dyn Fn() -> Command, args: &[OsString]) -> Result<ArgMatches, Stop> {
    let matches = command().try_get_matches_from(args)?;
    let config = match matches.subcommand_name() {
        // What the program knows about itself does not depend on the configuration.
        Some("generate") => Config::default(),
        name => {
            let named = leaf(&matches).try_get_one::<PathBuf>("config").ok().flatten();
            match Config::load(named.map(PathBuf::as_path)) {
                // doctor must work when the configuration is what is wrong.
                Err(error) if name == Some("doctor") => {
                    super::tell::note(format_args!("the configuration is not used: {error}"));
                    Config::default()
                }
                loaded => loaded?,
            }
        }
    };
    let matches = config.as_defaults(command(), &matches).try_get_matches_from(args)?;
    install(config, &matches);
    Ok(matches)
}

/// Why there is nothing to run.
#[derive(Debug)]
pub enum Stop {
    /// Help, version, or wrong usage, as clap prints it.
    Clap(clap::Error),
    /// A configuration that cannot be used.
    Config(Error),
}

impl From<clap::Error> for Stop {
    fn from(error: clap::Error) -> Self {
        Self::Clap(error)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Config(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config> {
        Config::parse(text, Path::new("/etc/x/c.toml")).and_then(|c| c.check_keys().map(|()| c))
    }

    #[test]
    fn the_template_is_empty_as_it_stands_and_shows_defaults_that_parse() {
        let config = parse(TEMPLATE).unwrap();
        assert!(config.settings.is_empty() && config.keys.is_empty() && config.attack.is_empty());
        let keys = |line: &str| line.strip_prefix("# ").filter(|l| l.split(' ').nth(1) == Some("=")).map(str::to_owned);
        let full: String = TEMPLATE.lines().map(|l| keys(l).unwrap_or_else(|| l.to_owned()) + "\n").collect();
        let config = parse(&full).unwrap();
        let named: Vec<&str> = config.settings.keys().copied().collect();
        for key in KEYS.iter().map(|k| k.0).filter(|k| !["ascii", "mouse"].contains(k)) {
            assert!(named.contains(&key), "{key} is not in the template");
        }
        assert_eq!((config.attack(), config.seed()), (Some("ifgsm"), Some(0)));
        for (name, value) in config.params("ifgsm") {
            let spec = attack::find("ifgsm").unwrap().params().iter().find(|s| s.name == name).unwrap();
            assert_eq!(spec.parse(&value).unwrap(), spec.parse(spec.default).unwrap(), "{name}");
        }
        assert_eq!(config.keys(), vec![("step-back".to_owned(), "h <left>".to_owned())]);
    }

    #[test]
    fn mistakes_name_the_line_and_the_nearest_word() {
        for (text, expected) in [
            ("\ndevise = 'cpu'\n", "c.toml:2: unknown key 'devise'; did you mean 'device'?"),
            ("theme = 'darc'", "c.toml:1: unknown theme 'darc'; did you mean 'dark'?"),
            ("[keys]\n\nstep-bak = 'b'", "c.toml:3: unknown action 'step-bak'; did you mean 'step-back'?"),
            ("[attack]\nepss = 1", "c.toml:2: unknown key 'epss'; did you mean 'eps'?"),
            ("[attack]\nname = 'ifgs'", "c.toml:2: unknown attack 'ifgs'; did you mean 'ifgsm'?"),
            ("[attack]\neps = 'much'", "c.toml:2: eps accepts"),
            ("device = 'toaster'", "c.toml:1: unknown device 'toaster'"),
            ("threads = -1", "c.toml:1: "),
            ("threads = 1\nthreads = 2", "c.toml:2: "),
            ("threads 1", "c.toml:1: "),
            ("[keys]\nstep-back = '<right>'", "two things"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{text:?}: {error}");
        }
    }

    #[test]
    fn paths_start_at_the_folder_of_the_file() {
        let config = parse("labels = 'a.txt'\nort_lib = '/lib/o.so'\npreprocess = 'unit'").unwrap();
        assert_eq!(config.get("labels"), Some("/etc/x/a.txt"));
        assert_eq!(config.ort_lib(), Some("/lib/o.so".into()));
        assert_eq!(config.get("preprocess"), Some("unit"));
    }

    #[test]
    fn parameters_go_to_the_attacks_that_have_them() {
        let config = parse("[attack]\nkappa = 3\neps = 0.1").unwrap();
        assert!(config.params("ifgsm").iter().all(|(n, _)| n == "eps"));
        assert_eq!(config.params("cw"), vec![("kappa".to_owned(), "3".to_owned())]);
    }
}
