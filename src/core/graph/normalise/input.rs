//! The image input: which one it is, its layout and its size.

use crate::core::{
    error::{Error, Result},
    graph::{Layout, Options},
    onnx::{DType, Dim, Graph},
};

/// Most values of one image: 64 megapixels in colour. A damaged file may ask for any number.
const MAX_VALUES: usize = 3 * 64_000_000;

/// What is known of the image input.
pub struct Input {
    /// Its layout.
    pub layout: Layout,
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Batch dimension as the file declares it.
    pub batch: Dim,
}

/// Name of the only input, when it can be an image.
pub fn image(graph: &Graph) -> Result<String> {
    let describe = |v: &crate::core::onnx::ValueInfo| format!("'{}' {:?}", v.name, v.ty.dtype);
    let [input] = graph.inputs.as_slice() else {
        return Err(Error::Model(if graph.inputs.is_empty() {
            "the model's output does not depend on any input; export it again".into()
        } else {
            let list = graph.inputs.iter().map(describe).collect::<Vec<_>>().join(", ");
            format!("the model has {} inputs ({list}); psescope needs an image classifier with one image input", graph.inputs.len())
        }));
    };
    let rank = input.ty.shape.as_ref().map_or(4, Vec::len);
    if rank != 4 || !input.ty.dtype.is_float() {
        return Err(Error::Model(format!(
            "the model's input {} has {rank} dimensions; psescope needs a float image input with four (batch, channels, height, width)",
            describe(input)
        )));
    }
    Ok(input.name.clone())
}

/// Settles layout and size, from the file first and then from the options, and writes them into the input's type.
pub fn resolve(graph: &mut Graph, image: &str, options: &Options, notices: &mut Vec<String>) -> Result<Input> {
    let declared = graph.inputs[0].ty.shape.clone().unwrap_or_else(|| vec![Dim::Unknown; 4]);
    let dims: Vec<Option<usize>> = declared.iter().map(|d| d.fixed()).collect();
    let layout = options.layout.unwrap_or_else(|| guess(graph, image, &dims, notices));
    let at = match layout {
        Layout::Nchw => [1, 2, 3],
        Layout::Nhwc => [3, 1, 2],
    };
    let channels = dims[at[0]]
        .or_else(|| first_conv_channels(graph, image))
        .ok_or_else(|| Error::Model("the model does not say how many channels its image has; export it with a fixed image shape".into()))?;
    let mut size = [0; 2];
    for (i, side) in size.iter_mut().enumerate() {
        let asked = options.size.map(|s| s[i]);
        *side = match (dims[at[i + 1]], asked) {
            (Some(fixed), Some(asked)) if fixed != asked => {
                let (h, w) = (dims[at[1]].unwrap_or(fixed), dims[at[2]].unwrap_or(fixed));
                return Err(Error::Parameter(format!("the model's image size is fixed at {w}x{h}; leave out --size")));
            }
            (Some(fixed), _) => fixed,
            (None, Some(asked)) => asked,
            (None, None) => {
                return Err(Error::Parameter(
                    "the model leaves its image size open; say it with --size WxH, for instance --size 224x224".into(),
                ));
            }
        };
    }
    let values = size.iter().try_fold(channels, |a, &side| a.checked_mul(side));
    if values.is_none_or(|n| n > MAX_VALUES) {
        let [h, w] = size;
        return Err(Error::Model(format!("the model's image is {w}x{h} with {channels} channels, more than psescope can hold")));
    }
    let mut shape = vec![declared[0]; 4];
    shape[at[0]] = Dim::Fixed(channels);
    shape[at[1]] = Dim::Fixed(size[0]);
    shape[at[2]] = Dim::Fixed(size[1]);
    graph.inputs[0].ty.dtype = DType::F32;
    graph.inputs[0].ty.shape = Some(shape);
    Ok(Input { layout, shape: [channels, size[0], size[1]], batch: declared[0] })
}

/// Channels are 1, 3 or 4 and usually the only such dimension; a first Transpose decides when nothing is declared.
fn guess(graph: &Graph, image: &str, dims: &[Option<usize>], notices: &mut Vec<String>) -> Layout {
    let colour = |d: Option<usize>| matches!(d, Some(1 | 3 | 4));
    match (colour(dims[1]), colour(dims[3])) {
        (true, false) => return Layout::Nchw,
        (false, true) => return Layout::Nhwc,
        _ => {}
    }
    let to_nchw = graph.nodes.iter().any(|n| n.op == "Transpose" && n.input(0) == Some(image) && n.ints("perm") == Some(&[0, 3, 1, 2]));
    let layout = if to_nchw { Layout::Nhwc } else { Layout::Nchw };
    notices.push(format!("the image layout is not evident from the file; {layout:?} was taken (--layout says otherwise)"));
    layout
}

/// Input channels of the first convolution, in file order, that reads the image, at most a few steps away.
fn first_conv_channels(graph: &Graph, image: &str) -> Option<usize> {
    let mut reached = vec![image];
    for node in &graph.nodes {
        if !node.inputs.iter().any(|i| reached.contains(&i.as_str())) {
            continue;
        }
        if node.op == "Conv" {
            let weights = graph.initializers.get(node.input(1)?)?;
            return Some(weights.dims.get(1)?.saturating_mul(node.int("group", 1).max(1) as usize));
        }
        if node.op == "Shape" {
            continue;
        }
        reached.extend(node.outputs.iter().map(String::as_str));
    }
    None
}
