//! The footer of a Parquet file, walked before the reader of the crate sees it: that one believes a list of two thousand million
//! elements which take no room, and counts through it. Thrift's compact protocol is all this knows, and only how long things are.

use std::io::{Read, Seek, SeekFrom};

/// Structures in structures; real footers have five.
const DEEPEST: usize = 32;

/// Whether the footer of a file can hold what it declares. What is no Parquet file passes: the reader says so better.
pub fn plausible(file: &mut (impl Read + Seek)) -> std::io::Result<bool> {
    let size = file.seek(SeekFrom::End(0))?;
    let mut tail = [0; 8];
    if size < 8 {
        return Ok(true);
    }
    file.seek(SeekFrom::Start(size - 8))?;
    file.read_exact(&mut tail)?;
    let [a, b, c, d, magic @ ..] = tail;
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    if &magic != b"PAR1" || length > size - 8 {
        return Ok(true);
    }
    file.seek(SeekFrom::Start(size - 8 - length))?;
    let mut footer = Vec::new();
    file.take(length).read_to_end(&mut footer)?;
    Ok(Walk { left: &footer }.structure(0).is_some())
}

struct Walk<'a> {
    left: &'a [u8],
}

impl Walk<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.left.split_first()?;
        self.left = rest;
        Some(*first)
    }

    fn skip(&mut self, bytes: u64) -> Option<()> {
        self.left = self.left.get(usize::try_from(bytes).ok()?..)?;
        Some(())
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

    /// So many elements, of which each takes a byte at least.
    fn count(&mut self, count: u64) -> Option<u64> {
        (count <= self.left.len() as u64).then_some(count)
    }

    fn structure(&mut self, depth: usize) -> Option<()> {
        loop {
            let header = self.byte()?;
            match header & 0x0f {
                0 => return Some(()),
                kind => {
                    if header >> 4 == 0 {
                        self.number()?;
                    }
                    // The value of a field that is true or false stands in its header.
                    if !matches!(kind, 1 | 2) {
                        self.value(kind, depth)?;
                    }
                }
            }
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        match kind {
            1..=3 => self.skip(1),
            4..=6 => self.number().map(drop),
            7 => self.skip(8),
            8 => {
                let length = self.number()?;
                self.skip(length)
            }
            9 | 10 => {
                let header = self.byte()?;
                let declared = if header >> 4 == 15 { self.number()? } else { u64::from(header >> 4) };
                let count = self.count(declared)?;
                (0..count).try_for_each(|_| self.value(header & 0x0f, depth + 1))
            }
            11 => {
                let declared = self.number()?;
                if declared == 0 {
                    return Some(());
                }
                let (kinds, count) = (self.byte()?, self.count(declared)?);
                (0..count).try_for_each(|_| {
                    self.value(kinds >> 4, depth + 1)?;
                    self.value(kinds & 0x0f, depth + 1)
                })
            }
            12 => self.structure(depth + 1),
            13 => self.skip(16),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(file: &[u8]) -> bool {
        plausible(&mut std::io::Cursor::new(file)).unwrap()
    }

    fn footer(bytes: &[u8]) -> bool {
        fits(&[b"PAR1", bytes, &(bytes.len() as u32).to_le_bytes(), b"PAR1"].concat())
    }

    #[test]
    fn what_a_footer_declares_must_be_there() {
        // Field 1, a list of three bytes, the end.
        assert!(footer(&[0x19, 0x33, 1, 2, 3, 0]));
        // Two thousand million values that are true.
        assert!(!footer(&[0x19, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x07, 0]));
        // A list, a text and a structure that are cut off.
        assert!(!footer(&[0x19, 0x33, 1, 2]));
        assert!(!footer(&[0x18, 9, b'a']));
        assert!(!footer(&[0x1c, 0x15, 2]));
        // Structures without end.
        assert!(!footer(&[0x1c; 100_000]));
        // Something else altogether.
        assert!(fits(b"") && fits(b"a text") && fits(&[b"xxxx", &u32::MAX.to_le_bytes()[..], b"PAR1"].concat()));
    }
}
