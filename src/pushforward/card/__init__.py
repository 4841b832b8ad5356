"""What CARD is made of: its chain, networks, regressions, and how samples become predictions."""
