"""The steps of a search around its ranking: long queries in chunks, and the choice of the hits."""
