"""The stage worker: takes jobs from the queues and turns documents into courses, one transaction per effect."""
