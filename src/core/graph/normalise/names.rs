//! Names for the values our passes add.

use std::collections::HashSet;

use crate::core::onnx::Graph;

/// Hands out names that no value of the graph has.
#[derive(Debug, Clone, Default)]
pub struct Names {
    used: HashSet<String>,
}

impl Names {
    /// Knows every name in the graph.
    pub fn new(graph: &Graph) -> Self {
        let nodes = graph.nodes.iter().flat_map(|n| n.inputs.iter().chain(&n.outputs));
        let ends = graph.inputs.iter().chain(&graph.outputs).map(|v| &v.name);
        Self { used: nodes.chain(ends).chain(graph.initializers.keys()).cloned().collect() }
    }

    /// `psescope_<what>`, numbered when taken.
    pub fn fresh(&mut self, what: &str) -> String {
        let base = format!("psescope_{what}");
        let mut name = base.clone();
        let mut n = 1;
        while !self.used.insert(name.clone()) {
            n += 1;
            name = format!("{base}_{n}");
        }
        name
    }
}
