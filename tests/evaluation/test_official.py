"""Scores: the official ones as pycocoevalcap gives them, the plain one by hand, predictions files."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capcli.errors import DataError, DependencyError
from capcli.evaluation import ImageTokens, official_scores, plain_cider
from capcli.evaluation.java import find_java
from capcli.evaluation.plain import plain_tokens
from capcli.evaluation.predictions import Prediction, match_predictions, read_predictions
from capcli.outputs.rows import Row, row_format
from tests.conftest import RunCommand, environment, need_scorers, python
from tests.shapes import write_data_set

REFERENCES = {
    "one.jpg": ["A dog runs on the grass .", "a brown dog's running", ""],
    "two.jpg": ["Two men in red shirts", "two men walk on a street ||| here", "\u6771\u4eac \u306e \u72ac"],
    "three.jpg": ["", "A cat\nsleeps\ton a sofa", 'the \u201ccat\u201d isn\'t (really) "asleep"'],
    "four.jpg": ["Un caf\u00e9 \u00e0 la cr\u00e8me, $5.00!", "un cafe"],
}
CAPTIONS = {
    "one.jpg": "A dog is running on grass.",
    "two.jpg": "Two men ||| walk\non a street.",
    "three.jpg": "",
    "four.jpg": 'Un caf\u00e9 "\u00e0 la" cr\u00e8me',
}


def times_of_the_installed_package() -> list[int]:
    from pycocoevalcap.meteor import meteor
    from pycocoevalcap.tokenizer import ptbtokenizer

    # A temporary file that is gone again has still changed its folder's time.
    return [Path(module.__file__).parent.stat().st_mtime_ns for module in (meteor, ptbtokenizer)]


def test_official_scores_are_those_of_the_official_code(
    java_of_quick_meteor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    before = times_of_the_installed_package()
    scores = official_scores(CAPTIONS, REFERENCES)
    assert times_of_the_installed_package() == before
    # Once with all paraphrases is enough, of which these texts use none.
    monkeypatch.setenv("PATH", f"{java_of_quick_meteor}{os.pathsep}{os.environ['PATH']}")
    wanted = PTBTokenizer().tokenize({name: [{"caption": text} for text in REFERENCES[name]] for name in REFERENCES})
    said = PTBTokenizer().tokenize({name: [{"caption": CAPTIONS[name]}] for name in REFERENCES})
    bleu, bleu_each = Bleu(4).compute_score(wanted, said)
    rest = [scorer.compute_score(wanted, said) for scorer in (Meteor(), Rouge(), Cider())]
    got = (scores.bleu_1, scores.bleu_2, scores.bleu_3, scores.bleu_4, scores.meteor, scores.rouge_l, scores.cider)
    assert got == tuple(100 * value for value in (*bleu, *(corpus for corpus, _ in rest)))
    assert scores.images == 4
    for number, name in enumerate(REFERENCES):
        each = scores.per_image[name]
        expected = (bleu_each[3][number], *(values[number] for _, values in rest))
        assert (each.bleu_4, each.meteor, each.rouge_l, each.cider) == tuple(100 * value for value in expected)
        assert scores.tokens[name] == ImageTokens(said[name][0], tuple(wanted[name]))


@pytest.mark.parametrize(
    ("tokeniser", "meteor", "expected"),
    [
        ("cat", "echo no room for the heap >&2; exit 1", "METEOR failed (no room for the heap); check "),
        ("cat", "echo nonsense", "METEOR failed (no reason was given); check "),
        ("echo no such class >&2; exit 1", "exit 1", "the PTB tokeniser failed (no such class); check "),
        ("head -1", "exit 1", "the PTB tokeniser made 1 lines of 2; check "),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for java is a shell script")
def test_failing_java_is_one_clear_line_and_never_hangs(
    tokeniser: str, meteor: str, expected: str, tmp_path: Path
) -> None:
    pytest.importorskip("pycocoevalcap", reason="needs the eval extra")
    java = tmp_path / "java"
    java.write_text(f'#!/bin/sh\ncase "$*" in -version) ;; *PTBTokenizer*) {tokeniser};; *) {meteor};; esac\n')
    java.chmod(0o755)
    code = (
        "from capcli.errors import DependencyError\nfrom capcli.evaluation import official_scores\n"
        "try: official_scores({'a': 'x'}, {'a': ['x', 'y']})\nexcept DependencyError as error: print(error)"
    )
    # In a process of its own: pycocoevalcap's METEOR hangs where Python ends.
    done = python(code, PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert (done.code, done.errors, done.text) == (0, "", f"{expected}{java}\n")


def test_java_that_does_not_run_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DependencyError, match="need Java, and there is none: install"):
        find_java()
    java = tmp_path / ("java.exe" if sys.platform == "win32" else "java")
    java.write_bytes(b"\0")
    java.chmod(0o755)
    with pytest.raises(DependencyError, match=rf"^{re.escape(str(java))} does not run \(.+\): install"):
        find_java()


def test_images_without_captions_are_counted_and_named() -> None:
    with pytest.raises(DataError, match=r"3 of 4 images have no caption: two\.jpg, three\.jpg, four\.jpg$"):
        official_scores({"one.jpg": "x"}, REFERENCES)
    with pytest.raises(DataError, match=r"6 of 6 images have no caption: 0, 1, 2, 3, 4, \.\.\.$"):
        official_scores({}, {str(number): ["x"] for number in range(6)})
    with pytest.raises(DataError, match=r": a\\nb\.jpg$"):
        official_scores({}, {"a\nb.jpg": ["x"]})
    with pytest.raises(DataError, match=r"1 of 1 images have no reference caption: one\.jpg"):
        official_scores({"one.jpg": "x"}, {"one.jpg": []})
    with pytest.raises(DataError, match="no image"):
        official_scores({"one.jpg": "x"}, {})


@pytest.mark.usefixtures("quick_meteor")
def test_scoring_prints_nothing_and_leaves_the_installed_package_alone(capfd: pytest.CaptureFixture[str]) -> None:
    before = times_of_the_installed_package()
    texts = {name: [f"a {word} thing stands on the table"] for name, word in (("x", "red"), ("y", "blue"))}
    perfect = official_scores({name: words[0] for name, words in texts.items()}, texts)
    assert (perfect.bleu_4, perfect.rouge_l, perfect.meteor) == pytest.approx((100, 100, 100))
    assert times_of_the_installed_package() == before
    assert capfd.readouterr() == ("", "")


def test_references_without_words_are_refused_officially_and_worth_nothing_plainly() -> None:
    pytest.importorskip("pycocoevalcap", reason="needs the eval extra")
    assert plain_cider(["a dog", "x"], [["..."], ["!", ""]]) == 0
    need_scorers()
    with pytest.raises(DataError, match="no reference caption has a word"):
        official_scores({"a": "a dog"}, {"a": ["...", "!"]})


def test_plain_cider_is_what_the_paper_says() -> None:
    pytest.importorskip("pycocoevalcap", reason="needs the eval extra")
    # One shared word of one: cosine 1 for single words and 0 for the longer n-grams that nobody said.
    assert plain_cider(["dog", "cat"], [["dog"], ["cat"]]) == pytest.approx(1000 / 4)
    # Every n-gram is in one image of two, so all weigh the same. Words: 2 of 2 and of 4; pairs: 1 of 1 and of 3;
    # two pairs shorter than its reference, under a Gaussian of width 6.
    shorter = (2 / math.sqrt(2 * 4) + 1 / math.sqrt(1 * 3)) / 4 * math.exp(-(2**2) / (2 * 6**2))
    texts = [["a b c d"], ["e f g h"]]
    assert plain_cider(["a b", "e f g h"], texts) == pytest.approx(1000 * (shorter + 1) / 2)
    # Averaged over references, the second of which shares nothing.
    assert plain_cider(["dog", "cat"], [["dog", "cow"], ["cat"]]) == pytest.approx(1000 / 4 * (1 / 2 + 1) / 2)
    # A word said of every image tells nothing.
    assert plain_cider(["the", "the"], [["the"], ["the"]]) == 0


def test_plain_cider_wants_a_caption_and_references_for_every_image() -> None:
    pytest.importorskip("pycocoevalcap", reason="needs the eval extra")
    with pytest.raises(ValueError, match="1 captions for 2 images"):
        plain_cider(["a"], [["a"], ["b"]])
    with pytest.raises(ValueError, match="without a reference"):
        plain_cider(["a", "b"], [["a"], []])


def test_plain_cider_of_the_only_reference_is_ten_times_100() -> None:
    pytest.importorskip("pycocoevalcap", reason="needs the eval extra")
    texts = ["a red dog runs fast", "two cats sleep all day", "men walk along some street"]
    assert plain_cider(texts, [[text.upper() + "!"] for text in texts]) == pytest.approx(1000)
    assert plain_cider(["x y z"] * 3, [[text] for text in texts]) == 0
    assert plain_cider([], []) == 0


@given(st.permutations(range(5)))
@settings(max_examples=10, deadline=None)
def test_plain_cider_does_not_depend_on_the_order_of_images(order: list[int]) -> None:
    pytest.importorskip("pycocoevalcap", reason="needs the eval extra")
    captions = ["a dog runs", "two dogs", "a cat on a mat", "the man's hat", "a man runs"]
    references = [["a dog is running", "dog runs"], ["two dogs play"], ["a cat lies on a mat"], ["a hat"], ["man runs"]]
    whole = plain_cider(captions, references)
    assert plain_cider([captions[n] for n in order], [references[n] for n in order]) == pytest.approx(whole)


def test_plain_tokens_are_like_the_treebanks() -> None:
    assert plain_tokens("A man's T-shirt, isn't it?!") == "a man 's t-shirt isn't it"


def test_predictions_are_read_back_from_every_output(tmp_path: Path) -> None:
    rows = [Row("a/x.jpg", "A dog, running.", -0.5, None), Row("a/y.jpg", None, None, "is empty")]
    for name in ("csv", "tsv", "jsonl"):
        file = tmp_path / f"out.{name}"
        form = row_format(name, ranked=False)
        file.write_bytes(form.header() + b"".join(form.record(row) for row in rows))
        assert read_predictions(file) == {"a/x.jpg": Prediction("A dog, running.")}
        assert read_predictions(file)["a/x.jpg"].score == -0.5
        ranked = row_format(name, ranked=True)
        best, second = (Row("a/x.jpg", text, -0.5, None, rank) for rank, text in ((1, "A dog."), (2, "A cat.")))
        file.write_bytes(ranked.header() + ranked.record(best) + ranked.record(second))
        assert read_predictions(file) == {"a/x.jpg": Prediction("A dog.")}
    file = tmp_path / "out.json"
    file.write_text(json.dumps([{"image_id": 7, "caption": "A dog."}]))
    assert read_predictions(file) == {"7": Prediction("A dog.")}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", "a,b\n1,2\n"),
        ("x.csv", 'path,caption\n"' + "x" * 200_000),
        ("x.tsv", "path\tcaption\nC:\\\tx\n"),
        ("x.json", "{}x"),
        ("x.json", "[3]"),
        ("x.json", '[{"image_id": 1, "caption": null}]'),
        ("x.json", "[" * 100_000),
        ("x.jsonl", "[]\n"),
        ("x.txt", "path\tcaption\n"),
        ("x.jpg", ""),
    ],
)
def test_a_file_without_predictions_is_one_clear_error(name: str, content: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(DataError, match=name.replace(".", r"\.") + ": not a predictions file"):
        read_predictions(file)
    with pytest.raises(DataError, match="cannot be read"):
        read_predictions(tmp_path / "missing.csv")


def test_an_image_captioned_twice_must_be_captioned_the_same(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps([{"image_id": 1, "caption": "a"}, {"image_id": 1, "caption": "a"}]))
    assert read_predictions(file) == {"1": Prediction("a")}
    file.write_text(json.dumps([{"image_id": 1, "caption": "a"}, {"image_id": 1, "caption": "b"}]))
    with pytest.raises(DataError, match="1 is captioned twice"):
        read_predictions(file)


def test_predictions_match_by_path_name_or_stem() -> None:
    names = {"/data/1.jpg": "1.jpg", "/data/2.jpg": "2.jpg", "/data/3.jpg": "3.jpg", "/data/4.jpg": "4.jpg"}
    found = match_predictions({"/data/1.jpg": "one", "elsewhere/2.jpg": "two", "3": "three", "x/4.png": "four"}, names)
    assert found == {"/data/1.jpg": "one", "/data/2.jpg": "two", "/data/3.jpg": "three", "/data/4.jpg": "four"}
    assert match_predictions({"5.jpg": "five"}, names) == {}
    with pytest.raises(DataError, match=r"1\.jpg could be any of a/1\.jpg, b/1\.jpg"):
        match_predictions({"a/1.jpg": "one", "b/1.jpg": "other"}, names)


def test_images_of_one_name_in_two_folders_keep_their_own_captions() -> None:
    names = {"/data/a/1.jpg": "a/1.jpg", "/data/b/1.jpg": "b/1.jpg"}
    expected = {"/data/a/1.jpg": "A", "/data/b/1.jpg": "B"}
    assert match_predictions(expected, names) == expected
    assert match_predictions({"photos/a/1.jpg": "A", "photos/b/1.jpg": "B"}, names) == expected
    # Whose is it? Nobody's, rather than everybody's.
    assert match_predictions({"1.jpg": "A"}, names) == {}


def test_a_name_without_suffix_is_not_enough_where_two_images_share_it() -> None:
    names = {"/data/1.jpg": "1.jpg", "/data/1.png": "1.png"}
    assert match_predictions({"x/1.png": "png"}, names) == {"/data/1.png": "png"}
    assert match_predictions({"1": "either"}, names) == {}


@pytest.mark.usefixtures("quick_meteor")
def test_the_command_scores_a_bundle_and_its_own_output_alike(capcli: RunCommand, tiny: Path, tmp_path: Path) -> None:
    captions = write_data_set(tmp_path / "data", copies=1, size=64)
    data = ("--images", tmp_path / "data" / "images", "--captions", captions)
    done = capcli("evaluate", "--model", tiny, *data, "--json")
    assert (done.code, done.err) == (0, b""), done.errors
    scores = json.loads(done.text)
    assert scores["bleu_1"] > 70

    out = tmp_path / "out.csv"
    assert capcli("caption", tmp_path / "data" / "images", "-o", out, "--model", tiny).code == 0
    done = capcli("evaluate", "--predictions", out, *data)
    assert (done.code, done.err) == (0, b""), done.errors
    headline, *lines = done.text.splitlines()
    assert "24 images, PTB tokeniser" in headline
    keys = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor", "rouge_l", "cider")
    titles = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr")
    shown = [[title, f"{scores[key]:.1f}"] for title, key in zip(titles, keys, strict=True)]
    assert [line.split() for line in lines] == shown

    fields = tmp_path / "fields.csv"
    names = ("red-circle-white-0.png", "blue-square-black-0.png", "red-square-white-0.png")
    rows = (f"{name},{name},{part}\n" for name, part in zip(names, ("test", "test", "val"), strict=True))
    fields.write_text("image,caption,split\n" + "".join(rows))
    done = capcli("evaluate", "--model", tiny, *data[:2], "--captions", fields, "--json")
    scores = json.loads(done.text)
    assert (scores["images"], scores["data"]) == (2, f"{fields} (test)")
    assert done.errors == (
        f"capcli: {fields}: --split test, the default where captions have split fields: 2 images; 1 left out (1 val)\n"
    )


def test_without_java_there_is_one_clear_line(capcli: RunCommand, tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycocoevalcap", reason="needs the eval extra")
    captions = write_data_set(tmp_path / "data", copies=1, size=64)
    done = capcli(
        *("evaluate", "--model", tiny, "--images", tmp_path / "data" / "images", "--captions", captions),
        env={**environment(), "PATH": str(tmp_path)},
    )
    assert (done.code, done.out, done.errors.count("\n")) == (3, b"", 1)
    assert "Java" in done.errors
