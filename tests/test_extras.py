"""The optional parts of capcli: what is missing is named, with the command that installs it."""

from __future__ import annotations

import sys

import pytest

from capcli.errors import DependencyError
from capcli.extras import EXTRAS, Extra, need


@pytest.mark.parametrize("name", [extra.name for extra in EXTRAS])
def test_a_part_that_is_missing_is_named_with_its_install_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (extra,) = (each for each in EXTRAS if each.name == name)
    # None stands for a module that is not there.
    monkeypatch.setitem(sys.modules, extra.modules[0], None)
    with pytest.raises(DependencyError) as caught:
        need(name, "capcli fly")
    assert str(caught.value) == f"capcli fly needs {extra.modules[0]}: pip install 'capcli[{name}]'"


@pytest.mark.parametrize("extra", EXTRAS, ids=lambda extra: extra.name)
def test_an_extra_that_is_installed_is_used_without_a_word(extra: Extra) -> None:
    for module in extra.modules:
        pytest.importorskip(module, reason=f"needs the {extra.name} extra")
    need(extra.name, "capcli fly")
