"""Runs the examples in docs/deploy with the programs that they are for.

    python -m tests.support.check_deploy

Needs nginx, caddy, openssl, promtool and systemd-analyze, as packages of the system.  A program that is missing is a
failure.  The Containerfile is checked by `podman build`, which needs its base image from a registry.
"""

import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from pdpp_ref.cli.serve import PORT
from tests.support.command import PROGRAM
from tests.support.factories import PASSWORD, TOKEN
from tests.support.server_process import Server

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"
HOST = "localhost"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
MOST_EXPOSED = 20  # of 100, by `systemd-analyze security`
SETTINGS = {"TRUSTED_PROXIES": 1, "TRUSTED_HOSTS": f"{HOST},127.0.0.1", "SESSION_COOKIE_SECURE": "true"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def check_unit(folder: Path) -> None:
    """With the program where it is here, as systemd asks whether it exists."""
    unit = folder / "pdpp-ref.service"
    text = (DEPLOY / unit.name).read_text()
    unit.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={PROGRAM}", text, flags=re.MULTILINE))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=True
    )
    assert done.stderr == "", done.stderr
    rated = ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(unit)]
    subprocess.run(rated, stdout=subprocess.DEVNULL, check=True)


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            assert process.poll() is None, f"{command[0]} has ended"
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def nginx(folder: Path, server_port: int, example: str = "nginx.conf") -> Iterator[int]:
    port = free_port()
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        f"/CN={HOST}",
    ]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made, *files], stderr=subprocess.DEVNULL, check=True)
    site = (DEPLOY / example).read_text()
    for old, new in (
        ("listen 443", f"listen 127.0.0.1:{port}"),
        ("/etc/ssl/data.example.pem", str(certificate)),
        ("/etc/ssl/data.example.key", str(key)),
        ("data.example", HOST),
        (f"127.0.0.1:{PORT}", f"127.0.0.1:{server_port}"),
    ):
        assert old in site
        site = site.replace(old, new)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = folder / "nginx.conf"
    main.write_text(
        f"daemon off;\npid {folder}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{site}\n}}\n"
    )
    with running(["nginx", "-p", str(folder), "-e", f"{folder}/errors", "-c", str(main)], port):
        yield port


@contextmanager
def caddy(folder: Path, server_port: int, example: str = "Caddyfile") -> Iterator[int]:
    port = free_port()
    site = (DEPLOY / example).read_text()
    site = site.replace(f"127.0.0.1:{PORT}", f"127.0.0.1:{server_port}")
    site = site.replace("data.example {", f"https://{HOST}:{port} {{\n\ttls internal")
    options = f"{{\n\tadmin off\n\tskip_install_trust\n\tauto_https disable_redirects\n\tstorage file_system {folder}\n}}\n"
    file = folder / "Caddyfile"
    file.write_text(options + site)
    with running(["caddy", "run", "--adapter", "caddyfile", "--config", str(file)], port):
        yield port


def browser(port: int, prefix: str) -> httpx.Client:
    trusted = ssl.create_default_context()
    trusted.check_hostname, trusted.verify_mode = False, ssl.CERT_NONE
    return httpx.Client(base_url=f"https://{HOST}:{port}{prefix}", verify=trusted)


def check_owner(client: httpx.Client, prefix: str) -> None:
    """Forms, redirects, cookies, links, polls and files, as a browser without a Referer sees them."""
    site = str(client.base_url).removesuffix("/").removesuffix(prefix)
    headers = {"Accept": "text/html", "X-Forwarded-Prefix": "/forged", "X-Forwarded-Port": "1"}
    form = client.get("/owner/login", headers=headers).text
    (token,) = re.findall(r'name="csrf_token" value="([^"]*)"', form)
    sent = {"csrf_token": token, "password": PASSWORD}
    signed_in = client.post("/owner/login", data=sent, headers=headers | {"Origin": site})
    assert signed_in.status_code == 302, signed_in.text
    assert signed_in.headers["Location"] == f"{prefix}/dashboard"
    cookie = signed_in.headers["Set-Cookie"]
    assert "; Secure" in cookie
    assert f"; Path={prefix or '/'}" in cookie
    page = client.get("/dashboard", headers=headers)
    assert page.status_code == 200
    for link in re.findall(r'(?:href|src|hx-get)="(/[^"]*)"', page.text):
        found = client.get(site + link.replace("&amp;", "&"), headers=headers)
        assert found.status_code in (200, 204), link


def check_proxy(port: int, prefix: str) -> None:
    """A browser and a connector, through the proxy."""
    with browser(port, prefix) as client:
        check_owner(client, prefix)
    with browser(port, prefix) as client:
        line = '{"key": "%s", "data": {"text": "%s"}}\n'
        stream = "/v1/ingest/a%2Fb?connector_id=c"
        stored = client.post(stream, content=line % ("1", "x" * 3_000_000), headers=BEARER)
        assert stored.json()["records_accepted"] == 1, stored.text
        assert stored.json()["stream"] == "a/b"
        assert client.post(stream, content=line % ("2", "x")).status_code == 401
        with suppress(httpx.RemoteProtocolError):  # Caddy may lose the text of an early answer
            refused = client.post(stream, content=line % ("2", "x" * 3_000_000))
            assert refused.status_code in (401, 502), refused.text

        # Each guess says that it comes from somewhere else; the proxy knows better.
        for number in range(10):
            forged = {"X-Forwarded-For": f"10.0.0.{number}"}
            guess = client.post("/owner/login", json={"password": "wrong"}, headers=forged)
        again = client.post("/owner/login", json={"password": "wrong"}, headers=forged)
        assert (guess.status_code, again.status_code) == (401, 429)


def check_alerts(folder: Path) -> None:
    for file in (DEPLOY / "prometheus-rules.yml", Path(__file__).with_name("prometheus-rules-test.yml")):
        shutil.copy(file, folder)
    for command in (
        ["check", "rules", "prometheus-rules.yml"],
        ["test", "rules", "prometheus-rules-test.yml"],
    ):
        subprocess.run(["promtool", *command], cwd=folder, stdout=subprocess.DEVNULL, check=True)


def main() -> None:
    needed = ("systemd-analyze", "nginx", "caddy", "openssl", "promtool")
    if missing := [name for name in needed if not shutil.which(name)]:
        sys.exit(
            f"Not found: {', '.join(missing)}.  On Debian: apt-get install systemd nginx caddy openssl prometheus"
        )
    with tempfile.TemporaryDirectory() as name:
        check_unit(Path(name))
        print("The unit is valid.")
        check_alerts(Path(name))
        print("Each alert fires when it should.")
    examples = (
        (nginx, "nginx.conf", ""),
        (nginx, "nginx-prefix.conf", "/pdpp"),
        (caddy, "Caddyfile", ""),
        (caddy, "Caddyfile-prefix", "/pdpp"),
    )
    for proxy, example, prefix in examples:
        with tempfile.TemporaryDirectory() as name, Server(Path(name), **SETTINGS) as server:
            folder = Path(name) / "proxy"
            folder.mkdir()
            with proxy(folder, int(server.url.rsplit(":", 1)[1]), example) as port:
                check_proxy(port, prefix)
        print(f"{example} passes requests as the server expects them.")


if __name__ == "__main__":
    main()
