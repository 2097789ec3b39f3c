//! Themes of the person's own: `NAME.toml` in the folder `themes` beside the configuration. A file starts from a built-in theme and
//! changes the colours it names.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use ratatui::style::{Color, Modifier};
use serde::Deserialize;
use toml::Spanned;

use super::{Look, ROLES, builtin};
use crate::tui::text::unknown;

/// A file larger than this is no theme.
const LARGEST: u64 = 64 << 10;

/// Words for attributes.
const ATTRIBUTES: [(&str, Modifier); 4] =
    [("bold", Modifier::BOLD), ("italic", Modifier::ITALIC), ("underlined", Modifier::UNDERLINED), ("reversed", Modifier::REVERSED)];

/// Colours by name.
const COLOURS: [(&str, Color); 17] = [
    ("default", Color::Reset),
    ("black", Color::Black),
    ("red", Color::Red),
    ("green", Color::Green),
    ("yellow", Color::Yellow),
    ("blue", Color::Blue),
    ("magenta", Color::Magenta),
    ("cyan", Color::Cyan),
    ("gray", Color::Gray),
    ("dark-gray", Color::DarkGray),
    ("light-red", Color::LightRed),
    ("light-green", Color::LightGreen),
    ("light-yellow", Color::LightYellow),
    ("light-blue", Color::LightBlue),
    ("light-magenta", Color::LightMagenta),
    ("light-cyan", Color::LightCyan),
    ("white", Color::White),
];

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    base: Option<Spanned<String>>,
    background: Option<Spanned<toml::Value>>,
    colors: BTreeMap<String, Spanned<toml::Value>>,
}

/// What `psescope generate theme` prints: every role with the colour it has in the dark theme.
pub fn template() -> String {
    let names: Vec<&str> = COLOURS.iter().map(|c| c.0).collect();
    let mut out = format!(
        "# A theme of psescope. Save it as themes/NAME.toml beside config.toml (psescope doctor names the folder), then choose it with\n\
         # --theme NAME, theme = \"NAME\" in the configuration, or Ctrl-T inside.\n\
         #\n\
         # A colour is \"#rrggbb\", a number of the 256-colour palette, or one of {}.\n\
         # {} may stand before or after it, for instance \"bold #ffb454\"; attributes of the base stay. Terminals with\n\
         # sixteen colours show the named ones and take the rest from the theme 'terminal'.\n\
         # Lines that start with '#' show the colours of the base; remove the '#' to change one.\n\
         \n\
         # The built-in theme to start from: {}.\n\
         base = \"dark\"\n\
         # Behind everything; \"default\" leaves the terminal's own.\n\
         # background = \"#16191f\"\n\
         \n\
         [colors]\n",
        names.join(", "),
        ATTRIBUTES.map(|a| a.0).join(", "),
        builtin::NAMES.join(", "),
    );
    for (role, name, help) in ROLES {
        let (colour, attributes) = builtin::look("dark", role);
        let words: String = ATTRIBUTES.iter().filter(|(_, m)| attributes.contains(*m)).map(|(word, _)| format!("{word} ")).collect();
        let value = format!("\"{words}{}\"", shown(colour));
        out.push_str(&format!("# {:<12} = {value:<20} # {help}\n", name));
    }
    out
}

fn shown(colour: Color) -> String {
    match colour {
        Color::Rgb(r, g, b) => format!("#{r:02x}{g:02x}{b:02x}"),
        Color::Indexed(i) => i.to_string(),
        named => COLOURS.iter().find(|(_, c)| *c == named).map_or("default", |(name, _)| name).to_owned(),
    }
}

/// The look with this name: a built-in one, a file given by its path (it ends in .toml), or one of the folder.
pub fn find(name: &str, folder: Option<&Path>) -> Result<Look, String> {
    if let Some(look) = Look::builtin(name) {
        return Ok(look);
    }
    if Path::new(name).extension().is_some_and(|e| e == "toml") {
        return read(Path::new(name));
    }
    let own = names(folder);
    match folder.filter(|_| own.iter().any(|n| n == name)) {
        Some(folder) => read(&folder.join(format!("{name}.toml"))),
        None => {
            let known: Vec<&str> = builtin::NAMES.into_iter().chain(own.iter().map(String::as_str)).collect();
            Err(unknown("theme", name, &known))
        }
    }
}

/// Names of the files in the folder, sorted.
pub fn names(folder: Option<&Path>) -> Vec<String> {
    let entries = folder.and_then(|f| fs::read_dir(f).ok()).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "toml") && p.is_file())
        .filter_map(|p| p.file_stem()?.to_str().map(ToOwned::to_owned))
        .filter(|n| !builtin::NAMES.contains(&n.as_str()) && !n.chars().any(char::is_control))
        .collect();
    names.sort();
    names
}

/// Every theme there is: the built-in ones, then the folder's; those that cannot be read say why.
pub fn all(folder: Option<&Path>) -> Vec<(String, Result<Look, String>)> {
    builtin::NAMES.into_iter().map(str::to_owned).chain(names(folder)).map(|name| (name.clone(), find(&name, folder))).collect()
}

fn read(path: &Path) -> Result<Look, String> {
    let why = |e: &dyn std::fmt::Display| format!("the theme {} cannot be read: {e}", path.display());
    if fs::metadata(path).map_err(|e| why(&e))?.len() > LARGEST {
        return Err(why(&"it is too large to be one"));
    }
    parse(&fs::read_to_string(path).map_err(|e| why(&e))?, path)
}

/// A look from a file's text.
pub fn parse(text: &str, path: &Path) -> Result<Look, String> {
    let line = |at: usize| text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1;
    // What a file says may reach a terminal through this sentence.
    let fail = |at: usize, what: String| {
        let what: String = what.chars().filter(|c| !c.is_control()).take(300).collect();
        format!("{}:{}: {what}", path.display(), line(at))
    };
    let file: File = toml::from_str(text).map_err(|e| {
        let message = e.message().lines().collect::<Vec<_>>().join(", ");
        let field = message.strip_prefix("unknown field `").and_then(|m| m.split('`').next());
        fail(e.span().map_or(0, |s| s.start), field.map_or(message.clone(), |name| unknown("key", name, &["background", "base", "colors"])))
    })?;
    let base = file.base.as_ref().map_or("dark", |b| b.get_ref().as_str());
    let mut look = Look::builtin(base)
        .ok_or_else(|| fail(file.base.as_ref().map_or(0, |b| b.span().start), unknown("base theme", base, &builtin::NAMES)))?;
    if let Some(value) = &file.background {
        let (colour, _) = paint(value.get_ref()).map_err(|what| fail(value.span().start, what))?;
        look.background = colour.unwrap_or(look.background);
    }
    for (name, value) in &file.colors {
        let at = value.span().start;
        let names = ROLES.map(|r| r.1);
        let slot = names.iter().position(|n| n == name).ok_or_else(|| fail(at, unknown("role", name, &names)))?;
        let (colour, attributes) = paint(value.get_ref()).map_err(|what| fail(at, what))?;
        let (old, kept) = look.roles[slot];
        look.roles[slot] = (colour.unwrap_or(old), kept | attributes);
    }
    look.name = path.file_stem().map_or_else(String::new, |n| n.to_string_lossy().chars().filter(|c| !c.is_control()).collect());
    look.file = Some(PathBuf::from(path));
    Ok(look)
}

/// A colour and attributes: `"bold #ffb454"`, `"cyan"`, `208`.
fn paint(value: &toml::Value) -> Result<(Option<Color>, Modifier), String> {
    let text = match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        _ => return Err("a colour is a text such as \"#ffb454\" or a number from 0 to 255".into()),
    };
    let (mut colour, mut attributes) = (None, Modifier::empty());
    for word in text.split_whitespace() {
        if let Some((_, attribute)) = ATTRIBUTES.iter().find(|(name, _)| *name == word) {
            attributes |= *attribute;
        } else if colour.replace(parse_colour(word)?).is_some() {
            return Err(format!("'{}' names two colours; give one", text.chars().filter(|c| !c.is_control()).take(40).collect::<String>()));
        }
    }
    Ok((colour, attributes))
}

fn parse_colour(word: &str) -> Result<Color, String> {
    if let Some((_, colour)) = COLOURS.iter().find(|(name, _)| *name == word) {
        return Ok(*colour);
    }
    let hexadecimal = word.strip_prefix('#').filter(|h| h.len() == 6 && h.bytes().all(|b| b.is_ascii_hexdigit()));
    if let Some(colour) = hexadecimal.and_then(|_| Color::from_str(word).ok()) {
        return Ok(colour);
    }
    if word.starts_with('#') {
        return Err("a colour after # has six hexadecimal digits, for instance #ffb454".into());
    }
    if word.bytes().all(|b| b.is_ascii_digit()) {
        return word.parse().map(Color::Indexed).map_err(|_| "the palette goes from 0 to 255".to_owned());
    }
    let known: Vec<&str> = COLOURS.iter().map(|c| c.0).chain(ATTRIBUTES.iter().map(|a| a.0)).collect();
    Err(unknown("colour", word, &known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::theme::{Depth, Role, Theme};

    fn look(text: &str) -> Result<Look, String> {
        parse(text, Path::new("ocean.toml"))
    }

    #[test]
    fn a_file_changes_what_it_names_and_keeps_the_rest() {
        let look = look("base = \"light\"\n[colors]\nkey = \"italic #0a0b0c\"\nwarn = 208\nerror = \"light-red\"\ntab = \"underlined\"\n")
            .unwrap();
        let light = Look::builtin("light").unwrap();
        assert_eq!((look.name.as_str(), look.background), ("ocean", light.background));
        assert_eq!(look.of(Role::Key), (Color::Rgb(10, 11, 12), Modifier::BOLD | Modifier::ITALIC));
        assert_eq!(look.of(Role::Warn).0, Color::Indexed(208));
        assert_eq!(look.of(Role::Tab), (light.of(Role::Tab).0, Modifier::REVERSED | Modifier::UNDERLINED));
        assert_eq!(look.of(Role::Good), light.of(Role::Good));
        let theme = |depth| Theme { look: std::sync::Arc::new(look.clone()), depth, ascii: false };
        assert_eq!(theme(Depth::Ansi16).style(Role::Warn).fg, Some(Color::Yellow), "what sixteen colours lack comes from 'terminal'");
        assert_eq!(theme(Depth::Ansi16).style(Role::Error).fg, Some(Color::LightRed));
        assert_eq!(theme(Depth::None).style(Role::Error).fg, None);
        assert_eq!(theme(Depth::Ansi256).style(Role::Key).fg, Some(Color::Indexed(232)));
    }

    #[test]
    fn mistakes_are_named_with_their_line_and_the_nearest_word() {
        let why = |text: &str| look(text).unwrap_err();
        assert!(
            why("base = \"drak\"").contains("ocean.toml:1: unknown base theme 'drak'; did you mean 'dark'?"),
            "{}",
            why("base = \"drak\"")
        );
        assert!(why("[colors]\n\nacent = 3").contains(":3: unknown role 'acent'; did you mean 'accent'?"));
        assert!(why("[colors]\nkey = \"cian\"").contains(":2: unknown colour 'cian'; did you mean 'cyan'?"));
        assert!(why("[colors]\nkey = \"#12\"").contains("six hexadecimal"));
        assert!(why("[colors]\nkey = \"#é23456\"").contains("six hexadecimal"));
        assert!(why("[colors]\nkey = 300").contains("0 to 255"));
        assert!(why("[colors]\nkey = -1").contains("unknown colour"));
        assert!(why("[colors]\nkey = \"red blue\"").contains("two colours"));
        assert!(why("[colors]\nkey = true").contains("a colour is"));
        assert!(why("colours = 3").contains("did you mean 'colors'?"));
        assert!(why("[colors").starts_with("ocean.toml:1:"));
    }

    #[test]
    fn the_template_is_a_theme_and_so_is_every_line_of_it() {
        let text = template();
        let dark = Look::builtin("dark").unwrap();
        assert_eq!(look(&text).unwrap().roles, dark.roles);
        assert_eq!(look(&text.replace("# background", "background")).unwrap().background, dark.background);
        let (head, body) = text.split_once("[colors]\n").unwrap();
        let all = format!(
            "{head}[colors]\n{}",
            body.replace("# ", "")
                .replace("  ", " ")
                .lines()
                .map(|l| {
                    // The help at the end of a line is no longer a comment now.
                    l.rsplit_once('"').map_or(String::new(), |(value, _)| format!("{value}\"\n"))
                })
                .collect::<String>()
        );
        assert_eq!(look(&all).unwrap().roles, Look::builtin("dark").unwrap().roles, "{all}");
    }

    #[test]
    fn the_folder_is_searched_and_misspellings_are_answered() {
        let folder = tempfile::TempDir::new().unwrap();
        fs::write(folder.path().join("ocean.toml"), "base = \"dark\"").unwrap();
        fs::write(folder.path().join("broken.toml"), "base = 3").unwrap();
        fs::write(folder.path().join("notes.txt"), "").unwrap();
        let at = Some(folder.path());
        assert_eq!(names(at), ["broken", "ocean"]);
        assert_eq!(find("ocean", at).unwrap().name, "ocean");
        assert!(find("ocaen", at).unwrap_err().contains("did you mean 'ocean'?"));
        assert!(find("ligth", None).unwrap_err().contains("did you mean 'light'?"));
        assert!(find("broken", at).unwrap_err().contains("broken.toml:1:"));
        let all = all(at);
        assert_eq!(all.len(), 6);
        assert!(all.iter().filter(|(_, look)| look.is_err()).count() == 1);
        assert!(find("nowhere.toml", None).unwrap_err().contains("cannot be read"));
    }
}
