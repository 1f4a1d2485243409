"""The operator on a real cluster, installed by its chart and looked at with kubectl."""
