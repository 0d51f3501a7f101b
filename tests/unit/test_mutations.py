"""The safeguards that `make mutations` takes out: each must still be in the program, once."""

import pytest

from tests.endurance.mutations import HERE, MUTATIONS, Mutation

PROGRAM = [
    file.read_text()
    for folder, ending in (("pdpp_ref", "*.py"), ("templates", "*.html"))
    for file in sorted((HERE / folder).rglob(ending))
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_safeguard_is_in_the_program_once(mutation: Mutation) -> None:
    assert sum(text.count(mutation.snippet) for text in PROGRAM) == 1
