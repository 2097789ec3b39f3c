//! As much of Thrift's compact protocol as the headers of a Parquet file need, for a form that is known beforehand: what does not have
//! exactly that form is refused. A reader that skips what it does not know can be led to see other things than a guard before it saw.

use std::collections::BTreeMap;

/// The form of a value.
pub(super) enum Shape {
    /// True or false, as a field.
    Flag,
    /// An integer of any width.
    Int,
    /// A text or other bytes.
    Bytes,
    /// Elements of one form.
    List(&'static Shape),
    /// Fields by number. Each at most once, in ascending order.
    Record(&'static [(u8, Shape)]),
}

/// Integers met on the way, by the field that holds their record (0: the outermost) and their own.
pub(super) type Numbers = BTreeMap<(u8, u8), i64>;

/// Walks a record at the beginning of the bytes: the integers in it (the last of several) and how many bytes it takes. `None` when it
/// has another form or declares more than the bytes hold.
pub(super) fn record(bytes: &[u8], fields: &'static [(u8, Shape)]) -> Option<(Numbers, usize)> {
    let mut walk = Walk { left: bytes, numbers: Numbers::new() };
    walk.record(fields, 0)?;
    Some((walk.numbers, bytes.len() - walk.left.len()))
}

struct Walk<'a> {
    left: &'a [u8],
    numbers: Numbers,
}

impl Walk<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.left.split_first()?;
        self.left = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn record(&mut self, fields: &'static [(u8, Shape)], own: u8) -> Option<()> {
        let mut last = 0_u8;
        loop {
            let header = self.byte()?;
            if header == 0 {
                return Some(());
            }
            let (step, kind) = (header >> 4, header & 0x0f);
            if step == 0 {
                return None;
            }
            last = last.checked_add(step)?;
            let (_, shape) = fields.iter().find(|(id, _)| *id == last)?;
            if let (Shape::Flag, 1 | 2) = (shape, kind) {
                continue; // Its value stands in the header.
            }
            self.value(shape, kind, own, last)?;
        }
    }

    fn value(&mut self, shape: &'static Shape, kind: u8, within: u8, own: u8) -> Option<()> {
        match (shape, kind) {
            (Shape::Int, 4..=6) => {
                let value = self.number()?;
                self.numbers.insert((within, own), (value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
            (Shape::Bytes, 8) => {
                let length = usize::try_from(self.number()?).ok()?;
                self.left = self.left.get(length..)?;
            }
            (Shape::List(shape), 9) => {
                let header = self.byte()?;
                let count = if header >> 4 == 15 { self.number()? } else { u64::from(header >> 4) };
                // Each element takes a byte at least.
                if count > self.left.len() as u64 {
                    return None;
                }
                for _ in 0..count {
                    self.value(shape, header & 0x0f, within, own)?;
                }
            }
            (Shape::Record(fields), 12) => self.record(fields, own)?,
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &[(u8, Shape)] =
        &[(1, Shape::List(&Shape::Int)), (2, Shape::Bytes), (3, Shape::Flag), (4, Shape::Record(&[(1, Shape::Int)])), (5, Shape::Int)];

    fn fits(bytes: &[u8]) -> bool {
        record(bytes, FORM).is_some()
    }

    #[test]
    fn numbers_and_lengths() {
        // 5: -2, after a record with 1: 150; then a byte that belongs to something else.
        let (numbers, length) = record(&[0x4c, 0x15, 0xac, 0x02, 0, 0x16, 3, 0, 9], FORM).unwrap();
        assert_eq!(numbers, Numbers::from([((0, 5), -2), ((4, 1), 150)]));
        assert_eq!(length, 8);
    }

    #[test]
    fn what_is_declared_must_be_there() {
        assert!(fits(&[0x19, 0x35, 1, 2, 3, 0]) && fits(&[0x28, 1, b'a', 0x11, 0]) && fits(&[0]));
        // Two thousand million elements; a list, a text and a record that are cut off; a number without end.
        assert!(!fits(&[0x19, 0xf5, 0xff, 0xff, 0xff, 0xff, 0x07, 0]));
        assert!(!fits(&[0x19, 0x35, 1, 2]) && !fits(&[0x28, 9, b'a']) && !fits(&[0x4c, 0x15, 2]) && !fits(b""));
        assert!(!fits(&[&[0x56][..], &[0xff; 20]].concat()));
    }

    #[test]
    fn other_forms_are_refused() {
        // An unknown field, one of another kind, one twice, one with its number written out; elements that take no room.
        assert!(!fits(&[0x65, 2, 0]) && !fits(&[0x25, 2, 0]) && !fits(&[0x31, 0x01, 6, 0]) && !fits(&[0x05, 10, 2, 0]));
        assert!(!fits(&[0x19, 0x32, 1, 1, 1, 0]));
        assert!(!fits(&[0x4c; 100_000]));
    }
}
