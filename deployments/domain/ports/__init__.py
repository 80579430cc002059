"""What the service needs of the nodes behind it. The graph's deployments and the tests' fakes both
have these shapes; a port's docstring is its contract."""
