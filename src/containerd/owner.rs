//! Who holds a lease, told apart from every other process of the node, and whether it lives.

use std::fs;

/// A process that no other is mistaken for: process IDs come again, after a reboot at the latest.
pub(super) struct Owner {
    boot: String,
    /// In which process IDs are what they are: a container has its own.
    namespace: String,
    process: u32,
    started: String,
}

impl Owner {
    pub(super) fn current() -> Self {
        Self::of(std::process::id())
    }

    fn of(process: u32) -> Self {
        let read = |path: String| fs::read_to_string(path).unwrap_or_default();
        let boot = read("/proc/sys/kernel/random/boot_id".into()).trim().to_owned();
        let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let is_digit = |character: &char| character.is_ascii_digit();
        let namespace = namespace.to_string_lossy().chars().filter(is_digit).collect();
        let stat = read(format!("/proc/{process}/stat"));
        // The start time is the 22nd field; the second, the command, may hold anything.
        let after_command = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let started = after_command.split_whitespace().nth(19).unwrap_or("0").to_owned();
        Self { boot, namespace, process, started }
    }

    /// Whether `owner` is a process that can be seen from here, and runs.
    pub(super) fn is_alive(owner: &str) -> bool {
        let process = owner.split('/').nth(2).and_then(|process| process.parse().ok());
        process.is_some_and(|process| Self::of(process).to_string() == owner)
    }

    /// Whether `owner`, as [`Display`](std::fmt::Display) wrote it, is surely no more.
    pub(super) fn has_ended(owner: &str) -> bool {
        let mut parts = owner.split('/');
        let (Some(boot), Some(namespace)) = (parts.next(), parts.next()) else { return false };
        let Some(process) = parts.next().and_then(|process| process.parse().ok()) else {
            return false;
        };
        let here = Self::of(process);
        // Of another namespace's processes nothing is known until the next boot.
        here.boot != boot || here.namespace == namespace && here.to_string() != owner
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}/{}", self.boot, self.namespace, self.process, self.started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_of_processes_that_can_be_seen_it_is_known_that_they_have_ended() {
        let alive = Owner::current().to_string();
        let Owner { boot, process, started, .. } = Owner::current();
        let elsewhere = format!("{boot}/1/{process}/{started}");
        assert!(!Owner::has_ended(&alive));
        assert!(!Owner::has_ended(&elsewhere), "in another namespace");
        assert!(!Owner::has_ended("nonsense"));
        assert!(Owner::has_ended("another-boot/1/1/1"));
        for (owner, is_alive) in [
            (&*alive, true),
            (&*elsewhere, false),
            ("nonsense", false),
            ("another-boot/1/1/1", false),
        ] {
            assert_eq!(Owner::is_alive(owner), is_alive, "{owner}");
        }
    }
}
