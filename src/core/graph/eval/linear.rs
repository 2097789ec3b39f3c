//! Matrix products.

use ndarray::{ArrayD, ArrayView2, Axis, Ix2};

use super::{
    Args, Fail, Res, Rule, Value, bad, flat,
    geometry::axes::{broadcast, broadcast_strides, walk},
    value::array,
};

pub(super) const RULES: &[(&str, Rule)] =
    &[("Gemm", gemm), ("MatMul", |a| Ok(vec![Value::F(matmul(&a.value(0)?.to_floats(), &a.value(1)?.to_floats())?)]))];

/// Shape of a `MatMul`.
pub fn matmul_shape(a: &[usize], b: &[usize]) -> Res<Vec<usize>> {
    if a.is_empty() || b.is_empty() {
        return bad("multiplies a scalar as a matrix");
    }
    let left: Vec<usize> = if a.len() == 1 { vec![1, a[0]] } else { a.to_vec() };
    let right: Vec<usize> = if b.len() == 1 { vec![b[0], 1] } else { b.to_vec() };
    let (n, m) = (left.len(), right.len());
    if left[n - 1] != right[m - 2] {
        return bad(format!("multiplies {a:?} by {b:?}"));
    }
    let mut out = broadcast(&left[..n - 2], &right[..m - 2])?;
    if a.len() > 1 {
        out.push(left[n - 2]);
    }
    if b.len() > 1 {
        out.push(right[m - 1]);
    }
    Ok(out)
}

/// `MatMul` with NumPy's rules.
pub(super) fn matmul(a: &ArrayD<f64>, b: &ArrayD<f64>) -> Res<ArrayD<f64>> {
    let shape = matmul_shape(a.shape(), b.shape())?;
    let left = if a.ndim() == 1 { a.clone().insert_axis(Axis(0)) } else { a.clone() };
    let right = if b.ndim() == 1 { b.clone().insert_axis(Axis(1)) } else { b.clone() };
    let (ls, rs) = (left.shape().to_vec(), right.shape().to_vec());
    let (m, k, n) = (ls[ls.len() - 2], ls[ls.len() - 1], rs[rs.len() - 1]);
    let batch = broadcast(&ls[..ls.len() - 2], &rs[..rs.len() - 2])?;
    let mut out = Vec::with_capacity(shape.iter().product());
    let (ld, rd) = (flat(&left), flat(&right));
    walk(&batch, [&broadcast_strides(&ls[..ls.len() - 2], &batch), &broadcast_strides(&rs[..rs.len() - 2], &batch)], |[i, j]| {
        let x = ArrayView2::from_shape((m, k), &ld[i * m * k..][..m * k]).expect("one matrix");
        let y = ArrayView2::from_shape((k, n), &rd[j * k * n..][..k * n]).expect("one matrix");
        out.extend(x.dot(&y).iter());
    });
    Ok(array(&shape, out))
}

fn gemm(a: &Args) -> Res<Vec<Value>> {
    let matrix = |i: usize, t: &str| -> Res<ndarray::Array2<f64>> {
        let m = a.f(i)?.clone().into_dimensionality::<Ix2>().map_err(|_| Fail::Bad(format!("needs a matrix at input {i}")))?;
        Ok(if a.int(t, 0) != 0 { m.reversed_axes() } else { m })
    };
    let (x, y) = (matrix(0, "transA")?, matrix(1, "transB")?);
    if x.ncols() != y.nrows() {
        return bad(format!("multiplies {:?} by {:?}", x.shape(), y.shape()));
    }
    let mut out = x.dot(&y) * a.float("alpha", 1.0);
    if let Some(c) = a.optional_f(2)? {
        let c = c.broadcast(out.dim()).ok_or_else(|| Fail::Bad("has a bias that does not broadcast".into()))?;
        out.zip_mut_with(&c, |o, &v| *o += a.float("beta", 1.0) * v);
    }
    Ok(vec![Value::F(out.into_dyn()).standard()])
}
