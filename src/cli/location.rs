//! Where an image is or goes, as users of skopeo write it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::archive::Form;
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
    /// `oci-archive:FILE[:TAG]` or `docker-archive:FILE[:REF]`: one file.
    Archive {
        /// The file.
        file: PathBuf,
        /// How it is written; what is read tells by itself.
        form: Form,
        /// What the image is called there.
        name: Option<String>,
    },
}

/// What can be written.
const FORMS: &str = "a place is written REF, docker://REF, containerd:REF, \
                     containerd://NAMESPACE/REF, oci:DIR[:TAG], oci-archive:FILE[:REF] or \
                     docker-archive:FILE[:REF]";

impl Location {
    /// How one of the place's images is written.
    pub fn one_of(&self) -> String {
        match self {
            Self::Layout { directory, .. } => format!("oci:{}:TAG", directory.display()),
            Self::Archive { file, form, .. } => {
                let place = Self::Archive { file: file.clone(), form: *form, name: None };
                format!("{place}:REF")
            }
            whole => whole.to_string(),
        }
    }

    /// Whether it can be that of one image only.
    pub fn is_of_one(&self) -> bool {
        match self {
            Self::Registry(_) | Self::Containerd { .. } => true,
            Self::Layout { tag: name, .. } | Self::Archive { name, .. } => name.is_some(),
        }
    }

    /// The reference, where it is in a registry.
    pub fn in_registry(&self) -> Option<&Reference> {
        match self {
            Self::Registry(reference) => Some(reference),
            Self::Containerd { .. } | Self::Layout { .. } | Self::Archive { .. } => None,
        }
    }
}

impl fmt::Display for Location {
    /// As it can be typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |name: &Option<String>| match name {
            Some(name) => format!(":{name}"),
            None => String::new(),
        };
        match self {
            Self::Registry(reference) => reference.fmt(f),
            Self::Containerd { namespace: Some(namespace), name, .. } => {
                write!(f, "containerd://{namespace}/{name}")
            }
            Self::Containerd { namespace: None, name, .. } => write!(f, "containerd:{name}"),
            Self::Layout { directory, tag } => {
                write!(f, "oci:{}{}", directory.display(), named(tag))
            }
            Self::Archive { file, form, name } => {
                let form = match form {
                    Form::Oci => "oci-archive",
                    Form::Docker => "docker-archive",
                };
                write!(f, "{form}:{}{}", file.display(), named(name))
            }
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
            let (directory, tag) = named(rest)?;
            return Ok(Self::Layout { directory, tag });
        }
        for (prefix, form) in [("oci-archive:", Form::Oci), ("docker-archive:", Form::Docker)] {
            if let Some(rest) = text.strip_prefix(prefix) {
                let (file, name) = named(rest)?;
                return Ok(Self::Archive { file, form, name });
            }
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

/// A path, and what the image is called there. As with skopeo, the path holds no colon.
fn named(text: &str) -> Result<(PathBuf, Option<String>), String> {
    let (path, name) = match text.split_once(':') {
        Some((path, name)) => (path, Some(name)),
        None => (text, None),
    };
    match path.is_empty() || name.is_some_and(str::is_empty) {
        true => Err(FORMS.to_owned()),
        false => Ok((PathBuf::from(path), name.map(str::to_owned))),
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
        let archive = |form, name: Option<&str>| Location::Archive {
            file: PathBuf::from("a.tar"),
            form,
            name: name.map(str::to_owned),
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
            ("oci-archive:a.tar", archive(Form::Oci, None)),
            ("docker-archive:a.tar:quay.io/b:c", archive(Form::Docker, Some("quay.io/b:c"))),
        ] {
            assert_eq!(text.parse(), Ok(expected.clone()), "{text}");
            assert_eq!(expected.to_string().parse(), Ok(expected), "{text}");
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
            "oci-archive:",
            "dir:a",
            "docker-daemon:a:b",
            "https://quay.io/a",
        ] {
            assert!(text.parse::<Location>().is_err(), "{text}");
        }
    }
}
