"""The bundle on disk: one folder that holds one captioning model.

`manifest.json` is the only description of a model: what its files are and what their checksums should be, how images
are resized, how the graphs' tensors are called, how words are written. Reads and checks; knows nothing of ONNX.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from capcli.bundle.confidence import Confidence
from capcli.bundle.habits import Habits
from capcli.bundle.precision import Precision
from capcli.errors import BundleError
from capcli.messages import printable, shortened
from capcli.settings import LONGEST_CAPTION, MOST_HYPOTHESES
from capcli.user_folders import data_folder

if TYPE_CHECKING:
    from capcli.bundle.matching import Matching
    from capcli.bundle.tokens import Tokenizer

FORMAT = 1
MANIFEST = "manifest.json"
ROLES = ("encoder", "decoder", "tokenizer", "card")
# A bundle does without.
MATCHING = "matching"
DEFAULT = "default"
# Files are hashed in pieces so large that the wait for Python between them, where other threads import, is nothing.
_PIECE = 16 << 20
# No file of any bundle comes near; a manifest that claims more would have it read, and hashed, for hours.
_LARGEST = {"encoder": 2 << 30, "decoder": 2 << 30, "tokenizer": 64 << 20, "card": 16 << 20, MATCHING: 1 << 30}
_LARGEST_MANIFEST = 16 << 20
_LARGEST_GRID = 1 << 16
_LONGEST_NAME = 255


@dataclass(frozen=True)
class BundleFile:
    """One file of a bundle. `path` is relative to its folder, with forward slashes; `size` is in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class GraphNames:
    """What the graphs' tensors are called.

    The encoder takes `images` and gives `context` and `state` (the first state). The decoder takes `tokens`, `context`
    and `state`, and which rows of them each hypothesis has: `state_index`, `image_rows` and `row_slots` (as
    `SharedRows` has them in training/network/rows.py), or, as an older one does, a row of the state for each and its
    image as `image_index`. It gives `log_probs`, each state as `NAME.next`, and `attention` over `attention_grid`
    (rows, columns) where the model attends.
    """

    context: tuple[str, ...]
    state: tuple[str, ...]
    attention_grid: tuple[int, int] | None


@dataclass(frozen=True)
class SpecialTokens:
    """Token ids with a meaning of their own."""

    pad: int
    start: int
    end: int
    unknown: int


@dataclass(frozen=True)
class SearchDefaults:
    """The search settings that were best on the model's validation images."""

    beam: int
    max_length: int
    length_penalty: float

    def __post_init__(self) -> None:
        widths = 1 <= self.beam <= MOST_HYPOTHESES and 1 <= self.max_length <= LONGEST_CAPTION
        if not widths or not 0 <= self.length_penalty <= 10:
            raise ValueError(
                f"search settings out of range: beam {self.beam} must be between 1 and {MOST_HYPOTHESES}, "
                f"max_length {self.max_length} between 1 and {LONGEST_CAPTION}, "
                f"length_penalty {self.length_penalty} between 0 and 10"
            )


@dataclass(frozen=True)
class Manifest:
    """A bundle's description. `network` is what training needs to read the weights back."""

    name: str
    description: str
    code_licence: str
    weights_terms: str
    files: Mapping[str, BundleFile]
    input_size: int
    resize: str
    graph: GraphNames
    tokens: SpecialTokens
    search: SearchDefaults
    habits: Habits = field(default_factory=Habits)
    trained_on: tuple[str, ...] = ()
    scores: tuple[Mapping[str, Any], ...] = ()
    network: Mapping[str, Any] = field(default_factory=dict)
    precision: Precision = field(default_factory=Precision)
    confidence: Confidence | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values as `manifest.json` holds them."""
        grid = self.graph.attention_grid
        return {
            "format": FORMAT,
            "name": self.name,
            "description": self.description,
            "licence": {"code": self.code_licence, "weights": self.weights_terms},
            "files": {
                role: {"path": file.path, "sha256": file.sha256, "bytes": file.size}
                for role, file in self.files.items()
            },
            "input": {"size": self.input_size, "resize": self.resize},
            "graph": {
                "context": list(self.graph.context),
                "state": list(self.graph.state),
                "attention_grid": None if grid is None else list(grid),
            },
            "tokens": dict(self.tokens.__dict__),
            "search": dict(self.search.__dict__),
            **self.habits.as_dict(),
            "trained_on": list(self.trained_on),
            "scores": [dict(score) for score in self.scores],
            "precision": self.precision.as_dict(),
            **({} if self.confidence is None else {"confidence": self.confidence.as_dict()}),
            "network": dict(self.network),
        }


@dataclass(frozen=True)
class Bundle:
    """A bundle whose manifest has been read."""

    folder: Path
    manifest: Manifest

    def path(self, role: str) -> Path:
        """Where the file with this role ("encoder", "decoder", "tokenizer", "card", "matching") lies."""
        return self.folder / self.manifest.files[role].path

    @property
    def fingerprint(self) -> str:
        """A short hash of all that decides a caption: encoder, decoder, tokenizer and the writers' habits."""
        digests = [self.manifest.files[role].sha256 for role in ("encoder", "decoder", "tokenizer")]
        habits = json.dumps(self.manifest.habits.as_dict(), sort_keys=True)
        return hashlib.sha256("".join([*digests, habits]).encode()).hexdigest()[:16]

    @property
    def says(self) -> str:
        """A short hash of all that decides which caption is said with its own search settings: the fingerprint, and
        the confidence where one of a beam's captions is chosen by it."""
        confidence = self.confidence
        if confidence is None or not confidence.choice:
            return self.fingerprint
        chosen_by = json.dumps(confidence.as_dict(), sort_keys=True)
        return hashlib.sha256(chosen_by.encode()).hexdigest()[:16]

    @property
    def matching_fingerprint(self) -> str | None:
        """A short hash of the matching score; None where there is none."""
        file = self.manifest.files.get(MATCHING)
        return None if file is None else file.sha256[:16]

    @property
    def confidence(self) -> Confidence | None:
        """What tells how sure it is of a caption; None where the manifest has none, or that of another model, matching
        score or search.

        It holds for the bundle's own search settings.
        """
        confidence, search = self.manifest.confidence, self.manifest.search
        if confidence is None or confidence.weights != self.fingerprint:
            return None
        if confidence.matching not in (None, self.matching_fingerprint):
            return None
        fitted_for = (confidence.beam, confidence.max_length, confidence.length_penalty)
        return confidence if fitted_for == (search.beam, search.max_length, search.length_penalty) else None

    def tokenizer(self) -> Tokenizer:
        """Reads the vocabulary.

        Raises:
            BundleError: it is missing or malformed, or its special tokens are not those of the manifest.
        """
        # Imported here: a list of bundles should not wait for the library.
        from capcli.bundle.tokens import Tokenizer

        path = self.path("tokenizer")
        tokenizer = Tokenizer.load(path)
        special = SpecialTokens(tokenizer.pad, tokenizer.start, tokenizer.end, tokenizer.unknown)
        for name, here in self.manifest.tokens.__dict__.items():
            there = getattr(special, name)
            if here != there:
                raise BundleError(
                    f"{self.folder / MANIFEST}: its {name} token is {here}, but {there} in {path}; {_MEND}"
                )
        return tokenizer

    def matching(self, vocabulary: int) -> Matching | None:
        """Reads the matching score; None where there is none.

        Args:
            vocabulary: how many tokens the tokenizer has.
        Raises:
            BundleError: it is missing or malformed, or made for another vocabulary.
        """
        # As for the tokenizer.
        from capcli.bundle.matching import Matching

        return Matching.load(self.path(MATCHING), vocabulary) if MATCHING in self.manifest.files else None

    def verify(self) -> None:
        """Checks size and sha256 of every file.

        Raises:
            BundleError: a file is missing, of another size, or changed.
        """
        for record in self.manifest.files.values():
            path = self.folder / record.path
            try:
                status = path.stat()
                # Opening a pipe would wait for ever.
                if not stat.S_ISREG(status.st_mode):
                    raise BundleError(f"{path}: damaged bundle: it is no regular file; {_MEND}")
                size = status.st_size
                if size != record.size:
                    raise BundleError(f"{path}: damaged bundle: {size} bytes, the manifest says {record.size}; {_MEND}")
                digest = _sha256(path)
            except OSError as error:
                raise BundleError(f"{path}: damaged bundle: {error.strerror}; {_MEND}") from error
            if digest != record.sha256:
                raise BundleError(f"{path}: damaged bundle: its sha256 is not the manifest's; {_MEND}")


_MEND = "install capcli again, or export the bundle again"


def load_bundle(model: str | os.PathLike[str] = DEFAULT) -> Bundle:
    """Finds a bundle, reads its manifest and checks its files.

    Args:
        model: a bundle's name or folder.
    Raises:
        BundleError: not found, damaged, or not understood.
    """
    bundle = read_bundle(find_bundle(model))
    bundle.verify()
    return bundle


def bundle_folders() -> list[Path]:
    """Folders in which named bundles are looked for, first to last."""
    package = Path(__file__).parent.parent
    folders = [Path(part) for part in os.environ.get("CAPCLI_MODELS", "").split(os.pathsep) if part]
    folders.append(data_folder() / "capcli" / "models")
    folders.append(package / "models")
    if _is_checkout(package.parent):
        folders.append(package.parent / "models")
    return folders


def find_bundle(model: str | os.PathLike[str] = DEFAULT) -> Path:
    """The folder of a bundle given by name or by folder.

    Raises:
        BundleError: there is no such bundle; the message lists where it was looked for.
    """
    text = os.fspath(model)
    is_name = text not in (".", "..") and "/" not in text and os.sep not in text and not text.startswith("~")
    if is_name:
        for folder in bundle_folders():
            # Unlike Path.is_file, no error where one may not look: such a folder is one without models.
            if os.path.isfile(folder / text / MANIFEST):
                return folder / text
    folder = Path(os.path.expanduser(text))
    try:
        os.stat(folder / MANIFEST)
    except PermissionError as error:
        raise BundleError(f"{folder}: may not be looked into (permission denied)") from error
    except (OSError, ValueError):
        pass
    if os.path.isdir(folder):
        if not os.path.isfile(folder / MANIFEST):
            raise BundleError(f"{folder}: not a bundle: it has no {MANIFEST}; give a folder that capcli export wrote")
        return folder
    if is_name:
        looked = ", ".join(str(place) for place in bundle_folders())
        raise BundleError(f"no bundle named {text!r}; looked in {looked}; see capcli models list")
    raise BundleError(f"{folder}: no such bundle folder; see capcli models list")


def read_bundle(folder: Path) -> Bundle:
    """Reads and checks `manifest.json`; the files themselves are checked by `Bundle.verify`.

    Raises:
        BundleError: the manifest is missing, malformed, of another format, or points outside its folder.
    """
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_MANIFEST + 1)
        if len(content) > _LARGEST_MANIFEST:
            raise ValueError(f"it is larger than {_LARGEST_MANIFEST >> 20} MB")
        values = json.loads(content.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path}: not readable as a bundle's manifest ({error}); {_MEND}") from error
    version = values.get("format") if isinstance(values, dict) else None
    if version != FORMAT:
        raise BundleError(
            f"{path}: bundle format {shortened(repr(version))}; this capcli reads format {FORMAT}; install the capcli "
            "it was made with"
        )
    try:
        manifest = _parse(values)
    except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
        reason = shortened(printable(f"it has no {error}" if isinstance(error, KeyError) else str(error)))
        raise BundleError(f"{path}: malformed manifest: {reason}; {_MEND}") from error
    for record in manifest.files.values():
        _check_inside(folder, record.path)
    return Bundle(folder, manifest)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes `manifest.json`."""
    text = json.dumps(manifest.as_dict(), indent=1, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, "utf-8")


def describe_file(folder: Path, name: str) -> BundleFile:
    """Size and sha256 of a file as it lies in a bundle's folder."""
    return BundleFile(name, _sha256(folder / name), (folder / name).stat().st_size)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _parse(values: dict[str, Any]) -> Manifest:
    files = {
        role: _file(values["files"][role], _LARGEST[role])
        for role in (*ROLES, MATCHING)
        if role in ROLES or role in values["files"]
    }
    resize = _text(values["input"]["resize"])
    if resize != "squash":
        raise ValueError(f"resize mode {resize!r} is not known")
    size = int(values["input"]["size"])
    if not 16 <= size <= 2048:
        raise ValueError(f"input size {size} is not between 16 and 2048")
    search = values["search"]
    return Manifest(
        name=_text(values["name"]),
        description=_text(values.get("description", "")),
        code_licence=_text(values["licence"]["code"]),
        weights_terms=_text(values["licence"]["weights"]),
        files=files,
        input_size=size,
        resize=resize,
        graph=_graph_names(values["graph"]),
        tokens=SpecialTokens(**{name: int(values["tokens"][name]) for name in ("pad", "start", "end", "unknown")}),
        search=SearchDefaults(int(search["beam"]), int(search["max_length"]), float(search["length_penalty"])),
        habits=Habits.from_dict(values),
        trained_on=tuple(_text(entry) for entry in values.get("trained_on", [])),
        scores=tuple(dict(score) for score in values.get("scores", [])),
        network=dict(values.get("network", {})),
        precision=Precision.from_dict(dict(values.get("precision", {}))),
        confidence=None if values.get("confidence") is None else Confidence.from_dict(values["confidence"]),
    )


def _file(values: Any, largest: int) -> BundleFile:
    file = BundleFile(_text(values["path"]), _text(values["sha256"]), int(values["bytes"]))
    if not re.fullmatch("[0-9a-f]{64}", file.sha256):
        raise ValueError(f"{file.sha256!r} is no sha256")
    if not 0 <= file.size <= largest:
        raise ValueError(f"a file of {file.size} bytes is not between 0 and {largest}")
    return file


def _graph_names(values: Any) -> GraphNames:
    grid = values["attention_grid"]
    names = GraphNames(
        tuple(_text(name) for name in values["context"]),
        tuple(_text(name) for name in values["state"]),
        None if grid is None else (int(grid[0]), int(grid[1])),
    )
    if len({*names.context, *names.state}) < len(names.context) + len(names.state):
        raise ValueError("two of the graphs' tensors have one name")
    if names.attention_grid is not None:
        rows, columns = names.attention_grid
        if rows < 1 or columns < 1 or rows * columns > _LARGEST_GRID:
            raise ValueError(f"an attention grid of {rows} x {columns}")
    return names


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} should be text")
    return value


def _check_inside(folder: Path, name: str) -> None:
    """A bundle from elsewhere must not make capcli read other files of this machine."""
    parts = PurePosixPath(name).parts
    target = folder / name
    if not name.isprintable() or len(name) > _LONGEST_NAME:
        raise BundleError(f"{folder / MANIFEST}: {shortened(repr(name))} is no name of a bundle's file")
    outside = not parts or PurePosixPath(name).is_absolute() or ".." in parts or "\\" in name or ":" in name
    if outside or not target.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"{folder / MANIFEST}: {name!r} points outside the bundle's folder")


def _is_checkout(folder: Path) -> bool:
    """Whether a folder is capcli's own source tree (a clone, or where an editable install points)."""
    try:
        text = (folder / "pyproject.toml").read_text("utf-8")
        # Not needed where capcli is installed.
        import tomllib

        project = tomllib.loads(text)
    except (OSError, ValueError):
        return False
    return bool(project.get("project", {}).get("name") == "capcli")
