//! What is known about a perturbation, in sentences. Pure: numbers in, sentences out; nothing is said that was not computed, and what
//! rests on an estimate says so.

use super::{
    interpretability::Interpretability,
    layers::{LayerChange, Settings, turning_point},
    psr::{Kind, Mode, Shares},
};

/// What a sentence is about; also where its evidence is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// What the attack reached.
    Result,
    /// Promotion and suppression.
    Type,
    /// Where on the image.
    Place,
    /// Through which layers.
    Layers,
    /// Through which units.
    Units,
    /// What brings the prediction back.
    Undone,
}

impl Topic {
    /// Word used in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Result => "result",
            Self::Type => "type",
            Self::Place => "place",
            Self::Layers => "layers",
            Self::Units => "units",
            Self::Undone => "undone",
        }
    }

    /// Command that shows the evidence.
    pub fn evidence(self) -> &'static str {
        match self {
            Self::Result => "attack",
            Self::Type => "pse",
            Self::Place => "cam",
            Self::Layers => "layers",
            Self::Units => "units",
            Self::Undone => "mask",
        }
    }
}

impl Topic {
    /// What is missing when it was not computed.
    pub fn lacking(self) -> &'static str {
        match self {
            Self::Result => "what the attack reached",
            Self::Type => "what kind of perturbation this is",
            Self::Place => "where on the image it acts",
            Self::Layers => "where the network parts ways",
            Self::Units => "which units carry it",
            Self::Undone => "what would undo it",
        }
    }
}

/// One sentence with the numbers it was made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Sentence {
    /// Subject.
    pub topic: Topic,
    /// The sentence.
    pub text: String,
    /// Whether it rests on an estimate; the text says so too.
    pub estimate: bool,
    /// Whether its numbers were computed; otherwise the text says what to run.
    pub known: bool,
    /// Numbers by name.
    pub numbers: Vec<(&'static str, f64)>,
}

/// Promotion-suppression map of a perturbation.
#[derive(Debug, Clone, Copy)]
pub struct TypeFacts {
    /// Shares of the cells.
    pub shares: Shares,
    /// Type of the whole perturbation.
    pub whole: Kind,
    /// How much the true logit fell.
    pub suppressed: f32,
    /// How much the target logit rose.
    pub promoted: f32,
    /// How the map was evaluated.
    pub mode: Mode,
}

/// Share of the perturbation inside a discriminative region.
#[derive(Debug, Clone)]
pub struct PlaceFacts {
    /// Class whose region it is.
    pub class: String,
    /// Score with its baseline.
    pub score: Interpretability,
}

/// How clean and adversarial activations part.
#[derive(Debug, Clone)]
pub struct LayerFacts {
    /// Layers compared.
    pub compared: usize,
    /// First layer whose cosine is below the threshold.
    pub turning: Option<(String, f64)>,
    /// The threshold.
    pub threshold: f64,
    /// Cosine at the last layer compared.
    pub last: Option<(String, f64)>,
}

impl LayerFacts {
    /// From a comparison, first layer first.
    pub fn of(changes: &[LayerChange], settings: Settings) -> Self {
        let at = |i: usize| Some((changes[i].info.name.clone(), changes[i].cosine?));
        Self {
            compared: changes.len(),
            turning: turning_point(changes, settings).and_then(at),
            threshold: settings.turning,
            last: changes.len().checked_sub(1).and_then(at),
        }
    }
}

/// The units of a layer that moved most.
#[derive(Debug, Clone)]
pub struct UnitFacts {
    /// Layer.
    pub layer: String,
    /// Unit, change of its mean response, concept when it has a label.
    pub units: Vec<(usize, f64, Option<String>)>,
    /// Where the concepts come from.
    pub origin: Option<String>,
}

/// The most moved units zeroed in growing numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoneFacts {
    /// Layer.
    pub layer: String,
    /// Units masked, whether the attacked image is then taken for its true class, whether the clean one still is.
    pub tried: Vec<(usize, bool, bool)>,
}

/// One mask that a person tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskFacts {
    /// Layer.
    pub layer: String,
    /// How many units.
    pub units: usize,
    /// Whether they were put back to their clean maps; else they were zeroed.
    pub patched: bool,
    /// How they were chosen, in a few words.
    pub how: String,
    /// Whether the attacked image is then taken for its true class.
    pub recovered: bool,
    /// Whether the clean one still is.
    pub clean: bool,
}

/// Everything that may be known; `None` was not computed.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Name of the true class.
    pub truth: String,
    /// Name of the target, or of the class reached.
    pub target: String,
    /// Class the adversarial image is taken for.
    pub now: String,
    /// Whether that is no longer the true class.
    pub flipped: bool,
    /// Norms: pixels changed, L2, L-infinity.
    pub norms: Option<(usize, f64, f64)>,
    /// Promotion and suppression.
    pub kind: Option<TypeFacts>,
    /// Places, usually the true class's and the target's.
    pub places: Vec<PlaceFacts>,
    /// Layers.
    pub layers: Option<LayerFacts>,
    /// Units.
    pub units: Option<UnitFacts>,
    /// Masking.
    pub undone: Option<UndoneFacts>,
    /// Masks tried one by one; they speak before [`Facts::undone`].
    pub masks: Vec<MaskFacts>,
}

/// The sentences, in reading order; one for every topic, computed or not.
pub fn sentences(facts: &Facts) -> Vec<Sentence> {
    let mut out = vec![result(facts)];
    out.push(facts.kind.as_ref().map_or_else(|| missing(Topic::Type), |k| kind(facts, k)));
    if facts.places.is_empty() {
        out.push(missing(Topic::Place));
    }
    out.extend(facts.places.iter().map(place));
    out.push(facts.layers.as_ref().map_or_else(|| missing(Topic::Layers), layers));
    out.push(facts.units.as_ref().map_or_else(|| missing(Topic::Units), units));
    out.push(match (&facts.undone, facts.masks.is_empty()) {
        (_, false) => tried(&facts.masks),
        (Some(facts), true) => undone(facts),
        (None, true) => missing(Topic::Undone),
    });
    out
}

fn missing(topic: Topic) -> Sentence {
    let text = format!("Not computed: {}; `psescope {}` computes it.", topic.lacking(), topic.evidence());
    Sentence { topic, text, estimate: false, known: false, numbers: Vec::new() }
}

fn known(topic: Topic, text: String, numbers: Vec<(&'static str, f64)>) -> Sentence {
    Sentence { topic, text, estimate: false, known: true, numbers }
}

fn result(facts: &Facts) -> Sentence {
    let change = facts.norms.map_or_else(String::new, |(pixels, l2, linf)| {
        format!(" It changes {pixels} pixels, none by more than {:.1}/255 (L2 {l2:.3}).", linf * 255.0)
    });
    let text = if facts.flipped {
        format!("The image of {} is now taken for {}.{change}", facts.truth, facts.now)
    } else {
        format!("The image is still taken for {}: the attack did not change the prediction.{change}", facts.truth)
    };
    let mut numbers = vec![("flipped", f64::from(u8::from(facts.flipped)))];
    if let Some((pixels, l2, linf)) = facts.norms {
        numbers.extend([("l0", pixels as f64), ("l2", l2), ("linf", linf)]);
    }
    known(Topic::Result, text, numbers)
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn kind(facts: &Facts, k: &TypeFacts) -> Sentence {
    let whole = match k.whole {
        Kind::Suppression => format!("mainly suppresses {}", facts.truth),
        Kind::Promotion => format!("mainly promotes {}", facts.target),
        Kind::Balanced => format!("suppresses {} and promotes {} alike", facts.truth, facts.target),
        Kind::Inert => "changes neither logit measurably".into(),
    };
    let signed = |value: f32, word: &str, against: &str| format!("{} {:.2}", if value >= 0.0 { word } else { against }, value.abs());
    let estimate = k.mode != Mode::Exact;
    let cells = if estimate { format!("An estimate ({}) of the grid cells", k.mode.name()) } else { "Of the grid cells".into() };
    let s = k.shares;
    let text = format!(
        "As a whole it {whole} (the true logit {}, the target's {}). {cells}{} {} suppress, {} promote, {} do both, {} do nothing measurable.",
        signed(k.suppressed, "fell by", "rose by"),
        signed(k.promoted, "rose by", "fell by"),
        if estimate { ":" } else { "," },
        percent(s.suppression.into()),
        percent(s.promotion.into()),
        percent(s.balanced.into()),
        percent(s.inert.into()),
    );
    let numbers = vec![
        ("suppressed", k.suppressed.into()),
        ("promoted", k.promoted.into()),
        ("suppression", s.suppression.into()),
        ("promotion", s.promotion.into()),
        ("balanced", s.balanced.into()),
        ("inert", s.inert.into()),
    ];
    Sentence { estimate, ..known(Topic::Type, text, numbers) }
}

/// A lift within this of 1 is called no preference.
const NO_LIFT: f64 = 0.05;

fn place(p: &PlaceFacts) -> Sentence {
    let s = &p.score;
    let numbers = vec![("score", s.score), ("area", s.area), ("baseline", s.baseline), ("lift", s.lift.unwrap_or(f64::NAN))];
    let Some(lift) = s.lift else {
        let text = format!("The map of {} is constant, so it marks no region.", p.class);
        return known(Topic::Place, text, vec![("score", s.score), ("area", s.area)]);
    };
    let verdict = if lift > 1.0 + NO_LIFT {
        "more than an evenly spread perturbation would have"
    } else if lift < 1.0 - NO_LIFT {
        "less than an evenly spread perturbation would have"
    } else {
        "as much as an evenly spread perturbation would have"
    };
    let text = format!(
        "The region that speaks most for {} ({} of the image) holds {} of the perturbation's energy, {verdict} (interpretability score {:.3}, baseline {:.3}).",
        p.class,
        percent(s.area),
        percent(s.score.powi(2)),
        s.score,
        s.baseline,
    );
    known(Topic::Place, text, numbers)
}

fn layers(l: &LayerFacts) -> Sentence {
    let mut numbers = vec![("compared", l.compared as f64), ("threshold", l.threshold)];
    let last = l.last.as_ref().map_or_else(String::new, |(name, cosine)| format!(" At {name} the cosine is {cosine:.2}."));
    numbers.extend(l.last.as_ref().map(|(_, cosine)| ("last_cosine", *cosine)));
    let text = match &l.turning {
        Some((name, cosine)) => {
            numbers.push(("turning_cosine", *cosine));
            format!(
                "Clean and adversarial activations part at {name}, the first of {} layers with a cosine below {} ({cosine:.3}).{last}",
                l.compared, l.threshold
            )
        }
        None => format!(
            "In none of {} layers does the cosine of clean and adversarial activation fall below {}.{last}",
            l.compared, l.threshold
        ),
    };
    known(Topic::Layers, text, numbers)
}

fn units(u: &UnitFacts) -> Sentence {
    if u.units.is_empty() {
        return known(Topic::Units, format!("No unit of {} moves.", u.layer), Vec::new());
    }
    let one = |(unit, change, concept): &(usize, f64, Option<String>)| {
        let concept = concept.as_ref().map_or_else(String::new, |c| format!(" ({c})"));
        format!("{unit}{concept} {change:+.3}")
    };
    let list = u.units.iter().map(one).collect::<Vec<_>>().join(", ");
    let origin = u
        .origin
        .as_ref()
        .filter(|_| u.units.iter().any(|(_, _, concept)| concept.is_some()))
        .map_or_else(String::new, |o| format!(" Names: {o}."));
    let text = format!("At {} the units whose mean response moved most are {list}.{origin}", u.layer);
    known(Topic::Units, text, vec![("largest_change", u.units[0].1)])
}

fn undone(u: &UndoneFacts) -> Sentence {
    let most = u.tried.iter().map(|t| t.0).max().unwrap_or(0);
    let numbers = |k: usize| vec![("tried", u.tried.len() as f64), ("units", k as f64)];
    match u.tried.iter().find(|t| t.1) {
        Some((k, _, clean)) => {
            let cost = if *clean { "the clean image keeps its class" } else { "but the clean image loses its class too" };
            let text = format!(
                "Zeroing the {k} most moved unit{} of {} brings the true class back; {cost}. The units were chosen on this very image.",
                if *k == 1 { "" } else { "s" },
                u.layer
            );
            known(Topic::Undone, text, numbers(*k))
        }
        None => {
            let text = format!("Zeroing up to {most} of the most moved units of {} does not bring the true class back.", u.layer);
            known(Topic::Undone, text, numbers(0))
        }
    }
}

/// The least intrusive mask that brings the true class back: one that spares the clean image, then the one of the fewest units.
pub fn best(masks: &[MaskFacts]) -> Option<&MaskFacts> {
    masks.iter().filter(|m| m.recovered).min_by_key(|m| (!m.clean, m.units))
}

/// What the best of the masks does.
fn tried(masks: &[MaskFacts]) -> Sentence {
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    let best = best(masks);
    let numbers = vec![("tried", masks.len() as f64), ("units", best.map_or(0.0, |m| m.units as f64))];
    let text = match best {
        Some(m) => {
            let how = if m.patched { "Putting back to clean" } else { "Zeroing" };
            let cost = if m.clean { "the clean image keeps its class" } else { "but the clean image loses its class too" };
            format!(
                "{how} {} unit{} of {} ({}) brings the true class back; {cost}. This is the best of {} mask{} tried on this very image.",
                m.units,
                plural(m.units),
                m.layer,
                m.how,
                masks.len(),
                plural(masks.len()),
            )
        }
        None if masks.len() == 1 => "The one mask tried on this image does not bring the true class back.".into(),
        None => format!("None of the {} masks tried on this image brings the true class back.", masks.len()),
    };
    known(Topic::Undone, text, numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts { truth: "panda".into(), target: "fox".into(), now: "fox".into(), flipped: true, ..Facts::default() }
    }

    #[test]
    fn nothing_is_claimed_that_was_not_computed() {
        let out = sentences(&facts());
        assert_eq!(out.len(), 6);
        assert!(out[0].known && out[0].text.contains("now taken for fox"));
        for s in &out[1..] {
            assert!(!s.known && s.numbers.is_empty() && s.text.starts_with("Not computed") && s.text.contains(s.topic.evidence()));
        }
        let robust = sentences(&Facts { flipped: false, ..facts() });
        assert!(robust[0].text.contains("still taken for panda"));
    }

    #[test]
    fn estimates_are_named_and_signs_are_right() {
        let shares = Shares { suppression: 0.25, promotion: 0.5, balanced: 0.25, inert: 0.0 };
        let mut k = TypeFacts { shares, whole: Kind::Promotion, suppressed: -0.5, promoted: 3.0, mode: Mode::Linear };
        let of = |k| sentences(&Facts { kind: Some(k), ..facts() })[1].clone();
        let s = of(k);
        assert!(s.estimate && s.text.contains("estimate (linear)") && s.text.contains("true logit rose by 0.50"), "{}", s.text);
        k.mode = Mode::Exact;
        let s = of(k);
        assert!(!s.estimate && !s.text.contains("stimate") && s.text.contains("mainly promotes fox") && s.text.contains("50 % promote"));
    }

    #[test]
    fn a_place_is_judged_against_its_area() {
        let score =
            |score: f64, area: f64| Interpretability { nu: 0.5, score, area, baseline: area.sqrt(), lift: Some(score / area.sqrt()) };
        let of = |s| sentences(&Facts { places: vec![PlaceFacts { class: "panda".into(), score: s }], ..facts() })[2].text.clone();
        assert!(of(score(0.9, 0.25)).contains("more than an evenly"));
        assert!(of(score(0.5, 0.25)).contains("as much as an evenly"));
        assert!(of(score(0.3, 0.25)).contains("less than an evenly"));
        assert!(of(Interpretability { lift: None, ..score(0.0, 0.0) }).contains("marks no region"));
    }

    #[test]
    fn layers_units_and_masks() {
        let f = Facts {
            layers: Some(LayerFacts {
                compared: 8,
                turning: Some(("fire7".into(), 0.8)),
                threshold: 0.9,
                last: Some(("fire9".into(), 0.3)),
            }),
            units: Some(UnitFacts {
                layer: "fire9".into(),
                units: vec![(7, -1.5, Some("fur".into())), (2, 0.5, None)],
                origin: Some("own data".into()),
            }),
            undone: Some(UndoneFacts { layer: "fire9".into(), tried: vec![(1, false, true), (5, true, false)] }),
            ..facts()
        };
        let out = sentences(&f);
        assert!(out[3].text.contains("part at fire7") && out[3].text.contains("At fire9 the cosine is 0.30"));
        assert!(out[4].text.contains("7 (fur) -1.500") && out[4].text.contains("own data"));
        assert!(out[5].text.contains("the 5 most moved units") && out[5].text.contains("loses its class too"));
        let f = Facts { undone: Some(UndoneFacts { layer: "fire9".into(), tried: vec![(1, false, true), (20, false, true)] }), ..f };
        assert!(sentences(&f)[5].text.contains("up to 20") && sentences(&f)[5].text.contains("does not"));
    }
    #[test]
    fn the_best_of_the_masks_tried_is_named() {
        let mask = |units, recovered, clean| MaskFacts {
            layer: "fire9".into(),
            units,
            patched: units == 3,
            how: "chosen by hand".into(),
            recovered,
            clean,
        };
        let of = |masks: Vec<MaskFacts>| sentences(&Facts { masks, ..facts() })[5].clone();
        let s = of(vec![mask(1, false, true), mask(2, true, false), mask(9, true, true), mask(3, true, true)]);
        assert!(
            s.known && s.text.starts_with("Putting back to clean 3 units of fire9") && s.text.contains("best of 4 masks"),
            "{}",
            s.text
        );
        assert!(
            of(vec![mask(2, true, false)]).text.contains("Zeroing 2 units") && of(vec![mask(2, true, false)]).text.contains("loses its")
        );
        assert!(of(vec![mask(2, false, true)]).text.starts_with("The one mask tried"));
    }
}
