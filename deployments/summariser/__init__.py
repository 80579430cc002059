"""Condenses old episodic memories into summaries, which consist of their sentences."""
