"""Scores: the official ones as pycocoevalcap gives them, the plain one by hand, predictions files."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path

import pytest
from conftest import RunCommand, environment
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import write_data_set

from capcli.errors import DataError
from capcli.evaluation.plain import plain_tokens
from capcli.evaluation.predictions import match_predictions, read_predictions
from capcli.outputs import Row, row_format

REFERENCES = {
    "one.jpg": ["A dog runs on the grass .", "a brown dog's running"],
    "two.jpg": ["Two men in red shirts", "two men walk on a street ||| here"],
    "three.jpg": ["A cat\nsleeps on a sofa", "the \u201ccat\u201d sleeps"],
}
CAPTIONS = {"one.jpg": "A dog is running on grass.", "two.jpg": "Two men walk.", "three.jpg": ""}


def need_scorers() -> None:
    pytest.importorskip("pycocoevalcap", reason="needs the eval extra")
    if shutil.which("java") is None:
        pytest.skip("needs Java")


def test_official_scores_are_those_of_the_official_code() -> None:
    need_scorers()
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    from capcli.evaluation import official_scores

    def one_line(text: str) -> str:
        return text.replace("\n", " ").replace("|||", " ")

    with contextlib.redirect_stdout(io.StringIO()):
        wanted = PTBTokenizer().tokenize(
            {name: [{"caption": one_line(text)} for text in texts] for name, texts in REFERENCES.items()}
        )
        given_ = PTBTokenizer().tokenize({name: [{"caption": text}] for name, text in CAPTIONS.items()})
        bleu = Bleu(4).compute_score(wanted, given_)[0]
        rest = [scorer.compute_score(wanted, given_)[0] for scorer in (Meteor(), Rouge(), Cider())]
    scores = official_scores(CAPTIONS, REFERENCES)
    got = (scores.bleu_1, scores.bleu_2, scores.bleu_3, scores.bleu_4, scores.meteor, scores.rouge_l, scores.cider)
    assert got == pytest.approx([100 * value for value in (*bleu, *rest)])
    assert scores.images == 3
    assert scores.per_image["three.jpg"].cider == 0
    assert scores.per_image["one.jpg"].cider > 0


def test_perfect_captions_score_100() -> None:
    need_scorers()
    from capcli.evaluation import official_scores

    texts = {name: [f"a {name} thing stands on the {word} table"] for name, word in (("a", "red"), ("b", "blue"))}
    scores = official_scores({name: words[0] for name, words in texts.items()}, texts)
    assert (scores.bleu_4, scores.rouge_l, scores.meteor) == pytest.approx((100, 100, 100))


def test_images_without_captions_are_counted_and_named() -> None:
    from capcli.evaluation import official_scores

    with pytest.raises(DataError, match=r"2 of 3 images have no caption, the first: two\.jpg"):
        official_scores({"one.jpg": "x"}, REFERENCES)
    with pytest.raises(DataError, match="no reference"):
        official_scores({"one.jpg": "x"}, {"one.jpg": []})


def test_plain_cider_of_the_only_reference_is_ten_times_100() -> None:
    pytest.importorskip("pycocoevalcap", reason="needs the eval extra")
    from capcli.evaluation import plain_cider

    texts = ["a red dog runs fast", "two cats sleep all day", "men walk along some street"]
    assert plain_cider(texts, [[text.upper() + "!"] for text in texts]) == pytest.approx(1000)
    assert plain_cider(["x y z"] * 3, [[text] for text in texts]) == 0
    assert plain_cider([], []) == 0


@given(st.permutations(range(5)))
@settings(max_examples=10, deadline=None)
def test_plain_cider_does_not_depend_on_the_order_of_images(order: list[int]) -> None:
    pytest.importorskip("pycocoevalcap", reason="needs the eval extra")
    from capcli.evaluation import plain_cider

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
        assert read_predictions(file) == {"a/x.jpg": "A dog, running.", "a/y.jpg": ""}
    file = tmp_path / "out.json"
    file.write_text(json.dumps([{"image_id": 7, "caption": "A dog."}]))
    assert read_predictions(file) == {"7": "A dog."}


@pytest.mark.parametrize(
    ("name", "content"), [("x.csv", "a,b\n1,2\n"), ("x.json", "{}x"), ("x.jsonl", "[]\n"), ("x.json", "[3]")]
)
def test_a_file_without_predictions_is_one_clear_error(name: str, content: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        read_predictions(file)
    with pytest.raises(DataError, match="cannot be read"):
        read_predictions(tmp_path / "missing.csv")


def test_predictions_match_by_path_name_or_stem() -> None:
    names = {"/data/1.jpg": "1.jpg", "/data/2.jpg": "2.jpg", "/data/3.jpg": "3.jpg"}
    found = match_predictions({"/data/1.jpg": "one", "elsewhere/2.jpg": "two", "3": "three"}, names)
    assert found == {"/data/1.jpg": "one", "/data/2.jpg": "two", "/data/3.jpg": "three"}
    with pytest.raises(DataError, match="two predictions"):
        match_predictions({"a/1.jpg": "one", "b/1.jpg": "other"}, names)


def test_the_command_scores_a_bundle_and_its_own_output_alike(capcli: RunCommand, tiny: Path, tmp_path: Path) -> None:
    need_scorers()
    captions = write_data_set(tmp_path / "data", copies=1, size=64)
    data = ("--images", tmp_path / "data" / "images", "--captions", captions)
    done = capcli("evaluate", "--model", tiny, *data)
    assert done.code == 0, done.errors
    assert done.err == b""
    assert "24 images, PTB tokeniser" in done.text
    assert [line.split()[0] for line in done.text.splitlines()[1:]] == [
        *("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr")
    ]
    scores = json.loads(capcli("evaluate", "--model", tiny, *data, "--json").text)
    assert scores["bleu_1"] > 70

    out = tmp_path / "out.csv"
    assert capcli("caption", tmp_path / "data" / "images", "-o", out, "--model", tiny).code == 0
    again = json.loads(capcli("evaluate", "--predictions", out, *data, "--json").text)
    assert {**again, "captions": ""} == {**scores, "captions": ""}

    split = tmp_path / "split.txt"
    split.write_text("red-circle-white-0.png\nblue-square-black-0.png\n")
    assert json.loads(capcli("evaluate", "--model", tiny, *data, "--split", split, "--json").text)["images"] == 2


def test_without_java_there_is_one_clear_line(capcli: RunCommand, tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycocoevalcap", reason="needs the eval extra")
    captions = write_data_set(tmp_path / "data", copies=1, size=64)
    done = capcli(
        *("evaluate", "--model", tiny, "--images", tmp_path / "data" / "images", "--captions", captions),
        env={**environment(), "PATH": str(tmp_path)},
    )
    assert (done.code, done.out, done.errors.count("\n")) == (3, b"", 1)
    assert "Java" in done.errors
