//! One row per step as comma-separated values (RFC 4180), with a header row.

use std::fmt::Write as _;

use super::Options;
use crate::{core::error::Result, engine::findings::Findings};

/// The table.
pub fn bytes(findings: &Findings, _: &Options) -> Result<Vec<u8>> {
    let meta = &findings.meta;
    let mut terms: Vec<&str> = Vec::new();
    for (name, _) in meta.steps.iter().flat_map(|s| &s.terms) {
        if !terms.contains(&name.as_str()) {
            terms.push(name);
        }
    }
    let mut out = String::from(
        "step,loss,true_logit,target_logit,other_logit,log_sum_exp,true_prob,target_prob,predicted,predicted_name,l0,l1,l2,linf,seconds",
    );
    for name in &terms {
        let _ = write!(out, ",{}", field(&format!("term_{name}")));
    }
    out.push_str("\r\n");
    for s in &meta.steps {
        let target = s.target_logit.map(|z| (number(z), number(s.prob(z)))).unwrap_or_default();
        let row = [
            s.index.to_string(),
            number(s.loss),
            number(s.true_logit),
            target.0,
            number(s.other_logit),
            number(s.log_sum_exp),
            number(s.prob(s.true_logit)),
            target.1,
            s.predicted.to_string(),
            field(&meta.name(s.predicted)),
            s.l0.to_string(),
            number(s.l1),
            number(s.l2),
            number(s.linf),
            number(s.seconds),
        ];
        out.push_str(&row.join(","));
        for name in &terms {
            let value = s.terms.iter().find(|(n, _)| n == name).map(|(_, v)| number(*v)).unwrap_or_default();
            let _ = write!(out, ",{value}");
        }
        out.push_str("\r\n");
    }
    Ok(out.into_bytes())
}

/// Unrounded; what is undefined or infinite is empty.
fn number(value: f32) -> String {
    if value.is_finite() { value.to_string() } else { String::new() }
}

/// Quoted where it has to be. A name that a spreadsheet would take for a formula gets an apostrophe in front.
fn field(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_harmless() {
        assert_eq!(field("giant panda, panda"), "\"giant panda, panda\"");
        assert_eq!(field("6\" pipe"), "\"6\"\" pipe\"");
        assert_eq!(field("=1+1"), "'=1+1");
        assert_eq!(number(f32::NEG_INFINITY), "");
    }
}
