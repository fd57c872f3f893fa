//! Values of flags that have a form of their own.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;

use super::budget::LEAST_BYTES;
use crate::failure::Diagnose;
use crate::platform::{Platform, PlatformError};
use crate::reference::{Reference, ReferenceError};
use crate::registry::AddressOverride;

/// A label for the image's names: `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Not empty.
    pub key: String,
    /// May be empty, and may hold further `=`.
    pub value: String,
}

/// Longest label that containerd stores, key and value together, in bytes.
const MAX_LABEL_LENGTH: usize = 4096;

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            _ if text.len() > MAX_LABEL_LENGTH => {
                Err(format!("a label has at most {MAX_LABEL_LENGTH} bytes"))
            }
            Some((key, value)) if !key.is_empty() => {
                Ok(Self { key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err("a label is written KEY=VALUE".to_owned()),
        }
    }
}

/// What `-u` names. `Debug` shows no password.
#[derive(Debug, Clone)]
pub struct Login {
    /// User name.
    pub username: String,
    /// `None` when it has to be asked for.
    pub password: Option<SecretString>,
}

impl FromStr for Login {
    // A refusal would be shown together with the text, and so with the password.
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (username, password) = match text.split_once(':') {
            Some((username, password)) => (username, Some(SecretString::from(password))),
            None => (text, None),
        };
        Ok(Self { username: username.to_owned(), password })
    }
}

/// A number of bytes: `8MiB`, `512K`, `1GB`, `65536`.
///
/// `K`, `M`, `G` and `T` are binary with and without `iB`, decimal with `B` alone. Written by hand: the
/// crates for it take a bare `8M` for decimal, unlike curl and dd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteCount(pub u64);

impl ByteCount {
    const MIN_CHUNK: Self = Self(64 << 10);
    const MAX_CHUNK: Self = Self(1 << 30);

    /// A size within what is sensible for a range of a blob: 64 KiB to 1 GiB.
    ///
    /// # Errors
    /// When it is no size or outside of these bounds.
    pub fn chunk_size(text: &str) -> Result<Self, String> {
        let size = text.parse()?;
        if (Self::MIN_CHUNK..=Self::MAX_CHUNK).contains(&size) {
            Ok(size)
        } else {
            Err("a chunk has between 64KiB and 1GiB".to_owned())
        }
    }

    /// How much memory a run may take.
    ///
    /// # Errors
    /// When it is no size or less than a run needs.
    pub fn memory(text: &str) -> Result<Self, String> {
        let size: Self = text.parse()?;
        if size.0 >= LEAST_BYTES {
            Ok(size)
        } else {
            let least = LEAST_BYTES >> 20;
            Err(format!("{least}MiB is the least that a run gets by with: say --memory {least}MiB"))
        }
    }
}

impl FromStr for ByteCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => return Err("a size is written as 512KiB, 8MiB or 1GiB".to_owned()),
        };
        let number: u64 =
            number.parse().map_err(|_| "a size is a whole number and a unit: 8MiB".to_owned())?;
        number.checked_mul(factor).map(Self).ok_or_else(|| "the size is too large".to_owned())
    }
}

/// How many threads: a number, or `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ThreadCount {
    /// As many as the machine is good for.
    #[default]
    Auto,
    /// So many.
    Exactly(usize),
}

impl ThreadCount {
    /// Most that can be asked for. Each needs some memory.
    const MAX: usize = 64;
}

impl FromStr for ThreadCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            _ if text == "auto" => Ok(Self::Auto),
            Ok(count) if (1..=Self::MAX).contains(&count) => Ok(Self::Exactly(count)),
            _ => Err(format!("it is auto, or a number from 1 to {}", Self::MAX)),
        }
    }
}

impl fmt::Display for ThreadCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Exactly(count) => count.fmt(f),
        }
    }
}

/// A time span longer than none: `500ms`, `30s`, `1h30m`.
///
/// # Errors
/// When it has no unit, or is zero or negative.
pub fn duration(text: &str) -> Result<Duration, String> {
    // Of 24 hours each, whatever a clock does on some.
    let in_days = [("d", 1), ("w", 7)].into_iter().find_map(|(unit, days)| {
        let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
        Some(Duration::from_secs(u64::from(number) * days * 24 * 60 * 60))
    });
    let parsed = match in_days {
        Some(duration) => Some(duration),
        None => {
            let parsed: jiff::SignedDuration = text.parse().map_err(|_| {
                "a duration is written as 500ms, 30s, 15m, 1h30m, 7d or 2w".to_owned()
            })?;
            Duration::try_from(parsed).ok()
        }
    };
    parsed
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "the duration must be longer than none".to_owned())
}

/// A speed more than none, in bytes per second: `500KB/s`, `20M`.
///
/// # Errors
/// When it is no number of bytes, or zero.
pub fn speed(text: &str) -> Result<ByteCount, String> {
    let speed: ByteCount = text.strip_suffix("/s").unwrap_or(text).parse()?;
    match speed.0 {
        0 => Err("the speed must be more than none".to_owned()),
        _ => Ok(speed),
    }
}

/// A host's address as given by hand: `HOST:ADDRESS[:PORT]`, IPv6 in brackets.
///
/// # Errors
/// When it is not of this form.
pub fn address_override(text: &str) -> Result<AddressOverride, String> {
    const FORM: &str = "an address is written HOST:ADDRESS[:PORT], as harbor.example:10.0.0.5, \
                        an IPv6 address in brackets";
    let (host, rest) = text.split_once(':').ok_or(FORM)?;
    let (address, port) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or(FORM)?;
            let port = match port {
                "" => None,
                _ => Some(port.strip_prefix(':').ok_or(FORM)?),
            };
            (address, port)
        }
        None => rest.split_once(':').map_or((rest, None), |(address, port)| (address, Some(port))),
    };
    let address: IpAddr = address.parse().map_err(|_| FORM)?;
    let port = port.map(str::parse).transpose().map_err(|_| FORM)?;
    if host.is_empty() {
        return Err(FORM.to_owned());
    }
    Ok(AddressOverride { host: host.to_ascii_lowercase(), address, port })
}

/// A reference; what is refused is refused with a hint.
///
/// # Errors
/// When it is none.
pub fn reference(text: &str) -> Result<Reference, String> {
    text.parse().map_err(|error: ReferenceError| match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    })
}

/// A repository, `docker.io/library/busybox`, without tag and digest.
///
/// # Errors
/// When it is none.
pub fn repository(text: &str) -> Result<String, String> {
    let name = reference(text)?.name();
    let has_more =
        text.contains('@') || text.rsplit('/').next().is_some_and(|last| last.contains(':'));
    match has_more {
        true => Err(format!("a repository has neither tag nor digest: {name}")),
        false => Ok(name),
    }
}

/// A platform; what is refused is refused with a hint.
///
/// # Errors
/// When it is not of the form `os/architecture[/variant]`.
pub fn platform(text: &str) -> Result<Platform, String> {
    text.parse().map_err(|error: PlatformError| match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn sizes_are_binary_unless_written_decimal() {
        for (text, bytes) in [
            ("65536", 65_536),
            ("64k", 65_536),
            ("64KiB", 65_536),
            ("64 KiB", 65_536),
            ("8MiB", 8 << 20),
            ("8m", 8 << 20),
            ("8MB", 8_000_000),
            ("1GiB", 1 << 30),
            ("2TiB", 2 << 40),
            ("1TB", 1_000_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(ByteCount(bytes)), "{text}");
        }
        for text in
            ["", "MiB", "8TiBs", "-1", "1.5MiB", "99999999999999999999", "18446744073709551615k"]
        {
            assert!(text.parse::<ByteCount>().is_err(), "{text}");
        }
        assert!(ByteCount::chunk_size("63KiB").is_err());
        assert!(ByteCount::chunk_size("2GiB").is_err());
        assert_eq!(ByteCount::memory("64MiB"), Ok(ByteCount(LEAST_BYTES)));
        assert!(ByteCount::memory("64MB").is_err_and(|why| why.contains("--memory 64MiB")));
    }

    #[test]
    fn threads_are_a_number_or_auto() {
        for (text, count) in [
            ("auto", ThreadCount::Auto),
            ("1", ThreadCount::Exactly(1)),
            ("64", ThreadCount::Exactly(64)),
        ] {
            assert_eq!(text.parse(), Ok(count));
            assert_eq!(count.to_string(), text);
        }
        for text in ["", "0", "65", "-1", "many"] {
            assert!(text.parse::<ThreadCount>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("15m", 900_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("2w", 1_209_600_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "30", "0s", "0d", "-5s", "-1d", "1.5w", "d", "soon"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn speeds_are_bytes_a_second() {
        assert_eq!(speed("500KB/s"), Ok(ByteCount(500_000)));
        assert_eq!(speed("2M"), Ok(ByteCount(2 << 20)));
        for text in ["0", "0/s", "/s", "5 km/h"] {
            assert!(speed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_may_have_a_port_and_brackets() {
        for (text, host, address, port) in [
            ("Harbor.example:10.0.0.5", "harbor.example", "10.0.0.5", None),
            ("harbor.example:10.0.0.5:8443", "harbor.example", "10.0.0.5", Some(8443)),
            ("harbor.example:[fd00::1]", "harbor.example", "fd00::1", None),
            ("harbor.example:[fd00::1]:8443", "harbor.example", "fd00::1", Some(8443)),
        ] {
            let address = address.parse().unwrap();
            let expected = AddressOverride { host: host.to_owned(), address, port };
            assert_eq!(address_override(text), Ok(expected), "{text}");
        }
        for text in [
            "harbor.example",
            "harbor.example:443:10.0.0.5",
            "harbor.example:fd00::1",
            "harbor.example:10.0.0.5:https",
            "harbor.example:[fd00::1]8443x",
            ":10.0.0.5",
        ] {
            assert!(address_override(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_login_may_have_colons_in_its_password_and_shows_none_of_it() {
        let login: Login = "robot$ci:a:b".parse().unwrap();
        assert_eq!(login.username, "robot$ci");
        assert_eq!(login.password.as_ref().map(|password| password.expose_secret()), Some("a:b"));
        assert!(!format!("{login:?}").contains("a:b"));
        assert!("me".parse::<Login>().unwrap().password.is_none());
    }

    #[test]
    fn a_repository_has_neither_tag_nor_digest() {
        assert_eq!(repository("busybox"), Ok("docker.io/library/busybox".to_owned()));
        assert_eq!(repository("host:5000/a/b"), Ok("host:5000/a/b".to_owned()));
        let digest = format!("a/b@sha256:{}", "0".repeat(64));
        for text in ["", "a/b:1", "localhost:5000", &digest, "A/b c"] {
            assert!(repository(text).is_err(), "{text}");
        }
    }

    #[test]
    fn labels_have_a_form() {
        let label: Label = "owner=team=a".parse().unwrap();
        assert_eq!((label.key.as_str(), label.value.as_str()), ("owner", "team=a"));
        assert!("owner".parse::<Label>().is_err());
        assert!("=a".parse::<Label>().is_err());
    }
}
