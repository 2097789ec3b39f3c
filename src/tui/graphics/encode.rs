//! The thread that turns pixels into what a graphics protocol sends. Pixels are repeated, never blended.

use std::{sync::Arc, thread};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, Sender, unbounded};
use image::{
    DynamicImage, ExtendedColorType, ImageEncoder as _, Rgba, RgbaImage,
    codecs::png::{CompressionType, FilterType, PngEncoder},
};
use ndarray::{Array3, s};
use ratatui::layout::Size;
use ratatui_image::protocol::{self, iterm2::Iterm2, kitty::Kitty, sixel::Sixel};

use super::{
    Protocol, Setup,
    drawn::{Drawn, Painter},
    placed,
    rest::Key,
};
use crate::{engine::trace::Frame, tui::widget::pixel_grid::Raster};

/// Where the pixels come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// An image.
    Image(Arc<Array3<f32>>),
    /// The adversarial image of a step.
    Adversarial(Arc<Frame>),
    /// The perturbation of a step, amplified.
    Change(Arc<Frame>, u32),
    /// A map over a picture; it knows its part itself.
    Map(Painter),
}

/// A picture to be encoded.
#[derive(Debug, Clone)]
pub struct Job {
    /// What it will be kept under.
    pub key: Key,
    /// Its pixels.
    pub source: Source,
    /// Identifies it in the terminal (kitty).
    pub id: u32,
    /// How.
    pub setup: Setup,
}

/// An encoded picture.
pub struct Done {
    /// What it was asked under.
    pub key: Key,
    /// Its number in the terminal.
    pub id: u32,
    /// The picture, or why there is none.
    pub picture: Result<Picture, String>,
}

/// An encoded picture.
pub enum Picture {
    /// Lies in the cells of the screen like text.
    Cells(protocol::Protocol),
    /// Is sent once by this sequence, and then put over blank cells by its number ([`placed`]).
    Placed(String),
}

/// The thread, seen from outside: pictures in, encoded pictures out.
#[derive(Debug)]
pub struct Encoder {
    /// Pictures wanted now; older wishes that were not begun are dropped.
    pub jobs: Sender<Vec<Job>>,
    /// What is done.
    pub done: Receiver<Done>,
}

impl Encoder {
    /// Starts the thread; it ends when this is dropped.
    pub fn start() -> anyhow::Result<Self> {
        let (jobs, wanted) = unbounded::<Vec<Job>>();
        let (out, done) = unbounded();
        thread::Builder::new()
            .name("pictures".into())
            .spawn(move || {
                let mut batch: Vec<Job> = Vec::new();
                loop {
                    let newer = if batch.is_empty() { wanted.recv().ok() } else { wanted.try_iter().last() };
                    match newer {
                        Some(newer) => batch = wanted.try_iter().last().unwrap_or(newer),
                        None if batch.is_empty() => return,
                        None => {}
                    }
                    let Some(job) = batch.pop() else { continue };
                    let done = Done { key: job.key, id: job.id, picture: encode(&job).map_err(|e| e.to_string()) };
                    if out.send(done).is_err() {
                        return;
                    }
                }
            })
            .context("the thread for pictures cannot be started")?;
        Ok(Self { jobs, done })
    }
}

fn encode(job: &Job) -> anyhow::Result<Picture> {
    let setup = &job.setup;
    let size = Size::new(job.key.cells.0, job.key.cells.1);
    let canvas = [u32::from(size.width) * u32::from(setup.cell.0), u32::from(size.height) * u32::from(setup.cell.1)];
    let drawn = native(job);
    let (mut pixels, lies) = canvas_of(&drawn.raster, canvas, setup.limit);
    drawn.finish(&mut pixels, lies);
    if setup.placed() {
        return Ok(Picture::Placed(placed::transmission(job.id, &png(&pixels)?)));
    }
    let image = DynamicImage::ImageRgba8(pixels);
    Ok(Picture::Cells(match setup.protocol {
        Protocol::Kitty => protocol::Protocol::Kitty(Kitty::new(image, size, job.id, setup.tmux, setup.compress, false)?),
        Protocol::Iterm2 => protocol::Protocol::ITerm2(Iterm2::new(image, size, setup.tmux)?),
        Protocol::Sixel => protocol::Protocol::Sixel(Sixel::new(image, size, setup.tmux)?),
        Protocol::Blocks => anyhow::bail!("half blocks need no encoding"),
    }))
}

fn png(image: &RgbaImage) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut out, CompressionType::Fast, FilterType::NoFilter);
    encoder.write_image(image.as_raw(), image.width(), image.height(), ExtendedColorType::Rgba8)?;
    Ok(out)
}

/// The pixels of the part that is shown, one for one.
fn native(job: &Job) -> Drawn {
    let whole;
    let (pixels, gain) = match &job.source {
        Source::Image(image) => (image.view(), None),
        Source::Adversarial(frame) => (frame.image.view(), None),
        Source::Change(frame, gain) => {
            whole = frame;
            (whole.delta.view(), Some(*gain))
        }
        Source::Map(painter) => return painter.paint(),
    };
    let (_, h, w) = pixels.dim();
    let [top, left, ph, pw] = job.key.part.unwrap_or([0, 0, h, w]);
    let view = pixels.slice(s![.., top..(top + ph).min(h), left..(left + pw).min(w)]);
    let (_, h, w) = view.dim();
    Drawn::plain(match gain {
        Some(gain) => Raster::perturbation(view, gain as f32, w, h),
        None => Raster::photo(view, w, h),
    })
}

/// How often each pixel is repeated, if all alike: only where that leaves hardly anything of the side empty. Half blocks fill the room, and so
/// does the picture beside, which may have a column more: all are to look equally large.
fn repeats(from: [u32; 2], room: [u32; 2]) -> Option<u32> {
    let k = (room[0] / from[0]).min(room[1] / from[1]);
    let largest = (f64::from(room[0]) / f64::from(from[0])).min(f64::from(room[1]) / f64::from(from[1]));
    (k >= 1 && f64::from(k) >= 0.95 * largest).then_some(k)
}

/// The picture in the middle of a transparent canvas. Every pixel is repeated a whole number of times; where one number for all would
/// leave much of the room empty, neighbours may differ by one. A picture larger than the room loses pixels evenly. Also says where it
/// lies: left, top, width, height.
fn canvas_of(raster: &Raster, canvas: [u32; 2], limit: u32) -> (RgbaImage, [u32; 4]) {
    let from = [raster.w as u32, raster.h as u32];
    let room = canvas.map(|side| side.min(limit).max(1));
    let [w, h] = match repeats(from, room) {
        Some(k) => from.map(|side| side * k),
        None => {
            let scale = (f64::from(room[0]) / f64::from(from[0])).min(f64::from(room[1]) / f64::from(from[1]));
            from.map(|side| ((f64::from(side) * scale).floor() as u32).max(1))
        }
    };
    let (left, top) = ((canvas[0] - w.min(canvas[0])) / 2, (canvas[1] - h.min(canvas[1])) / 2);
    let mut image = RgbaImage::from_pixel(canvas[0].max(1), canvas[1].max(1), Rgba([0; 4]));
    for y in 0..h.min(canvas[1]) {
        let row = (u64::from(2 * y + 1) * u64::from(from[1]) / u64::from(2 * h)) as usize;
        for x in 0..w.min(canvas[0]) {
            let column = (u64::from(2 * x + 1) * u64::from(from[0]) / u64::from(2 * w)) as usize;
            let [r, g, b] = raster.at(column, row);
            image.put_pixel(left + x, top + y, Rgba([r, g, b, 255]));
        }
    }
    (image, [left, top, w, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raster(w: usize, h: usize) -> Raster {
        Raster::from_fn(w, h, |x, y| [x as u8, y as u8, 7])
    }

    fn opaque(image: &RgbaImage) -> (u32, u32) {
        let columns = (0..image.width()).filter(|x| (0..image.height()).any(|y| image.get_pixel(*x, y)[3] == 255)).count();
        let rows = (0..image.height()).filter(|y| (0..image.width()).any(|x| image.get_pixel(x, *y)[3] == 255)).count();
        (columns as u32, rows as u32)
    }

    #[test]
    fn pixels_are_repeated_equally_where_there_is_room() {
        let (image, _) = canvas_of(&raster(100, 100), [206, 230], 640);
        assert_eq!((image.dimensions(), opaque(&image)), ((206, 230), (200, 200)));
        for (x, y, pixel) in image.enumerate_pixels().filter(|(_, _, p)| p[3] == 255) {
            assert_eq!(pixel.0, [((x - 3) / 2) as u8, ((y - 15) / 2) as u8, 7, 255]);
        }
    }

    #[test]
    fn no_pixel_is_blended_lost_or_invented_when_enlarging() {
        for room in [[97, 97], [150, 200], [189, 190], [191, 380]] {
            let (image, _) = canvas_of(&raster(95, 95), room, 640);
            let mut counts = vec![0u32; 95];
            let middle = image.height() / 2;
            for x in 0..image.width() {
                let pixel = image.get_pixel(x, middle);
                if pixel[3] == 255 {
                    assert_eq!(pixel[2], 7);
                    counts[usize::from(pixel[0])] += 1;
                }
            }
            let (least, most) = (counts.iter().min().expect("some"), counts.iter().max().expect("some"));
            assert!(*least >= 1 && most - least <= 1, "{room:?}: {least} to {most}");
        }
    }

    #[test]
    fn pictures_stay_within_canvas_and_limit() {
        for (canvas, limit, expected) in
            [([2000, 2000], 620, (600, 600)), ([2000, 2000], 640, (640, 640)), ([50, 50], 640, (50, 50)), ([300, 100], 640, (100, 100))]
        {
            let (image, lies) = canvas_of(&raster(100, 100), canvas, limit);
            assert_eq!(lies[2..], [expected.0, expected.1]);
            assert_eq!((image.dimensions(), opaque(&image)), ((canvas[0], canvas[1]), expected));
        }
    }

    #[test]
    fn the_thread_encodes_what_is_wanted_last() {
        let encoder = Encoder::start().expect("a thread");
        let source = Source::Image(Arc::new(Array3::from_elem((3, 8, 8), 0.5)));
        for (i, protocol) in [Protocol::Kitty, Protocol::Iterm2, Protocol::Sixel].into_iter().enumerate() {
            let key = Key::whole(crate::tui::view::Content::Clean(i as u64), (4, 2));
            let setup = Setup { protocol, compress: true, ..Setup::default() };
            encoder.jobs.send(vec![Job { key, source: source.clone(), id: 7, setup }]).expect("it listens");
            let done = encoder.done.recv().expect("it answers");
            let picture = done.picture.expect("encoded");
            assert_eq!(done.key, key);
            let text = match &picture {
                Picture::Placed(text) => {
                    assert!(protocol == Protocol::Kitty && text.starts_with("\x1b_Ga=t,i=7,f=100,q=2"), "{text:?}");
                    continue;
                }
                Picture::Cells(cells) => {
                    assert_eq!(cells.size(), Size::new(4, 2));
                    match cells {
                        protocol::Protocol::ITerm2(p) => &p.data,
                        protocol::Protocol::Sixel(p) => &p.data,
                        _ => panic!("asked for something else"),
                    }
                }
            };
            assert!(text.contains(if protocol == Protocol::Iterm2 { "\x1b]1337;File=inline=1" } else { "\x1bP" }));
        }
    }
}
