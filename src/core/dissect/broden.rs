//! Concept data in the layout of Broden. Method report E.1, E.2.
//!
//! `index.csv` names images with their split, sizes and one cell per category; a cell lists label numbers that hold for the whole image
//! and label pictures (red + 256 green = number) that hold per pixel. `label.csv`, `category.csv` and `c_<category>.csv` say what the
//! numbers mean. Columns are found by name. Paths stay inside the folder `images`.

use std::collections::{BTreeMap, HashSet};

use ndarray::Array2;

use super::tables::{Row, Table, write};
use crate::core::{
    error::{Error, Result},
    tensor::image as pixels,
};

/// Largest label number: readers keep 16 signed bits.
pub const MAX_LABEL: u16 = i16::MAX as u16;
/// Longest side of a label picture.
const MAX_SIDE: usize = 8192;
const MAX_CATEGORIES: usize = 64;

/// A row of `category.csv`.
#[derive(Debug, Clone, PartialEq)]
pub struct Category {
    /// object, part, scene, material, texture, color, or any other name.
    pub name: String,
    /// Smallest label number in it.
    pub first: u16,
    /// Largest.
    pub last: u16,
    /// Number of labels.
    pub count: u64,
    /// Images that have it.
    pub frequency: u64,
}

/// A row of `label.csv`.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// From 1; 0 means unlabelled and has no row.
    pub number: u16,
    /// Name; scenes end in `-s` and colours in `-c`.
    pub name: String,
    /// Categories it occurs in, with the number of images, falling.
    pub categories: Vec<(String, u64)>,
    /// Images that have it.
    pub frequency: u64,
    /// Its area in whole images.
    pub coverage: f64,
    /// Other names.
    pub syns: Vec<String>,
}

/// A row of `c_<category>.csv`.
#[derive(Debug, Clone, PartialEq)]
pub struct Code {
    /// From 1, by falling frequency.
    pub code: u16,
    /// Number in `label.csv`.
    pub number: u16,
    /// Name.
    pub name: String,
    /// Images that have it in this category.
    pub frequency: u64,
    /// Its area in this category, in whole images.
    pub coverage: f64,
}

/// One entry of a category cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The label holds for every pixel.
    Whole(u16),
    /// Label picture, relative to `images`.
    Picture(String),
}

/// A row of `index.csv`.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Picture, relative to `images`.
    pub image: String,
    /// train or val.
    pub split: String,
    /// Height and width of the picture.
    pub size: [usize; 2],
    /// Height and width of its label pictures.
    pub seg: [usize; 2],
    /// One list per category.
    pub cells: Vec<Vec<Item>>,
}

/// The tables of a data set.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Broden {
    /// In the order of `category.csv`.
    pub categories: Vec<Category>,
    /// In the order of `label.csv`.
    pub labels: Vec<Label>,
    /// One table per category; empty where the file is missing.
    pub codes: Vec<Vec<Code>>,
    /// In the order of `index.csv`.
    pub images: Vec<Entry>,
}

impl Broden {
    /// Reads the tables; `codes` gives the bytes of `c_<category>.csv`, or `None` when there is no such file.
    pub fn parse(index: &[u8], categories: &[u8], labels: &[u8], codes: &mut dyn FnMut(&str) -> Result<Option<Vec<u8>>>) -> Result<Self> {
        let categories = parse_categories(categories)?;
        let labels = parse_labels(labels)?;
        let tables = categories
            .iter()
            .map(|c| Ok(codes(&c.name)?.map(|b| parse_codes(&b, &c.name)).transpose()?.unwrap_or_default()))
            .collect::<Result<_>>()?;
        let known: HashSet<u16> = labels.iter().map(|l| l.number).collect();
        let images = parse_index(index, &categories, &known)?;
        Ok(Self { categories, labels, codes: tables, images })
    }

    /// Largest label number.
    pub fn last_label(&self) -> u16 {
        self.labels.iter().map(|l| l.number).max().unwrap_or(0)
    }

    /// Names by number; empty for 0 and for numbers without a row.
    pub fn names(&self) -> Vec<String> {
        let mut names = vec![String::new(); usize::from(self.last_label()) + 1];
        for label in &self.labels {
            names[usize::from(label.number)].clone_from(&label.name);
        }
        names
    }

    /// Category, by number of the label, with the largest area of that label; ties go to the later category, and labels that no category
    /// table has (0 among them) to the last. Without category tables: the first category named in `label.csv`.
    pub fn primary(&self) -> Vec<usize> {
        let last = self.categories.len().saturating_sub(1);
        let mut primary = vec![last; usize::from(self.last_label()) + 1];
        let mut largest: BTreeMap<u16, f64> = BTreeMap::new();
        for (category, code) in self.codes.iter().enumerate().flat_map(|(c, codes)| codes.iter().map(move |code| (c, code))) {
            let best = largest.entry(code.number).or_insert(f64::NEG_INFINITY);
            if code.coverage >= *best && usize::from(code.number) < primary.len() {
                *best = code.coverage;
                primary[usize::from(code.number)] = category;
            }
        }
        for label in self.labels.iter().filter(|l| !largest.contains_key(&l.number)) {
            let named = label.categories.first().and_then(|(name, _)| self.categories.iter().position(|c| c.name == *name));
            primary[usize::from(label.number)] = named.unwrap_or(last);
        }
        primary
    }

    /// Text of `category.csv`.
    pub fn category_csv(&self) -> String {
        let rows = self
            .categories
            .iter()
            .map(|c| vec![c.name.clone(), c.first.to_string(), c.last.to_string(), c.count.to_string(), c.frequency.to_string()]);
        write(&["name", "first", "last", "count", "frequency"], rows)
    }

    /// Text of `label.csv`.
    pub fn label_csv(&self) -> String {
        let rows = self.labels.iter().map(|l| {
            let categories: Vec<String> = l.categories.iter().map(|(name, n)| format!("{name}({n})")).collect();
            vec![
                l.number.to_string(),
                l.name.clone(),
                categories.join(";"),
                l.frequency.to_string(),
                format!("{:.6}", l.coverage),
                l.syns.join(";"),
            ]
        });
        write(&["number", "name", "category", "frequency", "coverage", "syns"], rows)
    }

    /// Text of `c_<category>.csv`.
    pub fn code_csv(&self, category: usize) -> String {
        let rows =
            self.codes.get(category).into_iter().flatten().map(|c| {
                vec![c.code.to_string(), c.number.to_string(), c.name.clone(), c.frequency.to_string(), format!("{:.6}", c.coverage)]
            });
        write(&["code", "number", "name", "frequency", "coverage"], rows)
    }

    /// Text of `index.csv`.
    pub fn index_csv(&self) -> String {
        let mut header = vec!["image", "split", "ih", "iw", "sh", "sw"];
        header.extend(self.categories.iter().map(|c| c.name.as_str()));
        let rows = self.images.iter().map(|e| {
            let sizes = [e.size[0], e.size[1], e.seg[0], e.seg[1]].map(|v| v.to_string());
            let mut cells = vec![e.image.clone(), e.split.clone()];
            cells.extend(sizes);
            cells.extend(e.cells.iter().map(|items| {
                let text = items.iter().map(|i| match i {
                    Item::Whole(number) => number.to_string(),
                    Item::Picture(path) => path.clone(),
                });
                text.collect::<Vec<_>>().join(";")
            }));
            cells
        });
        write(&header, rows)
    }
}

fn parse_categories(bytes: &[u8]) -> Result<Vec<Category>> {
    let table = Table::parse(bytes, "category.csv")?;
    let [name, first, last, count, frequency] = ["name", "first", "last", "count", "frequency"].map(|c| table.column(c));
    let (name, first, last) = (name?, first?, last?);
    let (count, frequency) = (count?, frequency?);
    let mut seen = HashSet::new();
    let rows: Vec<Category> = table
        .rows()
        .map(|row| {
            let text = row.text(name)?;
            let plain = !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
            if !plain || !seen.insert(text.to_owned()) {
                return Err(row.bad("the category needs a name of letters, digits, - and _, used once"));
            }
            let (first, last) = (row.number(first)?, row.number(last)?);
            Ok(Category { name: text.into(), first, last, count: row.number(count)?, frequency: row.number(frequency)? })
        })
        .collect::<Result<_>>()?;
    match rows.len() {
        1..=MAX_CATEGORIES => Ok(rows),
        n => Err(Error::Input(format!("category.csv has {n} categories; 1 to {MAX_CATEGORIES} can be used"))),
    }
}

fn parse_labels(bytes: &[u8]) -> Result<Vec<Label>> {
    let table = Table::parse(bytes, "label.csv")?;
    let [number, name, category, frequency, coverage] = ["number", "name", "category", "frequency", "coverage"].map(|c| table.column(c));
    let (number, name, category, frequency, coverage) = (number?, name?, category?, frequency?, coverage?);
    let syns = table.column("syns").ok();
    let mut seen = HashSet::new();
    table
        .rows()
        .map(|row| {
            let label = label_number(&row, number)?;
            if !seen.insert(label) {
                return Err(row.bad("the label number stands there twice"));
            }
            let categories = row.text(category)?.split(';').filter(|t| !t.is_empty()).map(|t| {
                let (name, n) = t.strip_suffix(')').and_then(|t| t.rsplit_once('(')).ok_or(t).or_else(|t| Ok::<_, Error>((t, "0")))?;
                Ok((name.to_owned(), n.parse().map_err(|_| row.bad("a category is written name(count)"))?))
            });
            let categories = categories.collect::<Result<_>>()?;
            let syns = syns.map_or(Ok(""), |c| row.text(c))?.split(';').filter(|t| !t.is_empty()).map(str::to_owned).collect();
            let (frequency, coverage) = (row.number(frequency)?, row.fraction(coverage)?);
            Ok(Label { number: label, name: row.text(name)?.into(), categories, frequency, coverage, syns })
        })
        .collect()
}

fn parse_codes(bytes: &[u8], category: &str) -> Result<Vec<Code>> {
    let file = format!("c_{category}.csv");
    let table = Table::parse(bytes, &file)?;
    let [code, number, name, frequency, coverage] = ["code", "number", "name", "frequency", "coverage"].map(|c| table.column(c));
    let (code, number, name, frequency, coverage) = (code?, number?, name?, frequency?, coverage?);
    table
        .rows()
        .map(|row| {
            let (frequency, coverage) = (row.number(frequency)?, row.fraction(coverage)?);
            Ok(Code { code: row.number(code)?, number: label_number(&row, number)?, name: row.text(name)?.into(), frequency, coverage })
        })
        .collect()
}

fn parse_index(bytes: &[u8], categories: &[Category], known: &HashSet<u16>) -> Result<Vec<Entry>> {
    let table = Table::parse(bytes, "index.csv")?;
    let [image, split, ih, iw, sh, sw] = ["image", "split", "ih", "iw", "sh", "sw"].map(|c| table.column(c));
    let (image, split, ih, iw, sh, sw) = (image?, split?, ih?, iw?, sh?, sw?);
    let columns = categories.iter().map(|c| table.column(&c.name)).collect::<Result<Vec<_>>>()?;
    let images: Vec<Entry> = table
        .rows()
        .map(|row| {
            let side = |column: usize| {
                row.number::<usize>(column)?
                    .checked_sub(1)
                    .filter(|v| *v < MAX_SIDE)
                    .map(|v| v + 1)
                    .ok_or_else(|| row.bad("sizes go from 1 to 8192"))
            };
            let cells = columns.iter().map(|&c| cell(&row, c, known)).collect::<Result<_>>()?;
            let picture = inside(&row, row.text(image)?)?;
            Ok(Entry { image: picture, split: row.text(split)?.into(), size: [side(ih)?, side(iw)?], seg: [side(sh)?, side(sw)?], cells })
        })
        .collect::<Result<_>>()?;
    if images.is_empty() {
        return Err(Error::Input("index.csv names no images".into()));
    }
    Ok(images)
}

fn cell(row: &Row, column: usize, known: &HashSet<u16>) -> Result<Vec<Item>> {
    let items = row.text(column)?.split(';').map(str::trim).filter(|t| !t.is_empty()).map(|text| match text.parse::<u16>() {
        Ok(number) if number == 0 || known.contains(&number) => Ok(Item::Whole(number)),
        Ok(number) => Err(row.bad(&format!("label {number} is not in label.csv"))),
        Err(_) => Ok(Item::Picture(inside(row, text)?)),
    });
    items.collect()
}

fn label_number(row: &Row, column: usize) -> Result<u16> {
    row.number::<u16>(column).ok().filter(|n| (1..=MAX_LABEL).contains(n)).ok_or_else(|| row.bad("label numbers go from 1 to 32767"))
}

/// A relative path that stays where it is.
fn inside(row: &Row, path: &str) -> Result<String> {
    let plain = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if !plain || path.contains(['\\', ':']) || path.chars().any(char::is_control) {
        return Err(row.bad("a picture is named by a path inside the folder images"));
    }
    Ok(path.to_owned())
}

/// Label numbers `[sh, sw]` of a label picture: red + 256 green; blue is 0.
pub fn label_picture(bytes: &[u8], seg: [usize; 2], last: u16) -> Result<Array2<u16>> {
    let picture = pixels::decode(bytes)?;
    let size = [picture.height() as usize, picture.width() as usize];
    if size != seg {
        let text = format!("the label picture is {}x{} and index.csv says {}x{}", size[1], size[0], seg[1], seg[0]);
        return Err(Error::Input(text));
    }
    let mut numbers = Vec::with_capacity(seg[0] * seg[1]);
    for pixel in picture.pixels() {
        let [red, green, blue] = pixel.0;
        let number = u16::from(red) + 256 * u16::from(green);
        if blue != 0 || number > last {
            let what = if blue != 0 { "its blue is not 0".into() } else { format!("label {number} is not in label.csv") };
            return Err(Error::Input(format!("this is not a label picture of the data set: {what}")));
        }
        numbers.push(number);
    }
    Ok(Array2::from_shape_vec(seg, numbers).expect("one number per pixel"))
}

/// The picture of label numbers, as [`label_picture`] reads it.
pub fn to_picture(numbers: &Array2<u16>) -> image::RgbImage {
    let (height, width) = numbers.dim();
    image::RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let [low, high] = numbers[(y as usize, x as usize)].to_le_bytes();
        image::Rgb([low, high, 0])
    })
}

#[cfg(test)]
#[path = "broden_tests.rs"]
mod tests;
