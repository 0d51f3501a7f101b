"""How often somebody may try a password, counted over all processes of the server."""

import ipaddress
import time
from collections.abc import Callable

from .shared_memory import SharedValue

# So many wrong passwords in so many seconds.
LIMITS = ((10, 60.0), (60, 3600.0))
MOST_NAMES = 1_500
MEMORY_BYTES = 2 * 1024 * 1024

Attempts = dict[str, list[float]]


class SignInAttempts:
    """Attempts of the last hour, by who made them.  `clock` is monotonic and the same in all processes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._attempts: SharedValue[Attempts] = SharedValue(Attempts, dict, MEMORY_BYTES)

    def begin(self, who: str) -> float:
        """Count an attempt.  Returns 0; or, for one too many, how many seconds the next has to wait.

        It is counted before the password is checked, so that a thousand at once are counted too.
        """
        now = self._clock()
        with self._attempts.changing() as attempts:
            own = [at for at in attempts.pop(who, []) if at > now - LIMITS[-1][1]]
            wait = max(_wait(own, now, most, seconds) for most, seconds in LIMITS)
            if not wait:
                own.append(now)
            attempts[who] = own  # last, as the one that was changed last
            while len(attempts) > MOST_NAMES:
                del attempts[next(iter(attempts))]
        return wait

    def forgive(self, who: str) -> None:
        """The password was right: the last attempt does not count."""
        with self._attempts.changing() as attempts:
            if own := attempts.get(who):
                own.pop()


def _wait(attempts: list[float], now: float, most: int, seconds: float) -> float:
    if len(attempts) < most:
        return 0.0
    return max(0.0, attempts[-most] + seconds - now)


def network_of(address: str) -> str:
    """Who is counted as one: an IPv4 address, or a /64 of IPv6, which one household has for itself.

    Some proxies add a port, which does not matter.  What is no address is counted as it is.
    """
    host = address.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return address[:45]
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))
