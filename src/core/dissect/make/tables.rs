//! From named labels to Broden's numbers: by falling frequency, then area, then name.

use std::collections::BTreeMap;

use ndarray::Array2;
use sha2::{Digest, Sha256};

use super::Picture;
use crate::core::dissect::broden::{Broden, Category, Code, Entry, Item, Label};

/// A label picture: path relative to `images`, and its numbers.
pub type LabelPicture = (String, Array2<u16>);

/// Numbered data.
#[derive(Debug, Clone)]
pub struct Made {
    /// The tables.
    pub broden: Broden,
    /// The label pictures.
    pub pictures: Vec<LabelPicture>,
}

/// How often and how much.
#[derive(Default, Clone, Copy)]
struct Use {
    images: u64,
    area: f64,
}

/// Numbers the labels of a set of pictures. Categories without labels are left out.
pub fn number(set: &[Picture]) -> Made {
    // By category and name.
    let mut uses: BTreeMap<(&str, &str), Use> = BTreeMap::new();
    let mut having: BTreeMap<&str, u64> = BTreeMap::new();
    for picture in set {
        let mut areas: BTreeMap<(&str, &str), f64> = BTreeMap::new();
        for (category, plane) in &picture.planes {
            let pixel = 1.0 / plane.len() as f64;
            plane.iter().filter(|n| !n.is_empty()).for_each(|n| *areas.entry((category, n)).or_default() += pixel);
        }
        picture.whole.iter().for_each(|(category, n)| *areas.entry((category, n)).or_default() += 1.0);
        let mut categories: Vec<&str> = areas.keys().map(|(c, _)| *c).collect();
        categories.dedup();
        categories.into_iter().for_each(|c| *having.entry(c).or_default() += 1);
        for (key, area) in areas {
            let entry = uses.entry(key).or_default();
            entry.images += 1;
            entry.area += area;
        }
    }
    let mut names: BTreeMap<&str, Use> = BTreeMap::new();
    for ((_, name), u) in &uses {
        let entry = names.entry(name).or_default();
        entry.images += u.images;
        entry.area += u.area;
    }
    let mut order: Vec<(&str, Use)> = names.into_iter().collect();
    order.sort_by(|a, b| b.1.images.cmp(&a.1.images).then(b.1.area.total_cmp(&a.1.area)).then(a.0.cmp(b.0)));
    let numbers: BTreeMap<&str, u16> = order.iter().enumerate().map(|(i, (n, _))| (*n, i as u16 + 1)).collect();
    let mut tables: Vec<(Category, Vec<Code>)> =
        having.iter().map(|(category, images)| table(category, *images, &uses, &numbers)).collect();
    tables.sort_by(|a, b| a.0.first.cmp(&b.0.first).then(a.0.name.cmp(&b.0.name)));
    let (categories, codes): (Vec<_>, Vec<_>) = tables.into_iter().unzip();
    let labels = order.iter().map(|(name, u)| label(name, *u, &uses, numbers[name])).collect();
    let (mut images, mut pictures) = (Vec::new(), Vec::new());
    for picture in set {
        images.push((digest(&picture.name), entry(picture, &categories, &numbers, &mut pictures)));
    }
    images.sort_by_key(|(digest, _)| *digest);
    let images = images.into_iter().map(|(_, entry)| entry).collect();
    Made { broden: Broden { categories, labels, codes, images }, pictures }
}

fn table(category: &str, images: u64, uses: &BTreeMap<(&str, &str), Use>, numbers: &BTreeMap<&str, u16>) -> (Category, Vec<Code>) {
    let mut members: Vec<(&str, Use)> = uses.iter().filter(|((c, _), _)| *c == category).map(|((_, n), u)| (*n, *u)).collect();
    members.sort_by(|a, b| b.1.images.cmp(&a.1.images).then(b.1.area.total_cmp(&a.1.area)).then(a.0.cmp(b.0)));
    let codes: Vec<Code> = members
        .iter()
        .enumerate()
        .map(|(i, (name, u))| Code {
            code: i as u16 + 1,
            number: numbers[name],
            name: (*name).into(),
            frequency: u.images,
            coverage: six(u.area),
        })
        .collect();
    let all = || codes.iter().map(|c| c.number);
    let (first, last) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
    (Category { name: category.into(), first, last, count: codes.len() as u64, frequency: images }, codes)
}

fn label(name: &str, u: Use, uses: &BTreeMap<(&str, &str), Use>, number: u16) -> Label {
    let mut categories: Vec<(String, u64)> =
        uses.iter().filter(|((_, n), _)| *n == name).map(|((c, _), u)| ((*c).into(), u.images)).collect();
    categories.sort_by_key(|c| std::cmp::Reverse(c.1));
    Label { number, name: name.into(), categories, frequency: u.images, coverage: six(u.area), syns: Vec::new() }
}

/// As the files keep it: six decimals.
fn six(area: f64) -> f64 {
    (area * 1e6).round() / 1e6
}

fn entry(picture: &Picture, categories: &[Category], numbers: &BTreeMap<&str, u16>, pictures: &mut Vec<LabelPicture>) -> Entry {
    let mut seg = [1, 1];
    let cells = categories.iter().map(|category| {
        let whole = picture.whole.iter().filter(|(c, _)| *c == category.name).map(|(_, n)| Item::Whole(numbers[n.as_str()]));
        let mut items: Vec<Item> = whole.collect();
        for (_, plane) in picture.planes.iter().filter(|(c, _)| *c == category.name) {
            seg = [plane.nrows(), plane.ncols()];
            if plane.iter().any(|n| !n.is_empty()) {
                let path = format!("{}_{}.png", picture.name, category.name);
                pictures.push((path.clone(), plane.map(|n| numbers.get(n.as_str()).copied().unwrap_or(0))));
                items.push(Item::Picture(path));
            }
        }
        items
    });
    let cells = cells.collect();
    let size = [picture.image.height() as usize, picture.image.width() as usize];
    let split = if (digest(&picture.name) as f64) / 2f64.powi(64) <= 0.7 { "train" } else { "val" };
    Entry { image: format!("{}.jpg", picture.name), split: split.into(), size, seg, cells }
}

/// Decides the order of the images and their split: even and the same on every machine.
fn digest(name: &str) -> u64 {
    let bytes = Sha256::digest(name);
    u64::from_be_bytes(bytes[..8].try_into().expect("a digest is longer than eight bytes"))
}
