//! `pullctl images`: lists what is in containerd.
//!
//! | file | owns |
//! |---|---|
//! | `list` | images as a list |
//! | `filter` | which of them |
//! | `leftovers` | what ended pulls hold, as a list |

mod filter;
mod leftovers;
mod list;

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::groups::DEFAULT_NAMESPACE;
use super::{Error, Session};
use crate::containerd::Client;
use crate::images::{self, Condition, Stock};
use crate::output::{Form, document};
pub use filter::Filter;
use leftovers::Leftovers;
use list::{List, Listed};

/// What may take a busy daemon long.
const LIST: &str = "containerd's list of images";

/// `pullctl images`.
#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// Print the images' IDs only
    #[arg(short, long)]
    pub quiet: bool,

    /// List what pulls that ended early hold for the next try, in place of images
    #[arg(long, conflicts_with = "quiet")]
    pub leftovers: bool,

    /// Of every namespace of the daemon
    #[arg(long, conflicts_with = "leftovers")]
    pub all_namespaces: bool,

    /// Those that are so: name=PATTERN (with *, or a part of a name), pinned=true, complete=false,
    /// platform=linux/amd64, label=KEY[=VALUE]. Can be repeated; all have to hold
    #[arg(long, value_name = "KEY=VALUE", conflicts_with = "leftovers")]
    pub filter: Vec<Filter>,

    /// Form of the list
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t)]
    pub output: ListForm,
}

/// Forms of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ListForm {
    /// Columns for people.
    #[default]
    Table,
    /// More columns: platform, unpacked size, whether all of it is there, the image's own age, when it
    /// came here, what its names point to.
    Wide,
    /// One JSON array.
    Json,
    /// The same as YAML.
    Yaml,
}

/// Lists images on standard output.
///
/// # Errors
/// When the daemon refuses or standard output can't be written.
pub(super) async fn run(args: &ImagesArgs, session: &Session<'_>) -> Result<(), Error> {
    let client = session.connect().await?;
    let form = match args.output {
        ListForm::Table | ListForm::Wide => Form::Text,
        ListForm::Json => Form::Json,
        ListForm::Yaml => Form::Yaml,
    };
    let now = Timestamp::now();
    if args.leftovers {
        let leftovers = session.patiently(LIST, images::leftovers(&client)).await?;
        return Ok(session.printer.out(&document(&Leftovers { leftovers, now }, form))?);
    }
    let namespaces = match args.all_namespaces {
        true => client.namespaces().await?,
        false => vec![client.namespace().to_owned()],
    };
    let mut listed = Vec::new();
    for namespace in namespaces {
        let client = client.in_namespace(&namespace)?;
        listed.extend(session.patiently(LIST, of_namespace(args, &client)).await?);
    }
    if listed.is_empty() && !args.all_namespaces {
        check_namespace(&client).await?;
    }
    listed.retain(|image| args.filter.iter().all(|filter| filter.takes(image)));
    let (is_wide, tells_namespace) = (args.output == ListForm::Wide, args.all_namespaces);
    let of_pins = client.cri().pin_notice();
    let list = List { images: listed, now, is_wide, tells_namespace, of_pins };
    let text = if args.quiet { list.identities() } else { document(&list, form) };
    if !text.is_empty() {
        session.printer.out(&text)?;
    }
    for notice in list.notices() {
        session.printer.warning(&notice);
    }
    Ok(())
}

/// The images of the client's namespace, looked at as closely as is asked for.
async fn of_namespace(args: &ImagesArgs, client: &Client) -> Result<Vec<Listed>, Error> {
    let mut images = images::load(client).await?;
    let is_closely = args.output != ListForm::Table && !args.quiet;
    let mut conditions = vec![Condition::default(); images.len()];
    if is_closely || args.filter.iter().any(Filter::needs_condition) {
        let stock = Stock::read(client).await?;
        conditions = images::conditions(client, &mut images, &stock).await?;
    }
    let namespace = client.namespace();
    let listed = images.into_iter().zip(conditions).map(|(image, condition)| Listed {
        namespace: namespace.to_owned(),
        image,
        condition,
    });
    Ok(listed.collect())
}

/// An empty list may be that of a name with a slip in it: the daemon answers for any.
pub(super) async fn check_namespace(client: &Client) -> Result<(), Error> {
    let namespace = client.namespace().to_owned();
    let namespaces = client.namespaces().await?;
    // The one of Kubernetes is made by the first pull.
    if namespace == DEFAULT_NAMESPACE || namespaces.contains(&namespace) {
        return Ok(());
    }
    Err(Error::NoNamespace { namespace, namespaces })
}
