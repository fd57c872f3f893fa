//! What the tables of a hosts.toml come to: one host for a server that has one, other names of
//! repositories, and certificates that `explain` refuses as the pull does.

use std::fs;
use std::path::Path;

use crate::explain::{explain, fixtures, json_of};
use crate::mirrors::{NAMED, hosts_directory, mirror_and_upstream, pull, write_hosts};
use crate::support::cli::Outcome;
use crate::support::faulty::{Fault, FaultyRegistry, Login};
use crate::support::image::Image;
use crate::support::nginx::Nginx;
use crate::support::{Validity, unique};

fn pull_by_hosts(reference: &str, hosts: &Path) -> Outcome {
    let directory = hosts.display().to_string();
    pull(reference, &["--ignore-containerd-config", "--hosts-dir", &directory])
}

#[test]
fn a_server_that_has_a_table_as_well_is_asked_once_with_what_its_table_says() {
    let registry = FaultyRegistry::start();
    let (image, repository) = (Image::small(), unique("twice/image"));
    registry.add(&image, &repository, "v1");
    registry.require(Login::Basic { user: "me".to_owned(), password: "hunter2".to_owned() });
    let nginx = Nginx::start_tls(&Nginx::proxy(&registry.authority(), ""), NAMED, Validity::Now);
    let url = format!("https://{}", nginx.authority());
    let hosts = hosts_directory(&format!(
        "server = \"{url}\"\n\n[host.\"{url}\"]\n  capabilities = [\"pull\", \"resolve\"]\n  \
         ca = \"ca.crt\"\n"
    ));
    fs::copy(nginx.ca(), hosts.path().join(NAMED).join("ca.crt")).unwrap();
    let reference = format!("{NAMED}/{repository}:v1");
    // The second time, without its authority, it would be a TLS fault (5) that hides the login.
    let outcome = pull_by_hosts(&reference, hosts.path()).ended_with(4);
    assert!(!outcome.stderr.contains("unknown authority"), "{outcome:?}");
    outcome.says("pullctl login");
    let resolved = registry.requests_for("/manifests/");
    assert!(resolved.len() <= 2, "a HEAD, and perhaps a GET for its reason: {resolved:?}");
    let explained = explain(&format!(
        "-o json --ignore-containerd-config --hosts-dir {} {reference}",
        hosts.path().display()
    ));
    let hosts = json_of(&explained.succeeded())["hosts"].as_array().unwrap().len();
    assert_eq!(hosts, 1);
}

#[test]
fn a_repository_has_the_name_at_a_mirror_that_rewrite_gives_it() {
    let mirror = FaultyRegistry::start();
    let (image, repository) = (Image::small(), unique("team/image"));
    let name = repository.strip_prefix("team/").unwrap();
    mirror.add(&image, &format!("cache/team-{name}"), "v1");
    mirror.require(Login::Token { login: None });
    let hosts = hosts_directory(&format!(
        "[host.\"http://{}/v2\"]\n  capabilities = [\"pull\", \"resolve\"]\n  \
         [host.\"http://{0}/v2\".rewrite]\n    \"^other/\" = \"never/\"\n    \
         \"^(team)/(.*)\" = \"cache/$1-${{2}}\"\n    \"(.*)\" = \"late/$1\"\n",
        mirror.authority()
    ));
    let reference = format!("{NAMED}/{repository}:v1");
    pull_by_hosts(&reference, hosts.path()).succeeded();
    let expected = format!("cache/team-{name}");
    for request in mirror.requests() {
        let is_token = request.path.starts_with("/token");
        let asks = if is_token { format!("repository:{expected}:pull") } else { expected.clone() };
        let asked = format!("{}?{}", request.path, request.query);
        let asked = asked.replace("%3A", ":").replace("%2F", "/");
        assert!(asked.contains(&asks), "{request:?}");
    }
    let flags = format!("--ignore-containerd-config --hosts-dir {}", hosts.path().display());
    let shown = json_of(&explain(&format!("-o json {flags} {reference}")).succeeded());
    assert_eq!(shown["hosts"][0]["repository"], expected);
    assert!(shown["hosts"][1].get("repository").is_none(), "{shown}");
    let text = explain(&format!("{flags} {reference}")).succeeded().stdout;
    assert!(text.contains(&format!("\n   for     {expected}\n")), "{text}");
}

#[test]
fn headers_of_a_host_reach_another_hosts_token_endpoint_only_where_its_name_is_written_down() {
    let (registry, tokens) = (FaultyRegistry::start(), FaultyRegistry::start());
    let (image, repository) = (Image::small(), unique("realm/image"));
    registry.add(&image, &repository, "v1");
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"test\"", tokens.authority());
    registry.always("/v2/", Fault::Status(401, vec![("WWW-Authenticate", realm)]));
    tokens.require(Login::Token { login: None });
    for (named, expected) in [("", None), ("other.example", None), ("tokens", Some("hunter2"))] {
        let realm = format!("http://{}", tokens.authority());
        let realms = named.replace("tokens", &realm);
        let hosts = hosts_directory(&format!(
            "server = \"http://{}\"\nheader = {{ x-key = \"hunter2\" }}\n{}",
            registry.authority(),
            if named.is_empty() {
                String::new()
            } else {
                format!("header_realms = \"{realms}\"\n")
            }
        ));
        tokens.forget_requests();
        pull_by_hosts(&format!("{NAMED}/{repository}:v1"), hosts.path()).ended_with(4);
        let asked = tokens.requests_for("/token");
        assert!(!asked.is_empty(), "{named}");
        for request in asked {
            assert_eq!(request.header("x-key"), expected, "{named}: {request:?}");
        }
    }
}

/// What stands in the files of the registry, and what is said of it.
struct Refused {
    hosts: &'static str,
    file: &'static str,
    content: fn() -> String,
    says: &'static str,
}

fn fixture(name: &str) -> String {
    fs::read_to_string(Path::new(&fixtures()).join("hosts/client/reg.example").join(name)).unwrap()
}

#[test]
fn explain_ends_as_the_pull_does_where_a_certificate_cannot_be_used() {
    for Refused { hosts, file, content, says } in [
        Refused {
            hosts: "\nca = \"ca.crt\"\n",
            file: "ca.crt",
            content: || "not a certificate\n".to_owned(),
            says: "ca.crt",
        },
        Refused {
            hosts: "\nca = \"ca.crt\"\n",
            file: "ca.crt",
            content: || fixture("key.pem"),
            says: "ca.crt",
        },
        Refused {
            hosts: "\nclient = [[\"cert.pem\", \"node.key\"]]\n",
            file: "node.key",
            content: || "-----BEGIN PRIVATE KEY-----\nMIG\n-----END PRIVATE KEY-----\n".to_owned(),
            says: "node.key",
        },
        Refused {
            hosts: "\nclient = [[\"cert.pem\", \"node.key\"]]\n",
            file: "node.key",
            content: || rcgen::KeyPair::generate().unwrap().serialize_pem(),
            says: "does not belong to the key",
        },
    ] {
        let directory = tempfile::tempdir().unwrap();
        write_hosts(directory.path(), hosts);
        let own = directory.path().join(NAMED);
        fs::write(own.join("cert.pem"), fixture("cert.pem")).unwrap();
        fs::write(own.join(file), content()).unwrap();
        let reference = format!("{NAMED}/a:v1");
        let pulled = pull_by_hosts(&reference, directory.path()).ended_with(12);
        let flags =
            format!("--ignore-containerd-config --hosts-dir {}", directory.path().display());
        let explained = explain(&format!("{flags} {reference}")).ended_with(12);
        let errors = |outcome: &Outcome| {
            let lines = outcome.stderr.lines().skip_while(|line| !line.starts_with("error: "));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(errors(&explained), errors(&pulled));
        let place = own.join("hosts.toml").display().to_string();
        explained
            .says(says)
            .says(&format!("hint: correct the file, or what names it in {place}:2"));
        let refusal = explain(&format!("-o json {flags} {reference}")).ended_with(12);
        let error = &json_of(&refusal)["error"];
        assert_eq!(error["code"], "configuration");
        assert_eq!(error["file"], place);
        assert_eq!(error["line"], 2);
    }
}

#[test]
fn the_hint_names_the_directory_that_is_read() {
    let (_, upstream, reference) = mirror_and_upstream();
    let nginx = Nginx::start_tls(&Nginx::proxy(&upstream.authority(), ""), NAMED, Validity::Now);
    let hosts = tempfile::tempdir().unwrap();
    let directory = hosts.path().display().to_string();
    let resolve = format!("{NAMED}:{}", nginx.authority());
    let flags = ["--ignore-containerd-config", "--hosts-dir", &directory, "--resolve", &resolve];
    let file = hosts.path().join(NAMED).join("hosts.toml");
    pull(&reference, &flags).ended_with(5).says(&file.display().to_string());
}
