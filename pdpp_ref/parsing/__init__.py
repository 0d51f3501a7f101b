"""Input: bytes to lines, lines to messages.  Nothing here knows the database."""
