//! Where functions lie in what is handed out: those side by side that a pull passes through.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::root;

const SOURCE: &str = "\
    __attribute__((noinline)) int needed_17h0123456789abcdefE(int a) { return a * 3; }\n\
    __attribute__((noinline)) int needless_17h0123456789abcdefE(int a) { return a * 5; }\n\
    __attribute__((noinline)) int needed_by_itself(int a) { return a * 7; }\n\
    int main(int count, char **arguments) {\n\
    return needed_17h0123456789abcdefE(count) + needless_17h0123456789abcdefE(count) +\n\
    needed_by_itself(count);\n}\n";

/// Builds [`SOURCE`] with `script` for the linker, and says which functions lie before all others.
fn laid_first(folder: &Path, script: Option<&Path>) -> Vec<String> {
    let (source, program) = (folder.join("program.c"), folder.join("program"));
    fs::write(&source, SOURCE).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-ffunction-sections", "-o"]).args([&program, &source]);
    if let Some(script) = script {
        compiler.arg(format!("-Wl,-T,{}", script.display()));
    }
    assert!(compiler.status().unwrap().success());
    let listed = Command::new("nm").args(["-n", "--defined-only"]).arg(&program).output().unwrap();
    let names = String::from_utf8(listed.stdout).unwrap();
    let functions = names.lines().filter_map(|line| line.split(' ').nth(2));
    functions.filter(|name| name.starts_with("need")).take(2).map(str::to_owned).collect()
}

#[test]
fn functions_of_a_trace_are_laid_side_by_side_and_found_by_what_of_their_names_lasts() {
    let folder = TempDir::new().unwrap();
    let needless = "needless_17h0123456789abcdefE".to_owned();
    assert!(laid_first(folder.path(), None).contains(&needless));
    let program = folder.path().join("program");
    let trace = folder.path().join("trace");
    // A function that calls itself has a number, one of another build another hash; those of libraries do not count.
    let traced = format!(
        "ob={}\nfn=needed_17hfedcba9876543210E'2\nfn=needed_by_itself\nob=/lib/libc.so.6\nfn={needless}\n",
        program.display()
    );
    fs::write(&trace, traced).unwrap();
    let mut made = Command::new(root().join("packaging/order.py"));
    let made = made.args([&program, &trace]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let script = folder.path().join("order.ld");
    fs::write(&script, made.stdout).unwrap();
    let first = laid_first(folder.path(), Some(&script));
    assert!(!first.contains(&needless), "{first:?}");
    let order =
        || Command::new(root().join("packaging/order.py")).args([&program, &trace]).output();
    let told = String::from_utf8(order().unwrap().stderr).unwrap();
    assert!(told.contains("is laid out already"), "{told}");

    laid_first(folder.path(), None);
    fs::write(&trace, "ob=/bin/another\nfn=needed_by_itself\n").unwrap();
    let told = String::from_utf8(order().unwrap().stderr).unwrap();
    assert!(told.contains("no trace is of"), "{told}");
}
