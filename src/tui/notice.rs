//! Short messages to the person, with a severity. They leave by themselves; the log keeps them.

use std::{collections::VecDeque, time::Duration};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Be careful.
    Warn,
    /// Did not work.
    Error,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// How bad.
    pub severity: Severity,
    /// One sentence.
    pub text: String,
    /// When.
    pub at: Duration,
}

/// The message on show and those before it.
#[derive(Debug, Clone, Default)]
pub struct Notices {
    shown: Option<Notice>,
    log: VecDeque<Notice>,
}

const KEPT: usize = 200;

impl Notices {
    /// Shows a message, unless a worse one is still fresh; logs it either way.
    pub fn push(&mut self, severity: Severity, text: impl Into<String>, at: Duration) {
        let notice = Notice { severity, text: text.into(), at };
        if self.log.back().is_some_and(|n| n.text == notice.text && n.severity == severity) {
            self.log.pop_back();
        }
        if self.log.len() == KEPT {
            self.log.pop_front();
        }
        self.log.push_back(notice.clone());
        let worse = self.shown.as_ref().is_some_and(|s| s.severity > severity && at < s.at + Duration::from_millis(1500));
        if !worse {
            self.shown = Some(notice);
        }
    }

    /// Takes away what has been shown long enough. Errors stay until a key is pressed.
    pub fn expire(&mut self, now: Duration) {
        let seconds = match self.shown.as_ref().map(|n| n.severity) {
            Some(Severity::Info) => 5,
            Some(Severity::Warn) => 9,
            Some(Severity::Error) | None => return,
        };
        if self.shown.as_ref().is_some_and(|n| now >= n.at + Duration::from_secs(seconds)) {
            self.shown = None;
        }
    }

    /// A key was pressed: what was on show for a while goes.
    pub fn dismiss(&mut self, now: Duration) {
        if self.shown.as_ref().is_some_and(|n| now >= n.at + Duration::from_millis(600)) {
            self.shown = None;
        }
    }

    /// On show.
    pub fn shown(&self) -> Option<&Notice> {
        self.shown.as_ref()
    }

    /// All, oldest first.
    pub fn log(&self) -> impl DoubleEndedIterator<Item = &Notice> {
        self.log.iter()
    }
}
