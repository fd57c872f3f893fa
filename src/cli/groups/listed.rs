//! Images as they are typed and listed.

use std::path::PathBuf;

use clap::Args;

use crate::cli::wanted::{self, Batch, WantedError};

/// Images as they are typed and listed.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Images, as docker and containerd write them: busybox, host:5000/a/b:tag, name@sha256:…
    #[arg(value_name = "REF", required_unless_present = "file")]
    pub references: Vec<String>,

    /// File with images, - for standard input: one a line (REF [platform=PLATFORM] [pin] [as=NAME]),
    /// or Kubernetes manifests, what `helm template` prints included. Can be repeated
    #[arg(short, long, value_name = "FILE")]
    pub file: Vec<PathBuf>,
}

impl ListArgs {
    /// What is wanted, each image once.
    ///
    /// # Errors
    /// A list that can't be read, or what is named is no image.
    pub(in crate::cli) fn read(&self) -> Result<Batch, WantedError> {
        wanted::read(&self.references, &self.file)
    }
}
