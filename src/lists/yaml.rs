//! YAML as a tree in which each value knows its line and has its text as it was written: `1.20` and
//! `yes` are names of images as well. Knows nothing of Kubernetes.
//!
//! Aliases share what they stand for, so that a few of them which stand for billions of values cost
//! nothing until somebody walks; who does counts his steps.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, options};

use super::error::{Error, Place};

/// Most values in one document, merged ones included (2 million): all pods of a cluster of some
/// thousand nodes, and some hundred MiB of memory.
const MAX_NODES: usize = 2_000_000;

/// Deepest nesting, by way of aliases too. Manifests have some 30 levels; a bound of the parser's own
/// is about the same.
const MAX_DEPTH: usize = 256;

/// A value.
#[derive(Debug)]
pub(super) struct Node {
    /// Where it begins, counted from 1.
    pub(super) line: usize,
    /// What it is.
    pub(super) value: Value,
    /// Levels below it.
    height: usize,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Value {
    /// A text, a number, nothing: as written.
    Scalar {
        /// The text; escapes of quoted ones are resolved.
        text: String,
        /// Whether it stands there without quotes, so that it may be a number or nothing.
        is_plain: bool,
    },
    /// `- a`
    Sequence(Vec<Rc<Node>>),
    /// `a: b`, in the order of the file, what is merged (`<<`) at the end. A key that is no scalar is
    /// empty.
    Mapping(Vec<(String, Rc<Node>)>),
}

impl Node {
    /// A text, as it was written.
    pub(super) fn scalar(line: usize, text: String, is_plain: bool) -> Self {
        Self::of(line, Value::Scalar { text, is_plain })
    }

    /// `value`, which begins at `line`.
    pub(super) fn of(line: usize, value: Value) -> Self {
        let highest = |nodes: &mut dyn Iterator<Item = &Rc<Node>>| {
            nodes.map(|node| node.height + 1).max().unwrap_or(1)
        };
        let height = match &value {
            Value::Scalar { .. } => 0,
            Value::Sequence(elements) => highest(&mut elements.iter()),
            Value::Mapping(members) => highest(&mut members.iter().map(|(_, node)| node)),
        };
        Self { line, value, height }
    }

    /// The member `name`; the last, where there are several.
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        let members = self.members().iter().rev();
        members.into_iter().find(|(key, _)| key == name).map(|(_, node)| &**node)
    }

    /// The value at the end of `path`.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, name| node.get(name))
    }

    /// The members; none of what is no mapping.
    pub(super) fn members(&self) -> &[(String, Rc<Node>)] {
        match &self.value {
            Value::Mapping(members) => members,
            Value::Scalar { .. } | Value::Sequence(_) => &[],
        }
    }

    /// The elements; none of what is no sequence.
    pub(super) fn elements(&self) -> &[Rc<Node>] {
        match &self.value {
            Value::Sequence(elements) => elements,
            Value::Scalar { .. } | Value::Mapping(_) => &[],
        }
    }

    /// The text of what is neither mapping, sequence nor nothing.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// The text of the member `name`.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.get(name)?.text()
    }

    /// Whether it says that there is nothing.
    pub(super) fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, is_plain: true } => {
                matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }

    /// Whether it reads as true or false.
    pub(super) fn is_boolean(&self) -> bool {
        match &self.value {
            Value::Scalar { text, is_plain: true } => {
                matches!(text.as_str(), "true" | "True" | "TRUE" | "false" | "False" | "FALSE")
            }
            _ => false,
        }
    }
}

/// Calls `visit` with each document of `text`, the content of `path`, in turn. None is held longer
/// than that.
///
/// # Errors
/// [`Error::Yaml`], [`Error::TooMuch`], or that of `visit`.
pub(super) fn documents(
    path: &Path,
    text: &str,
    visit: &mut dyn FnMut(&Node) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut composer = Composer::new(path);
    for event in Parser::new_from_str_with_options(text, options! { emit_comments: false }) {
        let (event, span) = event.map_err(|error| unparsable(path, text, &error))?;
        if let Some(document) = composer.take(event, span.start)? {
            visit(&document)?;
        }
    }
    Ok(())
}

fn unparsable(path: &Path, text: &str, error: &ScanError) -> Error {
    let marker = error.marker();
    let line = marker.line().max(1);
    let is_templates = |line: &str| line.trim_start().starts_with("{{");
    let mut so_far = text.lines().take(line).enumerate();
    let broken = text.lines().nth(line - 1).unwrap_or_default();
    if broken.contains("{{") {
        return Error::Template { place: Place::new(path, line) };
    }
    match so_far.find(|(_, line)| is_templates(line)) {
        Some((position, _)) => Error::Template { place: Place::new(path, position + 1) },
        None => Error::Yaml {
            place: Place::new(path, line),
            column: marker.col() + 1,
            problem: error.info(),
        },
    }
}

/// A collection that is not closed yet.
enum Open {
    Sequence(Vec<Rc<Node>>),
    /// The last key has no value yet where there is one.
    Mapping(Vec<(String, Rc<Node>)>, Option<String>),
}

struct Frame {
    line: usize,
    anchor: usize,
    open: Open,
}

/// Puts a document together.
struct Composer<'a> {
    path: &'a Path,
    frames: Vec<Frame>,
    root: Option<Rc<Node>>,
    anchors: HashMap<usize, Rc<Node>>,
    nodes: usize,
}

impl<'a> Composer<'a> {
    fn new(path: &'a Path) -> Self {
        Self { path, frames: Vec::new(), root: None, anchors: HashMap::new(), nodes: 0 }
    }

    /// Goes on with `event`. Returns the document which that ends.
    fn take(&mut self, event: Event<'_>, at: Marker) -> Result<Option<Rc<Node>>, Error> {
        let line = at.line();
        match event {
            Event::DocumentEnd => {
                self.anchors.clear();
                self.nodes = 0;
                return Ok(self.root.take());
            }
            Event::Scalar(text, style, anchor, _) => {
                let is_plain = style == ScalarStyle::Plain;
                self.complete(Node::scalar(line, text.into_owned(), is_plain), anchor)?;
            }
            Event::Alias(anchor) => {
                let shared = self.anchors.get(&anchor).cloned();
                let shared = shared.ok_or_else(|| Error::Yaml {
                    place: Place::new(self.path, line),
                    column: at.col() + 1,
                    problem: "an alias of something that it is part of".to_owned(),
                })?;
                self.add(shared, line)?;
            }
            Event::SequenceStart(_, anchor, _) => {
                self.frames.push(Frame { line, anchor, open: Open::Sequence(Vec::new()) });
            }
            Event::MappingStart(_, anchor, _) => {
                self.frames.push(Frame { line, anchor, open: Open::Mapping(Vec::new(), None) });
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            // Where the stream and its documents begin, and comments.
            _ => {}
        }
        Ok(None)
    }

    fn close(&mut self) -> Result<(), Error> {
        let Some(Frame { line, anchor, open }) = self.frames.pop() else { return Ok(()) };
        let value = match open {
            Open::Sequence(elements) => Value::Sequence(elements),
            Open::Mapping(members, _) => Value::Mapping(self.merged(members, line)?),
        };
        let node = Node::of(line, value);
        if node.height > MAX_DEPTH {
            let problem = format!("values are nested more than {MAX_DEPTH} levels deep");
            return Err(Error::TooMuch { place: Place::new(self.path, line), problem });
        }
        self.complete(node, anchor)
    }

    /// `members` with those that `<<` brings in, as far as they are not there.
    fn merged(
        &mut self,
        members: Vec<(String, Rc<Node>)>,
        line: usize,
    ) -> Result<Vec<(String, Rc<Node>)>, Error> {
        let (merges, mut own): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|(key, _)| key == "<<");
        if merges.is_empty() {
            return Ok(own);
        }
        let mut known: HashSet<String> = own.iter().map(|(key, _)| key.clone()).collect();
        for (_, merge) in &merges {
            let several = merge.elements().iter().flat_map(|node| node.members());
            for (key, node) in merge.members().iter().chain(several) {
                self.count(line)?;
                if known.insert(key.clone()) {
                    own.push((key.clone(), Rc::clone(node)));
                }
            }
        }
        Ok(own)
    }

    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Error> {
        let line = node.line;
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.add(node, line)
    }

    /// Puts `node`, used at `line`, where the next value belongs.
    fn add(&mut self, node: Rc<Node>, line: usize) -> Result<(), Error> {
        self.count(line)?;
        match self.frames.last_mut().map(|frame| &mut frame.open) {
            None => self.root = Some(node),
            Some(Open::Sequence(elements)) => elements.push(node),
            Some(Open::Mapping(members, key)) => match key.take() {
                Some(key) => members.push((key, node)),
                None => *key = Some(node.text().unwrap_or_default().to_owned()),
            },
        }
        Ok(())
    }

    fn count(&mut self, line: usize) -> Result<(), Error> {
        self.nodes += 1;
        if self.nodes <= MAX_NODES {
            return Ok(());
        }
        let problem = format!("the document has more than {MAX_NODES} values");
        Err(Error::TooMuch { place: Place::new(self.path, line), problem })
    }
}
