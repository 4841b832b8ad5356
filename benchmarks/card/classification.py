"""CARD as a classifier: the Gaussian mixture with its Bayes accuracy, and MNIST's test images with noise.

    OMP_NUM_THREADS=1 python benchmarks/card/classification.py --mnist MNIST

MNIST is a folder with t10k-images-idx3-ubyte(.gz) and its labels: 8,000 of these 10,000 images are learned, 2,000
tested, all with N(0, 1) added to pixels in [0, 1], as in the paper. Noise of a seed is the same every time. What is
stored is skipped.
"""

from __future__ import annotations

import argparse
import gzip
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.neural_network import MLPClassifier
from store import stored

from data import mixture, mixture_posterior
from pushforward.estimators import CARDClassifier, Usual
from pushforward.metrics.certainty import accuracy, auroc, class_nll, ece, pavpu

DIGITS = Usual(dropout=0.2, feature_dropout=0.3)


def figures(model: CARDClassifier, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """What is measured of a classifier on test rows, f alone beside it."""
    said = model.predict_certainty(x)
    features, f = model._rows(x)
    f = (model.predictor_.mean_of(features) if f is None else f).numpy()
    right, f_right = said.probabilities.argmax(1) == y, f.argmax(1) == y
    found = {
        "accuracy": accuracy(said.probabilities, y),
        "nll": class_nll(said.probabilities, y),
        "ece": ece(said.probabilities, y),
        "vote_ece": ece(said.votes, y),
        "f_accuracy": accuracy(f, y),
        "f_nll": class_nll(f, y),
        "f_ece": ece(f, y),
        "pavpu": pavpu(right, said.p_values < 0.05),
        "temperature": float(model.predictor_.card.temperature),
    }
    if 0 < right.sum() < len(y):
        voted = said.widths[np.arange(len(y)), said.votes.argmax(1)]
        found["auroc_width"], found["auroc_width_95"] = auroc(said.width, ~right), auroc(voted, ~right)
        found["auroc_probability"] = auroc(-said.probabilities.max(1), ~right)
        found["auroc_f"] = auroc(-f.max(1), ~f_right)
        found["auroc_f_of_ours"] = auroc(-f.max(1), ~right)
        found["auroc_gain_se"] = paired_error(said.width, -f.max(1), ~right)
        found["width_right"], found["width_wrong"] = float(said.width[right].mean()), float(said.width[~right].mean())
    return found


def paired_error(ours: np.ndarray, theirs: np.ndarray, wrong: np.ndarray, times: int = 500) -> float:
    """Standard error of the difference of two AUROC on the same answers, by drawing the answers again."""
    rng, found = np.random.default_rng(0), []
    for _ in range(times):
        rows = rng.integers(0, len(wrong), len(wrong))
        if 0 < wrong[rows].sum() < len(rows):
            found.append(auroc(ours[rows], wrong[rows]) - auroc(theirs[rows], wrong[rows]))
    return float(np.std(found, ddof=1))


def gaussians(steps: int) -> dict[str, Any]:
    """10,240 points of the mixture, 80 % of them learned; a further 20,000 to measure on."""
    x, y = mixture(10_240, 0)
    began = time.process_time()
    model = CARDClassifier(setting=Usual(dropout=0.0), steps=steps, n_samples=100).fit(x[:8192], y[:8192])
    trained = time.process_time() - began
    x_test, y_test = mixture(20_000, 1)
    found = figures(model, x_test, y_test)
    exact = mixture_posterior(x_test)
    votes = model.predict_certainty(x_test[:4000]).votes
    found["bayes"] = accuracy(exact, y_test)
    found["votes_off"] = float(np.abs(votes - exact[:4000]).mean())
    return found | {"train_s": trained}


def digits(folder: Path, steps: int, seed: int) -> dict[str, Any]:
    """Noisy images; f a perceptron 784-300-100-10, as in the paper without its batch normalisation."""
    images, labels = (read(folder, name, offset) for name, offset in (("images-idx3", 16), ("labels-idx1", 8)))
    x = images.reshape(-1, 784) / 255 + np.random.default_rng(seed).normal(size=(10_000, 784))
    order = np.random.default_rng(0).permutation(10_000)
    train, test = order[:8000], order[8000:]
    f = MLPClassifier((300, 100), early_stopping=True, n_iter_no_change=8, alpha=1e-2, random_state=seed)
    began = time.process_time()
    model = CARDClassifier(f, DIGITS, steps=steps, n_samples=100, random_state=seed).fit(x[train], labels[train])
    trained = time.process_time() - began
    truth = labels[test].astype(int)
    alone = clone(f).fit(x[train], labels[train]).predict_proba(x[test])  # one network, as the paper's f
    single = {"single_accuracy": accuracy(alone, truth), "single_ece": ece(alone, truth)}
    single["single_auroc"] = auroc(-alone.max(1), alone.argmax(1) != truth)
    return figures(model, x[test], truth) | single | {"train_s": trained}


def read(folder: Path, name: str, offset: int) -> np.ndarray:
    """One of MNIST's own files, packed or not."""
    found = next(folder.glob(f"t10k-{name}-ubyte*"), None) or next(folder.glob(f"t10k-{name.replace('-', '.')}*"))
    data = gzip.decompress(found.read_bytes()) if found.suffix == ".gz" else found.read_bytes()
    values = np.frombuffer(data, np.uint8, offset=offset)
    return values.reshape(10_000, 28, 28) if "images" in name else values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, help="left out: the mixture alone")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "results" / "card-classes")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = {"mixture": stored(args.out / "mixture.json", partial(gaussians, args.steps))}
    for seed in range(args.seeds if args.mnist else 0):
        path = args.out / f"mnist-{seed}.json"
        rows[f"mnist {seed}"] = stored(path, partial(digits, args.mnist, args.steps, seed))
    for name, found in rows.items():
        print(f"{name:<10} " + "  ".join(f"{key} {value:.4g}" for key, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
