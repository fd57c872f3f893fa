//! Transfers: closed ranges, bodies that break off, and servers that do not speak of ranges or
//! encode what they send. All of them come through.

use std::io::Read as _;
use std::process::{Command, Stdio};

use crate::support::cli::Pullctl;
use crate::support::containerd::KUBERNETES;
use crate::support::fault_case::{layer_of, layered, survives};
use crate::support::faulty::{Body, Fault, FaultyRegistry, Gate};
use crate::support::image::{Image, Layer, Packing, Recipe};
use crate::support::nginx::{Access, Nginx};
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::{each_version, unique, wait_until};

/// Bytes of the layer that were asked for, all requests together.
fn bytes_asked(registry: &FaultyRegistry, image: &Image) -> u64 {
    let length = image.layers()[0].bytes.len() as u64;
    let requests = registry.requests_for(&layer_of(image));
    requests
        .iter()
        .map(|request| {
            request.range(length).map_or(length, |range| range.end() + 1 - range.start())
        })
        .sum()
}

each_version! {
    fn large_blobs_come_in_closed_ranges_each_byte_once(daemon) {
        let image = Recipe::new(vec![Layer::noise(&unique("ranges"), 5_000_000)]).build();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        survives(daemon, &reference, &image);
        let length = image.layers()[0].bytes.len() as u64;
        let mut ranges: Vec<(u64, u64)> = registry
            .requests_for(&layer_of(&image))
            .iter()
            .filter_map(|request| request.range(length))
            .map(|range| (*range.start(), *range.end()))
            .collect();
        ranges.sort_unstable();
        assert!(ranges.len() >= 4, "{ranges:?}");
        let mut next = 0;
        for (first, last) in ranges {
            assert_eq!(first, next);
            next = last + 1;
        }
        assert_eq!(next, length);
    }

    fn a_body_that_breaks_off_goes_on_at_the_same_byte(daemon) {
        for fault in [Fault::Truncate(200_000), Fault::Reset(200_000)] {
            let image = layered();
            let registry = FaultyRegistry::start();
            let reference = registry.add_new(&image);
            registry.script(&layer_of(&image), vec![Some(fault.clone())]);
            survives(daemon, &reference, &image);
            let requests = registry.requests_for(&layer_of(&image));
            assert_eq!(requests.len(), 2, "{fault:?}: {requests:?}");
            let length = image.layers()[0].bytes.len() as u64;
            let resumed = requests[1].range(length).map(|range| *range.start());
            // A reset may overtake bytes that were sent before it; what arrived is not fetched again.
            assert!(resumed.is_some_and(|start| start > 0 || matches!(fault, Fault::Reset(_))));
        }
    }

    fn a_range_that_breaks_off_goes_on_at_the_same_byte(daemon) {
        // Five whole chunks: the file's header and the archive's end are 1536 bytes.
        let image = Recipe::new(vec![Layer::noise(&unique("broken"), (5 << 20) - 1536)]).build();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        registry.script(&layer_of(&image), vec![None, Some(Fault::Truncate(500_000))]);
        survives(daemon, &reference, &image);
        // The rest of the broken chunk is asked for again, and not what had come of it.
        assert_eq!(bytes_asked(&registry, &image), (6 << 20) - 500_000);
    }

    fn a_reset_in_the_middle_of_a_range_costs_only_what_had_not_come(daemon) {
        // Two whole chunks: too few for a pull to know that one of them lags behind.
        let image = Recipe::new(vec![Layer::noise(&unique("reset"), (4 << 20) - 1536)]).build();
        let layer = layer_of(&image);
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        let gate = Gate::new();
        registry.script(&layer, vec![Some(Fault::Break(500_000, gate.clone()))]);
        let pull = Pullctl::pull(daemon, &reference).args(["--chunk-size", "2MiB"]).spawn();
        gate.wait_until_reached();
        // A reset may overtake bytes that were sent before it, so they must have come first.
        let ingest = format!("layer-{layer}");
        let offset = || Store::new(daemon, KUBERNETES).ingests().get(&ingest).copied();
        daemon.wait_until("what was sent, in the layer's ingest", || {
            offset().filter(|bytes| *bytes == 500_000)
        });
        gate.open();
        pull.wait().succeeded();
        let store = Store::new(daemon, KUBERNETES);
        assert!(store.blob(&layer) == image.layers()[0].bytes, "the layer differs");
        let length = image.layers()[0].bytes.len() as u64;
        let asked = registry.requests_for(&layer);
        let resumed = asked.iter().filter_map(|request| request.range(length));
        assert!(resumed.clone().any(|range| range == (500_000..=(2 << 20) - 1)), "{asked:?}");
        assert_eq!(bytes_asked(&registry, &image), (6 << 20) - 500_000);
    }

    fn servers_without_ranges_are_served_by_one_stream(daemon) {
        for fault in [Fault::IgnoreRange, Fault::Chunked] {
            let image = Recipe::new(vec![Layer::noise(&unique("stream"), 5_000_000)]).build();
            let registry = FaultyRegistry::start();
            let reference = registry.add_new(&image);
            registry.always(&layer_of(&image), fault);
            survives(daemon, &reference, &image);
            let requests = registry.requests_for(&layer_of(&image));
            assert_eq!(requests.len(), 1, "{requests:?}");
        }
    }

    fn a_proxy_that_compresses_bodies_on_the_way_changes_nothing(daemon) {
        let image = layered();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        let packed = Layer::pack(&image.layers()[0].bytes, Packing::Gzip).blob.bytes;
        let path = format!("{}/blobs/{}", path_of(&reference), layer_of(&image));
        registry.serve(&path, "application/octet-stream", None, Body::from(packed));
        let encoded = Fault::Headers(vec![("Content-Encoding", "gzip".to_owned())]);
        registry.always(&layer_of(&image), encoded);
        survives(daemon, &reference, &image);
        let requests = registry.requests_for(&layer_of(&image));
        assert_eq!(requests[0].header("accept-encoding").unwrap_or("identity"), "identity");
    }

    fn bytes_beyond_the_promised_ones_are_never_kept(daemon) {
        let image = layered();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        registry.always(&layer_of(&image), Fault::Overrun(1000));
        survives(daemon, &reference, &image);
    }
}

/// `/v2/repository` of a reference by tag.
fn path_of(reference: &str) -> String {
    let (_, name) = reference.split_once('/').unwrap();
    let (repository, _) = name.rsplit_once(':').unwrap();
    format!("/v2/{repository}")
}

/// A server that hangs up on who does not read cuts a range that a slow consumer lets rest.
#[test]
fn what_a_server_cuts_off_while_the_consumer_rests_is_asked_for_again() {
    const MIB: u64 = 1 << 20;
    let registry = Registry::start();
    let repository = unique("resting/image");
    let image = Recipe::new(vec![Layer::noise(&repository, 32 << 20)]).build();
    registry.push(&image, &repository, "v1");
    let impatient = "send_timeout 1s;\nproxy_buffering off;";
    let nginx = Nginx::start(&Nginx::proxy(registry.authority(), impatient));
    let reference = format!("{}/{repository}:v1", nginx.authority());
    let mut rested = Command::new(env!("CARGO_BIN_EXE_pullctl"))
        .args(["save", "--from", "registry", "--plain-http", "-o", "-"])
        // A range that is longer than what may be fetched ahead.
        .args(["--chunk-size", "64MiB", "--memory", "64MiB", &reference])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut reader = rested.stdout.take().unwrap();
    let mut archive = vec![0];
    reader.read_exact(&mut archive).unwrap();
    let is_cut = |access: &Access| {
        access.path.contains("/blobs/") && access.bytes > MIB && access.bytes < (32 << 20)
    };
    wait_until("a range that is cut", || nginx.requests().iter().any(is_cut).then_some(()));
    reader.read_to_end(&mut archive).unwrap();
    assert!(rested.wait().unwrap().success());
    let layer = &image.layers()[0].bytes;
    assert!(archive.windows(layer.len()).step_by(512).any(|bytes| bytes == layer), "another layer");
}
