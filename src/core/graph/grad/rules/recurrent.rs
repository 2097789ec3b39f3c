//! Long short-term memory. The gates of all steps are recomputed at once from the states that the operator returns, so that only
//! the recurrence itself, a handful of small nodes a step, is written out.

use super::Cx;
use crate::core::{
    error::Result,
    onnx::{Attr, Dim, TensorType},
};

/// Sizes of a node.
struct Sizes {
    steps: usize,
    hidden: usize,
}

/// Gradients of the outputs that are in use, in full shape.
struct Cotangents {
    all: Option<String>,
    hidden: Option<String>,
    cell: Option<String>,
}

pub fn lstm(cx: &mut Cx) -> Result<()> {
    refuse_variants(cx)?;
    let (Some(steps), Some(directions), Some(hidden)) =
        (cx.shape(0)?[0].fixed().filter(|&t| t > 0), cx.shape(2)?[0].fixed(), cx.shape(2)?[2].fixed())
    else {
        return Err(cx.unsupported("an unknown number of steps"));
    };
    let sizes = Sizes { steps, hidden };
    let mut full = |k: usize| match cx.lazy_of(k) {
        Some(g) => cx.b.expand_like(&g, &cx.node.outputs[k]).map(Some),
        None => Ok(None),
    };
    let cotangents = Cotangents { all: full(0)?, hidden: full(1)?, cell: full(2)? };
    let n = cx.shape(0)?[1];
    let ty = TensorType { dtype: cx.dtype(0)?, shape: Some(vec![Dim::Fixed(steps), Dim::Fixed(directions), n, Dim::Fixed(hidden)]) };
    let states = cx.b.forward_output(cx.index, 0, ty);
    let backwards = |d: usize| d == 1 || cx.node.text("direction", "forward") == "reverse";
    let found = (0..directions).map(|d| direction(cx, &sizes, d, backwards(d), &states, &cotangents)).collect::<Result<Vec<_>>>()?;
    if cx.needs(0) {
        let parts: Vec<String> = found.iter().map(|f| f.input.clone()).collect();
        cx.push(0, cx.b.sum(&parts))?;
    }
    for (i, of) in [(5, (|f| &f.hidden) as fn(&Found) -> &String), (6, |f| &f.cell)] {
        if cx.needs(i) {
            let parts: Vec<String> = found.iter().map(|f| of(f).clone()).collect();
            cx.push(i, cx.b.concat(&parts, 0))?;
        }
    }
    Ok(())
}

/// What no exporter of image classifiers writes is named rather than guessed.
fn refuse_variants(cx: &Cx) -> Result<()> {
    let functions = [b"sigmoid".as_slice(), b"tanh", b"tanh"];
    let other_functions = match cx.node.attrs.get("activations") {
        Some(Attr::Strs(list)) => list.iter().zip(functions.iter().cycle()).any(|(a, usual)| !a.eq_ignore_ascii_case(usual)),
        _ => false,
    };
    let variants = [
        ("lengths of its sequences", cx.node.input(4).is_some()),
        ("peepholes", cx.node.input(7).is_some()),
        ("other activations", other_functions),
        ("clipping", cx.node.attrs.contains_key("clip")),
        ("coupled gates", cx.node.int("input_forget", 0) != 0),
        ("the batch first", cx.node.int("layout", 0) != 0),
    ];
    variants.iter().find(|(_, present)| *present).map_or(Ok(()), |(what, _)| Err(cx.unsupported(what)))
}

/// Gradients of one direction's operands; the states have a leading axis of 1.
struct Found {
    input: String,
    hidden: String,
    cell: String,
}

/// The gates of one direction at every step, `[T, N, H]` each.
struct Gates {
    /// Input, output and forget gates, and the candidate.
    i: String,
    o: String,
    f: String,
    g: String,
}

/// One direction. `backwards` is whether it reads the sequence from its end.
fn direction(cx: &Cx, s: &Sizes, d: usize, backwards: bool, states: &str, cotangents: &Cotangents) -> Result<Found> {
    let b = cx.b;
    let part = |x: &str, axis: usize| b.squeeze(&b.slice(x, axis, d, d + 1), &[axis]);
    let initial = |i: usize| cx.node.input(i).map(|x| b.slice(x, 0, d, d + 1));
    let (weights, recurrent) = (part(cx.x(1)?, 0), part(cx.x(2)?, 0));
    let hidden = part(states, 1);
    let before = earlier(cx, s, &hidden, initial(5), backwards)?;
    let gates = gates(cx, s, &weights, &recurrent, &before, cx.node.input(3).map(|x| part(x, 0)))?;
    // Steps in the order they are computed in.
    let order: Vec<usize> = if backwards { (0..s.steps).rev().collect() } else { (0..s.steps).collect() };
    let each = |x: &str| b.split(x, 0, &vec![1; s.steps]);
    let (written, forgotten) = (each(&b.mul(&gates.i, &gates.g)), each(&gates.f));
    let mut cells = vec![String::new(); s.steps];
    let mut cell = initial(6);
    for &t in &order {
        let next = match &cell {
            Some(c) => b.add(&b.mul(&forgotten[t], c), &written[t]),
            None => written[t].clone(),
        };
        cells[t].clone_from(&next);
        cell = Some(next);
    }
    let cells = b.concat(&cells, 0);
    let squashed = b.unary("Tanh", &cells);
    let cells_before = earlier(cx, s, &cells, initial(6), backwards)?;
    let slopes = each(&slopes(cx, &gates, &squashed, &cells_before));
    let through = each(&b.mul(&gates.o, &b.from_scalar(1.0, &b.mul(&squashed, &squashed))));
    let given = cotangents.all.as_ref().map(|g| each(&part(g, 1)));
    let last = |g: &Option<String>| g.as_ref().map(|g| b.slice(g, 0, d, d + 1));
    let (mut gh, mut gc) = (last(&cotangents.hidden), last(&cotangents.cell));
    let mut gates_gradient = vec![String::new(); s.steps];
    for &t in order.iter().rev() {
        let parts: Vec<String> = given.iter().map(|g| g[t].clone()).chain(gh).collect();
        let h = if parts.is_empty() { b.zeros_like(&forgotten[t], b.dtype(&forgotten[t])) } else { b.sum(&parts) };
        let from_hidden = b.mul(&h, &through[t]);
        let c = gc.map_or(from_hidden.clone(), |g| b.add(&from_hidden, &g));
        let gate = b.mul(&b.concat(&[c.clone(), h, c.clone(), c.clone()], 2), &slopes[t]);
        gh = Some(b.matmul(&gate, &recurrent));
        gc = Some(b.mul(&c, &forgotten[t]));
        gates_gradient[t] = gate;
    }
    let input = b.matmul(&b.concat(&gates_gradient, 0), &weights);
    let none = || cx.unsupported("no steps");
    Ok(Found { input, hidden: gh.ok_or_else(none)?, cell: gc.ok_or_else(none)? })
}

/// The state before each step: the sequence moved by one, with the initial state (or zeros) where it begins.
fn earlier(cx: &Cx, s: &Sizes, all: &str, initial: Option<String>, backwards: bool) -> Result<String> {
    let b = cx.b;
    if s.steps == 1 {
        return Ok(initial.unwrap_or_else(|| b.zeros_like(all, b.dtype(all))));
    }
    let kept = if backwards { b.slice(all, 0, 1, s.steps) } else { b.slice(all, 0, 0, s.steps - 1) };
    Ok(match initial {
        Some(first) if backwards => b.concat(&[kept, first], 0),
        Some(first) => b.concat(&[first, kept], 0),
        None => b.pad_axis(&kept, 0, usize::from(!backwards), usize::from(backwards), None),
    })
}

fn gates(cx: &Cx, s: &Sizes, weights: &str, recurrent: &str, before: &str, bias: Option<String>) -> Result<Gates> {
    let b = cx.b;
    let mut sums = b.add(&b.matmul(cx.x(0)?, &b.swap_last(weights)), &b.matmul(before, &b.swap_last(recurrent)));
    if let Some(bias) = bias {
        let halves = b.split(&bias, 0, &[4 * s.hidden, 4 * s.hidden]);
        sums = b.add(&sums, &b.add(&halves[0], &halves[1]));
    }
    let parts = b.split(&sums, 2, &[3 * s.hidden, s.hidden]);
    let opened = b.split(&b.unary("Sigmoid", &parts[0]), 2, &[s.hidden; 3]);
    let [i, o, f] = <[String; 3]>::try_from(opened).map_err(|_| cx.unsupported("other gates"))?;
    Ok(Gates { i, o, f, g: b.unary("Tanh", &parts[1]) })
}

/// Slopes of the state after a step in the four gates before their activations, side by side.
fn slopes(cx: &Cx, gates: &Gates, squashed: &str, cells_before: &str) -> String {
    let b = cx.b;
    let bell = |x: &str| b.mul(x, &b.from_scalar(1.0, x));
    let parts = [
        b.mul(&gates.g, &bell(&gates.i)),
        b.mul(squashed, &bell(&gates.o)),
        b.mul(cells_before, &bell(&gates.f)),
        b.mul(&gates.i, &b.from_scalar(1.0, &b.mul(&gates.g, &gates.g))),
    ];
    b.concat(&parts, 2)
}
