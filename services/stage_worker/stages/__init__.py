"""The stages of the pipeline: 2 reads documents, 4 finds their structure, 5 writes the course (contract.md c.3)."""
