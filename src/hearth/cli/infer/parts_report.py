"""Answers of ``hearth infer --stream``: part by part, as they come."""

from dataclasses import replace
from typing import Any

from hearth.cli.console import Text, output
from hearth.cli.infer.file_reports import JsonReport
from hearth.cli.infer.report import Report, TableReport, is_failed
from hearth.client import Answer, AnswerPart, Outcome


class PartsReport(Report):
    """Report that takes all parts of an answer, one after the other, and counts the last."""

    has_bar = False  # text that grows has the last line
    _number = 0
    _has_failed = False

    def add(self, answer: Answer) -> None:
        self.write(answer)
        self._number += 1
        self._has_failed |= is_failed(answer.outcome)
        if _is_last(answer):
            self.done += 1
            self.failed += self._has_failed
            self._number, self._has_failed = 0, False


class JsonPartsReport(PartsReport, JsonReport):
    """Report of a line of JSON for each part, to stdout; ``last`` is true of the whole answer."""

    def line(self, answer: Answer) -> dict[str, Any]:
        entry = {"entry": answer.entry} if isinstance(answer, AnswerPart) and answer.entry else {}
        place = {"part": self._number, "last": _is_last(answer), **entry}
        return {**super().line(answer), **place}


class TextPartsReport(PartsReport, TableReport):
    """Report for people: text grows as it comes, other parts have rows of their own."""

    _is_open = False
    """Whether a line of text isn't ended."""

    def __exit__(self, *exc_info: Any) -> None:
        self._end_text()
        super().__exit__(*exc_info)

    def write(self, answer: Answer) -> None:
        if not _is_last(answer) and (text := _text_of(answer.outcome)) is not None:
            if not self._is_open and len(self.inputs) > 1:
                output().print(Text(self.inputs[answer.index].label, style="bold"))
            self._is_open = True
            output().print(Text(text), end="", soft_wrap=True)
            return
        if self._end_text() and answer.error is None:
            return  # all that the last part says stands there already
        if isinstance(answer, AnswerPart) and answer.entry:
            outcome = answer.outcome
            answer = replace(answer, outcome=Outcome(outcome.job, parts={answer.entry: outcome}))
        super().write(answer)

    def _end_text(self) -> bool:
        """End the line of a text that came bit by bit; tell whether there was one."""
        was_open, self._is_open = self._is_open, False
        if was_open:
            output().print()
        return was_open


def _is_last(answer: Answer) -> bool:
    """Tell whether no more parts come; of a failure that ended the answer, too."""
    return not isinstance(answer, AnswerPart) or answer.is_last


def _text_of(outcome: Outcome) -> str | None:
    """Return the text that a part adds, None where it adds none."""
    if outcome.error is not None or not outcome.is_json:
        return None
    try:
        content = outcome.json()
    except ValueError:
        return None
    text = content.get("text") if isinstance(content, dict) else None
    return text if isinstance(text, str) else None
