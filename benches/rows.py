"""The rows of the comparison as data: what is done, by whom, what is measured, and the ratio to reach."""

from dataclasses import dataclass, field

import lab
from scanners import ARP_SCAN, FPING, NMAP, SVMAP, Scan
from servers import ATFTPD, DHCPD, DNSMASQ, DNSMASQ_DHCP, FLOOR, KAMAILIO, KEA, NGINX, RELAY, TFTPD_HPA, Stack


@dataclass
class Goal:
    """`measure` of the runs, compared with `peers`; `more` is better for rates, else less is. None: no goal, to be seen."""

    measure: str
    peers: dict
    more: bool = False


@dataclass
class Row:
    key: str
    title: str
    peers: list
    load: callable
    goals: list
    # Counts that must be zero in every run of the product.
    zero: list = field(default_factory=list)
    client_cpu: int | None = 0
    server_cpu: int | None = 1
    files: list = field(default_factory=list)
    wrk: bool = False
    # The peer's file gets the size that the product's has.
    same_size: bool = False
    # The product gives leases; data lies on a disk, not in memory, because a lease must be durable before it is given.
    dhcp: bool = False
    # The phones have been given their passwords before.
    delivered: bool = False
    # The load gets `--rate`; what is looked for is the highest at which less than one phone in a hundred is lost.
    rates: tuple | None = None
    # Who is on a link is looked for; there is no server and no load.
    scan: Scan | None = None


def sip(phones, *more):
    return lambda server, run: [
        "sip", "--server", server.sip, "--interface", run.interface, "--phones", str(phones), *more,
    ]


def tftp(name, phones, *more):
    return lambda server, run: [
        "tftp", "--server", f"{lab.SERVER}:69", "--file", server.file_prefix + name, "--compare", f"{run.files}/{name}",
        "--phones", str(phones), *more,
    ]


def storm(phones, *more):
    def load(server, run):
        get = "{url}y000000000108.cfg,{url}{mac}.cfg,{base}" + server.file_prefix + "8k.bin"
        return ["storm", "--server", server.sip, "--interface", run.interface, "--phones", str(phones), "--get", get, *more]

    return load


def dhcp(phones, *more):
    """At most 10,000 phones: so many known ones offhook answers at once, then 5,000 answers a second."""
    return lambda server, run: ["dhcp", "--server", f"{lab.SERVER}:67", "--relay", RELAY, "--phones", str(phones), *more]


BEHIND_RELAY = ["--dhcp", f"{lab.SERVER}:67", "--relay", RELAY]
STORM_COUNTS = ["lost", "late", "resent", "refused", "rcvbuf_errors", "listen_overflows"]


def rendered(name, phones, count):
    return lambda server, run: [
        "http", "--server", server.http, "--phones", str(phones), "--paths", run.paths(server, name), "--connections", "64",
        "--repeat", "100", "--count", str(count),
    ]


ROWS = [
    Row("S1", "PnP exchanges, 50 in flight, 20,000 phones", [KAMAILIO], sip(20_000, "--inflight", "50"),
        [Goal("per_s", {"kamailio": 3.5}, more=True), Goal("cpu_us", {"kamailio": 4})], zero=["lost", "resent", "rcvbuf_errors"]),
    Row("S2", "5,000 SUBSCRIBEs at once", [KAMAILIO], sip(5_000, "--burst"),
        [Goal("last_s", {"kamailio": 1})], zero=["lost", "late", "resent", "rcvbuf_errors"]),
    Row("T2", "20 MB, blocks of 1428, window 16, client and server on two cores", [ATFTPD],
        tftp("20m.bin", 1, "--window", "16", "--count", "8"),
        [Goal("mbit_s", {"atftpd": 1.7}, more=True), Goal("cpu_us", {"atftpd": 2.2})], zero=["lost"], files=["20m.bin"]),
    Row("T4", "8 KB, 50 clients, 5,000 transfers", [DNSMASQ, ATFTPD, TFTPD_HPA],
        tftp("8k.bin", 50, "--clients", "50", "--count", "5000"),
        [Goal("cpu_us", {"dnsmasq": 1.05, "atftpd": 2.3, "tftpd-hpa": 8})], zero=["lost", "rcvbuf_errors"], files=["8k.bin"]),
    Row("T5", "1,000 read requests at once, 8 KB: the last phone", [DNSMASQ, ATFTPD, TFTPD_HPA],
        tftp("8k.bin", 1000, "--clients", "1000", "--count", "1000"),
        [Goal("last_s", {"dnsmasq": 8, "atftpd": 8, "tftpd-hpa": 8})], zero=["lost", "resent", "rcvbuf_errors"], files=["8k.bin"]),
    Row("H1", "8 KB static file, 64 kept connections, wrk", [NGINX],
        lambda server, run: f"http://{server.http}/{server.file_prefix}8k.bin",
        [Goal("per_s", {"nginx": 1.2}, more=True), Goal("cpu_us", {"nginx": 1.3})],
        client_cpu=None, server_cpu=None, files=["8k.bin"], wrk=True),
    Row("H6", "a model's rendered file, kept, no passwords in it; nginx: a file of that size", [NGINX],
        rendered("y000000000108.cfg", 1_000, 100_000),
        [Goal("cpu_us", {"nginx": 1.0}), Goal("per_s", {"nginx": 1.0}, more=True)], zero=["refused"],
        client_cpu=None, server_cpu=None, same_size=True),
    Row("H6s", "each phone's own rendered file: MAC asked of the kernel, passwords put in, per GET; nginx: a file of that size", [NGINX],
        rendered("{mac}.cfg", 1_000, 100_000),
        [Goal("cpu_us", {"nginx": 1.0}), Goal("per_s", {"nginx": 1.0}, more=True)], zero=["refused"],
        client_cpu=None, server_cpu=None, same_size=True),
    Row("D1", "DHCP through a relay: the highest rate of new leases at which less than 1 % is lost within a second", [KEA], dhcp(10_000),
        [Goal("per_s", {"kea": 4}, more=True), Goal("cpu_us", {"kea": 3})], dhcp=True, rates=(1_000, 128_000)),
    Row("D2", "10,000 new leases, 50 in flight; offhook's are durable (fdatasync), Kea's are not", [KEA, FLOOR], dhcp(10_000),
        [Goal("per_s", {"kea": 2.5, "floor": None}, more=True), Goal("cpu_us", {"kea": 2.5, "floor": None})], zero=["lost", "resent", "refused", "rcvbuf_errors"], dhcp=True),
    Row("D3", "the first 1,000 leases, 50 in flight", [DNSMASQ_DHCP, DHCPD], dhcp(1_000),
        [Goal("per_s", {"dnsmasq": 30, "dhcpd": 25}, more=True)], zero=["lost", "resent", "refused", "rcvbuf_errors"], dhcp=True),
    Row("D4", "10,000 new leases, 10,000 a second: from DISCOVER to ACK", [KEA, FLOOR], dhcp(10_000, "--rate", "10000"),
        [Goal("p99_ms", {"kea": 1.0, "floor": None})], zero=["lost", "refused", "rcvbuf_errors"], dhcp=True),
    Row("B1", "boot storm: 1,000 phones, DHCP, PnP and three GETs each on a new connection", [Stack(KEA, KAMAILIO, NGINX)],
        storm(1_000, *BEHIND_RELAY), [Goal("last_s", {"kea + kamailio + nginx": 10})], zero=STORM_COUNTS,
        client_cpu=None, server_cpu=None, files=["8k.bin"], dhcp=True, delivered=True),
    Row("B2", "boot storm: 10,000 phones, DHCP, PnP and three GETs each on a new connection", [Stack(KEA, KAMAILIO, NGINX)],
        storm(10_000, *BEHIND_RELAY), [Goal("last_s", {"kea + kamailio + nginx": 2})], zero=STORM_COUNTS,
        client_cpu=None, server_cpu=None, files=["8k.bin"], dhcp=True, delivered=True),
    Row("B3", "boot storm: 10,000 phones, PnP and three GETs each on a new connection", [Stack(KAMAILIO, NGINX)], storm(10_000),
        [Goal("last_s", {"kamailio + nginx": 10})], zero=STORM_COUNTS,
        client_cpu=None, server_cpu=None, files=["8k.bin"], delivered=True),
    Row("N1", "who is in a /24: 20 hosts, ARP at 1 Mbit/s (nmap and fping at their own pace)", [ARP_SCAN, NMAP, FPING], None,
        [Goal("last_s", {"arp-scan": 2, "nmap": 2.5, "fping": 1})], zero=["lost", "refused"], scan=Scan("10.96.0.0/24", 1_000_000)),
    Row("N2", "who is in a /16: 40 hosts, ARP at 100 Mbit/s", [ARP_SCAN, NMAP], None,
        [Goal("last_s", {"arp-scan": 2, "nmap": 12})], zero=["lost", "refused"], scan=Scan("10.96.0.0/16", 100_000_000)),
    Row("N3", "which phones are in a /24: 10 of 20 hosts answer OPTIONS, ARP at 1 Mbit/s (svmap at its own pace)", [SVMAP], None,
        [Goal("last_s", {"svmap": 10})], zero=["lost", "refused"], scan=Scan("10.96.0.0/24", 1_000_000, sip=True)),
]
