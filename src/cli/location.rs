//! Where an image is or goes, as users of skopeo write it.

use std::path::PathBuf;
use std::str::FromStr;

use crate::failure::Diagnose as _;
use crate::reference::Reference;

/// A place of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// `docker://REF`, or a bare reference: a registry.
    Registry(Reference),
    /// `containerd:REF`, in the namespace of `-n`, or `containerd://NAMESPACE/REF`.
    Containerd {
        /// `None` is that of `-n`.
        namespace: Option<String>,
        /// As it was typed.
        name: String,
        /// The same, written out.
        reference: Reference,
    },
    /// `oci:DIR[:TAG]`: an OCI image layout.
    Layout {
        /// The directory.
        directory: PathBuf,
        /// What the image is called there.
        tag: Option<String>,
    },
}

/// What can be written.
const FORMS: &str = "a place is written REF, docker://REF, containerd:REF, \
                     containerd://NAMESPACE/REF or oci:DIR[:TAG]";

impl Location {
    /// The reference, where it is in a registry.
    pub fn in_registry(&self) -> Option<&Reference> {
        match self {
            Self::Registry(reference) => Some(reference),
            Self::Containerd { .. } | Self::Layout { .. } => None,
        }
    }
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let reference = |text: &str| {
            text.parse::<Reference>().map_err(|error| match error.hint() {
                Some(hint) => format!("{error}; {hint}"),
                None => error.to_string(),
            })
        };
        let containerd = |namespace: Option<&str>, name: &str| {
            Ok(Self::Containerd {
                namespace: namespace.map(str::to_owned),
                name: name.to_owned(),
                reference: reference(name)?,
            })
        };
        if let Some(name) = text.strip_prefix("docker://") {
            return reference(name).map(Self::Registry);
        }
        if let Some(rest) = text.strip_prefix("containerd://") {
            return match rest.split_once('/') {
                Some((namespace, name)) if !namespace.is_empty() => {
                    containerd(Some(namespace), name)
                }
                _ => Err(FORMS.to_owned()),
            };
        }
        if let Some(name) = text.strip_prefix("containerd:") {
            return containerd(None, name);
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            // As with skopeo, a directory's name holds no colon.
            let (directory, tag) = match rest.split_once(':') {
                Some((directory, tag)) => (directory, Some(tag)),
                None => (rest, None),
            };
            if directory.is_empty() || tag.is_some_and(str::is_empty) {
                return Err(FORMS.to_owned());
            }
            let (directory, tag) = (PathBuf::from(directory), tag.map(str::to_owned));
            return Ok(Self::Layout { directory, tag });
        }
        // What other tools know and this one does not must not be taken for a host.
        let scheme = text.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
        let is_other =
            ["oci-archive", "docker-archive", "docker-daemon", "containers-storage", "dir"]
                .contains(&scheme);
        if is_other || text.contains("://") {
            return Err(FORMS.to_owned());
        }
        reference(text).map(Self::Registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_for_skopeo() {
        let reference = |text: &str| text.parse::<Reference>().unwrap();
        let containerd = |namespace: Option<&str>, name: &str| Location::Containerd {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
            reference: reference(name),
        };
        let layout = |directory: &str, tag: Option<&str>| Location::Layout {
            directory: PathBuf::from(directory),
            tag: tag.map(str::to_owned),
        };
        for (text, expected) in [
            ("busybox", Location::Registry(reference("docker.io/library/busybox:latest"))),
            ("docker://quay.io/a/b:c", Location::Registry(reference("quay.io/a/b:c"))),
            ("localhost:5000/a:b", Location::Registry(reference("localhost:5000/a:b"))),
            ("containerd:busybox:1", containerd(None, "busybox:1")),
            ("containerd://moby/team/app:v1", containerd(Some("moby"), "team/app:v1")),
            ("oci:./a", layout("./a", None)),
            ("oci:/a/b:v1", layout("/a/b", Some("v1"))),
            ("oci:a:quay.io/b:c", layout("a", Some("quay.io/b:c"))),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "docker://",
            "docker://Bad/Name:x y",
            "containerd:",
            "containerd://",
            "containerd://a",
            "containerd:///a",
            "oci:",
            "oci::v1",
            "oci:a:",
            "oci-archive:a.tar",
            "dir:a",
            "docker-daemon:a:b",
            "https://quay.io/a",
        ] {
            assert!(text.parse::<Location>().is_err(), "{text}");
        }
    }
}
