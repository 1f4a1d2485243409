"""The api's parts, without sockets and servers."""
