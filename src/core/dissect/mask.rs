//! Where a unit is on, at the size of the label pictures: its map upsampled bilinearly and compared with the threshold, strictly.
//! Method report E.4.
//!
//! Only cells with a corner above the threshold are interpolated: bilinear values lie between the corners, so all others are off. With
//! thresholds that half a per cent of the values exceed, that leaves little to do.

use std::ops::Range;

use super::field::{Extent, Field};

/// How maps are brought to the size of the label pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upsampling {
    /// By receptive fields, as NetDissect does: sample i lies at the middle of its field.
    Field(Field),
    /// Like resizing an image (half-pixel centres), as NetDissect-Lite does.
    Plain,
}

/// Bits of an image's pixels, row by row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// All off.
    pub fn clear(&mut self, pixels: usize) {
        self.words.clear();
        self.words.resize(pixels.div_ceil(64), 0);
    }

    /// Turns a pixel on.
    pub fn set(&mut self, at: usize) {
        self.words[at / 64] |= 1 << (at % 64);
    }

    /// Turns the pixels from..to on, at least one.
    fn set_range(&mut self, range: Range<usize>) {
        let (first, last) = (range.start / 64, (range.end - 1) / 64);
        let (head, tail) = (u64::MAX << (range.start % 64), u64::MAX >> (63 - (range.end - 1) % 64));
        if first == last {
            self.words[first] |= head & tail;
        } else {
            self.words[first] |= head;
            self.words[first + 1..last].fill(u64::MAX);
            self.words[last] |= tail;
        }
    }

    /// Whether a pixel is on.
    pub fn get(&self, at: usize) -> bool {
        self.words[at / 64] >> (at % 64) & 1 == 1
    }

    /// How many are on.
    pub fn count(&self) -> u64 {
        self.words.iter().map(|w| u64::from(w.count_ones())).sum()
    }

    /// Calls `each` with the pixels that are on, rising.
    pub fn for_each(&self, mut each: impl FnMut(usize)) {
        for (i, word) in self.words.iter().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                each(i * 64 + rest.trailing_zeros() as usize);
                rest &= rest - 1;
            }
        }
    }
}

/// One direction: for every output pixel the sample before it and how far it is on the way to the next.
#[derive(Debug, Clone)]
struct Axis {
    samples: usize,
    low: Vec<usize>,
    fraction: Vec<f64>,
    /// Output pixels whose sample before is i.
    pixels: Vec<Range<usize>>,
}

impl Axis {
    /// Sample i lies at `first + i * step` in output pixels; constant outside.
    fn new(samples: usize, pixels: usize, first: f64, step: f64) -> Self {
        let (mut low, mut fraction) = (Vec::with_capacity(pixels), Vec::with_capacity(pixels));
        for p in 0..pixels {
            let at = ((p as f64 - first) / step).clamp(0.0, (samples - 1) as f64);
            low.push(at.floor() as usize);
            fraction.push(at - at.floor());
        }
        let ranges = (0..samples).map(|i| low.partition_point(|l| *l < i)..low.partition_point(|l| *l <= i)).collect();
        Self { samples, low, fraction, pixels: ranges }
    }

    fn next(&self, low: usize) -> usize {
        (low + 1).min(self.samples - 1)
    }
}

/// Brings maps of one size to label pictures of one size.
#[derive(Debug, Clone)]
pub struct Upsampler {
    y: Axis,
    x: Axis,
}

impl Upsampler {
    /// From maps `[h, w]` to pictures `[sh, sw]` for network inputs `[ih, iw]`, with NetDissect's integer positions: the picture is the input
    /// made smaller by r = round(input / picture), sample i lies at (size/2 + offset)/r + i (step/r). Where r does not divide the step, the
    /// division is not rounded, because the samples would no longer span the image.
    pub fn new(map: [usize; 2], picture: [usize; 2], input: [usize; 2], upsampling: Upsampling) -> Self {
        let axis = |i: usize| match upsampling {
            Upsampling::Plain => half_pixel(map[i], picture[i]),
            Upsampling::Field(field) => {
                let r = ((input[i] as f64 / picture[i] as f64).round() as i64).max(1);
                let Extent { step, .. } = field[i];
                if step % r == 0 {
                    Axis::new(map[i], picture[i], field[i].centre().div_euclid(r) as f64, (step / r) as f64)
                } else {
                    Axis::new(map[i], picture[i], field[i].centre() as f64 / r as f64, step as f64 / r as f64)
                }
            }
        };
        Self { y: axis(0), x: axis(1) }
    }

    /// For pictures of any size, without rounding: what is drawn for people.
    pub fn smooth(map: [usize; 2], picture: [usize; 2], input: [usize; 2], upsampling: Upsampling) -> Self {
        let axis = |i: usize| match upsampling {
            Upsampling::Plain => half_pixel(map[i], picture[i]),
            Upsampling::Field(field) => {
                let scale = picture[i] as f64 / input[i] as f64;
                Axis::new(map[i], picture[i], (field[i].centre() as f64 + 0.5) * scale - 0.5, field[i].step as f64 * scale)
            }
        };
        Self { y: axis(0), x: axis(1) }
    }

    /// Number of samples of the maps it takes.
    pub fn samples(&self) -> usize {
        self.y.samples * self.x.samples
    }

    /// Value at an output pixel, between the four samples around it.
    pub fn value(&self, map: &[f32], y: usize, x: usize) -> f64 {
        let (row, next_row) = (self.y.low[y], self.y.next(self.y.low[y]));
        let (column, next_column) = (self.x.low[x], self.x.next(self.x.low[x]));
        let at = |r: usize, c: usize| f64::from(map[r * self.x.samples + c]);
        let down = |c: usize| at(row, c) + self.y.fraction[y] * (at(next_row, c) - at(row, c));
        let (left, right) = (down(column), down(next_column));
        left + self.x.fraction[x] * (right - left)
    }

    /// Turns on the pixels strictly above the threshold. Returns how many; `bits` is left untouched when the map never exceeds it.
    pub fn mask(&self, map: &[f32], threshold: f64, bits: &mut Bits) -> u64 {
        let floor = floor(threshold);
        let above = |v: f32| v > floor;
        if !any_above(map, floor) {
            return 0;
        }
        let width = self.x.low.len();
        bits.clear(self.y.low.len() * width);
        for (row, ys) in self.y.pixels.iter().enumerate() {
            let rows = [row, self.y.next(row)].map(|r| &map[r * self.x.samples..][..self.x.samples]);
            if ys.is_empty() || !rows.iter().any(|r| any_above(r, floor)) {
                continue;
            }
            for (column, xs) in self.x.pixels.iter().enumerate() {
                let next = self.x.next(column);
                let corners = [rows[0][column], rows[0][next], rows[1][column], rows[1][next]];
                if !corners.iter().any(|v| above(*v)) {
                    continue;
                }
                let [a, b, c, d] = corners.map(f64::from);
                for y in ys.clone() {
                    let f = self.y.fraction[y];
                    let (left, right) = (a + f * (c - a), b + f * (d - b));
                    // Between two values on the same side everything is on that side.
                    match (left > threshold, right > threshold) {
                        (false, false) => continue,
                        (true, true) if !xs.is_empty() => {
                            bits.set_range(y * width + xs.start..y * width + xs.end);
                            continue;
                        }
                        _ => {}
                    }
                    for x in xs.clone() {
                        if left + self.x.fraction[x] * (right - left) > threshold {
                            bits.set(y * width + x);
                        }
                    }
                }
            }
        }
        bits.count()
    }
}

/// The largest f32 that is not above the threshold: a value is above this one exactly when it is above the threshold.
fn floor(threshold: f64) -> f32 {
    let near = threshold as f32;
    if f64::from(near) > threshold { near.next_down() } else { near }
}

/// Whether a value is above; whole blocks at a time, so that it compiles to vector comparisons.
fn any_above(values: &[f32], floor: f32) -> bool {
    let (blocks, rest) = values.as_chunks::<32>();
    blocks.iter().any(|b| b.iter().fold(false, |any, v| any | (*v > floor))) || rest.iter().any(|v| *v > floor)
}

fn half_pixel(samples: usize, pixels: usize) -> Axis {
    let step = pixels as f64 / samples as f64;
    Axis::new(samples, pixels, step / 2.0 - 0.5, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(offset: i64, size: i64, step: i64) -> Upsampling {
        Upsampling::Field([Extent { offset, size, step }; 2])
    }

    #[test]
    fn knots_differ_from_half_pixels() {
        // A step of 32 and fields of 33 from 0: knots at 8, 24, … in a picture of half the size; half pixels give 7.5, 23.5, …
        let map: Vec<f32> = (0..49).map(|i| (i % 7) as f32).collect();
        let by_field = Upsampler::new([7, 7], [112, 112], [224, 224], field(0, 33, 32));
        let plain = Upsampler::new([7, 7], [112, 112], [224, 224], Upsampling::Plain);
        assert_eq!((by_field.value(&map, 50, 8), by_field.value(&map, 50, 24)), (0.0, 1.0));
        assert_eq!((by_field.value(&map, 50, 16), plain.value(&map, 50, 16)), (0.5, 0.531_25));
        // Constant outside.
        assert_eq!((by_field.value(&map, 0, 0), by_field.value(&map, 0, 111)), (0.0, 6.0 - 0.0 * 1.0 - 0.0));
        assert_eq!(plain.value(&map, 0, 111), 6.0);
    }

    #[test]
    fn masks_agree_with_every_single_value() {
        let map: Vec<f32> = (0..42).map(|i| ((i * 37) % 19) as f32 - 4.0).collect();
        for upsampling in [Upsampling::Plain, field(-3, 21, 16), field(5, 40, 12)] {
            let up = Upsampler::new([6, 7], [57, 45], [114, 90], upsampling);
            for threshold in [-10.0, 0.0, 7.5, 13.9, 14.0] {
                let mut bits = Bits::default();
                bits.clear(57 * 45);
                let count = up.mask(&map, threshold, &mut bits);
                let on = |i: usize| up.value(&map, i / 45, i % 45) > threshold;
                let all: Vec<usize> = (0..57 * 45).filter(|i| on(*i)).collect();
                let mut ones = Vec::new();
                bits.for_each(|at| ones.push(at));
                assert_eq!(ones, all);
                assert_eq!(count, all.len() as u64);
                assert!(all.iter().all(|i| bits.get(*i)));
            }
        }
    }

    #[test]
    fn ranges_are_their_pixels() {
        for (from, to) in [(0, 1), (3, 9), (60, 64), (64, 65), (63, 65), (10, 190), (128, 192)] {
            let [mut whole, mut single] = [Bits::default(), Bits::default()];
            whole.clear(192);
            single.clear(192);
            whole.set_range(from..to);
            (from..to).for_each(|at| single.set(at));
            assert_eq!(whole, single, "{from}..{to}");
        }
    }

    #[test]
    fn floors_divide_single_precision_numbers_as_thresholds_do() {
        for threshold in [0.0, 0.1, -0.1, 1.0 / 3.0, 16_777_217.0, -16_777_217.0, 1e-46, -1e-46, f64::from(f32::MAX) * 1.000_000_01] {
            let near = threshold as f32;
            for v in [near, near.next_up(), near.next_down()] {
                assert_eq!(v > floor(threshold), f64::from(v) > threshold, "{v} {threshold}");
            }
        }
        let mut values = [0.0; 70];
        for at in [0, 31, 32, 63, 64, 69] {
            values[at] = 2.0;
            assert!(any_above(&values, 1.0) && !any_above(&values, 2.0));
            values[at] = 0.0;
        }
    }

    #[test]
    fn same_size_is_the_map_itself() {
        let up = Upsampler::new([2, 2], [2, 2], [2, 2], Upsampling::Plain);
        let mut bits = Bits::default();
        assert_eq!(up.mask(&[0.0, 1.0, 2.0, 1.0], 1.0, &mut bits), 1);
        assert!(bits.get(2) && !bits.get(1), "ties are off");
        assert_eq!(up.samples(), 4);
    }
}
