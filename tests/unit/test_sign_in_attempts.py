"""How often somebody may try a password."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from pdpp_ref import sign_in_attempts
from pdpp_ref.sign_in_attempts import SignInAttempts, network_of
from tests.support.factories import Clock


@pytest.fixture
def attempts(clock: Clock) -> SignInAttempts:
    return SignInAttempts(clock)


def test_ten_wrong_passwords_a_minute(attempts: SignInAttempts, clock: Clock) -> None:
    assert [attempts.begin("me") for _ in range(10)] == [0] * 10
    assert attempts.begin("me") == 60
    assert attempts.begin("others") == 0
    clock.advance(45)
    assert attempts.begin("me") == 15
    clock.advance(15)
    assert attempts.begin("me") == 0


def test_sixty_an_hour(attempts: SignInAttempts, clock: Clock) -> None:
    for _ in range(6):
        assert [attempts.begin("me") for _ in range(10)] == [0] * 10
        clock.advance(60)
    assert attempts.begin("me") == 3600 - 6 * 60
    clock.advance(3600 - 6 * 60)
    assert attempts.begin("me") == 0


def test_a_right_password_does_not_count(attempts: SignInAttempts) -> None:
    for _ in range(30):
        assert attempts.begin("me") == 0
        attempts.forgive("me")


def test_attempts_at_the_same_time_are_counted_exactly(attempts: SignInAttempts) -> None:
    with ThreadPoolExecutor(20) as threads:
        waits = list(threads.map(lambda _: attempts.begin("me"), range(200)))
    assert waits.count(0) == 10


def test_a_bounded_number_is_remembered(attempts: SignInAttempts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in_attempts, "MOST_NAMES", 3)
    for name in "abcd":
        attempts.begin(name)
    assert sorted(attempts._attempts.read()) == ["b", "c", "d"]


def test_the_memory_has_room_for_all_attempts() -> None:
    most, seconds = sign_in_attempts.LIMITS[-1]
    entry = '"' + "x" * 45 + '":[' + "1234567.123456789," * most + "],"
    assert seconds == 3600
    assert len(entry) * sign_in_attempts.MOST_NAMES < sign_in_attempts.MEMORY_BYTES


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:51234", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::9]:443", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
        ("x" * 500, "x" * 45),
        ("", ""),
    ],
)
def test_one_household_is_counted_as_one(address: str, network: str) -> None:
    assert network_of(address) == network
