"""The 1,797 handwritten digits inside scikit-learn: 8x8, 17 grey levels, no download.

They are the test part of the UCI set "Optical Recognition of Handwritten Digits", doi:10.24432/C50P49.
"""

import torch

from erg.data.dataset import Dataset, Split, hold_out, image_set

HELD_OUT = 0.2
_SPLIT_SEED = 0


def digits() -> Dataset:
    """1,438 digits to train on and 359 held out, in equal shares of each class.

    The division never changes, whatever the seed of a run: anything trained on the training rows may
    be judged on the held-out rows of every run.
    """
    from sklearn.datasets import load_digits

    grey, label = load_digits(return_X_y=True)
    x = torch.from_numpy(grey).float().div(8.0).sub(1.0).reshape(-1, 1, 8, 8)
    everything = Split(x, torch.from_numpy(label).long())
    return image_set("digits", *hold_out(everything, name="digits", seed=_SPLIT_SEED, fraction=HELD_OUT))
