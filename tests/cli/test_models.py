"""`capcli models` as a user runs it: what is here, what it is, whether it is whole."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from capcli.bundle.catalogue import terms_of_card
from tests.conftest import TESTS, RunCommand, command, environment, python
from tests.shapes import draw

ROOT = TESTS.parent


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of bundles whose path a careless program breaks at."""
    folder = tmp_path / "meine Mod\u00e8lle \u6f22\u5b57"
    folder.mkdir()
    return folder


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "manifest.json"
    values = json.loads(path.read_text("utf-8"))
    change(values)
    path.write_text(json.dumps(values), "utf-8")


def replace_file(folder: Path, role: str, content: bytes) -> None:
    """Another file with a manifest to match, as an export gone wrong would leave it."""

    def change(values: dict[str, Any]) -> None:
        record = values["files"][role]
        record.update(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
        (folder / record["path"]).write_bytes(content)

    change_manifest(folder, change)


# list


def test_every_bundle_is_listed_with_size_and_folder(
    capcli: RunCommand, tiny: Path, place: Path, tmp_path: Path
) -> None:
    for name in ("zebra", "a small one"):
        shutil.copytree(tiny, place / name)
    (place / "no bundle").mkdir()
    shutil.copytree(tiny, place / ".unfinished")
    env = {"CAPCLI_MODELS": os.pathsep.join([str(place), str(tmp_path / "nothing"), str(place)])}
    done = capcli("models", "list", env=env)
    assert (done.code, done.err) == (0, b"")
    heading, first, second, default, *rest = done.text.splitlines()
    assert heading.split() == ["NAME", "SIZE", "FOLDER"]
    assert first == f"a small one  538.2 kB  {place / 'a small one'}"
    assert second == f"zebra        538.2 kB  {place / 'zebra'}"
    assert default.startswith("default ") and default.endswith(f"models{os.sep}default")
    assert not [line for line in rest if str(place) in line]
    assert capcli("models", env=env) == done


def test_the_list_for_machines_is_one_object_a_line(capcli: RunCommand, tiny: Path, place: Path) -> None:
    shutil.copytree(tiny, place / "tiny")
    env = {"CAPCLI_MODELS": str(place)}
    done = capcli("models", "list", "--json", env=env)
    first, *others = [json.loads(line) for line in done.text.splitlines()]
    assert first == {
        "name": "tiny",
        "folder": str(place / "tiny"),
        "size": 538189,
        "description": "Coloured shapes on plain ground; for capcli's own tests.",
        "problem": None,
        "hidden_by": None,
    }
    assert "default" in [bundle["name"] for bundle in others]
    assert capcli("models", "--json", env=env) == done


def test_a_bundle_that_another_of_its_name_hides_is_told(capcli: RunCommand, tiny: Path, place: Path) -> None:
    shutil.copytree(tiny, place / "default")
    env = {"CAPCLI_MODELS": str(place)}
    first, second = (
        json.loads(line) for line in capcli("models", "--json", env=env).text.splitlines() if '"default"' in line
    )
    assert (first["folder"], first["hidden_by"]) == (str(place / "default"), None)
    assert second["hidden_by"] == str(place / "default")
    line = next(line for line in capcli("models", env=env).text.splitlines() if second["folder"] in line)
    assert line.endswith(f"(the name means {place / 'default'})")
    # What the list says is what a command takes.
    assert json.loads(capcli("models", "info", "--json", env=env).text)["name"] == "tiny"


def test_a_damaged_bundle_is_listed_as_such(capcli: RunCommand, tiny: Path, place: Path) -> None:
    shutil.copytree(tiny, place / "broken")
    shutil.copytree(tiny, place / "whole")
    (place / "broken" / "decoder.onnx").unlink()
    done = capcli("models", "list", env={"CAPCLI_MODELS": str(place)})
    lines = {line.split()[0]: line.split()[1] for line in done.text.splitlines()}
    assert (done.code, lines["broken"], lines["whole"]) == (0, "damaged", "538.2")
    assert done.errors.count("\n") == 1
    assert str(place / "broken" / "decoder.onnx") in done.errors


def test_an_installation_without_any_bundle_is_an_error(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "capcli", tmp_path / "capcli", ignore=shutil.ignore_patterns("__pycache__", "models"))
    for options in (["models"], ["models", "list", "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "capcli", *options],
            cwd=tmp_path,
            env=environment(XDG_DATA_HOME=str(tmp_path / "data")),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
        assert done.stderr.startswith("capcli: no bundle found; looked in ")
        assert str(tmp_path / "data" / "capcli" / "models") in done.stderr


# info


def labelled(text: str) -> dict[str, str]:
    """What `info` printed, by label; the lines of one label joined."""
    values: dict[str, list[str]] = {}
    label = ""
    for line in text.splitlines():
        label = line[:13].strip() or label
        values.setdefault(label, []).append(line[13:])
    return {label: "\n".join(lines) for label, lines in values.items()}


def test_info_says_what_a_bundle_is(capcli: RunCommand, tiny: Path, place: Path) -> None:
    folder = place / "tiny"
    shutil.copytree(tiny, folder)
    done = capcli("models", "info", folder)
    assert (done.code, done.err) == (0, b"")
    assert labelled(done.text) == {
        "name": "tiny",
        "description": "Coloured shapes on plain ground; for capcli's own tests.",
        "format": "1",
        "folder": str(folder),
        "code": "Apache-2.0",
        "weights": "Apache-2.0",
        "terms": "Apache-2.0",
        "input": "64 x 64 pixels, squash (without keeping the aspect ratio)",
        "precision": "float32, the decoder float32; weights are stored as int8",
        "vocabulary": "16 tokens",
        "search": "beam 3, at most 12 words, length penalty 0.7",
        "confidence": "none: captions do not say how sure it is",
        "trained on": "tinydata",
        "scores": "none in the manifest",
        "files": "encoder.onnx    466.1 kB\ndecoder.onnx     71.0 kB\ntokenizer.json     671 B\n"
        "MODEL_CARD.md      408 B\nin all          538.2 kB",
        "card": str(folder / "MODEL_CARD.md"),
    }
    assert capcli("models", "info", "tiny", env={"CAPCLI_MODELS": str(place)}).out == done.out


def test_info_says_what_the_confidence_was_fitted_on(capcli: RunCommand, sure: Path, matched: Path) -> None:
    found = labelled(capcli("models", "info", matched).text)
    assert found["confidence"] == "fitted on 300 photos, which have 0.05 to 0.95; from match"
    assert "matching.npz " in found["files"]
    shipped = labelled(capcli("models", "info").text)["confidence"].replace("\n", " ")
    assert "; chooses among a beam's captions, and counts 0.2" in shipped
    # A manifest of an earlier version does not know the range.
    found = labelled(capcli("models", "info", sure).text)
    assert found["confidence"] == "fitted on 300 photos; from mean_entropy, mean_log_prob"
    values = json.loads(capcli("models", "info", matched, "--json").text)
    assert (values["confidence"]["photos"], values["confidence"]["lowest"]) == (300, 0.05)
    assert values["confidence"]["signals"]["match"]["weight"] == 3.0


def test_info_for_machines_holds_the_same(capcli: RunCommand, tiny: Path) -> None:
    done = capcli("models", "info", tiny, "--json")
    assert done.text.count("\n") == 1
    values = json.loads(done.text)
    manifest = json.loads((tiny / "manifest.json").read_text("utf-8"))
    assert values["search"] == manifest["search"]
    # A manifest from before int8 says nothing of it.
    assert "precision" not in manifest and values["precision"]["encoder"] == "float32"
    assert (values["format"], values["input_size"], values["resize"]) == (1, 64, "squash")
    assert values["vocabulary"] == manifest["network"]["decoder"]["vocabulary"]
    assert values["weights_terms"] == manifest["licence"]["weights"]
    assert values["card"] == str(tiny / "MODEL_CARD.md")
    assert {file["path"]: file["size"] for file in values["files"]} == {
        path.name: path.stat().st_size for path in tiny.iterdir() if path.name != "manifest.json"
    }


def test_the_shipped_model_tells_its_terms_data_and_scores(capcli: RunCommand) -> None:
    done = capcli("models", "info")
    found = labelled(done.text)
    assert found["name"] == "default"
    assert "research" in found["weights"].lower()
    assert "Flickr8k" in found["terms"] and "Apache-2.0" in found["terms"]
    assert Path(found["card"]).is_file()
    values = json.loads(capcli("models", "info", "--json").text)
    assert values["trained_on"] and ", ".join(values["trained_on"]) == found["trained on"]
    assert len(values["scores"]) == found["scores"].count("CIDEr") > 0
    for score in values["scores"]:
        assert f"CIDEr {score['cider']:.1f}" in found["scores"]
        assert f"({score['images']} images, " in found["scores"]


def test_scores_that_others_measured_are_shown_too(capcli: RunCommand, tiny: Path, place: Path) -> None:
    folder = place / "other"
    shutil.copytree(tiny, folder)
    change_manifest(folder, lambda values: values.update(scores=[{"spice": 12.345, "by": "them", "odd": [1]}, {}]))
    done = capcli("models", "info", folder)
    assert (done.code, labelled(done.text)["scores"]) == (0, "SPICE 12.3\n")


def test_a_bundle_cannot_speak_to_the_terminal(capcli: RunCommand, tiny: Path, place: Path) -> None:
    folder = place / "sly"
    shutil.copytree(tiny, folder)
    change_manifest(folder, lambda values: values.update(name="\x1b[31mred\nnew line", trained_on=["\x07bell"]))
    done = capcli("models", "info", folder)
    assert done.code == 0
    assert b"\x1b" not in done.out and b"\x07" not in done.out
    assert labelled(done.text)["name"] == "\\x1b[31mred\\nnew line"


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="such names do not exist there")
def test_a_folder_that_is_no_text_is_shown_as_it_is(capcli: RunCommand, tiny: Path, tmp_path: Path) -> None:
    place = os.fsencode(tmp_path) + b"/caf\xe9"
    shutil.copytree(tiny, os.fsdecode(place) + "/tiny")
    done = capcli("models", "list", env={"CAPCLI_MODELS": os.fsdecode(place)})
    assert done.code == 0 and b"  " + place + b"/tiny\n" in done.out
    done = capcli("models", "list", "--json", env={"CAPCLI_MODELS": os.fsdecode(place)})
    assert os.fsencode(json.loads(done.text.splitlines()[0])["folder"]) == place + b"/tiny"
    done = capcli("models", "verify", place + b"/tiny")
    assert done.code == 0 and done.out.startswith(place + b"/tiny: ok: ")


@pytest.mark.parametrize("model", ["nonsense", "no/such/folder"])
def test_a_model_that_is_not_there_is_said(capcli: RunCommand, model: str) -> None:
    for action in ("info", "verify"):
        done = capcli("models", action, model)
        assert (done.code, done.out, done.errors.count("\n")) == (3, b"", 1)
        assert model in done.errors and "capcli models list" in done.errors


@pytest.mark.parametrize(
    ("card", "terms"),
    [
        ("# A\n\n## Terms\nUse it\nwell.\n\nAlways.\n## Next\nno", "Use it well. Always."),
        ("# A\n### Licence and terms\nMIT", "MIT"),
        ("# License\r\nBSD\r\n", "BSD"),
        ("# A\nThe terms are hard.\n", None),
        ("# A\n## Terms\n\n## Next\nno", None),
        ("", None),
    ],
)
def test_terms_are_what_stands_below_their_heading(card: str, terms: str | None) -> None:
    assert terms_of_card(card) == terms


# verify


def test_a_whole_bundle_is_verified_in_one_line(capcli: RunCommand, tiny: Path, place: Path) -> None:
    folder = place / "tiny"
    shutil.copytree(tiny, folder)
    done = capcli("models", "verify", folder)
    assert (done.code, done.err, done.text.count("\n")) == (0, b"", 1)
    assert done.text.startswith(f"{folder}: ok: 4 files, 538.2 kB")
    assert capcli("models", "verify", "tiny", env={"CAPCLI_MODELS": str(place)}) == done
    assert capcli("models", "verify").code == 0


def flip(name: str) -> tuple[Callable[[Path], None], str, str]:
    def damage(folder: Path) -> None:
        path = folder / name
        content = bytearray(path.read_bytes())
        content[len(content) // 3] ^= 4
        path.write_bytes(content)

    return damage, name, "sha256"


def lose_encoder(folder: Path) -> None:
    (folder / "encoder.onnx").unlink()


def cut_decoder(folder: Path) -> None:
    path = folder / "decoder.onnx"
    path.write_bytes(path.read_bytes()[:-7])


def lose_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def tear_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes()[:100])


def newer_manifest(folder: Path) -> None:
    change_manifest(folder, lambda values: values.update(format=2))


def no_graph(folder: Path) -> None:
    replace_file(folder, "decoder", b"this was a graph once")


def no_tokenizer(folder: Path) -> None:
    replace_file(folder, "tokenizer", b"{}")


def swapped_graphs(folder: Path) -> None:
    change_manifest(
        folder,
        lambda values: values["files"].update(encoder=values["files"]["decoder"], decoder=values["files"]["encoder"]),
    )


def fewer_states(folder: Path) -> None:
    change_manifest(folder, lambda values: values["graph"].update(state=["h1", "c1"]))


def fewer_words(folder: Path) -> None:
    values = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    vocabulary = values["model"]["vocab"]
    del vocabulary[max(vocabulary, key=vocabulary.__getitem__)]
    replace_file(folder, "tokenizer", json.dumps(values).encode())


@pytest.mark.parametrize(
    ("damage", "file", "reason"),
    [
        flip("encoder.onnx"),
        flip("decoder.onnx"),
        flip("tokenizer.json"),
        flip("MODEL_CARD.md"),
        (lose_encoder, "encoder.onnx", "No such file"),
        (cut_decoder, "decoder.onnx", "the manifest says 71019"),
        (lose_manifest, "manifest.json", "not a bundle"),
        (tear_manifest, "manifest.json", "not readable"),
        (newer_manifest, "manifest.json", "format 2"),
        (no_graph, "decoder.onnx", "not a usable ONNX graph"),
        (no_tokenizer, "tokenizer.json", "not a tokenizer"),
        (swapped_graphs, "decoder.onnx", "the encoder's inputs are"),
        (fewer_states, "decoder.onnx", "the decoder's inputs are"),
        (fewer_words, "decoder.onnx", "scores 16 tokens but the tokenizer has 15"),
    ],
)
def test_a_damaged_bundle_is_refused_as_loading_refuses_it(
    capcli: RunCommand, tiny: Path, place: Path, damage: Callable[[Path], None], file: str, reason: str
) -> None:
    folder = place / "a bundle"
    shutil.copytree(tiny, folder)
    damage(folder)
    done = capcli("models", "verify", folder)
    assert (done.code, done.out, done.errors.count("\n")) == (3, b"", 1)
    assert done.errors.startswith(f"capcli: {folder}")
    assert file in done.errors and reason in done.errors
    photo = place / "photo.png"
    draw("circle", "red", "white", 1, 64).save(photo)
    loading = capcli("caption", photo, "--model", folder)
    assert (loading.code, loading.err) == (3, done.err)


# The command line around them


@pytest.mark.parametrize(
    "arguments", [("frobnicate",), ("--json", "list"), ("info", "a", "b"), ("verify", "--json"), ("list", "--nonsense")]
)
def test_a_wrong_use_is_one_line(capcli: RunCommand, arguments: tuple[str, ...]) -> None:
    done = capcli("models", *arguments)
    assert (done.code, done.out, done.errors.count("\n")) == (2, b"", 1)


def test_nothing_heavy_is_loaded_to_list_and_describe(tiny: Path) -> None:
    done = python(
        "import sys, capcli.cli\n"
        "heavy = {'onnxruntime', 'torch', 'numpy', 'PIL'}\n"
        "for command in (['models', '-h'], ['models'], ['models', 'info', sys.argv[1]]):\n"
        "    print(capcli.cli.run(command), sorted(heavy & set(sys.modules)), file=sys.stderr)\n",
        str(tiny),
    )
    assert done.errors == "0 []\n" * 3


@pytest.mark.skipif(os.name == "nt", reason="a pipe's reader is told otherwise there")
def test_a_reader_that_has_gone_ends_it_quietly(tiny: Path) -> None:
    for arguments in (["models"], ["models", "info", str(tiny), "--json"]):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [command(), *arguments], stdout=writer, stderr=subprocess.PIPE, env=environment(), check=False
        )
        os.close(writer)
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a full disk is played by /dev/full")
def test_an_answer_that_cannot_be_written_is_said(tiny: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [command(), "models", "info", str(tiny)],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            check=False,
        )
    assert (done.returncode, done.stderr.count(b"\n")) == (4, 1)
    assert b"standard output cannot be written" in done.stderr


def test_a_console_without_the_letters_gets_escapes(capcli: RunCommand, tiny: Path, place: Path) -> None:
    folder = place / "tiny"
    shutil.copytree(tiny, folder)
    done = capcli("models", "info", folder, env={"PYTHONIOENCODING": "ascii:strict"})
    assert done.code == 0
    assert "\\u6f22" in done.out.decode("ascii")
    values = json.loads(capcli("models", "info", folder, "--json", env={"PYTHONIOENCODING": "ascii"}).text)
    assert values["folder"] == str(folder)
