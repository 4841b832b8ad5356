"""The linear-Gaussian world: the posterior in closed form, and draws of it by the diffusion model."""

from __future__ import annotations

import numpy as np

from pushforward.brain import Components, Exact, GaussianLaw, Measured, Task, fit_decoder, gaussian_posterior


def bayes(world, components, gain, said, noise):
    """p(x | ĉ) of all pixels by conditioning the joint normal law, by NumPy alone."""
    axes, mean = components.axes.numpy(), components.mean.numpy()
    a = gain @ axes
    cross = world.covariance @ a.T
    weight = np.linalg.solve(a @ cross + noise, cross.T).T
    expected = gain @ (axes @ (world.mean - mean))
    return world.mean + (said - expected) @ weight.T, world.covariance - weight @ cross.T


def test_closed_form_is_conditioning_of_the_joint_law():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    prior = GaussianLaw(rng.normal(size=3), root @ root.T + 0.1 * np.eye(3))
    measured = Measured(rng.normal(size=(3, 3)), rng.normal(size=3), np.diag([0.3, 0.2, 0.5]))
    said = rng.normal(size=(4, 3))
    found = gaussian_posterior(prior, measured, said)
    cross = prior.covariance @ measured.gain.T
    weight = np.linalg.solve(measured.gain @ cross + measured.covariance, cross.T).T
    np.testing.assert_allclose(
        found.mean, prior.mean + (said - measured.offset - measured.gain @ prior.mean) @ weight.T, atol=1e-10
    )
    np.testing.assert_allclose(found.covariance, prior.covariance - weight @ cross.T, atol=1e-10)


def test_ridge_read_as_a_measurement_gives_the_true_posterior_of_the_voxels(world):
    """With many trials, p(c | ĉ) from held-out trials is p(c | voxels), which is known."""
    recording = world.recording(4000, 5)
    components = Components.of(world.prior.latents(world.items(3000, 9)), 4)
    decoder = fit_decoder(world.prior, components, recording.train, penalties=(1e-6, 1e-4))
    said = decoder.components_of(recording.test.voxels)
    axes = components.axes.numpy()
    law = GaussianLaw(axes @ (world.mean - components.mean.numpy()), axes @ world.covariance @ axes.T)
    found = gaussian_posterior(law, Measured.of(decoder.latent.held_out, decoder.truth, diagonal=False), said)
    b = world.encoding
    gain = world.covariance @ b.T @ np.linalg.inv(b @ world.covariance @ b.T + world.noise**2 * np.eye(len(b)))
    exact = axes @ (world.covariance - gain @ b @ world.covariance) @ axes.T
    mean = (world.mean + (recording.test.voxels - b @ world.mean) @ gain.T - components.mean.numpy()) @ axes.T
    spread = np.sqrt(np.diag(exact))
    assert np.abs(found.mean - mean).max() < 0.35 * spread.max()
    np.testing.assert_allclose(np.sqrt(np.diag(found.covariance)), spread, rtol=0.08)


def test_draws_have_the_mean_and_covariance_of_the_posterior(world):
    recording = world.recording(300, 2)
    components = Components.of(world.prior.latents(world.items(1000, 9)), 3)
    decoder = fit_decoder(world.prior, components, recording.train)
    measured = Measured.of(decoder.latent.held_out, decoder.truth, diagonal=True)
    decoder = type(decoder)(components, decoder.latent, measured, decoder.for_latent, decoder.truth)
    said = decoder.components_of(recording.test.voxels)
    count = 1000
    drawn = Exact(200)(Task(world.prior, decoder, said, None, at_once=4000), count, 0).flatten(2).double().numpy()
    mean, covariance = bayes(world, components, measured.gain, said - measured.offset, measured.covariance)
    spread = np.sqrt(np.diag(covariance))
    assert np.abs((drawn.mean(0) - mean) / spread).max() < 4.5 / np.sqrt(count)
    for trial in range(2):
        found = np.cov(drawn[:, trial].T)
        away = (found - covariance) / np.outer(spread, spread)
        assert np.abs(away).max() < 5 * np.sqrt(2 / count)
    # the control: noise that is stated twice too small is told apart
    wrong = bayes(world, components, measured.gain, said - measured.offset, measured.covariance / 4)[1]
    assert np.abs((np.cov(drawn[:, 0].T) - wrong) / np.outer(spread, spread)).max() > 10 * np.sqrt(2 / count)


def test_noise_that_is_shrunk_keeps_its_variances_and_loses_false_correlations():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(40, 10))
    said = 0.8 * true + 0.3 + np.array([0.1] * 5 + [0.5] * 5) * rng.normal(size=(40, 10))
    found = Measured.of(said, true)
    np.testing.assert_allclose(np.diag(found.gain), 0.8, atol=0.3)
    np.testing.assert_allclose(np.sqrt(np.diag(found.covariance))[:5], 0.1, rtol=0.4)
    d = np.sqrt(np.diag(found.covariance))
    assert np.abs(found.covariance / np.outer(d, d) - np.eye(10)).max() < 0.2
