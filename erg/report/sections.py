"""The parts of the page, each a function from what was read to HTML."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from erg.report import verdict as judgement
from erg.report.figures import figures
from erg.report.histograms import FRAME, ROW, histograms
from erg.report.markup import facts, panel, png, section, table, text
from erg.report.numbers import duration, number
from erg.report.reading import Run, finite_number
from erg.report.words import summary

MOST_EVENTS = 40
_FILTERS = "The couplings of the first hidden units, each on its own scale: grey is none, white is positive."
_LEFT_TO_RIGHT = "Chains of the averaged energy, from left to right."


def header(run: Run) -> str:
    """Name, verdict, and the few numbers that place the run."""
    verdict = judgement.verdict(run)
    mark = {"good": "✓", "bad": "✕", "open": "•"}[verdict.tone]
    words = dict(summary(run.recipe))
    parts = [text(words[key].split(":")[0]) for key in ("Network",) if key in words]
    if run.parameters is not None:
        parts.append(f"{number(float(run.parameters))} weights")
    step, seconds = finite_number(run.state.get("step")), finite_number(run.state.get("seconds"))
    if step is not None:
        counted = "1 step" if step == 1 else f"{number(step)} steps"
        parts.append(counted + (f" in {duration(seconds)}" if seconds else ""))
    if run.state.get("seed") is not None:
        parts.append(f"seed {text(run.state['seed'])}")
    return (
        f"<header><p class=kicker>erg · report of a run</p><h1>{text(name(run))}</h1>"
        f'<p class="verdict {verdict.tone}"><span aria-hidden=true>{mark}</span> {text(verdict.sentence)}</p>'
        f"<p class=lede>{' · '.join(parts)}</p></header>"
    )


def name(run: Run) -> str:
    """What the run is called."""
    return str(run.state.get("name") or run.folder.resolve().name)


def goals(run: Run) -> str:
    """The figures that have goals, large, and beside them what says that a figure is not to be relied on."""
    tiles = []
    for figure in figures(run.evaluation):
        if figure.goal is None:
            continue
        tone, mark = _pass_mark(figure.goal.passed)
        value, _, error = figure.words.partition(" ± ")
        spread = f"<small> ± {error}</small>" if error else ""
        tiles.append(
            f'<div class="tile {tone}"><p class=what>{text(figure.title)}</p>'
            f"<p class=value>{value}{spread}</p><p class=goal><b>{mark}</b> goal {text(figure.goal.words)}</p></div>"
        )
    shown = f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""
    doubts = "".join(f"<li>{text(note)}</li>" for note in _notes(run) if "unreliable" in note)
    return shown + (f"<aside><h2>What to doubt</h2><ul>{doubts}</ul></aside>" if doubts else "")


def _notes(run: Run) -> list[str]:
    notes = (run.evaluation or {}).get("notes")
    return [str(sentence) for sentence in notes] if isinstance(notes, list) else []


def gaps(run: Run) -> str:
    """What is missing, said early, because it changes how everything below is to be read."""
    if not run.missing:
        return ""
    marked = [re.sub("`(.+?)`", r"<code>\1</code>", text(sentence)) for sentence in run.missing]
    items = "".join(f"<li>{sentence}</li>" for sentence in marked)
    return f"<aside><h2>What is missing</h2><ul>{items}</ul></aside>"


def pictures(run: Run) -> str:
    """The last samples, how they looked on the way, and chains from noise."""
    folder = run.folder / "samples"
    steps, chains = _by_step(folder, "step"), _by_step(folder, "chain")
    final, caption = folder / "final.png", "Drawn from noise by the averaged energy after training; not selected."
    if not final.exists() and steps:
        step, final = steps[-1]
        caption = f"Drawn at step {number(step)}, the latest so far; not selected."
    chain = folder / "chain.png"
    if not chain.exists() and chains:
        chain = chains[-1][1]
    grid, walk = png(final, "Grid of samples"), png(chain, "Chains from noise to sample")
    if grid is None and walk is None and run.shape is not None and len(run.shape) != 3:
        run.notes.append("Rows of this run are no pictures; its samples are in samples/samples.npy.")
        return ""
    for picture, path, what in ((grid, final, "sample grid"), (walk, chain, "chain from noise")):
        if picture is None:
            state = "damaged or too large" if path.exists() else "missing"
            run.missing.append(f"samples/{path.name} is {state}: there is no {what} to show.")
    samples = "" if grid is None else panel("Samples", grid.markup, caption, wide=grid.wide)
    chain_panel = "" if walk is None else panel("From noise to sample", walk.markup, _LEFT_TO_RIGHT, wide=walk.wide)
    # Two pictures stand side by side if both are about square; the third takes the width.
    beside = grid is not None and not grid.wide and walk is not None and not walk.wide
    progress = _progress(steps, wide=beside or grid is None or grid.wide)
    shown = png(folder / "filters.png", "Grid of filters")
    filters = "" if shown is None else panel("Filters", shown.markup, _FILTERS, wide=shown.wide)
    parts = (samples, chain_panel, progress, filters) if beside else (samples, progress, chain_panel, filters)
    return section("samples", "Samples", f'<div class="pictures">{"".join(parts)}</div>') if any(parts) else ""


def metrics(run: Run) -> str:
    """Every figure with its error, its floor and its goal, and who judged it."""
    rows = []
    classifier = _classifier(run)
    for figure in figures(run.evaluation):
        title = text(figure.title)
        if classifier and figure.by_classifier:
            title += f"<small>judged by {classifier[0]} · <code>{classifier[1][:12]}</code></small>"
        times = ""
        if figure.is_distance and figure.floor and figure.floor > 0:
            times = f"<small>{number(figure.value / figure.floor, 2)} × the floor</small>"
        floor = "" if figure.floor is None else number(figure.floor) + times
        if figure.goal is None:
            goal = ""
        else:
            tone, mark = _pass_mark(figure.goal.passed)
            goal = f'{text(figure.goal.words)} <b class="{tone}">{mark}</b>'
        rows.append((title, figure.words, floor, goal))
    if not rows:
        return ""
    count = finite_number((run.evaluation or {}).get("samples"))
    note = "± is one standard error. The floor is what real held-out data score in the place of samples."
    if count:
        note = f"From {number(count)} samples. {note}"
    if any(figure.name.startswith("auroc/") and figure.value < 0.5 for figure in figures(run.evaluation)):
        note += " An AUROC below one half means that the energy finds those rows likelier than data."
    said = "".join(f"<p class=note>{text(sentence)}</p>" for sentence in _notes(run))
    judge = ""
    if classifier:
        judge = (
            f"<p class=note>Classifier: {classifier[0]}, SHA-256 <code class=long>{classifier[1]}</code>. "
            "Distances in another classifier’s features are not comparable.</p>"
        )
    return section("metrics", "Metrics", f"<p class=note>{note}</p>",
                   table(("Metric", "Value", "Floor", "Goal"), rows), said, judge)  # fmt: skip


def energies(run: Run) -> str:
    """Histograms of energies: data beside samples at close range, and every set on one axis."""
    if not run.energies:
        return ""
    near = {key: values for key, values in run.energies.items() if key in ("data", "held_out", "samples")}
    panels = []
    if near:
        height = ROW * len(run.energies) + FRAME if len(run.energies) > len(near) else None
        caption = "The model’s samples should be spread as the data are, and held-out data as training data."
        panels.append(
            panel("Data and samples", histograms("energies of data and samples", near, height=height), caption)
        )
    if len(run.energies) > len(near):
        caption = "What is unlike the data should lie further right."
        panels.append(panel("All sets", histograms("energies of all sets", run.energies), caption))
    note = "Energy in nats, lower is likelier. Bars show the central 99 % of each set, the tall line its median."
    return section(
        "energies", "Energies", f"<p class=note>{note}</p>", f'<div class="panels">{"".join(panels)}</div>'
    )


def recoveries(run: Run) -> str:
    """What the divergence guard did."""
    told = [event for event in run.events if event.get("kind") in ("recovery", "stop")]
    others: dict[str, int] = {}
    for event in run.events:
        if event.get("kind") not in ("recovery", "stop"):
            kind = str(event.get("kind", "event"))
            others[kind] = others.get(kind, 0) + 1
    counts = ", ".join(f"{text(kind)} ({count})" for kind, count in sorted(others.items()))
    also = f"<p class=note>Smaller events, in events.jsonl: {counts}.</p>" if counts else ""
    if not told:
        return section("recoveries", "Recoveries", "<p>None. Training never had to go back.</p>", also)
    rows = [tuple(_cell(event.get(key)) for key in ("step", "signal", "detail", "action")) for event in told]
    if len(rows) > MOST_EVENTS:
        also += f"<p class=note>The first {MOST_EVENTS} of {len(rows)} are shown.</p>"
    return section("recoveries", "Recoveries",
                   table(("Step", "Signal", "What was seen", "What was done"), rows[:MOST_EVENTS]), also)  # fmt: skip


def trained(run: Run) -> str:
    """What was trained, in words, and the resolved recipe."""
    rows = [(term, text(definition)) for term, definition in summary(run.recipe)]
    if run.parameters is not None:
        rows.insert(min(2, len(rows)), ("Weights", number(float(run.parameters))))
    recipe = ""
    if run.recipe_text:
        recipe = f"<details><summary>The resolved recipe</summary><pre>{text(run.recipe_text)}</pre></details>"
    return section("trained", "What was trained", facts(rows), recipe)


def provenance(run: Run) -> str:
    """How to repeat the run, with which versions and when it ran."""
    folder = shlex.quote(run.folder.resolve().name)
    seed = run.state.get("seed")
    command = f"erg train {folder}/config.yaml" + ("" if seed is None else f" --seed {shlex.quote(str(seed))}")
    parts = ["<p>In the folder that holds this run:</p>", f"<pre>{text(command)}</pre>"]
    if run.state.get("status") in ("running", "interrupted", "failed"):
        parts.append(f"<p>To go on where it stopped:</p><pre>{text(f'erg train --resume {folder}')}</pre>")
    rows = [
        (term, text(_moment(run.state[key])))
        for term, key in (("Started", "started"), ("Last update", "updated"))
        if run.state.get(key) is not None
    ]
    seconds = finite_number(run.state.get("seconds"))
    if seconds is not None:
        rows.append(("Time", text(duration(seconds))))
    if run.state.get("erg") is not None:
        rows.append(("erg", text(run.state["erg"])))
    versions = run.state.get("versions")
    if isinstance(versions, dict):
        rows += [(str(package), text(number_)) for package, number_ in versions.items() if package != "erg"]
    notes = "".join(f"<p class=note>{text(sentence)}</p>" for sentence in run.notes)
    return section("repeat", "How to repeat it", *parts, facts(rows), notes)


def _classifier(run: Run) -> tuple[str, str] | None:
    found = (run.evaluation or {}).get("classifier")
    if not isinstance(found, dict) or not found.get("sha256"):
        return None
    return text(found.get("name", "unnamed")), text(found["sha256"])


def _pass_mark(passed: bool | None) -> tuple[str, str]:
    return {True: ("good", "✓ pass"), False: ("bad", "✕ fail"), None: ("open", "? unknown")}[passed]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(float(value))
    return text(value)


def _moment(value: Any) -> str:
    """An ISO time without its T, or as it is."""
    match = re.match(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d)?\S*?([+-]\d\d:?\d\d|Z)?$", str(value))
    if not match:
        return str(value)
    zone = {None: "", "Z": " UTC", "+0000": " UTC", "+00:00": " UTC"}.get(match[3], f" {match[3]}")
    return f"{match[1]} {match[2]}{zone}"


def _by_step(folder: Path, name: str) -> list[tuple[float, Path]]:
    """The pictures samples/NAME_00000500.png in the order of their steps."""
    found = [(re.fullmatch(name + r"_(\d+)\.png", path.name), path) for path in folder.glob(f"{name}_*.png")]
    return sorted((float(match[1]), path) for match, path in found if match)


def _progress(steps: list[tuple[float, Path]], *, wide: bool, most: int = 4) -> str:
    """Sample grids spread over training; none when there is only one."""
    if len(steps) < 2:
        return ""
    picks = sorted({round(i) for i in np.linspace(0, len(steps) - 1, min(most, len(steps)))})
    shown = [(steps[i][0], png(steps[i][1], f"Samples at step {number(steps[i][0])}")) for i in picks]
    items = "".join(f"<div>{picture.markup}<p>step {number(step)}</p></div>" for step, picture in shown if picture)
    return panel("During training", f'<div class="strip">{items}</div>', wide=wide) if items else ""
