//! Attributes that are kept as they are (subgraphs, tensors of types that nothing is computed with): what they store outside the file is
//! fetched like every other weight. An engine that is handed the graph in memory must find no path in it to follow on its own.

use super::{
    ir::DType,
    pb::{self, tensor_proto::DataLocation},
    read::{Fetch, tensor_data},
};
use crate::core::error::{Error, Result};

/// Puts everything that an attribute stores elsewhere into it.
pub(super) fn gather(attribute: &mut pb::AttributeProto, fetch: &mut Fetch) -> Result<()> {
    for t in attribute.t.iter_mut().chain(&mut attribute.tensors) {
        tensor(t, fetch)?;
    }
    for sparse in attribute.sparse_tensor.iter_mut().chain(&mut attribute.sparse_tensors) {
        parts(sparse, fetch)?;
    }
    for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
        for t in &mut graph.initializer {
            tensor(t, fetch)?;
        }
        for sparse in &mut graph.sparse_initializer {
            parts(sparse, fetch)?;
        }
        for inner in graph.node.iter_mut().flat_map(|n| &mut n.attribute) {
            gather(inner, fetch)?;
        }
    }
    Ok(())
}

fn parts(sparse: &mut pb::SparseTensorProto, fetch: &mut Fetch) -> Result<()> {
    sparse.values.iter_mut().chain(&mut sparse.indices).try_for_each(|t| tensor(t, fetch))
}

/// Puts the bytes of a tensor that lie elsewhere into it.
pub(super) fn tensor(t: &mut pb::TensorProto, fetch: &mut Fetch) -> Result<()> {
    if t.data_location == Some(DataLocation::External as i32) {
        if DType::from_onnx(t.data_type.unwrap_or(0)).size().is_none() {
            let text = "a tensor of a type that psescope does not read is stored outside the model file; export the model as one file";
            return Err(Error::Model(text.into()));
        }
        t.raw_data = Some(tensor_data(t.clone(), fetch)?.bytes);
        t.data_location = None;
    }
    t.external_data.clear();
    Ok(())
}
