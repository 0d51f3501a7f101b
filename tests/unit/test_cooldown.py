"""The dict and its waits."""

from pdpp_ref.services.cooldown import Cooldown
from tests.support.factories import Clock


def test_waits_double_from_the_first_to_fifteen_minutes(clock: Clock) -> None:
    cooldown = Cooldown(30, clock)
    waits = []
    for _ in range(8):
        cooldown.failed("p")
        waits.append(cooldown.remaining("p"))
        clock.advance(waits[-1])
        assert cooldown.remaining("p") == 0
    assert waits == [30, 60, 120, 240, 480, 900, 900, 900]


def test_success_forgets(clock: Clock) -> None:
    cooldown = Cooldown(30, clock)
    cooldown.failed("p")
    cooldown.succeeded("p")
    assert cooldown.entries == {}
    assert (cooldown.failures("p"), cooldown.remaining("p")) == (0, 0)


def test_projections_are_apart_and_the_dict_is_plain(clock: Clock) -> None:
    cooldown = Cooldown(30, clock)
    cooldown.failed("p")
    assert cooldown.remaining("other") == 0
    assert cooldown.entries == {"p": (1, clock.now + 30)}


def test_thousands_of_failures_still_wait_fifteen_minutes(clock: Clock) -> None:
    cooldown = Cooldown(30, clock)
    cooldown.entries["p"] = (5000, 0.0)
    cooldown.failed("p")
    assert cooldown.remaining("p") == 900


def test_a_first_wait_longer_than_fifteen_minutes_is_respected(clock: Clock) -> None:
    cooldown = Cooldown(3600, clock)
    cooldown.failed("p")
    assert cooldown.remaining("p") == 3600
