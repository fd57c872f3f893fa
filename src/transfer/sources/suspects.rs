//! Whose bytes make a blob wrong, when several hosts gave it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::oci::Digest;
use crate::registry::Repository;
use crate::sync::lock;

/// Suspicions about the blobs of one repository that came wrong and have not come right since. Clones
/// share them.
#[derive(Debug, Clone)]
pub(super) struct Suspicions {
    repository: Repository,
    blobs: Arc<Mutex<HashMap<Digest, Suspects>>>,
}

impl Suspicions {
    pub(super) fn new(repository: &Repository) -> Self {
        Self { repository: repository.clone(), blobs: Arc::default() }
    }

    /// The blob came wrong from `hosts`, those that are asked first in front. Tells whether other
    /// hosts are left to fetch it from.
    pub(super) fn wrong(&self, digest: &Digest, hosts: &[String]) -> bool {
        let mut blobs = lock(&self.blobs);
        let suspects =
            blobs.entry(*digest).or_insert_with(|| Suspects::new(self.repository.clone()));
        suspects.wrong(hosts)
    }

    /// The blob came right.
    pub(super) fn right(&self, digest: &Digest) {
        let suspects = lock(&self.blobs).remove(digest);
        if let Some(suspects) = suspects {
            suspects.right();
        }
    }
}

/// Finds the host of wrong bytes while a blob is fetched again and again.
///
/// One that gave the whole of a wrong blob is the one. Of several, only the first is left out, a
/// mirror before the registry, and the blob is fetched afresh: right now, it was that one; still
/// wrong, and the next one has to prove itself. Whoever was suspected for nothing is asked again.
#[derive(Debug)]
struct Suspects {
    repository: Repository,
    /// Without these the blob was wrong all the same, but for the last one, which is on trial.
    left_out: Vec<String>,
    /// Who else gave the wrong blob for which the last one is on trial.
    others: Vec<String>,
}

impl Suspects {
    fn new(repository: Repository) -> Self {
        Self { repository, left_out: Vec::new(), others: Vec::new() }
    }

    /// The blob came wrong from `hosts`, those that are asked first in front. Tells whether other
    /// hosts are left to fetch it from.
    fn wrong(&mut self, hosts: &[String]) -> bool {
        let Some((first, others)) = hosts.split_first() else { return false };
        if others.is_empty() {
            self.clear();
            return self.found(first);
        }
        // Another blob may have found the one meanwhile.
        if self.any_distrusted(hosts) {
            return true;
        }
        self.left_out.push(first.clone());
        self.others = others.to_vec();
        self.repository.distrust(&self.left_out)
    }

    /// The blob came right without those left out.
    fn right(mut self) {
        if !self.any_distrusted(&self.others)
            && let Some(last) = self.left_out.pop()
        {
            self.found(&last);
        }
        self.clear();
    }

    fn any_distrusted(&self, hosts: &[String]) -> bool {
        hosts.iter().any(|host| self.repository.distrusts(host))
    }

    fn clear(&mut self) {
        self.repository.trust(&std::mem::take(&mut self.left_out));
    }

    fn found(&self, host: &str) -> bool {
        self.repository.convict(host)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{HostOptions, Keychain, own_registry};
    use crate::progress::{Event, Sink};
    use crate::registry::{Policy, Registry};

    const HOSTS: [&str; 3] = ["first.example", "second.example", "registry.example"];

    struct Nobody;

    impl Sink for Nobody {
        fn event(&self, _: Event) {}
    }

    fn repository(names: &[&str]) -> Repository {
        let keychain = Arc::new(Keychain::default());
        let registry = Registry::new(Policy::default(), keychain, Arc::new(Nobody));
        let hosts = names.iter().map(|name| own_registry(name, &HostOptions::default()));
        let reference = "registry.example/team/app:v1".parse().unwrap();
        registry.unwrap().repository(hosts.collect(), &reference)
    }

    /// Those of [`HOSTS`] that are left out, or not.
    fn left_out(repository: &Repository, left_out: bool) -> Vec<String> {
        let hosts = HOSTS.iter().filter(|host| repository.distrusts(host) == left_out);
        hosts.map(|host| (*host).to_owned()).collect()
    }

    #[test]
    fn of_many_hosts_the_one_of_wrong_bytes_is_left_out_and_no_other() {
        for bad in HOSTS.map(str::to_owned) {
            let repository = repository(&HOSTS);
            let mut suspects = Suspects::new(repository.clone());
            let mut fetches = 1;
            while !repository.distrusts(&bad) {
                assert!(suspects.wrong(&left_out(&repository, false)));
                fetches += 1;
            }
            suspects.right();
            assert_eq!(left_out(&repository, true), [bad]);
            assert!(fetches <= 4, "fetched {fetches} times");
        }
    }

    #[test]
    fn nobody_is_blamed_for_what_another_blob_found_out_meanwhile() {
        let repository = repository(&HOSTS);
        let mut early = Suspects::new(repository.clone());
        assert!(early.wrong(&HOSTS.map(str::to_owned)));
        let second = [HOSTS[1].to_owned()];
        assert!(Suspects::new(repository.clone()).wrong(&second));
        let mut late = Suspects::new(repository.clone());
        assert!(late.wrong(&HOSTS[1..].iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()));
        early.right();
        late.right();
        assert_eq!(left_out(&repository, true), second);
    }

    #[test]
    fn the_last_host_is_asked_to_the_end() {
        let repository = repository(&HOSTS[..1]);
        assert!(!Suspects::new(repository.clone()).wrong(&[HOSTS[0].to_owned()]));
        assert_eq!(left_out(&repository, true), Vec::<String>::new());
    }
}
