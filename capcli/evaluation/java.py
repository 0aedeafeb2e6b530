"""The two Java programs inside pycocoevalcap: the Penn Treebank tokeniser and METEOR. Knows nothing of images.

pycocoevalcap's own wrapper of the tokeniser writes into its installed folder, which may be read-only, and takes a
failed run for empty captions; its wrapper of METEOR deadlocks once a run has failed.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from capcli.errors import DependencyError
from capcli.runtime.native_output import one_reason

_INSTALL = "install Java 8 or later, for example apt install default-jre-headless"
_SECONDS_TO_END = 10
_SECONDS_TO_END_BY_ITSELF = 2


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


class MeteorProgram:
    """METEOR 1.5 (Denkowski and Lavie, 2014) for English, running until it is closed. Used with `with`.

    Args:
        java: as `find_java` found it.
    """

    def __init__(self, java: str) -> None:
        from pycocoevalcap.meteor.meteor import Meteor

        self._java = java
        self._scorer: Any = Meteor()

    def __enter__(self) -> MeteorProgram:
        return self

    def __exit__(self, *_: object) -> None:
        process = self._scorer.meteor_p
        with contextlib.suppress(OSError):
            process.stdin.close()
        # At the end of its input it ends by itself, and Java removes what it has among temporary files.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_SECONDS_TO_END_BY_ITSELF)
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
        # Its destructor waits for this lock, which a run that was interrupted or failed never gives back.
        self._scorer.lock = threading.Lock()

    def score(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
        """Scores captions.

        Args:
            captions: tokenised captions, at least one.
            references: for each caption, tokenised references.
        Returns:
            The corpus score and each caption's, from 0 to 1.
        Raises:
            DependencyError: METEOR fails.
        """
        try:
            corpus, each = self._scorer.compute_score(
                dict(enumerate(references)), {number: [caption] for number, caption in enumerate(captions)}
            )
        except (OSError, ValueError) as error:
            raise DependencyError(f"METEOR failed ({_complaint(self._scorer.meteor_p)}); check {self._java}") from error
        return float(corpus), [float(score) for score in each]


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
