"""The sockets that the server listens on."""

import socket
from ipaddress import ip_address

BACKLOG = 1024


def listen(host: str, port: int) -> list[socket.socket]:
    """One for each address of the host: `localhost` may have two.

    Raises OSError if they are not available, and ValueError for what can be no host.
    """
    if not host:
        raise ValueError("no host")
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, *_, address in dict.fromkeys(found):
            # A free port that was chosen for the first address serves the others too.
            bound = sockets[0].getsockname()[1] if sockets else port
            if _is_of_many(str(address[0])):
                raise ValueError("an address of many hosts")
            sockets.append(socket.create_server((str(address[0]), bound), family=family, backlog=BACKLOG))
    except (OSError, ValueError):
        for opened in sockets:
            opened.close()
        raise
    return sockets


def _is_of_many(address: str) -> bool:
    """The system lets a program listen there, where no connection ever comes."""
    found = ip_address(address.partition("%")[0])
    return found.is_multicast or str(found) == "255.255.255.255"
