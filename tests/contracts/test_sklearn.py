"""Does the transformer keep scikit-learn's conventions, and can it take the place of `BernoulliRBM`?"""

import inspect
import itertools
import pickle
import warnings

import numpy as np
import pytest
from scipy import sparse
from scipy.special import expit, logsumexp
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from erg.sklearn import RBM


@parametrize_with_checks([RBM(n_components=4, n_iter=1)])
@pytest.mark.filterwarnings("ignore:RBM takes bits")
def test_it_is_an_estimator(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([RBM(), RBM(n_components=2, centred=False, n_iter=3)])
@pytest.mark.filterwarnings("ignore:RBM takes bits")
def test_it_is_an_estimator_with_other_settings(estimator, check):
    check(estimator)


def states(n):
    return np.array(list(itertools.product([0.0, 1.0], repeat=n)))


def log_likelihood(model, x):
    """The exact mean of log p, from the attributes that both libraries have."""

    def log_density(v):
        fields = v @ model.components_.T + model.intercept_hidden_
        return v @ model.intercept_visible_ + np.logaddexp(0, fields).sum(1)

    return float((log_density(x) - logsumexp(log_density(states(x.shape[1])))).mean())


@pytest.fixture(scope="module")
def x():
    """Twelve pixels of digits."""
    return (load_digits().images[:, 2:6, 2:5].reshape(-1, 12) > 7).astype(float)


def test_it_takes_the_same_parameters_and_has_the_same_attributes(x):
    theirs, ours = BernoulliRBM(), RBM()
    assert ours.get_params().keys() - theirs.get_params().keys() == {"centred"}
    assert {name: ours.get_params()[name] for name in theirs.get_params()} == theirs.get_params()
    for model in (theirs, ours):
        model.set_params(n_components=3, n_iter=1, random_state=0).fit(x[:55])
    public = {name for name in vars(theirs) if name.endswith("_")}
    for name in public:
        assert np.shape(getattr(theirs, name)) == np.shape(getattr(ours, name)), name
    for name in ("fit", "partial_fit", "transform", "gibbs", "score_samples", "fit_transform"):
        assert list(inspect.signature(getattr(theirs, name)).parameters) == list(
            inspect.signature(getattr(ours, name)).parameters
        )
    assert list(ours.get_feature_names_out()) == ["rbm0", "rbm1", "rbm2"]


def fitted_like(x, *, seed=0):
    """Both libraries' machines with the same random weights."""
    rng = np.random.default_rng(seed)
    theirs, ours = (kind(n_components=5, n_iter=1, random_state=0).fit(x[:50]) for kind in (BernoulliRBM, RBM))
    for name in ("components_", "intercept_hidden_", "intercept_visible_"):
        value = rng.standard_normal(getattr(theirs, name).shape)
        setattr(theirs, name, value)
        setattr(ours, name, value.copy())
    return theirs, ours


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_features_are_the_same(x, kind, dtype):
    theirs, ours = fitted_like(x)
    found = ours.transform(kind(x[:20].astype(dtype)))
    assert found.dtype == dtype and found.shape == (20, 5)
    np.testing.assert_allclose(found, theirs.transform(x[:20]), rtol=1e-5 if dtype == np.float32 else 1e-12)
    grey = np.random.default_rng(0).random((6, 12))
    np.testing.assert_allclose(ours.transform(grey), theirs.transform(grey), rtol=1e-12)


def test_scores_are_the_mean_of_their_noisy_ones_and_the_enumerated_sum(x):
    theirs, ours = fitted_like(x)
    rows = x[:4]
    found = ours.score_samples(rows)
    v = states(12)
    fields = v @ ours.components_.T + ours.intercept_hidden_
    law = v @ ours.intercept_visible_ + np.logaddexp(0, fields).sum(1)
    index = {tuple(state): score for state, score in zip(v, law, strict=True)}
    for row, score in zip(rows, found, strict=True):
        expected = 0.0
        for i in range(12):
            other = row.copy()
            other[i] = 1 - other[i]
            expected += np.log(expit(index[tuple(row)] - index[tuple(other)]))
        assert score == pytest.approx(expected, abs=1e-10)
    noisy = np.stack([theirs.set_params(random_state=seed).score_samples(rows) for seed in range(200)])
    assert (abs(noisy.mean(0) - found) < 5 * noisy.std(0) / 200**0.5).all()


def test_one_sweep_has_the_law_of_theirs(x):
    theirs, ours = fitted_like(x)
    v = np.repeat(x[:1], 20_000, 0)
    means = [model.gibbs(v).mean(0) for model in (theirs, ours)]
    assert ours.gibbs(v).dtype == bool
    spread = np.sqrt(2 * means[0] * (1 - means[0]) / len(v)) + 1e-9
    assert (abs(means[0] - means[1]) < 5 * spread).all()


@pytest.mark.slow
def test_it_learns_no_worse(x):
    """The exact likelihood of the same machine on the same data with the same settings."""
    found = {}
    for name, model in {"theirs": BernoulliRBM(), "plain": RBM(centred=False), "centred": RBM()}.items():
        model.set_params(n_components=6, learning_rate=0.2, batch_size=50, n_iter=15, random_state=0)
        found[name] = log_likelihood(model.fit(x), x)
    p = x.mean(0)
    coins = float((x * np.log(p) + (1 - x) * np.log(1 - p)).sum(1).mean())
    assert coins + 0.3 < found["theirs"] < min(found["plain"], found["centred"])


def test_partial_fit_goes_on_where_it_ended(x):
    model = RBM(n_components=6, learning_rate=0.1, batch_size=50, random_state=0)
    scores = []
    for _ in range(3):
        for start in range(0, len(x), 500):
            model.partial_fit(x[start : start + 500])
        scores.append(log_likelihood(model, x))
    assert scores[-1] > scores[0]
    copy = pickle.loads(pickle.dumps(model))
    for each in (model, copy):
        each.partial_fit(x[:100])
    np.testing.assert_array_equal(model.components_, copy.components_)
    np.testing.assert_array_equal(model.v_samples_, copy.v_samples_)


def test_it_works_in_pipelines_and_searches(x):
    y = load_digits().target
    pipeline = make_pipeline(RBM(n_iter=1, random_state=0), LogisticRegression(max_iter=500))
    search = GridSearchCV(pipeline, {"rbm__n_components": [2, 12]}, cv=2).fit(x[:200], y[:200])
    assert search.best_params_ == {"rbm__n_components": 12}
    assert clone(search.best_estimator_[0]).get_params() == search.best_estimator_[0].get_params()


def test_what_it_says(x, capsys):
    RBM(n_components=2, n_iter=2, verbose=1, random_state=0).fit(x[:50])
    assert capsys.readouterr().out.count("pseudo-likelihood = ") == 2
    with pytest.warns(UserWarning, match=r"entries in \[0, 1\]"):
        RBM(n_components=2, n_iter=1).fit(x[:50] * 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RBM(n_components=2, n_iter=1).fit(x[:50] / 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_components": 0}, "n_components is a whole number of at least 1, but got 0"),
        ({"batch_size": 2.5}, "batch_size is a whole number"),
        ({"n_iter": -1}, "n_iter is a whole number of at least 0"),
        ({"learning_rate": 0.0}, "learning_rate is a positive number"),
    ],
)
def test_parameters_out_of_range_are_refused(x, settings, message):
    with pytest.raises(ValueError, match=message):
        RBM(**settings).fit(x[:50])


def test_partial_fit_takes_larger_batches_and_another_precision_later(x):
    machine = RBM(n_components=4, batch_size=10, n_iter=1, random_state=0).fit(x[:50].astype(np.float32))
    before = machine.components_.copy()
    machine.set_params(batch_size=25).partial_fit(x[50:100].astype(np.float64))
    assert machine.components_.dtype == np.float32 and np.isfinite(machine.components_).all()
    assert machine.v_samples_.shape == (25, x.shape[1]) and not np.array_equal(machine.components_, before)
