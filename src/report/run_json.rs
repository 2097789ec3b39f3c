//! A recorded run as JSON: `psescope.run/1` without the steps (what `show` prints), `psescope.export/1` with every number.

use serde_json::{Value, json};

use super::{
    Options, facts,
    json::{self, Context},
};
use crate::{
    core::error::{Error, Result},
    engine::study::Study,
};

/// The export, as text.
pub fn bytes(study: &Study, _: &Options) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec(&export(study)).map_err(|e| Error::Input(format!("the run cannot be written as JSON: {e}")))?;
    text.push(b'\n');
    Ok(text)
}

fn names(study: &Study) -> Vec<String> {
    let meta = &study.meta;
    let count = meta.names.iter().map(|(c, _)| c + 1).max().unwrap_or(0);
    (0..count).map(|class| meta.name(class)).collect()
}

fn context<'a>(study: &'a Study, labels: &'a [String]) -> Context<'a> {
    let meta = &study.meta;
    Context { model: &meta.model, image: &meta.image, device: "", provider: &meta.provider, labels }
}

/// What the run is, without its steps and arrays.
pub fn run(study: &Study) -> Value {
    let meta = &study.meta;
    let labels = names(study);
    let class = |c| context(study, &labels).class(c);
    let scored = |s: crate::engine::event::Scored| json!({"index": s.class, "name": meta.name(s.class), "logit": s.logit, "prob": s.prob});
    let record = study.trace.step(study.step);
    let (c, h, w) = study.trace.clean.dim();
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
        "flipped_at": study.trace.flipped_at(),
        "best": meta.best,
        "step": study.step,
        "frames": study.trace.frames(),
        "marks": meta.marks,
        "clean": {"top": study.clean_scores(5).into_iter().map(scored).collect::<Vec<_>>()},
        "adversarial": {"top": study.scores(5).into_iter().map(scored).collect::<Vec<_>>()},
        "norms": record.map(|r| json!({"l0": r.l0, "l1": r.l1, "l2": r.l2, "linf": r.linf})),
        "seconds": meta.steps.last().map(|s| s.seconds),
        "command": facts::command(study),
        "recorded_command": facts::recorded_command(study),
    })
}

/// Everything that is a number.
pub fn export(study: &Study) -> Value {
    let labels = names(study);
    let context = context(study, &labels);
    let mut out = run(study);
    let psr = study.psr().map(|map| match study.whole(map) {
        Some(whole) => json::pse(map, &whole),
        None => Value::Null,
    });
    let cams = study.cams().into_iter().zip([("clean", "true"), ("clean", "target"), ("adversarial", "true"), ("adversarial", "target")]);
    let cams = cams.filter_map(|(map, (image, class))| {
        let map = map?;
        let mut value = json::cam(map, &context);
        value["of"] = json!({"image": image, "class": class});
        value["interpretability"] = study.score(map).map_or(Value::Null, |s| {
            json!({"percentile": crate::engine::study::PERCENTILE, "score": s.score, "area": s.area, "baseline": s.baseline, "lift": s.lift})
        });
        Some(value)
    });
    out["schema"] = "psescope.export/1".into();
    out["clean_logits"] = json!(study.meta.clean_logits);
    out["trace"] = json!(study.meta.steps);
    out["pse"] = psr.unwrap_or(Value::Null);
    out["cams"] = cams.collect::<Vec<_>>().into();
    out["missing"] = json!(study.missing);
    out
}
