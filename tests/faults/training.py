"""Single faults in training's arithmetic, and in what it reads and writes."""

from __future__ import annotations

from tests.faults.fault import Area, Fault

# Where a fault's text is looked for.
ROOMS = (
    "capcli/dataset",
    "capcli/training",
    "capcli/evaluation",
    "capcli/bundle/tokens.py",
    "capcli/bundle/habits.py",
    "capcli/bundle/matching.py",
    "capcli/outputs/file_lock.py",
)

TRAINER = "tests/training/test_trainer.py"
OPTIMISER = "tests/training/test_optimiser.py"
BATCHES = "tests/training/inputs/test_batches.py"
VALIDATION = "tests/training/test_validation.py"
EXAMPLES = "tests/training/inputs/test_examples.py"
NETWORK = "tests/training/network/test_decoder.py"
ENCODER = "tests/training/network/test_resnet.py"
CROSS_ENTROPY = "tests/training/objectives/test_cross_entropy.py"
SELF_CRITICAL = "tests/training/objectives/test_self_critical.py"
WORD_PRESENCE = "tests/training/objectives/test_word_presence.py"
GROWTH = "tests/training/test_vocabulary_growth.py"
CORRUPTIONS = "tests/training/inputs/test_corruptions.py"
DATA = "tests/training/test_data.py"
FEATURES = "tests/training/inputs/test_features.py"
CACHE = "tests/training/inputs/test_cache.py"
PROOF = "tests/training/test_proof.py"
MATCHING = "tests/training/test_matching.py"
CONFIDENCE = "tests/training/test_confidence.py"
EXPORT = "tests/training/test_export.py"
INT8 = "tests/training/onnx/test_static_int8.py"
SETTINGS = "tests/training/test_every_setting.py::test_settings_reach_their_place"
RESUME = f"{TRAINER}::test_a_run_that_was_stopped_ends_bit_for_bit_like_one_that_was_not"

SECTIONS = {
    # What a review of training planted. But for the last four, no test saw them then.
    "review": [
        Fault(
            "best is the worst epoch",
            "scores.mean_cider >= self._best",
            "scores.mean_cider <= self._best",
            f"{TRAINER}::test_the_best_epoch_is_the_one_that_scores_highest_and_of_equals_the_last",
        ),
        Fault(
            "validation images are trained on too",
            # Taking split.val in changes nothing: what is held out is taken away again, by its content.
            "[image for image in train if image.path not in parts]",
            "list(train)",
            "tests/dataset/test_held_out.py",
        ),
        Fault(
            "captions compared with other images' references",
            "[image.captions for image in held.images]",
            "[image.captions for image in reversed(held.images)]",
            VALIDATION,
        ),
        Fault(
            "gradients are not clipped",
            "self._config.max_grad_norm or math.inf",
            "math.inf",
            f"{OPTIMISER}::test_gradients_are_clipped_to_their_norm_and_only_above_it",
        ),
        Fault(
            "constant learning rate",
            "    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * part))",
            "    return 1.0",
            OPTIMISER,
        ),
        Fault("no weight decay", "config.weight_decay if decays else 0.0", "0.0", OPTIMISER),
        Fault(
            "encoder at the decoder's rate",
            "(True, config.encoder_learning_rate)",
            "(True, config.learning_rate)",
            f"{OPTIMISER}::test_updates_go_at_the_scheduled_rate_encoder_and_decoder_at_their_own",
        ),
        Fault(
            "every stage is trained",
            "range(STAGES + 1 - fine_tune, STAGES + 1)",
            "range(STAGES + 1)",
            f"{OPTIMISER}::test_fine_tune_trains_the_decoder_and_so_many_parts_of_the_encoder_from_the_last",
        ),
        Fault(
            "unknown words are learnt",
            "np.where(targets == unknown, cls.IGNORED, targets)",
            "targets",
            f"{EXAMPLES} {CROSS_ENTROPY}",
        ),
        Fault("captions are never cut", "tuple(tuple(ids[:max_words]) for ids", "tuple(tuple(ids) for ids", EXAMPLES),
        Fault("cut captions keep their end", "tuple(len(ids) > max_words for", "tuple(False for", EXAMPLES),
        Fault(
            "left and right are not swapped",
            "return {left: right, right: left} if",
            "return {left: left, right: right} if",
            f"{EXAMPLES} {SETTINGS}[flip-left_right]",
        ),
        Fault(
            "flip is ignored",
            "        return cls(\n            config.flip,",
            "        return cls(\n            True,",
            f"{SETTINGS}[flip-left_right]",
        ),
        Fault(
            "label smoothing is ignored",
            "CrossEntropy(config.label_smoothing, presence)",
            "CrossEntropy(0.0, presence)",
            f"{SETTINGS}[label_smoothing]",
        ),
        Fault(
            "BLEU's weight is ignored",
            "rewards.append((config.bleu, BleuReward()))",
            "rewards.append((1.0, BleuReward()))",
            f"{SETTINGS}[bleu-meteor]",
        ),
        Fault(
            "cross-entropy's share is ignored",
            "cross_entropy, config.cross_entropy, at_once)",
            "cross_entropy, 0.1, at_once)",
            f"{SETTINGS}[objective-cross_entropy]",
        ),
        Fault(
            "the two dropouts are swapped",
            "Dropout(config.dropout_features, config.dropout_words)",
            "Dropout(config.dropout_words, config.dropout_features)",
            f"{SETTINGS}[dropout_features-dropout_words]",
        ),
        Fault(
            "vocabulary of validation captions too",
            "captions = [caption for image in data.train for caption in image.captions]",
            "captions = [caption for image in (*data.train, *(each for held in data.validation "
            "for each in held.images)) for caption in image.captions]",
            GROWTH,
        ),
        Fault(
            "output embedding is not tied in the gradient",
            "linear(hidden, self.embedding.weight, self.output_bias)",
            "linear(hidden, self.embedding.weight.detach(), self.output_bias)",
            f"{NETWORK} {GROWTH}",
        ),
        Fault(
            "forget gate starts closed",
            "self.from_input.bias[hidden : 2 * hidden] = 1.0",
            "self.from_input.bias[hidden : 2 * hidden] = -1.0",
            NETWORK,
        ),
        Fault(
            "random state is not resumed",
            'torch.set_rng_state(checkpoint["random"])',
            "pass",
            RESUME,
        ),
        Fault("best epoch is not resumed", 'self._best = checkpoint["best"]', "self._best = None", RESUME),
        Fault(
            "optimiser is not resumed",
            "self._optimizer.load_state_dict(optimizer)",
            "pass",
            RESUME,
        ),
        Fault("pixels keep their mean", "-mean / std, persistent", "0 * mean, persistent", ENCODER),
    ],
    # To be filled when the locked cache is merged: torn keys believed, rows without arrays believed, half-written
    # arrays not cut off.
    "cache": [
        Fault("fingerprint without weights", "digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())",
              "pass", FEATURES),
        Fault("fingerprint without size", '{encoder.config}|{input_size}|', "{encoder.config}|", FEATURES),
        Fault("images are known by their paths", "content_key(io.BytesIO(content))",
              "content_key(io.BytesIO(str(path).encode()))", FEATURES),
        Fault("cache: a row without a key is believed", "if key != _NO_KEY:", "if True:", CACHE),
        Fault("cache: keys of rows are not compared", " or content[:KEY_BYTES] != bytes.fromhex(key)", "", CACHE),
        Fault("cache: filled without a lock", "            while not try_lock(file):\n",
              "            while False:\n",
              f"{CACHE}::test_a_second_fill_waits_says_so_once_and_computes_nothing_again"),
        Fault("cache: the version of image reading is left out", 'return f"{what}-read{preprocessing}"', "return what",
              f"{CACHE}::test_other_weights_sizes_and_versions_have_stores_of_their_own"),
    ],
    "export": [
        Fault("proof compares no words", "        same = tokenizer.tokens(ours.tokens) == theirs.tokens",
              "        same = True", PROOF),
        Fault("proof compares no scores", "not _near(agreed.mean_log_prob, theirs.score)", "False", PROOF),
        Fault("any number may tie", "if ties > allowed:", "if False:", PROOF),
        Fault("bundle loses its habits", "habits=model.habits", "habits=type(model.habits)({}, {})",
              f"{EXPORT}::test_a_bundle_keeps_its_runs_words_and_searches_as_it_validated"),
        Fault("the new bundle goes in before the old one is aside",
              "        os.rename(target, aside)\n        os.rename(new, target)",
              "        shutil.rmtree(target)\n        os.rename(new, target)", "tests/training/test_bundle_swap.py"),
        Fault("int8 weights of 8 bits", "_LEVELS = 63", "_LEVELS = 127",
              f"{INT8}::test_no_sum_of_two_products_can_leave_16_bits"),
        Fault("int8 rounding makes up for nothing",
              "errors[row] = (block[row] - steps * scale) / inverse[column, column]",
              "errors[row] = 0",
              f"{INT8}::test_rounding_by_photos_keeps_the_features_better_than_to_the_nearest"),
        Fault("int8 biases may leave 32 bits", "np.maximum(np.maximum(scale, _SMALLEST_SCALE), wanted)",
              "np.maximum(scale, _SMALLEST_SCALE)", INT8),
        Fault("int8 takes in what the decoder computes", "nodes[convolutions[0] : end] if",
              "nodes if", INT8),
        Fault("int8 is compared with nothing", "sum(one == other for one, other in",
              "sum(one == one for one, other in",
              "tests/training/test_export_int8.py::test_most_captions_are_those_of_the_float32_form"),
    ],
    "optimiser": [
        Fault("schedule is one update late", "set_learning_rate(self._optimizer, self._rate(self._update + 1))",
              "set_learning_rate(self._optimizer, self._rate(self._update))", OPTIMISER),
        Fault("warm-up may take the whole run", "warmup = min(warmup, total // 2)", "warmup = min(warmup, total)",
              OPTIMISER),
        Fault("biases and norms decay", "(tensor.ndim >= 2) == decays", "(tensor.ndim >= 1) == decays", OPTIMISER),
        Fault("only convolutions decay", "(tensor.ndim >= 2) == decays", "(tensor.ndim >= 3) == decays", OPTIMISER),
        Fault("final rate is ignored", "self._config.warmup, self._config.final_lr_fraction)",
              "self._config.warmup, 0.0)", OPTIMISER),
        Fault("clipped before float16's scale is out", "        self._scaler.unscale_(self._optimizer)\n        norm =",
              "        norm =", f"{OPTIMISER}::test_gradients_are_clipped_to_their_norm_and_only_above_it"),
        Fault("gradients add up over updates", "        self._optimizer.zero_grad(set_to_none=True)\n", "",
              f"{OPTIMISER} {TRAINER}"),
        Fault("rate of a group is not its peak's", 'group["lr"] = group["peak"] * factor',
              'group["lr"] = optimiser.param_groups[0]["peak"] * factor', OPTIMISER),
        Fault("what was trained once stays trained", "parameter.requires_grad_(False)", "pass", OPTIMISER),
    ],
    "loop": [
        Fault("of equals the first epoch is best", "scores.mean_cider >= self._best", "scores.mean_cider > self._best",
              f"{TRAINER}::test_the_best_epoch_is_the_one_that_scores_highest_and_of_equals_the_last"),
        Fault("epochs without a score are best", "scores is not None and (self._best is None",
              "scores is None or (self._best is None",
              f"{TRAINER}::test_only_validated_epochs_can_be_best_and_the_last_one_is_validated"),
        Fault("a loss that is not finite is stepped on", "if self._skipped >= (_SKIPPED_IN_A_ROW if", "if 0 > (0 if",
              f"{TRAINER}::test_what_is_not_finite_stops_the_run_before_it_is_saved"),
        Fault("only the loss must be finite", "finite = math.isfinite(norm) and math.isfinite(float(",
              "finite = math.isfinite(float(", f"{TRAINER}::test_what_is_not_finite_stops_the_run_before_it_is_saved"),
        Fault("only the gradient must be finite", "math.isfinite(norm) and math.isfinite(float(value.loss.detach()))",
              "math.isfinite(norm)", f"{TRAINER}::test_what_is_not_finite_stops_the_run_before_it_is_saved"),
        Fault("skipped updates are counted over good ones", "self._skipped = 0 if finite else self._skipped + 1",
              "self._skipped += not finite", f"{TRAINER}::test_ten_overflows_in_a_row_are_a_run_that_diverged"),
        Fault("skipped updates are forgotten on resume", 'self._skipped = checkpoint["skipped"]', "pass",
              f"{TRAINER}::test_overflows_in_a_row_are_counted_over_an_interruption"),
        Fault("skipped updates are in the loss", "        if finite:\n            self._sums.add(value)",
              "        self._sums.add(value)", f"{TRAINER}::test_float16_leaves_out_updates_that_overflow"),
        Fault("validation in full precision", "with self._machine.mixed_precision():\n            return",
              "with torch.no_grad():\n            return",
              f"{TRAINER}::test_validation_is_in_the_precision_of_the_run"),
        Fault("validation with dropout", "        self._network.eval()\n", "", TRAINER),
        Fault("sums go on over epochs", "        self._sums = _Sums()\n        self._folder.append_log",
              "        self._folder.append_log",
              f"{TRAINER}::test_every_epoch_adds_up_anew"),
        Fault("first trained stage gets no gradient", "self.last_frozen = STAGES - fine_tune",
              "self.last_frozen = min(STAGES, STAGES - fine_tune + 1)",
              f"{OPTIMISER}::test_fine_tune_trains_the_decoder_and_so_many_parts_of_the_encoder_from_the_last"),
    ],
    "objectives": [
        Fault("advantage over a baseline with itself in it",
              "[(score - mean) * len(scores) / max(1, len(scores) - 1) for score in scores]",
              "[score - mean for score in scores]", SELF_CRITICAL),
        Fault("no baseline", "[(score - mean) * len(scores)", "[score * len(scores)", SELF_CRITICAL),
        Fault("sentences that score high become rarer", "loss = -(weight * log_probs).sum() / len(weight)",
              "loss = (weight * log_probs).sum() / len(weight)", SELF_CRITICAL),
        Fault("advantages of other sentences", "weight = torch.tensor(advantages)[origin[own]]",
              "weight = torch.tensor(advantages)[sentences.owners[own] % len(generated)]", SELF_CRITICAL),
        Fault("own sentences searched with dropout", "        decoder.eval()\n        found", "        found",
              f"{SELF_CRITICAL}::test_own_sentences_are_those_of_evaluation_and_learnt_with_dropout"),
        Fault("words of an image do not share the target", "shares = [1 / len(each) for each in words",
              "shares = [1.0 for each in words", WORD_PRESENCE),
        Fault("end and unknown are words of an image", "for word in caption} - self._special)", "for word in caption})",
              WORD_PRESENCE),
        Fault("word presence of each cell's own features", "self._head(features.mean(1))", "self._head(features[:, 0])",
              WORD_PRESENCE),
        Fault("word presence is not weighted", "return -self._weight * (", "return -(", WORD_PRESENCE),
        Fault("word presence is not trained", "loss=value.loss + self._presence(features, batch.references)",
              "loss=value.loss + self._presence(features, batch.references).detach()",
              f"{SETTINGS}[word_presence]"),
        Fault("mean over all words, unknown ones too", "words = int((targets != Sentences.IGNORED).sum())\n",
              "words = len(targets)\n", CROSS_ENTROPY),
        Fault("rewards without their weights", "[weight * score for score in reward.score(",
              "[score for score in reward.score(", f"{SELF_CRITICAL} {SETTINGS}[bleu-meteor]"),
        Fault("document frequencies of all data sets", "self._images_with[data_set] = counts",
              "self._images_with[data_set] = next(iter(self._images_with.values()), counts)",
              "tests/training/objectives/test_rewards.py"),
    ],
    "batches": [
        Fault("same order in every epoch", "np.random.default_rng([self._seed, epoch]).permutation",
              "np.random.default_rng([self._seed, 0]).permutation", BATCHES),
        Fault("same order for every seed", "np.random.default_rng([self._seed, epoch]).permutation",
              "np.random.default_rng([0, epoch]).permutation", BATCHES),
        Fault("same views in every epoch", "default_rng([self._seed, epoch, row])", "default_rng([self._seed, row])",
              BATCHES),
        Fault("same view for every image", "default_rng([self._seed, epoch, row])", "default_rng([self._seed, epoch])",
              BATCHES),
        Fault("order of the epoch before", "if self._order is None or self._order[0] != epoch:",
              "if self._order is None:", BATCHES),
        Fault("last images of an epoch are left out", "return -(-len(self._images) // self._batch_size)",
              "return max(1, len(self._images) // self._batch_size)", BATCHES),
        Fault("swapped where images are not mirrored", "for words in captions] if flip else captions",
              "for words in captions]", BATCHES),
        Fault("batches take from the run's random numbers", "generator=torch.Generator(),", "generator=None,", BATCHES),
        Fault("a resumed run begins at batch 0", "sampler=range(first, last)", "sampler=range(last - first)",
              f"{BATCHES} {RESUME}"),
        Fault("data sets are one", "[image.data_set for image in chosen]", "[0 for image in chosen]", BATCHES),
    ],
    "views": [
        Fault("pixels are not mirrored", "        if self.flip:\n            pixels = pixels[:, ::-1]\n", "",
              "tests/training/inputs/test_augment.py"),
        Fault("last corruption first", "for corruption in self.corruptions:",
              "for corruption in self.corruptions[::-1]:", "tests/training/inputs/test_augment.py"),
        Fault("noise is the same in every picture", "kind, int(random.integers(2**32))))", "kind, 0))", CORRUPTIONS),
        Fault("noise of no seed", "np.random.default_rng(self.seed)", "np.random.default_rng()", CORRUPTIONS),
        Fault("tilts to the right", "angle = math.radians(self.degrees)", "angle = math.radians(-self.degrees)",
              CORRUPTIONS),
        Fault("a sensor's noise grows with the light", "values *= np.sqrt(pixels", "values *= (pixels", CORRUPTIONS),
        Fault("gamma the other way", "0, 1) ** self.gamma", "0, 1) ** (1 / self.gamma)", CORRUPTIONS),
        Fault("quality is ignored", "self.kind, quality=self.quality", "self.kind, quality=75", CORRUPTIONS),
        Fault("all corruptions or none", "{name: random.random() < chance for name, chance in vars(self).items()}",
              "(lambda number: {name: number < chance for name, chance in vars(self).items()})(random.random())",
              CORRUPTIONS),
        Fault("corruptions made from maps", " or self.corruptions.any", "", "tests/training/inputs/test_augment.py"),
        Fault("noise's chance is blur's", "getattr(config, item.name) for item in fields(CorruptionChances)",
              'getattr(config, item.name.replace("noise", "blur")) for item in fields(CorruptionChances)',
              f"{SETTINGS}[tilt-white_balance-grey-rescale-blur-sharpen-noise-compress]"),
    ],
    "growth": [
        Fault("known rows are moved", "embedding.weight[:known] = self.embedding.weight",
              "embedding.weight[-known:] = self.embedding.weight", GROWTH),
        Fault("known rows are new", "            embedding.weight[:known] = self.embedding.weight\n", "", GROWTH),
        Fault("new words are as rare as can be", "self.output_bias.detach().median()",
              "self.output_bias.detach().min()", GROWTH),
        Fault("known biases are lost", "            bias[:known] = self.output_bias\n", "", GROWTH),
        Fault("new words by the alphabet", "if n >= min_count), key=lambda w: (-counts[w], w))", "if n >= min_count))",
              GROWTH),
        Fault("keep-vocabulary is ignored", "model = given if config.keep_vocabulary else",
              "model = given if False else", GROWTH),
        Fault("rare words are new words", "if n >= min_count), key", "if n >= 1), key", GROWTH),
    ],
    "validation": [
        Fault("cut references keep their end", "tuple(len(ids) > max_words for", "tuple(False for", VALIDATION),
        Fault("references are not cut", "tuple(tuple(ids[:max_words]) for ids", "tuple(tuple(ids) for ids", VALIDATION),
        Fault("loss counts unknown words", "words = int((targets != Sentences.IGNORED).sum())\n",
              "words = len(targets)\n", VALIDATION),
        Fault("references of the batch's other images", "(row, words) for row, image in enumerate(images)",
              "(len(images) - 1 - row, words) for row, image in enumerate(images)", VALIDATION),
        Fault("best by the first set", "return sum(self.cider) / len(self.cider)", "return self.cider[0]",
              f"{VALIDATION} {TRAINER}"),
        Fault("length penalty is ignored", "length_penalty=config.length_penalty)\n    return Validator",
              "length_penalty=1.0)\n    return Validator", f"{SETTINGS}[beam-max_length-length_penalty]"),
        Fault("only the first images are validated on",
              "[items[row * len(items) // some] for row in range(some)]", "list(items[:some])",
              f"{SETTINGS}[val_images] {MATCHING}"),
    ],
    "matching": [
        Fault("the picture does not count", "self.picture(self.dropout(pictures))", "self.picture(pictures * 0)",
              MATCHING),
        Fault("sentences are another photo's", "said = [captions[photo]", "said = [captions[0]", MATCHING),
        Fault("words that were never met count", " * known[:, None]", "", MATCHING),
        Fault("what is usual stays in", "said - self.usual_sentence", "said", "tests/bundle/test_matching.py"),
        Fault("the confidence's score is lost", "alike = keep_matching(bundle, source)", "alike = bundle", CONFIDENCE),
        Fault("a score that nothing reads stays", "(folder / FILE).unlink(missing_ok=True)", "pass", CONFIDENCE),
    ],
}  # fmt: skip

AREA = Area(ROOMS, SECTIONS)
