"""The api: the HTTP face of coursegen. It validates, authenticates and hands on; decisions are the kernel's and SQL's."""
