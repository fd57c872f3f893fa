//! Registries behind TLS, reached under a name that is no loopback name: there certificates count.

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES};
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Image, Layer, Recipe};
use crate::support::nginx::{Nginx, Tls};
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::{Validity, one_version, unique};

/// The name that the certificate of [`secured`] has.
const NAMED: &str = "registry.example";

/// Bytes of the image's file.
const SIZE: usize = 12_000_000;
/// How many connections a run may open to one host: one for documents, and sixteen that carry blobs,
/// for each of which another may have come free while it was dialled.
const MOST_CONNECTIONS: usize = 1 + 2 * 16;

/// A registry behind TLS, and a proxy through which it is found as every name that is tried.
struct Secured {
    daemon: &'static Containerd,
    nginx: Nginx,
    proxy: FaultyRegistry,
    /// `repository:tag` of an image in the registry.
    image: String,
    _registry: Registry,
}

impl Secured {
    fn new(daemon: &'static Containerd, validity: Validity) -> Self {
        Self::with(daemon, Tls::new(NAMED, validity))
    }

    fn with(daemon: &'static Containerd, tls: Tls<'_>) -> Self {
        let registry = Registry::start();
        let repository = unique("secured/image");
        let layers = vec![Layer::noise(&repository, SIZE)];
        registry.push(&Recipe::new(layers).build(), &repository, "v1");
        let proxied = Nginx::proxy(registry.authority(), "");
        let nginx = Nginx::start_with(&proxied, tls);
        let proxy = FaultyRegistry::start();
        for name in [NAMED, "other.example"] {
            proxy.tunnel(&format!("{name}:443"), nginx.authority());
        }
        Self { daemon, nginx, proxy, image: format!("{repository}:v1"), _registry: registry }
    }

    /// A pull of the image from the host `name`.
    fn pull(&self, name: &str) -> Pullctl {
        Pullctl::new()
            .on(self.daemon)
            .env("https_proxy", format!("http://{}", self.proxy.authority()))
            .args(["pull", "--retries", "1", &format!("{name}/{}", self.image)])
    }

    fn is_there(&self, name: &str) -> bool {
        let images = Store::new(self.daemon, KUBERNETES).images();
        images.contains_key(&format!("{name}/{}", self.image))
    }
}

one_version! {
    fn a_certificate_of_an_authority_in_the_systems_store_is_trusted(daemon) {
        let secured = Secured::new(daemon, Validity::Now);
        secured.pull(NAMED).env("SSL_CERT_FILE", secured.nginx.ca()).run().succeeded();
        assert!(secured.is_there(NAMED));
    }

    fn an_authority_of_hosts_toml_joins_those_of_the_system(daemon) {
        let secured = Secured::new(daemon, Validity::Now);
        let stranger = Nginx::start_tls("location / { return 404; }", NAMED, Validity::Now);
        let (right, wrong) = (secured.nginx.ca(), stranger.ca());
        let hosts = tempfile::tempdir().unwrap();
        let directory = hosts.path().join(NAMED);
        std::fs::create_dir(&directory).unwrap();
        for (system, ca, code) in [(&wrong, &wrong, 5), (&right, &wrong, 0), (&wrong, &right, 0)] {
            std::fs::write(directory.join("hosts.toml"), format!("ca = {ca:?}\n")).unwrap();
            let pull = secured.pull(NAMED).env("SSL_CERT_FILE", system);
            pull.args(["--hosts-dir".as_ref(), hosts.path()]).run().ended_with(code);
            assert_eq!(secured.is_there(NAMED), code == 0, "{system:?} {ca:?}");
        }
    }

    fn a_certificate_of_an_unknown_authority_is_refused_with_the_way_to_trust_it(daemon) {
        let secured = Secured::new(daemon, Validity::Now);
        let outcome = secured.pull(NAMED).run().ended_with(5);
        let outcome = outcome.says(NAMED).says("certificate").says("hint: ");
        assert!(outcome.stderr.contains("--skip-verify"), "{}", outcome.stderr);
        assert!(!secured.is_there(NAMED));
    }

    fn skip_verify_skips_the_verification_and_stays_with_tls(daemon) {
        for validity in [Validity::Now, Validity::Expired] {
            let secured = Secured::new(daemon, validity);
            secured.pull("other.example").args(["--skip-verify"]).run().succeeded();
            assert!(secured.is_there("other.example"));
            let asked = secured.proxy.requests();
            assert!(asked.iter().all(|request| request.method == "CONNECT"), "{asked:?}");
        }
    }

    fn tls_1_2_and_1_3_are_spoken_and_nothing_older(daemon) {
        for (protocols, code) in [("TLSv1.2", 0), ("TLSv1.3", 0), ("TLSv1 TLSv1.1", 5)] {
            let tls = Tls { protocols, ..Tls::new(NAMED, Validity::Now) };
            let secured = Secured::with(daemon, tls);
            let pull = secured.pull(NAMED).env("SSL_CERT_FILE", secured.nginx.ca());
            let outcome = pull.run().ended_with(code);
            assert_eq!(secured.is_there(NAMED), code == 0, "{protocols}: {outcome:?}");
        }
    }

    fn an_expired_certificate_is_called_expired(daemon) {
        let secured = Secured::new(daemon, Validity::Expired);
        let pull = secured.pull(NAMED).env("SSL_CERT_FILE", secured.nginx.ca());
        let outcome = pull.run().ended_with(5).says("certificate expired");
        // Either clock may be the wrong one.
        outcome.says("hint: renew the certificate of registry.example").says("clock");
    }

    fn a_certificate_of_another_name_is_refused_with_the_names_it_has(daemon) {
        let secured = Secured::new(daemon, Validity::Now);
        let pull = secured.pull("other.example").env("SSL_CERT_FILE", secured.nginx.ca());
        let outcome = pull.run().ended_with(5).says("certificate is not for this name");
        outcome.says("but for 127.0.0.1, registry.example").says("hint: use a name that is on");
    }

    fn plain_http_where_tls_is_wanted_is_told_with_the_flag_for_it(daemon) {
        let registry = Registry::start();
        let repository = unique("plain/image");
        registry.push(&Image::small(), &repository, "v1");
        let proxy = FaultyRegistry::start();
        proxy.tunnel("plain.example:443", registry.authority());
        Pullctl::new()
            .on(daemon)
            .env("https_proxy", format!("http://{}", proxy.authority()))
            .args(["pull", "--retries", "1", &format!("plain.example/{repository}:v1")])
            .run()
            .ended_with(5)
            .says("--plain-http");
    }

    fn connections_are_reused_and_blobs_are_not_fetched_twice(daemon) {
        let secured = Secured::new(daemon, Validity::Now);
        let pull = secured.pull(NAMED).env("SSL_CERT_FILE", secured.nginx.ca());
        pull.args(["--chunk-size", "64KiB"]).run().succeeded();
        let requests = secured.nginx.requests();
        let mut connections: Vec<u64> = requests.iter().map(|request| request.connection).collect();
        connections.sort_unstable();
        connections.dedup();
        assert!(requests.len() >= 184, "{requests:?}");
        assert!(connections.len() <= MOST_CONNECTIONS, "{} connections", connections.len());
        let ranges = requests.iter().filter(|request| request.status == 206);
        let layer: u64 = ranges.map(|request| request.bytes).sum();
        // On a machine that halts for a moment, some chunks lag behind and are asked for once more.
        assert!(layer < SIZE as u64 * 3 / 2, "{layer} bytes came");
    }

    fn a_registry_that_asks_for_a_certificate_gets_the_one_of_hosts_toml(daemon) {
        let tls = Tls { asks_for_certificate: true, ..Tls::new(NAMED, Validity::Now) };
        let secured = Secured::with(daemon, tls);
        let hosts = tempfile::tempdir().unwrap();
        let directory = hosts.path().join(NAMED);
        std::fs::create_dir(&directory).unwrap();
        let pull = |client: &str| {
            let toml = format!("ca = {:?}\n{client}", secured.nginx.ca());
            std::fs::write(directory.join("hosts.toml"), toml).unwrap();
            secured.pull(NAMED).args(["--hosts-dir".as_ref(), hosts.path()]).run()
        };
        let refused = pull("").ended_with(5).says("wants a client certificate");
        refused.says("400 No required SSL certificate").says("hint: ").says("client = ");
        assert!(!secured.is_there(NAMED));
        let (certificate, key) = secured.nginx.client_certificate();
        pull(&format!("client = [[{certificate:?}, {key:?}]]\n")).succeeded();
        assert!(secured.is_there(NAMED));
    }

    fn http_2_carries_what_is_small_and_connections_of_their_own_large_blobs(daemon) {
        let secured = Secured::with(daemon, Tls { http2: true, ..Tls::new(NAMED, Validity::Now) });
        let pull = secured.pull(NAMED).env("SSL_CERT_FILE", secured.nginx.ca());
        pull.args(["--chunk-size", "256KiB"]).run().succeeded();
        let requests = secured.nginx.requests();
        assert!(requests.len() >= 12, "{requests:?}");
        for request in &requests {
            // The layer comes in ranges, the configuration whole.
            let expected = if request.status == 206 { "HTTP/1.1" } else { "HTTP/2.0" };
            assert_eq!(request.protocol, expected, "{request:?}");
        }
    }
}
