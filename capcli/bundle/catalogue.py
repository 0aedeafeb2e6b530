"""Which bundles this machine has, and what one of them is: the facts behind `capcli models`.

Reads manifests, vocabularies and cards. Knows nothing of ONNX, images or terminals: whether a bundle's graphs load is
`Captioner`'s to say.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capcli.bundle.bundle import DEFAULT, FORMAT, MANIFEST, BundleFile, SearchDefaults, bundle_folders, load_bundle
from capcli.bundle.confidence import Confidence
from capcli.bundle.precision import Precision
from capcli.errors import BundleError

_TERMS_SECTION = re.compile(
    r"^(#+)[ \t]*(?:terms|licen[cs]e)\b[^\n]*\n(.*?)(?=^#{1,6}[ \t]|\Z)", re.IGNORECASE | re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Place:
    """A folder in which named bundles are looked for.

    `bundles` are the folders in it that hold a manifest; `problem` says why it cannot be looked into.
    """

    folder: Path
    bundles: tuple[Path, ...]
    problem: str | None


@dataclass(frozen=True)
class FoundBundle:
    """A bundle in one of the places.

    `name` is what `--model` takes, `size` the bytes of its files. `problem` says why it cannot be used. `hidden_by` is
    the folder of a bundle of the same name in an earlier place, which `--model` takes instead.
    """

    name: str
    folder: Path
    size: int | None
    description: str
    problem: str | None
    hidden_by: Path | None


@dataclass(frozen=True)
class BundleFacts:
    """Everything `capcli models info` says of a bundle.

    `terms` are the card's own words on licence and terms, None where it has none; `vocabulary` is the number of
    token ids; each of `scores` is what `capcli evaluate --json` printed. `confidence` tells how sure it is of a caption
    by the bundle's own search settings, None where it cannot.
    """

    name: str
    description: str
    format: int
    folder: Path
    code_licence: str
    weights_terms: str
    terms: str | None
    input_size: int
    resize: str
    vocabulary: int
    precision: Precision
    search: SearchDefaults
    confidence: Confidence | None
    trained_on: tuple[str, ...]
    scores: tuple[Mapping[str, Any], ...]
    files: tuple[BundleFile, ...]
    size: int
    card: Path


def search_places() -> list[Place]:
    """The places in which named bundles are looked for, first to last, each once."""
    places: dict[str, Place] = {}
    for folder in bundle_folders():
        places.setdefault(os.path.realpath(folder), _look_into(folder))
    return list(places.values())


def found_bundles() -> list[FoundBundle]:
    """Every bundle in every place, those that are damaged or hidden by another of the same name included."""
    first: dict[str, Path] = {}
    found = []
    for place in search_places():
        for folder in place.bundles:
            before = first.setdefault(folder.name, folder)
            found.append(_found(folder, None if before is folder else before))
    return found


def describe_bundle(model: str | os.PathLike[str] = DEFAULT) -> BundleFacts:
    """Describes a bundle.

    Args:
        model: a bundle's name or folder.
    Raises:
        BundleError: not found, damaged, or not understood.
    """
    # Only of a bundle whose files are the manifest's own are the manifest's words true.
    bundle = load_bundle(model)
    manifest = bundle.manifest
    files = tuple(manifest.files.values())
    return BundleFacts(
        name=manifest.name,
        description=manifest.description,
        format=FORMAT,
        folder=bundle.folder,
        code_licence=manifest.code_licence,
        weights_terms=manifest.weights_terms,
        terms=terms_of_card(bundle.path("card").read_text("utf-8", "replace")),
        input_size=manifest.input_size,
        resize=manifest.resize,
        vocabulary=len(bundle.tokenizer()),
        precision=manifest.precision,
        search=manifest.search,
        confidence=bundle.confidence,
        trained_on=manifest.trained_on,
        scores=manifest.scores,
        files=files,
        size=sum(file.size for file in files),
        card=bundle.path("card"),
    )


def terms_of_card(card: str) -> str | None:
    """The text below a card's heading "Terms" or "Licence", on one line; None where there is no such heading."""
    section = _TERMS_SECTION.search(card)
    return (" ".join(section[2].split()) or None) if section else None


def _look_into(folder: Path) -> Place:
    try:
        # A dot begins the name of what an export has not finished writing. os.path.isfile says no where it may not
        # look, and one such folder hides no others.
        inside = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        return Place(folder, (), (error.strerror or str(error)).lower())
    return Place(folder, tuple(sorted(entry for entry in inside if os.path.isfile(entry / MANIFEST))), None)


def _found(folder: Path, hidden_by: Path | None) -> FoundBundle:
    try:
        manifest = load_bundle(folder).manifest
    except BundleError as error:
        return FoundBundle(folder.name, folder, None, "", str(error), hidden_by)
    size = sum(record.size for record in manifest.files.values())
    return FoundBundle(folder.name, folder, size, manifest.description, None, hidden_by)
