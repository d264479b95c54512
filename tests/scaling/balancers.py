"""The balancers of `docs/scaling`, run as they stand there but for addresses and files."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.ports import free_port

__all__ = ["Balancer", "Haproxy", "Nginx", "missing"]

CONFIGS = Path(__file__).resolve().parents[2] / "docs" / "scaling"
SEARCH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin"


def program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=SEARCH)


def missing(*names: str) -> str | None:
    """The reason to skip a test that needs programs, None if all are there."""
    lost = [name for name in names if program(name) is None]
    return f"needs {' and '.join(lost)}" if lost else None


@dataclass
class Balancer:
    """One of the balancers, in front of servers.

    Attributes:
        folder: Where its files go.
        servers: `host:port` of each server.
        host: Address to listen on.
        pem: File with a certificate and its key; None for plain HTTP.
        slots: What each server works on at once.
        inside: What its command line begins with, as `ip netns exec NAME`.
        changes: Further texts of the configuration to replace.
    """

    folder: Path
    servers: Sequence[str]
    host: str = "127.0.0.1"
    pem: Path | None = None
    slots: int = 4
    inside: Sequence[str] = ()
    changes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A host that is not this one has all its ports free.
        self.port = free_port() if self.host == "127.0.0.1" else 8080
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http{'s' if self.pem else ''}://{self.host}:{self.port}"

    @property
    def batch_url(self) -> str:
        """Address for requests that do not belong together."""
        return self.url

    def __enter__(self) -> Balancer:
        self.log = (self.folder / "balancer.log").open("ab")
        self.process = subprocess.Popen(
            [*self.inside, *self.command()], stdout=self.log, stderr=self.log
        )
        try:
            self._wait_until_it_listens()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
        self.log.close()

    def command(self) -> list[str]:
        """Write the configuration; return what runs it in the foreground."""
        raise NotImplementedError

    def cpu_seconds(self) -> float:
        """Processor time that it has used so far, its workers included."""
        import psutil

        assert self.process is not None
        own = psutil.Process(self.process.pid)
        pids = [process.pid for process in (own, *own.children(recursive=True))]
        # In nanoseconds, where psutil has hundredths of a second.
        return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids) / 1e9

    def changed(self, text: str, changes: dict[str, str]) -> str:
        for old, new in {**changes, **self.changes}.items():
            assert old in text, old
            text = text.replace(old, new)
        return text

    def _wait_until_it_listens(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection((self.host, self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError((self.folder / "balancer.log").read_text())


class Haproxy(Balancer):
    """HAProxy, whose servers are called `mac1`, `mac2` and so on."""

    def command(self) -> list[str]:
        text = (CONFIGS / "haproxy.cfg").read_text()
        line = re.compile(r"^    server mac1 192\.0\.2\.11:8080(.*)\n(    server .*\n)+", re.M)
        text = line.sub(self._servers, text)
        tls = f" ssl crt {self.pem}" if self.pem else ""
        changes = {
            "    bind :8443 ssl crt /etc/haproxy/models.pem\n": (
                f"    bind {self.host}:{self.port}{tls}\n"
            ),
            "/run/haproxy/admin.sock": str(self.admin),
            "maxconn 4 ": f"maxconn {self.slots} ",
            "sc0_conn_cur(clients) le 4": f"sc0_conn_cur(clients) le {self.slots}",
        }
        path = self.folder / "haproxy.cfg"
        path.write_text(self.changed(text, changes))
        return [program("haproxy") or "", "-db", "-f", str(path)]

    @property
    def admin(self) -> Path:
        return self.folder / "admin.sock"

    def tell(self, command: str) -> str:
        """Send a command to its admin socket, and return the answer."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(10)
            admin.connect(str(self.admin))
            admin.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: admin.recv(65536), b"")).decode().strip()

    def states(self) -> list[str]:
        """The state of each server: `UP`, `DOWN`, `DRAIN` and more."""
        return [row[17].split()[0] for name, row in self._stats() if name.startswith("mac")]

    def working(self) -> dict[str, int]:
        """How many requests each server works on."""
        return {name: int(row[4]) for name, row in self._stats() if name.startswith("mac")}

    def served(self) -> dict[str, int]:
        """How many requests each server has been given."""
        return {name: int(row[7]) for name, row in self._stats() if name.startswith("mac")}

    def queued(self) -> int:
        """How many requests wait for a slot."""
        return sum(int(row[2]) for _, row in self._stats())

    def _stats(self) -> Iterator[tuple[str, list[str]]]:
        for line in self.tell("show stat").splitlines():
            row = line.split(",")
            if row[0] == "slots":
                yield row[1], row

    def _servers(self, found: re.Match[str]) -> str:
        lines = [
            f"    server mac{at} {address}{found[1].replace('mac1', f'mac{at}')}\n"
            for at, address in enumerate(self.servers, 1)
        ]
        return "".join(lines)


class Nginx(Balancer):
    """nginx, whose port for batches is another one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.batch_port = free_port() if self.host == "127.0.0.1" else 8081

    @property
    def batch_url(self) -> str:
        return self.url.replace(str(self.port), str(self.batch_port))

    def command(self) -> list[str]:
        text = (CONFIGS / "nginx.conf").read_text()
        line = re.compile(r"^    server 192\.0\.2\.11:8080(.*)\n(    server .*\n)+", re.M)
        text = line.sub(self._servers, text)
        changes = {
            "listen 8443 ssl": f"listen {self.host}:{self.port}{' ssl' if self.pem else ''}",
            "listen 8444 ssl": f"listen {self.host}:{self.batch_port}{' ssl' if self.pem else ''}",
            "    8444 ": f"    {self.batch_port} ",
        }
        if self.pem:
            changes |= {"/etc/nginx/models.pem": str(self.pem)}
            changes |= {"/etc/nginx/models.key": str(self.pem)}
        else:
            changes |= {"    ssl_certificate     /etc/nginx/models.pem;\n": ""}
            changes |= {"    ssl_certificate_key /etc/nginx/models.key;\n": ""}
        (self.folder / "models.conf").write_text(self.changed(text, changes))
        path = self.folder / "nginx.conf"
        # What Debian's own nginx.conf has around the files of conf.d, with files of ours.
        temporary = "".join(
            f"    {kind}_temp_path {self.folder}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        path.write_text(
            f"daemon off;\nworker_processes 1;\npid {self.folder}/nginx.pid;\n"
            "events { worker_connections 2048; }\n"
            f"http {{\n{temporary}    access_log off;\n    include {self.folder}/models.conf;\n}}\n"
        )
        log = str(self.folder / "nginx.log")
        return [program("nginx") or "", "-e", log, "-p", str(self.folder), "-c", str(path)]

    def _servers(self, found: re.Match[str]) -> str:
        return "".join(f"    server {address}{found[1]}\n" for address in self.servers)
