//! The one guard of the terminal: entered once, left whatever happens.

use std::{
    io::{self, BufWriter, IsTerminal, Stdout, Write},
    mem::ManuallyDrop,
    sync::atomic::{AtomicBool, Ordering},
};

use crossterm::{
    clipboard::CopyToClipboard,
    cursor,
    event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture},
    execute, queue,
    terminal::{
        BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
    },
};
use ratatui::{Frame, Terminal, backend::CrosstermBackend, layout::Rect};

use super::graphics::placed;

static ENTERED: AtomicBool = AtomicBool::new(false);
static MOUSE: AtomicBool = AtomicBool::new(false);
/// Whether pictures may lie over the text.
static PICTURES: AtomicBool = AtomicBool::new(false);

type Backend = CrosstermBackend<BufWriter<Stdout>>;

/// The terminal while the program owns it. Dropping it gives the terminal back.
#[derive(Debug)]
pub struct Guard {
    /// Never dropped: ratatui then shows the cursor, which [`leave`] has done, and panics when it cannot say that it could not.
    terminal: ManuallyDrop<Terminal<Backend>>,
}

impl Guard {
    /// Takes the terminal. A panic from now on gives it back before it is reported.
    pub fn enter(mouse: bool) -> io::Result<Self> {
        if !io::stdout().is_terminal() {
            return Err(io::Error::other("standard output is not a terminal; `psescope attack --json` does the same work without one"));
        }
        MOUSE.store(mouse, Ordering::SeqCst);
        let previous = std::panic::take_hook();
        let interface = std::thread::current().id();
        std::panic::set_hook(Box::new(move |info| {
            // Other threads catch their panics and report them as events; the interface lives on, and so does the screen.
            if std::thread::current().id() == interface {
                leave();
                previous(info);
            } else {
                tracing::error!("{info}");
            }
        }));
        take()?;
        let terminal = Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(1 << 17, io::stdout()))).inspect_err(|_| leave())?;
        Ok(Self { terminal: ManuallyDrop::new(terminal) })
    }

    /// Draws one frame as a whole. `render` says what goes out after the text: pictures that lie over it.
    pub fn draw(&mut self, render: impl FnOnce(&mut Frame) -> String) -> io::Result<()> {
        let mut after = String::new();
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        self.terminal.draw(|frame| after = render(frame))?;
        if !after.is_empty() {
            PICTURES.fetch_or(placed::shows(&after), Ordering::SeqCst);
            self.terminal.backend_mut().write_all(after.as_bytes())?;
        }
        execute!(self.terminal.backend_mut(), EndSynchronizedUpdate)
    }

    /// Forgets what is on the screen, so that the next frame is drawn whole.
    ///
    /// Not by `Terminal::clear`: that asks the terminal for the cursor's position, and the answer would have to get past
    /// the thread that reads keys.
    pub fn clear(&mut self) -> io::Result<()> {
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::new(0, 0, size.width, size.height))
    }

    /// Size now: columns, rows.
    pub fn size(&self) -> (u16, u16) {
        self.terminal.size().map_or((80, 24), |s| (s.width, s.height))
    }

    /// Gives the terminal back, stops this process until it is continued, and takes the terminal again.
    pub fn suspend(&mut self) -> io::Result<()> {
        leave();
        #[cfg(unix)]
        signal_hook::low_level::raise(signal_hook::consts::SIGTSTP)?;
        take()?;
        self.clear()
    }

    /// Sends a sequence that puts nothing on the screen.
    pub fn send(&mut self, sequence: &str) -> io::Result<()> {
        let writer = self.terminal.backend_mut();
        writer.write_all(sequence.as_bytes())?;
        Write::flush(writer)
    }

    /// Puts text on the clipboard by the terminal's own escape sequence (OSC 52). Inside tmux, tmux itself takes it, as its options say.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        execute!(self.terminal.backend_mut(), CopyToClipboard::to_clipboard_from(text))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        leave();
    }
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    ENTERED.store(true, Ordering::SeqCst);
    let mut out = io::stdout();
    execute!(out, EnterAlternateScreen, EnableBracketedPaste, cursor::Hide).inspect_err(|_| leave())?;
    if MOUSE.load(Ordering::SeqCst) {
        execute!(out, EnableMouseCapture).inspect_err(|_| leave())?;
    }
    Ok(())
}

/// Gives the terminal back if it was taken. Errors are ignored: there is nobody left to tell.
pub fn leave() {
    if !ENTERED.swap(false, Ordering::SeqCst) {
        return;
    }
    let mut out = io::stdout();
    if MOUSE.load(Ordering::SeqCst) {
        let _ = execute!(out, DisableMouseCapture);
    }
    if PICTURES.swap(false, Ordering::SeqCst) {
        let _ = out.write_all(placed::CLEAR.as_bytes());
    }
    let _ = execute!(out, EndSynchronizedUpdate, DisableBracketedPaste, LeaveAlternateScreen, cursor::Show);
    let _ = disable_raw_mode();
}
