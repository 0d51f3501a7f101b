"""What a hostile or a broken sender may send: lines, bodies, and requests that are hardly HTTP.

All of it is made from a seed, so that what is found once is found again.
"""

import gzip
import random
import zlib
from collections.abc import Callable

from tests.support.factories import TOKEN

GOOD = b'{"key":"good","data":{"n":1}}'
NAMES = [
    "a\nb",
    "a/b",
    "<script>alert(1)</script>",
    "..",
    "%00",
    "\u202e",
    "x" * 3_000,
    "",
    "\0",
    "é" * 900,
]


def record(data: bytes, key: bytes = b'"k"') -> bytes:
    return b'{"key":' + key + b',"data":' + data + b"}"


# Lines that are hostile in one way each.
LINES = [
    record(b'{"t":"\\ud800"}'),
    record(b'{"t":"\\udc00\\ud800"}'),
    record(b'{"\\uD800":"\\\\ud800\\\\\\ud800","n":-0}'),
    record(b"{}", b'["a","\\ud800"]'),
    record(b'{"t":"\\u0000"}'),
    record(b'{"t":"\x00"}'),
    record(b"{}", b'"\\u0000"'),
    record(b"{}", b'"\\ud800"'),
    record(b"{}", b'""'),
    record(b"{}", b"[]"),
    record(b"{}", b'["a",["b"]]'),
    record(b"{}", b'"' + b"k" * 3_000 + b'"'),
    record(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    record(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    b"[" * 100_000,
    record(b'{"a":' + b"9" * 10_000 + b"}"),
    record(b'{"a":-' + b"9" * 10_000 + b"}"),
    record(b'{"a":1e999999,"b":-1e-999999,"c":1.' + b"0" * 10_000 + b"1}"),
    record(b'{"a":1E400,"b":-0,"c":-0.0}'),
    record(b'{"a":NaN}'),
    record(b'{"a":Infinity}'),
    record(b'{"a":-Infinity}'),
    record(b'{"a":1,"a":2,"a":{"a":1,"a":2}}'),
    b'{"key":"a","key":"b","data":{},"data":{"n":1}}',
    record(b'{"t":"\xff\xfe"}'),
    record(b'{"t":"\xc0\x80"}'),
    record(b'{"t":"\xed\xa0\x80"}'),
    record(b'{"t":"\xf4\x90\x80\x80"}'),
    b"\xef\xbb\xbf" + GOOD,
    GOOD.decode().encode("utf-16"),
    record(b'{"a":[' + b"{}," * 700_000 + b"{}]}"),
    record(b'{"a":[' + b'"",' * 1_200_000 + b'""]}'),
    record(b"{" + b",".join(b'"%d":[]' % number for number in range(100_000)) + b"}"),
    b'{"key":"k","data":{},"emitted_at":"99999-99-99T99:99:99Z"}',
    b'{"key":"k","data":{},"emitted_at":"0001-01-01T00:00:00+23:59"}',
    b'{"key":"k","data":{},"op":"truncate"}',
    b'{"key":"k","data":[]}',
    b'{"type":"\\u0000","data":{}}',
    b'{"type":"BATCH"}',
    b'{"type":"ACTIVATE_VERSION","version":9999999999999999999999}',
    b'{"type":"SCHEMA","key_properties":[1]}',
    b'{"type":"SCHEMA","key_properties":["' + b"x" * 100_000 + b'"]}',
    b'{"stream":"another","key":"k","data":{}}',
    b'{"key":"k","data":{},"version":-1e3}',
    b'"' + b"\\" * 99_999,
    b"null",
    b"{}",
    b"\x00" * 1_000,
    b"\x1b]0;title\x07",
    b"{" + b" " * 100_000,
    b'{"key":"k","data":{"source_created_at":"0000-00-00"}}',
    b'{"key":"k","data":{"source_created_at":"9999-12-31T23:59:59.999999-23:59"}}',
    record(b'{"__proto__":{},"constructor":1,"$ref":"#"}'),
    record(b'{"t":"\'; DROP TABLE records; --"}'),
]


def line(chance: random.Random) -> bytes:
    """One of them, or one with bytes of it flipped, cut, doubled or put elsewhere."""
    chosen = chance.choice(LINES)
    if chance.random() < 0.4 or len(chosen) > 50_000:
        return chosen.replace(b"\n", b" ")
    changed = bytearray(chosen)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(changed) + 1)
        act = chance.randrange(4)
        if act == 0:
            changed[place:place] = chance.randbytes(chance.randint(1, 4))
        elif act == 1:
            del changed[place : place + chance.randint(1, 9)]
        elif act == 2:
            changed[place:place] = chance.choice([b'"', b"{", b"}", b"[", b"\\u", b"-0", b",", b"e9", b":"])
        else:
            changed[place:place] = changed[: chance.randint(0, 40)]
    return bytes(changed).replace(b"\n", b" ")


def body(chance: random.Random) -> tuple[bytes, int]:
    """Hostile lines with good ones around them, and how many lines there are."""
    lines = [GOOD, *(line(chance) for _ in range(chance.choice([1, 1, 1, 5, 20]))), GOOD]
    return b"\n".join(lines), len(lines)


# ---- requests ----------------------------------------------------------------------------------

INGEST = b"POST /v1/ingest/notes?connector_id=files HTTP/1.1\r\nHost: x\r\n"
BEARER = b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"
CLOSE = b"Connection: close\r\n"


def ingest(content: bytes, *headers: bytes) -> bytes:
    length = b"Content-Length: %d\r\n" % len(content)
    return INGEST + BEARER + CLOSE + length + b"".join(headers) + b"\r\n" + content


def bomb(content: Callable[[], bytes], times: int) -> bytes:
    """A small body that unpacks to a large one, packed part by part."""
    pack, part = zlib.compressobj(9, wbits=31), content()
    packed = b"".join(pack.compress(part) for _ in range(times)) + pack.flush()
    return ingest(packed, b"Content-Encoding: gzip\r\n")


def get(path: bytes, *headers: bytes) -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"".join(headers) + b"\r\n"


MEBIBYTE = 2**20
# Costly ones: each is sent once.
LARGE = {
    "a line of 100 MB": lambda: ingest(b'{"key":"k","data":{"t":"' + b"x" * 100_000_000 + b'"}}\n' + GOOD),
    "an endless line, packed": lambda: bomb(lambda: b"x" * MEBIBYTE, 500),
    "empty lines, packed": lambda: bomb(lambda: b"\n" * MEBIBYTE, 8),
    "bad lines, packed": lambda: bomb(lambda: b"{\n" * (MEBIBYTE // 20), 3),
    "16 MiB of small objects": lambda: ingest(record(b'{"a":[' + b"{}," * 5_590_000 + b"1]}")),
    "16 MiB of lists": lambda: ingest(record(b'{"a":[' + b"[]," * 5_590_000 + b"1]}")),
    "many large lines of small objects": lambda: ingest(
        b"\n".join([record(b'{"a":[' + b'{"a":1},' * 249_000 + b"1]}")] * 10)
    ),
    "16 MiB of halves of surrogate pairs": lambda: ingest(
        record(b'{"a":"' + b"\\uD800x" * 2_390_000 + b'"}')
    ),
    "16 MiB of quotes": lambda: ingest(record(b'{"a":[' + b'""' * 8_380_000)),
    "16 MiB of small objects that are no JSON": lambda: ingest(
        record(b'{"a":[' + b'{"a":1},' * 2_090_000 + b"1 1]}")
    ),
}

ODD = [
    # lengths and encodings that are not so
    INGEST + BEARER + b"Content-Length: 10\r\n\r\n{",
    INGEST + BEARER + b"Content-Length: -1\r\n\r\n" + GOOD,
    INGEST + BEARER + b"Content-Length: 99999999999999999999999\r\n\r\n" + GOOD,
    INGEST + BEARER + b"Content-Length: 0x10\r\n\r\n" + GOOD,
    INGEST + BEARER + b"Content-Length: +5\r\n\r\n" + GOOD,
    INGEST + BEARER + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + GOOD,
    INGEST + BEARER + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    INGEST + BEARER + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    INGEST + BEARER + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n1d\r\n" + GOOD + b"\r\n0\r\n\r\n",
    INGEST + BEARER + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + GOOD + b"\r\n0\r\n\r\n",
    INGEST + BEARER + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n" + GOOD,
    INGEST + BEARER + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n" + GOOD + b"\r\n0\r\n\r\n",
    INGEST + BEARER + b"Transfer-Encoding: chunked\r\n\r\n5;" + b"x" * 50_000 + b"\r\n{\r\n",
    INGEST + BEARER + b"Transfer-Encoding: chunked\r\n\r\n1d\r\n" + GOOD,
    ingest(gzip.compress(GOOD)[:-6], b"Content-Encoding: gzip\r\n"),
    ingest(gzip.compress(GOOD) + b"trailing", b"Content-Encoding: gzip\r\n"),
    ingest(b"\x1f\x8b" + b"\xff" * 100, b"Content-Encoding: gzip\r\n"),
    ingest(b"", b"Content-Encoding: gzip\r\n"),
    ingest(GOOD, b"Content-Encoding: gzip, gzip\r\n"),
    ingest(GOOD, b"Content-Encoding: \xff\xfe\r\n"),
    ingest(GOOD, b"Content-Type: multipart/form-data; boundary=\r\n"),
    ingest(GOOD, b"Content-Type: " + b"a/" * 20_000 + b"\r\n"),
    ingest(GOOD, b"Expect: 100-continue\r\n"),
    # headers and cookies
    get(b"/dashboard", b"Cookie: pdpp_owner_session=" + b"\xff" * 500 + b"\r\n"),
    get(b"/dashboard", b"Cookie: pdpp_owner_session=.eJw" + b"A" * 8_000 + b"\r\n"),
    get(b"/dashboard", b"Cookie: " + b"a=b; " * 10_000 + b"\r\n"),
    get(b"/dashboard", b"Cookie: pdpp_owner_session=e30.Z.%00\r\n"),
    get(b"/_ref/dataset/summary", b"Authorization: Bearer \r\n"),
    get(b"/_ref/dataset/summary", b"Authorization: Bearer " + b"\xe9" * 100 + b"\r\n"),
    get(b"/_ref/dataset/summary", b"Authorization: " + b"x" * 60_000 + b"\r\n"),
    get(b"/_ref/dataset/summary", b"X: y\r\n" * 20_000),
    get(b"/_ref/dataset/summary", b"X: " + b"y" * 300_000 + b"\r\n"),
    get(b"/_ref/dataset/summary", b"No colon\r\n"),
    get(b"/_ref/dataset/summary", b" : folded\r\n"),
    get(b"/_ref/dataset/summary", b"X: a\rb\r\n"),
    get(b"/_ref/dataset/summary", b"X: \0\r\n"),
    get(b"/dashboard", b"Accept: " + b"text/html;q=0.1," * 5_000 + b"\r\n"),
    get(b"/dashboard", b"Accept: \xff;q=nan\r\n"),
    get(b"/dashboard/hero", b"Accept-Language: \xff\r\nIf-None-Match: \xff\r\nRange: bytes=9-1\r\n"),
    get(b"/static/style.css", b"Range: bytes=" + b"0-1," * 5_000 + b"\r\n"),
    get(b"/static/style.css", b"If-Modified-Since: \xff\r\n"),
    # request lines
    get(b"/" + b"a" * 100_000),
    get(b"/dashboard?" + b"a" * 100_000),
    get(b"/dashboard/connections/%00"),
    get(b"/dashboard/connections/%ff%fe"),
    get(b"/dashboard/connections/%0a%0d"),
    get(b"/dashboard/connections/..%2f..%2fetc"),
    get(b"/static/..%2f..%2fapp.py"),
    get(b"/static/%00"),
    get(b"/_ref/dataset/top?limit=" + b"9" * 5_000, BEARER),
    get(b"/_ref/dataset/top?limit=1e9&scope=%00&measure=%ff", BEARER),
    get(b"/_ref/dataset/size?grain=stream&stream=%ff%00", BEARER),
    get(b"/_ref/dataset/size?" + b"stream=a&" * 10_000, BEARER),
    get(b"http://[::1/dashboard"),
    get(b"http://x:99999999/dashboard"),
    get(b"//evil.example/%2e%2e"),
    get(b"*"),
    get(b""),
    get(b"/\xff\xfe"),
    b"GET /dashboard\r\n\r\n",
    b"GET /dashboard HTTP/9.9\r\n\r\n",
    b"GET  /dashboard  HTTP/1.1\r\n\r\n",
    b"get /dashboard HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100 + b"\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\0" * 1_000 + b"\r\n\r\n",
    b"\r\n\r\n\r\n",
    b"POST /owner/login HTTP/1.1\r\nHost: \xff\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /owner/login HTTP/1.1\r\nHost: x\r\nOrigin: http://[\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /owner/login HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 200002\r\n\r\n"
    + b"[" * 100_001
    + b"]" * 100_001,
    b"POST /owner/login HTTP/1.1\r\nContent-Type: application/json; charset=utf-7\r\n"
    b"Content-Length: 18\r\n\r\n" + b'{"password": "+A"}',
    b"POST /owner/login HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    b"Content-Length: 60\r\n\r\n--x\r\nContent-Disposition: form-data; name=password\xff\r\n\r\n\xff--x",
    b"DELETE /v1/streams/%00/records?connector_instance_id=%ff HTTP/1.1\r\n" + BEARER + b"\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"TRACE /dashboard HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"X" * 5_000 + b" / HTTP/1.1\r\n\r\n",
]


def request(chance: random.Random) -> bytes:
    """A request with a hostile body, an odd one, or an odd one with bytes of its head changed."""
    kind = chance.random()
    if kind < 0.6:
        content, _ = body(chance)
        packed = chance.random() < 0.2
        return (
            ingest(gzip.compress(content, 1), b"Content-Encoding: gzip\r\n") if packed else ingest(content)
        )
    odd = chance.choice(ODD)
    if kind < 0.8:
        return odd
    changed = bytearray(odd)
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(min(len(changed), 400))
        changed[place : place + chance.randrange(3)] = chance.randbytes(chance.randint(0, 3))
    return bytes(changed)
