//! Where an admin finds, or puts, what is configured about a host.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::config::{DEFAULT_HOSTS_DIRECTORIES, RegistryHost, Source};

/// Where the settings of a host stand, or would stand. Its token endpoint and what it redirects to
/// are reached by the same ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SettingsPlace {
    form: Form,
    /// The files of authorities that are known for the host already.
    authorities: Vec<PathBuf>,
}

/// What the settings stand in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// A `hosts.toml`, which is in the directory of the image's own registry for mirrors too.
    HostsToml(PathBuf),
    /// A directory of certificates, as docker has it.
    Certificates(PathBuf),
    /// containerd's `config.toml`, with its deprecated `mirrors` and `configs`.
    ContainerdConfig(PathBuf),
}

impl SettingsPlace {
    /// That of `host`, from which images of `registry` are pulled.
    pub(crate) fn of(host: &RegistryHost, registry: &str) -> Self {
        Self { form: Form::of(host, registry), authorities: host.ca.clone() }
    }

    /// How the authority that signs for `host` is made known: files of settings take the path of its
    /// certificate, docker's directories the certificate itself.
    pub(crate) fn of_authority(&self, host: &str) -> String {
        let path = "write the path of the authority's file into";
        let known: Vec<String> =
            self.authorities.iter().map(|file| file.display().to_string()).collect();
        let known = match known.as_slice() {
            [] => String::new(),
            [only] => format!("{only} holds another authority: put the right one there, or "),
            several => format!(
                "{} hold other authorities: put the right one into one of them, or ",
                several.join(", ")
            ),
        };
        match &self.form {
            Form::HostsToml(file) => format!("{known}{path} {} (ca = \"…\")", file.display()),
            Form::Certificates(directory) => format!(
                "{known}put the authority's certificate into {} (a *.crt)",
                directory.display()
            ),
            Form::ContainerdConfig(file) => format!(
                "{known}{path} {} (ca_file of registry.configs.\"{host}\".tls)",
                file.display()
            ),
        }
    }

    /// How it is made known that `host` speaks plain HTTP, for pulls of ours and for the kubelet's.
    pub(crate) fn of_plain_http(&self, host: &str) -> String {
        let says = format!("{host} speaks plain HTTP: try --plain-http, or write");
        match &self.form {
            Form::HostsToml(file) => {
                format!("{says} server = \"http://{host}\" into {}", file.display())
            }
            Form::Certificates(directory) => {
                let file = directory.join("hosts.toml");
                format!("{says} server = \"http://{host}\" into {}", file.display())
            }
            Form::ContainerdConfig(file) => {
                let endpoint = format!("\"http://{host}\"");
                format!("{says} {endpoint} as its endpoint into {}", file.display())
            }
        }
    }

    /// The file of its settings, if there is one.
    pub(crate) fn existing(&self) -> Option<&Path> {
        match &self.form {
            Form::HostsToml(file) | Form::ContainerdConfig(file) if file.is_file() => Some(file),
            _ => None,
        }
    }

    /// Where to put the certificate that `host` asks clients for.
    pub(crate) fn of_client(&self, host: &str) -> String {
        match &self.form {
            Form::HostsToml(file) => {
                format!("{} (client = [[\"cert\", \"key\"]])", file.display())
            }
            Form::Certificates(directory) => {
                format!("{} (a *.cert and its *.key)", directory.display())
            }
            Form::ContainerdConfig(file) => format!(
                "{} (cert_file and key_file of registry.configs.\"{host}\".tls)",
                file.display()
            ),
        }
    }
}

impl Form {
    fn of(host: &RegistryHost, registry: &str) -> Self {
        let Source::File(file, _) = &host.source else {
            let [usual, _] = DEFAULT_HOSTS_DIRECTORIES;
            let usual = || Path::new(usual).join(registry);
            let directory = host.directory.clone().unwrap_or_else(usual);
            return Self::HostsToml(directory.join("hosts.toml"));
        };
        let is_certificate = |extension: &OsStr| extension == "crt" || extension == "cert";
        if file.extension().is_some_and(is_certificate) {
            Self::Certificates(file.parent().unwrap_or(file).to_owned())
        } else if file.file_name() == Some(OsStr::new("hosts.toml")) {
            Self::HostsToml(file.clone())
        } else {
            Self::ContainerdConfig(file.clone())
        }
    }
}
