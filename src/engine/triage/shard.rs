//! Which part of a listing a process works on: said with a flag, or by a Slurm array.

use std::{fmt, str::FromStr};

use crate::core::error::{Error, Result};

/// Part `number` of `count`: images whose position leaves the remainder `number` when divided by `count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shard {
    /// From 0.
    pub number: usize,
    /// At least 1.
    pub count: usize,
}

/// More parts than this is a mistake.
const LIMIT: usize = 1_000_000;

impl Default for Shard {
    fn default() -> Self {
        Self { number: 0, count: 1 }
    }
}

impl FromStr for Shard {
    type Err = String;

    /// `I/N`. Counting from 0 or from 1 both cover everything: N/N is the same part as 0/N.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("'{text}' is no shard; write I/N, for instance 0/4 to 3/4 (or 1/4 to 4/4)");
        let (number, count) = text.split_once('/').ok_or_else(bad)?;
        let (number, count) = (number.trim().parse::<usize>().map_err(|_| bad())?, count.trim().parse::<usize>().map_err(|_| bad())?);
        if count == 0 || count > LIMIT || number > count {
            return Err(bad());
        }
        Ok(Self { number: number % count, count })
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.count)
    }
}

impl Shard {
    /// Whether the image at this position of the listing is in this part.
    pub fn has(&self, index: usize) -> bool {
        index % self.count == self.number
    }

    /// Stem of this part's file names.
    pub fn stem(&self) -> String {
        format!("part-{:04}-of-{:04}", self.number, self.count)
    }

    /// The part that a Slurm array gives this task, from its variables; `None` outside of an array.
    pub fn from_slurm(env: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let Some(id) = env("SLURM_ARRAY_TASK_ID") else { return Ok(None) };
        let number = |name: &str| env(name).map(|v| (v.trim().parse::<usize>().ok(), v));
        let bad = |name: &str, value: &str| Error::Parameter(format!("{name} is '{value}', which is no number; give --shard I/N instead"));
        let read = |name: &str| match number(name) {
            Some((Some(value), _)) => Ok(Some(value)),
            Some((None, text)) => Err(bad(name, &text)),
            None => Ok(None),
        };
        let id: usize = id.trim().parse().map_err(|_| bad("SLURM_ARRAY_TASK_ID", &id))?;
        let (least, count, most) =
            (read("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0), read("SLURM_ARRAY_TASK_COUNT")?, read("SLURM_ARRAY_TASK_MAX")?);
        let step = read("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
        let count = count.or(most.map(|m| m.saturating_sub(least) / step + 1));
        let at = id.checked_sub(least).filter(|d| d % step == 0).map(|d| d / step);
        match (at, count) {
            (Some(number), Some(count)) if number < count && count <= LIMIT => Ok(Some(Self { number, count })),
            _ => Err(Error::Parameter(
                "the Slurm array is not a range such as --array=0-7, so it does not say which part this task is; give --shard I/N".into(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_everything_once_however_they_are_counted() {
        for (first, last) in [(0, 3), (1, 4)] {
            let shards: Vec<Shard> = (first..=last).map(|i| format!("{i}/4").parse().unwrap()).collect();
            for index in 0..23 {
                assert_eq!(shards.iter().filter(|s| s.has(index)).count(), 1);
            }
        }
        for bad in ["", "1", "5/4", "1/0", "-1/4", "a/b", "1/4/2"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }

    fn slurm(set: &[(&str, &str)]) -> Result<Option<Shard>> {
        Shard::from_slurm(|name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn slurm_arrays() {
        assert_eq!(slurm(&[]).unwrap(), None);
        let array = |id, min, max, count, step| {
            slurm(&[
                ("SLURM_ARRAY_TASK_ID", id),
                ("SLURM_ARRAY_TASK_MIN", min),
                ("SLURM_ARRAY_TASK_MAX", max),
                ("SLURM_ARRAY_TASK_COUNT", count),
                ("SLURM_ARRAY_TASK_STEP", step),
            ])
        };
        assert_eq!(array("3", "1", "4", "4", "1").unwrap(), Some(Shard { number: 2, count: 4 }));
        assert_eq!(array("6", "0", "9", "4", "3").unwrap(), Some(Shard { number: 2, count: 4 }));
        assert!(array("7", "1", "7", "3", "1").is_err(), "--array=1,3,7 names no part");
        assert!(array("x", "0", "3", "4", "1").is_err());
        let short = slurm(&[("SLURM_ARRAY_TASK_ID", "5"), ("SLURM_ARRAY_TASK_MAX", "7")]).unwrap();
        assert_eq!(short, Some(Shard { number: 5, count: 8 }));
    }
}
