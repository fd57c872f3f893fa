//! `registry.headers` of containerd's configuration, by comparison: what a registry is sent by the
//! CRI of a daemon, and by pullctl with that daemon's file.

use std::collections::BTreeSet;

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, Version};
use crate::support::cri::Cri;
use crate::support::faulty::{FaultyRegistry, Login};
use crate::support::image::Image;
use crate::support::unique;

/// Which kinds of requests a registry got, and with which value of `x-node`.
fn with_header(registry: &FaultyRegistry) -> BTreeSet<(&'static str, Option<String>)> {
    let kind = |path: &str| {
        let kinds = ["/token", "/manifests/", "/blobs/"];
        kinds.into_iter().find(|kind| path.contains(kind)).unwrap_or("other")
    };
    let requests = registry.requests();
    requests
        .iter()
        .map(|request| (kind(&request.path), request.header("x-node").map(str::to_owned)))
        .collect()
}

#[test]
fn the_cris_headers_are_sent_where_the_cri_sends_them() {
    for version in Version::ALL {
        let registry = FaultyRegistry::start();
        let (image, repository) = (Image::small(), unique("headers/image"));
        registry.add(&image, &repository, "v1");
        registry.require(Login::Token { login: None });
        let hosts = tempfile::tempdir().unwrap();
        let directory = hosts.path().join("registry.example");
        std::fs::create_dir(&directory).unwrap();
        let server = format!("server = \"http://{}\"\n", registry.authority());
        let host = format!("[host.\"http://{}\"]\n", registry.authority());
        std::fs::write(directory.join("hosts.toml"), server + &host).unwrap();
        let section = format!("plugins.'{}'.registry", version.cri_plugin());
        let config = format!(
            "[{section}]\nconfig_path = '{}'\n[{section}.headers]\nX-Node = ['seven']\n",
            hosts.path().display()
        );
        let daemon = Containerd::configured(version, &config);
        let reference = format!("registry.example/{repository}:v1");

        Cri::new(&daemon).pull(&reference);
        let by_the_cri = with_header(&registry);
        registry.forget_requests();
        let config = daemon.config_file().display().to_string();
        let layout = tempfile::tempdir().unwrap();
        let to = format!("oci:{}", layout.path().join("layout").display());
        let flags = ["pull", "--containerd-config", &config, "--to", &to, &reference];
        Pullctl::new().args(flags).run().succeeded();
        let seven = || Some("seven".to_owned());
        let expected = [("/token", None), ("/manifests/", seven()), ("/blobs/", seven())];
        assert_eq!(by_the_cri, BTreeSet::from(expected), "containerd {version}");
        assert_eq!(with_header(&registry), by_the_cri, "containerd {version}");
    }
}
