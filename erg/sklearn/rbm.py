"""A restricted Boltzmann machine as a transformer: features for whatever classifier comes next."""

import time
import warnings
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state, gen_even_slices
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from erg import energies
from erg.energies import Standard
from erg.negatives import Persistent
from erg.objectives import Centred, MaximumLikelihood
from erg.roles import Objective
from erg.samplers import BlockGibbs, sample
from erg.training.loop import train

_ENTRIES = 2**24
"""Of the largest temporary array."""


class RBM(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""A restricted Boltzmann machine of bits, in the place of `sklearn.neural_network.BernoulliRBM`.

    Takes the same parameters, offers the same methods and attributes, and is trained in the same way, by persistent
    contrastive divergence with one sweep an update. Two things differ by default: the machine is centred and starts
    at the means of the data, and rows are shuffled at every pass.

    Entries between 0 and 1 are taken as they are, as probabilities, for learning and for features, as there;
    entries outside of [0, 1] give a warning. Data are arrays or sparse matrices, rows by features.

    Args:
        n_components: Hidden units.
        learning_rate: Of plain gradient descent.
        batch_size: Rows an update, and persistent chains.
        n_iter: Passes over the data in `fit`.
        verbose: Whether a line is printed after each pass.
        random_state: A seed, a `numpy.random.RandomState`, or None.
        centred: Whether offsets follow the means of the layers; False learns as scikit-learn does.

    Attributes:
        components_: Weights, shape (n_components, n_features_in_).
        intercept_hidden_: Biases of the hidden units.
        intercept_visible_: Biases of the visible units.
        h_samples_: Hidden states of the persistent chains, shape (batch_size, n_components).
        v_samples_: Visible states of the persistent chains, from which `partial_fit` goes on.
        n_features_in_: Visible units.

    References:
        Tieleman (2008), Training restricted Boltzmann machines using approximations to the likelihood gradient,
        doi:10.1145/1390156.1390290

    Example:
        >>> x = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
        >>> RBM(n_components=2, random_state=0).fit_transform(x).shape
        (4, 2)
    """

    components_: NDArray[Any]
    intercept_hidden_: NDArray[Any]
    intercept_visible_: NDArray[Any]
    h_samples_: NDArray[Any]
    v_samples_: NDArray[Any]

    # Parameters are looked at by `fit`: scikit-learn sets them to anything before.
    def __init__(
        self,
        n_components: Any = 256,
        *,
        learning_rate: Any = 0.1,
        batch_size: Any = 10,
        n_iter: Any = 10,
        verbose: Any = 0,
        random_state: Any = None,
        centred: Any = True,
    ) -> None:
        self.n_components = n_components
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.verbose = verbose
        self.random_state = random_state
        self.centred = centred

    def fit(self, X: Any, y: Any = None) -> "RBM":
        """Learn from all rows, `n_iter` times.

        Raises:
            ValueError: If a parameter is out of range, or the data are no finite numbers.
        """
        self._check_parameters()
        x = self._validated(X, reset=True)
        self.random_state_ = check_random_state(self.random_state)
        self._begin(x)
        batches = -(-x.shape[0] // self.batch_size)
        for index in range(1, self.n_iter + 1):
            start, order = time.perf_counter(), self.random_state_.permutation(x.shape[0])
            slices = gen_even_slices(x.shape[0], min(batches, x.shape[0]))
            self._learn(_dense(x[order[part]]) for part in slices)
            if self.verbose:
                score, seconds = self.score_samples(X).mean(), time.perf_counter() - start
                print(f"[{type(self).__name__}] Iteration {index}, pseudo-likelihood = {score:.2f}, {seconds:.2f} s")
        return self

    def partial_fit(self, X: Any, y: Any = None) -> "RBM":
        """One update for each `batch_size` rows, in their order, from where the last call ended.

        Raises:
            ValueError: If a parameter is out of range, or the data do not fit those of the first call.
        """
        self._check_parameters()
        first = not hasattr(self, "components_")
        x = self._validated(X, reset=first)
        if first:
            self.random_state_ = check_random_state(self.random_state)
            self._begin(x)
        slices = gen_even_slices(x.shape[0], -(-x.shape[0] // self.batch_size))
        self._learn(_dense(x[part]) for part in slices)
        return self

    def transform(self, X: Any) -> NDArray[Any]:
        """P(h = 1 | v) of each row, shape (rows, n_components)."""
        check_is_fitted(self)
        x = self._validated(X, reset=False)
        machine = self._machine(x.dtype)
        with torch.no_grad():
            return np.concatenate([machine.hidden_mean(part).numpy() for part in _chunks(x, x.shape[1])])

    def gibbs(self, v: Any) -> NDArray[np.bool_]:
        """The visible states after one sweep from `v`."""
        check_is_fitted(self)
        x = self._validated(v, reset=False)
        rng = self._generator(self.random_state_)
        return sample(BlockGibbs(), self._machine(x.dtype), _dense(x), 1, rng).numpy() > 0.5

    def score_samples(self, X: Any) -> NDArray[Any]:
        r"""The log pseudo-likelihood of each row, :math:`\sum_i \log p(v_i \mid v_{\setminus i})`, in nats.

        Scikit-learn's is an unbiased estimate of this sum by one random term, times the number of features. Here all
        terms are summed, so that the result has no noise; it costs as many energies as there are features. For
        likelihoods see `erg.evaluation.partition`.
        """
        check_is_fitted(self)
        x = self._validated(X, reset=False)
        machine = self._machine(x.dtype)
        with torch.no_grad():
            chunks = _chunks(x, x.shape[1] * self.components_.shape[0])
            return np.concatenate([_pseudo_likelihood(machine, part).numpy() for part in chunks])

    def __sklearn_tags__(self) -> Any:
        """Sparse data are taken, and float32 and float64 kept."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _begin(self, x: Any) -> None:
        """Initial weights, biases, offsets and chains."""
        torch_rng = self._generator(self.random_state_)
        shape, features = (self.n_components, x.shape[1]), x.shape[1]
        self.components_ = self.random_state_.normal(0, 0.01, shape).astype(x.dtype)
        self._n_features_out = self.n_components
        self.intercept_hidden_ = np.zeros(self.n_components, x.dtype)
        self.intercept_visible_ = np.zeros(features, x.dtype)
        self._offsets = self.intercept_visible_, self.intercept_hidden_
        machine = self._machine(x.dtype)
        if self.centred:
            # Bits, as a machine of bits starts at no others; chunks, as sparse data need not fit as a whole.
            mean = torch.cat([_bits(part, torch_rng) for part in _chunks(x, features)])
            machine.start_at(mean)
        chains = machine.support.initial((self.batch_size, features), torch_rng, like=machine.weight)
        self._keep(machine, chains, torch_rng)

    def _learn(self, batches: Iterator[Tensor]) -> None:
        """One update a batch."""
        rng, machine = self._generator(self.random_state_), self._machine(self.components_.dtype)
        machine.recentre(*(torch.from_numpy(offset) for offset in self._offsets))
        dtype = machine.weight.dtype
        # As many chains as a batch may have rows: `batch_size` may have been raised since the last call.
        size = max(self.batch_size, len(self.v_samples_))
        positions = torch.from_numpy(np.resize(self.v_samples_, (size, self.v_samples_.shape[1])))
        chains = Persistent(BlockGibbs(), steps=1, size=size, fresh=0.0, dtype=dtype)
        chains.load_state_dict({"positions": positions, "support": repr(machine.support)})
        objective: Objective = MaximumLikelihood(chains)
        objective = Centred(objective) if self.centred else objective
        optimizer = torch.optim.SGD(machine.parameters(), lr=float(self.learning_rate))
        for _ in train(machine, objective, (batch.to(dtype) for batch in batches), optimizer, rng):
            pass
        assert chains.positions is not None
        self._keep(machine, chains.positions, rng)

    def _keep(self, machine: energies.RBM, chains: Tensor, rng: torch.Generator) -> None:
        """Take parameters, offsets and chains out of a machine."""
        with torch.no_grad():
            weight, visible, hidden = (value.detach().clone() for value in machine.standard())
            self.components_ = np.asarray(weight.numpy().T, order="C")
            self.intercept_visible_, self.intercept_hidden_ = visible.numpy(), hidden.numpy()
            self._offsets = machine.visible_offset.clone().numpy(), machine.hidden_offset.clone().numpy()
            self.v_samples_ = chains.numpy()
            self.h_samples_ = machine.sample_hidden(chains, rng).numpy()

    def _machine(self, dtype: Any) -> energies.RBM:
        """The machine of the attributes, whoever has set them; its offsets are 0."""
        values = self.components_.T, self.intercept_visible_, self.intercept_hidden_
        weight, b, c = (torch.from_numpy(np.array(value, dtype=dtype, order="C")) for value in values)
        machine = energies.RBM(len(b), len(c), scale=0.0).to(weight.dtype)
        return machine.holding(Standard(weight, b, c))

    def _validated(self, X: Any, *, reset: bool) -> Any:
        # As copies, since read-only arrays cannot be tensors.
        x = validate_data(self, X, accept_sparse="csr", reset=reset, dtype=(np.float64, np.float32))
        values = x.data if sparse.issparse(x) else x
        if values.size and (values.min() < 0 or values.max() > 1):
            warnings.warn(
                "RBM takes bits or their probabilities, entries in [0, 1], but some are outside; binarise or scale "
                "them (sklearn.preprocessing.minmax_scale).",
                UserWarning,
                stacklevel=3,
            )
        return x

    def _generator(self, random_state: np.random.RandomState) -> torch.Generator:
        return torch.Generator().manual_seed(int(random_state.randint(2**31 - 1)))

    def _check_parameters(self) -> None:
        for name, least in (("n_components", 1), ("batch_size", 1), ("n_iter", 0)):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < least:
                raise ValueError(f"{name} is a whole number of at least {least}, but got {value!r}.")
        if not isinstance(self.learning_rate, Real) or not float(self.learning_rate) > 0:
            raise ValueError(f"learning_rate is a positive number, but got {self.learning_rate!r}.")


def _dense(x: Any) -> Tensor:
    return torch.from_numpy(x.toarray() if sparse.issparse(x) else np.array(x))


def _chunks(x: Any, entries: int) -> Iterator[Tensor]:
    """Rows, so many at a time that `entries` numbers for each fit."""
    rows = max(_ENTRIES // max(entries, 1), 1)
    return (_dense(x[start : start + rows]) for start in range(0, x.shape[0], rows))


def _bits(x: Tensor, rng: torch.Generator) -> Tensor:
    return (torch.rand(x.shape, generator=rng, dtype=x.dtype) < x).to(x.dtype)


def _pseudo_likelihood(machine: energies.RBM, v: Tensor) -> Tensor:
    """The sum of the log probabilities of the units, each given the others."""
    flips = 1 - 2 * v
    fields = machine.hidden_field(v)
    flipped = machine.hidden_units.log_partition(fields[:, None] + flips[..., None] * machine.weight)
    gains = flips * machine.visible_bias + flipped - machine.hidden_units.log_partition(fields)[:, None]
    return torch.nn.functional.logsigmoid(-gains).sum(1)
