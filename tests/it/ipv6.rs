//! A registry that is reached by an IPv6 address.

use crate::support::cli::Pullctl;
use crate::support::containerd::KUBERNETES;
use crate::support::each_version;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::Image;
use crate::support::store::Store;

each_version! {
    fn an_ipv6_address_is_asked_labelled_and_named(daemon) {
        // With the flag at once over HTTP, without it after a try over TLS, as loopback is.
        for flags in [&["--plain-http"][..], &[]] {
            let registry = FaultyRegistry::start_on("[::1]:0");
            let authority = registry.authority();
            assert!(authority.starts_with("[::1]:"), "{authority}");
            let image = Image::small();
            let reference = registry.add_new(&image);
            let pull = Pullctl::new().on(daemon).args(["pull", &reference]).args(flags);
            pull.run().succeeded();

            let asked = registry.requests();
            assert!(asked.iter().all(|request| request.header("host") == Some(&authority)));
            let store = Store::new(daemon, KUBERNETES);
            let images = store.images();
            let (repository, _) = reference.rsplit_once(':').unwrap();
            let by_digest = format!("{repository}@{}", image.digest());
            for name in [&reference, &by_digest, &image.config_digest()] {
                assert_eq!(images[name].target, image.digest(), "{name}");
            }
            let (_, path) = repository.split_once('/').unwrap();
            for blob in image.blobs.iter().chain([&image.root]) {
                let labels = &store.content()[&blob.digest.to_string()].labels;
                let source = labels.get("containerd.io/distribution.source.::1");
                assert_eq!(source.map(String::as_str), Some(path), "{labels:#?}");
            }
        }
    }
}
