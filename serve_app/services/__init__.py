"""The API's operations, over the ports in deployments/domain/ports. No HTTP, no Ray."""
