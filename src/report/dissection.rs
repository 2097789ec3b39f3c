//! A dissected layer as one HTML file: what its units agree with, and for each unit the images that excite it most, dark where it is
//! off. Nothing is loaded from elsewhere; all text from files is escaped.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
};

use base64::Engine as _;
use image::{RgbImage, codecs::jpeg::JpegEncoder};
use ndarray::{Array4, Axis};
use rayon::prelude::*;

use super::svg::escape;
use crate::{
    core::{
        dissect::{ResultTable, UnitRow, labels::display_name, mask::Upsampler},
        error::{Error, Result},
        oracle::Layers,
        tensor::image as pixels,
    },
    engine::{
        dissect::{Data, Dissected, Plan, run::upsampling},
        files,
        subject::Subject,
    },
};

/// Side of a tile in pixels.
const TILE: usize = 96;
/// Brightness where the unit is off.
const DIM: f32 = 0.25;
/// Images run at a time.
const BATCH: usize = 8;
/// Order of the categories in the chart; others follow.
const ORDER: [&str; 6] = ["object", "scene", "part", "material", "texture", "color"];

const STYLE: &str = "
:root{color-scheme:light dark;--line:#8884}
body{font:15px/1.45 system-ui,sans-serif;margin:1.5rem;max-width:90rem}
h1{font-size:1.4rem;margin:0 0 .3rem}h2{font-size:1.1rem;margin:1.4rem 0 .4rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:1rem 0}dt{font-weight:600}dd{margin:0;overflow-wrap:anywhere}
.chart div{display:grid;grid-template-columns:11rem 1fr 3rem;gap:.6rem;align-items:center}
.chart i{display:block;height:.75rem;background:#2b6cb0}.texture i{background:#b7791f}.color i{background:#97266d}.part i{background:#2f855a}
.material i{background:#718096}.scene i{background:#6b46c1}
.unit{border-top:1px solid var(--line);padding:.5rem 0}.low{opacity:.6}.unit p{margin:0 0 .3rem}.unit img{max-width:100%;display:block}
.note{border-left:3px solid #b7791f;padding-left:.7rem}small{opacity:.8}";

/// What the page says about itself.
pub struct About<'a> {
    /// Model as typed.
    pub model: &'a str,
    /// IoU from which a unit counts as interpretable.
    pub iou: f64,
    /// How it was dissected.
    pub plan: &'a Plan,
}

/// How many units have their best label in this category and reach `iou`.
pub fn units_of(table: &ResultTable, category: &str, iou: f64) -> usize {
    table.rows.iter().filter(|r| r.category == category && !r.label.is_empty() && r.score >= iou).count()
}

/// Writes the page of a layer. The network is run once more over the images that are shown.
pub fn write(path: &Path, subject: &Subject, network: &mut dyn Layers, data: &Data, done: &Dissected, about: &About) -> Result<()> {
    let strips = strips(subject, network, data, done, about)?;
    let mut page = head(data, done, about);
    for row in &done.table.rows {
        unit(&mut page, row, strips.get(&(row.unit - 1)), about.iou);
    }
    page.push_str("</main></body></html>\n");
    files::replace(path, page.as_bytes()).map_err(|e| Error::Input(format!("cannot write {}: {e}; give another --out", path.display())))
}

fn head(data: &Data, done: &Dissected, about: &About) -> String {
    let (units, labels) = done.table.interpretable(about.iou);
    let all = done.layer.units;
    let title = format!("{} of {}", escape(&done.layer.name), escape(about.model));
    let mut page = format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width,initial-scale=1\">\n\
         <title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1>\n\
         <p>{units}/{all} units covering {labels} concepts with IoU &ge; {}</p>\n",
        about.iou
    );
    let Plan { quantile, rule, .. } = about.plan;
    let exact = match done.details.rank_error {
        0.0 => "exact".to_owned(),
        error => format!("estimated; standard error of their rank {error:.1e}"),
    };
    let images = about.plan.limit.unwrap_or(usize::MAX).min(data.broden.images.len());
    let how = if done.details.upsampling == "field" { "by receptive fields" } else { "plain, like a picture" };
    let facts = [
        ("Concept data", format!("{} ({images} images)", escape(&data.origin))),
        ("Thresholds", format!("the {quantile} largest values of each unit, {exact}")),
        ("Union", format!("rule {}", rule.name())),
        ("Maps enlarged", how.to_owned()),
        ("Tiles", "the images with the unit's largest values; dark where the unit is not above its threshold".to_owned()),
    ];
    page.push_str("<dl>");
    for (name, text) in facts {
        let _ = write!(page, "<dt>{name}</dt><dd>{text}</dd>");
    }
    page.push_str(
        "</dl><p class=note>IoU depends on the concept data: figures from different data sets, or with different rules, cannot be compared. \
         Every unit gets the best of all labels, so a low IoU means that none fits.</p>\n",
    );
    chart(&mut page, &done.table, about.iou);
    page.push_str("<h2>Units, best first</h2>\n");
    page
}

/// Units per label, by category, most units first.
fn chart(page: &mut String, table: &ResultTable, iou: f64) {
    let mut counts: BTreeMap<(usize, &str, &str), (usize, f64)> = BTreeMap::new();
    for row in table.rows.iter().filter(|r| r.score >= iou && !r.label.is_empty()) {
        let rank = ORDER.iter().position(|c| *c == row.category).unwrap_or(ORDER.len());
        let entry = counts.entry((rank, &row.category, &row.label)).or_default();
        *entry = (entry.0 + 1, entry.1.max(row.score));
    }
    let mut bars: Vec<_> = counts.into_iter().collect();
    bars.sort_by(|(a, x), (b, y)| a.0.cmp(&b.0).then(a.1.cmp(b.1)).then(y.0.cmp(&x.0)).then(y.1.total_cmp(&x.1)));
    let most = bars.iter().map(|b| b.1.0).max().unwrap_or(1);
    let mut category = "";
    for ((_, of, label), (units, _)) in bars {
        if of != category {
            let _ = writeln!(
                page,
                "{}<h2>{}</h2><div class=\"chart {}\">",
                if category.is_empty() { "" } else { "</div>" },
                escape(of),
                class(of)
            );
            category = of;
        }
        let width = 100.0 * units as f64 / most as f64;
        let _ = writeln!(
            page,
            "<div><span>{}</span><i style=\"width:{width:.1}%\"></i><span>{units}</span></div>",
            escape(&display_name(label))
        );
    }
    if !category.is_empty() {
        page.push_str("</div>\n");
    }
}

fn unit(page: &mut String, row: &UnitRow, strip: Option<&String>, iou: f64) {
    let low = if row.score < iou { " low" } else { "" };
    let name = if row.label.is_empty() { "no label met".into() } else { escape(&display_name(&row.label)) };
    let _ = write!(
        page,
        "<div class=\"unit{low}\" data-order=\"{} {} {}\"><p><b>unit {}</b> {name} <small>{}, IoU {:.4}</small></p>",
        escape(&row.label),
        row.score,
        row.unit - 1,
        row.unit - 1,
        escape(&row.category),
        row.score
    );
    if let Some(strip) = strip {
        let _ = write!(
            page,
            "<img loading=lazy height={TILE} alt=\"images that excite unit {}\" src=\"data:image/jpeg;base64,{strip}\">",
            row.unit - 1
        );
    }
    page.push_str("</div>\n");
}

/// Per unit its best images side by side, as base64 of a JPEG.
fn strips(subject: &Subject, network: &mut dyn Layers, data: &Data, done: &Dissected, about: &About) -> Result<BTreeMap<usize, String>> {
    let tops = &done.details.tops;
    let wanted: Vec<usize> = tops.iter().flatten().map(|t| t.1).collect::<BTreeSet<_>>().into_iter().collect();
    let [_, ih, iw] = subject.prepared.shape;
    let up = Upsampler::smooth(done.layer.spatial, [TILE; 2], [ih, iw], upsampling(subject, about.plan, &done.layer));
    // Tiles by unit and place.
    let mut tiles: BTreeMap<(usize, usize), RgbImage> = BTreeMap::new();
    for piece in wanted.chunks(BATCH) {
        let [c, h, w] = subject.prepared.shape;
        let mut images = Array4::zeros((piece.len(), c, h, w));
        let places = images.axis_chunks_iter_mut(Axis(0), 1).into_par_iter().zip(piece);
        places.try_for_each(|(place, &at)| data.images_into(subject, at..at + 1, place))?;
        let maps = network.activation(images.view(), &done.layer.name)?;
        let of_image = |(slot, &at): (usize, &usize)| -> Vec<((usize, usize), RgbImage)> {
            let photo = pixels::to_rgb8(images.index_axis(Axis(0), slot));
            let small = image::imageops::resize(&photo, TILE as u32, TILE as u32, image::imageops::FilterType::Triangle);
            let tile = |(unit, top): (usize, &Vec<(f32, usize)>)| {
                let place = top.iter().position(|t| t.1 == at)?;
                let map: Vec<f32> = maps.index_axis(Axis(0), slot).index_axis(Axis(0), unit).iter().copied().collect();
                let threshold = done.details.thresholds[unit];
                let mut tile = small.clone();
                for (x, y, pixel) in tile.enumerate_pixels_mut() {
                    if up.value(&map, y as usize, x as usize) <= threshold {
                        pixel.0 = pixel.0.map(|v| (f32::from(v) * DIM) as u8);
                    }
                }
                Some(((unit, place), tile))
            };
            tops.iter().enumerate().filter_map(tile).collect()
        };
        tiles.par_extend(piece.par_iter().enumerate().flat_map_iter(of_image));
    }
    let strip = |(unit, top): (usize, &Vec<(f32, usize)>)| -> Result<(usize, String)> {
        let mut strip = RgbImage::new((top.len() * (TILE + 2)) as u32, TILE as u32);
        for place in 0..top.len() {
            if let Some(tile) = tiles.get(&(unit, place)) {
                image::imageops::replace(&mut strip, tile, (place * (TILE + 2)) as i64, 0);
            }
        }
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, 75)
            .encode_image(&strip)
            .map_err(|e| Error::Input(format!("the tiles of unit {unit} cannot be encoded ({e})")))?;
        Ok((unit, base64::engine::general_purpose::STANDARD.encode(jpeg)))
    };
    tops.par_iter().enumerate().map(strip).collect()
}

/// A category fit for a class name.
fn class(category: &str) -> String {
    category.chars().filter(char::is_ascii_alphanumeric).collect()
}
