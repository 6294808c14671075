"""Small arithmetic: addition, subtraction and comparison of numbers with one or two digits."""

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
        forms = _PLAIN[self.operator]
        return self._fill(forms[form % len(forms)])

    def question(self, form: int) -> str:
        """The problem as a question."""
        forms = _ASKED[self.operator]
        return self._fill(forms[form % len(forms)])


def problem(rng: Random, split: Split) -> Problem:
    """A problem of this split."""
    while True:
        operator = rng.choice("++-->")
        a, b = rng.randint(1, 60), rng.randint(1, 39)
        if operator == "-" and a < b:
            a, b = b, a
        if operator == ">" and a == b:
            continue
        if split_of("sum", a, operator, b) == split:
            return Problem(a, operator, b)


def prose(rng: Random, split: Split) -> str:
    """A few problems in one paragraph."""
    return " ".join(problem(rng, split).statement(rng.randrange(6)) for _ in range(rng.randint(2, 4)))


def chat(rng: Random, split: Split) -> tuple[str, str]:
    """A question and its answer."""
    asked = problem(rng, split)
    return asked.question(rng.randrange(6)), asked.statement(rng.randrange(6))
