"""Single faults in the bundle's checks, and in what joins encoder, search and tokenizer."""

from __future__ import annotations

from tests.faults.fault import Area, Fault

ROOMS = (
    "capcli/bundle/bundle.py",
    "capcli/bundle/catalogue.py",
    "capcli/bundle/habits.py",
    "capcli/bundle/precision.py",
    "capcli/bundle/tokens.py",
    "capcli/bundle_graphs.py",
    "capcli/caption_settings.py",
    "capcli/captioner.py",
    "capcli/graph_fit.py",
    "capcli/opening.py",
    "capcli/runtime/graph_file.py",
    "capcli/runtime/sessions.py",
    "capcli/settings.py",
    "capcli/user_folders.py",
)

BUNDLE = "tests/bundle/test_bundle.py"
HOSTILE = "tests/bundle/test_hostile_bundles.py"
TOKENS = "tests/bundle/test_tokens.py"
HABITS = "tests/bundle/test_habits.py"
CONFIDENCE = "tests/bundle/test_confidence.py"
CAPTIONER = "tests/test_captioner.py"
MATCHED = "tests/test_captioner_matching.py"
SESSIONS = "tests/runtime/test_sessions.py"
OPENING = "tests/test_opening.py"
MODELS = "tests/cli/test_models.py"
FOLDERS = "tests/test_user_folders.py"
CHECKS = f"{BUNDLE} {HOSTILE}"

# fmt: off
SECTIONS = {
    "bundle": [
        # The first four: what a review planted.
        Fault("the fingerprint is of the encoder alone", 'for role in ("encoder", "decoder", "tokenizer")]',
              'for role in ("encoder",)]', BUNDLE),
        Fault("the fingerprint is without habits", '"".join([*digests, habits])', '"".join(digests)', BUNDLE),
        Fault("own models before those of the environment", "folders.append(data_folder() / \"capcli\" / \"models\")",
              "folders.insert(0, data_folder() / \"capcli\" / \"models\")", BUNDLE),
        Fault("images of any size", "    if not 16 <= size <= 2048:\n", "    if not 0 <= size <= 10**10:\n", BUNDLE),
        Fault("the shipped model before own ones", '    folders.append(package / "models")\n',
              '    folders.insert(0, package / "models")\n', BUNDLE),
        Fault("checksums are not compared", "            if digest != record.sha256:\n", "            if False:\n",
              BUNDLE),
        Fault("sizes are not compared", "                if size != record.size:\n", "                if False:\n",
              BUNDLE),
        Fault("only the first files are checked",
              "for record in self.manifest.files.values():\n            path = self",
              "for record in list(self.manifest.files.values())[:2]:\n            path = self", BUNDLE),
        Fault("pipes are read", "                if not stat.S_ISREG(status.st_mode):\n", "                if False:\n",
              HOSTILE),
        Fault("any format version", "    if version != FORMAT:\n", "    if version is None:\n", BUNDLE),
        Fault("files may lie outside", "if outside or not target.resolve().is_relative_to(folder.resolve()):",
              "if False:", BUNDLE),
        Fault("links may lead outside", "if outside or not target.resolve().is_relative_to(folder.resolve()):",
              "if outside:", BUNDLE),
        Fault("absolute paths", "or PurePosixPath(name).is_absolute() or", "or", BUNDLE),
        Fault("drives of Windows", 'or "\\\\" in name or ":" in name', "", BUNDLE),
        Fault("names that cannot be printed", "if not name.isprintable() or len(name) > _LONGEST_NAME:",
              "if len(name) > _LONGEST_NAME:", HOSTILE),
        Fault("names of any length", "if not name.isprintable() or len(name) > _LONGEST_NAME:",
              "if not name.isprintable():", HOSTILE),
        Fault("a manifest of any size", "if len(content) > _LARGEST_MANIFEST:", "if False:", CHECKS),
        Fault("files of any size", "    if not 0 <= file.size <= largest:\n", "    if False:\n", HOSTILE),
        Fault("any sha256", '    if not re.fullmatch("[0-9a-f]{64}", file.sha256):\n', "    if False:\n", HOSTILE),
        Fault("any resize mode", '    if resize != "squash":\n', "    if False:\n", BUNDLE),
        Fault("grids of any size", "if rows < 1 or columns < 1 or rows * columns > _LARGEST_GRID:", "if False:",
              HOSTILE),
        Fault("two tensors of one name",
              "if len({*names.context, *names.state}) < len(names.context) + len(names.state):", "if False:", HOSTILE),
        Fault("beam 0", "widths = 1 <= self.beam <= MOST", "widths = 0 <= self.beam <= MOST", BUNDLE),
        Fault("no words", "and 1 <= self.max_length <= LONGEST_CAPTION", "and 0 <= self.max_length <= LONGEST_CAPTION",
              BUNDLE),
        Fault("a length penalty below 0", "not 0 <= self.length_penalty <= 10:",
              "not -10 <= self.length_penalty <= 10:", BUNDLE),
        Fault("special tokens are the tokenizer's", "            if here != there:\n", "            if False:\n",
              BUNDLE),
        Fault("too deep manifests are an internal error", "except (OSError, ValueError, RecursionError) as error:\n"
              "        raise BundleError(f\"{path}: not readable as", "except (OSError, ValueError) as error:\n"
              "        raise BundleError(f\"{path}: not readable as", HOSTILE),
        Fault("infinite numbers are an internal error", "TypeError, ValueError, OverflowError, AttributeError) as",
              "TypeError, ValueError, AttributeError) as", HOSTILE),
        Fault("a confidence of other weights", "if confidence is None or confidence.weights != self.fingerprint:",
              "if confidence is None:", CONFIDENCE),
        Fault("a confidence of another matching score",
              "if confidence.matching not in (None, self.matching_fingerprint):", "if False:", MATCHED),
        Fault("a confidence of another search", "return confidence if fitted_for == (search.beam, search.max_length, "
              "search.length_penalty) else None", "return confidence", CONFIDENCE),
        Fault("a model's file is known by its size", "return None if file is None else file.sha256[:16]",
              "return None if file is None else str(file.size)", MATCHED),
        Fault("a name is a folder", "    if is_name:\n        for folder in bundle_folders():", "    if False:\n"
              "        for folder in bundle_folders():", BUNDLE),
        Fault("habits are lost in the manifest", "            **self.habits.as_dict(),\n", "", BUNDLE),
        Fault("the precision is lost in the manifest",
              "        precision=Precision.from_dict(dict(values.get(\"precision\", {}))),\n", "", BUNDLE),
        Fault("gaps that are no numbers", "type(gap) is int and gap > 0 for gap", "gap for gap", HABITS),
        Fault("a bundle in an earlier place hides none", "before = first.setdefault(folder.name, folder)",
              "before = folder", f"{MODELS}::test_a_bundle_that_another_of_its_name_hides_is_told"),
        Fault("half-written bundles are listed", 'if not entry.name.startswith(".")]', "]",
              f"{MODELS}::test_every_bundle_is_listed_with_size_and_folder"),
        Fault("damaged bundles are not listed", "    except BundleError as error:\n"
              '        return FoundBundle(folder.name, folder, None, "", str(error), hidden_by)\n', "    except "
              'ZeroDivisionError as error:\n        return FoundBundle(folder.name, folder, None, "", str(error), '
              "hidden_by)\n", f"{MODELS}::test_a_damaged_bundle_is_listed_as_such"),
        Fault("a relative folder counts", "return Path(value) if os.path.isabs(value) else None",
              "return Path(value) if value else None", FOLDERS),
    ],
    "tokens": [
        Fault("the last token has no id", '[""] * (max(vocabulary.values()) + 1)',
              '[""] * (max(vocabulary.values()) + 2)', f"{TOKENS} {CAPTIONER}"),
        Fault("a vocabulary without an end", "        if missing:\n", "        if False:\n", f"{TOKENS} {HOSTILE}"),
        Fault("ids of any size", "if max(vocabulary.values()) >= _MOST_TOKENS:", "if False:", HOSTILE),
        Fault("tokens that are no words", 'if kind != "WordLevel":', "if False:", HOSTILE),
        Fault("precompiled normalizers", 'if value.get("type") == "Precompiled":', "if False:", HOSTILE),
        Fault("a possessive stands apart", '.replace(" \'s", "\'s")', "", TOKENS),
        Fault("no capital", "text[0].upper() + text[1:]", "text", TOKENS),
        Fault("capitals elsewhere are lost", "text[0].upper() + text[1:]", "text.capitalize()", TOKENS),
        Fault("no full stop", 'return text[0].upper() + text[1:] + "."', "return text[0].upper() + text[1:]", TOKENS),
        Fault("casing is not heeded", "[(casing or {}).get(token, token) for token in tokens]", "list(tokens)", TOKENS),
        Fault("typographic apostrophes are no apostrophes", "normalizers.Replace(\"’\", \"'\"), ", "", TOKENS),
        Fault("capitals are other words", ", normalizers.Lowercase()]", "]", TOKENS),
        Fault("composed letters are other words", "normalizers.NFC(), ", "", TOKENS),
    ],
    "graphs": [
        # The first three: what a review planted.
        Fault("any vocabulary size", "    if words and words[0] not in (None, tokens):\n", "    if False:\n",
              f"{CAPTIONER} {HOSTILE}"),
        Fault("outputs may be missing", "        if not outputs <= given_out:\n", "        if False:\n", CAPTIONER),
        Fault("the attention is not asked for", '        step_outputs.add("attention")\n', "        pass\n",
              f"{CAPTIONER} {HOSTILE}"),
        Fault("any inputs", "        if given_in != inputs:\n", "        if not given_in >= inputs:\n", HOSTILE),
        Fault("inputs may be missing", "        if given_in != inputs:\n", "        if not given_in <= inputs:\n",
              f"{CAPTIONER} {HOSTILE}"),
        Fault("pictures of any size", '(None, size, size, 3))', "None)", HOSTILE),
        Fault("one picture at a time", "and (not given or given[0] is None)", "", HOSTILE),
        Fault("any type", "fits = spec.dtype in dtypes and", "fits = True and", HOSTILE),
        Fault("any shape", "        if fits and given and shape is not None:\n", "        if False:\n", HOSTILE),
        Fault("a state of another size comes back",
              '        step.check(f"{name}.next", step.outputs, (given.dtype,), given.shape or None)\n',
              "        pass\n", HOSTILE),
        Fault("attention over another grid", '        step.check("attention", step.outputs, _FLOATS, (None, places))\n',
              "        pass\n", HOSTILE),
        Fault("scores of any type", '    step.check("log_probs", step.outputs, _FLOATS, (None, tokens))\n', "",
              HOSTILE),
        Fault("a matching score of another encoder",
              "    if len(shape) != 3 or shape[2] is None or 2 * shape[2] != numbers:\n", "    if False:\n", MATCHED),
        Fault("a size that shows in use is not looked at",
              "            if log_probs.shape != (len(tokens), self._tokens) or (", "            if False and (",
              HOSTILE),
        Fault("data in other files is read", "_ELSEWHERE, _WHERE = 13, 14", "_ELSEWHERE, _WHERE = 113, 114", HOSTILE),
    ],
    "captioner": [
        # The first: what a review planted.
        Fault("what is left after a full batch is lost", "return results + (self.caption_pixels(np.stack(waiting), "
              "settings, details=details) if waiting else [])", "return results", CAPTIONER),
        Fault("batches overlap", "                waiting = []\n        return results",
              "                waiting = waiting[-1:]\n        return results", CAPTIONER),
        Fault("the encoder's parts are joined the wrong way", "range(0, len(pixels), _ENCODED_AT_ONCE)",
              "reversed(range(0, len(pixels), _ENCODED_AT_ONCE))", CAPTIONER),
        Fault("the mirror image's grid is not mirrored back", "return grid[:, :, ::-1].reshape(context.shape)",
              "return grid.reshape(context.shape)", CAPTIONER),
        Fault("the grid is turned upside down", "return grid[:, :, ::-1].reshape(context.shape)",
              "return grid[:, ::-1].reshape(context.shape)", CAPTIONER),
        Fault("pictures are turned upside down", "np.ascontiguousarray(pixels[:, :, ::-1])",
              "np.ascontiguousarray(pixels[:, ::-1])", CAPTIONER),
        Fault("the mean with the mirror image has a confidence", "settings == own and not self._graphs.mirror_average",
              "settings == own", CAPTIONER),
        Fault("any search has a confidence", "return self._confidence is not None and settings == own and",
              "return self._confidence is not None and", CAPTIONER),
        Fault("every caption has a confidence", "said[0] = replace(said[0], confidence=confidence.probability("
              "signals[order[0]]))",
              "said = [replace(each, confidence=confidence.probability(signals[place])) "
              "for each, place in zip(said, order)]", f"{CAPTIONER} {MATCHED}"),
        Fault("the match is another image's", "picture_numbers(encoded[place][row])",
              "picture_numbers(encoded[place][0])", MATCHED),
        Fault("the score is the sum", "score=hypothesis.mean_log_prob", "score=hypothesis.log_prob", CAPTIONER),
        Fault("the end is no word", 'zip([*tokens, ""], hypothesis.log_probs, strict=True)',
              "zip(tokens, hypothesis.log_probs, strict=False)", CAPTIONER),
        Fault("words look where the next one does", "attention[place])", "attention[place - 1])", CAPTIONER),
        Fault("own settings are not the bundle's", "beam=own.beam if self.beam is None else self.beam",
              "beam=3 if self.beam is None else self.beam", CAPTIONER),
        Fault("a length penalty of 0 is none", "length_penalty=own.length_penalty if self.length_penalty is None "
              "else self.length_penalty", "length_penalty=self.length_penalty or own.length_penalty", CAPTIONER),
        Fault("the longest caption is the bundle's",
              "max_length=own.max_length if self.max_length is None else self.max_length",
              "max_length=own.max_length", CAPTIONER),
        Fault("habits do not reach captions", "caption_filters(self._tokenizer, self.bundle.manifest.habits)",
              "caption_filters(self._tokenizer, type(self.bundle.manifest.habits)())", CAPTIONER),
        Fault("casing does not reach captions", "text=sentence(tokens, self.bundle.manifest.habits.casing)",
              "text=sentence(tokens)", CAPTIONER),
        Fault("a limit of pixels is not passed on to loaders", "loaders.load(image, size=size, max_pixels=most)",
              "loaders.load(image, size=size, max_pixels=10**9)",
              "tests/inputs/test_loaders.py::test_a_captioner_s_limit_of_pixels_reaches_them"),
        Fault("a limit of pixels is not passed on", "return load_image(image, size=size, max_pixels=most)",
              "return load_image(image, size=size)", CAPTIONER),
        Fault("a stream's limit of pixels is lost", "functools.partial(self.load, max_pixels=settings.max_pixels, "
              "loaders=loaders)", "functools.partial(self.load, loaders=loaders)",
              CAPTIONER),
        Fault("errors do not know their image", "            error.source = image\n            raise\n",
              "            raise\n", CAPTIONER),
        Fault("open files are read where their turn comes",
              "read_open_file(image) if is_open_file(image) else image)", "image)", CAPTIONER),
        Fault("hidden grids average mirror images", "if mirror_average and self._names.context and self._names."
              "attention_grid is None:", "if False:", CAPTIONER),
        Fault("what is found out with the encoder is found out again", "            obstacle = opened\n",
              "            obstacle = opened\n            _open_cuda(ort, sources[-1], threads)\n", SESSIONS),
        Fault("graphs change places", "left = sources[len(sessions) :]", "left = sources[len(sessions) :][::-1]",
              SESSIONS),
        Fault("why it is not CUDA is lost", "None if obstacle is None else obstacle.reason", "None", SESSIONS),
        Fault("what is printed while graphs are opened is lost",
              "        native = ort.InferenceSession(source.given, _options(ort, threads), providers=[_CPU]",
              "        with captured():\n            native = ort.InferenceSession(source.given, "
              "_options(ort, threads), providers=[_CPU]", OPENING),
        Fault("a bundle that is read is read again", "model if isinstance(model, Bundle) else load_bundle(model))",
              "load_bundle(model.folder if isinstance(model, Bundle) else model))", OPENING),
        Fault("the opening loads NumPy at once", "if TYPE_CHECKING:\n    from capcli.runtime.sessions import Session\n",
              "from capcli.runtime.sessions import Session\n", OPENING),
        Fault("threads are not checked",
              'if threads is None else whole_number("threads", threads, most=MOST_THREADS)',
              "if threads is None else threads", OPENING),
        Fault("there are more lanes than threads", "min(whole_number(\"lanes\", lanes), self.threads)", "lanes",
              OPENING),
        Fault("a lane has all threads", "self.threads - self.lanes + 1)", "self.threads)", OPENING),
        Fault("a captioner's lanes are not its pipeline's", "            settings,\n            self.lanes,\n",
              "            settings,\n", CAPTIONER),
        Fault("a whole number may be True", "        if isinstance(value, bool) or getattr(getattr",
              "        if getattr(getattr", CAPTIONER),
        Fault("numbers of any size", "    if most is not None and number > most:\n", "    if False:\n", CAPTIONER),
        Fault("what is no number is between", "    if not low <= number <= high:\n",
              "    if number < low or number > high:\n", CAPTIONER),
        Fault("the order of the choice is lost", "for place in order[: settings.captions]",
              "for place in range(len(sentences))[: settings.captions]", MATCHED),
        Fault("all that was chosen from is said", "order[: settings.captions]", "order", f"{CAPTIONER} {MATCHED}"),
        Fault("there is nothing to choose from", "searched_with(settings, choice)", "settings", MATCHED),
        Fault("the choice's signals are the most probable one's", "signals[place] if details else None",
              "signals[0] if details else None", MATCHED),
        Fault("the confidence is the most probable one's", "confidence.probability(signals[order[0]])",
              "confidence.probability(signals[0])", MATCHED),
    ],
}
# fmt: on

AREA = Area(ROOMS, SECTIONS)
