"""A LAN of our own: network namespaces on one bridge, real sockets and real avahi in them.

Needs root and iproute2; avahi needs Debian's dbus, avahi-daemon and avahi-utils. Where
something is missing a test is skipped and says what, but under CI it fails.
"""

import asyncio
import ctypes
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from zeroconf import DNSOutgoing, ServiceInfo

Result = TypeVar("Result")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_SUBNET = "192.168.77"

# A bus for one daemon and its clients, all of them root.
_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/>
<allow receive_sender="*"/><allow send_type="method_call"/></policy></busconfig>
"""


def require(condition: object, what: str) -> None:
    """Skip the test where ``condition`` doesn't hold; fail it under CI."""
    if condition:
        return
    if os.environ.get("CI"):
        pytest.fail(f"CI must have {what}")
    pytest.skip(f"needs {what}")


def require_tools(*tools: str) -> None:
    """Skip, or fail under CI, where one of these programs isn't installed."""
    for tool in tools:
        require(shutil.which(tool), f"the program {tool}")


class Host:
    """One machine of the LAN: a network namespace with ``lo`` and ``eth0``."""

    def __init__(self, name: str, namespace: str, address: str) -> None:
        self.name = name
        self.namespace = namespace
        self.address = address
        self._handle = f"/run/netns/{namespace}"

    def ip(self, arguments: str) -> None:
        """``ip ARGUMENTS`` inside."""
        _ip(f"-n {self.namespace} {arguments}")

    def command(self, *argv: str) -> list[str]:
        """``argv``, to be run inside."""
        return ["ip", "netns", "exec", self.namespace, *argv]

    def popen(self, *argv: str, **options: Any) -> "subprocess.Popen[str]":
        """Start a process inside."""
        return subprocess.Popen(self.command(*argv), text=True, **options)

    def run(self, *argv: str, timeout: float = 20, **options: Any) -> str:
        """Run a process inside to its end; its output. Fails where it fails."""
        done = subprocess.run(
            self.command(*argv),
            text=True,
            capture_output=True,
            timeout=timeout,
            check=False,
            **options,
        )
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Let the calling thread live inside: sockets that it makes belong to this host."""
        libc = ctypes.CDLL(None, use_errno=True)
        with _namespace("/proc/thread-self/ns/net") as home, _namespace(self._handle) as here:
            assert libc.setns(here, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                assert libc.setns(home, _CLONE_NEWNET) == 0

    @contextmanager
    def loop(self, factory: LoopFactory | None = None) -> Iterator["HostLoop"]:
        """An event loop in a thread inside, for code under test that is ours."""
        with HostLoop(self, factory) as loop:
            yield loop


class HostLoop:
    """``call`` runs coroutines on a loop whose sockets belong to one host."""

    def __init__(self, host: Host, factory: LoopFactory | None = None) -> None:
        self._host = host
        self._factory = factory
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._live, name=f"lan-{host.name}", daemon=True)

    def __enter__(self) -> "HostLoop":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def call(self, work: Coroutine[Any, Any, Result], timeout: float = 10) -> Result:
        """The coroutine's result; its errors are raised here."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def _live(self) -> None:
        with self._host.entered(), asyncio.Runner(loop_factory=self._factory) as runner:
            self._loop = runner.get_loop()
            self._loop.call_soon(self._ready.set)
            self._loop.run_forever()


class Lan:
    """Hosts by their names; see ``lan``."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._hosts = {host.name: host for host in hosts}

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    @contextmanager
    def apart(self, name: str) -> Iterator[None]:
        """A host that can't hear the others, nor they it; its own link stays up."""
        run = self[name].namespace.removesuffix(f"-{name}")
        port = f"-n {run}-switch link set {f'to-{name}'[:15]}"
        _ip(f"{port} nomaster")
        try:
            yield
        finally:
            _ip(f"{port} master bridge0")

    def cable(self, one: str, other: str, subnet: str, device: str = "eth1") -> None:
        """A second network between two hosts: ``SUBNET.1`` and ``.2`` on ``device``."""
        far = self[other].namespace
        self[one].ip(f"link add {device} type veth peer name {device} netns {far}")
        for number, host in enumerate((self[one], self[other]), 1):
            host.ip(f"addr add {subnet}.{number}/24 dev {device}")
            host.ip(f"link set {device} up")
        for host in (self[one], self[other]):  # the kernel takes its time
            wait_for(lambda host=host: "state UP" in host.run("ip", "link", "show", device))  # type: ignore[misc]


@contextmanager
def lan(*names: str) -> Iterator[Lan]:
    """Hosts with addresses 192.168.77.1, .2, … and a default route, on one bridge."""
    require(sys.platform == "linux", "Linux (network namespaces)")
    require(os.geteuid() == 0, "root (network namespaces)")
    require_tools("ip")
    run = f"hearth{os.getpid()}x{uuid.uuid4().hex[:4]}"
    hosts = [Host(name, f"{run}-{name}", f"{_SUBNET}.{n}") for n, name in enumerate(names, 1)]
    with ExitStack() as stack:
        _make(stack, f"{run}-switch", [])
        _ip(f"-n {run}-switch link add bridge0 type bridge")
        _ip(f"-n {run}-switch link set bridge0 up")
        for host in hosts:
            _make(stack, host.namespace, _cabling(host, f"{run}-switch"))
        yield Lan(hosts)


def _cabling(host: Host, switch: str) -> list[str]:
    port = f"to-{host.name}"[:15]
    return [
        f"link add eth0 netns {host.namespace} type veth peer name {port} netns {switch}",
        f"-n {switch} link set {port} up master bridge0",
        f"-n {host.namespace} addr add {host.address}/24 dev eth0",
        f"-n {host.namespace} link set lo up",
        f"-n {host.namespace} link set eth0 up",
        f"-n {host.namespace} route add default via {_SUBNET}.254",
    ]


def _make(stack: ExitStack, namespace: str, commands: Sequence[str]) -> None:
    trouble = _try_ip(f"netns add {namespace}")
    require(not trouble, f"the right to make network namespaces ({trouble})")
    stack.callback(_ip, f"netns del {namespace}")
    for command in commands:
        _ip(command)


def _ip(arguments: str) -> None:
    trouble = _try_ip(arguments)
    assert not trouble, f"ip {arguments}: {trouble}"


def _try_ip(arguments: str) -> str:
    done = subprocess.run(["ip", *arguments.split()], capture_output=True, text=True, check=False)
    return done.stderr.strip() or f"exit code {done.returncode}" if done.returncode else ""


@contextmanager
def _namespace(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class Avahi:
    """An avahi daemon inside a host, with a message bus and a /run of its own."""

    def __init__(self, host: Host, config: str = "") -> None:
        self._host = host
        self._config = config

    def __enter__(self) -> "Avahi":
        require_tools("dbus-daemon", "avahi-daemon", "avahi-browse", "unshare")
        self._stack = ExitStack()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        config = folder / "bus.conf"
        config.write_text(_BUS.format(path=folder / "bus"))
        settings = folder / "avahi.conf"
        settings.write_text(self._config)
        self._environment = os.environ | {
            "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={folder / 'bus'}",
            "LC_ALL": "C.UTF-8",
        }
        try:
            self._start("unix:", "dbus-daemon", "--nofork", "--print-address",
                        f"--config-file={config}")  # fmt: skip
            self._start("Server startup complete", "unshare", "--mount", "sh", "-c",
                        "mount -t tmpfs tmpfs /run && mkdir /run/avahi-daemon && exec avahi-daemon"
                        f" --no-drop-root --no-chroot --no-rlimits --file={settings}")  # fmt: skip
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def browse(self) -> list[dict[str, str]]:
        """All that ``avahi-browse -arpt`` resolves: name, type, host, address, port, txt."""
        columns = ("flag", "interface", "protocol", "name", "type", "domain", "host", "address",
                   "port", "txt")  # fmt: skip
        output = self._host.run("avahi-browse", "-arpt", env=self._environment)
        rows = [line.split(";", len(columns) - 1) for line in output.splitlines()]
        return [dict(zip(columns, row, strict=True)) for row in rows if row[0] == "="]

    @contextmanager
    def publish(self, name: str, service_type: str, port: int) -> Iterator[None]:
        """A service of avahi's own, without TXT entries."""
        with ExitStack() as stack:
            outer, self._stack = self._stack, stack
            try:
                self._start("Established", "avahi-publish", "-s", name, service_type, str(port))
            finally:
                self._stack = outer
            yield

    def _start(self, sign: str, *argv: str) -> None:
        """Start a daemon and return when it has printed ``sign``; it ends with us."""
        process = self._host.popen(
            *argv, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._stack.callback(_end, process)
        heard: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            heard.append(line)
            if sign in line:
                return
        require(False, f"{argv[0]} able to run here: {''.join(heard).strip()}")


class Stranger:
    """A node of somebody else's: it says by multicast what it is told to, and answers nothing."""

    def __init__(self, host: Host, name: str, *types: str) -> None:
        self._name = name
        self._types = types
        self._server = f"{name}-host.local."
        with host.entered():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._socket.bind((host.address, 5353))

    def __enter__(self) -> "Stranger":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def say(self, *addresses: str, port: int = 50051, ttl: int = 120, times: int = 1,
            server: str = "", **txt: str) -> None:  # fmt: skip
        """Announce; with a ``ttl`` (seconds) of 0 that is a goodbye."""
        message = DNSOutgoing(0x8400)  # an authoritative answer, RFC 6762 §18
        for type_ in self._types:
            info = ServiceInfo(
                type_, f"{self._name}.{type_}", port=port, server=server or self._server,
                parsed_addresses=list(addresses), properties=txt, host_ttl=ttl,
                other_ttl=ttl and 4500,
            )  # fmt: skip
            for record in (info.dns_pointer(), info.dns_service(), info.dns_text(),
                           *info.dns_addresses()):  # fmt: skip
                message.add_answer_at_time(record, 0)
        for _ in range(times):
            for packet in message.packets():
                self._socket.sendto(packet, ("224.0.0.251", 5353))


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def wait_for(condition: Callable[[], object], timeout: float = 5) -> None:
    """Wait until ``condition`` holds, for what nothing but asking can tell."""
    pause = threading.Event()
    for _ in range(int(timeout / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError(f"it didn't come within {timeout} s")
