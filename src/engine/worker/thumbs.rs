//! Small pictures of a folder's images, read on a thread of their own: neither a long explanation nor a large file delays the other.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
};

use crossbeam_channel::{Sender, unbounded};

use super::start;
use crate::{
    core::tensor::image::shrunk,
    engine::{event::Event, subject::Subject},
};

/// Pixels of a small picture's longer side.
const SIDE: usize = 128;

/// A picture that is wanted, and the model whose crop of it is shown; nothing when none is open.
pub type Wanted = (Option<Arc<Subject>>, PathBuf);

/// Starts the thread. It ends with its queue.
pub fn serve(events: Sender<Event>) -> Sender<Wanted> {
    let (queue, wanted) = unbounded::<Wanted>();
    start("psescope-thumbs", move || {
        for (subject, path) in wanted {
            let read = || subject.as_ref().and_then(|s| s.image(&path).ok()).map(|image| Arc::new(shrunk(image.view(), SIDE)));
            // A file that breaks its reader has no picture.
            let image = catch_unwind(AssertUnwindSafe(read)).ok().flatten();
            if events.send(Event::Thumbnail(path, image)).is_err() {
                return;
            }
        }
    });
    queue
}
