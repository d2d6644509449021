"""Two network namespaces joined by one cable, servers in a cgroup of their own, and exact counters.

The servers' namespace holds a permanent neighbour entry for every phone, so that a phone's address belongs to its MAC;
the phones' namespace owns their whole network and takes frames for any of their MACs.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import tempfile
import time

SERVER = "10.64.0.1"
CPUACCT = pathlib.Path("/sys/fs/cgroup/cpuacct")
UNIFIED = pathlib.Path("/sys/fs/cgroup")
# A server that has bound its port may still be reading files.
SETTLE_SECONDS = 0.15


def tool(*command, **options):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, **options).stdout


def inside(namespace, command, cpu=None):
    """The command, to be run inside a namespace and on one core (None: on any)."""
    pinned = [] if cpu is None else ["taskset", "-c", str(cpu)]
    return ["nsenter", f"--net=/run/netns/{namespace}", *pinned, *command]


def build(phones):
    """Makes the network; `phones` are lines of MAC and address."""
    tool("mount", "-t", "tmpfs", "tmpfs", "/run")
    os.mkdir("/run/netns")
    for name in ("servers", "phones"):
        tool("ip", "netns", "add", name)
        tool("ip", "-n", name, "link", "set", "lo", "up")
    tool("ip", "-n", "servers", "link", "add", "vs0", "type", "veth", "peer", "name", "vc0", "netns", "phones")
    tool("ip", "-n", "servers", "address", "add", f"{SERVER}/12", "broadcast", "+", "dev", "vs0")
    tool("ip", "-n", "servers", "link", "set", "vs0", "up")
    tool("ip", "-n", "phones", "address", "add", "10.64.0.2/12", "dev", "vc0")
    tool("ip", "-n", "phones", "link", "set", "vc0", "up")
    tool("ip", "-n", "phones", "route", "add", "local", "10.65.0.0/16", "dev", "lo")
    rules = "table netdev phones { chain any { type filter hook ingress device vc0 priority 0; meta pkttype set host; }; }"
    tool(*inside("phones", ["nft", rules]))
    entries = "".join(
        f"neigh replace {address} lladdr {':'.join(mac[i : i + 2] for i in range(0, 12, 2))} dev vs0 nud permanent\n"
        for mac, address in (line.split() for line in phones.splitlines())
    )
    subprocess.run(["ip", "-n", "servers", "-batch", "-"], input=entries, text=True, check=True)


def phones_interface():
    """The index of the phones' end of the cable."""
    return tool(*inside("phones", ["ip", "-o", "link", "show", "vc0"])).split(":")[0]


class Group:
    """A server's processes: started, stopped by their ids, and how much processor they have used.

    A cgroup counts exactly, in nanoseconds; where this user may make none, /proc counts in ticks of 10 ms.
    """

    def __init__(self, name):
        root = CPUACCT if CPUACCT.is_dir() else UNIFIED
        self.started = []
        try:
            self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"offhook-bench-{name}-", dir=root))
        except OSError:
            self.folder = None

    def start(self, command, **options):
        join = f'echo 0 > {self.folder}/cgroup.procs && ' if self.folder else ""
        process = subprocess.Popen(["sh", "-c", join + 'exec "$@"', "sh", *command], stdin=subprocess.DEVNULL, **options)
        self.started.append(process)
        return process

    def seconds(self):
        if self.folder is None:
            return sum(process_seconds(process.pid) for process in self.started)
        usage = self.folder / "cpuacct.usage"
        if usage.exists():
            return int(usage.read_text()) / 1e9
        return int((self.folder / "cpu.stat").read_text().split()[1]) / 1e6

    def members(self):
        if self.folder is None:
            return [str(process.pid) for process in self.started if process.poll() is None]
        return (self.folder / "cgroup.procs").read_text().split()

    def stop(self):
        """Ends every member, by its process id, asking first; nothing is left to do the second time."""
        for sign, wait in ((signal.SIGTERM, 6.0), (signal.SIGKILL, 2.0)):
            deadline, told = time.monotonic() + wait, set()
            while (pids := set(self.members())) and time.monotonic() < deadline:
                for pid in pids - told:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), sign)
                told |= pids
                for process in self.started:
                    process.poll()
                time.sleep(0.02)
        if self.folder is not None:
            with contextlib.suppress(OSError):
                self.folder.rmdir()
        self.started, self.folder = [], None


def process_seconds(pid):
    """What a process and its ended children have used."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def counters():
    """The servers' namespace's own: what its sockets lost."""
    values = {}
    for table in ("snmp", "netstat"):
        lines = tool(*inside("servers", ["cat", f"/proc/thread-self/net/{table}"])).splitlines()
        for names, numbers in zip(lines[::2], lines[1::2]):
            head, *names = names.split()
            values.update({head + name: int(number) for name, number in zip(names, numbers.split()[1:])})
    return {
        "rcvbuf_errors": values.get("Udp:RcvbufErrors", 0),
        "listen_overflows": values.get("TcpExt:ListenOverflows", 0),
    }


def bound(protocol, port):
    text = "".join(
        tool(*inside("servers", ["cat", f"/proc/thread-self/net/{protocol}{six}"])) for six in ("", "6")
    )
    state = " 0A " if protocol == "tcp" else " 07 "
    lines = (line.split() for line in text.splitlines() if state in line)
    return any(fields[1].endswith(f":{port:04X}") for fields in lines)


def await_ports(ports, processes):
    deadline = time.monotonic() + 20
    while not all(bound(*port) for port in ports):
        for process in processes:
            if process.poll() not in (None, 0):
                raise RuntimeError(f"a server ended with {process.returncode}: {process.args[4:]}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"not bound after 20 s: {ports}")
        time.sleep(0.01)
    time.sleep(SETTLE_SECONDS)


def busy_seconds():
    """Processor time of the whole machine that was not idle, and what was stolen from it."""
    fields = [int(field) for field in open("/proc/stat", encoding="ascii").readline().split()[1:]]
    ticks = os.sysconf("SC_CLK_TCK")
    return (sum(fields[:8]) - fields[3] - fields[4] - fields[7]) / ticks, fields[7] / ticks
