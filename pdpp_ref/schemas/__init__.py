"""The bodies of the wire, field by field, each declared once, and the functions that build them.

Bytes are logical: the UTF-8 length of stored JSON text, and the lengths of files.
"""
