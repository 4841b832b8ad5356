"""Held-out −log p of binarised digits for the ways to sharpen a VAE: posterior, bound and prior, all else the same.

8,000 of MNIST's 10,000 test images train, 2,000 are held out, every pixel above 127 is one. Perceptrons 784-200-200 and
back, 20 latents, 60 epochs of batches of 100; −log p is importance sampled with 500 draws per image. Few images: the
figures are compared with one another, not with those of models trained on 60,000.

    nice -n 10 .venv/bin/python benchmarks/vae/mnist.py FOLDER_WITH_T10K [--seeds 0 1] [--epochs 60] [--only vae iwae]

Each run is stored as it ends in --out, and is not repeated.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from pushforward.data.dataset import Batch
from pushforward.models.vae import vae
from pushforward.numerics.random import Draws, permutation
from pushforward.training import Recipe, fit
from pushforward.vae import Bernoulli, FullCovariance, Importance, VampPrior, flow_prior, iaf_posterior

LATENT, BATCH, TRAIN = 20, 100, 8000
SETTINGS = {"latent": LATENT, "likelihood": Bernoulli(), "hidden": (200, 200)}


def models(images):
    """What is compared: constructors, so that each is built after its seed is set."""
    rows = permutation(7, len(images))[:200]
    return {
        "vae": lambda: vae((1, 28, 28), **SETTINGS),
        "IWAE, 5 draws": lambda: vae((1, 28, 28), **SETTINGS, bound=Importance(5)),
        "full covariance": lambda: vae((1, 28, 28), **{**SETTINGS, "latent": None}, posterior=FullCovariance(LATENT)),
        "IAF posterior": lambda: vae(
            (1, 28, 28), **{**SETTINGS, "latent": None}, posterior=iaf_posterior(LATENT, 2, (64,))
        ),
        "VampPrior, 200": lambda: vae((1, 28, 28), **SETTINGS, prior=VampPrior(images[rows])),
        "flow prior": lambda: vae((1, 28, 28), **SETTINGS, prior=flow_prior(LATENT)),
    }


class Images:
    """Items to train on, by index."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def batch(self, indices):
        return Batch(self.values[indices.cpu()])


def read(folder):
    """All 10,000 test images, binarised, in model units (−1 and 1), in a counted random order."""
    [path] = sorted(Path(folder).glob("t10k-images*"))
    raw = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())[16:]
    pixels = torch.from_numpy(np.frombuffer(raw, np.uint8).reshape(-1, 1, 28, 28).copy())
    return torch.where(pixels > 127, 1.0, -1.0)[permutation(1, len(pixels))]


def score(model, images, samples=500):
    """−log p and −ELBO of held-out images in nats, and how many draws of the posterior 500 are worth."""
    model.eval()
    evidence, bound, effective = [], [], []
    for rows in torch.arange(len(images)).split(100):
        draws = Draws.of(0, rows, "score")
        with torch.no_grad():
            found = model.evidence(images[rows], None, draws, samples)
            bound.append(model.terms(images[rows], None, draws).elbo)
        evidence.append(found.value)
        effective.append(found.effective)
    return (
        -float(torch.cat(evidence).mean()),
        -float(torch.cat(bound).mean()),
        float(torch.cat(effective).median()),
    )


def run(make, train, test, seed, epochs):
    """Train one model and score it."""
    torch.manual_seed(seed)
    model, began = make(), time.process_time()
    steps = epochs * len(train) // BATCH
    recipe = Recipe(
        batch_size=BATCH,
        steps=steps,
        learning_rate=1e-3,
        clip_norm=None,
        ema_lengths=(),
        seed=seed,
        save_seconds=None,
        device="cpu",
    )
    with tempfile.TemporaryDirectory() as out:
        fit(model, Images(train), None, recipe, out, {})
    trained = time.process_time() - began
    nll, bound, effective = score(model, test)
    return {
        "nll": nll,
        "bound": bound,
        "effective": effective,
        "train_seconds": trained,
        "score_seconds": time.process_time() - began - trained,
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def report(results):
    """A Markdown table: means over seeds and half the range."""
    lines = [
        "| model | parameters | −log p, 500 draws (nats) | −ELBO | draws worth | training, CPU s |",
        "|---|---|---|---|---|---|",
    ]
    names = dict.fromkeys(entry["model"] for entry in results)
    for name in names:
        rows = [entry for entry in results if entry["model"] == name]
        nll = [row["nll"] for row in rows]
        cells = [statistics.fmean(row[key] for row in rows) for key in ("bound", "effective", "train_seconds")]
        shown = f"{statistics.fmean(nll):.2f} ± {(max(nll) - min(nll)) / 2:.2f} ({len(nll)} seeds)"
        lines.append(
            f"| {name} | {rows[0]['parameters']:,} | {shown} | {cells[0]:.2f} | {cells[1]:.0f} | {cells[2]:.0f} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="holds t10k-images-idx3-ubyte, gzipped or not")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/vae_mnist.json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    images = read(given.folder)
    train, test = images[:TRAIN], images[TRAIN:]
    results = json.loads(given.out.read_text()) if given.out.exists() else []
    for seed in given.seeds:
        for name, make in models(train).items():
            done = any((r["model"], r["seed"], r["epochs"]) == (name, seed, given.epochs) for r in results)
            if done or (given.only and name not in given.only):
                continue
            results.append(
                {"model": name, "seed": seed, "epochs": given.epochs, **run(make, train, test, seed, given.epochs)}
            )
            given.out.write_text(json.dumps(results, indent=1) + "\n")
            print(f"{name}, seed {seed}: {results[-1]}", flush=True)
    print(report(results))


if __name__ == "__main__":
    main()
