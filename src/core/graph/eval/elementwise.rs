//! Arithmetic, comparison and logic, with broadcasting.

use ndarray::ArrayD;

use super::{
    Args, Res, Rule, Value, bad, flat,
    geometry::axes::{broadcast, broadcast_strides, walk},
    value::{array, same_kind},
};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Abs", |a| numeric(a, f64::abs, i64::abs)),
    ("Add", |a| arithmetic(a, |x, y| x + y, i64::wrapping_add)),
    ("And", |a| logic(a, |x, y| x && y)),
    ("Clip", clip),
    ("Div", |a| arithmetic(a, |x, y| x / y, |x, y| if y == 0 { 0 } else { x.wrapping_div(y) })),
    ("Equal", |a| compare(a, |x, y| x == y, |x, y| x == y)),
    ("Greater", |a| compare(a, |x, y| x > y, |x, y| x > y)),
    ("GreaterOrEqual", |a| compare(a, |x, y| x >= y, |x, y| x >= y)),
    ("IsInf", is_inf),
    ("IsNaN", |a| Ok(vec![Value::B(a.f(0)?.mapv(f64::is_nan))])),
    ("Less", |a| compare(a, |x, y| x < y, |x, y| x < y)),
    ("LessOrEqual", |a| compare(a, |x, y| x <= y, |x, y| x <= y)),
    ("Max", |a| variadic(a, f64::max, i64::max)),
    ("Mean", mean),
    ("Min", |a| variadic(a, f64::min, i64::min)),
    ("Mod", modulo),
    ("Mul", |a| arithmetic(a, |x, y| x * y, i64::wrapping_mul)),
    ("Neg", |a| numeric(a, |x| -x, i64::wrapping_neg)),
    ("Not", |a| match a.value(0)? {
        Value::B(x) => Ok(vec![Value::B(x.mapv(|v| !v))]),
        _ => bad("needs Booleans"),
    }),
    ("Or", |a| logic(a, |x, y| x || y)),
    ("Pow", pow),
    ("Relu", |a| numeric(a, |x| if x > 0.0 || x.is_nan() { x } else { 0.0 }, |x| x.max(0))),
    ("Sign", |a| numeric(a, |x| if x == 0.0 || x.is_nan() { x } else { x.signum() }, i64::signum)),
    ("Sub", |a| arithmetic(a, |x, y| x - y, i64::wrapping_sub)),
    ("Sum", |a| variadic(a, |x, y| x + y, i64::wrapping_add)),
    ("Where", select),
    ("Xor", |a| logic(a, |x, y| x != y)),
];

fn zip<T: Clone, U: Clone, R>(x: &ArrayD<T>, y: &ArrayD<U>, f: impl Fn(&T, &U) -> R) -> Res<ArrayD<R>> {
    let (xs, ys) = (flat(x), flat(y));
    if x.shape() == y.shape() {
        return Ok(array(x.shape(), xs.iter().zip(ys).map(|(a, b)| f(a, b)).collect()));
    }
    let shape = broadcast(x.shape(), y.shape())?;
    let mut out = Vec::with_capacity(shape.iter().product());
    walk(&shape, [&broadcast_strides(x.shape(), &shape), &broadcast_strides(y.shape(), &shape)], |[i, j]| out.push(f(&xs[i], &ys[j])));
    Ok(array(&shape, out))
}

fn numeric(a: &Args, f: fn(f64) -> f64, g: fn(i64) -> i64) -> Res<Vec<Value>> {
    Ok(vec![match a.value(0)? {
        Value::F(x) => Value::F(x.mapv(f)),
        Value::I(x) => Value::I(x.mapv(g)),
        Value::B(_) => return bad("needs numbers"),
    }])
}

fn pair(x: &Value, y: &Value, f: impl Fn(f64, f64) -> f64, g: impl Fn(i64, i64) -> i64) -> Res<Value> {
    Ok(match (x, y) {
        (Value::F(x), Value::F(y)) => Value::F(zip(x, y, |a, b| f(*a, *b))?),
        (Value::I(x), Value::I(y)) => Value::I(zip(x, y, |a, b| g(*a, *b))?),
        _ => return bad("mixes element types"),
    })
}

fn arithmetic(a: &Args, f: fn(f64, f64) -> f64, g: fn(i64, i64) -> i64) -> Res<Vec<Value>> {
    Ok(vec![pair(a.value(0)?, a.value(1)?, f, g)?])
}

fn variadic(a: &Args, f: fn(f64, f64) -> f64, g: fn(i64, i64) -> i64) -> Res<Vec<Value>> {
    let mut sum = a.value(0)?.clone();
    for i in 1..a.node.inputs.len() {
        sum = pair(&sum, a.value(i)?, f, g)?;
    }
    Ok(vec![sum])
}

fn mean(a: &Args) -> Res<Vec<Value>> {
    let n = a.node.inputs.len() as f64;
    let mut out = variadic(a, |x, y| x + y, i64::wrapping_add)?;
    if let Value::F(x) = &mut out[0] {
        x.mapv_inplace(|v| v / n);
    }
    Ok(out)
}

fn compare(a: &Args, f: fn(f64, f64) -> bool, g: fn(i64, i64) -> bool) -> Res<Vec<Value>> {
    Ok(vec![Value::B(match (a.value(0)?, a.value(1)?) {
        (Value::F(x), Value::F(y)) => zip(x, y, |a, b| f(*a, *b))?,
        (Value::I(x), Value::I(y)) => zip(x, y, |a, b| g(*a, *b))?,
        (Value::B(x), Value::B(y)) => zip(x, y, |a, b| g(i64::from(*a), i64::from(*b)))?,
        _ => return bad("compares different element types"),
    })])
}

fn logic(a: &Args, f: fn(bool, bool) -> bool) -> Res<Vec<Value>> {
    match (a.value(0)?, a.value(1)?) {
        (Value::B(x), Value::B(y)) => Ok(vec![Value::B(zip(x, y, |a, b| f(*a, *b))?)]),
        _ => bad("needs Booleans"),
    }
}

fn is_inf(a: &Args) -> Res<Vec<Value>> {
    let (up, down) = (a.int("detect_positive", 1) != 0, a.int("detect_negative", 1) != 0);
    Ok(vec![Value::B(a.f(0)?.mapv(|v| v.is_infinite() && if v > 0.0 { up } else { down }))])
}

fn modulo(a: &Args) -> Res<Vec<Value>> {
    let c_like = a.int("fmod", 0) != 0;
    let int = move |x: i64, y: i64| match (y, c_like) {
        (0, _) => 0,
        (_, true) => x.wrapping_rem(y),
        _ => (x.wrapping_rem(y) + y).wrapping_rem(y),
    };
    let float = move |x: f64, y: f64| if c_like { x % y } else { x - y * (x / y).floor() };
    Ok(vec![pair(a.value(0)?, a.value(1)?, float, int)?])
}

fn pow(a: &Args) -> Res<Vec<Value>> {
    Ok(vec![match (a.value(0)?, a.value(1)?) {
        (Value::F(x), y) => Value::F(zip(x, &y.to_floats(), |a, b| a.powf(*b))?),
        (Value::I(x), Value::I(y)) => Value::I(zip(x, y, |a, b| u32::try_from(*b).map_or(0, |p| a.wrapping_pow(p)))?),
        (Value::I(x), Value::F(y)) => Value::I(zip(x, y, |a, b| (*a as f64).powf(*b) as i64)?),
        _ => return bad("needs numbers"),
    }])
}

fn clip(a: &Args) -> Res<Vec<Value>> {
    let bound =
        |name: &str, i: usize, none: f64| -> Res<f64> { Ok(if a.opset < 11 { a.float(name, none) } else { a.scalar(i)?.unwrap_or(none) }) };
    let (lo, hi) = (bound("min", 1, f64::NEG_INFINITY)?, bound("max", 2, f64::INFINITY)?);
    Ok(vec![match a.value(0)? {
        Value::F(x) => Value::F(x.mapv(|v| if v.is_nan() { v } else { v.max(lo).min(hi) })),
        Value::I(x) => Value::I(x.mapv(|v| v.max(lo as i64).min(hi as i64))),
        Value::B(_) => return bad("needs numbers"),
    }])
}

fn select(a: &Args) -> Res<Vec<Value>> {
    let (Value::B(c), x, y) = (a.value(0)?, a.value(1)?, a.value(2)?) else { return bad("needs a Boolean condition") };
    let shape = broadcast(c.shape(), &broadcast(x.shape(), y.shape())?)?;
    let mut takes = Vec::with_capacity(shape.iter().product());
    let (sc, sx, sy) = (broadcast_strides(c.shape(), &shape), broadcast_strides(x.shape(), &shape), broadcast_strides(y.shape(), &shape));
    let cond = flat(c);
    walk(&shape, [&sc, &sx, &sy], |[i, j, k]| takes.push(if cond[i] { Ok(j) } else { Err(k) }));
    fn pick<T: Clone>(x: &ArrayD<T>, y: &ArrayD<T>, takes: &[Result<usize, usize>], shape: &[usize]) -> ArrayD<T> {
        let (x, y) = (flat(x), flat(y));
        array(shape, takes.iter().map(|t| t.map_or_else(|k| y[k].clone(), |j| x[j].clone())).collect())
    }
    Ok(vec![match (x, y) {
        (Value::F(x), Value::F(y)) => Value::F(pick(x, y, &takes, &shape)),
        (Value::I(x), Value::I(y)) => Value::I(pick(x, y, &takes, &shape)),
        (Value::B(x), Value::B(y)) => Value::B(pick(x, y, &takes, &shape)),
        _ => return bad("mixes element types"),
    }])
}

/// A value repeated to `shape`.
pub(super) fn expand(value: &Value, shape: &[usize]) -> Value {
    let steps = broadcast_strides(value.shape(), shape);
    same_kind!(value, a => {
        let data = flat(a);
        let mut out = Vec::with_capacity(shape.iter().product());
        walk(shape, [&steps], |[i]| out.push(data[i]));
        array(shape, out)
    })
}
