"""The sockets that the server listens on."""

import socket

BACKLOG = 1024


def listen(host: str, port: int) -> list[socket.socket]:
    """One for each address of the host: `localhost` may have two.

    Raises OSError if they are not available, and ValueError for what can be no host.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, *_, address in dict.fromkeys(found):
            # A free port that was chosen for the first address serves the others too.
            bound = sockets[0].getsockname()[1] if sockets else port
            sockets.append(socket.create_server((str(address[0]), bound), family=family, backlog=BACKLOG))
    except OSError:
        for opened in sockets:
            opened.close()
        raise
    return sockets
