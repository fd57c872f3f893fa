//! nginx in front of a registry: TLS, speed limits, and an access log that knows connections.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;

use super::certificates::{Certificates, OpensslKind, Validity};
use super::faulty::dead_authority;
use super::supervisor::{Supervised, fresh_directory};

/// A running nginx with one server.
pub(crate) struct Nginx {
    daemon: Supervised,
    authority: String,
    certificates: Option<Certificates>,
}

/// How a server speaks TLS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tls<'a> {
    /// What its certificate is for, besides 127.0.0.1; a private authority issued it.
    pub(crate) name: &'a str,
    pub(crate) validity: Validity,
    pub(crate) http2: bool,
    /// The versions of TLS that it speaks, as `ssl_protocols` lists them.
    pub(crate) protocols: &'a str,
    /// Whether clients have to show a certificate of the same authority.
    pub(crate) asks_for_certificate: bool,
    /// The keys and signatures, where they are not the usual ones.
    pub(crate) openssl: Option<OpensslKind>,
}

impl<'a> Tls<'a> {
    pub(crate) fn new(name: &'a str, validity: Validity) -> Self {
        Self {
            name,
            validity,
            http2: false,
            protocols: "TLSv1.2 TLSv1.3",
            asks_for_certificate: false,
            openssl: None,
        }
    }
}

/// One line of the access log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Access {
    /// nginx's number of the connection.
    pub(crate) connection: u64,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) status: u16,
    /// Bytes of the body that were sent.
    pub(crate) bytes: u64,
    /// What the client sent of that name; empty without.
    pub(crate) authorization: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub(crate) protocol: String,
    /// What the client calls itself.
    pub(crate) agent: String,
}

impl Nginx {
    /// A plain server with `locations` in its `server` block.
    pub(crate) fn start(locations: &str) -> Self {
        Self::with(locations, None)
    }

    /// A TLS server with a certificate for 127.0.0.1 and `name` from a private authority.
    pub(crate) fn start_tls(locations: &str, name: &str, validity: Validity) -> Self {
        Self::start_with(locations, Tls::new(name, validity))
    }

    /// A TLS server as `tls` has it.
    pub(crate) fn start_with(locations: &str, tls: Tls<'_>) -> Self {
        Self::with(locations, Some(tls))
    }

    /// `locations` that hand everything on to the registry at `authority`.
    pub(crate) fn proxy(authority: &str, directives: &str) -> String {
        format!(
            "location / {{\n proxy_pass http://{authority};\n proxy_set_header Host $http_host;\n \
             proxy_max_temp_file_size 0;\n client_max_body_size 0;\n {directives}\n}}"
        )
    }

    fn with(locations: &str, tls: Option<Tls<'_>>) -> Self {
        let directory = fresh_directory("nginx");
        let authority = dead_authority();
        let certificates = tls.map(|tls| {
            let names = ["127.0.0.1", tls.name];
            match &tls.openssl {
                Some(kind) => Certificates::by_openssl(&directory, &names, kind),
                None => Certificates::issue(&directory, &names, tls.validity),
            }
        });
        let (listen, files) = match tls.zip(certificates.as_ref()) {
            Some((tls, files)) => {
                (if tls.http2 { " ssl http2" } else { " ssl" }, ssl_directives(tls, files))
            }
            None => ("", String::new()),
        };
        let below = directory.display();
        let config = format!(
            "daemon off;\nmaster_process off;\npid {below}/pid;\nerror_log stderr notice;\n\
             events {{}}\n\
             http {{\n\
             client_body_temp_path {below}/body;\nproxy_temp_path {below}/proxy;\n\
             fastcgi_temp_path {below}/fastcgi;\nuwsgi_temp_path {below}/uwsgi;\n\
             scgi_temp_path {below}/scgi;\n\
             log_format json escape=json '{{\"connection\":$connection,\"method\":\
             \"$request_method\",\"path\":\"$uri\",\"status\":$status,\"bytes\":$body_bytes_sent,\
             \"authorization\":\"$http_authorization\",\"protocol\":\"$server_protocol\",\
             \"agent\":\"$http_user_agent\"}}';\n\
             access_log {below}/access.log json;\n\
             server {{\nlisten {authority}{listen};\n{files}{locations}\n}}\n}}\n"
        );
        let path = directory.join("nginx.conf");
        std::fs::write(&path, config).expect("the config can be written");
        let path = path.to_str().expect("temporary paths are UTF-8").to_owned();
        let daemon = Supervised::start(directory, &["nginx", "-e", "stderr", "-c", &path]);
        daemon.wait_until("readiness of nginx", || TcpStream::connect(&authority).ok());
        Self { daemon, authority, certificates }
    }

    /// `host:port`.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// The private authority's certificate, for a TLS server.
    pub(crate) fn ca(&self) -> PathBuf {
        let certificates = self.certificates.as_ref().expect("the server speaks TLS");
        certificates.authority.clone()
    }

    /// A certificate that the private authority issued, and its key: the server's own, which will do
    /// for a client too.
    pub(crate) fn client_certificate(&self) -> (PathBuf, PathBuf) {
        let certificates = self.certificates.as_ref().expect("the server speaks TLS");
        (certificates.certificate.clone(), certificates.key.clone())
    }

    /// All requests so far, without that of this call.
    pub(crate) fn requests(&self) -> Vec<Access> {
        // nginx is one thread here, and writes a request's line before it turns to the next
        // request: once this request's line is there, those of all answers before it are.
        let marker = super::unique("/marker");
        let scheme = if self.certificates.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}{marker}", self.authority);
        let asked = Command::new("curl").args(["-sk", "-o", "/dev/null", &url]).status();
        assert!(asked.expect("curl runs").success());
        let log = self.daemon.directory().join("access.log");
        self.daemon.wait_until("nginx's access log", || {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            log.contains(&marker).then(|| {
                log.lines()
                    .filter(|line| !line.contains("\"/marker-"))
                    .map(|line| serde_json::from_str(line).expect("the log format is JSON"))
                    .collect()
            })
        })
    }
}

fn ssl_directives(tls: Tls<'_>, files: &Certificates) -> String {
    let mut directives = format!(
        "ssl_certificate {};\nssl_certificate_key {};\nssl_protocols {};\n",
        files.certificate.display(),
        files.key.display(),
        tls.protocols
    );
    if tls.asks_for_certificate {
        let authority = files.authority.display();
        let asks = format!("ssl_client_certificate {authority};\nssl_verify_client on;\n");
        directives.push_str(&asks);
    }
    directives
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::image::{Image, OCI_MANIFEST};
    use crate::support::registry::Registry;

    #[test]
    fn nginx_logs_bytes_and_connections_of_the_registry_behind_it() {
        let registry = Registry::start();
        let reference = registry.push(&Image::small(), "behind/nginx", "v1");
        assert!(reference.ends_with("/behind/nginx:v1"));
        let nginx = Nginx::start(&Nginx::proxy(registry.authority(), "limit_rate 1024m;"));
        let url = format!("http://{}/v2/behind/nginx/manifests/v1", nginx.authority());
        let mut answer = ureq::get(url).header("accept", OCI_MANIFEST).call().unwrap();
        let manifest = answer.body_mut().read_to_vec().unwrap();
        let requests = nginx.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        assert_eq!(requests[0].path, "/v2/behind/nginx/manifests/v1");
        assert_eq!((requests[0].method.as_str(), requests[0].status), ("GET", 200));
        assert_eq!(requests[0].bytes, manifest.len() as u64);
        assert!(requests[0].connection > 0);
    }

    #[test]
    fn tls_servers_have_certificates_of_their_own_authority() {
        let curl = |nginx: &Nginx| {
            let url = format!("https://{}/", nginx.authority());
            let mut command = Command::new("curl");
            command.args(["-s", "-o", "/dev/null", "--cacert"]).arg(nginx.ca()).arg(url);
            command.status().unwrap().code()
        };
        let answer = "location / { return 200 hello; }";
        assert_eq!(curl(&Nginx::start_tls(answer, "localhost", Validity::Now)), Some(0));
        // curl's code for a certificate that does not verify.
        assert_eq!(curl(&Nginx::start_tls(answer, "localhost", Validity::Expired)), Some(60));
    }
}
