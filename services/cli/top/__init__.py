"""One screen of a running machine: read from the api's public and administrators' routes, drawn again and again."""
