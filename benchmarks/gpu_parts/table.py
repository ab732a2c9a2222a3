"""The result of a run as Markdown: what ran, what agreed, how fast it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Part = Mapping[str, Any]


def table_of(result: Mapping[str, Any]) -> str:
    """The whole page."""
    records = [record for part in result["parts"] for record in part["records"]]
    facts = {record["what"]: record for record in records if record["what"] in ("libraries", "card")}
    lines = [f"# {result['card']}", "", *_facts(facts, result), "", "## Parts", "", *_parts(result["parts"])]
    lines += ["", "## Agreement", "", *_checks(result["parts"]), "", "## Speed and memory", "", *_times(records)]
    return "\n".join(lines) + "\n"


def _facts(facts: Mapping[str, Part], result: Mapping[str, Any]) -> Iterator[str]:
    for name, record in facts.items():
        yield f"- {name}: " + ", ".join(f"{key} {value}" for key, value in record.items() if key != "what")
    yield f"- started {result['started']}, {result['seconds']:.0f} s, command `{result['command']}`"


def _parts(parts: Sequence[Part]) -> Iterator[str]:
    yield from ("| part | status | seconds | |", "|---|---|---|---|")
    for part in parts:
        errors = [f"{record['what']}: {record['error']}" for record in part["records"] if "error" in record]
        reasons = "; ".join([*([part["error"]] if part.get("error") else []), *errors])
        yield f"| {part['name']} | {part['status']} | {part['seconds']:.0f} | {_cell(reasons)} |"


def _checks(parts: Sequence[Part]) -> Iterator[str]:
    yield from ("| part | what | measure | found | limit | |", "|---|---|---|---|---|---|")
    for part in parts:
        for record in part["records"]:
            if "check" in record:
                verdict = "" if record["is_within"] else "**over**"
                found, limit = _number(record["value"]), _number(record["limit"])
                cells = [part["name"], record["what"], record["check"], found, limit, verdict]
                yield "| " + " | ".join(map(_cell, cells)) + " |"
            elif record.get("is_within") is False:
                yield f"| {part['name']} | {_cell(record['what'])} | | | | **wrong** |"


def _times(records: Sequence[Part]) -> Iterator[str]:
    times = [record for record in records if record["what"] == "time"]
    yield "| work | batch | arithmetic | system | ms a call | images/s | × torchvision | peak MiB | of it the call's |"
    yield "|---|---|---|---|---|---|---|---|---|"
    keys = ("work", "batch", "arithmetic")
    base = {tuple(time[key] for key in keys): time["ms"] for time in times if "torchvision" in time["system"]}
    for time in sorted(times, key=lambda record: (record["work"], record["batch"], record["system"])):
        theirs = base.get(tuple(time[key] for key in keys))
        ratio = f"{theirs / time['ms']:.2f}" if theirs is not None and time["ms"] else ""
        memory = ["" if time[name] is None else f"{time[name]:.0f}" for name in ("peak_mib", "extra_mib")]
        rate = time["batch"] * 1000 / time["ms"] if time["ms"] else 0.0
        cells = [time["work"], str(time["batch"]), time["arithmetic"], time["system"]]
        yield "| " + " | ".join([*cells, f"{time['ms']:.2f}", f"{rate:.1f}", ratio, *memory]) + " |"


def _number(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")
