"""Election of a leader by a Kubernetes Lease: of the relay, and of the operator; docs/LEADER-ELECTION.md.

What a term of leadership is, is the caller's own: a `TermCounter` begins and ends it.
"""
