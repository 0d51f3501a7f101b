"""Where the server can't listen is one line, before anything is created."""

import pytest

from pdpp_ref.cli.errors import UsageError
from pdpp_ref.cli.serve import _listen

HOSTS = [
    *("", " ", "\t", "a\nb", "a\0b", "\udcff", "-1", "a..b", "x" * 300, "\xe9" * 70, "a b"),
    *("256.0.0.1", "1.2.3.4.5", "127.0.0.1:80", "[::1]", "::1%x", "fe80::1", "http://127.0.0.1"),
    *("198.51.100.7", "2001:db8::7", "224.0.0.1", "ff02::1", "255.255.255.255"),
]


@pytest.mark.parametrize("host", HOSTS, ids=ascii)
def test_a_host_that_is_none_is_one_line(host: str) -> None:
    with pytest.raises(UsageError) as raised:
        _listen(host, 17_663)
    text = raised.value.format_message()
    assert text.startswith("can't listen on ")
    assert text.isprintable()
    assert len(text) < 160
    assert raised.value.exit_code == 2


def test_a_port_in_use_is_named() -> None:
    (opened,) = _listen("127.0.0.1", 17_664)
    with opened, pytest.raises(UsageError, match="port 17664 is in use"):
        _listen("127.0.0.1", 17_664)
