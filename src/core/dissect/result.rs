//! NetDissect's result file: one row per unit, best label per category with its counts. Method report E.3.
//!
//! `unit,category,label,score`, then per category C `C-label,C-truth,C-activation,C-intersect,C-iou`; `unit` from 1, rows by
//! falling score, lines end in CRLF. What was read is written back byte for byte when it came from NetDissect or from here.

use std::collections::HashSet;

use super::number::{self, Style};
use crate::core::error::{Error, Result};

/// Most units a file may have.
const MAX_UNITS: usize = 1 << 20;
/// Most categories a file may have.
const MAX_CATEGORIES: usize = 64;
/// Parts of a category's columns.
const PARTS: [&str; 5] = ["label", "truth", "activation", "intersect", "iou"];

/// The best label of one category for one unit. Counts are pixels of the label pictures over all images.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CategoryScore {
    /// Label name; empty when the category has none.
    pub label: String,
    /// Pixels with the label.
    pub truth: u64,
    /// Pixels of the unit's mask in images with the category.
    pub activation: u64,
    /// Pixels with both.
    pub intersect: u64,
    /// intersect / (activation + truth - intersect).
    pub iou: f64,
}

impl CategoryScore {
    /// IoU from the counts; 0 for an empty union.
    pub fn from_counts(label: String, truth: u64, activation: u64, intersect: u64) -> Self {
        Self { label, truth, activation, intersect, iou: iou(truth, activation, intersect) }
    }
}

/// intersect / (activation + truth - intersect), 0 for an empty union.
pub fn iou(truth: u64, activation: u64, intersect: u64) -> f64 {
    let union = (activation + truth).saturating_sub(intersect);
    if union == 0 { 0.0 } else { intersect as f64 / union as f64 }
}

/// One unit.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitRow {
    /// Number from 1, as in the file.
    pub unit: usize,
    /// Category of the best label.
    pub category: String,
    /// Best label; empty when no pixel of any label was met.
    pub label: String,
    /// Its IoU.
    pub score: f64,
    /// One per category of the table.
    pub best: Vec<CategoryScore>,
}

/// A result file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ResultTable {
    /// Categories, in the order of the columns.
    pub categories: Vec<String>,
    /// Rows in the order of the file.
    pub rows: Vec<UnitRow>,
    dialect: Dialect,
}

/// How the file was written.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Dialect {
    crlf: bool,
    style: Style,
    /// Activations are written as `12.0`.
    point: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { crlf: true, style: Style::Digits17, point: true }
    }
}

impl ResultTable {
    /// A table in NetDissect's own dialect, sorted by falling score (equal scores by unit).
    pub fn new(categories: Vec<String>, mut rows: Vec<UnitRow>) -> Self {
        rows.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.unit.cmp(&b.unit)));
        Self { categories, rows, dialect: Dialect::default() }
    }

    /// Reads a file by the names of its columns; columns it does not know are left out.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut reader = csv::ReaderBuilder::new().from_reader(bytes);
        let header = reader.headers().map_err(|e| broken(&e))?.clone();
        let column = |name: &str| header.iter().position(|h| h.trim() == name);
        let need = |name: &str| {
            column(name).ok_or_else(|| {
                input(format!(
                    "it has no column '{name}'; give a result file of NetDissect or of `psescope dissect` (unit,category,label,score,…)"
                ))
            })
        };
        let fixed = [need("unit")?, need("category")?, need("label")?, need("score")?];
        let categories: Vec<String> =
            header.iter().filter_map(|h| h.trim().strip_suffix("-label")).map(str::to_owned).take(MAX_CATEGORIES + 1).collect();
        if categories.len() > MAX_CATEGORIES || categories.iter().collect::<HashSet<_>>().len() != categories.len() {
            return Err(input(format!("it has more than {MAX_CATEGORIES} categories, or one of them twice")));
        }
        let columns = categories
            .iter()
            .map(|c| PARTS.iter().map(|p| need(&format!("{c}-{p}"))).collect::<Result<Vec<_>>>())
            .collect::<Result<Vec<_>>>()?;
        let mut dialect = Dialect { crlf: bytes.windows(2).any(|w| w == b"\r\n"), ..Dialect::default() };
        let (mut rows, mut seen) = (Vec::new(), HashSet::new());
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(|e| broken(&e))? {
            let line = record.position().map_or(0, csv::Position::line);
            let row = row(&record, line, fixed, &columns, &mut dialect)?;
            if !seen.insert(row.unit) || rows.len() >= MAX_UNITS {
                return Err(input(format!("line {line}: unit {} stands there twice, or there are too many units", row.unit)));
            }
            rows.push(row);
        }
        if rows.is_empty() {
            return Err(input("it has a header but no units".into()));
        }
        Ok(Self { categories, rows, dialect })
    }

    /// The file's text.
    pub fn to_csv(&self) -> String {
        let end = if self.dialect.crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
        let mut writer = csv::WriterBuilder::new().terminator(end).from_writer(Vec::new());
        let fraction = |v| number::fraction(v, self.dialect.style);
        let mut header: Vec<String> = ["unit", "category", "label", "score"].map(str::to_owned).to_vec();
        header.extend(self.categories.iter().flat_map(|c| PARTS.iter().map(move |p| format!("{c}-{p}"))));
        let rows = self.rows.iter().map(|row| {
            let mut cells = vec![row.unit.to_string(), row.category.clone(), row.label.clone(), fraction(row.score)];
            for best in &row.best {
                let point = if self.dialect.point { ".0" } else { "" };
                let counts = [best.truth.to_string(), format!("{}{point}", best.activation), best.intersect.to_string()];
                cells.push(best.label.clone());
                cells.extend(counts);
                cells.push(fraction(best.iou));
            }
            cells
        });
        for cells in std::iter::once(header).chain(rows) {
            writer.write_record(&cells).expect("a vector takes everything, and all rows are as long as the header");
        }
        String::from_utf8(writer.into_inner().expect("a vector can be flushed")).expect("made of text")
    }

    /// How many units reach this IoU, and how many different labels they have.
    pub fn interpretable(&self, iou: f64) -> (usize, usize) {
        let above = || self.rows.iter().filter(|r| r.score >= iou && !r.label.is_empty());
        (above().count(), above().map(|r| (&r.category, &r.label)).collect::<HashSet<_>>().len())
    }
}

fn row(record: &csv::StringRecord, line: u64, fixed: [usize; 4], columns: &[Vec<usize>], dialect: &mut Dialect) -> Result<UnitRow> {
    let cell = |at: usize| record.get(at).unwrap_or_default();
    let bad = |at: usize, what: &str| {
        let shown: String = cell(at).chars().filter(|c| !c.is_control()).take(40).collect();
        input(format!("line {line}: '{shown}' is no {what}"))
    };
    let unit = cell(fixed[0])
        .trim()
        .parse::<usize>()
        .ok()
        .filter(|u| (1..=MAX_UNITS).contains(u))
        .ok_or_else(|| bad(fixed[0], "unit number from 1"))?;
    let mut fraction = |at: usize| -> Result<f64> {
        let text = cell(at).trim();
        let value: f64 = text.parse().ok().filter(|v| (0.0..=1.0).contains(v)).ok_or_else(|| bad(at, "IoU between 0 and 1"))?;
        if number::fraction(value, dialect.style) != text && number::fraction(value, Style::Shortest) == text {
            dialect.style = Style::Shortest;
        }
        Ok(value)
    };
    let score = fraction(fixed[3])?;
    let mut best = Vec::with_capacity(columns.len());
    for of in columns {
        let count = |at: usize| count(cell(at)).ok_or_else(|| bad(at, "number of pixels"));
        let (truth, activation, intersect) = (count(of[1])?, count(of[2])?, count(of[3])?);
        let iou = fraction(of[4])?;
        dialect.point = cell(of[2]).contains('.');
        best.push(CategoryScore { label: cell(of[0]).to_owned(), truth, activation, intersect, iou });
    }
    Ok(UnitRow { unit, category: cell(fixed[1]).to_owned(), label: cell(fixed[2]).to_owned(), score, best })
}

/// A count written as an integer or as a fraction without a fractional part; at most 2^53, which every writer's floats hold.
fn count(text: &str) -> Option<u64> {
    let text = text.trim();
    let value = text.parse::<u64>().ok().or_else(|| {
        let value: f64 = text.parse().ok()?;
        (value >= 0.0 && value.fract() == 0.0 && value <= 9e15).then_some(value as u64)
    })?;
    (value <= 1 << 53).then_some(value)
}

fn input(why: String) -> Error {
    Error::Input(format!("the result file cannot be used: {why}"))
}

fn broken(error: &csv::Error) -> Error {
    let line = error.position().map(|p| format!("line {}: ", p.line())).unwrap_or_default();
    let why = match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "it is not UTF-8 text",
        csv::ErrorKind::UnequalLengths { .. } => "the row is shorter or longer than the header",
        _ => "it is not readable as CSV",
    };
    input(format!("{line}{why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> ResultTable {
        let best = |label: &str, t, a, i| CategoryScore::from_counts(label.into(), t, a, i);
        let row = |unit, category: &str, best: Vec<CategoryScore>, at: usize| UnitRow {
            unit,
            category: category.into(),
            label: best[at].label.clone(),
            score: best[at].iou,
            best,
        };
        let rows = vec![
            row(1, "object", vec![best("car, old", 1_169_902, 2_106_473, 301_836), best("", 0, 7, 0)], 0),
            row(2, "texture", vec![best("", 0, 12, 0), best("say \"cheese\"", 200, 100, 50)], 1),
            row(3, "object", vec![best("bicycle", 3_000_000, 12, 11), best("", 0, 3, 0)], 0),
        ];
        ResultTable::new(vec!["object".into(), "texture".into()], rows)
    }

    #[test]
    fn round_trip_is_exact() {
        let text = table().to_csv();
        assert!(text.starts_with(
            "unit,category,label,score,object-label,object-truth,object-activation,object-intersect,object-iou,texture-label"
        ));
        assert!(text.contains("\r\n2,texture,\"say \"\"cheese\"\"\",0.20000000000000001,,0,12.0,0,0.0,"), "{text}");
        let back = ResultTable::parse(text.as_bytes()).unwrap();
        assert_eq!(back, table());
        assert_eq!(back.to_csv(), text);
        // Other writers: line feeds, shortest numbers, whole activations.
        let other = text.replace("\r\n", "\n").replace(".0,", ",").replace("0.20000000000000001", "0.2");
        let other = other.replace(&number::fraction(table().rows[1].score, Style::Digits17), &table().rows[1].score.to_string());
        assert_eq!(ResultTable::parse(format!("\u{feff}{text}").as_bytes()).unwrap(), table());
        assert_eq!(ResultTable::parse(other.as_bytes()).unwrap().rows.len(), 3);
    }

    #[test]
    fn a_shortest_file_stays_so() {
        let text = "unit,category,label,score,color-label,color-truth,color-activation,color-intersect,color-iou\n\
                    9,color,red-c,0.1,red-c,5,6,1,0.1\n1,color,red-c,2.81e-05,red-c,5,6,1,2.81e-05\n";
        assert_eq!(ResultTable::parse(text.as_bytes()).unwrap().to_csv(), text);
    }

    #[test]
    fn iou_of_counts() {
        assert_eq!(iou(0, 0, 0), 0.0);
        assert_eq!(iou(10, 10, 5), 5.0 / 15.0);
        assert_eq!(table().interpretable(0.04), (2, 2));
    }

    #[test]
    fn hostile_files_give_one_sentence() {
        let head = "unit,category,label,score,c-label,c-truth,c-activation,c-intersect,c-iou\n";
        for text in [
            "",
            "unit,label\n1,x\n",
            head,
            &format!("{head}0,c,x,0.1,x,1,1,1,0.1\n"),
            &format!("{head}1,c,x,nan,x,1,1,1,0.1\n"),
            &format!("{head}1,c,x,0.1,x,-1,1,1,0.1\n"),
            &format!("{head}1,c,x,0.1,x,1,1e300,1,0.1\n"),
            &format!("{head}1,c,x,0.1,x,1,1,1\n"),
            &format!("{head}1,c,x,0.1,x,1,1,1,0.1\n1,c,x,0.1,x,1,1,1,0.1\n"),
            "unit,category,label,score,c-label\n1,c,x,0.1,x\n",
            "\x1b[2Junit\n",
        ] {
            let error = ResultTable::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(!error.contains(['\n', '\x1b']) && error.len() < 240, "{error}");
        }
        assert!(ResultTable::parse(b"unit,category,label,score\n1,\xff,x,0.1\n").unwrap_err().to_string().contains("UTF-8"));
    }
}
