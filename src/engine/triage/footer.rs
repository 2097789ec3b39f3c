//! What a Parquet file declares, checked before the crate's reader believes it. That one counts through lists of two thousand million
//! elements which take no room, and stops with a panic at some forms that are legal elsewhere. Only what `table` writes passes: a flat
//! table of four kinds of columns, without compression, of which every page lies in the file where it should.

use std::io::{Read, Seek, SeekFrom};

use parquet::{
    basic::{Compression, ConvertedType, Repetition, Type as Physical},
    file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData},
    schema::types::Type,
};

use super::thrift::{self, Shape};

type Fields = &'static [(u8, Shape)];

const INT: Shape = Shape::Int;
const BYTES: Shape = Shape::Bytes;

const ELEMENT: Fields = &[
    (1, INT),
    (2, INT),
    (3, INT),
    (4, BYTES),
    (5, INT),
    (6, INT),
    (7, INT),
    (8, INT),
    (9, INT),
    (10, Shape::Record(&[(1, Shape::Record(&[]))])),
];
const PAIR: Fields = &[(1, BYTES), (2, BYTES)];
const STATISTICS: Fields =
    &[(1, BYTES), (2, BYTES), (3, INT), (4, INT), (5, BYTES), (6, BYTES), (7, Shape::Flag), (8, Shape::Flag), (9, INT)];
const COLUMN: Fields = &[
    (1, INT),
    (2, Shape::List(&INT)),
    (3, Shape::List(&BYTES)),
    (4, INT),
    (5, INT),
    (6, INT),
    (7, INT),
    (8, Shape::List(&Shape::Record(PAIR))),
    (9, INT),
    (10, INT),
    (11, INT),
    (12, Shape::Record(STATISTICS)),
    (13, Shape::List(&Shape::Record(&[(1, INT), (2, INT), (3, INT)]))),
    (16, Shape::Record(&[(1, INT), (2, Shape::List(&INT)), (3, Shape::List(&INT))])),
];
const CHUNK: Fields = &[(2, INT), (3, Shape::Record(COLUMN)), (4, INT), (5, INT), (6, INT), (7, INT)];
const GROUP: Fields = &[(1, Shape::List(&Shape::Record(CHUNK))), (2, INT), (3, INT), (5, INT), (6, INT), (7, INT)];
const FILE: Fields = &[
    (1, INT),
    (2, Shape::List(&Shape::Record(ELEMENT))),
    (3, INT),
    (4, Shape::List(&Shape::Record(GROUP))),
    (5, Shape::List(&Shape::Record(PAIR))),
    (6, BYTES),
    (7, Shape::List(&Shape::Record(&[(1, Shape::Record(&[])), (2, Shape::Record(&[]))]))),
];

const DATA: Fields = &[(1, INT), (2, INT), (3, INT), (4, INT), (5, Shape::Record(STATISTICS))];
const DICTIONARY: Fields = &[(1, INT), (2, INT), (3, Shape::Flag)];
const PAGE: Fields = &[(1, INT), (2, INT), (3, INT), (4, INT), (5, Shape::Record(DATA)), (7, Shape::Record(DICTIONARY))];

/// Footers of a million rows take less than one.
const MOST: u64 = 64 << 20;
/// Every row has its position, which takes eight bytes at least.
const ROW: u64 = 8;

/// Whether the footer of a file has the form that `table` writes. What is no Parquet file passes: the reader says so better.
pub(super) fn plausible(file: &mut (impl Read + Seek)) -> std::io::Result<bool> {
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
    if length > MOST {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(size - 8 - length))?;
    let mut footer = Vec::new();
    file.take(length).read_to_end(&mut footer)?;
    Ok(thrift::record(&footer, FILE).is_some())
}

/// Whether the table is flat and its pages lie one after the other in the file and hold as many values as there are rows.
pub(super) fn fits(file: &mut (impl Read + Seek), metadata: &ParquetMetaData) -> std::io::Result<bool> {
    let size = file.seek(SeekFrom::End(0))?;
    let fields = metadata.file_metadata().schema().get_fields();
    let mut rows = 0_u64;
    let mut end = 0;
    for group in metadata.row_groups() {
        rows = rows.saturating_add(u64::try_from(group.num_rows()).unwrap_or(u64::MAX));
        if rows.saturating_mul(ROW) > size {
            return Ok(false);
        }
        for chunk in group.columns() {
            let Some(range) = range(group, chunk).filter(|(start, stop)| *start >= end && *stop <= size) else { return Ok(false) };
            end = range.1;
            file.seek(SeekFrom::Start(range.0))?;
            let mut bytes = Vec::new();
            file.by_ref().take(range.1 - range.0).read_to_end(&mut bytes)?;
            if pages(&bytes).is_none_or(|values| values.cast_signed() != group.num_rows()) {
                return Ok(false);
            }
        }
    }
    Ok(fields.iter().all(|f| known(f)))
}

/// The kinds of `row::Kind`.
fn known(field: &Type) -> bool {
    let info = field.get_basic_info();
    field.is_primitive()
        && matches!(info.has_repetition().then(|| info.repetition()), Some(Repetition::OPTIONAL | Repetition::REQUIRED))
        && matches!(
            (field.get_physical_type(), info.converted_type()),
            (Physical::INT64 | Physical::FLOAT | Physical::BOOLEAN, ConvertedType::NONE) | (Physical::BYTE_ARRAY, ConvertedType::UTF8)
        )
}

/// First byte of a column's pages in the file, and the first after them.
fn range(group: &RowGroupMetaData, chunk: &ColumnChunkMetaData) -> Option<(u64, u64)> {
    let start = u64::try_from(chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset())).ok()?;
    let stop = start.checked_add(u64::try_from(chunk.compressed_size()).ok()?)?;
    (chunk.compression() == Compression::UNCOMPRESSED && chunk.num_values() == group.num_rows()).then_some((start, stop))
}

/// Values in the pages of a column, when these have the form that `table` writes.
fn pages(mut bytes: &[u8]) -> Option<u64> {
    let mut values = 0_u64;
    let (mut first, mut dictionary) = (true, false);
    while !bytes.is_empty() {
        let (numbers, length) = thrift::record(bytes, PAGE)?;
        let number = |within, own| numbers.get(&(within, own)).and_then(|n| usize::try_from(*n).ok());
        let page = number(0, 3)?;
        if number(0, 2)? != page {
            return None;
        }
        bytes = bytes.get(length..)?.get(page..)?;
        match (number(0, 1)?, number(5, 1), number(7, 1)) {
            // PLAIN or by the dictionary before; the levels as runs.
            (0, Some(count), None) if number(5, 3)? == 3 && (number(5, 2)? == 0 || dictionary && matches!(number(5, 2)?, 2 | 8)) => {
                values = values.checked_add(count as u64)?;
            }
            (2, None, Some(count)) if first && number(7, 2)? == 0 && count <= page => dictionary = true,
            _ => return None,
        }
        first = false;
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer(bytes: &[u8]) -> bool {
        let file = [b"PAR1", bytes, &(bytes.len() as u32).to_le_bytes(), b"PAR1"].concat();
        plausible(&mut std::io::Cursor::new(file)).unwrap()
    }

    #[test]
    fn only_footers_are_looked_at() {
        assert!(footer(&[0x15, 2, 0]));
        assert!(!footer(&[0x19, 0x33, 1, 2, 3, 0]));
        let other = |bytes: &[u8]| plausible(&mut std::io::Cursor::new(bytes)).unwrap();
        assert!(other(b"") && other(b"a text") && other(&[b"xxxx", &u32::MAX.to_le_bytes()[..], b"PAR1"].concat()));
    }

    #[test]
    fn pages_are_counted() {
        let coded = |values: u8, by: u8| [0x15, 0, 0x15, 4, 0x15, 4, 0x2c, 0x15, values * 2, 0x15, by * 2, 0x15, 6, 0x15, 6, 0, 0];
        let dictionary = |values: u8| [0x15, 4, 0x15, 2, 0x15, 2, 0x4c, 0x15, values * 2, 0x15, 0, 0x11, 0, 0, b'x'];
        let page = |values| [&coded(values, 0)[..], b"xx"].concat();
        assert_eq!(pages(&[page(3), page(4)].concat()), Some(7));
        assert_eq!(pages(&[&dictionary(1)[..], &page(4)].concat()), Some(4));
        let by_dictionary = [&coded(5, 8)[..], b"xx"].concat();
        assert_eq!(pages(&[&dictionary(1)[..], &by_dictionary].concat()), Some(5));
        assert_eq!(pages(&by_dictionary), None);
        // A page that is cut off, a dictionary in the wrong place, one of more values than bytes.
        assert_eq!(pages(&coded(3, 0)), None);
        assert_eq!(pages(&[&page(4)[..], &dictionary(1)].concat()), None);
        assert_eq!(pages(&dictionary(2)), None);
    }
}
