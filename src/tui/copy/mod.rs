//! What `y` and `Y` put on the clipboard: the headless command that does what is on the screen, and the value under the cursor.

mod command;
mod value;

pub use command::command;
pub use value::{summary, value};

use super::{effect::Effect, model::Model, notice::Severity};

/// Puts a text on the clipboard. It is shown too: nothing is lost where the terminal ignores the request.
pub fn copy(model: &mut Model, text: String) -> Vec<Effect> {
    model.tell(Severity::Info, format!("copied: {text}"));
    vec![Effect::Copy(text)]
}
