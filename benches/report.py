"""Ratios per pair, the table, and where they are kept between runs."""

import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent
KEPT = REPOSITORY / "target/benches"

UNITS = {"per_s": "/s", "cpu_us": "µs of server CPU each", "last_s": "s until the last", "mbit_s": "Mbit/s", "p99_ms": "ms (p99)"}
# Counted exactly in every run.
COUNTS = ["done", "lost", "late", "resent", "refused", "rcvbuf_errors", "listen_overflows"]
# The share of a goal that a ratio may lack on a shared machine.
SLACK = 0.85


def judge(row, runs):
    """Compares pair by pair; over one is better. `runs` holds, per peer, the pairs as measured."""
    goals = []
    for goal in row.goals:
        for peer, wanted in goal.peers.items():
            pairs = runs.get(peer, [])
            mine = [pair["offhook"][goal.measure] for pair in pairs if "offhook" in pair]
            theirs = [pair[peer][goal.measure] for pair in pairs]
            ratios = [(a / b if goal.more else b / a) for a, b in zip(mine, theirs) if a and b]
            quartile = statistics.quantiles(ratios, n=4, method="inclusive")[0] if len(ratios) > 1 else (ratios or [0])[0]
            goals.append({
                "measure": goal.measure, "peer": peer, "goal": wanted, "mine": median(mine), "theirs": median(theirs),
                "ratio": median(ratios), "quartile": quartile, "met": verdict(quartile, wanted),
            })
    counts = {}
    for name in {name for pairs in runs.values() for pair in pairs for name in pair}:
        own = [pair[name] for pairs in runs.values() for pair in pairs if name in pair]
        worst = {key: (min if key == "done" else max)(run.get(key, 0) for run in own) for key in COUNTS}
        worst["done"] = worst["done"] or min(run.get("count", 0) for run in own)
        foreign = [run["foreign"] for run in own]
        counts[name] = worst | {"foreign": statistics.median(foreign), "foreign_max": max(foreign), "runs": len(own)}
    for key in row.zero:
        worst = counts.get("offhook", {}).get(key)
        goals.append({"measure": key, "peer": "", "goal": 0, "mine": worst, "theirs": None, "ratio": None, "quartile": None,
                      "met": "yes" if worst == 0 else "NO"})
    return {"row": row.key, "title": row.title, "goals": goals, "counts": counts, "at": f"{datetime.datetime.now():%Y-%m-%d %H:%M}",
            "pairs": max((len(pairs) for pairs in runs.values()), default=0), "commit": commit(), "runs": runs}


def median(values):
    return statistics.median(values) if values else None


def verdict(quartile, goal):
    if goal is None:
        return "–"
    return "yes" if quartile >= goal else f"{SLACK:.0%}" if quartile >= goal * SLACK else "NO"


def keep(result):
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{result['row']}.json").write_text(json.dumps(result, indent=1))


def kept(keys):
    """What was measured last, row by row."""
    return [json.loads(path.read_text()) for key in keys if (path := KEPT / f"{key}.json").exists()]


def number(value):
    return "–" if value is None else f"{value:,.4g}" if value < 1e4 else f"{value:,.0f}"


def table(results):
    lines = ["| row | what | measure | peer | offhook | peer's | ratio | q25 | goal | met |", "|---|---|---|---|---|---|---|---|---|---|"]
    for result in results:
        for goal in result["goals"]:
            lines.append(
                f"| {result['row']} | {result['title']} | {UNITS.get(goal['measure'], goal['measure'])} | {goal['peer']} "
                f"| {number(goal['mine'])} | {number(goal['theirs'])} | {number(goal['ratio'])} | {number(goal['quartile'])} "
                f"| {'–' if goal['goal'] is None else goal['goal']} | {goal['met']} |"
            )
    heads = ["row", "server", "runs", *COUNTS, "foreign CPU: median", "most", "measured"]
    lines += ["", "## Counts, worst run", "", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for result in results:
        for name, counts in sorted(result["counts"].items()):
            cells = [result["row"], name, counts["runs"], *(counts[key] for key in COUNTS),
                     f"{counts['foreign']:.0%}", f"{counts['foreign_max']:.0%}", f"{result['at']}, {result['commit']}"]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def document(results, facts):
    """RESULTS.md: the table, what was found, and how it was measured."""
    head = [
        "# Beside the peers",
        "",
        f"Written by `benches/run`: {platform.machine()}, {os.cpu_count()} cores ({processor()}), Linux {platform.release()}; "
        + ("as root." if os.environ.get("OFFHOOK_BENCH_PRIVILEGED") == "1" else "as an ordinary user: socket buffers are clamped."),
        f"Versions: {', '.join(versions())}.",
        *facts,
        "",
        "A ratio over 1 means that offhook is better (its rate over the peer's; the peer's time or processor time over offhook's). It is",
        "the median over the pairs; `q25` is their lower quartile. Met: `yes` when q25 reaches the goal, `85%` when it reaches that share",
        "of it. Counts are the worst of all runs; those with the goal 0 must be 0 in every run.",
        "",
    ]
    notes = [(HERE / name).read_text().rstrip() for name in ("FINDINGS.md", "METHOD.md") if (HERE / name).exists()]
    return "\n".join(head) + "\n" + table(results) + "\n\n" + "\n\n".join(notes) + "\n"


def processor():
    models = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8") if line.startswith("model name")]
    return models[0] if models else "unknown processor"


def versions():
    packages = ["kea-dhcp4-server", "isc-dhcp-server", "kamailio", "nginx", "nginx-light", "atftpd", "dnsmasq-base", "tftpd-hpa", "wrk", "arp-scan", "nmap", "fping"]
    found = subprocess.run(["dpkg-query", "-W", "-f=${Package} ${Version}\n", *packages], text=True, capture_output=True).stdout
    names = [line for line in found.splitlines() if len(line.split()) == 2]
    for package in (REPOSITORY / "target/peers").glob("atftpd_*.deb"):
        names.append(f"atftpd {package.name.split('_')[1]}")
    return [f"offhook {commit()}", *names]


def commit():
    git = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(git, cwd=REPOSITORY, text=True, capture_output=True).stdout.strip()
