//! Convolutions, poolings, resampling.

use super::{ShapeRule, Shapes};
use crate::core::graph::eval::{
    Res, bad,
    geometry::{resize::Resampling, window::Window},
};

pub(super) const RULES: &[(&str, ShapeRule)] = &[
    ("AveragePool", pool),
    ("Conv", |s| conv(s, 1)),
    ("ConvInteger", |s| conv(s, 1)),
    ("ConvTranspose", transposed),
    ("DeformConv", |s| conv(s, 1)),
    ("GlobalAveragePool", global),
    ("GlobalLpPool", global),
    ("GlobalMaxPool", global),
    ("GridSample", grid_sample),
    ("LpPool", pool),
    ("MaxPool", pool),
    ("QLinearConv", |s| conv(s, 3)),
    ("Resize", resize),
    ("Upsample", resize),
];

fn spatial<'a>(s: &Shapes<'a>) -> Res<&'a [usize]> {
    let x = s.at(0)?;
    if x.len() < 3 { bad(format!("needs spatial dimensions and has the shape {x:?}")) } else { Ok(x) }
}

fn pool(s: &Shapes) -> Res<Vec<Vec<usize>>> {
    let x = spatial(s)?;
    let window = Window::of(&s.args, &x[2..], None)?;
    Ok(vec![x[..2].iter().copied().chain(window.output).collect(); s.args.node.outputs.len()])
}

fn conv(s: &Shapes, weight: usize) -> Res<Vec<Vec<usize>>> {
    let (x, w) = (spatial(s)?, s.at(weight)?);
    let groups = s.args.int("group", 1).max(1) as usize;
    if w.len() != x.len() || x[1] != w[1] * groups {
        return bad(format!("convolves {x:?} with weights {w:?} in {groups} groups"));
    }
    let window = Window::of(&s.args, &x[2..], Some(&w[2..]))?;
    Ok(vec![[x[0], w[0]].into_iter().chain(window.output).collect()])
}

fn transposed(s: &Shapes) -> Res<Vec<Vec<usize>>> {
    let (x, w) = (spatial(s)?, s.at(1)?);
    let groups = s.args.int("group", 1).max(1) as usize;
    if w.len() != x.len() || x[1] != w[0] {
        return bad(format!("transposed-convolves {x:?} with weights {w:?}"));
    }
    let window = Window::transposed(&s.args, &x[2..], &w[2..])?;
    Ok(vec![[x[0], w[1] * groups].into_iter().chain(window.output).collect()])
}

fn global(s: &Shapes) -> Res<Vec<Vec<usize>>> {
    Ok(vec![s.at(0)?.iter().enumerate().map(|(i, &d)| if i < 2 { d } else { 1 }).collect()])
}

fn grid_sample(s: &Shapes) -> Res<Vec<Vec<usize>>> {
    let (x, grid) = (spatial(s)?, s.at(1)?);
    if grid.len() != x.len() {
        return bad(format!("samples {x:?} with a grid of shape {grid:?}"));
    }
    Ok(vec![x[..2].iter().chain(&grid[1..grid.len() - 1]).copied().collect()])
}

fn resize(s: &Shapes) -> Res<Vec<Vec<usize>>> {
    Ok(vec![Resampling::of(&s.args, s.at(0)?)?.shape()])
}
