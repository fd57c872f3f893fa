//! `pullctl refs`: which images a list names, and where. Asks nobody.

use std::fmt;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::groups::ListArgs;
use super::wanted::Wanted;
use super::{Error, Session};
use crate::output::{Form, Options, ProgressMode, document, table};

const REFS_EXAMPLES: &str = "\
Examples:
  What a chart would run, and where it says so:
    helm template CHART | pullctl refs -f -

  The same as a list for pull and save:
    pullctl refs -q -f manifests.yaml > images.txt";

/// `pullctl refs`.
#[derive(Debug, Args)]
#[command(after_long_help = REFS_EXAMPLES)]
pub struct RefsArgs {
    /// Where images are named.
    #[command(flatten)]
    pub lists: ListArgs,

    /// Print the references alone, with their options, as a list that -f takes
    #[arg(short, long)]
    pub quiet: bool,

    /// Form of the list
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t)]
    pub output: RefsForm,
}

/// Forms of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum RefsForm {
    /// Columns for people.
    #[default]
    Table,
    /// One JSON array; warnings are events as of --progress json, on standard error.
    Json,
}

/// Prints what would be pulled.
///
/// # Errors
/// A list that can't be read.
pub(super) async fn run(args: &RefsArgs, session: &Session<'_>) -> Result<(), Error> {
    let batch = args.lists.read()?;
    // What is passed over is no image of the array: scripts get it as events.
    let progress = match args.output {
        RefsForm::Table => ProgressMode::None,
        RefsForm::Json => ProgressMode::Json,
    };
    let progress = session.progress(Options { progress, ..Options::default() });
    progress.warn(batch.notices);
    progress.finish()?;
    let found = Found { images: batch.images };
    let form = match args.output {
        RefsForm::Table => Form::Text,
        RefsForm::Json => Form::Json,
    };
    let text = if args.quiet { found.lines() } else { document(&found, form) };
    Ok(session.printer.out(&text)?)
}

struct Found {
    images: Vec<Wanted>,
}

impl Found {
    fn lines(&self) -> String {
        self.images.iter().map(Wanted::line).collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.images.iter().map(|wanted| {
            let first = wanted.places.first();
            let more = match wanted.places.len() {
                0 | 1 => String::new(),
                places => format!(" (+{})", places - 1),
            };
            let place = first.map(|(place, _)| format!("{place}{more}"));
            let kind = first.map(|(_, origin)| origin.to_string());
            [
                wanted.source.to_string(),
                place.unwrap_or_else(|| "typed".to_owned()),
                kind.unwrap_or_default(),
                wanted.options(),
            ]
        });
        f.write_str(&table(["IMAGE", "PLACE", "KIND", "OPTIONS"], rows))
    }
}

impl Serialize for Found {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.images.iter().map(Entry::of))
    }
}

/// One image as `-o json` tells it.
#[derive(Serialize)]
struct Entry<'a> {
    reference: String,
    /// What it is to be called.
    name: String,
    platforms: Vec<String>,
    pinned: bool,
    places: Vec<PlaceEntry<'a>>,
    /// `imagePullSecrets` of its pods.
    pull_secrets: Vec<&'a str>,
}

#[derive(Serialize)]
struct PlaceEntry<'a> {
    file: String,
    line: usize,
    kind: &'a str,
    name: Option<&'a str>,
    field: Option<&'a str>,
}

impl<'a> Entry<'a> {
    fn of(wanted: &'a Wanted) -> Self {
        let places = wanted.places.iter().map(|(place, origin)| PlaceEntry {
            file: place.path.display().to_string(),
            line: place.line,
            kind: &origin.kind,
            name: origin.name.as_deref(),
            field: origin.field.as_deref(),
        });
        Self {
            reference: wanted.source.to_string(),
            name: wanted.name.to_string(),
            platforms: wanted.platforms().iter().map(ToString::to_string).collect(),
            pinned: wanted.pin,
            places: places.collect(),
            pull_secrets: wanted
                .logins
                .iter()
                .flat_map(|logins| logins.secrets.iter().map(String::as_str))
                .collect(),
        }
    }
}
