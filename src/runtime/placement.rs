//! Which execution provider runs which operators of a graph, from the engine's own profile.

use std::collections::BTreeMap;

use serde::Serialize;

/// Nodes of one operator on one provider.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Placed {
    /// Provider as people know it: `CPU`, `CUDA`, `TensorRT`.
    pub provider: String,
    /// Operator, after the engine's own rewriting (`FusedConv`, `ReorderInput`).
    pub op: String,
    /// How many nodes.
    pub nodes: usize,
    /// Their time in one run, milliseconds. On a GPU the time to launch them.
    pub ms: f64,
}

/// `CUDAExecutionProvider` as people know it.
fn short(provider: &str) -> String {
    match provider.strip_suffix("ExecutionProvider").unwrap_or(provider) {
        "Tensorrt" => "TensorRT".into(),
        other => other.into(),
    }
}

/// Counts the nodes of a profile that ONNX Runtime wrote; most nodes first. `runs` is how often the graph ran while it was written.
pub fn of_profile(profile: &str, runs: usize) -> Vec<Placed> {
    let mut found: BTreeMap<(String, String), (usize, f64)> = BTreeMap::new();
    let events: Vec<serde_json::Value> = serde_json::from_str(profile).unwrap_or_default();
    for event in events.iter().filter(|e| e["cat"] == "Node" && e["name"].as_str().is_some_and(|n| n.ends_with("_kernel_time"))) {
        let Some(provider) = event["args"]["provider"].as_str() else { continue };
        let op = event["args"]["op_name"].as_str().unwrap_or("?");
        let entry = found.entry((short(provider), op.to_owned())).or_default();
        entry.0 += 1;
        entry.1 += event["dur"].as_f64().unwrap_or(0.0) / 1e3;
    }
    let runs = runs.max(1);
    let mut placed: Vec<Placed> = found
        .into_iter()
        .map(|((provider, op), (nodes, ms))| Placed { provider, op, nodes: nodes.div_ceil(runs), ms: ms / runs as f64 })
        .collect();
    placed.sort_by(|a, b| b.nodes.cmp(&a.nodes).then_with(|| a.op.cmp(&b.op)));
    placed
}

/// Nodes per provider, most first.
pub fn by_provider(placed: &[Placed]) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for p in placed {
        *counts.entry(&p.provider).or_default() += p.nodes;
    }
    let mut counts: Vec<(String, usize)> = counts.into_iter().map(|(p, n)| (p.to_owned(), n)).collect();
    counts.sort_by_key(|c| std::cmp::Reverse(c.1));
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_counted_by_provider_and_operator() {
        let profile = r#"[{"cat":"Session","name":"x"},
            {"cat":"Node","name":"a_kernel_time","dur":1500,"args":{"provider":"CUDAExecutionProvider","op_name":"Conv"}},
            {"cat":"Node","name":"c_kernel_time","dur":500,"args":{"provider":"CUDAExecutionProvider","op_name":"Conv"}},
            {"cat":"Node","name":"a_fence_before","args":{"provider":"CUDAExecutionProvider","op_name":"Conv"}},
            {"cat":"Node","name":"t_kernel_time","dur":9,"args":{"provider":"TensorrtExecutionProvider","op_name":"TRTKernel"}},
            {"cat":"Node","name":"b_kernel_time","dur":3,"args":{"provider":"CPUExecutionProvider","op_name":"Gather"}}]"#;
        let placed = of_profile(profile, 1);
        assert_eq!(placed[0], Placed { provider: "CUDA".into(), op: "Conv".into(), nodes: 2, ms: 2.0 });
        assert_eq!(by_provider(&placed)[0], ("CUDA".into(), 2));
        assert!(by_provider(&placed).contains(&("TensorRT".into(), 1)));
        // Two runs of one graph count its nodes once.
        assert_eq!(of_profile(profile, 2)[0].nodes, 1);
        assert!(of_profile("damaged", 1).is_empty());
    }
}
