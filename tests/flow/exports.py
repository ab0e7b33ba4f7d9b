#!/usr/bin/env python3
"""exports.py PREFIX: what export wrote of a tree of b389_tree.py, read by other programs' readers, says the same thing."""
import csv
import json
import re
import statistics
import sys

prefix = sys.argv[1]
with open(prefix + ".csv", newline="") as f:
    rows = list(csv.DictReader(f))
with open(prefix + ".jsonl") as f:
    objects = [json.loads(line) for line in f]
assert len(rows) == len(objects) == 60
assert [r["attempt"] for r in rows] == [o["attempt"] for o in objects]
assert sum(r["outcome"] == "ok" for r in rows) == 59
cells = {}
for o in objects:
    if o["counted"]:
        cells.setdefault((o["variant"], o["context"]), []).append(o["prefill_s"])
with open(prefix + ".json") as f:
    tests = json.load(f)
assert len(tests) == len(cells) == 12
for t in tests:
    runs = cells[t["greta_variant"], t["n_prompt"]]
    assert sorted(t["samples_ns"]) == sorted(round(x * 1e9) for x in runs)
    assert abs(t["avg_ns"] - statistics.mean(runs) * 1e9) <= 1
    assert abs(t["stddev_ns"] - statistics.stdev(runs) * 1e9) <= 1
    assert abs(t["avg_ts"] - statistics.mean(t["n_prompt"] / x for x in runs)) < 1e-6
line = re.compile(r'^(greta_\w+)\{campaign="after",mode="perf",variant="(\w+)",context="(\d+)"(,outcome="[\w ]+")?\} (\S+)$')
medians = {}
with open(prefix + ".prom") as f:
    for text in f:
        if text.startswith("#"):
            continue
        m = line.match(text.rstrip("\n"))
        assert m, text
        if m[1] == "greta_prefill_seconds":
            medians[m[2], int(m[3])] = float(m[5])
assert medians == {k: statistics.median(v) for k, v in cells.items()}
