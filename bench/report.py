"""From samples to a table: medians, spread, and how farmgate compares."""

import json
import os
import statistics

BASELINE, SUBJECT = "nginx-tuned", "farmgate"


def result(options, machine, peers, rows, curves, samples, failures, absent, rounds, seconds):
    """Everything about a run, as it goes into the JSON file."""
    def lines(rows):
        return [
            {"key": row.key, "title": title_of(row, options), "unit": row.unit,
             **({"curve": row.curve, "at": row.at} if row.curve else {}),
             "cells": {name: cell(samples.get((row.key, name)), failures.get((row.key, name)),
                                  absent.get((row.key, name)))
                       for name, peer in peers.items() if peer["status"] == "measured"}}
            for row in rows]

    return {
        "mode": options["mode"],
        "finished": options["finished"],
        "rounds": rounds,
        "seconds": round(seconds),
        "machine": machine,
        "peers": peers,
        "curves": {key: {"title": curve.title, "along": curve.along} for key, curve in curves.items()},
        "rows": lines(row for row in rows if not row.curve),
        "growth": lines(row for row in rows if row.curve),
    }


def title_of(row, options):
    return row.title.replace("256 MiB", f"{options['large_mib']} MiB")


def cell(samples, failure, absent):
    """A row that failed once is failed: there is no figure for it. Nor is there one for what a peer does not do."""
    if absent:
        return {"absent": absent}
    if failure:
        return {"failed": failure}
    if not samples:
        return {"failed": "not measured: the time was up"}
    return {"median": statistics.median(samples), "min": min(samples), "max": max(samples), "samples": samples}


def ratio(row):
    """Median of farmgate against the baseline, round by round: what a noisy machine does to both cancels out."""
    ours, theirs = row["cells"].get(SUBJECT, {}), row["cells"].get(BASELINE, {})
    pairs = list(zip(ours.get("samples", []), theirs.get("samples", [])))
    return statistics.median(a / b for a, b in pairs) if pairs and all(b > 0 for _, b in pairs) else None


def markdown(run):
    names = [name for name, peer in run["peers"].items() if peer["status"] == "measured"]
    compared = SUBJECT in names and BASELINE in names
    heads = ["work", "unit", *names] + ([f"{SUBJECT} ÷ {BASELINE}"] if compared else [])
    head = ["| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * (len(heads) - 2)]
    lines, notes = [], []
    for number, row in enumerate(run["rows"] + run["growth"]):
        if number == 0 or number == len(run["rows"]):
            lines += [*([""] if lines else []), *head]
        fields = [row["title"], row["unit"]]
        for name in names:
            value = row["cells"][name]
            if "absent" in value:
                fields.append("–")
            elif "failed" in value:
                notes.append(f"- **{row['title']}, {name}: failed.** {value['failed']}")
                fields.append("failed")
            else:
                fields.append(f"**{figure(value['median'])}** ({figure(value['min'])}–{figure(value['max'])})")
        if compared:
            fields.append(f"{against:.2f}" if (against := ratio(row)) else "")
        lines.append("| " + " | ".join(fields) + " |")

    notes += [f"- {name}: {peer['status']}. {peer['reason']}" for name, peer in run["peers"].items()
              if peer["status"] != "measured"]
    machine = run["machine"]
    versions = "; ".join(f"{name}: {peer['version']}, {peer['tls']}" for name, peer in run["peers"].items()
                         if peer["status"] == "measured")
    about = (f"Median (lowest–highest) of {run['rounds']} rounds, {run['mode']} run of {run['seconds']} s, {run['finished']}. "
             f"CPU is user and system time of all the proxy's processes. {machine['cpu']}, {machine['cpus']} CPUs, "
             f"Linux {machine['kernel']}; busy with other things before the run: {machine['busy_before']:.0%}. {versions}.")
    return "\n".join([*lines, "", *notes, *([""] if notes else []), about, ""])


def figure(value):
    """Three significant digits are all that such a measurement can carry."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}"


def write(run, folder, name, charts):
    """The results as JSON and as a table, and `charts` by the ends of their names."""
    os.makedirs(folder, exist_ok=True)
    texts = {".json": json.dumps(run, indent=1, ensure_ascii=False) + "\n", ".md": markdown(run), **charts}
    for suffix, text in texts.items():
        path = os.path.join(folder, name + suffix)
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(path + ".new", path)
