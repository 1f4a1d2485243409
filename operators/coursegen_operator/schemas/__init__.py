"""The custom resource definitions, written in Python and kept as YAML in the chart of the operator."""
