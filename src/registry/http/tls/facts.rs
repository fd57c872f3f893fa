//! What a certificate says of itself, for people: whose it is, who signed it, from when until when, and
//! for which names.

use std::net::IpAddr;
use std::path::Path;

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use serde::{Serialize, Serializer};

use super::certificate::{Certificate, OBJECT_IDENTIFIER, Reader, SEQUENCE};
use super::files::certificates;
use crate::registry::error::SetupError;

const SET: u8 = 0x31;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[2]` and `[7]` of a general name.
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// The parts of a name that are shown.
const ATTRIBUTES: [(&[u8], &str); 4] =
    [(&[0x55, 4, 3], "CN"), (&[0x55, 4, 10], "O"), (&[0x55, 4, 11], "OU"), (&[0x55, 4, 6], "C")];

/// Longest name shown, in characters, and most names shown: a host may put anything into its own.
const MAX_NAME: usize = 200;
const MAX_NAMES: usize = 50;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateFacts {
    /// `CN=registry.example, O=Example`.
    pub subject: String,
    /// The same of who signed it.
    pub issuer: String,
    /// When its time begins.
    #[serde(serialize_with = "as_text")]
    pub not_before: Option<Timestamp>,
    /// When it ends.
    #[serde(serialize_with = "as_text")]
    pub not_after: Option<Timestamp>,
    /// The hosts that it is for.
    pub names: Vec<String>,
}

impl CertificateFacts {
    /// `None` when `der` is no certificate.
    pub(crate) fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let read = Certificate::read(der)?;
        let mut validity = Reader(read.validity);
        Some(Self {
            subject: name(read.subject),
            issuer: name(read.issuer),
            not_before: time(&mut validity),
            not_after: time(&mut validity),
            names: read.alternative_names().map(names).unwrap_or_default(),
        })
    }

    /// Whether it is signed by its own key, as an authority's is.
    pub fn is_root(&self) -> bool {
        self.subject == self.issuer
    }
}

/// The certificates of a PEM file.
///
/// # Errors
/// [`SetupError`] when it can't be read or holds none.
pub fn certificate_file(path: &Path) -> Result<Vec<CertificateFacts>, SetupError> {
    Ok(certificates(path)?.iter().filter_map(CertificateFacts::read).collect())
}

fn as_text<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.to_string()).serialize(serializer)
}

fn name(encoded: &[u8]) -> String {
    let mut sets = Reader(encoded);
    let parts = std::iter::from_fn(|| sets.take(SET)).filter_map(attribute);
    let text = parts.collect::<Vec<_>>().join(", ");
    text.chars().take(MAX_NAME).collect()
}

fn attribute(set: &[u8]) -> Option<String> {
    let mut pair = Reader(Reader(set).take(SEQUENCE)?);
    let kind = pair.take(OBJECT_IDENTIFIER)?;
    let (_, _, value) = pair.any()?;
    let (_, label) = ATTRIBUTES.iter().find(|(known, _)| *known == kind)?;
    Some(format!("{label}={}", String::from_utf8_lossy(value)))
}

fn names(encoded: &[u8]) -> Vec<String> {
    let mut entries = Reader(encoded);
    let shown = |(tag, _, value): (u8, &[u8], &[u8])| match tag {
        DNS_NAME => Some(String::from_utf8_lossy(value).chars().take(MAX_NAME).collect()),
        IP_ADDRESS => match value.len() {
            4 => <[u8; 4]>::try_from(value).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(value).ok().map(|bytes| IpAddr::from(bytes).to_string()),
        },
        _ => None,
    };
    std::iter::from_fn(|| entries.any()).filter_map(shown).take(MAX_NAMES).collect()
}

/// The next of the two times. See RFC 5280 §4.1.2.5: years of two digits are those from 1950 to 2049.
fn time(validity: &mut Reader<'_>) -> Option<Timestamp> {
    let (tag, _, value) = validity.any()?;
    let text = std::str::from_utf8(value).ok()?.strip_suffix('Z')?;
    let text = match tag {
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let part = |from: usize, to: usize| text.get(from..to);
    let (date, clock) = (
        format!("{}-{}-{}", part(0, 4)?, part(4, 6)?, part(6, 8)?),
        format!("{}:{}:{}", part(8, 10)?, part(10, 12)?, part(12, 14)?),
    );
    format!("{date}T{clock}Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificate_is_told_by_its_names_and_dates() {
        let names = ["a.example", "10.0.0.1", "fd00::1"].map(str::to_owned);
        let mut params = CertificateParams::new(names.to_vec()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "registry");
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        for (begin, end, shown) in [
            (2020, 2049, ["2020-02-03T00:00:00Z", "2049-02-03T00:00:00Z"]),
            (1999, 2060, ["1999-02-03T00:00:00Z", "2060-02-03T00:00:00Z"]),
        ] {
            params.not_before = date_time_ymd(begin, 2, 3);
            params.not_after = date_time_ymd(end, 2, 3);
            let made = params.clone().self_signed(&KeyPair::generate().unwrap()).unwrap();
            let facts = CertificateFacts::read(made.der()).unwrap();
            assert!(facts.subject.contains("CN=registry") && facts.subject.contains("O=Example"));
            assert!(facts.is_root());
            assert_eq!(facts.names, names);
            let times = [facts.not_before, facts.not_after].map(|time| time.unwrap().to_string());
            assert_eq!(times, shown);
            for at in 0..made.der().len() {
                let mut altered = made.der().to_vec();
                altered[at] ^= 0xff;
                // Whatever it says then, reading it ends.
                let _ = CertificateFacts::read(&altered.into());
            }
        }
    }
}
