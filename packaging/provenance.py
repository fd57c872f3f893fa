#!/usr/bin/env python3
"""Prints how files were made, as an in-toto statement with SLSA's provenance.

packaging/provenance.py FILE...

It claims what the machine that runs it knows, and is not signed: whoever doubts it builds the commit
with the same compilers, and compares.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def said(*command):
    """The first line of what a program says of itself."""
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()[0]


def digest(path):
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def commit():
    exported = (ROOT / "packaging/commit").read_text().split()
    if len(exported) == 2 and len(exported[0]) >= 40:
        return exported[0], False
    # The sources alone: what lies beside them is not built.
    changed = subprocess.run(
        ["git", "status", "--porcelain"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return said("git", "rev-parse", "HEAD"), bool(changed)


def pinned():
    """The wheels that scripts/tools installs, with the digests that they may have."""
    for entry in (ROOT / "packaging/tools.pip").read_text().replace("\\\n", " ").splitlines():
        if "==" in entry:
            requirement, *hashes = entry.split()
            name, version = requirement.split("==")
            yield {
                "uri": f"pkg:pypi/{name}@{version}",
                "annotations": {"one of sha256": [each.removeprefix("--hash=sha256:") for each in hashes]},
            }


def main(files):
    head, is_changed = commit()
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": Path(file).name, "digest": digest(Path(file))} for file in files],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:pullctl:scripts/packages:1",
                "externalParameters": {
                    "commands": ["make dist", "make packages"],
                    "sourceDateEpoch": int(os.environ["SOURCE_DATE_EPOCH"]),
                },
                "internalParameters": {"profile": "dist", "glibc": "2.17"},
                "resolvedDependencies": [
                    {
                        "uri": "git+urn:pullctl",
                        "digest": {"gitCommit": head},
                        "annotations": {"changed since": is_changed},
                    },
                    {"uri": "Cargo.lock", "digest": digest(ROOT / "Cargo.lock")},
                    *pinned(),
                ],
            },
            "runDetails": {
                "builder": {
                    "id": "urn:pullctl:builder:local",
                    "version": {
                        "rustc": said("rustc", "--version"),
                        "cargo": said("cargo", "--version"),
                        "cargo-deb": said("cargo-deb", "--version"),
                        "cargo-generate-rpm": said("cargo-generate-rpm", "--version"),
                        "cargo-cyclonedx": said("cargo-cyclonedx", "cyclonedx", "--version"),
                    },
                },
                "metadata": {"invocationId": f"{head}:{os.environ['SOURCE_DATE_EPOCH']}"},
            },
        },
    }
    json.dump(statement, sys.stdout, indent=2)
    print()


main(sys.argv[1:])
