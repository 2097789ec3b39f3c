//! Columns of the folder's table: for one model, and for two that are compared.

use crate::{
    engine::triage::Row,
    tui::{text, theme::Role, widget::table::Column},
};

/// A column, what stands in it, and in which role.
pub struct Field {
    /// Heading, width, rank.
    pub column: Column,
    /// Text of a row.
    pub cell: fn(&Row) -> String,
    /// Its role.
    pub role: fn(&Row) -> Role,
}

const fn words(title: &'static str, width: u16, rank: u8, cell: fn(&Row) -> String) -> Field {
    Field { column: Column { title, width, right: false, rank }, cell, role: |_| Role::Text }
}

const fn number(title: &'static str, width: u16, rank: u8, cell: fn(&Row) -> String) -> Field {
    Field { column: Column { title, width, right: true, rank }, cell, role: |_| Role::Text }
}

const fn outcome(title: &'static str, rank: u8, cell: fn(&Row) -> String, role: fn(&Row) -> Role) -> Field {
    Field { column: Column { title, width: 7, right: false, rank }, cell, role }
}

/// With one model.
pub const ALONE: &[Field] = &[
    words("clean", 16, 1, |r| name(r.predicted_name.as_deref())),
    number("prob", 5, 2, |r| r.predicted_prob.map_or_else(String::new, text::prob)),
    outcome("goal", 0, |r| goal(r.success, r), |r| goal_role(r.success, r)),
    number("flip", 4, 0, |r| r.flipped_at.map_or_else(String::new, |v| v.to_string())),
    number("steps", 5, 7, |r| r.steps.map_or_else(String::new, |v| v.to_string())),
    words("adversarial", 16, 3, |r| name(r.adversarial_name.as_deref())),
    number("prob", 5, 8, |r| r.adversarial_prob.map_or_else(String::new, text::prob)),
    number("L2", 5, 4, |r| r.l2.map_or_else(String::new, text::number)),
    number("Linf", 8, 9, |r| r.linf.map_or_else(String::new, text::per_255)),
    number("S/B/P %", 8, 6, shares),
    number("IS", 5, 10, |r| r.is_score.map_or_else(String::new, |v| format!("{v:.2}"))),
    number("lift", 4, 5, |r| r.is_lift.map_or_else(String::new, |v| format!("{v:.2}"))),
    words("turning point", 22, 11, |r| r.turning_point.clone().unwrap_or_default()),
];

/// With two models: 1 is the open one.
pub const COMPARED: &[Field] = &[
    words("clean 1", 13, 1, |r| name(r.predicted_name.as_deref())),
    words("clean 2", 13, 2, |r| name(r.compare_predicted_name.as_deref())),
    Field {
        column: Column { title: "differs", width: 7, right: false, rank: 0 },
        cell: |r| r.difference().map_or("", |d| d.word()).to_owned(),
        role: |_| Role::Accent,
    },
    outcome("goal 1", 3, |r| goal(r.success, r), |r| goal_role(r.success, r)),
    outcome("goal 2", 4, |r| goal(r.compare_success, r), |r| goal_role(r.compare_success, r)),
    number("flips", 7, 5, flips),
    words("transfers", 9, 6, transfers),
    number("L2 1", 5, 8, |r| r.l2.map_or_else(String::new, text::number)),
    number("L2 2", 5, 9, |r| r.compare_l2.map_or_else(String::new, text::number)),
    number("L2 diff", 7, 7, |r| r.l2_difference().map_or_else(String::new, |v| format!("{v:+.2}"))),
    words("adversarial 1", 16, 10, |r| name(r.adversarial_name.as_deref())),
    words("taken by 2 for", 16, 11, |r| name(r.compare_transfer_name.as_deref())),
];

/// A class name up to its first comma.
pub fn name(label: Option<&str>) -> String {
    text::short_label(label.unwrap_or_default()).to_owned()
}

fn goal(success: Option<bool>, row: &Row) -> String {
    match (success, &row.error) {
        (Some(true), _) => "reached",
        (Some(false), _) => "held",
        (None, Some(_)) => "error",
        (None, None) => "",
    }
    .to_owned()
}

fn goal_role(success: Option<bool>, row: &Row) -> Role {
    match (success, &row.error) {
        (Some(true), _) => Role::Warn,
        (Some(false), _) => Role::Good,
        (None, Some(_)) => Role::Error,
        (None, None) => Role::Text,
    }
}

/// First steps that left the true class: first model, second model.
fn flips(row: &Row) -> String {
    let step = |flipped: Option<i64>| flipped.map_or_else(|| "-".to_owned(), |v| v.to_string());
    if row.compare_success.is_none() { step(row.flipped_at) } else { format!("{}/{}", step(row.flipped_at), step(row.compare_flipped_at)) }
}

/// Shares of suppression-dominated, balanced and promotion-dominated cells in percent.
pub fn shares(row: &Row) -> String {
    let percent = |v: Option<f32>| (v.unwrap_or(0.0) * 100.0).round();
    row.pse_type.as_ref().map_or_else(String::new, |_| {
        format!("{}/{}/{}", percent(row.pse_suppression), percent(row.pse_balanced), percent(row.pse_promotion))
    })
}

/// Whether the image made for the first model fools the second; `size` where the second takes images of another size.
fn transfers(row: &Row) -> String {
    let none = if row.compare_success.is_some() { "size" } else { "" };
    row.compare_transfers.map_or(none, |yes| if yes { "yes" } else { "no" }).to_owned()
}
