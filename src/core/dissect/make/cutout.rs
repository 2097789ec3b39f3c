//! Photos with hand-drawn polygons: crops of them, and their objects cut out and laid on textures.

use image::RgbImage;
use ndarray::Array2;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::{
    Picture,
    texture::{KINDS, Texture},
};
use crate::core::{
    error::{Error, Result},
    tensor::{image as pixels, resize},
};

/// A closed line in fractions of width and height, and what lies inside.
#[derive(Debug, Clone)]
struct Polygon {
    category: &'static str,
    name: String,
    points: Vec<[f64; 2]>,
}

/// A photo with its polygons; later ones lie on top.
#[derive(Debug, Clone)]
pub struct Photo {
    name: String,
    image: RgbImage,
    scene: String,
    /// Material of what no polygon covers.
    rest: Option<String>,
    polygons: Vec<Polygon>,
}

const CATEGORIES: [&str; 3] = ["object", "part", "material"];

impl Photo {
    /// A photo and its entry in the table of polygons (coordinates in tenths of width and height).
    pub fn new(name: &str, file: &[u8], table: &Value) -> Result<Self> {
        let bad = |why: &str| Error::Input(format!("the polygons of {name} cannot be used: {why}"));
        let entry = &table[name];
        let scene = entry["scene"].as_str().ok_or_else(|| bad("no scene"))?;
        let polygon = |value: &Value| {
            let category = CATEGORIES.into_iter().find(|c| value[0] == **c)?;
            let numbers: Vec<f64> = value[2].as_array()?.iter().map(Value::as_f64).collect::<Option<_>>()?;
            let (pairs, []) = numbers.as_chunks::<2>() else { return None };
            Some(Polygon { category, name: value[1].as_str()?.into(), points: pairs.iter().map(|p| p.map(|v| v / 10.0)).collect() })
        };
        let polygons = entry["polys"].as_array().ok_or_else(|| bad("no list"))?.iter().map(polygon).collect::<Option<Vec<_>>>();
        let polygons = polygons.ok_or_else(|| bad("an entry is not [category, name, [x, y, …]]"))?;
        if !polygons.iter().any(|p| p.category == "object") {
            return Err(bad("no object"));
        }
        let rest = entry["rest"][1].as_str().map(str::to_owned);
        Ok(Self { name: name.into(), image: pixels::decode(file)?, scene: format!("{scene}-s"), rest, polygons })
    }

    /// Name at a point of the photo, empty where nothing is drawn.
    fn label(&self, category: &str, at: [f64; 2]) -> &str {
        let found = self.polygons.iter().rev().find(|p| p.category == category && p.contains(at));
        match (found, &self.rest) {
            (Some(polygon), _) => &polygon.name,
            (None, Some(rest)) if category == "material" && !self.is_object(at) => rest,
            _ => "",
        }
    }

    fn is_object(&self, at: [f64; 2]) -> bool {
        self.polygons.iter().any(|p| p.category == "object" && p.contains(at))
    }

    /// A square piece of the photo, possibly mirrored; the first piece is the middle.
    pub(super) fn crop(&self, turn: usize, side: usize, seg: usize, rng: &mut ChaCha8Rng) -> Result<Picture> {
        let (w, h) = (f64::from(self.image.width()), f64::from(self.image.height()));
        let short = w.min(h);
        let (size, mirror) = if turn == 0 { (short, false) } else { (short * rng.random_range(0.6..1.0), rng.random::<bool>()) };
        let mut start = |length: f64| if turn == 0 { (length - size) / 2.0 } else { rng.random_range(0.0..=length - size) };
        let (x0, y0) = (start(w), start(h));
        let piece = image::imageops::crop_imm(&self.image, x0 as u32, y0 as u32, size as u32, size as u32).to_image();
        let mut image = resize::scale(&piece, [side, side], resize::Interpolation::Bilinear)?;
        if mirror {
            image::imageops::flip_horizontal_in_place(&mut image);
        }
        let place = |y: usize, x: usize| {
            let across = (x as f64 + 0.5) / seg as f64;
            let across = if mirror { 1.0 - across } else { across };
            [(x0.floor() + across * size) / w, (y0.floor() + (y as f64 + 0.5) / seg as f64 * size) / h]
        };
        let plane =
            |category: &'static str| (category, Array2::from_shape_fn((seg, seg), |(y, x)| self.label(category, place(y, x)).to_owned()));
        let planes = CATEGORIES.into_iter().map(plane).collect();
        Ok(Picture { name: format!("photo/{}_{turn:02}", self.name), image, planes, whole: vec![("scene", self.scene.clone())] })
    }

    /// The photo's objects on a texture, moved, scaled and possibly mirrored.
    pub(super) fn composite(&self, turn: usize, side: usize, seg: usize, texture: &Texture, rng: &mut ChaCha8Rng) -> Picture {
        let (w, h) = (f64::from(self.image.width()), f64::from(self.image.height()));
        let [left, top, right, bottom] = self.bounds();
        let extent = ((right - left) * w).max((bottom - top) * h);
        // Photo pixels per pixel of the picture.
        let zoom = extent / (side as f64 * rng.random_range(0.4..0.85));
        let mirror = rng.random::<bool>();
        let centre = [0; 2].map(|_: i32| side as f64 * rng.random_range(0.35..0.65));
        let middle = [(left + right) / 2.0 * w, (top + bottom) / 2.0 * h];
        // From the picture to fractions of the photo.
        let place = |x: f64, y: f64| {
            let across = (x - centre[0]) * zoom;
            [(middle[0] + if mirror { -across } else { across }) / w, (middle[1] + (y - centre[1]) * zoom) / h]
        };
        let image = RgbImage::from_fn(side as u32, side as u32, |x, y| {
            let at = place(f64::from(x) + 0.5, f64::from(y) + 0.5);
            image::Rgb(if self.is_object(at) { self.sample(at) } else { texture.at(f64::from(x), f64::from(y)) })
        });
        let scale = side as f64 / seg as f64;
        let at = |y: usize, x: usize| place((x as f64 + 0.5) * scale, (y as f64 + 0.5) * scale);
        let plane = |category: &'static str| {
            let label = |y: usize, x: usize| if self.is_object(at(y, x)) { self.label(category, at(y, x)) } else { "" };
            (category, Array2::from_shape_fn((seg, seg), |(y, x)| label(y, x).to_owned()))
        };
        let mut planes: Vec<_> = ["object", "part"].into_iter().map(plane).collect();
        let ground = |y: usize, x: usize| if self.is_object(at(y, x)) { "" } else { KINDS[texture.kind] };
        planes.push(("texture", Array2::from_shape_fn((seg, seg), |(y, x)| ground(y, x).to_owned())));
        Picture { name: format!("composite/{}_{turn:02}", self.name), image, planes, whole: Vec::new() }
    }

    /// Left, top, right, bottom of all objects, as fractions.
    fn bounds(&self) -> [f64; 4] {
        let points = self.polygons.iter().filter(|p| p.category == "object").flat_map(|p| &p.points);
        points.fold([1.0, 1.0, 0.0, 0.0], |b, p| [b[0].min(p[0]), b[1].min(p[1]), b[2].max(p[0]), b[3].max(p[1])])
    }

    /// Colour at a point, between the four pixels around it.
    fn sample(&self, at: [f64; 2]) -> [u8; 3] {
        let (w, h) = self.image.dimensions();
        let (x, y) = ((at[0] * f64::from(w) - 0.5).clamp(0.0, f64::from(w - 1)), (at[1] * f64::from(h) - 0.5).clamp(0.0, f64::from(h - 1)));
        let (i, j) = (x as u32, y as u32);
        let pixel = |i: u32, j: u32| self.image.get_pixel(i.min(w - 1), j.min(h - 1)).0.map(f64::from);
        let (a, b, c, d) = (pixel(i, j), pixel(i + 1, j), pixel(i, j + 1), pixel(i + 1, j + 1));
        let (fx, fy) = (x.fract(), y.fract());
        let mut out = [0; 3];
        for (k, out) in out.iter_mut().enumerate() {
            let (top, low) = (a[k] + fx * (b[k] - a[k]), c[k] + fx * (d[k] - c[k]));
            *out = (top + fy * (low - top)).round() as u8;
        }
        out
    }
}

impl Polygon {
    /// By the number of edges to the right (even-odd).
    fn contains(&self, [x, y]: [f64; 2]) -> bool {
        let edges = self.points.iter().zip(self.points.iter().cycle().skip(1));
        edges.filter(|(a, b)| (a[1] > y) != (b[1] > y) && x < (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]) + a[0]).count() % 2 == 1
    }
}
