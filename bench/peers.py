"""The proxies to compare. To add one: a subclass of Peer, a file in configs/, a line in all_peers."""

import os
import re
import shutil
import subprocess

from farm import NAME, accepts, free_ports, nginx_argv, render
from processes import Service, StartError


class Peer:
    """A proxy that can be started any number of times, each in an empty folder of its own."""

    name = ""
    binary = ""
    caches = True  # whether it can answer from a cache of its own
    lasts = True  # whether a connection may have any number of requests

    def missing(self):
        """Why this peer cannot take part; None when it can."""
        return None if shutil.which(self.binary) else f"{self.binary} is not installed"

    def version(self):
        raise NotImplementedError

    def launch(self, folder, farm, cpus):
        """Start it and return (service, http port, https port) once it is listening."""
        raise NotImplementedError

    def start(self, folder, farm, cpus=None):
        os.makedirs(folder)
        service, http, https = self.launch(folder, farm, cpus)
        return Running(self, service, http, https)


class Running:
    """A started peer."""

    def __init__(self, peer, service, http, https):
        self.name = peer.name
        self.caches = peer.caches
        self.lasts = peer.lasts
        self.service = service
        self.http = http
        self.https = https

    def url(self, path, tls=True):
        return f"https://127.0.0.1:{self.https}{path}" if tls else f"http://127.0.0.1:{self.http}{path}"


class Nginx(Peer):
    binary = "nginx"

    def version(self):
        return first_line(["nginx", "-v"]).removeprefix("nginx version: ")

    def launch(self, folder, farm, cpus):
        os.makedirs(os.path.join(folder, "temp"))
        render("nginx-common.conf", folder)
        http, https = free_ports(2)
        config = render(f"{self.name}.conf", folder, HTTP=http, HTTPS=https, **farm_values(farm))
        return launch_on_ports(nginx_argv(config, folder), folder, cpus, http, https)


class NginxArticle(Nginx):
    name = "nginx-article"
    lasts = False


class NginxTuned(Nginx):
    name = "nginx-tuned"


class Haproxy(Peer):
    name = "haproxy"
    binary = "haproxy"

    def version(self):
        return first_line(["haproxy", "-v"]).partition(" - ")[0]

    def launch(self, folder, farm, cpus):
        pem = os.path.join(folder, "both.pem")
        with open(pem, "w", encoding="ascii", opener=lambda path, flags: os.open(path, flags, 0o600)) as both:
            for part in (farm.chain, farm.key):
                with open(part, encoding="ascii") as source:
                    both.write(source.read())
        http, https = free_ports(2)
        config = render("haproxy.cfg", folder, HTTP=http, HTTPS=https, PEM=pem, **farm_values(farm))
        return launch_on_ports(["haproxy", "-db", "-f", config], folder, cpus, http, https)


class Caddy(Peer):
    name = "caddy"
    binary = "caddy"
    caches = False

    def version(self):
        return "Caddy " + first_line(["caddy", "version"])

    def launch(self, folder, farm, cpus):
        http, https = free_ports(2)
        config = render("Caddyfile", folder, HTTP=http, HTTPS=https, **farm_values(farm))
        argv = ["env", f"HOME={folder}", "caddy", "run", "--adapter", "caddyfile", "--config", config]
        return launch_on_ports(argv, folder, cpus, http, https)


class Farmgate(Peer):
    name = "farmgate"
    # As it is by default; port 9145 may be another's.
    log = "@FOLDER@/http.access.log", "@FOLDER@/https.access.log"
    metrics = "127.0.0.1:0"

    def __init__(self, binary):
        self.binary = binary

    def missing(self):
        if not os.path.exists(self.binary):
            return f"no {os.path.relpath(self.binary)}: build it with `cargo build --release`"
        return None if os.access(self.binary, os.X_OK) else f"{self.binary} is not executable"

    def version(self):
        return first_line([self.binary, "--version"])

    def launch(self, folder, farm, cpus):
        service = Service([self.binary, "run", "--config", self.config(folder, farm)], folder, cpus)

        def announced():
            with open(service.output, encoding="utf-8", errors="replace") as log:
                text = re.sub(r"\x1b\[[0-9;]*m", "", log.read())
            ports = dict(re.findall(r"\blistening (https?) 127\.0\.0\.1:(\d+)", text))
            return ports if len(ports) == 2 and re.search(r"\bready\b", text) else None

        ports = service.wait_until(announced, "ready")
        return service, int(ports["http"]), int(ports["https"])

    def config(self, folder, farm):
        logs = [name.replace("@FOLDER@", folder) for name in self.log]
        return render("farmgate.toml", folder, FOLDER=folder, HTTP_LOG=logs[0], HTTPS_LOG=logs[1],
                      METRICS=self.metrics, **farm_values(farm))


class FarmgateBare(Farmgate):
    """What logs and metrics cost is the difference to this one."""

    name = "farmgate-bare"
    log = "off", "off"
    metrics = "off"


def launch_on_ports(argv, folder, cpus, http, https):
    """For programs that are told their ports: start, and wait until both answer."""
    service = Service(argv, folder, cpus)
    service.wait_until(lambda: accepts(http) and accepts(https), "listening")
    return service, http, https


def farm_values(farm):
    return {"NAME": NAME, "BACKEND": farm.port, "CHAIN": farm.chain, "KEY": farm.key}


def first_line(argv):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as problem:
        raise StartError(f"{' '.join(argv)}: {problem}") from problem
    return (done.stdout + done.stderr).strip().splitlines()[0]


def all_peers(farmgate_binary):
    """In the order of the table's columns."""
    return [NginxArticle(), NginxTuned(), Haproxy(), Caddy(), Farmgate(farmgate_binary), FarmgateBare(farmgate_binary)]
