//! What the triage screen knows, and how news change it.

use std::{
    cmp::Ordering,
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crossterm::event::KeyCode;
use ndarray::Array3;

use super::thumbs::{self, Thumbs};
use crate::{
    core::error::Result,
    engine::{
        browse::Kind,
        command::{AttackRequest, Command},
        control::Control,
        remember::Recent,
        triage::{
            Row,
            background::News,
            difference::{Difference, disagreement},
            part::{self, Metadata},
            summary::weakness,
        },
    },
    report::triage_text,
    tui::{
        effect::Effect,
        keymap::Key,
        model::Model,
        notice::Severity,
        screen::Screen,
        widget::table_state::{Cycle, Go},
    },
};

/// Order of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// Those that gave way first.
    #[default]
    Weakness,
    /// As listed.
    Listing,
    /// By path.
    Name,
    /// By the confidence of the clean prediction, lowest first.
    Confidence,
    /// By the step that left the true class.
    Flip,
    /// By length of the change.
    L2,
    /// By interpretability lift, highest first.
    Lift,
    /// Those on which two models differ most first.
    Disagreement,
}

impl Cycle for Sort {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Weakness, "weakness"),
        (Self::Listing, "listing"),
        (Self::Name, "name"),
        (Self::Confidence, "confidence"),
        (Self::Flip, "flip"),
        (Self::L2, "L2"),
        (Self::Lift, "IS lift"),
        (Self::Disagreement, "disagreement"),
    ];
}

impl Sort {
    fn compare(self, a: &Row, b: &Row) -> Ordering {
        let number = |v: Option<f32>| v.unwrap_or(f32::INFINITY);
        match self {
            Self::Weakness => weakness(a, b),
            Self::Listing => Ordering::Equal,
            Self::Name => a.path.cmp(&b.path),
            Self::Confidence => number(a.predicted_prob).total_cmp(&number(b.predicted_prob)),
            Self::Flip => a.flipped_at.unwrap_or(i64::MAX).cmp(&b.flipped_at.unwrap_or(i64::MAX)),
            Self::L2 => number(a.l2).total_cmp(&number(b.l2)),
            Self::Disagreement => disagreement(a, b),
            Self::Lift => b.is_lift.unwrap_or(-1.0).total_cmp(&a.is_lift.unwrap_or(-1.0)),
        }
        .then(a.index.cmp(&b.index))
    }
}

/// Rows that are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Show {
    /// All.
    #[default]
    All,
    /// Attacks that reached their goal.
    Reached,
    /// Attacks that did not.
    Held,
    /// Marked by the person.
    Marked,
    /// With an error.
    Errors,
    /// On which two models differ.
    Differing,
    /// Whose images, made for the first model, fool the second too.
    Transferring,
}

impl Cycle for Show {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::All, "all"),
        (Self::Reached, "reached"),
        (Self::Held, "held"),
        (Self::Marked, "marked"),
        (Self::Errors, "errors"),
        (Self::Differing, "differing"),
        (Self::Transferring, "transferring"),
    ];
}

impl Show {
    /// Whether it speaks of two models.
    pub fn of_two(self) -> bool {
        matches!(self, Self::Differing | Self::Transferring)
    }
}

/// The folder, its rows, and how they are looked at.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Folder or list.
    pub folder: Option<PathBuf>,
    /// A second model to compare with.
    pub rival: Option<PathBuf>,
    /// The model of this triage.
    pub model: Option<PathBuf>,
    /// Pauses and stops the work.
    pub control: Option<Control>,
    /// How many triages were asked for.
    pub number: u64,
    /// The attack of this one.
    pub request: Option<AttackRequest>,
    /// Settings, for files.
    pub metadata: Metadata,
    /// Images in the folder, once listed.
    pub total: usize,
    /// Finished images, in order of arrival.
    pub rows: Vec<Row>,
    /// When the work began, and how many rows there were already.
    pub begun: Option<(Duration, usize)>,
    /// Whether it came to its end, and why when that was early.
    pub ended: Option<Option<String>>,
    /// Whether the person paused it.
    pub paused: bool,
    /// Path of the selected row.
    pub selected: Option<String>,
    /// Order.
    pub sort: Sort,
    /// Turned round.
    pub reversed: bool,
    /// Which rows.
    pub show: Show,
    /// Text that rows have to contain.
    pub filter: String,
    /// Whether the filter is being typed.
    pub typing: bool,
    /// Marked paths.
    pub marks: BTreeSet<String>,
    /// Small pictures.
    pub thumbs: Thumbs,
    /// Whether rows have pictures; nothing while the size of the terminal decides.
    pub tall: Option<bool>,
    /// Image that is being opened with its kept run.
    pub pending: Option<PathBuf>,
    /// Image to be attacked once it is open.
    pub attacked: Option<PathBuf>,
    /// Image that Enter led to.
    pub entered: Option<PathBuf>,
    /// Folder of kept runs.
    pub runs: Option<PathBuf>,
    /// Why no more runs are kept.
    pub unkept: Option<String>,
}

impl State {
    /// Whether images are being worked on.
    pub fn running(&self) -> bool {
        self.control.is_some() && self.ended.is_none()
    }

    /// The rows shown, in order.
    pub fn visible(&self) -> Vec<&Row> {
        let wanted = self.filter.to_lowercase();
        let has = |text: &Option<String>| text.as_deref().is_some_and(|t| t.to_lowercase().contains(&wanted));
        let fits = |r: &Row| {
            wanted.is_empty()
                || has(&r.path)
                || has(&r.predicted_name)
                || has(&r.adversarial_name)
                || has(&r.turning_point)
                || has(&r.compare_predicted_name)
        };
        let shown = |r: &Row| match self.show {
            Show::All => true,
            Show::Reached => r.success == Some(true),
            Show::Held => r.success == Some(false),
            Show::Marked => self.marks.contains(r.path()),
            Show::Errors => r.error.is_some(),
            Show::Differing => r.difference().is_some_and(Difference::any),
            Show::Transferring => r.compare_transfers == Some(true),
        };
        let mut rows: Vec<&Row> = self.rows.iter().filter(|r| shown(r) && fits(r)).collect();
        rows.sort_by(|a, b| self.sort.compare(a, b));
        if self.reversed {
            rows.reverse();
        }
        rows
    }

    /// Position of the selected row among those shown; the first when it is not among them.
    pub fn position(&self, visible: &[&Row]) -> usize {
        visible.iter().position(|r| Some(r.path()) == self.selected.as_deref()).unwrap_or(0)
    }

    /// The selected row.
    pub fn row(&self) -> Option<&Row> {
        let visible = self.visible();
        visible.get(self.position(&visible)).copied()
    }

    /// File of the selected row.
    pub fn selected_path(&self) -> Option<PathBuf> {
        self.row().map(|r| PathBuf::from(r.path()))
    }

    /// Moves the selection; `room` rows are on the screen.
    pub fn go(&mut self, to: Go, room: usize) {
        let visible = self.visible();
        let to = to.to(self.position(&visible), visible.len(), room);
        self.selected = visible.get(to).map(|r| r.path().to_owned());
    }

    /// Marks the selected row, or takes its mark away.
    pub fn mark(&mut self) {
        let Some(path) = self.row().map(|r| r.path().to_owned()) else { return };
        if !self.marks.remove(&path) {
            self.marks.insert(path);
        }
        self.go(Go::Rows(1), 1);
    }
}

/// News of the triage with this number; older ones are ignored.
pub fn arrived(model: &mut Model, number: u64, news: News) {
    if number != model.triage.number {
        return;
    }
    match news {
        News::Begun { metadata, total, rows, runs } => {
            let state = &mut model.triage;
            (state.metadata, state.total, state.begun) = (metadata, total, Some((model.now, rows.len())));
            (state.rows, state.runs) = (rows, runs);
        }
        News::Row(row) => model.triage.rows.push(*row),
        News::Unkept(why) => {
            model.tell(Severity::Warn, format!("{why}; Enter attacks the others again"));
            model.triage.unkept = Some(why);
        }
        News::Ended(why) => {
            let (done, total) = (model.triage.rows.len(), model.triage.total);
            match &why {
                None => model.tell(Severity::Info, format!("all {total} images of the folder are done")),
                Some(text) if text == "stopped" => model.tell(Severity::Info, format!("stopped with {done} of {total} images done")),
                Some(text) => model.tell(Severity::Error, text.clone()),
            }
            model.triage.ended = Some(why);
        }
    }
}

/// A picture arrived.
pub fn pictured(model: &mut Model, path: PathBuf, image: Option<Arc<Array3<f32>>>) {
    model.triage.thumbs.keep(path, image);
}

/// The attack that a folder would be worked through with: every image has its own prediction as its class.
pub fn request(model: &Model) -> AttackRequest {
    AttackRequest { label: None, ..model.request.clone() }
}

/// What has to be asked of the worker now: the work on the folder, the selected picture, the attack on an image just opened.
pub fn follow(model: &mut Model) -> Vec<Effect> {
    let Some(opened) = model.opened.clone() else { return Vec::new() };
    let mut effects = Vec::new();
    // Rows of another model than the open one would mislead.
    let foreign = !opened.is_recorded() && model.triage.model.as_ref().is_some_and(|m| *m != opened.model);
    if let Some(folder) = model.triage.folder.clone().filter(|_| foreign) {
        effects.extend(super::restart(model, folder));
    }
    let ready = model.triage.control.is_none() && opened.no_gradient.is_none() && !opened.is_recorded();
    if let Some(folder) = model.triage.folder.clone().filter(|_| ready) {
        let (control, request) = (Control::default(), request(model));
        let state = &mut model.triage;
        state.number += 1;
        (state.control, state.request, state.model) = (Some(control.clone()), Some(request.clone()), Some(opened.model.clone()));
        let rival = state.rival.clone();
        effects.push(Effect::Remember(vec![Recent { kind: Kind::Folder, path: folder.clone() }]));
        effects.push(Effect::Engine(Command::Triage { folder, rival, request, control }));
    }
    if model.screen == Screen::Triage
        && let Some(path) = thumbs::wanted(model)
    {
        model.triage.thumbs.asked = Some(path.clone());
        effects.push(Effect::Engine(Command::Thumbnail(path)));
    }
    if model.triage.attacked.as_ref() == Some(&opened.image_path) && !opened.is_recorded() {
        model.triage.attacked = None;
        effects.extend(super::enter::attack(model));
    }
    effects
}

/// A key that is in no table: text of the filter.
pub fn key(model: &mut Model, key: Key) {
    if model.screen != Screen::Triage || !model.triage.typing {
        return;
    }
    match key.code {
        KeyCode::Char(c) if !key.mods.contains(crossterm::event::KeyModifiers::CONTROL) => model.triage.filter.push(c),
        KeyCode::Backspace => {
            model.triage.filter.pop();
        }
        _ => {}
    }
}

/// Writes rows as Parquet and CSV; says what was written.
pub fn export(stem: &Path, rows: &[Row], metadata: &Metadata) -> Result<String> {
    let (parquet, csv) = (stem.with_extension("parquet"), stem.with_extension("csv"));
    part::write_parquet(&parquet, rows, metadata)?;
    triage_text::write_csv(&csv, rows)?;
    Ok(format!("wrote {} and {}", parquet.display(), csv.display()))
}
