"""The API's parameters and bodies, from which the schemas in OpenAPI are generated."""
