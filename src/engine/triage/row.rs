//! One image's row. The one list of columns below gives the struct, the Parquet schema, the JSON keys and the documentation.

use serde::{Deserialize, Serialize};

type Int = i64;
type Float = f32;
type Flag = bool;
type Text = String;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 64-bit integer.
    Int,
    /// 32-bit float.
    Float,
    /// Boolean.
    Flag,
    /// UTF-8 text.
    Text,
}

/// A column of the table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Name in every file.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// One sentence.
    pub help: &'static str,
}

/// A value of a row; `None` is null.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// 64-bit integer.
    Int(Option<i64>),
    /// 32-bit float.
    Float(Option<f32>),
    /// Boolean.
    Flag(Option<bool>),
    /// Text.
    Text(Option<String>),
}

macro_rules! columns {
    ($(#[doc = $help:literal] $name:ident: $kind:ident,)*) => {
        /// Everything known about one image. Null: not applicable, or it could not be computed (then `error` says why).
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Row {
            $(#[doc = $help] pub $name: Option<$kind>,)*
        }

        /// The columns, in file order.
        pub const COLUMNS: &[Column] = &[$(Column { name: stringify!($name), kind: Kind::$kind, help: $help.trim_ascii() }),*];

        impl Row {
            /// The values in column order.
            pub fn cells(&self) -> Vec<Cell> {
                vec![$(Cell::$kind(self.$name.clone())),*]
            }

            /// Sets the value of a column; an unknown name or another type changes nothing.
            pub fn set(&mut self, name: &str, cell: Cell) {
                match (name, cell) {
                    $((stringify!($name), Cell::$kind(value)) => self.$name = value,)*
                    _ => {}
                }
            }
        }
    };
}

columns! {
    /// Position in the whole listing, from 0: sort by it to read several parts together.
    index: Int,
    /// Path of the image as listed.
    path: Text,
    /// SHA-256 of the image file, hexadecimal.
    sha256: Text,
    /// True class: as given, else the clean prediction.
    true_index: Int,
    /// Its name.
    true_name: Text,
    /// Its probability on the clean image.
    true_prob: Float,
    /// Class predicted on the clean image.
    predicted_index: Int,
    /// Its name.
    predicted_name: Text,
    /// Its probability.
    predicted_prob: Float,
    /// Logit of the true class minus the best other one on the clean image; negative when the prediction is wrong.
    clean_margin: Float,
    /// Target class of a targeted attack.
    target_index: Int,
    /// Its name.
    target_name: Text,
    /// Class predicted on the adversarial image.
    adversarial_index: Int,
    /// Its name.
    adversarial_name: Text,
    /// Its probability.
    adversarial_prob: Float,
    /// Whether the attack reached its goal.
    success: Flag,
    /// Steps of the attack.
    steps: Int,
    /// First step that is not classified as the true class; 0 is the starting image.
    flipped_at: Int,
    /// Pixels changed.
    l0: Int,
    /// Sum of absolute changes, pixel space.
    l1: Float,
    /// Euclidean length of the change.
    l2: Float,
    /// Largest absolute change.
    linf: Float,
    /// How promotion and suppression were evaluated: linear is a first-order estimate, exact one forward run per cell.
    pse_mode: Text,
    /// Type of the whole perturbation: suppression, promotion, balanced or inert.
    pse_type: Text,
    /// Share of suppression-dominated cells.
    pse_suppression: Float,
    /// Share of promotion-dominated cells.
    pse_promotion: Float,
    /// Share of balanced cells, without the inert ones.
    pse_balanced: Float,
    /// Share of cells whose effects are both below the floor.
    pse_inert: Float,
    /// Interpretability score: share of the perturbation's length inside the true class's region on the clean image.
    is_score: Float,
    /// Area of that region, 0 to 1.
    is_area: Float,
    /// Score over the score of a perturbation spread evenly.
    is_lift: Float,
    /// First layer where clean and adversarial activations part.
    turning_point: Text,
    /// Units of that layer that changed most: JSON array of [unit, change].
    top_units: Text,
    /// Prediction of the second model on the clean image.
    compare_predicted_index: Int,
    /// Its name.
    compare_predicted_name: Text,
    /// Its probability.
    compare_predicted_prob: Float,
    /// Prediction of the second model on the adversarial image made for the first one.
    compare_transfer_index: Int,
    /// Its name.
    compare_transfer_name: Text,
    /// Whether that image fools the second model too: it reaches the target, or leaves the true class.
    compare_transfers: Flag,
    /// Whether the same attack on the second model reaches its goal.
    compare_success: Flag,
    /// First step of that attack that leaves the true class.
    compare_flipped_at: Int,
    /// Euclidean length of that attack's change.
    compare_l2: Float,
    /// File of its kept run, in the folder of kept runs; null when none was kept.
    run: Text,
    /// Wall seconds spent on this image.
    seconds: Float,
    /// Why something is missing, one sentence.
    error: Text,
}

impl Row {
    /// Path of the image, empty when unknown.
    pub fn path(&self) -> &str {
        self.path.as_deref().unwrap_or_default()
    }

    /// The row without its timing: what has to agree between runs.
    pub fn untimed(&self) -> Self {
        Self { seconds: None, ..self.clone() }
    }
}

impl Cell {
    /// The value as text; empty for null.
    pub fn text(&self) -> String {
        fn show(value: Option<&impl ToString>) -> String {
            value.map_or_else(String::new, ToString::to_string)
        }
        match self {
            Self::Int(v) => show(v.as_ref()),
            Self::Float(v) => show(v.as_ref()),
            Self::Flag(v) => show(v.as_ref()),
            Self::Text(v) => show(v.as_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_the_keys_of_the_json_row_in_order() {
        let value = serde_json::to_value(Row::default()).unwrap();
        let keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, COLUMNS.iter().map(|c| c.name).collect::<Vec<_>>());
        assert!(COLUMNS.iter().all(|c| c.help.ends_with('.')), "one sentence each");
    }

    #[test]
    fn every_cell_can_be_read_and_set() {
        let mut row = Row::default();
        for (i, column) in COLUMNS.iter().enumerate() {
            let cell = match column.kind {
                Kind::Int => Cell::Int(Some(i as i64)),
                Kind::Float => Cell::Float(Some(i as f32 + 0.5)),
                Kind::Flag => Cell::Flag(Some(true)),
                Kind::Text => Cell::Text(Some(format!("text {i}"))),
            };
            row.set(column.name, cell.clone());
            assert_eq!(row.cells()[i], cell, "{}", column.name);
        }
        let line = serde_json::to_string(&row).unwrap();
        assert_eq!(serde_json::from_str::<Row>(&line).unwrap(), row);
    }
}
