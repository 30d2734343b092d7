"""The clients. Each either did exactly the work it was asked for, with the right answers, or raises WorkFailed."""

import concurrent.futures
import contextlib
import hashlib
import re
import socket
import ssl
import subprocess
import time

from farm import NAME

PATIENCE = 90  # seconds for one client run


class WorkFailed(Exception):
    """The proxy did not do the work as it should; there is nothing to count."""


def h2load(urls_file, requests, connections, body_bytes, *, protocol, in_flight=1, tls=True):
    """`requests` GETs, all of which must be answered 2xx with a body of `body_bytes`."""
    argv = ["h2load", "-t1", f"-n{requests}", f"-c{connections}", f"-m{in_flight}", "-i", urls_file]
    if protocol == "http/1.1":
        argv.append("--h1")
    out = run(argv)

    def number(pattern):
        if not (found := re.search(pattern, out)):
            raise WorkFailed(f"h2load said nothing like /{pattern}/")
        return int(found[1])

    good, succeeded = number(r"status codes: (\d+) 2xx"), number(r"(\d+) succeeded")
    if good != requests or succeeded != requests:
        counts = " / ".join(re.findall(r"^(?:requests|status codes): .*", out, re.M))
        raise WorkFailed(f"{good} of {requests} answered 2xx: {counts}")
    if (data := number(r"\((\d+)\) data")) != requests * body_bytes:
        raise WorkFailed(f"{data} bytes of body instead of {requests * body_bytes}")
    spoken = re.search(r"^Application protocol: (\S+)", out, re.M)
    if tls and (not spoken or spoken[1] != protocol):
        raise WorkFailed(f"spoke {spoken and spoken[1]}, not {protocol}")


def download(url, size):
    """One GET by curl over TLS, HTTP/1.1; the whole body must come."""
    out = run(["curl", "-sSk", "--http1.1", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", url])
    if out.split() != ["200", str(size)]:
        raise WorkFailed(f"curl got `{out}` (status, bytes) instead of `200 {size}`")


def wait_until_cached(port, path, sha256):
    """Asks until the answer is one from the proxy's cache, and sees to it that the bytes are right."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with connect(port) as raw, client_context(ssl.TLSVersion.TLSv1_3).wrap_socket(raw, server_hostname=NAME) as tls:
            head, body = get(tls, path)
        if hashlib.sha256(body).hexdigest() != sha256:
            raise WorkFailed(f"{path} came out different")
        if re.search(r"^(cache-status: farmgate; hit|x-cache: HIT)", head, re.I | re.M):
            return
        time.sleep(0.05)  # it is kept a moment after it was sent
    raise WorkFailed(f"{path} is never answered from the cache")


def handshake_clients(port, version, resumed):
    """Four (context, session to resume) pairs, made ahead so that getting the sessions is not counted."""
    contexts = [client_context(version) for _ in range(4)]
    return [(context, first_session(context, port) if resumed else None) for context in contexts]


def handshakes(port, count, pairs):
    """`count` connections that shake hands, say goodbye and see the server close; one at a time per pair."""
    def some(context, session):
        for _ in range(count // len(pairs)):
            with connect(port) as raw:
                tls = context.wrap_socket(raw, server_hostname=NAME, session=session)
                if tls.session_reused != (session is not None):
                    raise WorkFailed("a session was resumed" if tls.session_reused else "the session was not resumed")
                goodbye(tls)

    with concurrent.futures.ThreadPoolExecutor(len(pairs)) as pool:
        for done in [pool.submit(some, *pair) for pair in pairs]:
            try:
                done.result(timeout=PATIENCE)
            except OSError as problem:
                raise WorkFailed(f"handshake: {problem}") from problem


@contextlib.contextmanager
def idle_connections(port, path, body):
    """Yields a function that opens TLS connections, each having had one answer, to be held until the end."""
    context, held = client_context(ssl.TLSVersion.TLSv1_3), []

    def open_more(count):
        for _ in range(count):
            # A source address for every hundred, as many clients would have.
            source = f"127.0.0.{2 + len(held) // 100}"
            held.append(connect(port, source))
            held[-1] = context.wrap_socket(held[-1], server_hostname=NAME)
            if get(held[-1], path)[1] != body:
                raise WorkFailed("wrong body before idling")

    def still_open():
        """None of them may have been closed by the proxy meanwhile."""
        for connection in held:
            connection.setblocking(False)
            try:
                if not connection.recv(1):
                    return False
            except ssl.SSLWantReadError:
                pass
            except OSError:
                return False
        return True

    open_more.all_alive = still_open
    try:
        yield open_more
    except OSError as problem:
        raise WorkFailed(f"connection {len(held)}: {problem}") from problem
    finally:
        for connection in held:
            connection.close()


def get(connection, path):
    """One keep-alive GET on an open connection: (head, body). Needs a 200 with Content-Length, as Guix clients do."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {NAME}\r\nUser-Agent: GNU Guile\r\n\r\n".encode())
    with connection.makefile("rb") as stream:
        head = b"".join(iter(stream.readline, b"\r\n")).decode("latin-1")
        length = re.search(r"^content-length: (\d+)\r$", head, re.I | re.M)
        if not re.match(r"HTTP/1\.1 200\b", head) or not length:
            raise WorkFailed(f"{path}: not a 200 with Content-Length: {head[:200]!r}")
        return head, stream.read(int(length[1]))


def connect(port, source="127.0.0.1"):
    """Without TCP_NODELAY a close_notify right after our Finished waits 40 ms for a delayed ACK; the server's caches go
    cold meanwhile, and a resumed TLS 1.2 handshake then cost nginx 480 µs instead of 140."""
    raw = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return raw


def client_context(version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    return context


def first_session(context, port):
    """A session to resume: in TLS 1.3 its ticket comes after the handshake, so read something."""
    with connect(port) as raw:
        tls = context.wrap_socket(raw, server_hostname=NAME)
        tls.sendall(f"HEAD / HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
        tls.recv(4096)
        if not (session := tls.session):
            raise WorkFailed("the server gave no session to resume")
        goodbye(tls)
        return session


def goodbye(tls):
    """Close notify, then wait for the server's end: by then it has done all its work for this connection."""
    try:
        tls.unwrap()
    except TimeoutError as problem:
        raise WorkFailed("the server did not close after close_notify") from problem
    except OSError:
        pass  # it closed without a close_notify of its own: allowed, and closed is what matters


def run(argv):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as problem:
        raise WorkFailed(f"{argv[0]} took more than {PATIENCE} s") from problem
    if done.returncode != 0:
        raise WorkFailed(f"{argv[0]} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout
