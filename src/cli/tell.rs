//! What the program prints. Names of files and what stands in them reach a terminal only as text, never as orders to it.

use std::{
    fmt::{Arguments, Display},
    io::{self, Write as _},
};

use serde_json::Value;

use crate::core::tensor::labels::{harmless, is_harmful};

/// A line on standard output. A reader that went away is an error, not a panic.
pub fn line(text: Arguments) -> io::Result<()> {
    let text = text.to_string();
    writeln!(io::stdout(), "{}", harmless(&text))
}

/// An object on standard output, on one line. Its texts stay what they are: what a terminal would obey is written as JSON escapes.
pub fn object(value: &Value) -> io::Result<()> {
    let text = value.to_string();
    let mut out = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if is_harmful(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out.push('\n');
    io::stdout().write_all(out.as_bytes())
}

/// A line on stderr. When that is gone too (a dropped connection) there is nobody left to tell.
pub fn complain(what: impl Display) {
    let text = what.to_string();
    let _ = writeln!(io::stderr(), "psescope: {}", harmless(&text));
}

/// Something that people should know, on stderr.
pub fn note(what: impl Display) {
    complain(format_args!("note: {what}"));
}
