//! CSV tables with named columns, as Python's `csv` module writes them: CRLF, quotes only where needed. Line feeds are read too.

use std::str::FromStr;

use crate::core::error::{Error, Result};

/// Most rows of a table.
const MAX_ROWS: usize = 4_000_000;

/// A table in memory.
pub struct Table<'a> {
    file: &'a str,
    header: csv::StringRecord,
    records: Vec<csv::StringRecord>,
}

/// One row, and where it stands.
pub struct Row<'a> {
    file: &'a str,
    record: &'a csv::StringRecord,
}

impl<'a> Table<'a> {
    /// Reads a whole table; `file` names it in errors.
    pub fn parse(bytes: &[u8], file: &'a str) -> Result<Self> {
        let broken = |e: csv::Error| {
            let line = e.position().map(|p| format!(" line {}", p.line())).unwrap_or_default();
            let why = match e.kind() {
                csv::ErrorKind::Utf8 { .. } => "is not UTF-8 text",
                csv::ErrorKind::UnequalLengths { .. } => "is shorter or longer than the header",
                _ => "is not readable as CSV",
            };
            Error::Input(format!("{file}{line} {why}"))
        };
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut reader = csv::ReaderBuilder::new().from_reader(bytes);
        let header = reader.headers().map_err(broken)?.clone();
        let mut records = Vec::new();
        for record in reader.records() {
            records.push(record.map_err(broken)?);
            if records.len() > MAX_ROWS {
                return Err(Error::Input(format!("{file} has more than {MAX_ROWS} rows, which is more than psescope reads")));
            }
        }
        Ok(Self { file, header, records })
    }

    /// Position of a column.
    pub fn column(&self, name: &str) -> Result<usize> {
        let found = self.header.iter().position(|h| h.trim() == name);
        found.ok_or_else(|| Error::Input(format!("{} has no column '{name}'; give a folder in the layout of Broden", self.file)))
    }

    /// The rows below the header.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.records.iter().map(|record| Row { file: self.file, record })
    }
}

impl Row<'_> {
    /// A cell's text.
    pub fn text(&self, column: usize) -> Result<&str> {
        self.record.get(column).ok_or_else(|| self.bad("the row is too short"))
    }

    /// A cell that holds an integer from 0.
    pub fn number<T: FromStr>(&self, column: usize) -> Result<T> {
        self.text(column)?.trim().parse().map_err(|_| self.bad("a whole number is expected"))
    }

    /// A cell that holds a finite fraction from 0.
    pub fn fraction(&self, column: usize) -> Result<f64> {
        let value = self.text(column)?.trim().parse::<f64>().ok().filter(|v| v.is_finite() && *v >= 0.0);
        value.ok_or_else(|| self.bad("a number from 0 is expected"))
    }

    /// What is wrong with this row.
    pub fn bad(&self, why: &str) -> Error {
        let line = self.record.position().map_or(0, csv::Position::line);
        Error::Input(format!("{} line {line}: {why}", self.file))
    }
}

/// A table's text.
pub fn write(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(header).expect("a vector takes everything");
    for row in rows {
        writer.write_record(&row).expect("rows are as long as the header");
    }
    String::from_utf8(writer.into_inner().expect("a vector can be flushed")).expect("made of text")
}
