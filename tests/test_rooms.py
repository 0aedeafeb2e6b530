"""What the rooms hand out at their doors, and what it costs to enter them."""

from __future__ import annotations

import importlib

import pytest

from tests.conftest import python


@pytest.mark.parametrize("room", ["inputs", "bundle", "decoding", "runtime", "dataset", "evaluation"])
def test_a_room_hands_out_the_names_it_lists(room: str) -> None:
    door = importlib.import_module(f"capcli.{room}")
    assert door.__doc__ is not None and "Knows nothing of" in door.__doc__
    assert [name for name in door.__all__ if getattr(door, name, None) is None] == []
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = door.no_such_name


def test_rooms_that_find_things_are_entered_without_the_libraries_that_read_them() -> None:
    heavy = "{'onnxruntime', 'torch', 'numpy', 'PIL', 'tokenizers'}"
    rooms = "capcli.inputs, capcli.bundle, capcli.runtime, capcli.dataset"
    done = python(f"import sys, {rooms}; print(sorted({heavy} & set(sys.modules)))")
    assert (done.text, done.errors) == ("[]\n", "")
