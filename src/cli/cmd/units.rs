//! `psescope units`: what a perturbation changes at one layer, unit by unit.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::{
    cli::{
        args::{ModelArgs, Print, parse_iou, parse_number},
        case::{Case, CaseArgs},
        exit::Done,
        progress,
        session::{Session, interruptible},
    },
    core::{
        dissect::{ConceptLabels, IOU_THRESHOLD},
        error::Error,
        explain::{
            psr,
            units::{self, Spread, UnitTable},
        },
    },
    engine::{
        concepts,
        reference::{self, Reference},
    },
    report::network,
};

/// Responses, changes and effects of the units of a layer.
#[derive(Debug, Args)]
pub struct UnitsCommand {
    #[command(flatten)]
    case: CaseArgs,
    /// Layer (tensor name, see `psescope layers`).
    #[arg(long, value_name = "LAYER", help_heading = "Units")]
    layer: String,
    /// Step of the run; its result without it.
    #[arg(long, value_name = "N", help_heading = "Units")]
    step: Option<usize>,
    /// Measure every unit's effect by putting it back to its clean map; else effects are first-order estimates.
    #[arg(long, help_heading = "Units")]
    exact: bool,
    /// Folder of images: changes are also given over each unit's standard deviation there.
    #[arg(long, value_name = "DIR", help_heading = "Units")]
    reference: Option<PathBuf>,
    /// Most reference images read.
    #[arg(long, value_name = "N", default_value_t = reference::LIMIT, help_heading = "Units")]
    reference_limit: usize,
    #[command(flatten)]
    labels: LabelArgs,
    /// Order.
    #[arg(long, value_enum, default_value_t = Sort::Change, help_heading = "Units")]
    sort: Sort,
    /// Only the first N.
    #[arg(long, value_name = "N", help_heading = "Units")]
    top: Option<usize>,
    /// Only units whose label contains this, or of this category.
    #[arg(long, value_name = "NAME", help_heading = "Units")]
    concept: Option<String>,
    /// Smallest effect counted in the unit's promotion-suppression ratio, in logits.
    #[arg(long, value_name = "X", default_value = "0.1", value_parser = parse_number, help_heading = "Units")]
    psr_floor: f32,
    #[command(flatten)]
    print: Print,
    #[command(flatten)]
    model_args: ModelArgs,
}

/// Where unit labels come from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Units")]
pub struct LabelArgs {
    /// Concepts of the layer's units: a NetDissect result file. Without it, a dissection kept on this machine, or the bundled model's labels.
    #[arg(long, value_name = "RESULT.csv")]
    pub labels_from: Option<PathBuf>,
    /// A label counts from this IoU on.
    #[arg(long, value_name = "X", default_value_t = IOU_THRESHOLD, value_parser = parse_iou)]
    pub iou: f64,
}

impl LabelArgs {
    /// The labels of a layer: from the named file, else the person's own dissection, else those that come with the model.
    pub fn of(&self, session: &Session, layer: &str) -> anyhow::Result<Option<ConceptLabels>> {
        match &self.labels_from {
            Some(path) => Ok(Some(concepts::concepts_from(path, &units::info(&session.network, layer)?)?)),
            None => Ok(concepts::concepts_for(&session.subject.sha256, layer)),
        }
    }
}

/// What is said when concepts are asked for and none are known.
pub fn no_labels(flag: &str, layer: &str) -> anyhow::Error {
    let text = format!("{flag} needs labels of '{layer}' and none are known: give --labels-from RESULT.csv, or run `psescope dissect`");
    Error::Parameter(text).into()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// Largest change (over its spread when there is a reference) first.
    Change,
    /// Strongest push from the true to the target class first.
    Effect,
    /// Best concept match first.
    Iou,
    /// By index.
    Unit,
}

impl UnitsCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        let mut case = self.case.open(&self.model_args)?;
        let labels = self.labels.of(&case.session, &self.layer)?;
        if labels.is_none() && (self.sort == Sort::Iou || self.concept.is_some()) {
            return Err(no_labels(if self.concept.is_some() { "--concept" } else { "--sort iou" }, &self.layer));
        }
        case.at_step(self.step)?;
        let reference = self.reference.as_deref().map(|dir| self.spread(&mut case, dir)).transpose()?;
        let settings = psr::Settings { floor: self.psr_floor, ..psr::Settings::default() };
        let table = table(&mut case, &self.layer, reference.as_ref().map(|r| &r.0), settings, self.exact)?;
        let order = self.order(&table, labels.as_ref())?;
        let count = reference.map(|r| r.1);
        let context = case.session.context(&case.image);
        let labels = labels.as_ref();
        let text = || {
            let shown = &order[..order.len().min(self.top.unwrap_or(30))];
            let table = network::units_text(&table, shown, labels, &context);
            match order.len() - shown.len() {
                0 => table,
                more => format!("{}\n{more} more units: --top N, --json or --csv shows them", table.trim_end()),
            }
        };
        self.print.say(|| network::units(&table, &order, labels, count, &context), || network::units_csv(&table, &order, labels), text)?;
        Ok(Done::Yes)
    }

    fn order(&self, table: &UnitTable, labels: Option<&ConceptLabels>) -> anyhow::Result<Vec<usize>> {
        let iou = |k: usize| labels.and_then(|l| l.unit(k)).map_or(-1.0, |c| c.iou);
        let mut order = match self.sort {
            Sort::Change => units::most_sensitive(table),
            Sort::Effect => units::most_effective(table),
            Sort::Unit => (0..table.units.len()).collect(),
            Sort::Iou => {
                let mut all: Vec<usize> = (0..table.units.len()).collect();
                all.sort_by(|a, b| iou(*b).total_cmp(&iou(*a)).then(a.cmp(b)));
                all
            }
        };
        if let (Some(name), Some(labels)) = (&self.concept, labels) {
            let found = with_concept(labels, name, self.labels.iou)?;
            order.retain(|k| found.contains(k));
        }
        if !self.print.is_text() {
            order.truncate(self.top.unwrap_or(usize::MAX));
        }
        Ok(order)
    }

    /// Spread of every unit over the images of a folder, and how many there were.
    fn spread(&self, case: &mut Case, dir: &Path) -> anyhow::Result<(Spread, usize)> {
        let mut reference = Reference::open(dir, self.reference_limit)?;
        let bar = progress::bar(reference.len(), "reference images");
        let session = &mut case.session;
        let spread = reference.spread(&session.subject, &mut session.network, &self.layer, &mut |done| {
            bar.set_position(done as u64);
            Ok(())
        })?;
        bar.finish_and_clear();
        Ok((spread, reference.len()))
    }
}

/// Units that carry a concept, or a sentence.
pub fn with_concept(labels: &ConceptLabels, name: &str, iou: f64) -> anyhow::Result<Vec<usize>> {
    let found = labels.find(name, iou);
    if found.is_empty() {
        let text =
            format!("no unit of this layer has a concept like '{name}' with an IoU of at least {iou}; lower --iou or choose another");
        return Err(Error::Parameter(text).into());
    }
    Ok(found)
}

/// The table of a layer, measured when `exact`.
pub fn table(case: &mut Case, layer: &str, spread: Option<&Spread>, settings: psr::Settings, exact: bool) -> anyhow::Result<UnitTable> {
    let question = units::Case { clean: case.clean.view(), adversarial: case.adversarial.view(), classes: (case.label, case.target) };
    let control = interruptible();
    let _bound = control.bind(case.session.network.interrupt());
    let mut table = units::table(&mut case.session.network, question, layer, spread, settings)?;
    if exact {
        let bar = progress::bar(table.units.len(), "units");
        units::measure(&mut case.session.network, question, &mut table, &mut |done| {
            bar.set_position(done as u64);
            control.checkpoint()
        })?;
        bar.finish_and_clear();
    }
    Ok(table)
}
