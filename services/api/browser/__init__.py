"""How a browser gets in: a ticket, exchanged once for a cookie.

A token's holder asks for a ticket and opens a browser at the ticket's address. The ticket is in the address's fragment,
which no browser sends and no server logs; the page posts it, and gets a cookie that no script can read. Both are 256 random
bits, of which PostgreSQL keeps only hashes; neither outlives the token that began it.
"""
