"""What the rest of the worker needs to know about natural languages: words, sentences, detection, phrases."""
