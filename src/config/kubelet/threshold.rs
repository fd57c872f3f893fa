//! When the kubelet evicts pods to free a disk: `evictionHard`.
//!
//! See <https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/>.

use crate::config::error::{Error, Location};

use super::flags::Flags;
use super::settings::Settings;

const SETTING: &str = "evictionHard";
const FLAG: &str = "eviction-hard";

/// By which the thresholds that are not written keep their defaults beside those that are.
const MERGES_DEFAULTS: &str = "mergeDefaultEvictionSettings";

const EXPECTED: &str = "a quantity such as \"10Gi\" or a percentage such as \"15%\"";

/// The kubelet's own, where nothing is said.
const DEFAULT_IMAGE_FS: Threshold = Threshold::Percent(15.0);
const DEFAULT_NODE_FS: Threshold = Threshold::Percent(10.0);
const DEFAULT_INODES: Threshold = Threshold::Percent(5.0);

/// How little may be free.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    /// In bytes.
    Bytes(u64),
    /// Of a file system's size, in hundredths of it.
    Percent(f64),
}

impl Limits {
    /// Those of images where no kubelet says anything.
    pub const USUAL: Self =
        Self { available: Some(DEFAULT_IMAGE_FS), inodes: Some(DEFAULT_INODES) };
}

impl Threshold {
    /// In bytes or inodes, for a file system of `capacity` of them.
    pub fn of(self, capacity: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a rough measure of a disk"
            )]
            Self::Percent(percent) => (capacity as f64 * percent / 100.0) as u64,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.parse().ok()?;
            return (0.0..=100.0).contains(&percent).then_some(Self::Percent(percent));
        }
        quantity(text).map(Self::Bytes)
    }
}

/// How little of one file system may be free before pods are evicted; `None` for what the kubelet does
/// not look at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Its bytes.
    pub available: Option<Threshold>,
    /// Its inodes, counted as bytes are.
    pub inodes: Option<Threshold>,
}

/// Those of the file systems of images and of pods.
#[derive(Debug, Clone, Copy)]
pub(super) struct Eviction {
    pub(super) image_fs: Limits,
    pub(super) node_fs: Limits,
}

/// What the flag says, else the files, else the kubelet itself.
///
/// # Errors
/// [`Error::Invalid`] for a threshold that is none.
pub(super) fn hard(flags: &Flags, settings: &Settings) -> Result<Eviction, Error> {
    if let Some(written) = flags.get(FLAG) {
        let of = |signal: &str| {
            let value = written.split(',').find_map(|part| {
                let (name, value) = part.split_once('<')?;
                (name.trim() == signal).then_some(value.trim())
            });
            value.map(|value| {
                Threshold::parse(value).ok_or_else(|| Error::Invalid {
                    location: Box::new(Location::unquoted(flags.place(FLAG).as_ref(), 1, 1)),
                    problem: format!("--{FLAG} has {value:?} for {signal}"),
                    expected: EXPECTED.to_owned(),
                })
            })
        };
        let limits = |available, inodes| {
            let (available, inodes) = (of(available).transpose()?, of(inodes).transpose()?);
            Ok(Limits { available, inodes })
        };
        return Ok(Eviction {
            image_fs: limits("imagefs.available", "imagefs.inodesFree")?,
            node_fs: limits("nodefs.available", "nodefs.inodesFree")?,
        });
    }
    let merges = settings.get(MERGES_DEFAULTS).is_some_and(|(_, value)| value == true);
    // Who writes one threshold has written them all, unless he says otherwise.
    let keeps_defaults = settings.get(SETTING).is_none() || merges;
    let of = |signal: &str, default: Threshold| match settings.get_in(SETTING, signal) {
        None => Ok(Some(default).filter(|_| keeps_defaults)),
        Some((file, value)) => {
            let text = crate::config::yaml::text_of(value).unwrap_or_default();
            let problem = || format!("`{SETTING}` has {text:?} for {signal}");
            let threshold = Threshold::parse(&text);
            threshold.map(Some).ok_or_else(|| file.invalid(signal, problem(), EXPECTED))
        }
    };
    Ok(Eviction {
        image_fs: Limits {
            available: of("imagefs.available", DEFAULT_IMAGE_FS)?,
            inodes: of("imagefs.inodesFree", DEFAULT_INODES)?,
        },
        node_fs: Limits {
            available: of("nodefs.available", DEFAULT_NODE_FS)?,
            inodes: of("nodefs.inodesFree", DEFAULT_INODES)?,
        },
    })
}

/// A quantity of Kubernetes in whole bytes, rounded up: `10Gi`, `1.5G`, `1e9`. See
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>.
fn quantity(text: &str) -> Option<u64> {
    const UNITS: [(&str, f64); 14] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("", 1.0),
    ];
    let (unit, factor) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number = text.strip_suffix(unit)?;
    let is_number = number.chars().all(|c| c.is_ascii_digit() || "+.eE".contains(c));
    let bytes = number.parse::<f64>().ok().filter(|_| is_number)? * factor;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to fit")]
    (0.0..9e18).contains(&bytes).then(|| bytes.ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_quantities_and_percentages() {
        for (text, expected) in [
            ("15%", Some(Threshold::Percent(15.0))),
            ("7.5%", Some(Threshold::Percent(7.5))),
            ("0%", Some(Threshold::Percent(0.0))),
            ("101%", None),
            ("-1%", None),
            ("%", None),
            ("100Mi", Some(Threshold::Bytes(100 << 20))),
            ("1.5Gi", Some(Threshold::Bytes(3 << 29))),
            ("10G", Some(Threshold::Bytes(10_000_000_000))),
            ("1e9", Some(Threshold::Bytes(1_000_000_000))),
            ("1500m", Some(Threshold::Bytes(2))),
            ("512", Some(Threshold::Bytes(512))),
            ("-5", None),
            ("inf", None),
            ("10 Gi", None),
            ("10Gib", None),
            ("1e99", None),
            ("", None),
        ] {
            assert_eq!(Threshold::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_percentage_is_of_the_file_systems_size() {
        assert_eq!(Threshold::Percent(15.0).of(1000), 150);
        assert_eq!(Threshold::Bytes(7).of(1000), 7);
    }
}
