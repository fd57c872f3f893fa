//! All that this node has configured about registries, read once.

use std::io;
use std::path::{Path, PathBuf, absolute};

use crate::reference::Reference;

use super::authority::RegistryKey;
use super::containerd::{self, ContainerdConfig, Generation, VerifierSettings};
use super::docker::LoginFile;
use super::environment::Environment;
use super::error::Error;
use super::hosts::{self, HostOptions, HostsConfig};
use super::keychain::Keychain;
use super::kubelet::Kubelet;
use super::providers::{self, Place, Providers};
use super::registries_yaml::RegistriesFile;
use super::warning::WarningKind;
use crate::failure::{Diagnose as _, Notice};

/// Where hosts are configured if nothing says otherwise, besides the CRI's `config_path`.
pub const DEFAULT_HOSTS_DIRECTORIES: [&str; 2] = ["/etc/containerd/certs.d", "/etc/docker/certs.d"];

/// The kubelet's own file of logins, in its root directory: docker's `config.json`.
const KUBELETS_LOGINS: &str = "config.json";

/// What the command line says about where to look.
#[derive(Debug, Clone, Default)]
pub struct Locations {
    /// `--hosts-dir`; empty for the CRI's `config_path` and then the usual places.
    pub hosts_directories: Vec<PathBuf>,
    /// `--auth-file`.
    pub auth_file: Option<PathBuf>,
    /// `--containerd-config`; `None` for the usual places, where none need exist.
    pub containerd_config: Option<PathBuf>,
    /// `--ignore-containerd-config`.
    pub ignore_containerd_config: bool,
    /// `--image-credential-provider-config` and `-bin-dir`; `None` for what the kubelet is told, and
    /// then the usual places.
    pub providers: Option<Place>,
    /// The daemon whose reading of containerd's configuration counts.
    pub generation: Generation,
}

/// The node's configuration, except for hosts.toml: that is read for each image.
#[derive(Debug, Default)]
pub struct NodeConfig {
    /// What containerd is told; `None` if it is told nothing, or is not to be asked.
    pub containerd: Option<ContainerdConfig>,
    /// What the kubelet is told; `None` where there is none.
    pub kubelet: Option<Kubelet>,
    hosts_directories: Vec<PathBuf>,
    /// That of k3s or RKE2, where nothing has been made of it.
    registries: Option<RegistriesFile>,
    login_files: Vec<LoginFile>,
    providers: Providers,
    /// What of the kubelet's cannot be used.
    kubelets_warnings: Vec<Notice>,
}

impl NodeConfig {
    /// Reads every file that exists, and those that `locations` names.
    ///
    /// # Errors
    /// [`Error`] for one that cannot be read or obeyed.
    pub fn read(locations: &Locations, environment: &Environment) -> Result<Self, Error> {
        Self::read_around(Kubelet::find(environment), locations, environment)
    }

    /// The same, of a node whose kubelet was looked for before.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_around(
        kubelet: Result<Option<Kubelet>, Error>,
        locations: &Locations,
        environment: &Environment,
    ) -> Result<Self, Error> {
        let (config, broken) = Self::salvage(kubelet, locations, environment);
        broken.into_iter().next().map_or(Ok(config), Err)
    }

    /// The same, where what cannot be read or obeyed is as if it were not there; with why, in the order
    /// of reading. For those who look at it, and pull nothing by it.
    pub fn salvage(
        kubelet: Result<Option<Kubelet>, Error>,
        locations: &Locations,
        environment: &Environment,
    ) -> (Self, Vec<Error>) {
        let mut broken = Vec::new();
        let containerd = match &locations.containerd_config {
            _ if locations.ignore_containerd_config => Ok(None),
            Some(path) => named_config(path, locations.generation).map(Some),
            None => ContainerdConfig::read_first(&containerd::USUAL_PATHS, locations.generation),
        };
        let containerd = kept(containerd, &mut broken);
        let mut login_files = login_files(locations, environment, containerd.as_ref(), &mut broken);
        let registries = match locations.hosts_directories.is_empty() {
            true => kept(RegistriesFile::read_first(environment), &mut broken),
            false => None,
        };
        let logins = registries.as_ref().map(RegistriesFile::logins).transpose();
        login_files.extend(kept(logins, &mut broken));
        let mut kubelets_warnings = Vec::new();
        let kubelet =
            usable(kubelet, WarningKind::KubeletSettings, &mut kubelets_warnings).flatten();
        if let Some(kubelet) = &kubelet {
            let logins = LoginFile::read(&kubelet.root_directory.join(KUBELETS_LOGINS));
            let logins = usable(logins, WarningKind::UnusableLogin, &mut kubelets_warnings);
            login_files.extend(logins.flatten());
        }
        let providers = match &locations.providers {
            Some(place) => kept(Providers::read(place), &mut broken),
            None => {
                let place = providers::find_place(kubelet.as_ref(), environment);
                let found = place.map(|place| Providers::read(&place)).transpose();
                let kind = WarningKind::ProviderSettings;
                usable(found, kind, &mut kubelets_warnings).flatten().unwrap_or_default()
            }
        };
        let hosts_directories =
            kept(hosts_directories(locations, containerd.as_ref()), &mut broken);
        let config = Self {
            containerd,
            kubelet,
            hosts_directories,
            registries,
            login_files,
            providers,
            kubelets_warnings,
        };
        (config, broken)
    }

    /// The hosts to ask for `reference`: as a hosts directory says; else as containerd's
    /// deprecated `mirrors` do; else as `registries.yaml` of k3s does; else its own registry.
    ///
    /// # Errors
    /// [`Error`] for a file that cannot be obeyed as a whole.
    pub fn hosts(
        &self,
        reference: &Reference,
        options: &HostOptions,
    ) -> Result<HostsConfig, Error> {
        self.hosts_of(reference.domain(), options)
    }

    /// As [`hosts`](Self::hosts), for a registry by its name in references.
    ///
    /// # Errors
    /// As [`hosts`](Self::hosts).
    pub fn hosts_of(&self, domain: &str, options: &HostOptions) -> Result<HostsConfig, Error> {
        let directory = hosts::find_directory(&self.hosts_directories, domain)?;
        let mut config = self.configured_hosts(domain, options, directory.as_deref())?;
        config.warnings.extend(self.passed_over(domain, directory.as_deref()));
        let common = self.containerd.as_ref().map_or(&[][..], ContainerdConfig::headers);
        let first = || self.hosts_directories.first().map(|root| root.join(domain));
        let directory = directory.or_else(first).and_then(|directory| absolute(directory).ok());
        for host in &mut config.hosts {
            host.common_headers = common.to_vec();
            host.directory.clone_from(&directory);
        }
        Ok(config)
    }

    /// A warning where a directory would count for `domain` if it had the port in its name.
    fn passed_over(&self, domain: &str, counts: Option<&Path>) -> Option<Notice> {
        let is_own = |path: &Path| path.file_name().is_some_and(|name| name != "_default");
        if counts.is_some_and(is_own) {
            return None;
        }
        let near = hosts::without_port(&self.hosts_directories, domain)?;
        let message = format!("{} does not count for images of {domain}", near.display());
        let right = near.with_file_name(domain);
        Some(Notice::new(WarningKind::DirectoryWithoutPort, message).with_hint(format!(
            "a directory is looked for by the registry's name with its port: mv {} {}",
            near.display(),
            right.display()
        )))
    }

    fn configured_hosts(
        &self,
        domain: &str,
        options: &HostOptions,
        directory: Option<&Path>,
    ) -> Result<HostsConfig, Error> {
        if let Some(directory) = directory {
            let mut config = hosts::load_directory(directory, domain, options)?;
            let containerd = self.containerd.as_ref();
            config
                .warnings
                .extend(containerd.and_then(|config| config.mirrors_not_used(domain, directory)));
            return Ok(config);
        }
        let mut mirrors = match &self.containerd {
            Some(containerd) => containerd.hosts(domain, options)?,
            None => None,
        };
        if let (None, Some(registries)) = (&mirrors, &self.registries) {
            mirrors = registries.hosts(domain, options)?;
        }
        let hosts = mirrors.unwrap_or_else(|| vec![hosts::own_registry(domain, options)]);
        Ok(HostsConfig { hosts, warnings: Vec::new() })
    }

    /// The directories in which hosts are configured, in the order of looking.
    pub fn hosts_directories(&self) -> &[PathBuf] {
        &self.hosts_directories
    }

    /// The registries that there are logins for, and the file of each.
    pub fn logins(&self) -> Vec<(RegistryKey, String)> {
        let of = |file: &LoginFile| {
            let path = file.path().display().to_string();
            file.registries().map(|registry| (registry, path.clone())).collect::<Vec<_>>()
        };
        self.login_files.iter().flat_map(of).collect()
    }

    /// Whether a plugin of the kubelet's gives logins for `image`, `host[:port]/repository`.
    pub fn has_provider_for(&self, image: &str) -> bool {
        self.providers.is_for(image)
    }

    /// The programs that this node's containerd asks before it takes an image.
    pub fn verifiers(&self) -> VerifierSettings {
        let configured = self.containerd.as_ref().map(|config| config.verifiers.clone());
        configured.unwrap_or_default()
    }

    /// `keychain` and every login of this node, asked after those that it has.
    pub fn with_logins(self, keychain: Keychain) -> Keychain {
        keychain.with_files(self.login_files).with_providers(self.providers)
    }

    /// What looks wrong, but for what [`hosts`](Self::hosts) finds.
    pub fn warnings(&self) -> Vec<Notice> {
        let containerd = self.containerd.iter().flat_map(ContainerdConfig::warnings);
        let logins = self.login_files.iter().flat_map(LoginFile::warnings).cloned();
        let kubelet = self.kubelets_warnings.iter().chain(self.providers.warnings()).cloned();
        containerd.chain(logins).chain(kubelet).collect()
    }
}

/// What was read, or nothing and why.
fn kept<T: Default>(read: Result<T, Error>, broken: &mut Vec<Error>) -> T {
    read.unwrap_or_else(|error| {
        broken.push(error);
        T::default()
    })
}

/// What was read of the kubelet's files. They are the kubelet's business, and most pulls can do without:
/// what this user may not read is not there, and a mistake is a warning.
fn usable<T>(read: Result<T, Error>, kind: WarningKind, warnings: &mut Vec<Notice>) -> Option<T> {
    let error = match read {
        Ok(found) => return Some(found),
        Err(Error::Unreadable { source, .. })
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            return None;
        }
        Err(error) => error,
    };
    let notice = Notice::new(kind, format!("the kubelet's settings are not used: {error}"));
    warnings.push(match error.hint() {
        Some(hint) => notice.with_hint(hint),
        None => notice,
    });
    None
}

/// The file of `--containerd-config`, which must exist.
fn named_config(path: &Path, generation: Generation) -> Result<ContainerdConfig, Error> {
    ContainerdConfig::read(path, generation)?.ok_or_else(|| Error::not_found(path))
}

fn hosts_directories(
    locations: &Locations,
    containerd: Option<&ContainerdConfig>,
) -> Result<Vec<PathBuf>, Error> {
    if !locations.hosts_directories.is_empty() {
        return match locations.hosts_directories.iter().find(|directory| !directory.is_dir()) {
            Some(missing) => Err(Error::not_found(missing)),
            None => Ok(locations.hosts_directories.clone()),
        };
    }
    let mut directories =
        containerd.map(|config| config.hosts_directories().to_vec()).unwrap_or_default();
    for default in DEFAULT_HOSTS_DIRECTORIES.map(PathBuf::from) {
        if !directories.contains(&default) {
            directories.push(default);
        }
    }
    Ok(directories)
}

/// In the order in which they are asked: what the command line names, docker's, podman's, and
/// what the CRI is told.
fn login_files(
    locations: &Locations,
    environment: &Environment,
    containerd: Option<&ContainerdConfig>,
    broken: &mut Vec<Error>,
) -> Vec<LoginFile> {
    let mut files = Vec::new();
    if let Some(path) = &locations.auth_file {
        files.extend(kept(LoginFile::read_any(path).map(Some), broken));
    }
    let usual = environment.docker_config_file().into_iter().chain(environment.podman_auth_files());
    for path in usual {
        files.extend(kept(LoginFile::read(&path), broken));
    }
    files.extend(containerd.map(ContainerdConfig::logins));
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Credential;

    fn fixtures() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
    }

    /// A node that has `containerd-config/NAME`, and the given hosts directories.
    fn node(config: &str, directories: &[&str]) -> NodeConfig {
        let locations = Locations {
            hosts_directories: directories.iter().map(|name| fixtures().join(name)).collect(),
            containerd_config: Some(fixtures().join("containerd-config").join(config)),
            ..Locations::default()
        };
        NodeConfig::read(&locations, &Environment::default()).unwrap()
    }

    fn authorities(node: &NodeConfig, domain: &str) -> Vec<String> {
        let config = node.hosts_of(domain, &HostOptions::default()).unwrap();
        config.hosts.into_iter().map(|host| host.authority).collect()
    }

    #[test]
    fn a_hosts_directory_comes_before_containerds_mirrors() {
        let node = node("mirrors.toml", &["hosts/server"]);
        assert_eq!(authorities(&node, "docker.io"), ["mirror.example"]);
        assert_eq!(authorities(&node, "reg.example"), ["reg.example", "a.example"]);
        let config = node.hosts_of("docker.io", &HostOptions::default()).unwrap();
        let warning = &config.warnings[0];
        assert!(warning.message.starts_with("mirrors for docker.io are not used"), "{warning:?}");
        assert_eq!(warning.line, Some(4));
    }

    #[test]
    fn the_cris_headers_are_for_every_host_wherever_it_is_configured() {
        let names = |config: &str, domain: &str| -> Vec<Vec<String>> {
            let node = node(config, &["hosts/server"]);
            let hosts = node.hosts_of(domain, &HostOptions::default()).unwrap().hosts;
            let names = |host: hosts::RegistryHost| {
                host.common_headers.into_iter().map(|(name, _)| name).collect()
            };
            hosts.into_iter().map(names).collect()
        };
        // A hosts directory, mirrors, and neither.
        assert_eq!(names("version-2.toml", "docker.io"), [["x-node"]]);
        assert_eq!(names("version-3.toml", "quay.example"), [["x-node"]]);
        assert_eq!(names("headers.toml", "quay.example"), [["X-Zone", "x-node"]]);
        assert_eq!(names("mirrors.toml", "reg.example"), [[""; 0]; 2]);
    }

    #[test]
    fn a_host_knows_the_directory_that_counts_for_it() {
        let directory = |directories: &[&str], domain: &str| {
            let node = node("default-1.6.toml", directories);
            let hosts = node.hosts_of(domain, &HostOptions::default()).unwrap().hosts;
            hosts.into_iter().map(|host| host.directory).next().flatten().unwrap()
        };
        for (directories, domain, expected) in [
            (&["hosts/server"][..], "docker.io", "hosts/server/docker.io"),
            (&["hosts/server"], "quay.io", "hosts/server/quay.io"),
            (&["hosts/server", "hosts/order"], "quay.io", "hosts/server/quay.io"),
            (&["hosts/lookup"], "quay.io", "hosts/lookup/_default"),
        ] {
            assert_eq!(directory(directories, domain), fixtures().join(expected), "{domain}");
        }
    }

    #[test]
    fn where_nothing_is_said_the_registry_itself_is_asked() {
        let node = node("default-1.6.toml", &["hosts/without-default"]);
        assert_eq!(authorities(&node, "docker.io"), ["registry-1.docker.io"]);
    }

    #[test]
    fn the_cris_hosts_directories_come_before_the_usual_ones() {
        let node = NodeConfig::read(
            &Locations {
                containerd_config: Some(fixtures().join("containerd-config/config-path.toml")),
                ..Locations::default()
            },
            &Environment::default(),
        );
        let expected = [
            "/etc/one/certs.d",
            "/etc/two/certs.d",
            "/etc/containerd/certs.d",
            "/etc/docker/certs.d",
        ];
        assert_eq!(node.unwrap().hosts_directories, expected.map(PathBuf::from));
    }

    #[test]
    fn containerds_file_may_be_ignored_and_must_exist_where_it_is_named() {
        let named = Locations {
            containerd_config: Some(fixtures().join("no-such-file")),
            ..Locations::default()
        };
        let ignored = Locations { ignore_containerd_config: true, ..named.clone() };
        assert!(NodeConfig::read(&named, &Environment::default()).is_err());
        assert!(NodeConfig::read(&ignored, &Environment::default()).unwrap().containerd.is_none());
    }

    #[tokio::test]
    async fn logins_are_asked_for_in_order() {
        let logins = fixtures().join("docker-config");
        let environment = Environment {
            docker_config: Some(logins.join("docker")),
            registry_auth_file: Some(logins.join("podman/auth.json")),
            ..Environment::default()
        };
        let locations = Locations {
            auth_file: Some(logins.join("secret/data.yaml")),
            containerd_config: Some(fixtures().join("containerd-config/logins.toml")),
            ..Locations::default()
        };
        let node = NodeConfig::read(&locations, &environment).unwrap();
        assert_eq!(node.warnings().len(), 5);
        let password = "command-line-secret".to_owned().into();
        let typed = Credential::Basic { username: "typed".to_owned(), password };
        let keychain = Keychain::from_command_line("quay.io".to_owned(), typed);
        let keychain = node.with_logins(keychain);
        for (authority, repository, source, username) in [
            ("quay.io", "a/b", "command line", Some("typed")),
            ("harbor.example", "a/b", "secret/data.yaml", Some("robot$k8s")),
            ("registry-1.docker.io", "a/b", "docker/config.json", Some("hub")),
            ("token.example", "a/b", "docker/config.json", None),
            ("only.example", "team/image", "podman/auth.json", Some("scoped")),
            ("password.example", "a/b", "logins.toml", Some("me")),
        ] {
            let host = hosts::own_registry(authority, &HostOptions::default());
            let login = keychain.find(&host, repository).await.unwrap();
            assert!(login.source.ends_with(source), "{authority}: {}", login.source);
            assert_eq!(login.credential.username(), username, "{authority}");
        }
        let unknown = hosts::own_registry("unknown.example", &HostOptions::default());
        assert!(keychain.find(&unknown, "a").await.is_none());
    }

    #[tokio::test]
    async fn of_several_logins_for_one_registry_the_first_in_order_is_used() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
            path
        };
        let file = |user: &str| {
            let login = format!(r#"{{"username": "{user}", "password": "secret"}}"#);
            format!(r#"{{"auths": {{"reg.example": {login}}}}}"#)
        };
        let auth_file = write("auth-file.json", &file("auth-file"));
        write("docker/config.json", &file("docker"));
        write("runtime/auth.json", &file("podman-runtime"));
        write("config/containers/auth.json", &file("podman-home"));
        let containerd = write(
            "config.toml",
            "version = 2\n\
             [plugins.'io.containerd.grpc.v1.cri'.registry.configs.'reg.example'.auth]\n\
             username = 'containerd'\npassword = 'secret'\n",
        );
        let order = ["typed", "auth-file", "docker", "podman-runtime", "podman-home", "containerd"];
        for (first, expected) in order.iter().enumerate() {
            let is_there = |name: &str| order[first..].contains(&name);
            let below = |name: &str| Some(directory.path().join(name));
            let environment = Environment {
                docker_config: below("docker").filter(|_| is_there("docker")),
                podman_directory: below("runtime").filter(|_| is_there("podman-runtime")),
                config_home: below("config").filter(|_| is_there("podman-home")),
                ..Environment::default()
            };
            let locations = Locations {
                auth_file: is_there("auth-file").then(|| auth_file.clone()),
                containerd_config: Some(containerd.clone()),
                ..Locations::default()
            };
            let password = "secret".to_owned().into();
            let typed = Credential::Basic { username: "typed".to_owned(), password };
            let typed = match first {
                0 => Keychain::from_command_line("reg.example".to_owned(), typed),
                _ => Keychain::default(),
            };
            let keychain = NodeConfig::read(&locations, &environment).unwrap().with_logins(typed);
            let host = hosts::own_registry("reg.example", &HostOptions::default());
            let login = keychain.find(&host, "a/b").await.unwrap();
            assert_eq!(login.credential.username(), Some(*expected), "{}", login.source);
        }
    }
}
