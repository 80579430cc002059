"""In-memory implementations of the ports, for unit tests. The contract suite compares the store
with the Postgres one."""
