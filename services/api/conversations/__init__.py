"""Messages of conversations, at the api: taken in, read and receipted."""
