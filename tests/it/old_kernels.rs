//! Kernels of nodes that lack what newer ones have: to pullctl alone, each of the system calls from a number
//! on is unknown, as it is to a kernel that was made before them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::containerd::{Containerd, Version};
use crate::support::damage::directory_of;
use crate::support::image::{Layer, Packing, Recipe};
use crate::support::registry::Registry;
use crate::support::store::Store;
use crate::support::tree::{Tree, curious, curious_above};
use crate::support::unique;

/// The first call of Linux 5.1; 5.2 made mounts without a place, 5.6 `openat2`. The numbers are the same on
/// all machines from here on.
const SINCE_5_1: &str = "424";

/// The first call of Linux 3.14 on x86-64: what CentOS 7 has ends before.
const SINCE_3_14: &str = "314";

const FILTER: &str = r#"
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int count, char **arguments) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, atoi(arguments[1]), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { 4, code };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        return 125;
    execv(arguments[2], arguments + 2);
    return 126;
}
"#;

/// A program that runs another one on such a kernel.
fn filter(folder: &Path) -> PathBuf {
    let (code, program) = (folder.join("filter.c"), folder.join("filter"));
    fs::write(&code, FILTER).unwrap();
    assert!(Command::new("cc").arg("-o").args([&program, &code]).status().unwrap().success());
    program
}

fn findings(outcome: &Outcome) -> Vec<Value> {
    let told: Value =
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"));
    told["images"][0]["findings"].as_array().unwrap_or_else(|| panic!("{outcome:?}")).clone()
}

#[test]
fn what_newer_kernels_have_is_done_without() {
    let calls =
        if cfg!(target_arch = "x86_64") { vec![SINCE_5_1, SINCE_3_14] } else { vec![SINCE_5_1] };
    let folder = tempfile::tempdir().unwrap();
    let filter = filter(folder.path());
    let daemon = Containerd::shared(Version::V2_1);
    let registry = Registry::start();
    for unknown_from in calls {
        let own = Tree::new().file(&unique("own"), b"own").file("large", &[7; 300_000]);
        let layers = [curious(), curious_above(), own]
            .map(|tree| Layer::pack(&tree.into_tar(), Packing::Gzip));
        let image = Recipe::new(layers.to_vec()).build();
        let reference = registry.push_new(&image);
        let namespace = unique("old-kernel");
        let pullctl = |arguments: &[&str]| {
            let pullctl = Pullctl::run_by(&filter, &[unknown_from]).on(daemon);
            pullctl.args(["-n", &namespace]).args(arguments)
        };
        let check =
            || pullctl(&["check", "--plain-http", "--deep", "-o", "json", &reference]).run();
        let pull = ["pull", "--plain-http", "--unpacker", "direct", &reference];
        pullctl(&pull).run().succeeded();
        let checked = check().succeeded();
        assert_eq!(findings(&checked), [] as [Value; 0], "{unknown_from}: {checked:?}");

        let archive = folder.path().join(unknown_from);
        let archive = archive.to_str().unwrap();
        pullctl(&["save", "-o", archive, &reference]).run().succeeded();
        pullctl(&["rm", &reference]).run().succeeded();
        pullctl(&["load", "-i", archive]).run().succeeded();

        let store = Store::new(daemon, &namespace);
        fs::write(directory_of(&store, &image.chain_id()).join("large"), [7; 299_999]).unwrap();
        let found = findings(&check());
        assert!(
            found.iter().any(|it| it.to_string().contains("large")),
            "{unknown_from}: {found:?}"
        );
    }
}
