#!/usr/bin/env python3
"""Holds the JSON Schemas of schemas/ against the C code that reads and writes the same documents.

usage: check_schemas.py SOURCE_FOLDER PROBE
"""
import copy
import glob
import json
import os
import subprocess
import sys

try:
    import jsonschema
    Validator = jsonschema.Draft202012Validator
except (ImportError, AttributeError):
    print("SKIP: python3-jsonschema with draft 2020-12 is not installed")
    sys.exit(77)

source, probe = sys.argv[1:3]
failures = []


def fail(text):
    failures.append(text)
    print("FAIL:", text)


def schema_of(name):
    with open(os.path.join(source, "schemas", name + ".schema.json"), encoding="utf-8") as f:
        schema = json.load(f)
    Validator.check_schema(schema)
    return schema


def without_comments(text):
    out, i, quoted = [], 0, False
    while i < len(text):
        if quoted and text[i] == "\\":
            out.append(text[i:i + 2])
            i += 2
            continue
        if text[i] == '"':
            quoted = not quoted
        if not quoted and text.startswith("//", i):
            i = (text + "\n").index("\n", i)
            continue
        if not quoted and text.startswith("/*", i):
            i = text.index("*/", i) + 2
            continue
        out.append(text[i])
        i += 1
    return "".join(out)


def ask(what, documents, end):
    text = "".join(d + end for d in documents)
    done = subprocess.run([probe, what], input=text, capture_output=True, text=True, check=True)
    answers = done.stdout.splitlines()
    assert len(answers) == len(documents), (len(answers), len(documents))
    return answers


def parse(text):
    """The document, or None where it is no JSON or has a key twice."""
    def pairs(items):
        if len({k for k, _ in items}) < len(items):
            raise ValueError("duplicate key")
        return dict(items)
    try:
        return json.loads(without_comments(text), object_pairs_hook=pairs)
    except ValueError:
        return None


# ---- campaigns: the fixtures, then each value of a whole one bent in every way

campaign = Validator(schema_of("campaign"))


def fixtures(folder, schema_says, c_says):
    paths = sorted(glob.glob(os.path.join(source, folder, "*.json")))
    texts = [open(p, encoding="utf-8").read() for p in paths]
    assert texts, folder
    for path, text, answer in zip(paths, texts, ask("campaign", texts, "\0")):
        document = parse(text)
        good = document is not None and campaign.is_valid(document)
        name = os.path.relpath(path, source)
        if document is not None and good != schema_says:
            fail(f"{name}: the schema says {'good' if good else next(campaign.iter_errors(document)).message}")
        if answer.startswith("ok") != c_says:
            fail(f"{name}: C says {answer}")


fixtures("tests/fixtures/campaigns/good", True, True)
fixtures("tests/fixtures/campaigns/bad", False, False)
fixtures("tests/fixtures/campaigns/contradictory", True, False)
fixtures("examples", True, True)

# What no schema can see: C may refuse these where the schema does not.
BEYOND_SCHEMA = ("already", "not in \"contexts\"", "one of the variants", "placeholder", "looks like a secret",
                 "not among the campaign's", "expected a \"model\" in the campaign", "makes more than", "asks for",
                 "contradicts", "compares logits", "runs from", "is more than limit_s", "make ")


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, path + (key,))


def bent(document, path, change):
    copied = copy.deepcopy(document)
    if not path:
        return change(copied)
    at = copied
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = change(at[path[-1]])
    return copied


def changes(value):
    for other in (None, True, -1, 0, 1, 2.5, 1e300, "", "x", "~x", "../x", "default", "free", [], [1], [""], {}, {"x": 1}):
        yield lambda _, other=other: other
    if isinstance(value, dict):
        for key in list(value) + ["surplus"]:
            if key in value:
                yield lambda v, key=key: {k: x for k, x in v.items() if k != key}
            yield lambda v, key=key: {**v, key + "x": 1}
            yield lambda v, key=key: {**v, " ": "1"}
            yield lambda v, key=key: {**v, "HIP_VISIBLE_DEVICES": "1"}
    if isinstance(value, list) and value:
        yield lambda v: v + [v[0]]
        yield lambda v: v[1:]
    if isinstance(value, str):
        for text in (value + "\t", value + "/", "-" + value, "." + value, value * 70, value.upper(), value + "\u00e4"):
            yield lambda _, text=text: text


def compare_bent(path):
    document = parse(open(os.path.join(source, path), encoding="utf-8").read())
    at = document
    documents = []
    for place in places(document):
        at = document
        for key in place:
            at = at[key]
        documents += [bent(document, place, change) for change in changes(at)]
    texts = [json.dumps(d) for d in documents]
    for d, text, answer in zip(documents, texts, ask("campaign", texts, "\0")):
        by_schema = campaign.is_valid(d)
        by_c = answer.startswith("ok")
        if by_c and not by_schema:
            error = next(campaign.iter_errors(d))
            fail(f"C takes what the schema refuses: {list(error.absolute_path)} {error.message[:200]}")
        if by_schema and not by_c:
            complaints = answer.split("\t")[1:]
            if not all(any(b in c for b in BEYOND_SCHEMA) for c in complaints):
                fail(f"the schema takes what C refuses: {complaints}")
    return len(documents)


n_bent = compare_bent("tests/fixtures/campaigns/good/everything.json")
n_bent += compare_bent("examples/quickstart.json")

# ---- progress lines

progress = Validator(schema_of("progress"))
lines = [json.dumps(d) for d in (
    {"phase": "prefill", "done": 7, "total": 32, "unit": "layer", "t": 1.234, "at": "layer 7 attn q_lds"},
    {"phase": "load"}, {"phase": "load", "new": []}, {"phase": "none"}, {"phase": "lunch"}, {"phase": 1}, {}, [], 1, "load",
    {"phase": "load", "done": -1}, {"phase": "load", "done": "1"}, {"phase": "load", "unit": 1}, {"phase": "load", "t": "x"},
    {"phase": "load", "at": None}, {"phase": "load", "t": None}, {"phase": "load", "done": None}, {"phase": "load", "total": -2},
    {"phase": "starting"}, {"phase": "tokenize"}, {"phase": "warmup"}, {"phase": "decode"}, {"phase": "finish"},
)]
for line, answer in zip(lines, ask("progress", lines, "\n")):
    if (answer == "ok") != progress.is_valid(json.loads(line)):
        fail(f"progress {line}: C says {answer}, the schema does not")

# ---- results: what the published engine printed, and what greta-infer is to print

result = Validator(schema_of("result"))
for good in ({"model_load_s": 21.865, "tokenize_s": 1.5575e-05, "prefill_s": 22.7681, "decode_s": 2.63e-07,
              "attn_impl": "flash_v2_naive"},
             {"sample": 0, "prefill_s": 1, "prompt_tokens": 64, "top1": 5, "threads": 2}):
    for error in result.iter_errors(good):
        fail(f"result: {error.message}")
for bad in ({}, {"prefill_s": 0}, {"prefill_s": "1"}, {"prefill_s": 1, "sample": -1}, {"prefill_s": 1, "decode_s": -1}):
    if result.is_valid(bad):
        fail(f"result: the schema takes {bad}")

# ---- messages: every field of every frame is in the schema, and the other way round

messages = schema_of("message")
frames = subprocess.run([probe, "frames"], capture_output=True, text=True, check=True).stdout.splitlines()
validator = Validator(messages)
ALWAYS = {"type", "re", "bytes", "body_bytes"}


def compare_fields(instance, schema, where):
    while "$ref" in schema:
        schema = messages["$defs"][schema["$ref"].split("/")[-1]]
    if isinstance(instance, dict) and "properties" in schema:
        for key in set(instance) - set(schema["properties"]) - (ALWAYS if where.count(".") == 0 else set()):
            fail(f"message {where}: {key} is not in the schema")
        for key in set(schema["properties"]) - set(instance):
            fail(f"message {where}: {key} is in the schema alone")
        for key, inner in instance.items():
            compare_fields(inner, schema["properties"].get(key, {}), where + "." + key)
    elif isinstance(instance, dict) and isinstance(schema.get("additionalProperties"), dict):
        for key, inner in instance.items():
            compare_fields(inner, schema["additionalProperties"], where + "." + key)
    elif isinstance(instance, list) and "items" in schema:
        for inner in instance:
            compare_fields(inner, schema["items"], where + "[]")


by_type = {d["properties"]["type"]["const"]: d for d in messages["$defs"].values() if "type" in d.get("properties", {})
           and "const" in d["properties"]["type"]}
seen = set()
for frame in map(json.loads, frames):
    seen.add(frame["type"])
    for error in validator.iter_errors(frame):
        fail(f"message {frame['type']}: {error.message[:200]}")
    compare_fields(frame, by_type[frame["type"]], frame["type"])
    if frame["type"] == "event":
        end = frame["event"]["detail"]
        for error in Validator({"$ref": "#/$defs/end", "$defs": messages["$defs"]}).iter_errors(end):
            fail(f"message end: {error.message[:200]}")
        compare_fields(end, messages["$defs"]["end"], "end.")
if seen != set(messages["properties"]["type"]["enum"]):
    fail(f"messages: the schema names {messages['properties']['type']['enum']}, C {sorted(seen)}")
if validator.is_valid({"type": "attach"}) or validator.is_valid({"type": "attach", "attempt": "../x"}):
    fail("message attach: the schema takes one without a UUID")

print(f"{n_bent} bent campaigns, {len(lines)} progress lines, {len(frames)} messages: {len(failures)} failures")
sys.exit(1 if failures else 0)
