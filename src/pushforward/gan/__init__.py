"""Adversarial training: losses, penalties, augmentation and what tells whether it goes well."""
