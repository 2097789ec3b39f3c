//! A recorded run as JSON: `psescope.run/1` without the steps (what `show` prints), `psescope.export/1` with every number.

use serde_json::{Value, json};

use super::{
    Options, facts,
    json::{self, Context},
};
use crate::{
    core::{
        error::{Error, Result},
        explain::{
            layers::LayerChange,
            units::{UnitChange, UnitTable},
        },
    },
    engine::findings::Findings,
};

/// The export, as text.
pub fn bytes(findings: &Findings, _: &Options) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec(&export(findings)).map_err(|e| Error::Input(format!("the run cannot be written as JSON: {e}")))?;
    text.push(b'\n');
    Ok(text)
}

fn names(findings: &Findings) -> Vec<String> {
    let meta = &findings.meta;
    let count = meta.names.iter().map(|(c, _)| c + 1).max().unwrap_or(0);
    (0..count).map(|class| meta.name(class)).collect()
}

fn context<'a>(findings: &'a Findings, labels: &'a [String]) -> Context<'a> {
    let meta = &findings.meta;
    Context { model: &meta.model, image: &meta.image, device: "", provider: &meta.provider, labels }
}

/// What the run is, without its steps and arrays.
pub fn run(findings: &Findings) -> Value {
    let meta = &findings.meta;
    let labels = names(findings);
    let class = |c| context(findings, &labels).class(c);
    let scored = |s: crate::engine::event::Scored| json!({"index": s.class, "name": meta.name(s.class), "logit": s.logit, "prob": s.prob});
    let record = findings.trace.step(findings.step);
    let (c, h, w) = findings.trace.clean.dim();
    json!({
        "schema": "psescope.run/1",
        "version": env!("CARGO_PKG_VERSION"),
        "recorded_by": meta.version,
        "model": meta.model,
        "model_sha256": meta.model_sha256,
        "image": meta.image,
        "shape": [c, h, w],
        "preprocessing": meta.preprocessing,
        "provider": meta.provider,
        "system": meta.system,
        "written": meta.written,
        "attack": meta.attack,
        "params": meta.params.iter().map(|(n, v)| (n.clone(), Value::from(v.as_str()))).collect::<serde_json::Map<_, _>>(),
        "seed": meta.seed,
        "true": class(meta.label),
        "target": meta.target.map(class),
        "success": meta.success,
        "steps": meta.steps.len().saturating_sub(1),
        "flipped_at": findings.trace.flipped_at(),
        "best": meta.best,
        "step": findings.step,
        "frames": findings.trace.frames(),
        "marks": meta.marks,
        "clean": {"top": findings.clean_scores(5).into_iter().map(scored).collect::<Vec<_>>()},
        "adversarial": {"top": findings.scores(5).into_iter().map(scored).collect::<Vec<_>>()},
        "norms": record.map(|r| json!({"l0": r.l0, "l1": r.l1, "l2": r.l2, "linf": r.linf})),
        "seconds": meta.steps.last().map(|s| s.seconds),
        "command": facts::command(findings),
        "recorded_command": facts::recorded_command(findings),
    })
}

fn units(table: &UnitTable) -> Value {
    let unit = |u: &UnitChange| {
        json!({"unit": u.unit, "clean_mean": u.clean.mean, "adversarial_mean": u.adversarial.mean, "change": u.change,
            "effect_true": u.effect_true, "effect_target": u.effect_target, "r": u.r, "type": u.kind.name()})
    };
    json!({"layer": table.layer.name, "estimate": !table.exact, "units": table.units.iter().map(unit).collect::<Vec<_>>()})
}

/// Everything that is a number.
pub fn export(findings: &Findings) -> Value {
    let labels = names(findings);
    let context = context(findings, &labels);
    let mut out = run(findings);
    let psr = findings.psr().map(|map| match findings.whole(map) {
        Some(whole) => json::pse(map, &whole),
        None => Value::Null,
    });
    let cams =
        findings.cams().into_iter().zip([("clean", "true"), ("clean", "target"), ("adversarial", "true"), ("adversarial", "target")]);
    let cams = cams.filter_map(|(map, (image, class))| {
        let map = map?;
        let mut value = json::cam(map, &context);
        value["of"] = json!({"image": image, "class": class});
        value["interpretability"] = findings.score(map).map_or(Value::Null, |s| {
            json!({"percentile": crate::engine::findings::PERCENTILE, "score": s.score, "area": s.area, "baseline": s.baseline, "lift": s.lift})
        });
        Some(value)
    });
    out["schema"] = "psescope.export/1".into();
    out["clean_logits"] = json!(findings.meta.clean_logits);
    out["trace"] = json!(findings.meta.steps);
    out["pse"] = psr.unwrap_or(Value::Null);
    out["cams"] = cams.collect::<Vec<_>>().into();
    let layer = |l: &LayerChange| {
        json!({"name": l.info.name, "op": l.info.op, "units": l.info.units, "spatial": l.info.spatial, "promoted": l.promoted, "suppressed": l.suppressed,
            "unchanged": l.unchanged, "promoted_mass": l.promoted_mass, "suppressed_mass": l.suppressed_mass, "relative_change": l.relative_change, "cosine": l.cosine})
    };
    out["layers"] = findings.layers.as_ref().map_or(Value::Null, |layers| layers.iter().map(layer).collect());
    out["turning_point"] = json!(findings.turning_point().map(|l| &l.info.name));
    out["units"] = findings.units.as_ref().map_or(Value::Null, |table| units(table));
    out["missing"] = json!(findings.missing);
    out
}
