"""What `capcli caption --dry-run` prints: each photo that would be captioned, and where its captions would go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from capcli.cli.terminal import say, write_stdout
from capcli.messages import shortened
from capcli.outputs.rows import tsv_line
from capcli.planning import PlannedInput


@dataclass
class PlanReport:
    """How many inputs would be captioned, would only get the captions that an earlier run has left, are done, or cannot
    be read.
    """

    captioned: int = 0
    delivered: int = 0
    done: int = 0
    failed: int = 0

    @property
    def found_any(self) -> bool:
        return bool(self.captioned or self.delivered or self.done or self.failed)

    def __str__(self) -> str:
        parts = [f"{self.captioned} would be captioned"]
        parts += [f"{self.delivered} would get captions that are known"] if self.delivered else []
        parts += [f"{self.done} {'is' if self.done == 1 else 'are'} done"] if self.done else []
        parts += [f"{self.failed} cannot be read"] if self.failed else []
        return f"{', '.join(parts)}; nothing was written"


def show_plan(planned: Iterable[PlannedInput], *, quiet: bool) -> PlanReport:
    """Prints a line for each input that has something to be done: its path, and the files that would be written.

    Args:
        planned: the inputs.
        quiet: say nothing of those that cannot be read.
    """
    report = PlanReport()
    for each in planned:
        if each.error is not None:
            report.failed += 1
            if not quiet:
                say(f"{shortened(each.path)}: {each.error}")
        elif not each.places:
            report.done += 1
        else:
            report.delivered += each.captioned
            report.captioned += not each.captioned
            write_stdout(tsv_line([each.path, *each.places]))
    return report
