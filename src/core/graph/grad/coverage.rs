//! Which nodes between image and logits can be differentiated.

use super::{Sweep, builder::Builder, differentiate, rules};
use crate::core::graph::{Coverage, Prepared};

/// Tries the whole sweep, so that variants no rule handles are found too.
pub fn coverage(prepared: &Prepared) -> Coverage {
    let b = Builder::new(prepared.graph.clone());
    let ty = b.ty(&prepared.logits);
    b.declare("cotangent", ty);
    let seeds = [(prepared.logits.clone(), "cotangent".to_owned())];
    match differentiate(&b, &seeds, std::slice::from_ref(&prepared.image)) {
        Ok(Sweep { covered, missing, .. }) => Coverage { covered, missing },
        Err(_) => by_name(prepared),
    }
}

/// When shapes are missing the sweep cannot run; the operators' names still say something.
fn by_name(prepared: &Prepared) -> Coverage {
    let mut coverage = Coverage::default();
    for node in &prepared.graph.nodes {
        if rules::find(node).is_some() {
            coverage.covered += 1;
        } else if !rules::STOPS.contains(&node.op.as_str()) {
            coverage.missing.push(super::missing(node, None));
        }
    }
    coverage
}
