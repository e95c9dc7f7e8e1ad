"""Shapes in annotations are executed by the tests, and every test runs on one thread from its own seed."""

from collections.abc import Iterator

import pytest
from jaxtyping import install_import_hook

from tests import typecheck

# Before anything imports erg: the hook rewrites modules while they load.
install_import_hook("erg", f"{typecheck.__name__}.check")

import hypothesis  # noqa: E402
import jaxtyping  # noqa: E402
import torch  # noqa: E402

from erg.samplers.compilation.compiled import compiler_status  # noqa: E402

# The same examples on every machine: a failure can be repeated, and a slow machine is not a failure.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("repeatable")

# Chains of thousands of steps spend half of their time on checks. The other folders call the same functions with
# their annotations checked; here they run as they do for users.
UNCHECKED = ("documentation", "learning", "power", "statistical")


@pytest.fixture(scope="session", autouse=True)
def single_thread() -> None:
    """Several workers share the machine, and results must not depend on its number of cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def unfused() -> Iterator[None]:
    """Compiled kernels run their traced graphs: a C++ compiler needs seconds for each. See `compiler`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("erg.samplers.compilation.graphs.has_compiler", lambda: False)
        yield


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile with the C++ compiler in this test."""
    if compiler_status().startswith("none"):
        pytest.skip("no C++ compiler")
    monkeypatch.setattr("erg.samplers.compilation.graphs.has_compiler", lambda: True)


@pytest.fixture(autouse=True)
def annotations(request: pytest.FixtureRequest) -> None:
    """Check the annotations of every call, except in the folders of long chains."""
    jaxtyping.config.update("jaxtyping_disable", request.path.parent.name in UNCHECKED)


@pytest.fixture(autouse=True)
def global_seed() -> None:
    """The global generator starts at the same place in every test."""
    torch.manual_seed(0)


@pytest.fixture
def rng() -> torch.Generator:
    """The source of randomness of a test."""
    return torch.Generator().manual_seed(0)
