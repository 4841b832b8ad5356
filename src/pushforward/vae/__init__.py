"""Latent-variable models: posteriors, priors, likelihoods of a decoder, the evidence bound and what sharpens it."""
