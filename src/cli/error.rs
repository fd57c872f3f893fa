//! Why a command could not be carried out: what goes wrong on the command line itself, and the
//! errors of all the rooms below, which stand for themselves.

use std::cmp::Reverse;
use std::io;
use std::path::{Path, PathBuf};

use super::lock_error::LockError;
use super::seeding_error::SeedingError;
use super::wanted::WantedError;
use crate::config::StoreError;
use crate::failure::{Diagnose, Failure};
use crate::reference::ReferenceError;
use crate::{config, containerd, images, output, registry, transfer};

/// What to do where several images are to go to a place for one.
const PLACES_OF_SEVERAL: &str = "bring each there by a command of its own, or all into oci:DIR, \
    oci-archive:FILE or docker-archive:FILE";

/// What to do where it can't be told what a place has.
const NOT_KEPT: &str = "leave it out: blobs that are there are not fetched again in any case, and \
    pullctl inspect --remote REF tells what an image has";

/// What to do where two want to read standard input.
const INPUT_TWICE: &str = "put the images into a file, or the login into a file for --auth-file";

/// What to do where nobody says what pods' sandboxes are made of.
const TELL_SANDBOX: &str = "name containerd's configuration with --containerd-config, or the image \
    itself: containerd config dump tells it";

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine has no threads or file descriptors left.
    #[error("cannot start")]
    Runtime(#[source] io::Error),
    /// An archive that can be read once only.
    #[error("{} is no file that can be read at any place", .0.display())]
    NoFile(PathBuf),
    /// `--referrers` where one end is no registry.
    #[error("--referrers is for copies from registry to registry")]
    ReferrersElsewhere,
    /// More refers to an image than is followed.
    #[error("more than {0} manifests refer to the image, or to what does so")]
    TooManyReferrers(usize),
    /// An image without a name, to a place that asks for one.
    #[error("the image has no name that it could be called by there")]
    NoDestinationName,
    /// A layout without, or with several images that may be meant.
    #[error("{}", not_one(place, tag.as_deref(), listed))]
    NotOneImage {
        /// The layout or archive.
        place: PathBuf,
        /// How one of its images is written.
        form: String,
        /// What was asked for.
        tag: Option<String>,
        /// What there is.
        listed: Vec<String>,
    },
    /// An index without images, where one is to be compared.
    #[error("{0} has no image that could be compared")]
    NothingToCompare(String),
    /// `--all-tags` with a tag.
    #[error("{0} has a tag, and --all-tags means all of them")]
    TagWithAllTags(String),
    /// `--all-tags` of a repository of which containerd has none.
    #[error("containerd's namespace {namespace} has no tag of {repository}")]
    NoTags {
        /// `harbor.example.net/team/app`.
        repository: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// `-u` with images of several registries: a password must go to one of them only.
    #[error("-u is for the images of one registry, but there are images of {0} and {1}")]
    SeveralRegistries(String, String),
    /// A login for an end of a copy that is no registry.
    #[error("{0} is for a registry, and there is none at that end")]
    NoRegistryThere(&'static str),
    /// `-u :PASSWORD`.
    #[error("-u names no user")]
    NoUser,
    /// `-f -` and `--password-stdin`.
    #[error("standard input can't be both a list of images and a password")]
    InputTwice,
    /// `-u USER:PASSWORD` and `--password-stdin`.
    #[error("there is a password in -u and one to be read from standard input")]
    PasswordTwice,
    /// Nothing was named, and nobody writes to standard input.
    #[error("there is no archive: standard input is a terminal")]
    NoArchive,
    /// `-i -` more than once.
    #[error("standard input can't be two archives")]
    StandardInputTwice,
    /// `--as` with several archives.
    #[error("--as names the image of one archive, but there are several")]
    SeveralArchives,
    /// The password can't be asked for.
    #[error("cannot read the password for {username}")]
    Password {
        /// Whose password.
        username: String,
        /// The system's reason.
        source: io::Error,
    },
    /// What was typed for the server names none. It is not shown: it may hold a password.
    #[error("the server's name is no host[:port]")]
    Server,
    /// Nobody is there to be asked.
    #[error("cannot ask for the {0}: standard input is no terminal")]
    NoTerminal(&'static str),
    /// Asking did not work.
    #[error("cannot read the {what}")]
    NotRead {
        /// `user name`, `password`.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// Nothing was typed.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// There is no place for logins.
    #[error("cannot tell where logins are kept: there is no home directory")]
    NoHome,
    /// A login is good but could not be stored.
    #[error("cannot store the login")]
    Store(#[from] StoreError),
    /// A namespace that the daemon has not.
    #[error("containerd has no namespace {namespace}")]
    NoNamespace {
        /// What was typed.
        namespace: String,
        /// Those that it has.
        namespaces: Vec<String>,
    },
    /// What the other side has can't be told.
    #[error("{what} does not tell what to leave out")]
    Held {
        /// The file or the names.
        what: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Flags for containerd, where the image goes elsewhere.
    #[error("{0} is for images that go into containerd, but {1} is another place")]
    NotInContainerd(&'static str, String),
    /// Flags about what a namespace has, where images go elsewhere.
    #[error("{0} is about what a namespace of containerd has, but {1} is another place")]
    NotKept(&'static str, String),
    /// `--sandbox` where nobody says which image that is.
    #[error("it can't be told what this node's pod sandboxes are made of")]
    NoSandbox,
    /// Several images, to a place for one.
    #[error("{0} is a place for one image, but there are several")]
    PlaceOfOne(String),
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted {
        /// What to do to go on, where there is something to be gone on with.
        hint: Option<&'static str>,
    },
    /// What went wrong has been shown already, image by image or as a document.
    #[error("failed")]
    AlreadyTold(Failure),
    /// A node could not be seeded again and again.
    #[error(transparent)]
    Seeding(#[from] SeedingError),
    /// What was typed is no reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A lock can't be used or written.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// What is wanted can't be told.
    #[error(transparent)]
    Wanted(#[from] WantedError),
    /// A file of settings cannot be obeyed.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// A registry refused, or could not be asked.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The daemon refused, or could not be asked.
    #[error(transparent)]
    Containerd(#[from] containerd::Error),
    /// Images could not be moved.
    #[error(transparent)]
    Transfer(#[from] transfer::Error),
    /// Images could not be listed or removed.
    #[error(transparent)]
    Images(#[from] images::Error),
    /// Standard output did not take the result.
    #[error(transparent)]
    Output(#[from] output::Error),
}

fn not_one(place: &Path, tag: Option<&str>, listed: &[String]) -> String {
    let place = place.display();
    match tag {
        Some(tag) => format!("{place} has no image {tag}, or several of that name"),
        None if listed.is_empty() => format!("{place} has no image with a name"),
        None => format!("{place} has several images"),
    }
}

impl Diagnose for Error {
    fn failure(&self) -> Failure {
        match self {
            Self::TagWithAllTags(_)
            | Self::NoDestinationName
            | Self::NothingToCompare(_)
            | Self::ReferrersElsewhere
            | Self::TooManyReferrers(_)
            | Self::NoFile(_)
            | Self::NotOneImage { tag: None, .. }
            | Self::SeveralRegistries(..)
            | Self::NoUser
            | Self::NoRegistryThere(_)
            | Self::InputTwice
            | Self::NoArchive
            | Self::StandardInputTwice
            | Self::SeveralArchives
            | Self::PasswordTwice
            | Self::Server
            | Self::NoTerminal(_)
            | Self::Held { .. }
            | Self::NotInContainerd(..)
            | Self::NotKept(..)
            | Self::PlaceOfOne(_)
            | Self::NoSandbox
            | Self::Empty(_) => Failure::Usage,
            Self::Runtime(_) | Self::Password { .. } | Self::NotRead { .. } | Self::NoHome => {
                Failure::Other
            }
            Self::NoNamespace { .. }
            | Self::NoTags { .. }
            | Self::NotOneImage { tag: Some(_), .. } => Failure::NotFound,
            Self::Interrupted { .. } => Failure::Interrupted,
            Self::AlreadyTold(failure) => *failure,
            Self::Store(error) => error.failure(),
            Self::Seeding(error) => error.failure(),
            Self::Reference(error) => error.failure(),
            Self::Lock(error) => error.failure(),
            Self::Wanted(error) => error.failure(),
            Self::Config(error) => error.failure(),
            Self::Registry(error) => error.failure(),
            Self::Containerd(error) => error.failure(),
            Self::Transfer(error) => error.failure(),
            Self::Images(error) => error.failure(),
            Self::Output(error) => error.failure(),
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::SeveralRegistries(..) => {
                "pull the images of each registry by a command of its own"
            }
            Self::NoFile(_) => "unpack it first, or bring it into containerd with pullctl load",
            Self::ReferrersElsewhere => "leave --referrers out: other places list none",
            Self::TooManyReferrers(_) => "copy those that are wanted by their digests",
            Self::NoDestinationName => "write oci:DIR:TAG",
            Self::NothingToCompare(_) => "name images, or a platform with --platform",
            Self::NotOneImage { listed, .. } if listed.is_empty() => {
                "copy or pull an image into it first"
            }
            Self::NotOneImage { form, listed, .. } => {
                return Some(format!("write {form}; it has {}", listed.join(", ")));
            }
            Self::TagWithAllTags(_) => "leave the tag out, or --all-tags",
            Self::NoTags { .. } => "look for its name among those that pullctl images lists",
            Self::NoUser => "write -u USER, or -u USER:PASSWORD",
            Self::InputTwice => INPUT_TWICE,
            Self::PasswordTwice => "write -u USER alone",
            Self::NoArchive => "name one with -i FILE, or pipe one in",
            Self::StandardInputTwice => "name the other one with -i FILE",
            Self::SeveralArchives => "load each by a command of its own",
            Self::Password { .. } => "where no terminal is, use -u USER --password-stdin",
            Self::Server => "write the registry alone, and the user name with -u",
            Self::NoTerminal(_) => "use -u USER --password-stdin",
            Self::Held { .. } => {
                "write what pullctl images -o json prints there into a file, or name an archive that was loaded there, or images"
            }
            Self::NoRegistryThere(_) | Self::NotInContainerd(..) => "leave the flag out",
            Self::NotKept(..) => NOT_KEPT,
            Self::PlaceOfOne(_) => PLACES_OF_SEVERAL,
            Self::NoSandbox => TELL_SANDBOX,
            Self::NoHome => "set $DOCKER_CONFIG to a directory",
            Self::NoNamespace { namespace, namespaces } => {
                return Some(in_its_place(namespace, namespaces));
            }
            Self::Interrupted { hint } => return hint.map(str::to_owned),
            Self::Runtime(_) | Self::NotRead { .. } | Self::Empty(_) | Self::AlreadyTold(_) => {
                return None;
            }
            Self::Store(error) => return error.hint(),
            Self::Seeding(error) => return error.hint(),
            Self::Reference(error) => return error.hint(),
            Self::Lock(error) => return error.hint(),
            Self::Wanted(error) => return error.hint(),
            Self::Config(error) => return error.hint(),
            Self::Registry(error) => return error.hint(),
            Self::Containerd(error) => return error.hint(),
            Self::Transfer(error) => return error.hint(),
            Self::Images(error) => return error.hint(),
            Self::Output(error) => return error.hint(),
        };
        Some(hint.to_owned())
    }
}

/// What there is in the place of the namespace that was `typed`: those of `names` first that begin as it
/// does, since a long line is cut.
fn in_its_place(typed: &str, names: &[String]) -> String {
    if names.is_empty() {
        return "it has none yet: the first pull makes one".to_owned();
    }
    let alike = |name: &str| typed.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_by_key(|name| Reverse(alike(name)));
    format!("it has {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_namespaces_those_like_the_one_that_was_typed_come_first() {
        let namespaces = ["default", "k3s", "k8s.io", "moby"].map(str::to_owned).to_vec();
        let error = Error::NoNamespace { namespace: "k8s.oi".to_owned(), namespaces };
        assert_eq!(error.hint().unwrap(), "it has k8s.io, k3s, default, moby");
    }
}
