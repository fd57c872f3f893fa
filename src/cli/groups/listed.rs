//! Images as they are typed and listed.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::cli::values::reference;
use crate::cli::wanted::{self, Batch, WantedError};
use crate::reference::{DOCKER_HUB, Reference, ReferenceError};

/// Images as they are typed and listed.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Images, as docker and containerd write them: busybox, host:5000/a/b:tag, name@sha256:…
    #[arg(value_name = "REF", required_unless_present = "file")]
    pub references: Vec<String>,

    /// File with images, - for standard input: one a line, with platform=PLATFORM, pin and as=NAME
    /// behind it where wanted, Kubernetes manifests, what `helm template` prints included, or kubeadm's
    /// ClusterConfiguration, whose images the kubeadm on the PATH is asked for. Can be repeated
    #[arg(short, long, value_name = "FILE")]
    pub file: Vec<PathBuf>,

    /// What the image is to be called, where there is but one: a pause image from another registry as
    /// registry.k8s.io/pause:3.6. In a list, write as=NAME
    #[arg(long = "as", value_name = "NAME", value_parser = reference)]
    pub name: Option<Reference>,

    /// Where all images come from, each by its path there and called as in the list; as kubeadm's
    /// imageRepository
    #[arg(long, value_name = "HOST[/PROJECT]")]
    pub image_repository: Option<ImageRepository>,
}

impl ListArgs {
    /// Whether none is named.
    pub(in crate::cli) fn is_empty(&self) -> bool {
        self.references.is_empty() && self.file.is_empty()
    }

    /// What is wanted, each image once.
    ///
    /// # Errors
    /// A list that can't be read, or what is named is no image.
    pub(in crate::cli) fn read(&self) -> Result<Batch, WantedError> {
        let mut batch = wanted::read(&self.references, &self.file)?;
        if let Some(name) = &self.name {
            batch.call(name)?;
        }
        if let Some(place) = &self.image_repository {
            batch.come_from(|reference| place.place(reference))?;
        }
        Ok(batch)
    }
}

/// Where images of several registries are kept together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRepository(String);

impl FromStr for ImageRepository {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let place = text.trim_end_matches('/');
        let host = place.split('/').next().unwrap_or_default();
        let names_host = host.contains(['.', ':']) || host == "localhost";
        let example = format!("{place}/image").parse::<Reference>();
        match example {
            Ok(_) if names_host && !place.contains('@') => Ok(Self(place.to_owned())),
            _ => Err("it is written HOST[:PORT][/PROJECT], as harbor.example.net/k8s".to_owned()),
        }
    }
}

impl ImageRepository {
    /// What `reference` is called there: by its path, as Docker Hub and kubeadm shorten it.
    fn place(&self, reference: &Reference) -> Result<Reference, ReferenceError> {
        let path = match (reference.domain(), reference.path()) {
            ("registry.k8s.io" | "k8s.gcr.io", "coredns/coredns") => "coredns",
            (DOCKER_HUB, path) => path.strip_prefix("library/").unwrap_or(path),
            (_, path) => path,
        };
        let tag = reference.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = reference.digest().map(|digest| format!("@{digest}")).unwrap_or_default();
        format!("{}/{path}{tag}{digest}", self.0).parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_all_registries_have_their_path_at_the_one_place() {
        let digest = format!("@sha256:{}", "0".repeat(64));
        for (reference, expected) in [
            ("registry.k8s.io/pause:3.10", "harbor.example/k8s/pause:3.10"),
            ("registry.k8s.io/coredns/coredns:v1.12.1", "harbor.example/k8s/coredns:v1.12.1"),
            ("quay.io/coredns/coredns:1", "harbor.example/k8s/coredns/coredns:1"),
            ("busybox", "harbor.example/k8s/busybox:latest"),
            ("team/app:1", "harbor.example/k8s/team/app:1"),
            (&*format!("quay.io/a/b:1{digest}"), &*format!("harbor.example/k8s/a/b{digest}")),
        ] {
            let place: ImageRepository = "harbor.example/k8s/".parse().unwrap();
            let placed = place.place(&reference.parse().unwrap()).unwrap();
            assert_eq!(placed.to_string(), expected);
        }
    }

    #[test]
    fn a_place_names_a_host() {
        for text in ["harbor.example", "localhost", "h:5000/a/b", "[::1]:5000"] {
            assert!(text.parse::<ImageRepository>().is_ok(), "{text}");
        }
        for text in ["", "/", "team", "harbor.example/A", "h.example/a@b", "https://h.example"] {
            assert!(text.parse::<ImageRepository>().is_err(), "{text}");
        }
    }
}
