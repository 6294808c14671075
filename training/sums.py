"""Small arithmetic: addition, subtraction and comparison of numbers up to twenty.

What decides the split of a problem is the problem and the phrasing together, as with facts: a held-out question
asks for a known sum in words that never occurred with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from training.splits import Split, split_of

_PLAIN = {
    "+": ("{a} plus {b} is {r}.", "The sum of {a} and {b} is {r}.", "{a} + {b} = {r}."),
    "-": ("{a} minus {b} is {r}.", "If you take {b} from {a}, what is left is {r}.", "{a} - {b} = {r}."),
    ">": ("Of {a} and {b}, the larger number is {r}.", "Between {a} and {b}, the greater one is {r}."),
}
_ASKED = {
    "+": ("What is {a} plus {b}?", "How much is {a} + {b}?"),
    "-": ("What is {a} minus {b}?", "How much is {a} - {b}?"),
    ">": ("Which number is larger, {a} or {b}?", "Which is greater, {a} or {b}?"),
}


@dataclass(frozen=True)
class Problem:
    """One problem with two operands."""

    a: int
    operator: str
    b: int

    @property
    def result(self) -> int:
        """Its solution."""
        return {"+": self.a + self.b, "-": self.a - self.b, ">": max(self.a, self.b)}[self.operator]

    def _fill(self, template: str) -> str:
        return template.format(a=self.a, b=self.b, r=self.result)

    def statement(self, form: int) -> str:
        """The problem and its solution in one sentence."""
        return self._fill(_PLAIN[self.operator][form])

    def question(self, form: int) -> str:
        """The problem as a question."""
        forms = _ASKED[self.operator]
        return self._fill(forms[form % len(forms)])


def problem(rng: Random, split: Split) -> tuple[Problem, int]:
    """A problem, and the form of its statement that is of this split."""
    while True:
        operator = rng.choice("++-->")
        a, b = rng.randint(1, 20), rng.randint(1, 9)
        if operator == "-" and a < b:
            a, b = b, a
        if operator == ">" and a == b:
            continue
        form = rng.randrange(len(_PLAIN[operator]))
        if split_of("sum", a, operator, b, form) == split:
            return Problem(a, operator, b), form


def prose(rng: Random, split: Split) -> str:
    """A few problems in one paragraph."""
    told = (problem(rng, split) for _ in range(rng.randint(2, 4)))
    return " ".join(asked.statement(form) for asked, form in told)


def chat(rng: Random, split: Split) -> tuple[str, str]:
    """A question and its answer."""
    asked, form = problem(rng, split)
    return asked.question(rng.randrange(6)), asked.statement(form)
