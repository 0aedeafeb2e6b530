"""Single faults in what is written beside photos and into them: sidecars, XMP, metadata, and the way back."""

from __future__ import annotations

from tests.faults.fault import Area, Fault

ROOMS = (
    "capcli/outputs/affixes.py",
    "capcli/outputs/beside.py",
    "capcli/outputs/destinations.py",
    "capcli/outputs/exiv2.py",
    "capcli/outputs/image_data.py",
    "capcli/outputs/iptc_digest.py",
    "capcli/outputs/joining.py",
    "capcli/outputs/metadata.py",
    "capcli/outputs/outcomes.py",
    "capcli/outputs/sidecars.py",
    "capcli/outputs/spared.py",
    "capcli/outputs/text_edits.py",
    "capcli/outputs/text_fields.py",
    "capcli/outputs/undoing.py",
    "capcli/outputs/xmp_sidecars.py",
)

SIDECARS = "tests/outputs/test_sidecars.py"
XMP = "tests/outputs/test_xmp_sidecars.py"
METADATA = "tests/outputs/test_metadata.py"
ALT = "tests/outputs/test_alt_text.py"
UNDOING = "tests/outputs/test_undoing.py"
JOINING = "tests/outputs/test_joining.py"
AFFIXES = "tests/outputs/test_affixes.py"
SPARED = "tests/outputs/test_spared.py"
DESTINATIONS = "tests/outputs/test_destinations.py"
RESUME = "tests/test_captioning_resume.py"
EXIFTOOL = "tests/outputs/test_exiftool.py"
IMAGE_DATA = "tests/outputs/test_image_data.py"
EXIV2 = "tests/outputs/test_exiv2.py"
GUARDS = f"{EXIV2} {IMAGE_DATA}"
APPLY = "tests/cli/test_apply.py"
DRAFTS = "tests/outputs/test_drafts.py"
CONFIDENCE = "tests/cli/test_confidence.py"

# fmt: off
SECTIONS = {
    "sidecars": [
        # The first three: what a review planted. (.xmp has become a destination of its own; no other suffix is taken.)
        Fault("another photo's sidecar is a photo's own", "            return self._beside.taken(path, sidecar) is not "
              "None\n", "            return False\n", f"{SIDECARS} {RESUME}"),
        Fault("links are followed", "        if os.path.islink(file):\n            return \"it is a symbolic",
              "        if False:\n            return \"it is a symbolic", SIDECARS),
        Fault("any suffix", "if suffix not in SUFFIXES:", "if suffix[:1] != \".\":", SIDECARS),
        Fault("a sidecar that is there is replaced", "        if status is not None and not self._overwrite and "
              "self._joining is None:\n            return False\n", "", SIDECARS),
        Fault("what came up meanwhile is replaced",
              "            if status is None and not self._overwrite:\n", "            if False:\n", SIDECARS),
        Fault("permissions of the old one are lost",
              "            if status is not None:\n                draft.copy_access(status)\n"
              "            draft.to_disk()\n", "            draft.to_disk()\n", SIDECARS),
        Fault("another program's change is lost",
              "self._joining is not None and not is_unchanged(target, status):", "False:", SIDECARS),
        Fault("one photo's sidecar is written twice", "not self._beside.is_claimed(sidecar) and not same", "not same",
              f"{SIDECARS} {JOINING}"),
        Fault("the same text is written again", "self._beside.is_claimed(sidecar) and not same and", "self._beside."
              "is_claimed(sidecar) and", f"{SIDECARS} {JOINING}"),
        Fault("the sidecar of a photo that was not asked for is nobody's",
              "            self._beside.claim(image, sidecar)\n            told", "            told", SIDECARS),
        Fault("captions keep their line ends", "[self._affixes.around(caption) for caption in captions]",
              "[self._affixes.prefix + caption + self._affixes.suffix for caption in captions]", SIDECARS),
        Fault("the worst caption is added", "_joined(joining, sidecar, lines[0])", "_joined(joining, sidecar, "
              "lines[-1])", f"{SIDECARS} {JOINING}"),
        Fault("a picture is added to", "    if is_picture(sidecar):\n", "    if False:\n", SIDECARS),
        Fault("a log is added to", "if os.path.getsize(sidecar) > _MOST_BYTES:", "if False:", SIDECARS),
        Fault("what has the same size says the same", "        return file.read() == content\n",
              "        return True\n", SIDECARS),
        Fault("a dry run writes",
              "        if self._dry_run:\n            return True\n        with Draft(target, content)",
              "        with Draft(target, content)",
              f"{APPLY}::test_a_dry_run_prints_what_would_be_written_where_and_writes_nothing"),
        Fault("the suffix is added to the name", "return os.path.splitext(image)[0] + self._suffix",
              "return image + self._suffix", SIDECARS),
        Fault("replaced and added to", "if overwrite and joining is not None:", "if False:", SIDECARS),
        Fault("the suffix is the photo's own", "if owner in (0, self._suffixes.get(suffix)):", "if owner == 0:",
              SIDECARS),
        Fault("the last photo owns a sidecar", "self._owners.add(self._key(file), self._suffixes",
              "self._owners.put(self._key(file), self._suffixes", f"{SIDECARS} {RESUME}"),
        Fault("the output file is a sidecar", "if self._output is not None and (self._key(file)",
              "if False and (self._key(file)", SIDECARS),
        Fault("the output file's links are sidecars", " or is_same_file(file, self._output)):", "):", SIDECARS),
        Fault("the list of paths is a sidecar", "if any(is_same_file(file, read) for read in self._reads):",
              "if False:", SIDECARS),
        Fault("a folder is a sidecar", "if os.path.lexists(file) and not os.path.isfile(file):", "if False:", SIDECARS),
        Fault("links lead anywhere", "if folder is not None and leads_out(os.path.dirname(image), folder):",
              "if False:", SIDECARS),
        Fault("what is read-only is replaced", "    if not mode & 0o222 or not os.access(file, os.W_OK):\n"
              "        raise OutputError(f\"{name}", "    if False:\n        raise OutputError(f\"{name}", SIDECARS),
        Fault("a picture is replaced",
              '    if is_picture(file):\n        raise OutputError(f"{name} cannot be written: it is an image")\n', "",
              f"{SIDECARS} {XMP}"),
        Fault("spellings of a folder are two sidecars", "os.path.join(self._real(folder), name)",
              "os.path.join(folder, name)", SIDECARS),
        Fault("what a kill left beside a sidecar stays", "                discard_left_over(sidecar)\n",
              "                pass\n", DRAFTS),
    ],
    "joining": [
        Fault("what is there is added again", "if not new or self._says(said, new):", "if not new:", JOINING),
        Fault("a part of a text says it", "wanted in f\"{self.separator}{each}{self.separator}\" for each",
              "new in each for each", JOINING),
        Fault("lines do not say it", "for each in (said, *said.splitlines())", "for each in (said,)", JOINING),
        Fault("before is after", "[new, said] if self.before else [said, new]", "[said, new]", JOINING),
        Fault("a separator beside nothing", "for part in parts if part)", "for part in parts)", JOINING),
        Fault("no line end", "for part in parts if part)}\\n\"", "for part in parts if part)}\"", JOINING),
        Fault("a mark in the middle", "said = old.removeprefix(mark).strip()", "said = old.strip()", JOINING),
        Fault("a mark is lost", "return f\"{mark}{self.separator.join", "return f\"{self.separator.join", JOINING),
        Fault("any separator", "check_text(\"--separator\", self.separator)", "pass", JOINING),
        Fault("a prefix of any length", "if len(text) > LONGEST:", "if False:", f"{AFFIXES} {JOINING}"),
        Fault("white space at an end is lost", "+ words + (\"\" if text.endswith(words[-1]) else \" \")", "+ words",
              AFFIXES),
        Fault("white space at the start is lost", "before = \" \" if not text.startswith(words[0]) else \"\"",
              "before = \"\"", AFFIXES),
        Fault("no suffix", "{_single_spaces(caption).strip()}{_single_spaces(self.suffix)}",
              "{_single_spaces(caption).strip()}", AFFIXES),
        Fault("a prefix that meets its suffix", " and len(text) >= len(start) + len(end)", "", AFFIXES),
    ],
    "metadata": [
        # The first eight: what a review planted.
        Fault("IPTC's coding is not told", "return {_IPTC: coded, _IPTC_CODING: _UTF_8}", "return {_IPTC: coded}",
              f"{METADATA} {EXIFTOOL}"),
        Fault("IPTC of any length", "if len(coded) > _IPTC_MAX_BYTES:", "if False:", METADATA),
        Fault("picture data is not compared", "if before.kind != XMP_FILE and image_data(new, before.kind) != parts:",
              "if False:", GUARDS),
        Fault("other metadata is not compared", "if gone or not expected.is_kept_by(after):", "if gone:", GUARDS),
        Fault("IPTC is not compared", "            and other.iptc == self.iptc\n", "", GUARDS),
        Fault("a change is told by its size", "        if not is_unchanged(target, status):\n",
              "        if os.stat(target).st_size != status.st_size:\n", METADATA),
        Fault("NUL bytes are a description", 'if text.strip(" \\0")), "")', 'if text.strip(" ")), "")', METADATA),
        Fault("photos of any size", "    if status.st_size > MAX_BYTES:\n        raise refused(\"the photo is larger",
              "    if False:\n        raise refused(\"the photo is larger", METADATA),
        Fault("what is taken away may stay", "if gone or not expected.is_kept_by(after):",
              "if not expected.is_kept_by(after):", f"{GUARDS} {UNDOING} {ALT}"),
        Fault("XMP is not compared", "and (other.xmp, other.comment) == (self.xmp, self.comment)",
              "and other.comment == self.comment", GUARDS),
        Fault("comments are not compared", "and (other.xmp, other.comment) == (self.xmp, self.comment)",
              "and other.xmp == self.xmp", GUARDS),
        Fault("profiles are not compared", "and (other.size, other.profile, other.thumbnail) == (self.size, "
              "self.profile, self.thumbnail)", "and (other.size, other.thumbnail) == (self.size, self.thumbnail)",
              GUARDS),
        Fault("thumbnails are not compared", "and (other.size, other.profile, other.thumbnail) == (self.size, "
              "self.profile, self.thumbnail)", "and (other.size, other.profile) == (self.size, self.profile)",
              GUARDS),
        Fault("EXIF's values are not compared", "            and others.items() >= standard.items()\n", "", GUARDS),
        Fault("makers' notes may go", "other.exif.keys() >= self.exif.keys() - _WRAPPERS", "True", GUARDS),
        Fault("a description is replaced unasked", "if same or (old and not self.overwrite):", "if same:", METADATA),
        Fault("a description that is kept is lost too", "                continue\n            changes |= wanted\n"
              "            if old:", "            changes |= wanted\n            if old:", f"{METADATA} {ALT}"),
        Fault("any language is the default one", "text if said == default else said for", "text for", METADATA),
        Fault("repeated languages keep the old text", "{language: text if said == default else said for language, said",
              "{language: said for language, said", METADATA),
        Fault("IPTC is begun", "    if not iptc:\n        return {}\n", "", METADATA),
        Fault("IPTC of an old coding is mixed", "if plain or iptc.get(_IPTC_CODING) == _UTF_8:", "if True:", METADATA),
        Fault("an old IPTC caption stays", "return {_IPTC: text if text.isascii() else None}",
              "return {_IPTC: text} if text.isascii() else {}", METADATA),
        Fault("EXIF's description is not written", "changes |= {_EXIF: as_latin_1(text), **_iptc",
              "changes |= {**_iptc", METADATA),
        Fault("PNG's text stays", '    if before.kind == "PNG" and before.comment:\n', "    if False:\n", METADATA),
        Fault("a JPEG's comment is a description", 'if metadata.kind == "PNG" else []', "if True else []", METADATA),
        Fault("only XMP is asked", "        texts += [as_text(metadata.exif.get(_EXIF, \"\")), as_text(metadata.iptc."
              "get(_IPTC, \"\"))]\n", "", METADATA),
        Fault("EXIF is read as Latin-1", 'return latin.encode("latin-1").decode("utf-8")', "return latin", METADATA),
        Fault("times are those of now", "        os.utime(draft.path, ns=(status.st_atime_ns, status.st_mtime_ns))\n",
              "        os.utime(draft.path)\n", METADATA),
        Fault("extended attributes are lost", "        shutil.copystat(target, draft.path)\n", "", METADATA),
        Fault("the owner is another's", "        draft.copy_access(status)\n        shutil",
              "        shutil", METADATA),
        Fault("drafts of photos are for all", "with Draft(target, new, mode=0o600) as draft:",
              "with Draft(target, new) as draft:", METADATA),
        Fault("the link is replaced", "target = os.path.realpath(path)\n        if links_within",
              "target = path\n        if links_within", METADATA),
        Fault("links lead out", "if links_within is not None and leads_out(target, links_within):", "if False:",
              METADATA),
        Fault("a pipe is waited for", "    if not stat.S_ISREG(status.st_mode):\n        raise refused(\"it is not a",
              "    if False:\n        raise refused(\"it is not a", METADATA),
        Fault("read-only photos are written", "    if not status.st_mode & 0o222 or not os.access(target, os.W_OK):\n",
              "    if False:\n", METADATA),
        Fault("a dry run writes photos", "if new is None or dry_run:", "if new is None:",
              f"{APPLY}::test_a_dry_run_prints_what_would_be_written_where_and_writes_nothing"),
        Fault("a linked photo is known", "unknown = path in self._links or not stat", "unknown = not stat",
              f"{METADATA} {RESUME}"),
        Fault("what another photo keeps is told", "return kept if asked == path else self._kept(path)", "return kept",
              f"{METADATA} {ALT}"),
        Fault("the library warns on standard output", "    pyexiv2.set_log_level(3)\n", "", METADATA),
        Fault("the checksum of IPTC is an old one", "        new = with_current_digest(content, new)\n",
              "        pass\n", EXIFTOOL),
        Fault("a damaged photo ends the run", "    except Exception as error:  # Exiv2 and Python's decoders raise "
              "anything for odd metadata\n", "    except ZeroDivisionError as error:\n", METADATA),
    ],
    "picture data": [
        Fault("what follows a JPEG's scan is not compared", '    yield ("picture", content[at:])\n', "", GUARDS),
        Fault("a JPEG's tables are not compared", "            yield (marker, payload)\n            if marker == 0xE2",
              "            if marker == 0xE2", GUARDS),
        Fault("a JPEG's profile is not compared", '    yield ("profile", profile)\n', "", GUARDS),
        Fault("Photoshop's resources are not compared", '    yield ("resources", *_photoshop(resources))\n', "",
              f"{GUARDS} {EXIFTOOL}"),
        Fault("captions among Photoshop's resources are compared", "if number not in (0x0404, 0x0425):", "if True:",
              f"{METADATA} {EXIFTOOL}"),
        Fault("a JPEG whose segments do not join", "        if content[at] != 0xFF:\n", "        if False:\n",
              IMAGE_DATA),
        Fault("PNG's chunks are not compared", '        elif name != b"eXIf":\n            yield (name, data)\n', "",
              GUARDS),
        Fault("PNG's other texts are not compared", "                yield (name, data)\n        elif name != b",
              "                pass\n        elif name != b", GUARDS),
        Fault("what follows a PNG is not compared", '        elif name != b"eXIf":\n            yield (name, data)\n'
              '    yield ("after the end", content[at:])\n',
              '        elif name != b"eXIf":\n            yield (name, data)\n', GUARDS),
        Fault("a cut PNG is whole", "if len(content) < at + 12 + size:", "if False:", IMAGE_DATA),
        Fault("WebP's chunks are not compared", "            yield (name, data)\n        at += 8 + size + size % 2\n",
              "            pass\n        at += 8 + size + size % 2\n", GUARDS),
        Fault("WebP's odd chunks are not padded", "at += 8 + size + size % 2", "at += 8 + size", METADATA),
        Fault("a WebP's canvas is not compared", "    yield _webp_canvas(chunks)\n", "", GUARDS),
        Fault("TIFF's strips are not compared", '                yield ("strip", content[start : start + size])\n',
              "                pass\n", GUARDS),
        Fault("TIFF's tags are not compared", "        yield (\"tags\", *sorted((tag, value) for tag, value in "
              "tags.items() if tag not in _TIFF_MOVING))\n", "", GUARDS),
        Fault("only a TIFF's first page is compared",
              '        (at,) = struct.unpack_from(order + "I", content, at + 2 + 12 * count)\n', "        at = 0\n",
              GUARDS),
        Fault("raw photos are written", "        if tags.keys() & _TIFF_UNKNOWN:\n", "        if False:\n", METADATA),
        Fault("BigTIFF is written", 'if struct.unpack_from(order + "H", content, 2) != (42,):', "if False:", METADATA),
        Fault("directories in a circle", "        if at in seen:\n", "        if False:\n", IMAGE_DATA),
        Fault("a TIFF's strips may lie beyond its end", "or start + size > len(content):", "or False:", IMAGE_DATA),
    ],
    "alt text": [
        Fault("the description is cut too", "texts = {DESCRIPTION: captions[0], ALT", "texts = {DESCRIPTION: _fitting("
              "captions, self.max_chars), ALT", ALT),
        Fault("a caption of just that length is too long", "if len(caption) <= most), None)",
              "if len(caption) < most), None)", ALT),
        Fault("a cut is within a word", 'captions[0][: most + 1].rpartition(" ")', 'captions[0][:most], " ", ""',
              ALT),
        Fault("a word that ends just there is lost", "captions[0][: most + 1].rpartition", "captions[0][:most]."
              "rpartition", ALT),
        Fault("a cut ends with a comma", '.rstrip(" ,;:-")', "", ALT),
        Fault("a caption of marks is nothing", '.rstrip(" ,;:-") or beginning', '.rstrip(" ,;:-")', ALT),
        Fault("the first caption is cut though another fits", "    if fitting is not None:\n        return fitting\n",
              "", ALT),
        Fault("nobody is told of the cut", "outcome = Outcome(True, \"; \".join(kept) or None, replaced={place: "
              "replaced} if replaced else None, note=cut)",
              "outcome = Outcome(True, \"; \".join(kept) or None, replaced={place: replaced} if replaced else None)",
              ALT),
        Fault("an alt text is a plain string", "return {_ALT: _languages(before.xmp.get(_ALT), text)}",
              "return {_ALT: text}", ALT),
        Fault("the alt text is a description", "return ALT_TEXT if key == _ALT else DESCRIPTION",
              "return DESCRIPTION", ALT),
        Fault("one field that is there is all", "lacking = self.overwrite or not all(texts.values())",
              "lacking = self.overwrite or not any(texts.values())", ALT),
    ],
    "XMP files": [
        Fault("the raw photo's file is written", "raw = self._raws.beside(image) if self._stem else None",
              "raw = None", XMP),
        Fault("what is no XMP is replaced", 'is_xmp = image.get_mime_type() == "application/rdf+xml"', "is_xmp = True",
              XMP),
        Fault("an XMP file of any size", "    if os.path.getsize(file) > MAX_BYTES:\n        raise refused(\"it is too "
              "large for XMP\"", "    if False:\n        raise refused(\"it is too large for XMP\"", XMP),
        Fault("another program's XMP is lost", "            if status is not None and is_unchanged(file, status):\n",
              "            if status is not None:\n", XMP),
        Fault("an XMP file that came up is replaced", "elif status is not None or not draft.publish():",
              "elif draft.replace() is not None:", XMP),
        Fault("XMP files lose their permissions",
              "                if status is not None:\n                    draft.copy_access(status)\n", "", XMP),
        Fault("tiff:ImageDescription is not written",
              "        return changes | {_TIFF: _languages(before.xmp.get(_TIFF), text)}\n", "        return changes\n",
              XMP),
        Fault("EXIF of an XMP file is made anew", "            image.clear_exif()\n", "", XMP),
        Fault("the stem is never taken", "(os.path.splitext(image)[0] if stem else image) + \".xmp\"",
              "image + \".xmp\"", XMP),
        Fault("two photos have one XMP file", "        return self._beside.taken(image, file)\n",
              "        return None\n", XMP),
        Fault("links are followed to XMP", "            self._beside.check(image, file)\n            others",
              "            others", XMP),
        Fault("a photo that keeps its XMP owns it not", "        if kept is not None:\n"
              "            self._beside.claim(path, file)\n", "", XMP),
        Fault("a dry run writes XMP", "        if not dry_run:\n            with Draft(file", "        if True:\n"
              "            with Draft(file", XMP),
    ],
    "the way back": [
        Fault("any key of a note is changed", "for key, value in told.items() if key in KEYS}",
              "for key, value in told.items()}", UNDOING),
        Fault("somebody's new words go", "elif not says(each, one_line(wrote), before):", "elif False:", UNDOING),
        Fault("one field that still says it is enough", "return all(_default(metadata.get(key)) == text",
              "return any(_default(metadata.get(key)) == text", UNDOING),
        Fault("bytes that are not UTF-8 are lost", 'value.encode("latin-1").decode("utf-8", "surrogateescape")',
              'value.encode("latin-1").decode("utf-8", "replace")', UNDOING),
        Fault("texts come back as UTF-8 read as Latin-1", 'value.encode("utf-8", "surrogateescape").decode("latin-1")',
              "value", UNDOING),
        Fault("what was nowhere stays", "return {key: before.get(key) for key in changes}",
              "return {key: before.get(key) for key in changes if before.get(key) is not None}", UNDOING),
        Fault("the caption stands for the alt text", "str(told.get(_WROTE, caption)) if each == ALT_TEXT else caption",
              "caption", f"{UNDOING} {ALT}"),
        Fault("too long to be told is replaced", "if self.told and replaced and len(", "if False and len(", UNDOING),
        Fault("nobody is told before it happens", "if self.before is not None and self.outcome.replaced:", "if False:",
              UNDOING),
        Fault("what is replaced is not told", "            if old:\n", "            if False:\n", UNDOING),
        Fault("a missing XMP file is made",
              "        if not os.path.lexists(file):\n            return Outcome(False, f",
              "        if False:\n            return Outcome(False, f", XMP),
    ],
    "destinations": [
        Fault("rows come first", "        outcomes = self._put_all(rows) if error is None and path != \"-\" and unsure "
              "is None else []\n", "        if self._rows is not None:\n            self._rows.put(rows)\n        "
              "outcomes = self._put_all(rows) if error is None and path != \"-\" and unsure is None else []\n",
              DESTINATIONS),
        Fault("failures reach the photos", "if error is None and path != \"-\" and unsure", "if path != \"-\" and "
              "unsure", DESTINATIONS),
        Fault("an image without a file has a sidecar", "if error is None and path != \"-\" and", "if error is None and",
              DESTINATIONS),
        Fault("unsure captions reach the photos", " and unsure is None else []", " else []",
              f"{CONFIDENCE}::test_unsure_captions_stay_in_the_rows_and_out_of_the_photos"),
        Fault("a photo's failure is not the row's", "replace(row, error=error, note=note) for row in rows])\n"
              "        if error is not None:\n            return Outcome(False, error, failed=True)\n"
              '        if unsure is not None:\n            return Outcome(False, None if "note"', "replace(row, "
              "note=note) for row in rows])\n        if error is not None:\n"
              "            return Outcome(False, error, failed=True)\n        if unsure is not None:\n"
              '            return Outcome(False, None if "note"', DESTINATIONS),
        Fault("one photo place decides for all", "        wanting = [photo for photo in self._photos if photo.wants("
              "path)]\n        return bool(wanting)", "        return any(photo.wants(path) for photo in self._photos)",
              f"{DESTINATIONS} {RESUME}"),
        Fault("a place that raises ends the run", "    except OutputError as error:\n        return Outcome(False, "
              "str(error), failed=True)\n", "    except ZeroDivisionError as error:\n        return Outcome(False, "
              "str(error), failed=True)\n", DESTINATIONS),
        Fault("the first failure alone is told",
              'return "; ".join(outcome.reason or "" for outcome in outcomes if outcome.failed) or None',
              "return next((outcome.reason for outcome in outcomes if outcome.failed), None)", DESTINATIONS),
        Fault("what says the same is news", "if each.reason and not (each.failed or each.same)]",
              "if each.reason and not each.failed]", DESTINATIONS),
        Fault("rows stay though they tell a failure that is over",
              "if failed_before or any(each.replaced for each in outcomes):", "if any(each.replaced for each in "
              "outcomes):", RESUME),
        Fault("rows are written again though nothing is new",
              "if failed_before or any(each.replaced for each in outcomes):", "if True:", RESUME),
        Fault("captions of a row without a file reach photos",
              "(is_file and rows.has_captions(path) and self._photos_want(path))",
              "(rows.has_captions(path) and self._photos_want(path))", f"{RESUME} {DESTINATIONS}"),
        Fault("what was replaced before is forgotten by new rows", "note_of(outcomes, self._replaced_before(path), "
              "unsure)", "note_of(outcomes, None, unsure)", UNDOING),
        Fault("photos are changed before their rows are there", "            self._rows.put_first([replace(row, "
              "error=UNFINISHED, note=note) for row in rows])\n", "            pass\n", UNDOING),
        Fault("kept texts are told one too few", "self._kept - 1} more", "self._kept} more", RESUME),
        Fault("two places tell the same note twice",
              "notes = dict.fromkeys(each.note for each in outcomes if each.note)",
              "notes = [each.note for each in outcomes if each.note]",
              f"{APPLY}::test_alt_texts_are_written_beside_descriptions_and_cut_with_a_note"),
        Fault("a least confidence of 2", 'number_between("min confidence", min_confidence, 0, 1)',
              'number_between("min confidence", min_confidence, 0, 2)', DESTINATIONS),
        Fault("photos may be the output file", "    if is_picture(place):\n        raise UsageError", "    if False:\n"
              "        raise UsageError", SPARED),
        Fault("an output may end as photos do", "    if suffix is not None and not makes_picture:\n",
              "    if False:\n", SPARED),
        Fault("a link's target may end so", "map(_suffix, (os.fspath(path), place))",
              "map(_suffix, (os.fspath(path),))", SPARED),
        Fault("inputs may be the output file", "if any(is_same_file(place, given) for given in inputs):", "if False:",
              SPARED),
        Fault("pipes are the same file", "stat.S_ISREG(here.st_mode) and os.path.samestat(here, there)",
              "os.path.samestat(here, there)", SPARED),
        Fault("rows that begin like a raw photo are a picture", '(b"\\0" in head and is_foreign(head))',
              "is_foreign(head)", SPARED),
        Fault("no link leads out", "return os.path.commonpath([base, os.path.realpath(path)]) != base", "return False",
              SPARED),
        Fault("a folder of a longer name is within", "os.path.commonpath([base, os.path.realpath(path)]) != base",
              "os.path.commonprefix([base, os.path.realpath(path)]) != base", SPARED),
    ],
}
# fmt: on

AREA = Area(ROOMS, SECTIONS)
