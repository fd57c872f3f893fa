//! The way from an empty node to a private image, as the documentation writes it down.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES};
use crate::support::each_version;
use crate::support::harbor::{Harbor, ROBOT};
use crate::support::image::Image;
use crate::support::store::Store;

/// Where the commands are.
const PAGE: &str = "docs/registries.md";

/// A prompt and its command.
struct Step {
    command: String,
    /// What the page shows below it.
    output: String,
}

/// The first block of commands on the page.
fn steps() -> Vec<Step> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap();
    let (_, block) = page.split_once("```\n$ ").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let step = |text: &str| {
        let (command, output) = text.split_once('\n').unwrap_or((text, ""));
        Step { command: command.to_owned(), output: output.to_owned() }
    };
    block.split("\n$ ").map(step).collect()
}

fn write_program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Writes into `directory` what the node's owner has at hand, and the node itself: a script that
/// runs `commands` where `/etc/containerd` and `/root` are empty and `daemon` is at its usual place.
fn node(directory: &Path, daemon: &Containerd, harbor: &Harbor, commands: &[&str]) {
    fs::copy(harbor.ca(), directory.join("harbor-ca.crt")).unwrap();
    fs::write(directory.join("token"), ROBOT.password).unwrap();
    let programs = directory.join("programs");
    fs::create_dir(&programs).unwrap();
    // The build folder may be below /root.
    fs::copy(env!("CARGO_BIN_EXE_pullctl"), programs.join("built")).unwrap();
    // Stands for the DNS that knows Harbor.
    let resolve = harbor.resolve();
    let pullctl = format!(
        "#!/bin/sh\ncase $1 in\n\
         login | pull) exec built \"$@\" --resolve {resolve} ;;\n\
         *) exec built \"$@\" ;;\nesac\n"
    );
    write_program(&programs.join("pullctl"), &pullctl);
    let (below, socket) = (directory.display(), daemon.socket());
    let daemon = socket.parent().unwrap().display();
    let script = format!(
        "cd {below}\n\
         mkdir scratch\nmount -t tmpfs none scratch\nmkdir scratch/upper scratch/work\n\
         mount -t overlay -o lowerdir=/etc,upperdir=scratch/upper,workdir=scratch/work none /etc\n\
         mkdir -p /etc/containerd\nmount -t tmpfs none /etc/containerd\n\
         mount -t tmpfs none /root\n\
         mount -t tmpfs none /run\nmkdir /run/containerd\n\
         mount --bind {daemon} /run/containerd\n\
         {}\n",
        commands.join("\n")
    );
    fs::write(directory.join("node.sh"), script).unwrap();
}

each_version! {
    fn six_commands_lead_from_an_empty_node_to_a_private_image(daemon) {
        let steps = steps();
        let commands: Vec<&str> = steps.iter().map(|step| step.command.as_str()).collect();
        assert_eq!(commands.len(), 6, "{commands:?}");
        let harbor = Harbor::start();
        let image = Image::small();
        let reference = harbor.push_as(&image, "team/cart", "v7");
        let directory = tempfile::tempdir().unwrap();
        node(directory.path(), daemon, &harbor, &commands);
        let path = format!("{}/programs:/usr/sbin:/usr/bin:/sbin:/bin", directory.path().display());
        let outcome = Pullctl::script(&directory.path().join("node.sh"))
            .env("HOME", "/root")
            .env("DOCKER_CONFIG", "/root/.docker")
            .env("PATH", path)
            .run()
            .succeeded();

        // Of the pull and the list, the page shows what is another image's.
        let shown: String = steps[..4].iter().map(|step| step.output.clone() + "\n").collect();
        let shown = shown.trim_start();
        assert!(outcome.stdout.starts_with(shown), "not as shown:\n{shown}\n{}", outcome.stdout);
        let listed = |line: &str| line.starts_with(&format!("{reference} ")) && line.ends_with(" s");
        let last = outcome.stdout.lines().find(|line| listed(line));
        assert!(last.is_some(), "{}", outcome.stdout);
        assert_eq!(Store::new(daemon, KUBERNETES).images()[&reference].target, image.digest());
        // What became of the node stays in its own mounts.
        assert!(!Path::new("/etc/containerd/certs.d/harbor.example").exists());
    }
}
