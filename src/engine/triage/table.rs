//! Rows in Parquet files: one flat, uncompressed schema that every reader understands.

use std::{collections::BTreeMap, fs::File, io::Write, path::Path, sync::Arc};

use parquet::{
    basic::{LogicalType, Repetition, Type as Physical},
    data_type::{BoolType, ByteArray, ByteArrayType, DataType, FloatType, Int64Type},
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        properties::WriterProperties,
        reader::{FileReader, SerializedFileReader},
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    record::Field,
    schema::types::{Type, TypePtr},
};

use super::{
    footer,
    row::{COLUMNS, Cell, Kind, Row},
};
use crate::core::error::{Error, Result};

/// Rows in one row group.
const GROUP: usize = 8192;

/// Texts that repeat are stored once: how much longer they may be in all than the file.
const SWELL: u64 = 64;

/// Metadata of a file, by key.
pub type Metadata = BTreeMap<String, String>;

fn schema() -> Result<TypePtr, ParquetError> {
    let column = |name: &str, kind: Kind| {
        let (physical, logical) = match kind {
            Kind::Int => (Physical::INT64, None),
            Kind::Float => (Physical::FLOAT, None),
            Kind::Flag => (Physical::BOOLEAN, None),
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let builder = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
        builder.with_logical_type(logical).build().map(Arc::new)
    };
    let fields = COLUMNS.iter().map(|c| column(c.name, c.kind)).collect::<Result<_, _>>()?;
    Ok(Arc::new(Type::group_type_builder("triage").with_fields(fields).build()?))
}

/// Writes rows and metadata.
pub fn write(out: impl Write + Send, rows: &[Row], metadata: &Metadata) -> Result<(), ParquetError> {
    let pairs = metadata.iter().map(|(k, v)| KeyValue::new(k.clone(), v.clone())).collect();
    let created = format!("psescope {}", env!("CARGO_PKG_VERSION"));
    let properties = WriterProperties::builder().set_key_value_metadata(Some(pairs)).set_created_by(created).build();
    let mut file = SerializedFileWriter::new(out, schema()?, Arc::new(properties))?;
    for rows in rows.chunks(GROUP) {
        let cells: Vec<Vec<Cell>> = rows.iter().map(Row::cells).collect();
        let mut group = file.next_row_group()?;
        for (at, column) in COLUMNS.iter().enumerate() {
            let values = cells.iter().map(|row| &row[at]);
            match column.kind {
                Kind::Int => put::<Int64Type, _>(&mut group, values, |c| if let Cell::Int(v) = c { *v } else { None })?,
                Kind::Float => put::<FloatType, _>(&mut group, values, |c| if let Cell::Float(v) = c { *v } else { None })?,
                Kind::Flag => put::<BoolType, _>(&mut group, values, |c| if let Cell::Flag(v) = c { *v } else { None })?,
                Kind::Text => put::<ByteArrayType, _>(&mut group, values, |c| match c {
                    Cell::Text(Some(text)) => Some(ByteArray::from(text.as_str())),
                    _ => None,
                })?,
            }
        }
        group.close()?;
    }
    file.close().map(|_| ())
}

fn put<'a, T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<W>,
    cells: impl Iterator<Item = &'a Cell>,
    value: impl Fn(&Cell) -> Option<T::T>,
) -> Result<(), ParquetError> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    for cell in cells {
        let value = value(cell);
        levels.push(i16::from(value.is_some()));
        values.extend(value);
    }
    let mut column = group.next_column()?.ok_or_else(|| ParquetError::General("the schema has fewer columns than the rows".into()))?;
    column.typed::<T>().write_batch(&values, Some(&levels), None)?;
    column.close()
}

/// Reads rows and metadata of a file that [`write()`] made. Columns it does not know are left out; missing ones are null.
pub fn read(path: &Path) -> Result<(Vec<Row>, Metadata)> {
    let fail =
        |e: &dyn std::fmt::Display| Error::Input(format!("{} cannot be read as triage results: {e}; run the triage again", path.display()));
    let mut file = File::open(path).map_err(|e| fail(&e))?;
    let size = file.metadata().map_err(|e| fail(&e))?.len();
    if !footer::plausible(&mut file).map_err(|e| fail(&e))? {
        return Err(fail(&"its footer is not one that psescope writes"));
    }
    let reader = SerializedFileReader::new(file.try_clone().map_err(|e| fail(&e))?).map_err(|e| fail(&e))?;
    let pairs = reader.metadata().file_metadata().key_value_metadata().cloned().unwrap_or_default();
    let metadata: Metadata = pairs.into_iter().map(|p| (p.key, p.value.unwrap_or_default())).collect();
    match metadata.get("schema").map(String::as_str) {
        Some(super::SCHEMA) => {}
        Some(other) => return Err(fail(&format!("it has the layout {other} and this program reads {}", super::SCHEMA))),
        None => return Err(fail(&"it is another kind of table")),
    }
    if !footer::fits(&mut file, reader.metadata()).map_err(|e| fail(&e))? {
        return Err(fail(&"its columns or pages are not such as psescope writes"));
    }
    let mut rows = Vec::new();
    let mut text = 0_u64;
    for record in reader.get_row_iter(None).map_err(|e| fail(&e))? {
        let mut row = Row::default();
        if text > size.saturating_mul(SWELL) {
            return Err(fail(&"the same long text stands in it too often"));
        }
        for (name, field) in record.map_err(|e| fail(&e))?.into_columns() {
            let cell = match field {
                Field::Long(v) => Cell::Int(Some(v)),
                Field::Float(v) => Cell::Float(Some(v)),
                Field::Bool(v) => Cell::Flag(Some(v)),
                Field::Str(v) => {
                    text += v.len() as u64;
                    Cell::Text(Some(v))
                }
                _ => continue,
            };
            row.set(&name, cell);
        }
        rows.push(row);
    }
    Ok((rows, metadata))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("t.parquet");
        let rows: Vec<Row> = (0..GROUP as i64 + 3)
            .map(|i| Row {
                index: Some(i),
                path: Some(format!("kätzchen {i}.png")),
                success: (i % 3 != 0).then_some(i % 2 == 0),
                l2: (i % 5 != 0).then_some(i as f32 / 7.0),
                ..Row::default()
            })
            .collect();
        let metadata = Metadata::from([("schema".into(), super::super::SCHEMA.into()), ("seed".into(), "3".into())]);
        write(File::create(&path).unwrap(), &rows, &metadata).unwrap();
        let (back, pairs) = read(&path).unwrap();
        assert_eq!(back, rows);
        assert_eq!(pairs, metadata);
        write(File::create(&path).unwrap(), &[], &metadata).unwrap();
        assert!(read(&path).unwrap().0.is_empty());
    }

    #[test]
    fn other_files_are_refused_with_a_sentence() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("t.parquet");
        std::fs::write(&path, b"PAR1 not really PAR1").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("run the triage again"));
        write(File::create(&path).unwrap(), &[], &Metadata::from([("schema".into(), "psescope.triage/99".into())])).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("psescope.triage/99"));
        write(File::create(&path).unwrap(), &[], &Metadata::new()).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("another kind"));
    }

    /// A table of one column, named as one of ours, that our writer would not make.
    fn foreign(column: &str, properties: WriterProperties, fill: impl Fn(&mut SerializedRowGroupWriter<File>)) -> String {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("t.parquet");
        let schema = parquet::schema::parser::parse_message_type(&format!("message m {{ {column} }}")).unwrap();
        let pair = KeyValue::new("schema".into(), super::super::SCHEMA.to_owned());
        let properties = properties.into_builder().set_key_value_metadata(Some(vec![pair])).build();
        let mut file = SerializedFileWriter::new(File::create(&path).unwrap(), Arc::new(schema), Arc::new(properties)).unwrap();
        let mut group = file.next_row_group().unwrap();
        fill(&mut group);
        group.close().unwrap();
        file.close().unwrap();
        read(&path).map_or_else(|e| e.to_string(), |(rows, _)| format!("{} rows", rows.len()))
    }

    fn column<T: DataType>(group: &mut SerializedRowGroupWriter<File>, values: &[T::T], levels: Option<&[i16]>) {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<T>().write_batch(values, levels, None).unwrap();
        column.close().unwrap();
    }

    #[test]
    fn small_files_that_would_fill_the_memory() {
        let plain = || WriterProperties::builder().build();
        let index: Vec<i64> = (0..1000).collect();
        let said = foreign("required int64 index;", plain(), |g| column::<Int64Type>(g, &index, None));
        assert_eq!(said, "1000 rows");
        // Ten million rows that hold nothing, in a hundred bytes.
        let said = foreign("optional int64 index;", plain(), |g| column::<Int64Type>(g, &[], Some(&vec![0; 10_000_000])));
        assert!(said.contains("columns or pages"), "{said}");
        // Eight thousand times the same long text.
        let text = ByteArray::from(vec![b'a'; 64 << 10]);
        let said = foreign("required binary path (UTF8);", plain(), |g| column::<ByteArrayType>(g, &vec![text.clone(); 8000], None));
        assert!(said.contains("too often"), "{said}");
    }

    #[test]
    fn tables_of_other_programs_are_refused() {
        let plain = || WriterProperties::builder().build();
        let one = |g: &mut SerializedRowGroupWriter<File>| column::<Int64Type>(g, &[1], Some(&[1]));
        for other in ["optional int64 index (TIMESTAMP_MILLIS);", "repeated int64 index;", "optional group index { required int64 x; }"] {
            let said = match other.starts_with("repeated") {
                true => foreign(other, plain(), |g| {
                    let mut column = g.next_column().unwrap().unwrap();
                    column.typed::<Int64Type>().write_batch(&[1], Some(&[1]), Some(&[0])).unwrap();
                    column.close().unwrap();
                }),
                false => foreign(other, plain(), one),
            };
            assert!(said.contains("psescope writes"), "{other}: {said}");
        }
        let newer = WriterProperties::builder().set_writer_version(parquet::file::properties::WriterVersion::PARQUET_2_0).build();
        assert!(foreign("optional int64 index;", newer, one).contains("columns or pages"));
    }
}
