"""phi-deploy: a matrix of model × precision × backend × target, as comparable deployments."""
