//! Einsum for any equation, by a plain loop over all labels.

use super::{
    Args, Fail, Res, Rule, Value, flat,
    geometry::{
        axes::{strides, walk},
        einsum::Equation,
    },
    value::array,
};

pub(super) const RULES: &[(&str, Rule)] = &[("Einsum", einsum)];

fn einsum(a: &Args) -> Res<Vec<Value>> {
    let operands = (0..a.node.inputs.len()).map(|i| a.f(i)).collect::<Res<Vec<_>>>()?;
    let shapes: Vec<&[usize]> = operands.iter().map(|o| o.shape()).collect();
    let equation = Equation::parse(&a.node.text("equation", ""), &shapes.iter().map(|s| s.len()).collect::<Vec<_>>())?;
    let sizes = equation.sizes(&shapes)?;
    let place = |l: u32| sizes.iter().position(|(k, _)| *k == l);
    let space: Vec<usize> = sizes.iter().map(|s| s.1).collect();
    let steps = |labels: &[u32], shape: &[usize]| -> Vec<usize> {
        let own = strides(shape);
        let mut out = vec![0; space.len()];
        for (i, &l) in labels.iter().enumerate() {
            if let Some(p) = place(l).filter(|_| shape[i] != 1) {
                out[p] += own[i];
            }
        }
        out
    };
    let mut shape = Vec::new();
    for &l in &equation.output {
        shape.push(space[place(l).ok_or_else(|| Fail::Bad("has a result label no operand has".into()))?]);
    }
    let mut out = vec![0.0; shape.iter().product()];
    let to = steps(&equation.output, &shape);
    let from: Vec<Vec<usize>> = equation.inputs.iter().zip(&shapes).map(|(l, s)| steps(l, s)).collect();
    let data: Vec<&[f64]> = operands.iter().map(|o| flat(o)).collect();
    match from.len() {
        1 => walk(&space, [&to, &from[0]], |[o, i]| out[o] += data[0][i]),
        2 => walk(&space, [&to, &from[0], &from[1]], |[o, i, j]| out[o] += data[0][i] * data[1][j]),
        3 => walk(&space, [&to, &from[0], &from[1], &from[2]], |[o, i, j, k]| out[o] += data[0][i] * data[1][j] * data[2][k]),
        n => return super::bad(format!("has {n} operands; up to three are supported")),
    }
    Ok(vec![Value::F(array(&shape, out))])
}
