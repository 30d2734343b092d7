"""What is measured: one Row for each line of the tables, and the check that a peer answers rightly at all.

The lines of `growth.py` are points of curves: how cost grows with connections, with size, with what is kept.
"""

import hashlib
import os
import ssl
import time
from dataclasses import dataclass
from typing import Callable

import clients
from clients import WorkFailed
from farm import DOWNLOAD, NAME, SMALL_NAR, STATIC
from processes import CpuMeter


@dataclass(frozen=True)
class Scale:
    """How much work one sample is."""

    narinfos: int = 40_000
    small_nars: int = 4_000
    large_mib: int = 256
    statics: int = 20_000
    downloads: int = 8  # one after the other
    handshakes: int = 1_000  # a multiple of four, the number of clients
    idle: int = 500


FULL = Scale()
QUICK = Scale(narinfos=10_000, small_nars=1_600, large_mib=64, statics=8_000, downloads=4, handshakes=300, idle=250)


@dataclass(frozen=True)
class Row:
    """A line of the table: `sample` does the work once and returns the cost of one unit of it."""

    key: str
    title: str
    unit: str
    sample: Callable
    absent: Callable = lambda peer: None  # why a peer does not do such work, in three words; None where it does
    curve: str = ""  # the curve it is a point of, for those that are
    at: int = 0  # where on that curve
    rounds: int = 1_000  # measured in no more rounds than that


class Stage:
    """What the samples share: the farm, the scale, lists of URLs, and a way to start one more instance of a peer."""

    def __init__(self, farm, scale, start_fresh):
        self.farm = farm
        self.scale = scale
        self.start_fresh = start_fresh
        self.filled = set()  # what was put into a cache before: (peer, entries)

    def urls_file(self, peer, paths, tls):
        path = os.path.join(self.farm.folder, f"urls-{peer.name}")
        with open(path, "w", encoding="ascii") as file:
            file.writelines(peer.url(each, tls) + "\n" for each in paths)
        return path


def without_cache(peer):
    return None if peer.caches else "has no cache"


def narinfos(protocol, in_flight=1, tls=True):
    def sample(stage, peer):
        requests = stage.scale.narinfos
        urls = stage.urls_file(peer, stage.farm.narinfo_paths, tls)
        with CpuMeter(peer.service) as cpu:
            # 800 per connection: below the 1000 after which nginx by default closes, so that no one reconnects.
            clients.h2load(urls, requests, requests // 800, len(stage.farm.narinfo),
                           protocol=protocol, in_flight=in_flight, tls=tls)
        return cpu.us / requests
    return sample


def small_nars(stage, peer):
    requests = stage.scale.small_nars
    urls = stage.urls_file(peer, [stage.farm.small_path], True)
    with CpuMeter(peer.service) as cpu:
        clients.h2load(urls, requests, requests // 200, SMALL_NAR, protocol="http/1.1")
    return cpu.us / requests


def large_nar(stage, peer):
    downloads = 3  # one alone varies by a third, as the scheduler happens to place the three processes
    with CpuMeter(peer.service) as cpu:
        for _ in range(downloads):
            clients.download(peer.url(stage.farm.large_path), stage.farm.large_bytes)
    return cpu.us / (downloads * stage.farm.large_bytes / (1 << 20))


def static_files(protocol, in_flight=1):
    """Hits: the file is in the peer's cache before the counting begins."""
    def sample(stage, peer):
        requests, path = stage.scale.statics, stage.farm.static_path
        clients.wait_until_cached(peer.https, path, stage.farm.sha256[path])
        urls = stage.urls_file(peer, [path], True)
        with CpuMeter(peer.service) as cpu:
            clients.h2load(urls, requests, requests // 400, STATIC, protocol=protocol, in_flight=in_flight)
        return cpu.us / requests
    return sample


def cached_download(stage, peer):
    path = stage.farm.download_path
    clients.wait_until_cached(peer.https, path, stage.farm.sha256[path])
    downloads = stage.scale.downloads
    with CpuMeter(peer.service) as cpu:
        for _ in range(downloads):
            clients.download(peer.url(path), DOWNLOAD)
    return cpu.us / (downloads * DOWNLOAD / (1 << 20))


def handshakes(version, resumed):
    def sample(stage, peer):
        pairs = clients.handshake_clients(peer.https, version, resumed)
        with CpuMeter(peer.service) as cpu:
            clients.handshakes(peer.https, stage.scale.handshakes, pairs)
        return cpu.us / stage.scale.handshakes
    return sample


def idle_memory(stage, peer):
    """In an instance that has done nothing else, so that memory freed by earlier work cannot hide the cost."""
    with stage.start_fresh(peer.name) as fresh:
        path, body = stage.farm.narinfo_paths[0], stage.farm.narinfo
        with clients.idle_connections(fresh.https, path, body) as open_more:
            open_more(50)  # what a worker allocates once, it allocates now
            time.sleep(0.3)
            before = fresh.service.pss_kib()
            open_more(stage.scale.idle)
            time.sleep(0.3)
            after = fresh.service.pss_kib()
            if not open_more.all_alive():
                raise WorkFailed("the proxy closed idle connections while they were counted")
    return (after - before) / stage.scale.idle


ROWS = [
    Row("narinfo-tls", "narinfo, HTTP/1.1 over TLS", "µs/request", narinfos("http/1.1")),
    Row("narinfo-plain", "narinfo, plain HTTP", "µs/request", narinfos("http/1.1", tls=False)),
    Row("narinfo-pipelined", "narinfo, pipelined ×16, TLS", "µs/request", narinfos("http/1.1", in_flight=16)),
    Row("narinfo-h2", "narinfo, HTTP/2, 8 streams", "µs/request", narinfos("h2", in_flight=8)),
    Row("nar-small", "nar 64 KiB, TLS", "µs/request", small_nars),
    Row("nar-large", "nar 256 MiB, TLS", "µs/MiB", large_nar),
    Row("static-tls", "static file 20 KB, cached, TLS", "µs/request", static_files("http/1.1"), absent=without_cache),
    Row("static-h2", "static file 20 KB, cached, HTTP/2, 8 streams", "µs/request", static_files("h2", in_flight=8),
        absent=without_cache),
    Row("download", "download 64 MiB, cached, TLS", "µs/MiB", cached_download, absent=without_cache),
    Row("handshake-full", "full TLS 1.3 handshake", "µs", handshakes(ssl.TLSVersion.TLSv1_3, False)),
    Row("handshake-resumed-13", "resumed TLS 1.3 handshake", "µs", handshakes(ssl.TLSVersion.TLSv1_3, True)),
    Row("handshake-resumed-12", "resumed TLS 1.2 handshake", "µs", handshakes(ssl.TLSVersion.TLSv1_2, True)),
    Row("idle-memory", "idle TLS connection", "KiB", idle_memory),
]


def probe(farm, peer):
    """Right bytes and headers on both ports, or WorkFailed. Returns what TLS was agreed on, for the record."""
    try:
        with clients.connect(peer.http) as plain:
            expect_narinfo(farm, plain)
        with clients.connect(peer.https) as raw:
            with clients.client_context(ssl.TLSVersion.TLSv1_3).wrap_socket(raw, server_hostname=NAME) as tls:
                expect_narinfo(farm, tls)
                _, nar = clients.get(tls, farm.small_path)
                if hashlib.sha256(nar).hexdigest() != farm.small_sha256:
                    raise WorkFailed("the small nar came out different")
                return f"{tls.version()} {tls.cipher()[0]}"
    except OSError as problem:
        raise WorkFailed(f"no answer: {problem}") from problem


def expect_narinfo(farm, connection):
    for path in farm.narinfo_paths[:3]:
        head, body = clients.get(connection, path)
        if body != farm.narinfo:
            raise WorkFailed("the narinfo came out different")
        if "cache-control: max-age=15552000" not in head.lower():
            raise WorkFailed("the narinfo's Cache-Control is gone")
