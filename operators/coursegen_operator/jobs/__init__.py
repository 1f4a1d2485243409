"""Jobs that work on a database, for every kind that has some: what runs in them, why they do not start, what they have left."""
