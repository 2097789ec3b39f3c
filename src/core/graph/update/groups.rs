//! StrAttack: the copies of its variable z, its linearised step, and the refinement.
//!
//! Windows of one class are a grid: the rows they cover times the columns they cover. So sums over windows are two matrix products
//! with matrices of 0 and 1, and bringing a factor per window back to the pixels is two more. Sums are double precision; the way back
//! picks one number for each pixel and rounds nothing.

use super::{Made, Pass};
use crate::core::{
    graph::WindowSizes,
    onnx::{DType, Dim},
};

/// What the linearised step needs of what came before the network.
pub(super) struct Split {
    z: String,
    /// Role of a dual's next value, the copy of z, the dual.
    copies: Vec<(&'static str, String, String)>,
    eta: String,
    rho: String,
    total: String,
    /// Weight of the first copy.
    pull: String,
    /// Where the gradient counts.
    support: Option<String>,
}

/// Which pixels a window sums: `[1, M, R, H]` and `[1, M, W, Q]`, double precision.
struct Grid {
    rows: String,
    columns: String,
}

/// Which window's factor a pixel gets: `[1, M, H, R]` and `[1, M, Q, W]`.
struct Spread {
    rows: String,
    columns: String,
}

impl Pass<'_> {
    /// Two matrices of the windows: rows, and columns.
    fn matrices(&mut self, roles: [&str; 2], sizes: WindowSizes) -> [String; 2] {
        let [_, height, width] = self.shape;
        let shapes = [[1, sizes.classes, sizes.rows, height], [1, sizes.classes, sizes.columns, width]];
        let mut at = 0;
        roles.map(|role| {
            at += 1;
            self.input(role, shapes[at - 1].map(Dim::Fixed).to_vec())
        })
    }

    fn grid(&mut self, sizes: WindowSizes) -> Grid {
        let [rows, columns] = self.matrices(["rows", "columns"], sizes).map(|m| self.b.cast(&m, DType::F64));
        Grid { rows, columns: self.b.swap_last(&columns) }
    }

    fn spread(&mut self, sizes: WindowSizes) -> Spread {
        let [rows, columns] = self.matrices(["row_spread", "column_spread"], sizes);
        Spread { rows: self.b.swap_last(&rows), columns }
    }

    /// Euclidean lengths of the windows of `[N, M or 1, C, H, W]`, double precision: `[N, M, R, Q]`.
    fn lengths(&self, x: &str, grid: &Grid) -> String {
        let b = self.b;
        let wide = b.cast(x, DType::F64);
        let squares = b.reduce_sum(&b.mul(&wide, &wide), &[2], false);
        b.unary("Sqrt", &b.matmul(&b.matmul(&grid.rows, &squares), &grid.columns))
    }

    /// `q_g max(0, 1 - threshold / ||q_g||)` for `[N, M, C, H, W]`; pixels outside all windows keep q.
    fn shrunk(&self, q: &str, threshold: &str, grid: &Grid, spread: &Spread) -> String {
        let b = self.b;
        let Spread { rows, columns } = spread;
        let (lengths, threshold) = (self.lengths(q, grid), b.cast(threshold, DType::F64));
        let factor = b.cast(&b.sub(&b.scalar(1.0, DType::F64), &b.div(&threshold, &lengths)), DType::F32);
        let factor = self.select(&b.compare("Greater", &lengths, &threshold), &factor, &self.constant(0.0));
        let factors = b.matmul(&b.matmul(rows, &factor), columns);
        let covered = b.mul(&b.reduce_sum(rows, &[3], true), &b.reduce_sum(columns, &[2], true));
        let outside = b.sub(&self.constant(1.0), &covered);
        b.mul(q, &b.unsqueeze(&b.add(&factors, &outside), &[2]))
    }

    /// The image of a change, inside its bounds and 0..1, under the name of the next image; and what it adds up to by windows.
    fn applied(&mut self, change: &str, clean: &str, grid: &Grid) -> String {
        let (low, high) = (self.roles["low"].clone(), self.roles["high"].clone());
        let image = self.unit_range(&self.b.add(clean, &self.between(change, &low, &high)));
        self.output("next_pixels", &image);
        let image = self.roles["next_pixels"].clone();
        let b = self.b;
        let lengths = self.lengths(&b.unsqueeze(&b.sub(&image, clean), &[1]), grid);
        let active = b.mask_scalar("Greater", &lengths, 0.0);
        let both: Vec<String> =
            [lengths, active].iter().map(|x| b.unsqueeze(&b.cast(&b.reduce_sum(x, &[1, 2, 3], false), DType::F32), &[1])).collect();
        let windows = b.concat(&both, 1);
        self.output("windows", &windows);
        image
    }

    /// Delta, w and y from z and the duals, and the image of the sparse one.
    pub(super) fn split(&mut self, clean: &str, sizes: WindowSizes) -> Made {
        let [eta, pull, rho, total, share, threshold] = self.scalars();
        let [z, u, s] = ["z", "u", "s"].map(|role| self.images(role, Dim::Batch(1)));
        let [c, h, w] = self.shape.map(Dim::Fixed);
        let v = self.input("v", vec![Dim::Batch(1), Dim::Fixed(sizes.classes), c, h, w]);
        let (low, high) = self.bounds();
        let (grid, spread) = (self.grid(sizes), self.spread(sizes));
        let b = self.b;
        let delta = b.mul(&b.sub(&z, &u), &share);
        let boxed = self.between(&b.sub(&z, &s), &low, &high);
        let y = self.shrunk(&b.sub(&b.unsqueeze(&z, &[1]), &v), &threshold, &grid, &spread);
        let merged = self.merged(&y, sizes.classes);
        let pixels = self.applied(&merged, clean, &grid);
        let evaluated = b.add(clean, &z);
        let copies = vec![("next_u", delta, u), ("next_s", boxed, s), ("next_v", y, v)];
        Made { pixels, evaluated, split: Some(Split { z, copies, eta, rho, total, pull, support: None }) }
    }

    /// Mean of the copies where none of them is zero.
    fn merged(&self, y: &str, classes: usize) -> String {
        let b = self.b;
        if classes == 1 {
            return b.squeeze(y, &[1]);
        }
        let touched = b.mask_scalar("Greater", &b.unary("Abs", y), 0.0);
        let everywhere = b.reduce("ReduceMin", &touched, &[1], false);
        b.div(&b.mul(&b.reduce_sum(y, &[1], false), &everywhere), &self.constant(classes as f64))
    }

    /// The refinement's image: z and its dual on the support.
    pub(super) fn supported(&mut self, clean: &str, sizes: WindowSizes) -> Made {
        let [eta, rho, total, share] = self.scalars();
        let [z, u] = ["z", "u"].map(|role| self.images(role, Dim::Batch(1)));
        let support = self.images("support", Dim::Fixed(1));
        self.bounds();
        let grid = self.grid(sizes);
        let b = self.b;
        let change = b.mul(&b.mul(&b.sub(&z, &u), &share), &support);
        let pixels = self.applied(&change, clean, &grid);
        let delta = b.sub(&pixels, clean);
        let split = Split { z, copies: vec![("next_u", delta, u)], eta, pull: rho.clone(), rho, total, support: Some(support) };
        Made { evaluated: pixels.clone(), pixels, split: Some(split) }
    }

    /// The linearised step of z, then the duals; residuals when there are several copies.
    pub(super) fn descend(&mut self, split: &Split, gradient: &str) {
        let constants = self.constants();
        let gradient = self.masked(gradient);
        let b = self.b;
        let weight = split.support.as_ref().map_or_else(|| constants.clone(), |support| b.mul(support, &constants));
        let slope = b.mul(&gradient, &weight);
        let mut z = b.mul(&split.z, &split.eta);
        let pulled = |(role, copy, dual): &(&str, String, String)| {
            b.mul(&b.add(copy, dual), if *role == "next_u" { &split.pull } else { &split.rho })
        };
        let terms: Vec<String> = split.copies.iter().map(pulled).collect();
        // The order of the host's sums, which differs between the stages.
        if split.support.is_some() {
            z = b.sub(&b.add(&z, &terms[0]), &slope);
        } else {
            z = b.add(&b.sub(&z, &slope), &terms[0]);
            z = b.add(&z, &terms[1]);
            z = b.add(&z, &b.reduce_sum(&terms[2], &[1], false));
        }
        z = b.div(&z, &split.total);
        self.output("next_z", &z);
        let z = self.roles["next_z"].clone();
        let mut primal: Option<String> = None;
        for (role, copy, dual) in &split.copies {
            let several = *role == "next_v";
            let other = if several { b.unsqueeze(&z, &[1]) } else { z.clone() };
            let gap = b.sub(copy, &other);
            self.output(role, &b.add(dual, &gap));
            let axes: &[usize] = if several { &[2, 3, 4] } else { &[1, 2, 3] };
            let wide = b.cast(&gap, DType::F64);
            let mut squares = b.reduce_sum(&b.mul(&wide, &wide), axes, false);
            if several {
                squares = b.reduce("ReduceMax", &squares, &[1], false);
            }
            primal = Some(primal.map_or(squares.clone(), |p| b.binary("Max", &p, &squares)));
        }
        if split.support.is_none() {
            self.residuals(&primal.unwrap_or_default(), &b.sub(&z, &split.z), &split.rho);
        }
    }

    /// `[N, 2]`: the largest distance of a copy from z, and rho times the way of z.
    fn residuals(&mut self, primal: &str, way: &str, rho: &str) {
        let b = self.b;
        let wide = b.cast(way, DType::F64);
        let way = b.unary("Sqrt", &b.reduce_sum(&b.mul(&wide, &wide), &[1, 2, 3], false));
        let dual = b.mul(&way, &b.cast(rho, DType::F64));
        let both = [b.unary("Sqrt", primal), dual].map(|x| b.unsqueeze(&b.cast(&x, DType::F32), &[1]));
        let residuals = b.concat(&both, 1);
        self.output("residuals", &residuals);
    }
}
