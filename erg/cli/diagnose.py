"""``erg diagnose``: do a run's chains forget where they started?"""

from typing import TYPE_CHECKING, Any

from erg.cli.options import Parser
from erg.errors import UserError

if TYPE_CHECKING:
    import torch

    from erg.runs.diagnosis import Diagnosis, Plan
    from erg.runs.model import Model

DEVICES = ("auto", "cpu", "cuda", "mps")
PATIENCE = 60.0
LEGEND = (
    "Hardly move: chains that stray less than a tenth of the width of all chains in the second half of the steps.\n"
    "Not finite: how many chains came to values that are not; they are left out of all else."
)
KERNELS = ("own", "hmc", "mala", "mams", "nuts")


def run(arguments: list[str]) -> int:
    """Run chains, write diagnosis.json, diagnosis.npz and the report, say whether the chains meet; return 0."""
    parser = Parser(
        "diagnose",
        "Run long chains of a run's own kernel from held-out data and from noise, and say whether they meet: whether "
        "samples are draws from the model, or short-run samples that longer chains would leave.",
        "  erg diagnose runs/demo\n  erg diagnose runs/mnist --chains 128 --steps 20000\n"
        "  erg diagnose runs/table --kernel nuts --steps 500\n  erg diagnose runs/demo --checkpoint best",
    )
    parser.add_run()
    parser.add_checkpoint()
    parser.add_argument(
        "--chains", type=int, default=64, help="chains from data, and as many from noise (default: 64)"
    )
    parser.add_argument(
        "--steps", type=int, help="transitions of each (default: ten times the recipe's, and at least 2000)"
    )
    parser.add_argument(
        "--kernel",
        choices=KERNELS,
        default="own",
        help="the run's own, or an exact one, which is tuned first: can the model be sampled at all? (default: own)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of starts and chains (default: 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    chosen = parser.parse_args(arguments)
    if chosen.device not in DEVICES:
        raise UserError(f"--device is one of {', '.join(DEVICES)}, but got {chosen.device!r}.")
    from erg.report import write_report
    from erg.runs.diagnosis import Plan, check_plan
    from erg.runs.exact import check_kernel, with_kernel
    from erg.runs.findings import to_json, verdict, write
    from erg.runs.model import open_model

    check_plan(chosen.chains, chosen.steps)
    device = _device(chosen.device)
    best, other = chosen.checkpoint == "best", None if chosen.kernel == "own" else chosen.kernel
    model = open_model(chosen.run, trust=chosen.trust, best=best)
    if other:
        check_kernel(model, other)
    data = model.data()
    plan = Plan.of(model, data, chains=chosen.chains, steps=chosen.steps)
    if plan.chains < chosen.chains:
        print(f"There are {plan.chains} held-out rows to start at: as many chains are run from each start.")
    if other:
        _warn(model, data, other, plan, device)
        model = with_kernel(model, data, other, plan, seed=chosen.seed, device=device)
    found = _carry_out(model, data, plan, seed=chosen.seed, device=device)
    sentence = verdict(found, kernel=model.kernel, sampler_steps=model.recipe.sampler.steps, other=other)
    record = to_json(found, sentence=sentence, model=model, seed=chosen.seed, other=other)
    write(model, found, record)
    _show(record)
    if best:
        print(f"This is about the best checkpoint, kept in {model.folder.path}; the report shows the last.")
    print(f"{sentence}\nReport: {write_report(chosen.run)}")
    return 0


def _warn(model: "Model", data: Any, other: str, plan: "Plan", device: "torch.device") -> None:
    """Say how long another kernel will take, if that is long, before it begins."""
    from erg.report.numbers import duration
    from erg.runs.exact import expected_seconds

    seconds = expected_seconds(model, data, other, plan, device=device)
    if seconds > PATIENCE:
        less = "--chains or --steps" if other == "mala" else "--chains, --steps or --kernel mala"
        print(f"--kernel {other} will take about {duration(seconds)} here; {less} may shorten that.", flush=True)


def _device(name: str) -> "torch.device":
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, found in there.items() if found)
    if not there[name]:
        raise UserError(f"--device {name} is not there; `erg doctor` lists the devices of this machine.")
    return torch.device(name)


def _carry_out(model: "Model", data: Any, plan: "Plan", *, seed: int, device: "torch.device") -> "Diagnosis":
    """Run the chains under a progress bar, or a line where there is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    from erg.runs.diagnosis import diagnose

    console = Console()
    what = f"{plan.chains} chains from data and {plan.chains} from noise, {plan.steps} steps"
    if not console.is_terminal:
        print(f"Running {what} ...", flush=True)
    try:
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task(what, total=plan.steps)
            return diagnose(
                model, data, plan, seed=seed, device=device, advanced=lambda steps: progress.advance(task, steps)
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; nothing was written.") from None


def _show(record: dict[str, Any]) -> None:
    from erg.cli.tables import aligned

    energies = [
        [f"from {start}", _measured(group["start"]), _measured(group["end"]), _measured(group["drift"]),
         _share(group["still"]["value"]), str(group["lost"] or "none")]
        for start, group in record["energy"].items()
    ]  # fmt: skip
    titles = ["energy of chains\n(nats)", "\nstart", "\nend", "\ndrift", "hardly\nmove", "not\nfinite"]
    print(aligned(titles, energies))
    print(LEGEND)
    rows = [
        [name, _signed(row["location"]), _signed(row["width"]), "yes" if row["apart"] else "no",
         *(_short(row[figure]) for figure in ("rhat", "bulk", "tail"))]
        for name, row in record["summaries"].items()
    ]  # fmt: skip
    if rows:
        titles = ["\nsummary", "noise - data\n(sd)", "in width\n(sd)", "\napart", "\nR-hat", "bulk\nESS", "tail\nESS"]
        print("\n" + aligned(titles, rows))
    cost, jumps = record["gradients_per_effective_draw"], record["jumps"]
    told = f"A chain changes between {jumps['between']} {_measured(jumps)} times in {record['steps'] // 2} steps"
    if cost and record["verdict"]["outcome"] == "converged":
        told += f"; an effective draw costs {_measured(cost)} gradients"
    elif cost:  # as many effective draws as chains, however long they are: the figure is that of this length
        told += f"; an effective draw costs more than {_short(cost['value'])} gradients"
    print(f"\n{told}.")
    if record["nonfinite"]:
        print(f"{100 * record['nonfinite']:.2g} % of the states that were tried have no finite energy: rejected.")


def _measured(figure: dict[str, Any]) -> str:
    from erg.report.numbers import measured, plain

    return plain(measured(float(figure["value"]), float(figure["standard_error"])))


def _signed(figure: dict[str, Any]) -> str:
    return f"{float(figure['value']):+.2f} ± {float(figure['standard_error']):.2f}"


def _share(value: float | str) -> str:
    return "unknown" if isinstance(value, str) else f"{100 * value:.0f} %"


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else (f"{value:.2f}" if value < 100 else f"{value:.0f}")
