"""The report: complete for a finished run, honest about a partial one, safe whatever the files hold."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from erg.errors import UserError
from erg.report import reading, sections, write_report
from erg.report.figures import figures
from erg.report.numbers import duration, measured, number, plain, short
from erg.report.series import Series, limits, thin
from erg.report.words import in_words, summary
from tests.contracts import reported_runs as runs


class Reader(HTMLParser):
    """What a browser would see: the text, the headings, and everything that points somewhere."""

    VOID = ("meta", "img", "br", "path", "use", "rect")

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.headings: list[str] = []
        self.references: list[str] = []
        self.tags: dict[str, int] = {}
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"a script in attribute {name}"
            if name in ("src", "href", "xlink:href", "action", "data"):
                self.references.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"unbalanced {tag}"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings.append(data)


def read(folder: Path) -> tuple[str, Reader]:
    path = write_report(folder)
    assert path == folder / "report.html"
    page = path.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return page, reader


def words(reader: Reader) -> str:
    return re.sub(r"\s+", " ", " ".join(reader.texts))


def evaluate(folder: Path, **changes: object) -> None:
    metrics = {name: dict(entry) for name, entry in runs.METRICS.items()}
    for name, entry in changes.items():
        metrics[name] = entry
    evaluation = {"metrics": metrics, "classifier": {"name": "digits_8x8", "sha256": runs.SHA256}, "samples": 500}
    (folder / "evaluation.json").write_text(json.dumps(evaluation))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.finished(tmp_path_factory.mktemp("runs") / "digits")


@pytest.fixture(scope="module")
def finished_page(finished: Path) -> tuple[str, Reader]:
    return read(finished)


def test_a_finished_run_is_reported_completely(finished_page: tuple[str, Reader]) -> None:
    page, reader = finished_page
    told = words(reader)
    for heading in ("Samples", "From noise to sample", "Metrics", "Energies", "Energy gap", "Gradient norm",
                    "Learning rate", "Detection", "Recoveries", "What was trained", "How to repeat it"):  # fmt: skip
        assert heading in reader.headings, heading
    assert "What is missing" not in reader.headings
    assert "Passed: all 3 goals are met." in told
    assert "0.087 ± 0.012" in told and "≤ 0.2" in told and "0.5217" in told and "6.6 × the floor" in told
    assert told.count(runs.SHA256[:12]) >= 4 and runs.SHA256 in told
    assert "went back to step 600" in told and "gradient" in told
    assert "832" in told, "the number of weights comes from energy.safetensors"
    assert "erg train digits/config.yaml --seed 3" in told
    assert "2.13.0" in told and "1 min 47 s" in told
    assert "step_size: 10.0" in page, "the resolved recipe stands in the page"
    assert "chain acceptance 1 (throughout)" in told, "a constant is told, not drawn"
    assert reader.tags["img"] == 6


def test_the_page_needs_nothing_but_itself(finished_page: tuple[str, Reader]) -> None:
    page, reader = finished_page
    assert "Content-Security-Policy" in page and "default-src 'none'" in page
    assert "script" not in reader.tags and "link" not in reader.tags and "iframe" not in reader.tags
    assert reader.references
    assert all(reference.startswith(("data:image/png;base64,", "#")) for reference in reader.references)
    assert not re.search(r"https?:|@import|url\((?!#)", page)


def test_ids_are_unique_and_every_reference_has_its_target(finished_page: tuple[str, Reader]) -> None:
    page, _ = finished_page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    targets = re.findall(r'xlink:href="#([^"]+)"|url\(#([^)]+)\)', page)
    assert {a or b for a, b in targets} <= set(ids)


def test_colours_come_from_the_page(finished_page: tuple[str, Reader]) -> None:
    """A drawing with a colour of its own would be unreadable on a dark page."""
    page, _ = finished_page
    drawings = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert "var(--data)" in drawings and "var(--model)" in drawings and "var(--noise)" in drawings
    assert not re.search(r"#[0-9a-f]{6}\b", re.sub(r'(?:href="|url\()#\w+', "", drawings))


def test_the_same_run_gives_the_same_page(finished: Path, finished_page: tuple[str, Reader]) -> None:
    assert write_report(finished).read_text(encoding="utf-8") == finished_page[0]


def test_a_missed_goal_is_named(tmp_path: Path) -> None:
    folder = runs.finished(tmp_path / "digits")
    missed = {"value": 0.312, "standard_error": 0.02, "goal": {"op": "<=", "value": 0.2, "pass": False}}
    evaluate(folder, class_kl=missed)
    _, reader = read(folder)
    told = words(reader)
    assert "Failed: 1 of 3 goals missed." in told
    assert "Class coverage: KL to uniform is 0.312 ± 0.020, should be ≤ 0.2" in told
    assert "✕ fail" in told


def test_a_goal_that_nobody_judged_is_not_called_passed(tmp_path: Path) -> None:
    folder = runs.finished(tmp_path / "digits")
    evaluate(folder, class_kl={"value": "nan", "standard_error": None, "goal": {"op": "<=", "value": 0.2}})
    _, reader = read(folder)
    told = words(reader)
    assert "Passed" not in told and "Class coverage: KL to uniform is unknown, should be ≤ 0.2" in told


def test_a_running_run_says_what_is_missing(tmp_path: Path) -> None:
    _, reader = read(runs.training(tmp_path / "digits"))
    told = words(reader)
    assert "Still running at step 1000 of 2000. Not evaluated yet." in told
    assert "What is missing" in reader.headings and "Energy gap" in reader.headings
    assert "there is no sample grid" in told and "there is no chain" in told and "no energy histograms" in told
    assert "None. Training never had to go back." in told
    assert "erg train --resume digits" in told
    assert reader.tags.get("img", 0) == 0


def test_an_unreliable_figure_is_called_so_before_anything_is_shown(tmp_path: Path) -> None:
    folder = runs.finished(tmp_path / "digits")
    path = folder / "evaluation.json"
    judged = json.loads(path.read_text()) | {"notes": ["Likelihoods are unreliable: 12.1 nats apart."]}
    path.write_text(json.dumps(judged))
    _, reader = read(folder)
    assert words(reader).index("What to doubt Likelihoods are unreliable") < words(reader).index("not selected")


def test_rows_that_are_no_pictures_miss_none(tmp_path: Path) -> None:
    folder = runs.training(tmp_path / "table")
    (folder / "energy.json").write_text(json.dumps({"format": 1, "config": {"shape": [4]}}))
    _, reader = read(folder)
    told = words(reader)
    assert "no sample grid" not in told and "samples are in samples/samples.npy" in told


def test_what_one_look_logged_is_counted_and_errors_of_couplings_are_explained(tmp_path: Path) -> None:
    folder = runs.training(tmp_path / "short")
    looked = {"step": 10, "validation/quality": 3.0, "validation/class_kl": 0.5}
    logged = [{"step": step, "couplings/log_rmse": -step / 10} for step in (1, 5, 10)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (*logged, looked)))
    _, reader = read(folder)
    told = words(reader)
    assert "2 figures of validation (logged once" in told and "validation quality 3" not in told
    assert "root mean square error over all pairs" in told


FILES = ("run.json", "config.yaml", "evaluation.json", "scores.npz", "energy.safetensors", "metrics.jsonl",
         "events.jsonl", "samples/final.png", "samples/chain.png", "samples/step_00000600.png")  # fmt: skip


def damage(path: Path, how: str) -> None:
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] + b"\n{[: ")
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes(bytes(range(256)) * 20)


def test_an_auroc_below_one_half_is_explained(tmp_path):
    folder = runs.finished(tmp_path / "digits", steps=200)
    words, path = "likelier than data", folder / "evaluation.json"
    assert words not in write_report(folder).read_text()
    evaluation = json.loads(path.read_text())
    evaluation["metrics"]["auroc/shrunk"]["value"] = 0.1
    path.write_text(json.dumps(evaluation))
    assert words in write_report(folder).read_text()


@pytest.mark.parametrize("name", ["run.json", "config.yaml", "evaluation.json", "scores.npz", "samples/chain.png"])
@pytest.mark.parametrize("how", ["missing", "cut", "empty", "binary"])
def test_each_missing_or_damaged_file_is_named(tmp_path: Path, name: str, how: str) -> None:
    folder = runs.finished(tmp_path / "digits", steps=200)
    damage(folder / name, how)
    run = reading.read(folder)
    sections.pictures(run)
    state = (
        "Not evaluated yet"
        if (name, how) == ("evaluation.json", "missing")
        else (f"{name} is {'missing' if how == 'missing' else 'damaged'}")
    )
    assert len(run.missing) == 1 and state in run.missing[0]


@pytest.mark.parametrize("how", ["cut", "empty", "binary"])
def test_a_folder_of_damaged_files_is_still_reported(tmp_path: Path, how: str) -> None:
    folder = runs.finished(tmp_path / "digits", steps=200)
    for name in FILES:
        damage(folder / name, how)
    _, reader = read(folder)
    assert "What is missing" in reader.headings and "How to repeat it" in reader.headings
    assert ("Energy gap" in reader.headings) == (how == "cut"), "the whole lines of a cut log are drawn"


def test_a_killed_run_leaves_half_a_line(tmp_path: Path) -> None:
    folder = runs.training(tmp_path / "digits", steps=200)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 210, "time": 12.1, "los')
    _, reader = read(folder)
    assert "The last line of metrics.jsonl is incomplete" in words(reader)
    assert "Energy gap" in reader.headings


def test_values_that_are_not_finite_are_counted_not_drawn(tmp_path: Path) -> None:
    folder = runs.training(tmp_path / "digits", steps=200)
    odd = ('"nan"', '"inf"', "null", "NaN", "-Infinity", "1e400", "1" + "0" * 400)
    with (folder / "metrics.jsonl").open("a") as file:
        for step, value in enumerate(odd, start=201):
            file.write(f'{{"step": {step}, "energy/gap": {value}, "note": "text", "flag": true}}\n')
    _, reader = read(folder)
    assert "energy/gap (7)" in words(reader)
    assert "Note" not in reader.headings and "Flag" not in reader.headings


def test_nothing_from_a_file_becomes_markup(tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script><img src=x onerror=alert(2)>$\\frac{&amp;\ud83d'
    folder = runs.finished(tmp_path / "digits", steps=200)
    state = json.loads((folder / "run.json").read_text())
    state |= {"name": evil, "seed": evil, "status": evil, "started": evil, "erg": evil, "versions": {evil: evil}}
    (folder / "run.json").write_text(json.dumps(state))
    (folder / "config.yaml").write_text(json.dumps({"data": {"name": evil, evil: evil}, "network": evil}))
    (folder / "events.jsonl").write_text(
        json.dumps({"step": evil, "kind": "recovery", "signal": evil, "detail": evil, "action": evil}) + "\n"
        + json.dumps({"step": 1, "kind": evil}) + "\n"
    )  # fmt: skip
    with (folder / "metrics.jsonl").open("a") as file:
        for step in (1, 2):
            file.write(
                json.dumps({"step": step, evil: step, "validation/auroc/" + evil: step / 3, "k" + evil: 1}) + "\n"
            )
    goal = {"op": evil, "value": 1, "pass": False}
    evaluation = {
        "metrics": {evil: {"value": 1, "goal": goal}, "b": {"value": evil, "floor": evil}},
        "classifier": {"name": evil, "sha256": evil},
        "samples": evil,
    }
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    clean = evil.replace("\ud83d", "")
    np.savez(folder / "scores.npz", **{"data": np.arange(9.0), "ood/" + clean.replace("/", "|"): np.arange(9.0)})
    page, reader = read(folder)
    assert "script" not in reader.tags and "<script" not in page
    assert all(reference.startswith(("data:image/png", "#")) for reference in reader.references)


def test_names_in_any_script_are_drawn_without_a_warning(tmp_path: Path) -> None:
    folder = runs.training(tmp_path / "digits", steps=200)
    np.savez(folder / "scores.npz", **{"data": np.arange(9.0), "ood/猫": np.arange(9.0)})
    assert "猫" in words(read(folder)[1])


def test_degenerate_energies_are_drawn(tmp_path: Path) -> None:
    folder = runs.training(tmp_path / "digits", steps=200)
    np.savez(
        folder / "scores.npz", data=np.full(5, 3.0), samples=np.array([1e30, np.nan, -np.inf]), noise=np.zeros(0)
    )
    _, reader = read(folder)
    assert "2 of 3 energies of samples are not finite" in words(reader)
    assert "training data" in reader.texts and "samples" in reader.texts and "uniform noise" not in reader.texts


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    folder = runs.training(tmp_path / "digits", steps=200)
    np.savez(folder / "scores.npz", data=np.array([print], dtype=object))
    assert "scores.npz is damaged" in words(read(folder)[1])


@pytest.mark.parametrize("version", [2, "1", None])
def test_another_format_is_refused_and_the_old_report_stays(tmp_path: Path, version: object) -> None:
    folder = runs.training(tmp_path / "digits", steps=200)
    (folder / "report.html").write_text("old")
    (folder / "run.json").write_text(json.dumps({"format": version}))
    with pytest.raises(UserError, match="run folder of format 1"):
        write_report(folder)
    assert (folder / "report.html").read_text() == "old"


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds neither"):
        write_report(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        write_report(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_a_long_log_stays_a_small_page(tmp_path: Path) -> None:
    folder = runs.training(tmp_path / "digits", steps=200)
    rng = np.random.default_rng(0)
    with (folder / "metrics.jsonl").open("w") as file:
        for step, value in enumerate(rng.normal(size=20_000), start=1):
            file.write(
                f'{{"step": {step}, "energy/data": {value}, "energy/model": {value + 1}, "energy/gap": 1.{step}}}\n'
            )
    page, reader = read(folder)
    # Were every value drawn, 60,000 pairs of numbers of at least three characters would be twice as long.
    assert len(page) < 150_000
    assert "20k" in reader.texts


def test_thinning_keeps_the_extremes_and_the_order() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=10_001)
    values[7_000] = np.inf
    values[2_000:2_400] = np.nan
    band = thin(Series(np.arange(10_001.0), values), stretches=100)
    finite = values[np.isfinite(values)]
    assert len(band.steps) == 100 and (np.diff(band.steps) > 0).all()
    assert np.nanmin(band.low) == finite.min() and np.nanmax(band.high) == finite.max()
    seen = ~np.isnan(band.middle)
    assert (band.low[seen] <= band.middle[seen]).all() and (band.middle[seen] <= band.high[seen]).all()
    assert 1 <= (~seen).sum() <= 4, "a stretch without a finite value is a gap"


def test_short_series_are_drawn_as_they_are() -> None:
    band = thin(Series(np.array([1.0, 2.0, 3.0]), np.array([5.0, np.inf, 4.0])))
    np.testing.assert_array_equal(band.middle, [5.0, np.nan, 4.0])
    np.testing.assert_array_equal(band.low, band.high)


def test_one_wild_value_does_not_flatten_the_axis() -> None:
    values = np.append(np.linspace(0, 1, 999), 1e6)
    reach = limits(values)
    assert reach is not None and -0.5 < reach[0] <= 0 and 1 <= reach[1] < 3
    assert limits(np.array([np.nan])) is None
    flat = limits(np.full(3, 2.0))
    assert flat is not None and flat[0] < 2 < flat[1]


@pytest.mark.parametrize(
    ("value", "error", "told"),
    [
        (0.93214, 0.0143, "0.932 ± 0.014"),
        (0.93214, 0.0343, "0.93 ± 0.03"),
        (0.99994, 0.00003, "0.99994 ± 0.00003"),
        (-3.4179, 0.172, "\u22123.42 ± 0.17"),
        (12345.6, 12.3, "12\u202f346 ± 12"),
        (1.5, 0.0, "1.5 ± 0"),
        (1.5, None, "1.5"),
        (1.5, math.nan, "1.5"),
        (2.0, 0.0996, "2.00 ± 0.10"),
        (3e-9, 1e-10, "3 × 10⁻⁹ ± 1 × 10⁻¹⁰"),
        (math.nan, 0.1, "not a number"),
    ],
)
def test_errors_decide_the_digits(value: float, error: float | None, told: str) -> None:
    assert measured(value, error) == told


def test_a_terminal_gets_numbers_that_programs_read() -> None:
    for value in (0.93214, -3.4179, 12345.6, -98765.4, 3e-9, -1.5e12):
        assert float(plain(number(value))) == pytest.approx(value, rel=1e-2)
    assert plain(measured(-3.4179, 0.172)) == "-3.42 ± 0.17"
    assert plain("≤ 0.2") == "<= 0.2" and plain("≥ 0.99") == ">= 0.99"


def test_figures_are_read_whatever_the_file_holds() -> None:
    goal = {"op": "<=", "value": 0.2, "pass": True}
    found = figures({"metrics": {
        "a": {"value": 3, "standard_error": 0.0}, "b": "x", "c": {"value": None, "goal": goal | {"pass": "yes"}},
        "class_kl": {"value": 0.1, "standard_error": 0.02, "floor": 0.01, "goal": goal},
    }})  # fmt: skip
    assert [(figure.name, figure.words, figure.missed) for figure in found] == [
        ("c", "unknown", True), ("class_kl", "0.100 ± 0.020", False), ("a", "3", False), ("b", "unknown", False),
    ]  # fmt: skip
    assert found[1].title == "Class coverage: KL to uniform" and found[1].by_classifier and not found[1].is_distance
    assert figures(None) == figures({}) == figures({"metrics": []}) == []


def test_numbers_and_times_are_short() -> None:
    assert [number(x) for x in (0.0, 2000.0, 54321.0, 3.14159, -0.5)] == [
        "0",
        "2000",
        "54\u202f321",
        "3.142",
        "\u22120.5",
    ]
    assert number(1.5e12) == "1.5 × 10¹²" and number(-math.inf) == "\u2212infinite"
    assert [short(x) for x in (0.0, 500, 1500, 20_000, 3e6, -2.5)] == ["0", "500", "1500", "20k", "3M", "\u22122.5"]
    assert [duration(x) for x in (0.84, 47, 107.3, 3900, 90_000)] == [
        "0.8 s",
        "47 s",
        "1 min 47 s",
        "1 h 05 min",
        "1 d 1 h",
    ]


def test_a_recipe_in_words() -> None:
    import yaml

    told = dict(summary(yaml.safe_load(runs.CONFIG)))
    assert told["Data"] == "digits: noise 0.03"
    assert told["Network"] == "Convolutional network: channels [32, 64, 128], activation SiLU"
    assert told["Negatives"] == "Replay buffer of persistent chains: steps 20, size 4096, fresh 0.05"
    assert told["Chain kernel"].startswith("Langevin with separate step and noise (SGLD): step size 10, noise 0.005")
    assert told["Optimiser"] == "Adam: lr 0.001, betas [0, 0.999]"
    assert "Negatives" not in dict(summary({"network": None, "negatives": {}}))
    assert in_words({"terms": [{"class_path": "a.B"}, 2], "on": True, "off": False}) == "terms [B, 2]; on"


def test_drawing_is_imported_only_when_drawing() -> None:
    code = "import sys, erg.report; sys.exit('matplotlib' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def browse(*options: str, page: Path, profile: Path) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    quiet = ("--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--disable-gpu")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--enable-logging=stderr", f"--user-data-dir={profile}"]
    command += [*quiet, "--allow-file-access-from-files", *options, page.resolve().as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_renders_it_without_errors_or_requests(finished: Path, tmp_path: Path, scheme: str) -> None:
    from PIL import Image

    page, shot, log = write_report(finished), tmp_path / "page.png", tmp_path / "net.json"
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    done = browse(f"--screenshot={shot}", "--window-size=1200,5000", f"--log-net-log={log}", *dark,
                  page=page, profile=tmp_path / "profile")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr, done.stderr
    addresses = set(re.findall(r'"url":"((?:https?|wss?|ftp):[^"]+)"', log.read_text()))
    # The browser asks its maker for the time and for updates, whatever the page.
    own = re.compile(r"https?://[\w.-]+\.(?:google|gvt1|googleapis)\.com[/:]")
    assert not [address for address in addresses if not own.match(address)]
    pixels = np.asarray(Image.open(shot).convert("L"), dtype=float)
    assert (np.median(pixels) < 60) == (scheme == "dark")
    assert pixels.std() > 10


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [320, 400, 768, 1200])
def test_no_width_needs_sideways_scrolling(finished: Path, tmp_path: Path, width: int) -> None:
    """Measured from outside, because the page's policy lets nothing run inside it."""
    report = shutil.copy(write_report(finished), tmp_path / "report.html")
    frame = tmp_path / "frame.html"
    frame.write_text(
        f"<iframe id=f src='{Path(report).name}' style='border:0;width:{width}px;height:900px'></iframe><script>"
        "onload = () => document.title = 'wide ' + f.contentDocument.documentElement.scrollWidth</script>"
    )
    done = browse("--dump-dom", "--window-size=1400,1000", page=frame, profile=tmp_path / "profile")
    found = re.search(r"<title>wide (\d+)</title>", done.stdout)
    assert found, done.stderr
    assert int(found[1]) <= width
