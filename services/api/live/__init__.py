"""The live stream: what happens to a course, told to everyone who watches it, for one query per look whoever watches."""
