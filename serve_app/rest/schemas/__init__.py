"""The API's request and response bodies. OpenAPI is generated from these and nothing else."""
