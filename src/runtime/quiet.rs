//! Running foreign code that may panic, without its panic message reaching the terminal.
//!
//! The panic hook is process-wide and belongs to the terminal interface, which restores the screen in it. So the hook
//! installed here only wraps the one before it, and stays silent on threads that are inside [`guarded`]. A hook that is
//! set later and does more than forward should ask [`expected`] first.

use std::{any::Any, cell::Cell, panic, sync::Once};

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Whether a panic on this thread is caught by [`guarded`] and must not be shown.
pub fn expected() -> bool {
    DEPTH.try_with(|d| d.get() > 0).unwrap_or(false)
}

/// Runs `work`; a panic inside becomes `Err` with its message in one line.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !expected() {
                previous(info);
            }
        }));
    });
    struct Depth;
    impl Drop for Depth {
        fn drop(&mut self) {
            DEPTH.with(|d| d.set(d.get() - 1));
        }
    }
    DEPTH.with(|d| d.set(d.get() + 1));
    let depth = Depth;
    // The closures given here own or rebuild what they touch; nothing half-changed is looked at after a panic.
    let result = panic::catch_unwind(panic::AssertUnwindSafe(work));
    drop(depth);
    result.map_err(said)
}

/// What a caught panic said, in one line. Takes the box: a reference to it is `Any` too, and says nothing.
pub fn said(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    one_line(text.unwrap_or("it panicked"))
}

/// The first lines of a message joined into one, without control characters, at most 300 characters.
pub fn one_line(text: &str) -> String {
    let joined = text.split(|c: char| c.is_control()).map(str::trim).filter(|s| !s.is_empty()).collect::<Vec<_>>().join(" ");
    if joined.chars().count() <= 300 { joined } else { joined.chars().take(299).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_become_sentences_and_leave_the_flag_clear() {
        assert_eq!(guarded(|| panic!("first\nsecond\u{1b}[31m")).map(|()| 0), Err("first second [31m".into()));
        assert!(!expected());
        assert_eq!(
            guarded(|| {
                assert!(expected());
                guarded(|| 3).unwrap()
            }),
            Ok(3)
        );
        assert!(!expected());
    }
}
