//! What can go wrong in the pure layer, each with a sentence for the person at the keyboard.

/// An operator that lies on the path from image to logits and has no gradient rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingRule {
    /// ONNX operator type, for instance `LSTM`.
    pub op: String,
    /// Name of the node, or of its first output when it has none.
    pub node: String,
}

/// Every error the pure layer returns. The command line maps each kind to an exit code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, image, label or array that cannot be used. The sentence says what to do.
    #[error("{0}")]
    Input(String),
    /// A model that cannot be read, analysed or instrumented.
    #[error("{0}")]
    Model(String),
    /// A gradient was asked for and some operators have no rule.
    #[error("no gradient rule for {}", list(.0))]
    MissingRules(Vec<MissingRule>),
    /// A parameter outside its range, or a combination that makes no sense.
    #[error("{0}")]
    Parameter(String),
    /// The engine that executes graphs failed.
    #[error("{0}")]
    Engine(String),
    /// The person (or a signal) asked to stop; what was recorded is kept.
    #[error("stopped")]
    Stopped,
}

/// Result of the pure layer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn list(missing: &[MissingRule]) -> String {
    const SHOWN: usize = 4;
    let mut text = missing.iter().take(SHOWN).map(|m| format!("{} (node {})", m.op, m.node)).collect::<Vec<_>>().join(", ");
    if missing.len() > SHOWN {
        text.push_str(&format!(" and {} more", missing.len() - SHOWN));
    }
    text
}
