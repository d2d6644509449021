"""How each server is started: the peers as their manuals say for load, the product as `offhook run` with one file."""

import json
import os
import pathlib
import shutil
import subprocess
import time

import lab

HERE = pathlib.Path(__file__).parent
REPOSITORY = HERE.parent
# The phones' relay, and what the servers give: enough addresses for every phone.
RELAY = "10.64.0.2"
NETWORK = "10.64.0.0/12"
POOL = ("10.66.0.1", "10.67.255.254")
OPTION_66 = f"http://{lab.SERVER}/"


class Peer:
    """One server: a command, the ports it must have bound, and where its files stand."""

    own_path = "/d/"

    def __init__(self, name, ports, command, file_prefix="", sip=None, http=None):
        self.name, self.ports, self.command = name, ports, command
        self.file_prefix, self.sip, self.http = file_prefix, sip or f"{lab.SERVER}:5060", http or f"{lab.SERVER}:8480"

    def start(self, folder, cpu):
        return [(self.command(folder), cpu)]


def configured(name, folder):
    """A configuration of benches/peers with its folders filled in."""
    text = (HERE / "peers" / name).read_text()
    target = pathlib.Path(folder) / name
    target.write_text(text.replace("@FOLDER@", str(folder)).replace("@FILES@", str(pathlib.Path(folder) / "files")))
    return str(target)


def files(folder):
    return str(pathlib.Path(folder) / "files")


KAMAILIO = Peer(
    "kamailio",
    [("udp", 5060)],
    lambda folder: ["kamailio", "-DD", "-E", "-m", "4096", "-M", "64", "-w", str(folder), "-Y", str(folder),
                    "-P", f"{folder}/kamailio.pid", "-f", configured("kamailio.cfg", folder)],
)
NGINX = Peer(
    "nginx",
    [("tcp", 8480)],
    lambda folder: ["nginx", "-p", str(folder), "-c", configured("nginx.conf", folder)],
)
ATFTPD = Peer(
    "atftpd",
    [("udp", 69)],
    lambda folder: [atftpd(), "--daemon", "--no-fork", "--bind-address", lab.SERVER, "--port", "69", "--maxthread", "2000",
                    "--user", "root", "--group", "root", "--verbose=0", "--logfile", f"{folder}/atftpd.log", files(folder)],
)
DNSMASQ = Peer(
    "dnsmasq",
    [("udp", 69)],
    lambda folder: ["dnsmasq", "-k", "--conf-file=/dev/null", "--port=0", "--interface=vs0", "--bind-interfaces", "--enable-tftp",
                    f"--tftp-root={files(folder)}", "--tftp-max=5000", "--user=root", f"--pid-file={folder}/dnsmasq.pid"],
)
TFTPD_HPA = Peer(
    "tftpd-hpa",
    [("udp", 69)],
    lambda folder: ["in.tftpd", "-L", "-u", "root", "-a", f"{lab.SERVER}:69", "-s", files(folder)],
)


def kea(folder):
    """As its manual says for relays: UDP sockets, leases in memory and in a file that is only appended to."""
    options = [{"name": "routers", "data": lab.SERVER}, {"name": "tftp-server-name", "data": OPTION_66}]
    config = {
        "interfaces-config": {"interfaces": ["vs0"], "dhcp-socket-type": "udp"},
        "lease-database": {"type": "memfile", "persist": True, "name": f"{folder}/leases.csv", "lfc-interval": 0},
        "valid-lifetime": 3600,
        "subnet4": [{"id": 1, "subnet": NETWORK, "pools": [{"pool": " - ".join(POOL)}], "option-data": options}],
        "loggers": [{"name": "kea-dhcp4", "severity": "WARN", "output_options": [{"output": f"{folder}/kea.log"}]}],
    }
    (pathlib.Path(folder) / "kea.json").write_text(json.dumps({"Dhcp4": config}))
    places = [f"KEA_PIDFILE_DIR={folder}", f"KEA_LOCKFILE_DIR={folder}"]
    return ["env", *places, "kea-dhcp4", "-c", f"{folder}/kea.json"]


def dhcpd(folder):
    """Without the ping before each offer, with which it gives 20 leases a second."""
    folder = pathlib.Path(folder)
    (folder / "dhcpd.conf").write_text(
        "ping-check false; default-lease-time 3600; max-lease-time 3600; authoritative;\n"
        f"subnet 10.64.0.0 netmask 255.240.0.0 {{ range {' '.join(POOL)}; option routers {lab.SERVER}; "
        f'option tftp-server-name "{OPTION_66}"; }}\n'
    )
    (folder / "leases").touch()
    return ["dhcpd", "-4", "-f", "-q", "-cf", f"{folder}/dhcpd.conf", "-lf", f"{folder}/leases", "-pf", f"{folder}/pid", "vs0"]


KEA = Peer("kea", [("udp", 67)], kea)
DHCPD = Peer("dhcpd", [("udp", 67)], dhcpd)
# Without its ping, with which it gives four leases a second.
DNSMASQ_DHCP = Peer(
    "dnsmasq",
    [("udp", 67)],
    lambda folder: ["dnsmasq", "-k", "--conf-file=/dev/null", "--port=0", "--interface=vs0", "--user=root", "--no-ping", "--quiet-dhcp",
                    f"--dhcp-range={POOL[0]},{POOL[1]},255.240.0.0,1h", "--dhcp-lease-max=2000000", "--dhcp-authoritative",
                    f"--dhcp-option=66,{OPTION_66}", f"--dhcp-leasefile={folder}/leases", f"--pid-file={folder}/dnsmasq.pid"],
)
# No server at all, but what the same four packets and one fdatasync for all that wait cost any: benches/load/floor.rs.
FLOOR = Peer(
    "floor",
    [("udp", 67)],
    lambda folder: [os.environ["OFFHOOK_BENCH_LOAD"], "floor", "--listen", f"{lab.SERVER}:67", "--first", POOL[0],
                    "--journal", f"{folder}/leases"],
)


def atftpd():
    """Its package and tftpd-hpa's exclude each other, so the program is taken out of the package."""
    found = shutil.which("atftpd", path="/usr/sbin:/usr/bin")
    unpacked = REPOSITORY / "target/peers/usr/sbin/atftpd"
    if found or unpacked.exists():
        return found or str(unpacked)
    folder = REPOSITORY / "target/peers"
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", "-q", "atftpd"], cwd=folder, check=True, capture_output=True)
    package = next(folder.glob("atftpd_*.deb"))
    subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True)
    return str(unpacked)


class Product:
    """`offhook run` over an inventory that was made once; every run gets a copy of it."""

    name = "offhook"
    own_path = "/"
    sip = "224.0.1.75:5060"
    http = f"{lab.SERVER}:8480"
    file_prefix = "firmware/yealink/"
    # Whether it gives leases in the next run. The pool is behind a relay, so no address is asked for by ARP.
    gives_leases = False
    # Whether its phones have their passwords in the next run.
    is_delivered = False
    LEASES = f"""
[dhcp]
mode = "server"
interfaces = ["vs0"]
relays = ["{RELAY}"]

[[dhcp.pool]]
interface = "vs0"
relay = "{RELAY}"
network = "{NETWORK}"
range = "{POOL[0]}-{POOL[1]}"
router = "{lab.SERVER}"
dns = []
lease = "1h"
"""

    @property
    def ports(self):
        # Port 67 is held where leases are given.
        return [("udp", 5060), ("udp", 5065), ("udp", 69), ("tcp", 8480), *([("udp", 67)] if self.gives_leases else [])]

    def __init__(self, binary, inventory):
        self.binary, self.inventory = binary, pathlib.Path(inventory)
        self.delivered = self.inventory.with_name(f"{self.inventory.name}-delivered")

    def prepare(self, phones, files_folder):
        """Imports the phones once: each has one account."""
        data = self.inventory / "data"
        shutil.rmtree(self.inventory, ignore_errors=True)
        (data / "files/firmware").mkdir(parents=True)
        shutil.copytree(files_folder, data / "files/firmware/yealink")
        rows = "".join(
            f"{mac},Yealink,T46U,1,{number},pw-{mac}\n"
            for number, mac in enumerate((line.split()[0] for line in phones.splitlines()), start=1000)
        )
        (self.inventory / "accounts.csv").write_text("mac,vendor,model,line,username,password\n" + rows)
        (self.inventory / "offhook.toml").write_text(
            f'[agent]\ndata_dir = "{data}"\n[adopt]\npolicy = "known"\n[sip]\nregistrar = "{lab.SERVER}"\n'
            '[https]\nlisten = "off"\n[admin]\nlisten = "off"\n'
        )
        begun = time.monotonic()
        subprocess.run([*self.offhook(self.inventory), "import", str(self.inventory / "accounts.csv")],
                       check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - begun

    def adopt(self, folder):
        """Takes over the data of a run that has ended."""
        shutil.rmtree(self.inventory / "data")
        shutil.move(folder / "inventory/data", self.inventory / "data")

    def keep_delivered(self, folder):
        """Keeps the data of a run in which every phone was given its passwords, for the rows of phones that have them."""
        shutil.copytree(self.inventory, self.delivered)
        shutil.rmtree(self.delivered / "data")
        shutil.move(folder / "inventory/data", self.delivered / "data")
        config = self.delivered / "offhook.toml"
        config.write_text(config.read_text().replace(str(self.inventory), str(self.delivered)))
        macs = [line.split(",", 1)[0] for line in (self.inventory / "accounts.csv").read_text().splitlines()[1:10_001]]
        subprocess.run([*self.offhook(self.delivered), "device", "lock", *macs], check=True, stdout=subprocess.DEVNULL)

    def offhook(self, inventory):
        return [self.binary, "--config", f"{inventory}/offhook.toml"]

    def start(self, folder, cpu):
        copy = pathlib.Path(folder) / "inventory"
        source = self.delivered if self.is_delivered else self.inventory
        shutil.copytree(source, copy)
        text = (copy / "offhook.toml").read_text()
        text = text.replace(str(source), str(copy)) + (self.LEASES if self.gives_leases else "")
        (copy / "offhook.toml").write_text(text)
        return [([*self.offhook(copy), "run"], cpu)]


class Stack:
    """Several peers that together do the product's work."""

    def __init__(self, *peers):
        self.peers = peers
        self.name = " + ".join(peer.name for peer in peers)
        self.ports = [port for peer in peers for port in peer.ports]
        self.sip, self.http, self.file_prefix = peers[0].sip, peers[-1].http, ""

    def start(self, folder, cpu):
        return [command for peer in self.peers for command in peer.start(folder, cpu)]
