//! Images under another name: what is missing of them is asked for where they came from.

use serde_json::Value;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::Containerd;
use crate::support::damage::edit_blob;
use crate::support::faulty::{Fault, FaultyRegistry};
use crate::support::image::Image;
use crate::support::store::Store;
use crate::support::{each_version, unique};

/// An image that is called as if it were of another registry than the one that it came from.
struct Renamed<'d> {
    daemon: &'d Containerd,
    namespace: String,
    image: Image,
    source: FaultyRegistry,
    named: FaultyRegistry,
    reference: String,
    name: String,
}

impl<'d> Renamed<'d> {
    fn pulled(daemon: &'d Containerd) -> Self {
        let (source, named) = (FaultyRegistry::start(), FaultyRegistry::start());
        let image = Image::small();
        let reference = source.add_new(&image);
        let name = named.add_new(&image);
        let namespace = unique("renamed");
        let renamed = Self { daemon, namespace, image, source, named, reference, name };
        let (reference, name) = (&renamed.reference, &renamed.name);
        renamed.run(&["pull", "--plain-http", reference, "--as", name]).succeeded();
        renamed.source.forget_requests();
        renamed.named.forget_requests();
        renamed
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        Pullctl::new().on(self.daemon).args(["-n", &self.namespace]).args(arguments).run()
    }

    fn repair(&self) -> Outcome {
        self.run(&["check", "--plain-http", "-o", "json", "--repair", &self.name])
    }

    /// Takes bytes away from its layer.
    fn damage(&self) -> String {
        let layer = self.image.layers()[0].digest.to_string();
        edit_blob(self.daemon, &layer, |bytes| bytes.truncate(10));
        layer
    }
}

fn told(outcome: &Outcome) -> Value {
    let told: Value =
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"));
    told["images"][0].clone()
}

fn repository(reference: &str) -> &str {
    reference.rsplit_once(':').unwrap().0
}

each_version! {
    fn what_is_missing_of_a_renamed_image_is_fetched_where_it_came_from(daemon) {
        let renamed = Renamed::pulled(daemon);
        let layer = renamed.damage();
        let outcome = renamed.repair().succeeded();
        let told = told(&outcome);
        assert_eq!(told["findings"][0]["repaired"], true, "{outcome:?}");
        assert_eq!(told["remarks"][0]["code"], "came-from", "{outcome:?}");
        let said = told["remarks"][0]["what"].as_str().unwrap();
        let (source, name) = (repository(&renamed.reference), repository(&renamed.name));
        assert!(said.contains(&format!("came from {source}, which is asked before {name}")), "{said}");
        assert_eq!(renamed.source.requests_for(&layer).len(), 1);
        assert_eq!(renamed.named.requests(), []);
    }

    fn a_renamed_image_is_mended_by_its_name_where_its_source_has_it_no_more(daemon) {
        let renamed = Renamed::pulled(daemon);
        let layer = renamed.damage();
        renamed.source.always(&layer, Fault::Status(404, Vec::new()));
        renamed.repair().succeeded();
        assert_eq!(renamed.named.requests_for(&layer).len(), 1);

        renamed.damage();
        renamed.named.always(&layer, Fault::Status(404, Vec::new()));
        let outcome = renamed.repair().ended_with(7);
        let lines: Vec<&str> = outcome.stderr.lines().collect();
        let [first, second] = [&renamed.reference, &renamed.name].map(|name| {
            let begin = format!("  {}: ", repository(name));
            lines.iter().position(|line| line.starts_with(&begin) && line.contains("404"))
        });
        assert!(first.is_some() && first < second, "{outcome:?}");
        let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
        let failure = &document["failures"][0];
        assert!(failure["error"].as_str().unwrap().contains("404"), "{document}");
        assert!(failure["exit_code"].is_number() && document["warnings"] == Value::Array(vec![]));
    }

    fn where_an_image_came_from_goes_along_with_copies_and_is_shown(daemon) {
        let renamed = Renamed::pulled(daemon);
        let copied = unique("copied");
        let [from, to] = [&renamed.namespace, &copied]
            .map(|namespace| format!("containerd://{namespace}/{}", renamed.name));
        renamed.run(&["copy", &from, &to]).succeeded();
        let images = Store::new(daemon, &copied).images();
        assert_eq!(images[&renamed.name].labels["pullctl.io/source"], renamed.reference);
        let source = repository(&renamed.reference);
        let shown = renamed.run(&["inspect", &renamed.name]).succeeded();
        assert!(shown.stdout.contains("came from") && shown.stdout.contains(source), "{shown:?}");
        let shown = renamed.run(&["inspect", "-o", "json", &renamed.name]).succeeded();
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
        assert_eq!(shown["came_from"], serde_json::json!([source]));
        let remote = renamed.run(&["inspect", "--plain-http", "--remote", &renamed.name]);
        remote.succeeded().says(&format!("came from {}", renamed.reference));
    }

    fn doctor_asks_the_registry_that_a_renamed_image_came_from_as_well(daemon) {
        let renamed = Renamed::pulled(daemon);
        let outcome = renamed.run(&["doctor", "--probe", "-o", "json"]);
        assert!(matches!(outcome.code, Some(0 | 1)), "{outcome:?}");
        assert!(!renamed.source.requests().is_empty(), "{outcome:?}");
        assert!(!renamed.named.requests().is_empty(), "{outcome:?}");
    }

    fn the_lock_of_a_renamed_image_is_compared_where_it_comes_from(daemon) {
        let renamed = Renamed::pulled(daemon);
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("images.lock");
        let lock = lock.to_str().unwrap();
        let list = format!("{} as={}\n", renamed.reference, renamed.name);
        let command = || Pullctl::new().on(daemon).args(["lock", "--plain-http"]);
        command().args(["-f", "-", "-o", lock]).input(list).run().succeeded();
        command().args(["--check", "-f", lock]).run().succeeded();
        assert_eq!(renamed.named.requests(), []);
    }
}
