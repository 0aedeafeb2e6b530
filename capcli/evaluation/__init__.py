"""Captions and references -> BLEU, METEOR, ROUGE-L and CIDEr. Knows nothing of models or images."""

from __future__ import annotations

from capcli.evaluation.official import ImageScores, ImageTokens, Scores, check_official_scorers, official_scores
from capcli.evaluation.plain import plain_cider

__all__ = ["ImageScores", "ImageTokens", "Scores", "check_official_scorers", "official_scores", "plain_cider"]
