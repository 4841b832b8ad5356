"""Error per evaluation against peers; `run.py` starts it."""
