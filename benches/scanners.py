"""Programs that look who is on a link, and a link with forty hosts on it: rows N."""

import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
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
# Those that are phones, where phones are looked for.
PHONES = HOSTS[::2]
AGENT = "Yealink SIP-T46U 108.86.0.20"
# What arp-scan counts for one question on the wire.
FRAME_BITS = 64 * 8


@dataclass
class Scan:
    """What is asked, and how fast."""

    network: str
    bits_per_s: int
    # Phones are looked for, not hosts: every second host answers OPTIONS.
    sip: bool = False

    @property
    def hosts(self):
        size = 1 << (32 - int(self.network.split("/")[1]))
        first = number(self.network.split("/")[0])
        return {host for host in (PHONES if self.sip else HOSTS) if number(host) - first < size}


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


class Svmap:
    """SIPVicious' svmap: OPTIONS to every address, at its own pace (pip install sipvicious)."""

    name = "svmap"

    def command(self, scan):
        # Who does not have it is told, not measured with nobody found.
        program = shutil.which("sipvicious_svmap")
        if program is None:
            raise SystemExit("row N3 needs sipvicious_svmap: pip install sipvicious")
        return [program, "-b", OWN, "-x", OWN, scan.network]

    def found(self, text):
        return set(re.findall(r"(\d+\.\d+\.\d+\.\d+):5060", text))


SVMAP = Svmap()


class Product:
    """`offhook scan` with a database of its own; what it found before is not gone on with."""

    name = "offhook"

    def __init__(self, binary, folder):
        self.binary, self.config = binary, folder / "offhook.toml"
        self.phones_only = False
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(f'[agent]\ndata_dir = "{folder}/data"\ninterfaces = ["vn0"]\n')

    def command(self, scan):
        self.phones_only = scan.sip
        rate = str(scan.bits_per_s // FRAME_BITS)
        return [self.binary, "--config", str(self.config), "--json", "scan", "--yes", "--fresh", "--all", "--rate", rate, scan.network]

    def found(self, text):
        return {row["address"] for row in json.loads(text)["found"] if not self.phones_only or row["kind"] == "phone"}


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


def answering():
    """The phones of the link, as a process that answers OPTIONS on each one's own address."""
    process = subprocess.Popen(lab.inside("hosts", [sys.executable, __file__]), stdout=subprocess.PIPE, text=True)
    if process.stdout.readline() != "ready\n":
        raise SystemExit("the phones do not answer")
    return process


def answer():
    """Answers OPTIONS as phones do, until it is ended."""
    sockets = []
    for host in PHONES:
        phone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        phone.bind((host, 5060))
        sockets.append(phone)
    print("ready", flush=True)
    while True:
        for phone in select.select(sockets, [], [])[0]:
            text, peer = phone.recvfrom(8192)
            lines = text.decode("latin-1").split("\r\n")
            if not lines[0].startswith("OPTIONS "):
                continue
            names = ("via:", "from:", "to:", "call-id:", "cseq:")
            kept = [line + (";tag=1" if line.lower().startswith("to:") else "") for line in lines if line.lower().startswith(names)]
            reply = ["SIP/2.0 200 OK", *kept, f"User-Agent: {AGENT}", "Content-Length: 0", "", ""]
            phone.sendto("\r\n".join(reply).encode("latin-1"), peer)


def run(scan, scanner):
    """One scan from an empty neighbour table: how long it took, whom it found and missed, what the table holds then."""
    for namespace, interface in (("servers", "vn0"), ("hosts", "hn0")):
        lab.tool("ip", "-n", namespace, "neigh", "flush", "dev", interface)
    busy, stolen = lab.busy_seconds()
    command = lab.inside("servers", scanner.command(scan))
    phones = answering() if scan.sip else None
    before, begun = os.times(), time.monotonic()
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False)
    wall, after = time.monotonic() - begun, os.times()
    if phones is not None:
        phones.terminate()
        phones.wait()
    # fping ends with 1 when somebody is silent, svmap with 30 when somebody answers.
    if done.returncode not in (0, 1, 30):
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


if __name__ == "__main__":
    answer()
