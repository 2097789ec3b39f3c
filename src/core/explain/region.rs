//! Regions named in one word: `METHOD[@LAYER]:CLASS:THRESHOLD`, for instance `cam:t0:0.7` or `gradcam:t:max:0.5`.
//!
//! CLASS is t0 (the true class), t (the target), an index or a name. THRESHOLD is a quantile level (0.7 keeps the hottest 30 %), or
//! after `max:` a fraction of the map's largest value. The map is taken on the clean image.

use std::fmt;

use super::{cam::Method, interpretability::Threshold};
use crate::core::error::{Error, Result};

/// A class by its part in the attack, or by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassRef {
    /// The true class, t0.
    Truth,
    /// The target, t.
    Target,
    /// An index or a name.
    Named(String),
}

/// A region of a map.
#[derive(Debug, Clone, PartialEq)]
pub struct RegionSpec {
    /// How the map is computed.
    pub method: Method,
    /// At which layer; `None` is the usual one.
    pub layer: Option<String>,
    /// For which class.
    pub class: ClassRef,
    /// What belongs to the region.
    pub threshold: Threshold,
}

impl RegionSpec {
    /// Reads one word.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || {
            Error::Parameter(format!(
                "'{text}' names no region; write METHOD:CLASS:LEVEL, for instance cam:t0:0.7 or gradcam:t:max:0.5, or a .npy mask"
            ))
        };
        let (rest, number) = text.rsplit_once(':').ok_or_else(bad)?;
        let level: f32 = number.trim().parse().ok().filter(|v: &f32| (0.0..1.0).contains(v)).ok_or_else(bad)?;
        let (rest, threshold) = match rest.strip_suffix(":max") {
            Some(rest) => (rest, Threshold::OfMaximum(level)),
            None => (rest, Threshold::Percentile(level * 100.0)),
        };
        let (map, class) = rest.rsplit_once(':').ok_or_else(bad)?;
        let (method, layer) = map.split_once('@').map_or((map, None), |(m, l)| (m, Some(l.to_owned())));
        let class = match class.trim() {
            "" => return Err(bad()),
            "t0" => ClassRef::Truth,
            "t" => ClassRef::Target,
            name => ClassRef::Named(name.to_owned()),
        };
        Ok(Self { method: Method::from_name(method)?, layer, class, threshold })
    }
}

impl fmt::Display for RegionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.method.info().name)?;
        if let Some(layer) = &self.layer {
            write!(f, "@{layer}")?;
        }
        match &self.class {
            ClassRef::Truth => write!(f, ":t0")?,
            ClassRef::Target => write!(f, ":t")?,
            ClassRef::Named(name) => write!(f, ":{name}")?,
        }
        match self.threshold {
            Threshold::Percentile(p) => write!(f, ":{}", p / 100.0),
            Threshold::OfMaximum(v) => write!(f, ":max:{v}"),
            Threshold::Value(v) => write!(f, ":value:{v}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_written_again() {
        for text in ["cam:t0:0.7", "gradcam:t:max:0.5", "layercam@/features/conv:0:285:0.25", "gradcam++:tabby, tabby cat:0.9"] {
            assert_eq!(RegionSpec::parse(text).unwrap().to_string(), text);
        }
        let spec = RegionSpec::parse("layercam@/a:0:285:0.25").unwrap();
        assert_eq!((spec.layer.as_deref(), spec.class), (Some("/a:0"), ClassRef::Named("285".into())));
        assert_eq!(spec.threshold, Threshold::Percentile(25.0));
        for bad in ["cam", "cam:t0", "cam:t0:1.5", "cam:t0:x", "cam::0.5", "max:0.5", "cam:t0:-0.1"] {
            let why = RegionSpec::parse(bad).unwrap_err().to_string();
            assert!(why.contains("cam:t0:0.7"), "{bad}: {why}");
        }
        assert!(RegionSpec::parse("nothing:t0:0.5").unwrap_err().to_string().contains("gradcam"));
    }
}
