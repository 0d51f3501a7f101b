"""The production server: uvicorn in several processes, in front of the WSGI application.

An event loop per process holds the connections, so a slow client costs no thread.  It answers the hottest
reads by itself (`hot_reads`), and receives a body before a thread of the application works on the request
(`gateway`).  `connections` limits what a client may take, and `workers` looks after the processes.
"""

from .listening import listen
from .workers import Server, Workers

__all__ = ["Server", "Workers", "listen"]
