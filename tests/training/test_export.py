"""From a run to a bundle: what it holds, what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import EXPORT_TIME, TINY_BUNDLE, ExportedRun, RunCommand
from tests.shapes import COLOURS, write_data_set

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("pycocoevalcap", reason="needs the train extra")
onnx = pytest.importorskip("onnx", reason="needs the train extra")

from capcli import Captioner  # noqa: E402
from capcli.bundle.bundle import read_bundle  # noqa: E402
from capcli.bundle.matching import FILE  # noqa: E402
from capcli.decoding.signals import MATCH  # noqa: E402
from capcli.errors import DataError, OutputError, UsageError  # noqa: E402
from capcli.outputs.file_lock import locked_by  # noqa: E402
from capcli.training import confidence, matching_choice  # noqa: E402
from capcli.training.bundle_swap import aside_of  # noqa: E402
from capcli.training.config import DataSource, TrainConfig  # noqa: E402
from capcli.training.data import read_data  # noqa: E402
from capcli.training.export import DEFAULT_TERMS, ExportOptions, ExportResult, export_runs  # noqa: E402
from capcli.training.export_source import images_of_runs  # noqa: E402
from capcli.training.initial import initial_model  # noqa: E402
from capcli.training.model import mean_of  # noqa: E402
from capcli.training.onnx.quantise import Int8Weight, quantise  # noqa: E402
from capcli.training.onnx.read import read_model  # noqa: E402
from capcli.training.progress import TrainingListener  # noqa: E402
from capcli.training.proof import IMAGES  # noqa: E402
from capcli.training.run import train  # noqa: E402
from capcli.training.run_folder import RunFolder, load_run, load_trained_run  # noqa: E402


def export(
    runs: list[Path], bundle: Path, *, overwrite: bool = False, **options: Any
) -> tuple[ExportResult, list[str]]:
    notes: list[str] = []
    result = export_runs(
        runs,
        bundle,
        ExportOptions(**{"name": "x", "precision": "float32", **options}),
        overwrite=overwrite,
        note=notes.append,
    )
    return result, notes


def change_config(run: Path, **values: Any) -> None:
    folder = RunFolder(run)
    folder.write_config(replace(folder.read_config(), **values))


# Through the installed command


@pytest.mark.parametrize("kind", ["attention", "pooled"])
def test_a_model_learns_exports_and_captions_through_the_installed_command(
    kind: str, capcli: RunCommand, tmp_path: Path
) -> None:
    """With nothing but the commands a user has."""
    folder = tmp_path / "my photos"
    write_data_set(folder, copies=2, size=64, shapes=("circle", "triangle"))
    data = ("--images", folder / "images", "--captions", folder / "captions.csv")
    plain = ("--no-flip", "--label-smoothing", "0", "--val", "0", "--cache", tmp_path / "cache", "--threads", "1")
    done = capcli(
        *("train", *data, *plain, "--out", tmp_path / "run", "--encoder", TINY_BUNDLE, "--input-size", "64"),
        *("--decoder", kind, "--hidden", "128", "--embedding", "64", "--attention", "32", "--min-count", "1"),
        *("--epochs", "40", "--batch-size", "4", "--warmup", "20", "--max-length", "12", "--rate", "5e-3"),
        *("--dropout-words", "0.1", "--dropout-features", "0.1"),
    )
    assert done.code == 0, done.errors
    assert done.out == b""

    bundle = tmp_path / "my bundle"
    images = {path.name: path for path in (folder / "images").iterdir()}
    if kind == "attention":
        shutil.copytree(TINY_BUNDLE, bundle)
        done = capcli("export", tmp_path / "run", bundle)
        assert (done.code, done.errors.count("\n")) == (2, 1) and "--overwrite" in done.errors
        # int8, calibrated on the photos that it was trained on.
        done = capcli("export", tmp_path / "run", bundle, "--overwrite")
        wanted: dict[str, object] = {"name": "my bundle", "terms": DEFAULT_TERMS, "scores": [], "search": (3, 0.7)}
        verified = f"captions and scores on {IMAGES} images"
    else:
        # All options at once; and the data set has moved away.
        (tmp_path / "scores.json").write_text('{"cider": 12.5, "images": 3}')
        (tmp_path / "card.md").write_text("# Mine\n")
        (folder / "images").rename(tmp_path / "elsewhere")
        (folder / "captions.csv").unlink()
        images = {name: tmp_path / "elsewhere" / name for name in images}
        done = capcli(
            *("export", tmp_path / "run", bundle, "--scores", tmp_path / "scores.json", "--card", tmp_path / "card.md"),
            *("--terms", "mine", "--name", "own", "--description", "It sees shapes.", "--beam", "4"),
            *("--length-penalty", "0.9", "--proof-images", tmp_path / "elsewhere"),
            *("--precision", "int8", "--calibration-images", tmp_path / "elsewhere"),
        )
        scores = [{"cider": 12.5, "images": 3}]
        wanted = {"name": "own", "terms": "mine", "scores": scores, "search": (4, 0.9)}
        verified = f"captions and scores on {IMAGES} images"
    assert done.code == 0, done.errors
    assert done.out == b"" and verified in done.errors
    assert "bundle: int8, " in done.errors and "captions as in float32" in done.errors
    assert {file.name for file in bundle.iterdir()} == {
        *("manifest.json", "encoder.onnx", "decoder.onnx", "tokenizer.json", "MODEL_CARD.md")
    }
    manifest = read_bundle(bundle).manifest
    assert {
        "name": manifest.name,
        "terms": manifest.weights_terms,
        "scores": list(manifest.scores),
        "search": (manifest.search.beam, manifest.search.length_penalty),
    } == wanted
    if kind == "pooled":
        assert (bundle / "MODEL_CARD.md").read_text() == "# Mine\n"
        assert manifest.description == "It sees shapes."

    captions = {
        str(images[f"{colour}-{shape}-white-0.png"]): f"A {colour} {shape} on a white ground."
        for shape in ("circle", "triangle")
        for colour in COLOURS
    }
    done = capcli("caption", *captions, "--model", bundle)
    assert (done.code, done.errors) == (0, "")
    said = dict(line.split("\t") for line in done.text.splitlines())
    assert said.keys() == captions.keys()
    assert sum(said[path] == caption for path, caption in captions.items()) >= 7
    if kind == "pooled":
        return

    # The bundle is a starting point too: same vocabulary, and it goes on where it was.
    done = capcli(
        *("train", *data, *plain, "--out", tmp_path / "more", "--init", bundle, "--epochs", "1", "--rate", "1e-5"),
        *("--dropout-words", "0", "--dropout-features", "0"),
    )
    assert done.code == 0, done.errors
    assert (tmp_path / "more" / "tokenizer.json").read_bytes() == (bundle / "tokenizer.json").read_bytes()
    (line,) = RunFolder(tmp_path / "more").read_log()
    assert line["loss"] < 0.5


def test_photos_to_fit_the_confidence_on_can_be_given(capcli: RunCommand, matched: Path, tmp_path: Path) -> None:
    """Another search asks for another confidence; the matching score that the bundle had goes on."""
    captions = write_data_set(tmp_path / "val", copies=9, size=64)
    images = tmp_path / "val" / "images"
    done = capcli(
        *("export", matched, tmp_path / "bundle", "--precision", "float32", "--proof-images", images, "--beam", "2"),
        *("--val-images", images, "--val-captions", captions),
    )
    assert done.code == 0, done.errors
    assert "capcli: captioning 216 validation photos for the confidence\n" in done.errors
    assert f"{tmp_path / 'bundle'}: confidence fitted on 216 photos" in done.errors
    fitted = read_bundle(tmp_path / "bundle").confidence
    assert fitted is not None and (fitted.photos, fitted.beam) == (216, 2) and MATCH in fitted.signals
    assert (tmp_path / "bundle" / FILE).read_bytes() == (matched / FILE).read_bytes()
    done = capcli("export", matched, tmp_path / "other", "--val-captions", captions)
    assert (done.code, done.errors.count("\n")) == (2, 1) and "go with --val-images" in done.errors


def test_what_is_no_run_is_one_line(capcli: RunCommand, tmp_path: Path) -> None:
    done = capcli("export", tmp_path, tmp_path / "bundle")
    assert (done.code, done.out, done.errors.count("\n")) == (2, b"", 1)
    assert "not a run of capcli train" in done.errors


# What a bundle holds


def test_a_bundle_replaces_an_older_one_and_nothing_is_left_beside_it(exported: ExportedRun) -> None:
    assert not (exported.bundle / "old").exists()
    assert [path.name for path in exported.bundle.parent.iterdir()] == ["bundle"]
    assert Captioner(exported.bundle).caption(next(exported.images.iterdir())).text.endswith(".")


def test_weights_stay_a_byte_each(exported: ExportedRun) -> None:
    network = load_run(exported.run).network
    for name, part in (("encoder", network.encoder), ("decoder", network.decoder)):
        graph = onnx.load(exported.bundle / f"{name}.onnx").graph
        held = sum(len(onnx.numpy_helper.to_array(tensor).tobytes()) for tensor in graph.initializer)
        assert held < 1.5 * sum(tensor.numel() for tensor in part.parameters()), name


def test_exporting_again_gives_the_same_bytes(
    exported: ExportedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EXPORT_TIME)
    export([exported.run], tmp_path / "again", name="small")
    for file in exported.bundle.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name
    assert "Exported 2009-02-13 from epoch" in (exported.bundle / "MODEL_CARD.md").read_text("utf-8")


def test_a_day_that_is_none_is_refused(exported: ExportedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH is 'yesterday'"):
        export([exported.run], tmp_path / "bundle")


def test_a_bundle_keeps_its_runs_words_and_searches_as_it_validated(exported: ExportedRun) -> None:
    manifest = read_bundle(exported.bundle).manifest
    assert (manifest.search.beam, manifest.search.max_length, manifest.search.length_penalty) == (2, 12, 0.3)
    assert manifest.habits == RunFolder(exported.run).read_habits()
    assert manifest.habits.returns
    assert manifest.trained_on == ("shapes",)
    assert json.loads((exported.bundle / "manifest.json").read_text("utf-8"))["network"] == {
        "encoder": {"stride_in": "conv1", "pool": "right-bottom", "width": 8, "blocks": [3, 4, 6, 3]},
        "decoder": load_run(exported.run).network.decoder.config.as_dict(),
    }


def test_a_bundle_knows_how_sure_it_is_where_enough_photos_were_held_back(
    exported: ExportedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_bundle(exported.bundle).confidence is None
    assert any(note.startswith("no confidence is fitted: there are ") for note in exported.notes)
    monkeypatch.setattr(confidence, "FEWEST", 4)
    monkeypatch.setattr(matching_choice, "FEWEST", 34)
    result, notes = export([exported.run], tmp_path / "sure")
    held_back = images_of_runs([load_trained_run(exported.run)]).held_back
    assert f"captioning {len(held_back)} validation photos for the confidence" in notes
    fitted = read_bundle(tmp_path / "sure").confidence
    assert fitted is not None and fitted == result.confidence and fitted.photos == len(held_back)
    assert "learning a matching score of pictures and captions on 34 training photos" in notes
    assert MATCH in fitted.signals
    read_bundle(tmp_path / "sure").verify()
    caption = Captioner(tmp_path / "sure", provider="cpu").caption(held_back[0].path, details=True)
    assert caption.confidence is not None and caption.signals is not None and MATCH in caption.signals


@pytest.mark.parametrize(
    ("beam", "length_penalty", "wanted"),
    [(None, None, (2, 0.3)), (None, 0.0, (2, 0.0)), (4, None, (4, 0.3)), (4, 0.9, (4, 0.9))],
)
def test_search_settings_are_the_runs_unless_they_are_given(
    beam: int | None, length_penalty: float | None, wanted: tuple[int, float]
) -> None:
    options = ExportOptions("x", beam=beam, length_penalty=length_penalty)
    settings = options.search_settings(TrainConfig(beam=2, length_penalty=0.3, max_length=9))
    assert (settings.beam, settings.length_penalty, settings.max_length) == (*wanted, 9)


def test_a_mean_of_runs_holds_their_mean_weights_and_says_how_they_differ(
    exported: ExportedRun, tmp_path: Path
) -> None:
    """The second is a self-critical branch of the first, on larger images, as in the shipped model's recipe."""
    config = replace(
        RunFolder(exported.run).read_config(),
        objective="self-critical",
        beam_samples=2,
        init=(str(exported.run),),
        encoder=None,
        input_size=96,
        epochs=1,
        learning_rate=1e-3,
    )
    branch = tmp_path / "branch"
    train(config, branch, cache=tmp_path / "cache", listener=TrainingListener())
    _, notes = export([exported.run, branch], tmp_path / "bundle")
    assert any("different sizes" in line and line.endswith("the bundle takes 64") for line in notes)
    assert not any("words return" in line for line in notes)
    kept = read_model(tmp_path / "bundle").network.state_dict()
    loaded = [(run.name, load_run(run)) for run in (exported.run, branch)]
    assert not torch.equal(*(model.network.state_dict()["decoder.output_bias"] for _, model in loaded))
    mean = quantise(mean_of(loaded).network)
    rounded = {name: part for name, part in mean.named_modules() if isinstance(part, Int8Weight)}
    assert rounded
    for name, part in rounded.items():
        assert torch.allclose(kept[f"{name}.weight"], part.weight, atol=1e-6), name
    card = (tmp_path / "bundle" / "MODEL_CARD.md").read_text("utf-8")
    assert "the mean weights of 2 runs" in card and "run alone" in card and "branch alone" in card
    # Where training goes on from their mean, the size must be said.
    both = replace(config, init=(str(exported.run), str(branch)), input_size=0)
    with pytest.raises(UsageError, match="64 and 96 pixels; choose one with --input-size"):
        initial_model(both, RunFolder(tmp_path / "none"), read_data(both), notes.append)
    assert initial_model(replace(both, input_size=96), RunFolder(tmp_path / "none"), read_data(both), notes.append)


# What is refused, before anything is written


def test_a_place_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    """Refused before the run is looked at: there is none."""
    shutil.copytree(TINY_BUNDLE, tmp_path / "bundle")
    with pytest.raises(UsageError, match="bundle: exists; use --overwrite"):
        export([tmp_path / "run"], tmp_path / "bundle")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "precious").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("photos", "file"):
        with pytest.raises(UsageError, match=f"{name}: not a bundle"):
            export([tmp_path / "run"], tmp_path / name, overwrite=True)
    assert (tmp_path / "photos" / "precious").exists() and (tmp_path / "file").exists()


def test_a_bundle_that_a_killed_export_had_moved_aside_is_put_back(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(TINY_BUNDLE, aside_of(bundle))
    notes: list[str] = []
    with pytest.raises(UsageError, match="bundle: exists"):
        export_runs(
            [tmp_path / "run"], bundle, ExportOptions("x", precision="float32"), overwrite=False, note=notes.append
        )
    read_bundle(bundle).verify()
    assert len(notes) == 1 and "put back" in notes[0]


def test_two_exports_do_not_write_one_bundle(tmp_path: Path) -> None:
    bundle = tmp_path / "folder" / "bundle"
    other = locked_by(bundle.with_name(".bundle.capcli-lock"))
    with other, pytest.raises(OutputError, match="bundle: is being written by another capcli export"):
        export([tmp_path / "run"], bundle, overwrite=True)
    assert not any(tmp_path.iterdir())


def test_what_a_killed_export_left_goes_and_what_comes_up_meanwhile_stays(
    exported: ExportedRun, tmp_path: Path
) -> None:
    bundle, left = tmp_path / "bundle", tmp_path / ".bundle.capcli-new"
    left.mkdir()
    (left / "encoder.onnx").write_bytes(b"half")

    def note(line: str) -> None:
        bundle.mkdir(exist_ok=True)
        (bundle / "manifest.json").write_text("somebody's")

    with pytest.raises(UsageError, match="bundle: exists; use --overwrite"):
        export_runs([exported.run], bundle, ExportOptions("x", precision="float32"), overwrite=False, note=note)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert (bundle / "manifest.json").read_text() == "somebody's"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 0}, "--beam is 0"),
        ({"length_penalty": -1.0}, "--length-penalty is -1.0"),
        ({"proof_images": Path("nowhere")}, "nowhere: no such folder; --proof-images"),
        ({"card": Path("nowhere.md")}, r"nowhere.md: cannot be read .*--card"),
    ],
)
def test_wrong_options_are_refused(
    options: dict[str, Any], message: str, exported: ExportedRun, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        export([exported.run], tmp_path / "bundle", **options)
    assert not any(tmp_path.iterdir())


def test_runs_that_cannot_be_exported_are_refused(exported: ExportedRun, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(exported.run, run)
    best = RunFolder(run).load("best")
    (run / "best.pt").unlink()
    with pytest.raises(DataError, match="no epoch of this run is finished"):
        export([run], tmp_path / "bundle")
    best["model"]["decoder.output_bias"][3] = float("nan")
    RunFolder(run).save("best", best)
    with pytest.raises(DataError, match=f"{run}: its best weights are not finite"):
        export([run], tmp_path / "bundle")
    other = tmp_path / "other"
    config = replace(RunFolder(exported.run).read_config(), hidden=24, epochs=1)
    train(config, other, cache=tmp_path / "cache", listener=TrainingListener())
    with pytest.raises(UsageError, match=f"{other}: not of the same shape as {exported.run}"):
        export([exported.run, other], tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_run_whose_images_are_gone_says_what_to_give_instead(exported: ExportedRun, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(exported.run, run)
    change_config(run, data=(DataSource(str(tmp_path / "gone"), str(tmp_path / "captions.csv")),))
    with pytest.raises(DataError, match=f"no readable image in {tmp_path / 'gone'} .*--proof-images DIR"):
        export([run], tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
