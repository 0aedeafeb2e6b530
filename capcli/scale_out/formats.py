"""The formats that a job can write. Apart from what reads them, so that options are checked without Ray."""

from __future__ import annotations

FORMATS = ("parquet", "csv", "jsonl")
