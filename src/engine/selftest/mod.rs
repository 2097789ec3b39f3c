//! Checks of a machine's engine: gradients, updates in the graph, maps, searches, and what a step costs beside the bare engine.

pub mod models;
