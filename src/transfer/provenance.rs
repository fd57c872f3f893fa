//! Where an image can be had again: what registries have of it, whatever it is called where it goes.

use crate::containerd::labels;
use crate::reference::Reference;

/// Where all of an image can be had again, as far as that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The name by which a registry has it.
    pub reference: Option<Reference>,
    /// The repositories that have all of it.
    pub origins: Vec<Origin>,
}

/// A repository that has a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The registry's host, without port and brackets, as containerd's labels have it.
    pub host: String,
    /// The repository there.
    pub repository: String,
}

impl Provenance {
    /// That of the image `reference` of a registry.
    pub fn of(reference: &Reference) -> Self {
        match reference.is_nameless() {
            true => Self::default(),
            false => {
                Self { reference: Some(reference.clone()), origins: vec![Origin::of(reference)] }
            }
        }
    }

    /// That of an image called `name` which came by the name `source`, where that is another one, and
    /// which all `origins` have. Whoever gave it another name gave it one that leads nowhere.
    pub(super) fn named(name: &str, source: Option<Reference>, origins: Vec<Origin>) -> Self {
        let leads = |reference: &Reference| {
            !reference.is_nameless() && origins.contains(&Origin::of(reference))
        };
        let reference = source.filter(leads).or_else(|| name.parse().ok().filter(leads));
        Self { reference, origins }
    }

    /// By which name it came, where it is to be called otherwise.
    pub(super) fn other_name(&self, name: &Reference) -> Option<&Reference> {
        self.reference.as_ref().filter(|source| source.name() != name.name())
    }
}

impl Origin {
    /// The repository of `reference`.
    pub fn of(reference: &Reference) -> Self {
        let host = labels::host_name(reference.domain()).to_owned();
        Self { host, repository: reference.path().to_owned() }
    }

    /// As a reference begins, at the port that is usual.
    pub fn name(&self) -> String {
        let Self { host, repository } = self;
        match host.contains(':') {
            true => format!("[{host}]/{repository}"),
            false => format!("{host}/{repository}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(host: &str, repository: &str) -> Origin {
        Origin { host: host.to_owned(), repository: repository.to_owned() }
    }

    #[test]
    fn a_registrys_image_is_had_by_its_name_from_its_repository() {
        for (name, host, repository) in [
            ("busybox", "docker.io", "library/busybox"),
            ("localhost:5000/a/b:1", "localhost", "a/b"),
            ("[fd00::1]:5000/a:1", "fd00::1", "a"),
        ] {
            let reference: Reference = name.parse().unwrap();
            let found = Provenance::of(&reference);
            assert_eq!(found.origins, [origin(host, repository)], "{name}");
            assert_eq!(found.reference, Some(reference));
        }
        let nameless = Reference::nameless(crate::oci::Digest::of(b""));
        assert_eq!(Provenance::of(&nameless), Provenance::default());
    }

    #[test]
    fn a_name_that_none_of_the_repositories_has_leads_nowhere() {
        let origins = vec![origin("harbor.example", "k8s/pause"), origin("localhost", "pause")];
        for (name, leads) in [
            ("harbor.example/k8s/pause:3.6", true),
            ("localhost:5000/pause:3.6", true),
            ("registry.k8s.io/pause:3.6", false),
            ("Not/A name", false),
        ] {
            let found = Provenance::named(name, None, origins.clone());
            assert_eq!(found.reference.is_some(), leads, "{name}");
            assert_eq!(found.origins, origins);
        }
    }

    #[test]
    fn a_renamed_image_leads_where_it_came_from_as_long_as_that_is_known_to_have_it() {
        let origins = vec![origin("harbor.example", "k8s/pause")];
        let name = "registry.k8s.io/pause:3.6";
        for (source, leads) in
            [("harbor.example:8443/k8s/pause:3.6", true), ("harbor.example:8443/other:3.6", false)]
        {
            let source: Reference = source.parse().unwrap();
            let found = Provenance::named(name, Some(source.clone()), origins.clone());
            assert_eq!(found.reference, leads.then(|| source.clone()));
            assert_eq!(found.other_name(&name.parse().unwrap()), found.reference.as_ref());
            assert_eq!(found.other_name(&source), None);
        }
    }
}
