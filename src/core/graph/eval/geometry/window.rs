//! Sliding windows of convolutions and poolings: kernel, strides, dilations, paddings and output sizes.

use super::super::args::{Args, Res, bad};

/// Largest kernel, stride, dilation, padding or side: their products stay within 64 bits.
const MAX_SIDE: usize = 1 << 30;

/// A window over the spatial axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Kernel size per axis.
    pub kernel: Vec<usize>,
    /// Steps.
    pub strides: Vec<usize>,
    /// Distance between taps.
    pub dilations: Vec<usize>,
    /// Padding before each axis, `auto_pad` resolved.
    pub begin: Vec<i64>,
    /// Padding after each axis, `auto_pad` resolved.
    pub end: Vec<i64>,
    /// Output sizes.
    pub output: Vec<usize>,
}

impl Window {
    /// Window of a `Conv` or a pooling over an input with these spatial sizes; `kernel` from the weights, or
    /// `None` to read `kernel_shape`.
    pub fn of(args: &Args, spatial: &[usize], kernel: Option<&[usize]>) -> Res<Self> {
        let kernel = match kernel {
            Some(k) => k.to_vec(),
            None => args.sizes("kernel_shape", &[])?,
        };
        let mut w = Self::plain(args, kernel, spatial)?;
        let auto = args.node.text("auto_pad", "NOTSET");
        for (i, &side) in spatial.iter().enumerate() {
            let extent = w.extent(i);
            if auto == "SAME_UPPER" || auto == "SAME_LOWER" {
                let out = side.div_ceil(w.strides[i]);
                let total = ((out.max(1) - 1) * w.strides[i] + extent).saturating_sub(side) as i64;
                w.begin[i] = if auto == "SAME_UPPER" { total / 2 } else { total - total / 2 };
                w.end[i] = total - w.begin[i];
            } else if auto == "VALID" {
                (w.begin[i], w.end[i]) = (0, 0);
            }
            let room = side as i64 + w.begin[i] + w.end[i] - extent as i64;
            if room < 0 {
                return bad(format!("has a kernel of {extent} over an axis of {}", side));
            }
            let (room, stride) = (room as usize, w.strides[i]);
            let mut out = room / stride + 1;
            if args.int("ceil_mode", 0) != 0 && room % stride != 0 && ((out * stride) as i64) < side as i64 + w.begin[i] {
                out += 1; // a last window that starts inside the input or the padding before it
            }
            w.output.push(out);
        }
        Ok(w)
    }

    /// Window of a `ConvTranspose`: `output` is the larger side, `begin` and `end` are cut from it.
    pub fn transposed(args: &Args, spatial: &[usize], kernel: &[usize]) -> Res<Self> {
        let n = spatial.len();
        let mut w = Self::plain(args, kernel.to_vec(), spatial)?;
        let extra = args.sizes("output_padding", &vec![0; n])?;
        let asked = args.node.ints("output_shape").map(<[i64]>::to_vec);
        let auto = args.node.text("auto_pad", "NOTSET");
        if extra.len() != n {
            return bad("has an output_padding of the wrong length");
        }
        for i in 0..n {
            let full = (w.strides[i] * (spatial[i].max(1) - 1) + extra[i] + w.extent(i)) as i64;
            let wanted = match &asked {
                Some(s) if s.len() >= n => Some(s[s.len() - n + i]),
                _ if auto.starts_with("SAME") => Some((spatial[i] * w.strides[i]) as i64),
                _ => None,
            };
            if let Some(out) = wanted {
                let total = (full - out).max(0);
                w.begin[i] = if auto == "SAME_UPPER" { total / 2 } else { total - total / 2 };
                // A window smaller than its stride leaves SAME short of what it aims for; an explicit output_shape is met.
                w.end[i] = if asked.is_some() { full - out } else { total } - w.begin[i];
            } else if auto == "VALID" {
                (w.begin[i], w.end[i]) = (0, 0);
            }
            let out = full - w.begin[i] - w.end[i];
            if out <= 0 {
                return bad("has more padding than output");
            }
            w.output.push(out as usize);
        }
        Ok(w)
    }

    /// Size of the dilated kernel along axis `i`.
    pub fn extent(&self, i: usize) -> usize {
        (self.kernel[i].max(1) - 1) * self.dilations[i] + 1
    }

    fn plain(args: &Args, kernel: Vec<usize>, spatial: &[usize]) -> Res<Self> {
        let n = spatial.len();
        let pads = args.node.ints("pads").map_or_else(|| vec![0; 2 * n], <[i64]>::to_vec);
        let strides = args.sizes("strides", &vec![1; n])?;
        let dilations = args.sizes("dilations", &vec![1; n])?;
        if kernel.len() != n || strides.len() != n || dilations.len() != n || pads.len() != 2 * n || strides.contains(&0) {
            return bad(format!("has window attributes that do not fit its {n} spatial axes"));
        }
        let sizes = [&kernel[..], &strides, &dilations, spatial];
        let asked = args.node.ints("output_shape").unwrap_or_default();
        let padding = pads.iter().chain(args.node.ints("output_padding").unwrap_or_default()).chain(asked);
        if sizes.into_iter().flatten().any(|&v| v > MAX_SIDE) || padding.into_iter().any(|p| p.unsigned_abs() as usize > MAX_SIDE) {
            return bad("has window attributes larger than any image");
        }
        Ok(Self { kernel, strides, dilations, begin: pads[..n].to_vec(), end: pads[n..].to_vec(), output: Vec::with_capacity(n) })
    }
}
