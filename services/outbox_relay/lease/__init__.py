"""Election of the relay's leader by a Kubernetes Lease; docs/LEADER-ELECTION.md."""
