"""How cost grows: with connections, with the size of an answer, with what is kept. One Row for each point of a curve."""

import re
from dataclasses import dataclass

import clients
from clients import WorkFailed
from farm import KILOBYTE, SIZES
from measure import Row, without_cache
from processes import CpuMeter

ROUNDS = 2  # a curve shows a shape; its points need fewer samples than a line that decides something


@dataclass(frozen=True)
class Curve:
    """What its points show, and what changes from one to the next."""

    title: str
    along: str


CURVES = {
    "connections": Curve("narinfo, plain HTTP, one request in flight on each connection, µs/request", "connections"),
    "size": Curve("nar, TLS, µs/MiB", "bytes of body"),
    "entries": Curve("static file 1 KB, cached, HTTP/2, µs/request", "entries in the cache"),
}


def connections(count):
    def sample(stage, peer):
        # Never fewer than eight on each, so that opening them is a small part of it.
        requests = max(stage.scale.narinfos // (4 if count == 1 else 1), 8 * count)
        urls = stage.urls_file(peer, stage.farm.narinfo_paths, False)
        with CpuMeter(peer.service) as cpu:
            clients.h2load(urls, requests, count, len(stage.farm.narinfo), protocol="http/1.1", tls=False)
        return cpu.us / requests
    return sample


def size(bytes_):
    """By the MiB, which shows what a request costs in itself at one end, and what a byte costs at the other."""
    def sample(stage, peer):
        requests = max(1, min(4_000, (stage.scale.large_mib << 20) // bytes_))
        urls = stage.urls_file(peer, [stage.farm.sizes[bytes_]], True)
        with CpuMeter(peer.service) as cpu:
            clients.h2load(urls, requests, min(20, requests), bytes_, protocol="http/1.1")
        return cpu.us / (requests * bytes_ / (1 << 20))
    return sample


def entries(count):
    """Hits spread evenly over all of them: no part of the cache stays hotter than another."""
    def sample(stage, peer):
        paths = [f"/static/many/{count}/{number}.css" for number in range(count)]
        if (peer.name, count) not in stage.filled:
            ask(stage, peer, paths, count)
            ask(stage, peer, paths, count)  # what was still being stored is by now
            stage.filled.add((peer.name, count))
        requests = stage.scale.statics
        step = max(1, count // requests)
        before = asked(stage)
        with CpuMeter(peer.service) as cpu:
            ask(stage, peer, paths[::step], requests)
        # Asking for the figure is a request too.
        if (missed := asked(stage) - before - 1) > requests // 100:
            raise WorkFailed(f"{missed} of {requests} were not answered from the cache")
        return cpu.us / requests
    return sample


def unfit_for_long(peer):
    """All entries are asked for on one connection."""
    return without_cache(peer) or (None if peer.lasts else "closes after 1000 requests")


def ask(stage, peer, paths, requests):
    """On one connection: h2load begins the list anew on each, and most of a long one would never be asked for."""
    urls = stage.urls_file(peer, paths, True)
    clients.h2load(urls, requests, 1, KILOBYTE, protocol="h2", in_flight=16)


def asked(stage):
    """How many requests the backend has had."""
    with clients.connect(stage.farm.port) as plain:
        _, body = clients.get(plain, "/asked")
    return int(re.search(r"^ *\d+ \d+ (\d+)", body.decode(), re.M)[1])


def short(number):
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if number >= unit:
            return f"{number // unit} {name}"
    return str(number)


GROWTH = [
    *(Row(f"connections-{count}", f"narinfo, plain, {count} connection{'s' * (count > 1)}", "µs/request", connections(count),
          curve="connections", at=count, rounds=ROUNDS) for count in (1, 100, 1000, 5000)),
    *(Row(f"size-{short(each).replace(' ', '').lower()}", f"nar {short(each)}, TLS", "µs/MiB", size(each),
          curve="size", at=each, rounds=ROUNDS) for each in SIZES),
    *(Row(f"entries-{count}", f"static file 1 KB, one of {count} cached, HTTP/2", "µs/request", entries(count), absent=unfit_for_long,
          curve="entries", at=count, rounds=ROUNDS) for count in (100, 1_000, 10_000, 100_000)),
]
