"""Answers to the course's checks: right ones in many forms, and wrong ones that are plausible.

Each module here has the name of a lesson's module in `ddl_nb.course`, and a dict

    ANSWERS: check name -> (right answers, wrong answers)

An answer is the tuple of the check's arguments. A wrong one may be a pair of that tuple and words
that the verdict must contain. Where an answer needs data or a model, a function without
parameters gives the tuple, so that nothing is computed before its test is run.
"""
from functools import wraps

import numpy as np
import torch

from ddl_nb.exercises import plain


def _tensor(result): return torch.tensor(plain(result), dtype=torch.float64, requires_grad=True)

FORMS = {
    "list": lambda result: plain(result).tolist(),
    "array": lambda result: np.array(plain(result), float),
    "float32": lambda result: plain(result).astype(np.float32),
    "tensor_of_float32": lambda result: torch.tensor(plain(result), dtype=torch.float32),
    "tensor_with_gradient": _tensor,
}


def each(functions):
    "Answers that are one function each."
    return [(f,) for f in functions]


def told(functions, words):
    "Wrong answers that are one function each, with words of what is said to them."
    return [((f,), says) for f, says in zip(functions, words, strict=True)]


def changed(f, change, name=None):
    "The function, with something done to its result."
    @wraps(f)
    def g(*case): return change(f(*case))
    g.__name__ = name or f"{f.__name__}_{change.__name__}"
    return g


def in_all_forms(f):
    "Answers that are one function: as it is, and with its result as a list, an array, a tensor."
    forms = [changed(f, form, f"{f.__name__}_as_{name}") for name, form in FORMS.items()]
    return each([f, *forms])


def choice(letter, reasons):
    "Answers to a question of one letter: as people write it, and the wrong ones."
    big, others = letter.upper(), list(reasons)
    right = letter, big, f" {letter} ", f"{letter})", f"({letter})", f"{big}.", [letter], (letter,)
    wrong = [((spelled,), says) for other, says in reasons.items()
             for spelled in (other, other.upper())]
    vague = "", "z", 2, letter + others[0], [letter, others[0]], f"{letter} or {others[0]}"
    wrong += [((spelled,), "one of the letters") for spelled in vague]
    return [(spelled,) for spelled in right], wrong
