"""In-memory twins of the ports, for unit tests. The contract suite holds the store's to what the
Postgres store does."""
