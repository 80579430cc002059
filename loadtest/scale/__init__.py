"""What searches cost among a million memories: `python -m loadtest.scale`; run.py has more."""
