"""Condenses old episodic memories into summaries of their own sentences."""
