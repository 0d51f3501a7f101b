"""The safeguards that `make mutations` takes out: each must still be in the program, once."""

import shlex
from collections.abc import Callable
from functools import cache

import pytest
from _pytest.mark import KeywordMatcher
from _pytest.mark.expression import Expression

from tests.endurance.mutations import HERE, MUTATIONS, Mutation

PROGRAM = [
    file.read_text()
    for folder, ending in (("pdpp_ref", "*.py"), ("templates", "*.html"))
    for file in sorted((HERE / folder).rglob(ending))
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_safeguard_is_in_the_program_once(mutation: Mutation) -> None:
    assert sum(text.count(mutation.snippet) for text in PROGRAM) == 1


@pytest.fixture(scope="session")
def tests_of(request: pytest.FixtureRequest) -> Callable[[str], list[pytest.Item]]:
    """The tests of a file in this run: all of them, or none."""
    option = request.config.option
    items = [] if option.fast or option.keyword else request.session.items
    return cache(lambda file: [each for each in items if each.nodeid.startswith(f"{file}::")])


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_test_of_a_safeguard_is_there(
    mutation: Mutation, tests_of: Callable[[str], list[pytest.Item]]
) -> None:
    """In a run of a part of the tests, only if its file is one of them."""
    place, *options = shlex.split(mutation.test)
    named = [each for each in tests_of(place.partition("::")[0]) if each.nodeid.startswith(place)]
    assert options[:1] in ([], ["-k"])
    if not named:
        assert (HERE / place.partition("::")[0]).exists()
    elif options:
        wanted = Expression.compile(options[1])
        assert any(wanted.evaluate(KeywordMatcher.from_item(each)) for each in named)
