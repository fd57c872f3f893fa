//! Registries that want to know who asks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES};
use crate::support::faulty::{Fault, FaultyRegistry, Gate, Login, dead_authority};
use crate::support::image::{Image, Layer, Recipe};
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::{one_version, unique};

fn with_tokens(login: Option<(&str, &str)>) -> FaultyRegistry {
    let registry = FaultyRegistry::start();
    let login = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
    registry.require(Login::Token { login });
    registry
}

fn is_there(daemon: &Containerd, reference: &str) -> bool {
    Store::new(daemon, KUBERNETES).images().contains_key(reference)
}

one_version! {
    fn basic_credentials_open_a_registry(daemon) {
        let registry = Registry::with_login("ann", "hunter2:e:c");
        let reference = registry.push_new(&Image::small());
        let pull = |login: &[&str]| Pullctl::pull(daemon, &reference).args(login).run();
        pull(&[]).ended_with(4);
        let wrong = pull(&["-u", "ann:wrong"]).ended_with(4);
        assert!(!wrong.stderr.contains("wrong"), "the password is shown: {}", wrong.stderr);
        pull(&["-u", "ann:hunter2:e:c"]).succeeded();
        assert!(is_there(daemon, &reference));
    }

    fn tokens_are_fetched_once_for_a_whole_pull(daemon) {
        let registry = with_tokens(None);
        let names = [(); 8].map(|()| unique("token"));
        let layers = names.iter().map(|name| Layer::file(name, name.as_bytes())).collect();
        let reference = registry.add_new(&Recipe::new(layers).build());
        Pullctl::pull(daemon, &reference).run().succeeded();
        let tokens = registry.requests_for("/token");
        assert_eq!(tokens.len(), 1, "{tokens:?}");
        assert!(tokens[0].query.contains("service=test"), "{tokens:?}");
        assert!(tokens[0].query.contains("pull"), "{tokens:?}");
    }

    fn a_token_endpoint_gets_the_login_and_the_registry_only_the_token(daemon) {
        let registry = with_tokens(Some(("ann", "hunter2")));
        let reference = registry.add_new(&Image::small());
        Pullctl::pull(daemon, &reference).run().ended_with(4);
        Pullctl::pull(daemon, &reference).args(["-u", "ann:wrong"]).run().ended_with(4);
        registry.forget_requests();
        Pullctl::pull(daemon, &reference).args(["-u", "ann:hunter2"]).run().succeeded();
        for request in registry.requests_for("/v2/test") {
            let given = request.header("authorization").unwrap_or("Bearer ");
            assert!(given.starts_with("Bearer "), "{given}");
        }
    }

    fn a_token_that_expires_in_mid_pull_is_replaced(daemon) {
        let registry = with_tokens(None);
        let image = Recipe::new(vec![Layer::noise(&unique("expires"), 4_000_000)]).build();
        let layer = image.layers()[0].digest.to_string();
        let reference = registry.add_new(&image);
        let gate = Gate::new();
        registry.script(&layer, vec![None, None, Some(Fault::Stall(1000, gate.clone()))]);
        let running = Pullctl::pull(daemon, &reference)
            .args(["--chunk-size", "512KiB", "--concurrency", "1"])
            .spawn();
        gate.wait_until_reached();
        registry.revoke_tokens();
        gate.open();
        running.wait().succeeded();
        assert!(is_there(daemon, &reference));
    }

    fn a_token_endpoint_that_fails_is_named(daemon) {
        let registry = with_tokens(None);
        registry.always("/token", Fault::Status(500, Vec::new()));
        let reference = registry.add_new(&Image::small());
        let outcome = Pullctl::pull(daemon, &reference).args(["--retries", "1"]).run();
        outcome.ended_with(5).says("token endpoint").says("500");
    }

    fn a_proxy_is_asked_for_other_hosts_and_not_for_loopback(daemon) {
        let proxy = FaultyRegistry::start();
        let image = Image::small();
        let repository = unique("proxied/image");
        proxy.add(&image, &repository, "v1");
        let reference = format!("registry.example/{repository}:v1");
        Pullctl::pull(daemon, &reference)
            .env("http_proxy", format!("http://{}", proxy.authority()))
            .run()
            .succeeded();
        let asked = proxy.requests();
        assert!(asked.iter().all(|request| request.proxied), "{asked:?}");
        assert_eq!(asked[0].header("host"), Some("registry.example"));

        let local = proxy.add_new(&Image::small());
        let dead = format!("http://{}", dead_authority());
        Pullctl::pull(daemon, &local).env("http_proxy", dead).run().succeeded();
    }

    fn proxies_are_read_in_upper_and_in_lower_case_which_wins(daemon) {
        let (proxy, other) = (FaultyRegistry::start(), FaultyRegistry::start());
        let [url, other_url] = [&proxy, &other].map(|p| format!("http://{}", p.authority()));
        for (variable, winner) in [
            ("HTTP_PROXY", "http_proxy"),
            ("http_proxy", "http_proxy"),
            ("ALL_PROXY", "all_proxy"),
            ("all_proxy", "all_proxy"),
        ] {
            let repository = unique("proxied/image");
            proxy.add(&Image::small(), &repository, "v1");
            let reference = format!("registry.example/{repository}:v1");
            let pull = Pullctl::pull(daemon, &reference);
            let pull = if variable == winner { pull } else { pull.env(winner, "") };
            pull.env(variable, &url).run().succeeded();
            Pullctl::pull(daemon, &reference)
                .env(&winner.to_uppercase(), &other_url)
                .env(winner, &url)
                .run()
                .succeeded();
        }
        assert_eq!(other.requests(), []);
        // The proxy knows no way there: that it is asked for one is the point.
        for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            proxy.forget_requests();
            Pullctl::new()
                .on(daemon)
                .args(["pull", "--retries", "0", "registry.example/secure/image:v1"])
                .env(variable, &url)
                .run()
                .ended_with(5);
            let asked = proxy.requests();
            assert!(!asked.is_empty(), "{variable}");
            let is_tunnel = |line: &String| line == "CONNECT registry.example:443";
            assert!(asked.iter().map(|r| r.line()).all(|line| is_tunnel(&line)), "{asked:?}");
        }
    }

    fn all_proxy_is_for_both_schemes_and_no_proxy_names_those_that_are_reached_directly(daemon) {
        let (proxy, registry) = (FaultyRegistry::start(), FaultyRegistry::start());
        let repository = unique("proxied/image");
        let image = Image::small();
        proxy.add(&image, &repository, "v1");
        registry.add(&image, &repository, "v1");
        // Loopback by its address and not by its name, so that it may be proxied.
        let resolve = format!("near.example:{}", registry.authority());
        let reference = format!("near.example/{repository}:v1");
        let pull = |excluded: &str| {
            Pullctl::pull(daemon, &reference)
                .args(["--resolve", &resolve])
                .env("all_proxy", format!("http://{}", proxy.authority()))
                .env("NO_PROXY", excluded)
                .run()
                .succeeded()
        };
        pull("far.example");
        assert!(!proxy.requests().is_empty());
        assert_eq!(registry.requests(), []);
        for excluded in ["far.example,near.example", ".example", "*"] {
            proxy.forget_requests();
            registry.forget_requests();
            pull(excluded);
            assert_eq!(proxy.requests(), [], "NO_PROXY={excluded}");
            assert!(!registry.requests().is_empty(), "NO_PROXY={excluded}");
        }
    }

    fn a_secret_may_be_for_several_registries_at_once(daemon) {
        let registry = with_tokens(Some(("ann", "hunter2")));
        let reference = registry.add_new(&Image::small());
        let (_, port) = reference.split_once('/').unwrap().0.split_once(':').unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display().to_string();
        for (key, code) in [
            (format!("127.0.*.1:{port}"), 0),
            (format!("127.*.*.*:{port}/test"), 0),
            (format!("127.*.*.*:{port}/other"), 4),
            (format!("127.*:{port}"), 4),
            ("127.*.*.*".to_owned(), 4),
        ] {
            let logins = format!(r#"{{"auths":{{"{key}":{{"auth":"YW5uOmh1bnRlcjI="}}}}}}"#);
            let data = BASE64.encode(logins);
            let secret = format!("kind: Secret\ndata: {{.dockerconfigjson: {data}}}\n");
            std::fs::write(file.path(), secret).unwrap();
            let pull = Pullctl::pull(daemon, &reference).args(["--auth-file", &path]);
            let outcome = pull.run();
            assert_eq!(outcome.code, Some(code), "{key}: {outcome:?}");
        }
    }
}
