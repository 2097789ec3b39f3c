//! Which pictures lie where, how long they have been still, and what of them the terminal has by its graphics protocol.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use ratatui::{buffer::Buffer, layout::Rect, widgets::Widget as _};
use ratatui_image::Image;

use super::{
    Protocol, Setup,
    encode::{Done, Job, Picture, Source},
    placed,
    probe::passthrough,
};
use crate::tui::view::Content;

/// How long pictures must have been still.
pub const REST: Duration = Duration::from_millis(150);

/// Encoded pictures kept; older ones are deleted in the terminal too.
const KEPT: usize = 32;

/// A picture at a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Which.
    pub content: Content,
    /// The part of it: top, left, height, width.
    pub part: Option<[usize; 4]>,
    /// Columns and rows.
    pub cells: (u16, u16),
}

impl Key {
    /// All of a picture.
    pub fn whole(content: Content, cells: (u16, u16)) -> Self {
        Self { content, part: None, cells }
    }
}

struct Kept {
    /// `None` when it could not be encoded.
    picture: Option<Picture>,
    id: u32,
    used: u64,
}

/// What this frame and the ones before it showed.
#[derive(Default)]
pub struct Gallery {
    setup: Option<Setup>,
    /// Whether this frame may show pictures at all.
    active: bool,
    now: Duration,
    still_since: Duration,
    spots: Vec<(Key, Rect, Option<Source>)>,
    before: Vec<(Key, Rect)>,
    kept: HashMap<Key, Kept>,
    asked: HashSet<Key>,
    wanted: Vec<Job>,
    /// Pictures that lie over the cells now, by number.
    over: Vec<(u32, Rect)>,
    sequences: String,
    clock: u64,
    last_id: u32,
}

impl std::fmt::Debug for Gallery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gallery").field("spots", &self.before).field("kept", &self.kept.len()).finish_non_exhaustive()
    }
}

impl Gallery {
    /// Begins a frame. `covered`: something lies over the pictures, or an attack moves them; they stay text then.
    pub fn begin(&mut self, setup: &Setup, now: Duration, covered: bool) {
        let setup = Some(setup).filter(|s| s.protocol != Protocol::Blocks && !covered);
        if let (Some(new), Some(old)) = (setup, &self.setup)
            && new != old
        {
            self.forget();
        }
        self.active = setup.is_some();
        self.setup = setup.cloned().or(self.setup.take());
        self.now = now;
        self.spots.clear();
        if !self.active {
            self.before.clear();
        }
    }

    /// Whether pictures may be sent at all, so that a place is worth naming.
    pub fn active(&self) -> bool {
        self.active
    }

    /// Notes that a picture was drawn here, as text. Its source is asked for when it has to be encoded.
    pub fn place(&mut self, content: Content, part: Option<[usize; 4]>, area: Rect, source: impl FnOnce() -> Source) {
        if self.active && area.width > 0 && area.height > 0 {
            let key = Key { content, part, cells: (area.width, area.height) };
            let known = self.kept.contains_key(&key) || self.asked.contains(&key);
            self.spots.push((key, area, (!known).then(source)));
        }
    }

    /// Ends a frame: where every picture has been still for long enough, those that are encoded take the place of the text.
    pub fn end(&mut self, buf: &mut Buffer) {
        let over = if self.active { self.rested(buf) } else { Vec::new() };
        for (id, area) in self.over.iter().filter(|o| !over.contains(o)) {
            self.sequences += &placed::take(*id, *area);
        }
        for (id, area) in over.iter().filter(|o| !self.over.contains(o)) {
            self.sequences += &placed::put(*id, *area);
        }
        self.over = over;
    }

    /// Puts pictures into the cells; returns those that lie over them instead.
    fn rested(&mut self, buf: &mut Buffer) -> Vec<(u32, Rect)> {
        let mut over = Vec::new();
        let spots: Vec<(Key, Rect)> = self.spots.iter().map(|(key, area, _)| (*key, *area)).collect();
        if spots != self.before {
            self.before = spots;
            self.still_since = self.now;
        }
        if self.now < self.still_since + REST {
            return over;
        }
        let Some(setup) = self.setup.clone() else { return over };
        self.clock += 1;
        for (key, area, source) in std::mem::take(&mut self.spots) {
            if let Some(kept) = self.kept.get_mut(&key) {
                kept.used = self.clock;
                let Some(picture) = kept.picture.as_mut().filter(|_| area.intersection(buf.area) == area) else { continue };
                under(area, buf);
                match picture {
                    Picture::Cells(picture) => Image::new(picture).render(area, buf),
                    Picture::Placed(unsent) => {
                        self.sequences += &std::mem::take(unsent);
                        over.push((kept.id, area));
                    }
                }
            } else if let Some(source) = source
                && self.asked.insert(key)
            {
                self.last_id = self.last_id % 0x00ff_fffe + 1;
                let id = first_id() ^ self.last_id;
                self.wanted.push(Job { key, source, id, setup: setup.clone() });
            }
        }
        over
    }

    /// What has to be encoded for this frame.
    pub fn wanted(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.wanted)
    }

    /// Whether a frame is due soon although nothing else happens: pictures are coming to rest.
    pub fn settling(&self) -> bool {
        self.active && !self.before.is_empty() && self.now < self.still_since + REST + Duration::from_millis(60)
    }

    /// Keeps an encoded picture. Returns why it could not be encoded.
    pub fn keep(&mut self, done: Done) -> Option<String> {
        if !self.asked.remove(&done.key) {
            // Asked for before everything was forgotten.
            return None;
        }
        let why = done.picture.as_ref().err().cloned();
        self.kept.insert(done.key, Kept { picture: done.picture.ok(), id: done.id, used: self.clock });
        while self.kept.len() > KEPT {
            let Some(oldest) = self.kept.iter().min_by_key(|(_, k)| k.used).map(|(key, _)| *key) else { break };
            if let Some(kept) = self.kept.remove(&oldest) {
                self.delete(kept.id);
            }
        }
        why
    }

    /// Forgets everything that was sent: the terminal may have lost it.
    pub fn forget(&mut self) {
        for kept in std::mem::take(&mut self.kept).into_values() {
            self.delete(kept.id);
        }
        self.asked.clear();
        self.before.clear();
        self.over.clear();
    }

    /// What has to be sent with this frame, after its text: pictures that are put over it, taken away, or deleted from the terminal's memory
    /// (kitty). Empty most of the time.
    pub fn sequences(&mut self) -> String {
        std::mem::take(&mut self.sequences)
    }

    fn delete(&mut self, id: u32) {
        if let Some(setup) = self.setup.as_ref().filter(|s| s.protocol == Protocol::Kitty) {
            let sequence = format!("\x1b_Ga=d,d=I,i={id},q=2\x1b\\");
            self.sequences += &if setup.tmux { passthrough(&sequence) } else { sequence };
        }
    }
}

/// Numbers of this process's pictures differ from those of another one in the same terminal, most likely. Not above 2^31: Konsole reads
/// larger ones as nothing.
fn first_id() -> u32 {
    (std::process::id() & 0x7f) << 24 | 0x0001_0000
}

/// Takes the text away, so that transparent margins show the terminal's own background.
fn under(area: Rect, buf: &mut Buffer) {
    for y in area.top()..area.bottom() {
        for x in area.left()..area.right() {
            buf[(x, y)].reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ndarray::Array3;

    use super::{super::encode::Encoder, *};

    /// Protocols whose pictures lie in the cells: kitty's does through tmux.
    fn setup(protocol: Protocol) -> Setup {
        Setup { protocol, tmux: protocol == Protocol::Kitty, ..Setup::default() }
    }

    fn source() -> Source {
        Source::Image(Arc::new(Array3::from_elem((3, 8, 8), 0.5)))
    }

    struct Scene {
        gallery: Gallery,
        encoder: Encoder,
        now: u64,
    }

    impl Scene {
        fn new() -> Self {
            Self { gallery: Gallery::default(), encoder: Encoder::start().expect("a thread"), now: 1000 }
        }

        /// A frame of a screen with one picture, that many milliseconds later.
        fn frame(&mut self, setup: &Setup, content: u64, later: u64, covered: bool) -> Buffer {
            self.now += later;
            let mut buf = Buffer::filled(Rect::new(0, 0, 20, 6), ratatui::buffer::Cell::new("\u{2580}"));
            self.gallery.begin(setup, Duration::from_millis(self.now), covered);
            self.gallery.place(Content::Clean(content), None, Rect::new(2, 1, 8, 4), source);
            self.gallery.end(&mut buf);
            buf
        }

        fn encode(&mut self) -> usize {
            let jobs = self.gallery.wanted();
            let count = jobs.len();
            if count > 0 {
                self.encoder.jobs.send(jobs).expect("it listens");
            }
            for _ in 0..count {
                assert_eq!(self.gallery.keep(self.encoder.done.recv().expect("it answers")), None);
            }
            count
        }
    }

    fn graphical(buf: &Buffer) -> bool {
        let symbol = buf[(2, 1)].symbol();
        symbol.contains('\u{10EEEE}') || symbol.contains("\x1bP") || symbol.contains("\x1b]1337")
    }

    #[test]
    fn pictures_are_sent_at_rest_and_text_while_they_change() {
        for protocol in [Protocol::Kitty, Protocol::Iterm2, Protocol::Sixel] {
            let (mut s, setup) = (Scene::new(), setup(protocol));
            for step in 0..5 {
                assert!(!graphical(&s.frame(&setup, step, 50, false)));
                assert!(s.gallery.settling() && s.encode() == 0, "nothing is encoded while stepping");
            }
            assert!(!graphical(&s.frame(&setup, 4, 100, false)));
            assert!(!graphical(&s.frame(&setup, 4, 60, false)), "not encoded yet");
            assert_eq!(s.encode(), 1);
            assert!(graphical(&s.frame(&setup, 4, 10, false)));
            s.frame(&setup, 4, 100, false);
            assert!(!s.gallery.settling());
            // A dialog, another step, another size: text at once.
            assert!(!graphical(&s.frame(&setup, 4, 10, true)));
            assert!(!graphical(&s.frame(&setup, 4, 10, false)));
            assert!(graphical(&s.frame(&setup, 4, 160, false)), "kept: no second encoding");
            assert!(!graphical(&s.frame(&setup, 5, 10, false)));
        }
    }

    #[test]
    fn going_back_to_text_repaints_every_cell() {
        for protocol in [Protocol::Kitty, Protocol::Iterm2, Protocol::Sixel] {
            let (mut s, setup) = (Scene::new(), setup(protocol));
            s.frame(&setup, 0, 0, false);
            s.frame(&setup, 0, 200, false);
            s.encode();
            let pictures = s.frame(&setup, 0, 10, false);
            let text = s.frame(&setup, 0, 10, true);
            let repainted = pictures.diff(&text);
            for y in 1..5 {
                for x in 2..10 {
                    assert!(repainted.iter().any(|(cx, cy, _)| (*cx, *cy) == (x, y)), "{protocol:?} leaves ({x}, {y})");
                }
            }
            assert_eq!(repainted.len(), 8 * 4, "nothing outside the picture is touched");
        }
    }

    #[test]
    fn what_the_terminal_lost_is_sent_again_and_the_old_one_deleted() {
        let (mut s, setup) = (Scene::new(), setup(Protocol::Kitty));
        s.frame(&setup, 0, 0, false);
        s.frame(&setup, 0, 200, false);
        assert_eq!(s.encode(), 1);
        assert!(s.frame(&setup, 0, 10, false)[(2, 1)].symbol().contains("\x1b_G"));
        assert!(!s.frame(&setup, 0, 10, false)[(2, 1)].symbol().contains("\x1b_G"), "sent once");
        s.gallery.forget();
        assert!(s.gallery.sequences().contains("\x1b_Ga=d,d=I,i=") && s.gallery.sequences().is_empty());
        s.frame(&setup, 0, 10, false);
        s.frame(&setup, 0, 200, false);
        assert_eq!(s.encode(), 1);
        assert!(s.frame(&setup, 0, 10, false)[(2, 1)].symbol().contains("\x1b_G"));
    }

    #[test]
    fn pictures_over_the_text_are_taken_away_with_it() {
        let (mut s, setup) = (Scene::new(), Setup { protocol: Protocol::Kitty, ..Setup::default() });
        s.frame(&setup, 0, 0, false);
        s.frame(&setup, 0, 200, false);
        assert!(s.encode() == 1 && s.gallery.sequences().is_empty());
        let count = |text: &str, what: &str| text.matches(what).count();
        let blank = |buf: &Buffer| (1..5).all(|y| (2..10).all(|x| buf[(x, y)].symbol() == " "));
        assert!(blank(&s.frame(&setup, 0, 10, false)), "nothing shines through");
        let first = s.gallery.sequences();
        assert_eq!((count(&first, "a=t,"), count(&first, "a=p,"), count(&first, "a=d,")), (1, 1, 0));
        assert!(first.find("a=t,") < first.find("a=p,"), "sent before it is shown");
        s.frame(&setup, 0, 100, false);
        assert!(s.gallery.sequences().is_empty(), "it lies there already");
        // A dialog: text, and the picture goes in the same frame; then it comes back without being sent again.
        assert!(!blank(&s.frame(&setup, 0, 10, true)));
        let away = s.gallery.sequences();
        assert_eq!((count(&away, "a=d,d=i,"), count(&away, "a=")), (1, 1));
        s.frame(&setup, 0, 10, false);
        assert!(s.gallery.sequences().is_empty());
        s.frame(&setup, 0, 200, false);
        let back = s.gallery.sequences();
        assert_eq!((count(&back, "a=p,"), count(&back, "a=")), (1, 1));
        // Another step.
        assert!(!blank(&s.frame(&setup, 1, 10, false)));
        assert_eq!(count(&s.gallery.sequences(), "a=d,d=i,"), 1);
        // The terminal lost everything.
        s.gallery.forget();
        assert_eq!(count(&s.gallery.sequences(), "a=d,d=I,"), 1);
    }

    #[test]
    fn blocks_ask_for_nothing() {
        let mut s = Scene::new();
        for _ in 0..4 {
            assert!(!graphical(&s.frame(&Setup::default(), 0, 200, false)));
            assert!(s.encode() == 0 && !s.gallery.settling());
        }
    }
}
