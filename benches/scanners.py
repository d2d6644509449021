"""Programs that look who is on a link, and a link with forty hosts on it: rows N."""

import json
import os
import subprocess
import time
from dataclasses import dataclass

import lab

NETWORK = "10.96.0.0/16"
OWN = "10.96.0.1"
# 20 in the first /24, 30 in the first /22, 40 in the /16.
HOSTS = (
    [f"10.96.0.{n * 12 + 10}" for n in range(20)]
    + [f"10.96.{1 + n % 3}.{n * 20 + 7}" for n in range(10)]
    + [f"10.96.{20 + n * 23}.{n * 25 + 3}" for n in range(10)]
)
# What arp-scan counts for one question on the wire.
FRAME_BITS = 64 * 8


@dataclass
class Scan:
    """What is asked, and how fast."""

    network: str
    bits_per_s: int

    @property
    def hosts(self):
        size = 1 << (32 - int(self.network.split("/")[1]))
        first = number(self.network.split("/")[0])
        return {host for host in HOSTS if number(host) - first < size}


def number(address):
    octets = [int(octet) for octet in address.split(".")]
    return octets[0] << 24 | octets[1] << 16 | octets[2] << 8 | octets[3]


class Scanner:
    """A peer: its command for a scan, and who it says is there."""

    def __init__(self, name, command, field):
        self.name, self.command, self.field = name, command, field

    def found(self, text):
        lines = (line.split() for line in text.splitlines())
        fields = (line[self.field] for line in lines if len(line) > self.field)
        return {field for field in fields if field.count(".") == 3 and field != OWN}


ARP_SCAN = Scanner(
    "arp-scan",
    lambda scan: ["arp-scan", "-q", "-I", "vn0", "-B", str(scan.bits_per_s), "-r", "2", scan.network],
    0,
)
NMAP = Scanner(
    "nmap",
    lambda scan: ["nmap", "-sn", "-PR", "-n", "-oG", "-", *(["-T5", "--min-rate", "20000"] if scan.bits_per_s > 10_000_000 else []), scan.network],
    1,
)
FPING = Scanner("fping", lambda scan: ["fping", "-a", "-q", "-r1", "-i1", "-t200", "-g", scan.network], 0)


class Product:
    """`offhook scan` with a database of its own; what it found before is not gone on with."""

    name = "offhook"

    def __init__(self, binary, folder):
        self.binary, self.config = binary, folder / "offhook.toml"
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(f'[agent]\ndata_dir = "{folder}/data"\ninterfaces = ["vn0"]\n')

    def command(self, scan):
        rate = str(scan.bits_per_s // FRAME_BITS)
        return [self.binary, "--config", str(self.config), "--json", "scan", "--yes", "--fresh", "--all", "--rate", rate, scan.network]

    def found(self, text):
        return {row["address"] for row in json.loads(text)["found"]}


def plug():
    """One cable from the servers' namespace to a host that has all of the addresses."""
    lab.tool("ip", "netns", "add", "hosts")
    lab.tool("ip", "-n", "servers", "link", "add", "vn0", "type", "veth", "peer", "name", "hn0", "netns", "hosts")
    lab.tool("ip", "-n", "servers", "address", "add", f"{OWN}/16", "dev", "vn0")
    batch = "".join(f"address add {host}/16 dev hn0\n" for host in HOSTS)
    subprocess.run(["ip", "-n", "hosts", "-batch", "-"], input=batch, text=True, check=True)
    lab.tool(*lab.inside("hosts", ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore"]))
    for namespace, interface in (("servers", "vn0"), ("hosts", "hn0")):
        lab.tool("ip", "-n", namespace, "link", "set", interface, "up")


def run(scan, scanner):
    """One scan from an empty neighbour table: how long it took, whom it found and missed, what the table holds then."""
    for namespace, interface in (("servers", "vn0"), ("hosts", "hn0")):
        lab.tool("ip", "-n", namespace, "neigh", "flush", "dev", interface)
    busy, stolen = lab.busy_seconds()
    before, begun = os.times(), time.monotonic()
    command = lab.inside("servers", scanner.command(scan))
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False)
    wall, after = time.monotonic() - begun, os.times()
    # fping ends with 1 when somebody is silent.
    if done.returncode not in (0, 1):
        raise SystemExit(f"{scanner.name} failed\n{done.stderr[-3000:]}")
    found = scanner.found(done.stdout)
    own = after.children_user + after.children_system - before.children_user - before.children_system
    busy_after, stolen_after = lab.busy_seconds()
    table = lab.tool("ip", "-n", "servers", "neigh", "show", "dev", "vn0", "nud", "all")
    return {
        "done": len(found & scan.hosts), "lost": len(scan.hosts - found), "refused": len(found - scan.hosts), "last_s": wall,
        "wall_s": wall, "client_cpu_s": own, "neighbours": len(table.splitlines()),
        "foreign": max(0.0, busy_after - busy - own) / max(wall, 0.2) / os.cpu_count(),
        "stolen": (stolen_after - stolen) / max(wall, 0.2),
    }
