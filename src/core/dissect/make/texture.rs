//! Procedural textures: a pattern in the plane, turned, scaled, warped and coloured at random.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// Names of the textures.
pub const KINDS: [&str; 18] = [
    "banded",
    "striped",
    "lined",
    "chequered",
    "grid",
    "polka-dotted",
    "zigzagged",
    "spiralled",
    "marbled",
    "cracked",
    "honeycombed",
    "woven",
    "freckled",
    "scaly",
    "crosshatched",
    "swirly",
    "fibrous",
    "bubbly",
];

/// A texture with all its choices made.
#[derive(Debug, Clone)]
pub struct Texture {
    /// Which of [`KINDS`].
    pub kind: usize,
    colours: [[f64; 3]; 2],
    angle: f64,
    /// Pattern periods per pixel.
    scale: f64,
    salt: u64,
    grain: f64,
    centre: [f64; 2],
}

impl Texture {
    /// A texture of this kind for pictures of `side` pixels.
    pub fn random(kind: usize, side: usize, rng: &mut ChaCha8Rng) -> Self {
        let colour = |rng: &mut ChaCha8Rng| [0; 3].map(|_: i32| rng.random_range(0.0..255.0));
        let distance = |a: &[f64; 3], b: &[f64; 3]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        let first = colour(rng);
        let mut second = colour(rng);
        // The pattern must be seen.
        while distance(&first, &second) < 110.0 {
            second = colour(rng);
        }
        let periods = rng.random_range(5.0..12.0);
        Self {
            kind,
            colours: [first, second],
            angle: rng.random_range(0.0..std::f64::consts::PI),
            scale: periods / side as f64,
            salt: rng.random(),
            grain: rng.random_range(2.0..10.0),
            centre: [0; 2].map(|_: i32| rng.random_range(0.3..0.7) * side as f64),
        }
    }

    /// Colour at a pixel.
    pub fn at(&self, x: f64, y: f64) -> [u8; 3] {
        let (sin, cos) = self.angle.sin_cos();
        let (u, v) = ((x * cos + y * sin) * self.scale, (y * cos - x * sin) * self.scale);
        let t = self.pattern(u, v, x, y).clamp(0.0, 1.0);
        let grain = (lattice(x as i64, y as i64, self.salt ^ 77) - 0.5) * self.grain;
        let mut out = [0; 3];
        for (c, out) in out.iter_mut().enumerate() {
            *out = (self.colours[0][c] + t * (self.colours[1][c] - self.colours[0][c]) + grain).round().clamp(0.0, 255.0) as u8;
        }
        out
    }

    /// Pattern between 0 and 1; one period is 1 in u and v.
    fn pattern(&self, u: f64, v: f64, x: f64, y: f64) -> f64 {
        let salt = self.salt;
        let wave = |t: f64| 0.5 + 0.5 * (std::f64::consts::TAU * t).sin();
        let saw = |t: f64| (t - t.floor() - 0.5).abs() * 2.0;
        let edge = |t: f64| ((t - 0.5) * 8.0 + 0.5).clamp(0.0, 1.0);
        let noise = |u: f64, v: f64| noise(u, v, salt);
        match KINDS[self.kind] {
            "banded" => wave(u * 0.45 + 0.1 * noise(u, v)),
            "striped" => edge(wave(u)),
            "lined" => edge(wave(u * 1.6) * 1.2 - 0.6),
            "chequered" => f64::from(u8::from((u.floor() + v.floor()).rem_euclid(2.0) < 1.0)),
            "grid" => edge(saw(u).max(saw(v)) * 1.5 - 0.75),
            "polka-dotted" => {
                let (du, dv) = (u - u.floor() - 0.5, v - v.floor() - 0.5);
                edge(1.3 - 3.2 * du.hypot(dv))
            }
            "zigzagged" => edge(wave(u + 0.45 * saw(v))),
            "spiralled" => {
                let (dx, dy) = ((x - self.centre[0]) * self.scale, (y - self.centre[1]) * self.scale);
                edge(wave(dx.hypot(dy) + dy.atan2(dx) / std::f64::consts::TAU))
            }
            "marbled" => wave(u * 0.5 + 2.2 * turbulence(u * 0.5, v * 0.5, salt)),
            "cracked" => {
                let [near, next] = cells(u, v, salt, 1.0);
                edge(0.5 + 5.0 * (0.07 - (next - near)))
            }
            "honeycombed" => edge(0.5 + 4.0 * (0.1 - hexagon(u, v))),
            "woven" => {
                let over = (u.floor() + v.floor()).rem_euclid(2.0) < 1.0;
                let (along, across) = if over { (u, v) } else { (v, u) };
                (0.35 + 0.65 * (1.0 - saw(across + 0.5).powi(2))) * (0.6 + 0.4 * wave(along * 0.5))
            }
            "freckled" => edge(0.2 + 2.2 * (0.32 - cells(u * 1.6, v * 1.6, salt, 1.0)[0])),
            "scaly" => {
                let row = v.floor();
                let shift = if row.rem_euclid(2.0) < 1.0 { 0.5 } else { 0.0 };
                let du = u + shift - (u + shift).floor() - 0.5;
                let dv = v - row;
                (du.hypot(dv) * 1.1).min(1.0)
            }
            "crosshatched" => edge(wave(u * 1.8) * 1.2 - 0.55).max(edge(wave(v * 1.8) * 1.2 - 0.55)),
            "swirly" => {
                let (a, b) = (noise(u * 0.35, v * 0.35), noise(u * 0.35 + 9.0, v * 0.35 - 5.0));
                edge(wave(u * 0.4 + 2.4 * a + 1.2 * b))
            }
            "fibrous" => turbulence(u * 0.25, v * 4.0, salt) * 1.6 - 0.25,
            _ => {
                let near = cells(u, v, salt, 0.8)[0];
                if near < 0.38 { 0.25 + 0.75 * (near / 0.38).powi(3) } else { 0.1 }
            }
        }
    }
}

/// Distance to the border of a cell of a hexagonal tiling, about 0..0.5.
fn hexagon(u: f64, v: f64) -> f64 {
    let (a, b) = ([u, v / 3f64.sqrt()], [u - 0.5, v / 3f64.sqrt() - 0.5]);
    let centred = |p: [f64; 2]| p.map(|t| t - t.round());
    let metric = |p: [f64; 2]| {
        let (x, y) = (p[0].abs(), p[1].abs() * 3f64.sqrt());
        x.max(x * 0.5 + y * 3f64.sqrt() / 2.0)
    };
    0.5 - metric(centred(a)).min(metric(centred(b)))
}

/// Distances to the nearest and second nearest of one random point per unit square.
fn cells(u: f64, v: f64, salt: u64, spread: f64) -> [f64; 2] {
    let (mut near, mut next) = (f64::INFINITY, f64::INFINITY);
    for dj in -1..=1 {
        for di in -1..=1 {
            let (i, j) = (u.floor() as i64 + di, v.floor() as i64 + dj);
            let jitter = |salt| 0.5 + spread * (lattice(i, j, salt) - 0.5);
            let d = (u - i as f64 - jitter(salt)).hypot(v - j as f64 - jitter(salt ^ 1));
            if d < near {
                (near, next) = (d, near);
            } else if d < next {
                next = d;
            }
        }
    }
    [near, next]
}

fn turbulence(u: f64, v: f64, salt: u64) -> f64 {
    noise(u, v, salt) * 0.55 + noise(u * 2.1, v * 2.1, salt ^ 3) * 0.3 + noise(u * 4.3, v * 4.3, salt ^ 5) * 0.15
}

/// Smooth noise between 0 and 1.
fn noise(u: f64, v: f64, salt: u64) -> f64 {
    let (i, j) = (u.floor(), v.floor());
    let ease = |t: f64| t * t * (3.0 - 2.0 * t);
    let (a, b) = (ease(u - i), ease(v - j));
    let at = |di: i64, dj: i64| lattice(i as i64 + di, j as i64 + dj, salt);
    let (top, bottom) = (at(0, 0) + a * (at(1, 0) - at(0, 0)), at(0, 1) + a * (at(1, 1) - at(0, 1)));
    top + b * (bottom - top)
}

/// A number between 0 and 1 for every lattice point.
fn lattice(i: i64, j: i64, salt: u64) -> f64 {
    let mut z = salt ^ (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (j as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}
