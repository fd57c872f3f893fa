//! Archives of images, for cases that load where others pull.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::cases::Input;
use crate::contestant::Programs;
use crate::process;

/// An archive of a case's images, in the page cache since it was just written.
pub(crate) struct Archive {
    folder: TempDir,
    input: Input,
}

impl Archive {
    /// The archive below `directory` that a case with this `input` needs, if it needs one: what pullctl
    /// saves of the images at the registry.
    pub(crate) fn of(
        input: Input,
        references: &[String],
        programs: &Programs,
        directory: &Path,
    ) -> Result<Option<Self>, String> {
        if input == Input::Registry {
            return Ok(None);
        }
        let folder = tempfile::tempdir_in(directory);
        let folder = folder.map_err(|error| format!("{}: {error}", directory.display()))?;
        let archive = Self { folder, input };
        let program = programs.pullctl.display().to_string();
        let path = archive.path().display().to_string();
        let words = [
            &program,
            "save",
            "--from",
            "registry",
            "--plain-http",
            "--progress",
            "none",
            "-o",
            &path,
        ];
        let mut command: Vec<String> = words.map(str::to_owned).to_vec();
        command.extend(references.iter().cloned());
        process::run(&command, archive.folder.path())?;
        Ok(Some(archive))
    }

    /// The file; one that is piped is packed by zstd as a whole.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join(match self.input {
            Input::Pipe => "images.tar.zst",
            Input::Registry | Input::File => "images.tar",
        })
    }

    /// `command` with what it reads the archive from: the file's name behind `flags`, or `-` behind them
    /// and a pipe in front.
    pub(crate) fn read_by(&self, mut command: Vec<String>, flags: &[&str]) -> Vec<String> {
        let path = self.path().display().to_string();
        command.extend(flags.iter().map(|flag| (*flag).to_owned()));
        if self.input == Input::Pipe {
            command.push("-".to_owned());
            let shell =
                ["sh", "-ec", "archive=$1 && shift && zstd -dc \"$archive\" | \"$@\"", "sh"];
            return shell.map(str::to_owned).into_iter().chain([path]).chain(command).collect();
        }
        command.push(path);
        command
    }
}
