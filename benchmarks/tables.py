"""docs/results/speed.md from the measured rows: python -m benchmarks.tables."""

import json
from typing import Any

from benchmarks.conditions import in_words
from benchmarks.measure import RESULTS
from erg.files import write_text

ROWS = ("langevin_image", "langevin_mlp", "memory")
PAGE = RESULTS / "speed.md"


def main() -> None:
    """Write the page; rows that were not measured are named as such."""
    parts = ["# Speed and memory", "Measured by `make bench`. Each section is one command; none is typed in by hand."]
    for name in ROWS:
        source = RESULTS / f"{name}.json"
        parts.append(
            section(json.loads(source.read_text())) if source.exists() else f"## {name}\n\nNot measured yet."
        )
    write_text(PAGE, "\n\n".join(parts) + "\n")
    print(PAGE)


def section(result: dict[str, Any]) -> str:
    """One measured row as text."""
    parts = [f"## {result['title']}", in_words(result)]
    shares = result.get("share_of_the_arithmetic_limit", {})
    if times := result.get("milliseconds_a_step"):
        heads = ["", "ms a step (median)", "quartiles"] + (["share of the arithmetic limit"] if shares else [])
        lines = [
            [name, f"{time['median']:.3g}", f"{time['quartile_1']:.3g} to {time['quartile_3']:.3g}"]
            + ([f"{shares[name]:.1%}"] if shares else [])
            for name, time in times.items()
        ]
        parts.append(_table(heads, lines))
    if peaks := result.get("peak_megabytes"):
        heads = ["", *(f"{column} (MB)" if column != "ratio" else column for column in next(iter(peaks.values())))]
        parts.append(
            _table(heads, [[name, *(f"{value:g}" for value in peak.values())] for name, peak in peaks.items()])
        )
    if shares:
        peaks = result["peak_operations_a_second"]
        reached = ", ".join(f"{value / 1e9:,.0f} in {name}" for name, value in peaks.items())
        count = result["operations_a_step"] / 1e9
        parts.append(f"A step is {count:.2f} GFLOP; a large matrix product reaches {reached} GFLOP/s here.")
    parts.append("\n".join(f"- {name}: {_judged(ratio)}" for name, ratio in result["ratios"].items()))
    return "\n\n".join(parts)


def _judged(ratio: dict[str, float]) -> str:
    limits = {"goal": "goal", "least": "at least", "most": "at most"}
    bounds = ", ".join(f"{word} {ratio[key]:g}" for key, word in limits.items() if key in ratio)
    good = ratio["value"] >= ratio.get("least", float("-inf")) and ratio["value"] <= ratio.get("most", float("inf"))
    verdict = "fail" if not good else "goal missed" if ratio["value"] < ratio.get("goal", float("-inf")) else "pass"
    return f"**{ratio['value']:g}** ({bounds}: {verdict})"


def _table(heads: list[str], lines: list[list[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(heads) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [heads, rule, *lines])


if __name__ == "__main__":
    main()
