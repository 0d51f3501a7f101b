"""The JSON bodies of the API, each field declared once, and the functions that build them.

Bytes are logical: the UTF-8 length of stored JSON text, and the lengths of files.
"""
