//! Archives of images, for cases that load where others pull, and a layout, for who pushes without a
//! daemon.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::cases::{Act, Input};
use crate::contestant::Programs;
use crate::process;

/// Loads one archive after the other, as a script of an admin does.
const LOOP: &str = r#"
ctr=$1 address=$2 namespace=$3
shift 3
for archive; do
    "$ctr" --address "$address" --namespace "$namespace" images import "$archive"
done
"#;

/// What a layout's image is called.
const TAG: &str = "v1";

/// A case's images in files, in the page cache since they were just written.
pub(crate) struct Files {
    folder: TempDir,
    act: Act,
    images: usize,
}

impl Files {
    /// The files below `directory` that a case with this `act` needs, if it needs any: what pullctl
    /// saves of the images at the registry.
    pub(crate) fn of(
        act: Act,
        references: &[String],
        programs: &Programs,
        directory: &Path,
    ) -> Result<Option<Self>, String> {
        if !matches!(act, Act::Load(_) | Act::Push | Act::PushAgain) {
            return Ok(None);
        }
        let folder = tempfile::tempdir_in(directory);
        let folder = folder.map_err(|error| format!("{}: {error}", directory.display()))?;
        let files = Self { folder, act, images: references.len() };
        let program = programs.pullctl.display().to_string();
        let run = |words: &[&str], references: &[String]| {
            let words = [&program].map(String::as_str).into_iter().chain(words.iter().copied());
            let mut command: Vec<String> = words.map(str::to_owned).collect();
            command.extend(["--plain-http", "--progress", "none"].map(str::to_owned));
            command.extend(references.iter().cloned());
            process::run(&command, files.folder.path()).map(drop)
        };
        let save = |path: PathBuf, references: &[String]| {
            run(&["save", "--from", "registry", "-o", &path.display().to_string()], references)
        };
        match act {
            Act::Load(input) => {
                save(files.archive(), references)?;
                if input == Input::Files {
                    for (image, reference) in references.iter().enumerate() {
                        save(files.single(image), std::slice::from_ref(reference))?;
                    }
                }
            }
            _ => files.fill_layout(references.first().map_or("", String::as_str))?,
        }
        Ok(Some(files))
    }

    /// Has skopeo make its layout of the image `from` the registry. It finds no image of docker's types
    /// in one by its tag, so it is to translate them.
    fn fill_layout(&self, from: &str) -> Result<(), String> {
        let from = format!("docker://{from}");
        let copy = ["skopeo", "copy", "--src-tls-verify=false", &from, &self.layout()];
        process::run(&copy.map(str::to_owned), self.folder.path()).map(drop)
    }

    /// The archive of all images; one that is piped is packed by zstd as a whole.
    fn archive(&self) -> PathBuf {
        self.folder.path().join(match self.act {
            Act::Load(Input::Pipe) => "images.tar.zst",
            _ => "images.tar",
        })
    }

    /// The archive of one image.
    fn single(&self, image: usize) -> PathBuf {
        self.folder.path().join(format!("{image}.tar"))
    }

    /// The layout, as it is written on command lines.
    pub(crate) fn layout(&self) -> String {
        format!("oci:{}:{TAG}", self.folder.path().join("layout").display())
    }

    /// `command` with what it reads the archive from: the file's name behind `flags`, or `-` behind them
    /// and a pipe in front.
    pub(crate) fn read_by(&self, mut command: Vec<String>, flags: &[&str]) -> Vec<String> {
        let path = self.archive().display().to_string();
        command.extend(flags.iter().map(|flag| (*flag).to_owned()));
        if self.act == Act::Load(Input::Pipe) {
            command.push("-".to_owned());
            let shell =
                ["sh", "-ec", "archive=$1 && shift && zstd -dc \"$archive\" | \"$@\"", "sh"];
            return shell.map(str::to_owned).into_iter().chain([path]).chain(command).collect();
        }
        command.push(path);
        command
    }

    /// The command of who takes one archive an image, where there are such: `ctr` at `socket`.
    pub(crate) fn one_by_one(
        &self,
        ctr: &str,
        socket: &str,
        namespace: &str,
    ) -> Option<Vec<String>> {
        if self.act != Act::Load(Input::Files) {
            return None;
        }
        let shell = ["sh", "-ec", LOOP, "sh", ctr, socket, namespace].map(str::to_owned);
        let singles = (0..self.images).map(|image| self.single(image).display().to_string());
        Some(shell.into_iter().chain(singles).collect())
    }
}
