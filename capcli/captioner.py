"""Images -> captions: joins encoder, search and tokenizer. Knows nothing of folders, formats or terminals."""

from __future__ import annotations

import functools
import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from capcli.bundle.bundle import DEFAULT, Bundle
from capcli.bundle.matching import CONTEXT, picture_numbers
from capcli.bundle.tokens import raw_text, sentence
from capcli.bundle_graphs import BundleGraphs
from capcli.caption_settings import CaptionSettings, confidence_of
from capcli.decoding.choice import best_first, searched_with
from capcli.decoding.filters import caption_filters
from capcli.decoding.search import Hypothesis, SearchSettings, search
from capcli.decoding.signals import signals_of
from capcli.errors import ImageError
from capcli.inputs.images import MAX_PIXELS, load_image, load_readers
from capcli.inputs.sources import check_type, is_one_image, is_open_file, name_of, read_open_file, several
from capcli.opening import OpeningModel
from capcli.pipeline import Pipeline, PipelineInput, PipelineSettings, Result
from capcli.settings import whole_number

if TYPE_CHECKING:
    from capcli.inputs.loaders import Loaders
    from capcli.inputs.sources import ImageSource

# Images captioned together in a lane. On two cores with VNNI the search took 8.3 ms a photo with 8 of them, 6.6 with 16
# and with 32 (64 photos, medians of four rounds).
_BATCH = 16


@dataclass(frozen=True)
class Word:
    """One token of a caption.

    `text`: the lower-case word, empty for the end token. `log_prob`: its natural log-probability after the words
    before. `attention`: float32 [rows, columns], where the model looked as it said it, with a sum of 1; None where the
    model has no attention.
    """

    text: str
    log_prob: float
    attention: np.ndarray | None = None


@dataclass(frozen=True)
class Caption:
    """One caption of one image.

    `text` is a sentence; `raw` the lower-case words as the decoder said them. `score` is the mean and `log_prob` the
    sum of the tokens' natural log-probabilities, the end token included. When details were asked for, `words` are the
    tokens one by one, the end token last, and `signals` what a confidence is made of, "match" among them, how well it
    goes with the picture, where the bundle has a matching score. `confidence`: the probability that a person would call
    the caption right, 0 to 1; of an image's best caption with the bundle's own search settings, None elsewhere and
    where the bundle does not know.
    """

    text: str
    raw: str
    tokens: tuple[str, ...]
    score: float
    log_prob: float
    words: tuple[Word, ...] | None = None
    signals: Mapping[str, float] | None = None
    confidence: float | None = None

    def __str__(self) -> str:
        return self.text


class Captioner:
    """A loaded model.

    Args:
        model: a bundle's name or folder; a bundle that is read; or a model that is being opened, on its provider and
            with its threads and lanes.
        provider: "auto" (CUDA where it works, else the CPU), "cpu" or "cuda".
        threads: CPU threads; by default one for each core this process may use.
        lanes: batches that `stream` captions at the same time on the CPU, sharing the threads: 2 are faster for many
            images, and slower for one.
        mirror_average: look at each image and at its mirror image, and caption their mean: twice the encoder's work.
    Raises:
        BundleError: the bundle is missing, damaged, or its graphs do not fit its manifest.
        ProviderError: ONNX Runtime is broken, or the provider cannot be used.
        UsageError: the model cannot average mirror images, since it does not tell the shape of its grid.

    `threads` and `lanes` are what it has of them. Use it from one thread at a time, but for `load` and
    `caption_pixels`.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Bundle | OpeningModel = DEFAULT,
        *,
        provider: str = "auto",
        threads: int | None = None,
        lanes: int = 1,
        mirror_average: bool = False,
    ) -> None:
        opening = model if isinstance(model, OpeningModel) else OpeningModel(model, provider, threads, lanes)
        load_readers()
        self.bundle = opening.bundle()
        self._tokenizer = self.bundle.tokenizer()
        self._matching = self.bundle.matching(len(self._tokenizer))
        self._filters = caption_filters(self._tokenizer, self.bundle.manifest.habits)
        self._confidence = confidence_of(self.bundle)
        self._graphs = BundleGraphs(
            self.bundle,
            opening.sessions(),
            len(self._tokenizer),
            None if self._matching is None else len(self._matching.means),
            mirror_average=mirror_average,
        )
        self.threads = opening.threads
        # A GPU takes one batch at a time.
        self.lanes = opening.lanes if self.provider == "cpu" else 1

    @property
    def provider(self) -> str:
        """The execution provider in use: "cpu" or "cuda"."""
        return self._graphs.provider

    @property
    def provider_note(self) -> str | None:
        """Why CUDA is not used, where "auto" chose the CPU."""
        return self._graphs.provider_note

    @property
    def batch_size(self) -> int:
        """Images captioned together where nobody says otherwise, those of all lanes."""
        return _BATCH * self.lanes

    @property
    def input_size(self) -> int:
        """Width and height in pixels that images are resized to."""
        return self.bundle.manifest.input_size

    def settings(
        self,
        *,
        beam: int | None = None,
        captions: int = 1,
        max_length: int | None = None,
        length_penalty: float | None = None,
    ) -> SearchSettings:
        """Search settings, the bundle's own where none is given.

        Raises:
            UsageError: a value is out of range.
            TypeError: a value is no number.
        """
        return CaptionSettings(beam, max_length, length_penalty, captions).search(self.bundle)

    def knows_confidence(self, settings: SearchSettings) -> bool:
        """Whether captions with these settings have a confidence: with the bundle's own, if it has been fitted, and
        of the image alone."""
        own = self.settings(captions=settings.captions)
        return self._confidence is not None and settings == own and not self._graphs.mirror_average

    def load(self, image: ImageSource, *, max_pixels: int | None = None, loaders: Loaders | None = None) -> np.ndarray:
        """Reads one image as the encoder wants it: uint8 [input_size, input_size, 3], RGB.

        Args:
            image: as `caption` takes it.
            max_pixels: larger images are refused before they are decoded; by default `images.MAX_PIXELS`.
            loaders: processes that read it in this one's stead, if it is a path or bytes.
        Raises:
            ImageError: it cannot be read. Its `source` is the image; its message does not name it.
            UsageError: `max_pixels` is below 1.
            TypeError: it is nothing that can be an image.
        """
        most = MAX_PIXELS if max_pixels is None else whole_number("max pixels", max_pixels)
        size = (self.input_size, self.input_size)
        try:
            if loaders is not None and isinstance(image, (str, os.PathLike, bytes)):
                return loaders.load(image, size=size, max_pixels=most)
            return load_image(image, size=size, max_pixels=most)
        except ImageError as error:
            error.source = image
            raise

    @overload
    def caption(  # type: ignore[overload-overlap]  # a str is an Iterable[str] too; it means one path
        self,
        images: ImageSource,
        *,
        beam: int | None = None,
        max_length: int | None = None,
        length_penalty: float | None = None,
        details: bool = False,
    ) -> Caption: ...
    @overload
    def caption(
        self,
        images: Iterable[ImageSource],
        *,
        beam: int | None = None,
        max_length: int | None = None,
        length_penalty: float | None = None,
        details: bool = False,
    ) -> list[Caption]: ...
    def caption(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        beam: int | None = None,
        max_length: int | None = None,
        length_penalty: float | None = None,
        details: bool = False,
    ) -> Caption | list[Caption]:
        """Captions one image, or each of several.

        Args:
            images: a path, bytes, an open binary file (read from where it stands, and left open), a PIL image or an
                array uint8 [H, W, 3]; or a list of such.
            beam: hypotheses kept for each image; 1 is greedy search.
            max_length: longest caption, in words.
            length_penalty: sums of log-probabilities are compared after division by length to this power.
            details: also give the captions' words one by one.
        Returns:
            A `Caption` for one image, a list of them for several.
        Raises:
            ImageError: an image cannot be read: its `source`, which the message names by its path or place in the list.
                `stream` goes on with the others.
            UsageError: a search setting is out of range.
            TypeError: something is no image, or no number.
        """
        settings = self.settings(beam=beam, max_length=max_length, length_penalty=length_penalty)
        if is_one_image(images):
            return self._caption_one(images, settings, details)[0]
        return [found[0] for found in self._caption_each(images, settings, details)]

    def candidates(
        self,
        image: ImageSource,
        count: int,
        *,
        beam: int | None = None,
        max_length: int | None = None,
        length_penalty: float | None = None,
        details: bool = False,
    ) -> list[Caption]:
        """The `count` best captions of one image, best first; the other arguments and errors are `caption`'s."""
        settings = self.settings(beam=beam, captions=count, max_length=max_length, length_penalty=length_penalty)
        if not is_one_image(image):
            if not isinstance(image, Iterable):
                check_type(image)
            raise TypeError("candidates takes one image; for several: stream(images, captions=count)")
        return self._caption_one(image, settings, details)

    def stream(
        self,
        images: Iterable[ImageSource],
        *,
        captions: int = 1,
        beam: int | None = None,
        max_length: int | None = None,
        length_penalty: float | None = None,
        batch_size: int | None = None,
        workers: int = 2,
        max_pixels: int | None = None,
        details: bool = False,
    ) -> Generator[Result[ImageSource, Caption], None, None]:
        """Captions any number of images, each as soon as it is known, in their order and in flat memory.

        Images are read and decoded ahead in other threads. One that cannot be read is a result with an error, and the
        others are captioned.

        Args:
            images: each as `caption` takes it, taken as they are needed, in another thread. An open file is read when
                it is taken; a PIL image or an array must stay as it is until its result has come.
            captions: captions for each image, best first.
            beam, max_length, length_penalty: as `caption` takes them.
            batch_size: images captioned together; by default as many as suit the provider.
            workers: threads that read and decode images.
            max_pixels: larger images are refused before they are decoded; by default `images.MAX_PIXELS`.
            details: also give the captions' words one by one.
        Returns:
            Yields a `Result` for each image: `source`, the image as it was given; `captions`, best first; `error`, the
            reason why there are none, or None. Closing the generator drops what is on its way and ends its threads.
            What `images` itself raises comes after the results of what it gave before.
        Raises:
            UsageError: a setting is out of range.
            TypeError: a setting is no number, or `images` is one image.
        """
        settings = self.settings(beam=beam, captions=captions, max_length=max_length, length_penalty=length_penalty)
        pipeline = self.pipeline(settings, PipelineSettings(batch_size, workers, max_pixels), details=details)
        return pipeline.run(map(_pipeline_input, several(images, "stream")))

    def pipeline(
        self,
        search: SearchSettings,
        settings: PipelineSettings,
        *,
        details: bool = False,
        loaders: Loaders | None = None,
    ) -> Pipeline[Caption]:
        """What `stream` runs on, for callers who want to stop it or to name images themselves.

        Args:
            search: from `settings`.
            settings: how much is done at once.
            details: also give the captions' words one by one.
            loaders: processes that read the images; None to read them in this one.
        """
        settings = replace(settings, batch_size=settings.batch_size or self.batch_size)
        return Pipeline(
            functools.partial(self.load, max_pixels=settings.max_pixels, loaders=loaders),
            functools.partial(self.caption_pixels, settings=search, details=details),
            settings,
            self.lanes,
        )

    def _caption_one(self, image: Any, settings: SearchSettings, details: bool) -> list[Caption]:
        return self.caption_pixels(self._load_named(image, name_of(image))[None], settings, details=details)[0]

    def _caption_each(self, images: Any, settings: SearchSettings, details: bool) -> list[list[Caption]]:
        results: list[list[Caption]] = []
        waiting: list[np.ndarray] = []
        for place, image in enumerate(several(images, "caption")):
            waiting.append(self._load_named(image, name_of(image) or f"images[{place}]"))
            if len(waiting) == self.batch_size:
                results += self.caption_pixels(np.stack(waiting), settings, details=details)
                waiting = []
        return results + (self.caption_pixels(np.stack(waiting), settings, details=details) if waiting else [])

    def _load_named(self, image: Any, name: str | None) -> np.ndarray:
        """Reads an image; errors say which."""
        try:
            return self.load(image)
        except ImageError as error:
            if name is None:
                raise
            raise ImageError(f"{name}: {error}", image) from error
        except TypeError as error:
            raise (error if name is None else TypeError(f"{name}: {error}")) from None

    def caption_pixels(
        self, pixels: np.ndarray, settings: SearchSettings, *, details: bool = False
    ) -> list[list[Caption]]:
        """Captions images that `load` has read.

        Args:
            pixels: uint8 [N, input_size, input_size, 3].
            settings: from `settings`.
            details: also give the words one by one, with their probabilities and where the model looked.
        Returns:
            For each image its captions, best first.
        """
        if not len(pixels):
            return []
        return self.caption_encoded(self.encode(pixels), settings, details=details)

    def encode(self, pixels: np.ndarray) -> list[np.ndarray]:
        """The first half of `caption_pixels`: what the decoder is told of each image.

        Args:
            pixels: uint8 [N, input_size, input_size, 3], N at least 1.
        Returns:
            The encoder's outputs in the manifest's order, context and then state; the first axis of each is N.
        """
        return self._graphs.encode(pixels)

    def caption_encoded(
        self, encoded: list[np.ndarray], settings: SearchSettings, *, details: bool = False
    ) -> list[list[Caption]]:
        """The second half of `caption_pixels`, which has the arguments: the search, from what `encode` returned."""
        confidence = self._confidence if self.knows_confidence(settings) else None
        choice = 0.0 if confidence is None else confidence.choice
        found = self.find(encoded, searched_with(settings, choice), details=details, signals=confidence is not None)
        captions = []
        for sentences, signals in found:
            logits = None if confidence is None else [confidence.logit(each) for each in signals]
            order = range(len(sentences)) if logits is None else best_first(sentences, logits, choice, settings)
            said = [
                self._caption(sentences[place], signals[place] if details else None)
                for place in order[: settings.captions]
            ]
            if confidence is not None:
                # It was fitted on best captions alone.
                said[0] = replace(said[0], confidence=confidence.probability(signals[order[0]]))
            captions.append(said)
        return captions

    def find(
        self, encoded: list[np.ndarray], settings: SearchSettings, *, details: bool = False, signals: bool = True
    ) -> list[tuple[list[Hypothesis], list[dict[str, float]]]]:
        """The sentences that the search finds for each image, of which `caption_encoded` says one.

        Args:
            encoded: what `encode` returned.
            settings: as `settings` gives them.
            details: also collect where the model looked; takes the signals in.
            signals: also measure what a confidence is made of.
        Returns:
            For each image its sentences, most probable first, and the signals of each, empty where nobody asked.
        """
        signals = signals or details
        looks = details and self._graphs.attends
        step, first = self._graphs.steps(encoded, with_attention=looks)
        found = search(
            step,
            first,
            len(encoded[0]),
            start=self._tokenizer.start,
            end=self._tokenizer.end,
            settings=settings,
            filters=self._filters,
            with_attention=looks,
            with_entropy=signals,
        )
        return [(each, self._signals(encoded, row, each) if signals else []) for row, each in enumerate(found)]

    def _signals(self, encoded: list[np.ndarray], row: int, sentences: Sequence[Hypothesis]) -> list[dict[str, float]]:
        if self._matching is None:
            return [signals_of(each) for each in sentences]
        place = self.bundle.manifest.graph.context.index(CONTEXT)
        picture = picture_numbers(encoded[place][row])
        matches = self._matching.scores(picture, [each.tokens for each in sentences])
        return [signals_of(each, match) for each, match in zip(sentences, matches, strict=True)]

    def _caption(self, hypothesis: Hypothesis, signals: Mapping[str, float] | None) -> Caption:
        """A caption without its confidence; with its details where it has signals."""
        tokens = self._tokenizer.tokens(hypothesis.tokens)
        return Caption(
            text=sentence(tokens, self.bundle.manifest.habits.casing),
            raw=raw_text(tokens),
            tokens=tokens,
            score=hypothesis.mean_log_prob,
            log_prob=hypothesis.log_prob,
            words=None if signals is None else self._words(tokens, hypothesis),
            signals=signals,
        )

    def _words(self, tokens: Sequence[str], hypothesis: Hypothesis) -> tuple[Word, ...]:
        grid = self.bundle.manifest.graph.attention_grid
        attention = None if grid is None or hypothesis.attention is None else hypothesis.attention.reshape(-1, *grid)
        return tuple(
            Word(text, float(log_prob), None if attention is None else attention[place])
            for place, (text, log_prob) in enumerate(zip([*tokens, ""], hypothesis.log_probs, strict=True))
        )


def _pipeline_input(image: Any) -> PipelineInput[Any]:
    """One image of a stream.

    Open files are read here, one after the other as they come: the members of an archive share one file.
    """
    try:
        check_type(image)
        return PipelineInput(image, read_open_file(image) if is_open_file(image) else image)
    except (ImageError, TypeError) as error:
        return PipelineInput(image, None, str(error))
