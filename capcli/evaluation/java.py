"""The two Java programs inside pycocoevalcap: the Penn Treebank tokeniser and METEOR. Knows nothing of images.

pycocoevalcap's own wrapper of the tokeniser writes into its installed folder, which may be read-only, and takes a
failed run for empty captions; its wrapper of METEOR waits for itself for ever once a run has failed.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from capcli.errors import DependencyError
from capcli.native_output import one_reason

_INSTALL = "install Java 8 or later, for example apt install default-jre-headless"
_SECONDS_TO_END = 10


def find_java() -> str:
    """Path of a `java` that runs.

    Raises:
        DependencyError: there is none.
    """
    java = shutil.which("java")
    if java is None:
        raise DependencyError(f"METEOR and the PTB tokeniser need Java, and there is none: {_INSTALL}")
    try:
        # On some systems `java` is a stub that only says where to get one.
        done = subprocess.run([java, "-version"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        failure = one_reason(_text(done.stderr or done.stdout)) if done.returncode else None
    except OSError as error:
        failure = str(error.strerror)
    if failure is not None:
        raise DependencyError(f"{java} does not run ({failure}): {_INSTALL}")
    return java


def ptb_tokenise(java: str, texts: Sequence[str]) -> list[str]:
    """Lower-case Penn Treebank tokens without punctuation, as the COCO evaluation takes them.

    Args:
        java: as `find_java` found it.
        texts: sentences; white space of any kind parts words.
    Returns:
        For each text its tokens, spaces between.
    Raises:
        DependencyError: the tokeniser fails.
    """
    from pycocoevalcap.tokenizer import ptbtokenizer

    # The folder is no part of the class path, where a colon in its name would end it.
    jar, folder = ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR, Path(ptbtokenizer.__file__).parent
    command = [java, "-cp", jar, "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    # The tokeniser ends a line at more characters than LF; half a character from an undecodable file has no bytes.
    lines = "".join(" ".join(text.split()) + "\n" for text in texts).encode("utf-8", "replace")
    done = subprocess.run(command, cwd=folder, input=lines, capture_output=True, check=False)
    tokenised = _text(done.stdout).replace("\r\n", "\n").split("\n")[:-1]
    if done.returncode:
        raise DependencyError(f"the PTB tokeniser failed ({one_reason(_text(done.stderr))}); check {java}")
    if len(tokenised) != len(texts):
        raise DependencyError(f"the PTB tokeniser made {len(tokenised)} lines of {len(texts)}; check {java}")
    dropped = frozenset(ptbtokenizer.PUNCTUATIONS)
    return [" ".join(token for token in line.rstrip().split(" ") if token not in dropped) for line in tokenised]


def meteor(
    java: str, references: Mapping[str, list[str]], captions: Mapping[str, list[str]]
) -> tuple[float, list[float]]:
    """METEOR 1.5 (Denkowski and Lavie, 2014) for English.

    Args:
        java: as `find_java` found it.
        references: tokenised references of each image.
        captions: one tokenised caption of each image, in the same order.
    Returns:
        The corpus score and each image's, from 0 to 1.
    Raises:
        DependencyError: METEOR fails.
    """
    with _meteor_program() as scorer:
        try:
            corpus, each = scorer.compute_score(references, captions)
        except (OSError, ValueError) as error:
            raise DependencyError(f"METEOR failed ({_complaint(scorer.meteor_p)}); check {java}") from error
    return float(corpus), [float(score) for score in each]


@contextlib.contextmanager
def _meteor_program() -> Iterator[Any]:
    from pycocoevalcap.meteor.meteor import Meteor

    scorer = Meteor()
    try:
        yield scorer
    finally:
        process = scorer.meteor_p
        process.kill()
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.wait()
        process.stdout.close()
        process.stderr.close()
        # Its destructor waits for this lock, which a run that was interrupted or failed never gives back.
        scorer.lock = threading.Lock()


def _complaint(process: subprocess.Popen[bytes]) -> str:
    """What a failed program printed, once it has ended because its input did."""
    assert process.stdin is not None and process.stderr is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        return "it does not answer"
    return one_reason(_text(process.stderr.read()))


def _text(printed: bytes) -> str:
    return printed.decode("utf-8", "replace")
