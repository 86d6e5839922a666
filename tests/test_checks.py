"""Every check of the course against right answers in many forms, and wrong ones: tests/answers/."""
import importlib
import pkgutil
import re

import pytest

import answers
import ddl_nb.course

FEWEST = 6                                               # of each kind, for each check
LESSONS = [module.name for module in pkgutil.iter_modules(ddl_nb.course.__path__)]


def checks():
    "All checks of the course, (lesson, name)."
    for lesson in LESSONS:
        module = importlib.import_module(f"ddl_nb.course.{lesson}")
        for name in vars(module):
            if name.startswith("check_"): yield lesson, name


def given(lesson, name):
    "The answers to a check that are tried, right and wrong."
    try: module = importlib.import_module(f"answers.{lesson}")
    except ModuleNotFoundError as e:
        if e.name != f"answers.{lesson}": raise
        return [], []
    return module.ANSWERS.get(name, ([], []))


def taken_apart(answer):
    "An answer's arguments, and words that the verdict must contain."
    if callable(answer): answer = answer()
    if len(answer) == 2 and isinstance(answer[0], tuple) and isinstance(answer[1], str):
        return answer
    return answer, ""


def called(answer):
    "A few words by which an answer is known in the list of tests."
    if callable(answer): return answer.__name__
    arguments, says = taken_apart(answer)
    if says: return says
    first = arguments[0]
    if isinstance(first, (set, frozenset)): first = sorted(first)      # alike in every process
    return getattr(first, "__name__", None) or repr(first)[:30]


def cases(kind):
    "A test for each answer: right ones (0) or wrong ones (1)."
    for lesson, name in checks():
        for k, answer in enumerate(given(lesson, name)[kind]):
            label = f"{lesson}-{name}-{k}-{called(answer)}"
            yield pytest.param(lesson, name, answer, id=label)


def verdict(lesson, name, arguments):
    return getattr(importlib.import_module(f"ddl_nb.course.{lesson}"), name)(*arguments)


@pytest.mark.parametrize("lesson, name, answer", list(cases(0)))
def test_a_right_answer_passes(lesson, name, answer):
    arguments, _ = taken_apart(answer)
    said = verdict(lesson, name, arguments)
    assert said.kind == "right", said


# What an answer gave, and what it should have given; a verdict may show both.
BOTH = re.compile(r"(?:\byou (?:get|have|give|find)|\bgets|\byours is|\bresult has|\bis) "
                  r"(?P<yours>[^;:a-zA-Z]*[^;:a-zA-Z\s,])[^;]*; "
                  r"(?:it|they) (?:is|are|should be) (?:about )?"
                  r"(?P<right>\[[^]]*\]|[^\s;,]+)")

# An answer that stops with an error is refused whatever the check asks: that must be meant.
ACCIDENTS = "stopped with", "not of the kind that was asked for"


@pytest.mark.parametrize("lesson, name, answer", list(cases(1)))
def test_a_wrong_answer_is_told_what_is_wrong(lesson, name, answer):
    arguments, words = taken_apart(answer)
    said = verdict(lesson, name, arguments)
    assert said.kind == "wrong" and words in said.text, said
    assert words or not any(accident in said.text for accident in ACCIDENTS), said
    shown = BOTH.search(said.text)
    assert not shown or shown["yours"] != shown["right"], said


@pytest.mark.parametrize("text", [
    "for (3) you get 0.5; it is 0.5", "channel 0 of your result has 2 in row 3; it should be 2, of",
    "you get [1, 2], score, x and y; it is [1, 2]", "share: you have 0.1, counted; it is 0.1"])
def test_two_equal_numbers_in_a_verdict_are_found(text):
    shown = BOTH.search(text)
    assert shown and shown["yours"] == shown["right"]


@pytest.mark.parametrize("lesson, name", list(checks()))
def test_every_check_is_tried_with_enough_answers(lesson, name):
    right, wrong = given(lesson, name)
    assert min(len(right), len(wrong)) >= FEWEST, f"{name}: {len(right)} right, {len(wrong)} wrong"
