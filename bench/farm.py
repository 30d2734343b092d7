"""The made-up farm that every peer stands in front of: a certificate, narinfos, nars, and a fast backend."""

import hashlib
import os
import random
import socket
import subprocess

from processes import Service

HERE = os.path.dirname(os.path.abspath(__file__))
NAME = "bench.example.org"
SMALL_NAR = 64 * 1024
STATIC = 20_000
DOWNLOAD = 64 << 20
KILOBYTE = 1024
SIZES = [1 << 10, 16 << 10, 256 << 10, 4 << 20, 64 << 20, 1 << 30]
URLS = 200  # narinfos asked for in turn
BASE32 = "0123456789abcdfghijklmnpqrsvwxyz"  # Nix's alphabet


class Farm:
    """Everything about the backend that a peer or a client needs to know."""

    def __init__(self, folder, large_mib):
        self.folder = folder
        self.large_bytes = large_mib << 20
        self.chain, self.key = make_certificate(folder)
        self.narinfo = narinfo_text().encode()
        chance = random.Random(1)
        hashes = ["".join(chance.choices(BASE32, k=32)) for _ in range(URLS)]
        self.narinfo_paths = [f"/{hash}.narinfo" for hash in hashes]
        self.small_path = f"/nar/zstd/{hashes[0]}-small-1.0"
        self.large_path = f"/nar/zstd/{hashes[1]}-large-1.0"
        self.small_sha256 = None
        self.static_path, self.download_path = "/static/css/style.css", "/download/7/image.iso"
        self.sha256 = {}  # of what is kept
        self.sizes = {}  # nars for the curve about sizes: bytes -> path

    def start(self, cpus=None):
        folder = os.path.join(self.folder, "backend")
        nars = os.path.join(folder, "content", "nar", "zstd")
        os.makedirs(nars)
        os.makedirs(os.path.join(folder, "temp"))
        small = random.Random(2).randbytes(SMALL_NAR)
        self.small_sha256 = hashlib.sha256(small).hexdigest()
        write(os.path.join(nars, os.path.basename(self.small_path)), small)
        piece = random.Random(3).randbytes(1 << 20)
        with open(os.path.join(nars, os.path.basename(self.large_path)), "wb") as nar:
            for _ in range(self.large_bytes >> 20):
                nar.write(piece)

        for path, content in [
            (self.static_path, random.Random(5).randbytes(STATIC)),
            (self.download_path, random.Random(6).randbytes(DOWNLOAD)),
        ]:
            file = os.path.join(folder, "content", path.lstrip("/"))
            os.makedirs(os.path.dirname(file))
            write(file, content)
            self.sha256[path] = hashlib.sha256(content).hexdigest()

        for size in SIZES:
            self.sizes[size] = f"/nar/zstd/{'1' * 32}-size-{size}"
            with open(os.path.join(nars, os.path.basename(self.sizes[size])), "wb") as nar:
                for start in range(0, size, len(piece)):
                    nar.write(piece[:size - start])

        (self.port,) = free_ports(1)
        render("nginx-common.conf", folder)
        config = render("backend.conf", folder, PORT=self.port, NARINFO=self.narinfo.decode(), KILOBYTE="x" * KILOBYTE)
        service = Service(nginx_argv(config, folder), folder, cpus)
        service.wait_until(lambda: accepts(self.port), "listening")
        return service


def nginx_argv(config, folder):
    user = " user root;" if os.geteuid() == 0 else ""
    return ["nginx", "-p", folder, "-c", config, "-e", "error.log", "-g", f"daemon off; pid nginx.pid;{user}"]


def render(template, folder, **values):
    """Copy a file of `configs/` with its @MARKERS@ filled in; returns the path of the copy."""
    with open(os.path.join(HERE, "configs", template), encoding="utf-8") as source:
        text = source.read()
    for marker, value in values.items():
        text = text.replace(f"@{marker}@", str(value))
    path = os.path.join(folder, template)
    write(path, text.encode())
    return path


def free_ports(count):
    """Ports nobody listens on, below the range the kernel hands to outgoing connections."""
    held = []
    try:
        while len(held) < count:
            candidate = socket.socket()
            try:
                candidate.bind(("127.0.0.1", random.randrange(20000, 32000)))
            except OSError:
                candidate.close()
                continue
            held.append(candidate)
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def make_certificate(folder):
    chain, key = os.path.join(folder, "fullchain.pem"), os.path.join(folder, "privkey.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "30",
         "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME},IP:127.0.0.1", "-keyout", key, "-out", chain],
        check=True, stdin=subprocess.DEVNULL, capture_output=True)
    os.chmod(key, 0o600)
    return chain, key


def narinfo_text():
    """A narinfo of the usual size and shape, signed with a signature that is only long enough."""
    chance = random.Random(4)

    def store_name(name):
        return "".join(chance.choices(BASE32, k=32)) + "-" + name

    item = store_name("emacs-29.4")
    references = " ".join(store_name(name) for name in ("glibc-2.39", "gcc-14.2.0-lib", "gnutls-3.8.3", "zlib-1.3.1"))
    signature = "".join(chance.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", k=480))
    return "\n".join([
        f"StorePath: /gnu/store/{item}",
        f"URL: nar/zstd/{item}",
        "Compression: zstd",
        "FileSize: 50331648",
        f"NarHash: sha256:{''.join(chance.choices(BASE32, k=52))}",
        "NarSize: 167772160",
        f"References: {references}",
        f"Deriver: {store_name('emacs-29.4.drv')}",
        f"Signature: 1;{NAME};{signature}", ""])


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)
