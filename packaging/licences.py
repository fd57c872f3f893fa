#!/usr/bin/env python3
"""Prints the licences of what is linked into pullctl, each text once, as its authors wrote it.

packaging/licences.py TARGET [NAME=FILE...]

The crates are those of Cargo.lock that are linked for TARGET, the texts those in their sources, where
libraries in C lie with theirs. NAME=FILE adds what is linked without being a crate. A library without a
text is an error.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT = re.compile(r"(licen[sc]es?|copying|notice|copyright|unlicense)([-._].*)?", re.IGNORECASE)
# A fallback for crates that say that they are under it and bring no text.
APACHE = "Apache-2.0"
# Where a crate offers the choice it is not this one, so that its text, which lies beside the other, says nothing.
GPL = "GNU GENERAL PUBLIC LICENSE"
RULE = "=" * 100


def metadata(target):
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def linked(meta):
    """The crates that end up in the binary: no proc macros, nothing that builds or tests alone."""
    packages = {package["id"]: package for package in meta["packages"]}
    nodes = {node["id"]: node for node in meta["resolve"]["nodes"]}
    (root,) = (id for id, package in packages.items() if package["name"] == "pullctl")
    found, open_ = set(), [root]
    while open_:
        for dep in nodes[open_.pop()]["deps"]:
            is_linked = any(kind["kind"] is None for kind in dep["dep_kinds"])
            kinds = {kind for target in packages[dep["pkg"]]["targets"] for kind in target["kind"]}
            if is_linked and "proc-macro" not in kinds and dep["pkg"] not in found:
                found.add(dep["pkg"])
                open_.append(dep["pkg"])
    return sorted((packages[id] for id in found), key=lambda package: (package["name"], package["version"]))


def texts_in(package):
    folder = Path(package["manifest_path"]).parent
    files = (file for file in sorted(folder.rglob("*")) if TEXT.fullmatch(file.name) and file.is_file())
    texts = [text for text in (read(file) for file in files) if text]
    if "GPL" in (package["license"] or ""):
        return texts
    return [text for text in texts if GPL not in text[:200]]


def read(file):
    return file.read_text(encoding="utf-8", errors="replace").strip("\n").expandtabs()


def texts_of(packages):
    """Each package with its texts. One without takes those of a sibling, which is of the same repository."""
    own = {package["id"]: texts_in(package) for package in packages}
    for package in packages:
        siblings = (
            own[other["id"]]
            for other in packages
            if package["repository"] and other["repository"] == package["repository"]
        )
        texts = own[package["id"]] or next(filter(None, siblings), [])
        if not texts and APACHE in (package["license"] or ""):
            texts = [read(ROOT / "LICENSE")]
        if not texts:
            sys.exit(f"licences: {package['name']} {package['version']} has no text of its licence")
        yield f"{package['name']} {package['version']}: {package['license'] or 'see below'}", texts


def main(target, *others):
    entries = list(texts_of(linked(metadata(target))))
    for other in others:
        name, file = other.split("=", 1)
        entries.append((name, [read(Path(file))]))
    # Texts that differ in how their lines are broken are the same.
    groups = {}
    for title, texts in entries:
        for text in texts:
            titles, _ = groups.setdefault(" ".join(text.split()), ([], text))
            if title not in titles:
                titles.append(title)
    print(f"pullctl is under {APACHE}. Linked into it are {len(entries)} libraries of others:\n")
    for title, _ in entries:
        print(f"  {title}")
    for titles, text in groups.values():
        print(f"\n{RULE}\n")
        for title in titles:
            print(f"  {title}")
        print(f"\n{text}")


main(*sys.argv[1:])
