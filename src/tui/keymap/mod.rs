//! One table of actions. From it come key handling, footer hints, the help dialog and the generated documentation.

use std::collections::HashMap;

pub mod parse;

pub use parse::Key;

use super::{
    dialog::{confirm, export, files, form, help, log, palette, picker, prompt},
    msg::Action,
    screen::{attack, cam, closer, insight, layers, pixels, triage, units},
    {app_keys, network, psr, run, time},
};

/// Where a key works. Contexts are asked in order; the first that knows the key wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Context {
    /// Whatever is open.
    Always,
    /// Every screen.
    App,
    /// Starting attacks, on every screen.
    Run,
    /// Moving in time, on every screen.
    Time,
    /// The promotion-suppression map, on the screens that show it.
    Psr,
    /// Screen 1.
    Attack,
    /// Screen 2.
    Pixels,
    /// Screen 2 with the cell cursor.
    Cells,
    /// Screens 2 and 3.
    Closer,
    /// Screens 2 and 3 with the pixel cursor.
    PixelCursor,
    /// Screen 3.
    Cam,
    /// Screen 4.
    Layers,
    /// Screen 5.
    Units,
    /// Screen 6.
    Insight,
    /// The line typed on screens 4 and 5.
    Line,
    /// The folder.
    Triage,
    /// The folder's filter line.
    Filter,
    /// The attack form.
    Form,
    /// A pick list.
    Picker,
    /// Help and messages.
    Help,
    /// A question.
    Confirm,
    /// A line to type.
    Prompt,
    /// The report dialog.
    Export,
    /// The palette.
    Palette,
    /// The file dialog.
    Files,
    /// The log.
    Log,
}

/// One action.
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    /// What happens.
    pub action: Action,
    /// Name in the configuration.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Word for the footer; empty keeps it out. Neighbours with the same word are shown together.
    pub hint: &'static str,
    /// Default keys.
    pub keys: &'static str,
}

/// The actions of one context.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Where.
    pub context: Context,
    /// Heading in help.
    pub title: &'static str,
    /// What.
    pub bindings: &'static [Binding],
}

/// Every action of the program.
pub static SECTIONS: &[Section] = &[
    Section { context: Context::Time, title: "Moving in time", bindings: time::KEYS },
    Section { context: Context::Run, title: "Attacking", bindings: run::KEYS },
    Section { context: Context::Attack, title: "Attack screen", bindings: attack::KEYS },
    Section { context: Context::Pixels, title: "Pixels screen", bindings: pixels::KEYS },
    Section { context: Context::Cells, title: "Pixels screen, cell cursor", bindings: pixels::CELL_KEYS },
    Section { context: Context::Psr, title: "Promotion / suppression map", bindings: psr::KEYS },
    Section { context: Context::Cam, title: "CAM screen", bindings: cam::KEYS },
    Section { context: Context::Closer, title: "Pixels and CAM screens", bindings: closer::KEYS },
    Section { context: Context::PixelCursor, title: "Pixels and CAM screens, pixel cursor", bindings: closer::CURSOR_KEYS },
    Section { context: Context::Layers, title: "Layers screen", bindings: layers::KEYS },
    Section { context: Context::Units, title: "Units screen", bindings: units::KEYS },
    Section { context: Context::Insight, title: "Insight screen", bindings: insight::KEYS },
    Section { context: Context::Line, title: "Layers and units screens, line to type", bindings: network::KEYS },
    Section { context: Context::Triage, title: "Triage screen", bindings: triage::KEYS },
    Section { context: Context::Filter, title: "Triage screen, filter line", bindings: triage::FILTER_KEYS },
    Section { context: Context::Form, title: "Attack form", bindings: form::KEYS },
    Section { context: Context::Picker, title: "Pick list", bindings: picker::KEYS },
    Section { context: Context::Help, title: "Help and messages", bindings: help::KEYS },
    Section { context: Context::Confirm, title: "Question", bindings: confirm::KEYS },
    Section { context: Context::Prompt, title: "Line to type", bindings: prompt::KEYS },
    Section { context: Context::Export, title: "Report", bindings: export::KEYS },
    Section { context: Context::Palette, title: "Palette", bindings: palette::KEYS },
    Section { context: Context::Files, title: "Opening files", bindings: files::KEYS },
    Section { context: Context::Log, title: "Log", bindings: log::KEYS },
    Section { context: Context::App, title: "Program", bindings: app_keys::KEYS },
    Section { context: Context::Always, title: "Everywhere", bindings: app_keys::ALWAYS },
];

/// Keys in use.
#[derive(Debug, Clone)]
pub struct Keymap {
    actions: HashMap<(Context, Key), Action>,
    keys: HashMap<(Context, Action), Vec<Key>>,
}

impl Keymap {
    /// The default keys, with some actions rebound: pairs of action name and keys (`"step-back"`, `"b <left>"`).
    pub fn new(rebound: &[(String, String)]) -> Result<Self, String> {
        let known = || SECTIONS.iter().flat_map(|s| s.bindings.iter());
        if let Some((name, _)) = rebound.iter().find(|(name, _)| !known().any(|b| b.name == name)) {
            return Err(format!("there is no action '{name}'; the help dialog and `psescope keys` list them"));
        }
        let mut map = Self { actions: HashMap::new(), keys: HashMap::new() };
        for section in SECTIONS {
            for binding in section.bindings {
                let text = rebound.iter().rev().find(|(name, _)| name == binding.name).map_or(binding.keys, |(_, keys)| keys);
                let keys = Key::parse_all(text)?;
                for key in &keys {
                    if let Some(other) = map.actions.insert((section.context, *key), binding.action)
                        && other != binding.action
                    {
                        return Err(format!("the key {} means two things in '{}'; rebind one of them", key.show(true), section.title));
                    }
                }
                map.keys.insert((section.context, binding.action), keys);
            }
        }
        Ok(map)
    }

    /// What a key means when these contexts are open.
    pub fn lookup(&self, contexts: &[Context], key: Key) -> Option<Action> {
        contexts.iter().find_map(|c| self.actions.get(&(*c, key)).copied())
    }

    /// Keys of an action.
    pub fn keys_of(&self, context: Context, action: Action) -> &[Key] {
        self.keys.get(&(context, action)).map_or(&[], Vec::as_slice)
    }

    /// Footer hints for these contexts: keys and word. Actions hidden behind a nearer context are left out.
    pub fn hints(&self, contexts: &[Context], ascii: bool) -> Vec<(String, &'static str)> {
        let mut out: Vec<(String, &'static str)> = Vec::new();
        for context in contexts {
            let Some(section) = SECTIONS.iter().find(|s| s.context == *context) else { continue };
            for binding in section.bindings.iter().filter(|b| !b.hint.is_empty()) {
                let Some(key) = self.keys_of(*context, binding.action).first() else { continue };
                if self.lookup(contexts, *key) != Some(binding.action) {
                    continue;
                }
                let shown = key.show(ascii);
                match out.last_mut() {
                    Some((keys, word)) if *word == binding.hint => {
                        let both_short = super::text::width(keys) == 1 && super::text::width(&shown) == 1 && !shown.is_ascii();
                        keys.push_str(if both_short { "" } else { "/" });
                        keys.push_str(&shown);
                    }
                    _ => out.push((shown, binding.hint)),
                }
            }
        }
        out
    }
}

/// The keys as a Markdown document.
pub fn keys_markdown() -> String {
    let mut out = String::from("# Keys\n\nGenerated from the program's own table. Every action can be bound to other keys by its name.\n");
    for section in SECTIONS {
        out.push_str(&format!("\n## {}\n\n| keys | name | what it does |\n|---|---|---|\n", section.title));
        for b in section.bindings {
            let keys = Key::parse_all(b.keys).unwrap_or_default();
            let shown: Vec<String> = keys.iter().map(|k| format!("`{}`", k.show(false).replace('|', "\\|"))).collect();
            out.push_str(&format!("| {} | `{}` | {} |\n", shown.join(" "), b.name, b.help));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_default_table_has_no_conflicts_and_unique_names() {
        Keymap::new(&[]).expect("no conflicts");
        let mut names = HashSet::new();
        for binding in SECTIONS.iter().flat_map(|s| s.bindings) {
            assert!(names.insert(binding.name), "{} twice", binding.name);
            assert!(binding.help.ends_with('.'), "{}", binding.help);
            assert!(!binding.keys.is_empty(), "{}", binding.name);
        }
    }

    #[test]
    fn rebinding_and_its_errors() {
        let keys = |a: &str, b: &str| vec![(a.to_owned(), b.to_owned())];
        let map = Keymap::new(&keys("step-back", "b")).expect("fine");
        let key = Key::parse_all("b").expect("key")[0];
        assert_eq!(map.lookup(&[Context::Time], key), Some(Action::Time(time::Msg::Back)));
        assert!(Keymap::new(&keys("step-sideways", "b")).unwrap_err().contains("no action"));
        assert!(Keymap::new(&keys("step-back", "<right>")).unwrap_err().contains("two things"));
        assert!(Keymap::new(&keys("step-back", "<foo>")).unwrap_err().contains("no key"));
    }

    #[test]
    fn the_document_names_every_action() {
        let text = keys_markdown();
        for binding in SECTIONS.iter().flat_map(|s| s.bindings) {
            assert!(text.contains(&format!("`{}`", binding.name)));
        }
    }
}
